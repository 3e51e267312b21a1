from __future__ import annotations

import pytest
import torch

from surpass.core import Observation, Policy, Problem, Proposal, Scorer, Status, Step, Trajectory, Verdict
from surpass.errors import DataError
from surpass.models.progress import fit
from tests.models.tiny import causal

PROOFS = [
    Trajectory(
        Problem(f"p{i}"),
        tuple(Step(Observation(f"|- {'a ' * (9 * left + i)}goal"), Proposal("auto.")) for left in range(n, 0, -1)),
        Verdict(Status.ACCEPTED, (1.0,)),
    )
    for i, n in enumerate([1, 2, 3, 4, 4, 3])
]


def test_it_tells_how_much_is_left_where_that_can_be_seen() -> None:
    """The longer the goal the more is left: what was fitted ranks states that it has not met."""
    progress = fit(causal(), PROOFS, ridge=1e-3)
    near, far = progress.remaining([Observation(f"|- {'a ' * (9 * left + 7)}goal") for left in (1, 4)])
    assert near == pytest.approx(1, abs=0.8)
    assert far > near + 1
    scored = progress.score([PROOFS[0].steps[0].observation, PROOFS[3].steps[0].observation])
    assert [one.prior for one in scored] == [(), ()]
    assert 1 >= scored[0].values[0] > scored[1].values[0] > 0


def test_it_is_the_least_squares_solution() -> None:
    """Without a penalty worth the name, residuals are orthogonal to all features, and their mean is zero."""
    progress = fit(causal(), PROOFS, ridge=1e-9)
    steps = [(step.observation, len(one.steps) - i) for one in PROOFS for i, step in enumerate(one.steps)]
    hidden = causal().hidden([seen for seen, _ in steps]).double()
    states = torch.cat([hidden, torch.ones(len(steps), 1, dtype=torch.float64)], dim=1)
    residual = states @ progress.weights - torch.tensor([float(n) for _, n in steps], dtype=torch.float64)
    assert (states.T @ residual).abs().max() < 1e-4


def test_a_strong_penalty_leaves_the_mean() -> None:
    progress = fit(causal(), PROOFS, ridge=1e12)
    lefts = [len(one.steps) - i for one in PROOFS for i in range(len(one.steps))]
    assert progress.remaining([Observation("|- anything")]) == pytest.approx([sum(lefts) / len(lefts)], abs=1e-3)


def test_it_is_the_policy_that_it_was_fitted_to() -> None:
    progress = fit(causal(), PROOFS)
    assert isinstance(progress, Policy)
    assert isinstance(progress, Scorer)
    goal = [Observation("|- n = n")]
    assert progress.propose(goal, 3, seeds=[4]) == causal().propose(goal, 3, seeds=[4])
    assert progress.score([]) == []


def test_failures_teach_nothing() -> None:
    failed = Trajectory(Problem("f"), PROOFS[0].steps, Verdict(Status.REJECTED, (0.0,)))
    with pytest.raises(DataError, match="found none"):
        fit(causal(), [failed])
