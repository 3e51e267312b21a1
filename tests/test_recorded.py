"""A fresh checker's verdict on recorded successes: what it was unsure of once is not lost for good."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from surpass.core import Status, Trajectory, Verdict
from surpass.core import replay as played
from surpass.domains.proofs.kernel.domain import Kernel
from surpass.recorded import recheck
from surpass.store import Run
from surpass.verify import CHECKERS, Terms, judge_again

BUSY = Verdict(Status.UNKNOWN, (), "kernel 1; T3; timeout")


class Busy:
    """A checker of the kernel that answers UNKNOWN so many times, and then as it should."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, list[int]()

    def __call__(self, trajectories: Sequence[Trajectory], terms: Terms) -> list[Verdict]:
        self.asked.append(len(trajectories))
        self.times -= 1
        if self.times >= 0:
            return [BUSY] * len(trajectories)
        return [played(Kernel(canonical=False), one.problem, one.actions).verdict for one in trajectories]


def proofs(n: int) -> list[Trajectory]:
    problems = [problem for problem, _ in zip(Kernel().problems("train"), range(n), strict=False)]
    return [played(Kernel(), problem, problem.data["solution"]) for problem in problems]


def recorded(folder: Path, records: Sequence[Trajectory]) -> Run:
    run = Run.create(folder / "search" / "arm-0", {})
    run.append(records)
    run.write_summary({})
    return run


def test_an_unknown_is_asked_about_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checker = Busy(1)
    monkeypatch.setitem(CHECKERS, "kernel", checker)
    run = recorded(tmp_path, proofs(2))
    assert recheck("kernel", tmp_path) == {"proofs": 2, "standing": 2, "unknown": 0}
    assert checker.asked == [2, 2]
    assert all(one.solved for one in run.trajectories())
    monkeypatch.setitem(CHECKERS, "kernel", Busy(1))
    assert [one.status for one in judge_again(proofs(2))] == [Status.ACCEPTED] * 2


def test_a_busy_minute_costs_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsure twice: it does not count, its claim stays, and the next look finds that it stands."""
    monkeypatch.setitem(CHECKERS, "kernel", Busy(2))
    run = recorded(tmp_path, proofs(2))
    claims = [one.verdict.evidence for one in run.trajectories()]
    assert recheck("kernel", tmp_path) == {"proofs": 2, "standing": 0, "unknown": 2}
    kept = list(run.trajectories())
    assert [one.verdict for one in kept] == [BUSY, BUSY]
    assert [one.info["claim"] for one in kept] == claims
    assert recheck("kernel", tmp_path) == {"proofs": 2, "standing": 2, "unknown": 0}
    assert all(one.solved for one in run.trajectories())
    assert [one.info["claim"] for one in run.trajectories()] == claims
