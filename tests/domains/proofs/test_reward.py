"""The three reward shapes, against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.domains.proofs.reward import binary, graded, paper


class Constant:
    """A scorer that gives step s of every trajectory the log-probability -(s + 1) per token."""

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        raise AssertionError("a scorer is not sampled")

    def encode(self, action: str) -> tuple[int, ...]:
        raise AssertionError("all trajectories carry tokens")

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        rows = [
            torch.cat([torch.full((len(step.proposal.tokens),), -float(s + 1)) for s, step in enumerate(t.steps)])
            for t in trajectories
        ]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def trajectory(status: Status, end: str, *lengths: int) -> Trajectory:
    steps = tuple(Step(Observation("o"), Proposal("t.", None, tuple(range(n)))) for n in lengths)
    return Trajectory(Problem("p"), steps, Verdict(status, (float(status is Status.ACCEPTED),)), {"end": end})


PROOF = trajectory(Status.ACCEPTED, "verdict", 3, 5)
UNFINISHED = trajectory(Status.REJECTED, "depth", 3, 5)  # mean over steps of the mean per token: (-1 - 2) / 2
ERROR = trajectory(Status.REJECTED, "verdict", 2, 4, 6, 4)  # mean length 4
ALL = [PROOF, UNFINISHED, ERROR]


def test_graded_separates_the_three_kinds() -> None:
    assert graded(ALL, scorer=Constant()).tolist() == pytest.approx([0.0, -4.0 - 1.5, -10.0])


def test_graded_never_pays_an_unfinished_proof_less_than_an_error() -> None:
    assert graded(ALL, scorer=Constant(), error=-5.0).tolist() == pytest.approx([0.0, -5.0, -5.0])


def test_binary_pays_finished_proofs_only() -> None:
    assert binary(ALL).tolist() == [0.0, -10.0, -10.0]


def test_paper_is_the_published_table() -> None:
    expected = [0.0, -1.5, -15.0 + 8.0 * math.log(88 / 92)]
    assert paper(ALL, scorer=Constant()).tolist() == pytest.approx(expected)


def test_paper_is_clamped_at_its_floor() -> None:
    endless = trajectory(Status.REJECTED, "verdict", 200)
    assert paper([endless], scorer=Constant()).tolist() == [-30.0]


def test_no_scorer_is_called_when_nothing_is_unfinished() -> None:
    assert graded([PROOF, ERROR], scorer=Constant()).tolist() == [0.0, -10.0]
