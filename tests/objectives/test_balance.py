from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from surpass.core import Problem, Trajectory
from surpass.errors import ConfigError, DataError
from surpass.objectives.balance import ProblemLogZ, log_variance, trajectory_balance
from surpass.objectives.batch import Batch, Metrics, Objective
from tests.learning import ACCEPTED


class Balance(Protocol):
    def __call__(self, batch: Batch, *, beta: float, relative: bool) -> tuple[Tensor, Metrics]: ...


def batch_of(logp: Tensor, log_reward: Tensor, ref: Tensor, group: Tensor, log_z: Tensor | None = None) -> Batch:
    """One token per trajectory; everything detached."""
    logp = logp.detach().clone()
    rows = len(logp)
    return Batch(
        logp=logp[:, None].requires_grad_(),
        logp_old=logp[:, None].clone(),
        mask=torch.ones(rows, 1, dtype=torch.bool),
        step_index=torch.zeros(rows, 1, dtype=torch.int64),
        log_reward=log_reward,
        log_pb=torch.zeros(rows, dtype=logp.dtype),
        group=group,
        seat=torch.zeros(rows, dtype=torch.int64),
        accepted=torch.ones(rows, dtype=torch.bool),
        logp_ref=ref[:, None],
        log_z=None if log_z is None else log_z.detach().clone().requires_grad_(),
    )


GENERATOR = torch.Generator().manual_seed(3)
SIZE, BETA = 6, 0.7
LOG_REWARD = torch.randn(2, SIZE, generator=GENERATOR, dtype=torch.float64) * 3
REF = torch.randn(2, SIZE, generator=GENERATOR, dtype=torch.float64).log_softmax(1)
GROUP = torch.arange(2).repeat_interleave(SIZE)


def target(relative: bool) -> tuple[Tensor, Tensor]:
    """Return log of the normalised target [problem, trajectory] and log Z [problem], by enumeration."""
    log_target = BETA * LOG_REWARD + (REF if relative else 0.0)
    return log_target.log_softmax(1), log_target.logsumexp(1)


def whole(logp: Tensor, log_z: Tensor) -> Batch:
    return batch_of(logp.flatten(), LOG_REWARD.flatten(), REF.flatten(), GROUP, log_z.repeat_interleave(SIZE))


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("objective", [log_variance, trajectory_balance])
def test_loss_and_gradient_vanish_at_the_target_and_nowhere_near(objective: Balance, relative: bool) -> None:
    logp, log_z = target(relative)
    batch = whole(logp, log_z)
    loss, metrics = objective(batch, beta=BETA, relative=relative)
    torch.autograd.backward(loss)
    assert batch.logp.grad is not None
    assert loss.item() == pytest.approx(0.0, abs=1e-20)
    assert batch.logp.grad.abs().max().item() == pytest.approx(0.0, abs=1e-12)
    assert metrics["log_z"] == pytest.approx(log_z.mean().item())
    for wrong in ((-logp).log_softmax(1), REF, torch.full_like(REF, -1.0 * torch.tensor(SIZE).log().item())):
        assert objective(whole(wrong, log_z), beta=BETA, relative=relative)[0] > 0.1
    assert objective(batch, beta=-BETA, relative=relative)[0] > 0.1
    assert objective(batch, beta=BETA, relative=not relative)[0] > 0.1


def test_by_hand() -> None:
    logp = torch.tensor([-1.0, -2.0, -4.0, -1.0], dtype=torch.float64)
    log_reward = torch.tensor([0.0, -1.0, -1.0, 5.0], dtype=torch.float64)
    ref = torch.tensor([-1.0, -1.0, -2.0, -3.0], dtype=torch.float64)
    batch = batch_of(logp, log_reward, ref, torch.tensor([0, 0, 0, 1]), torch.full((4,), 0.5))
    # residuals with beta 2: 0, 1, 0 | -8; variance of the first problem 2/9, of the second 0
    loss, metrics = log_variance(batch, beta=2.0)
    assert loss.item() == pytest.approx(1 / 9)
    assert metrics["groups_of_one"] == 1.0
    assert metrics["log_z"] == pytest.approx(-(1 / 3 - 8) / 2)
    loss, metrics = trajectory_balance(batch, beta=2.0)
    assert loss.item() == pytest.approx((0.25 + 2.25 + 0.25 + 7.5**2) / 4)
    torch.autograd.backward(loss)
    assert batch.log_z is not None
    assert batch.log_z.grad is not None
    torch.testing.assert_close(batch.log_z.grad.double(), torch.tensor([0.5, 1.5, 0.5, -7.5]).double() / 2)
    # log P_B = -1 on the second row moves its residual from 1 to 2: variance 8/9
    with_pb = replace(batch, log_pb=torch.tensor([0.0, -1.0, 0.0, 0.0], dtype=torch.float64))
    assert log_variance(with_pb, beta=2.0)[0].item() == pytest.approx(4 / 9)


def test_what_looks_converged_is_told_apart() -> None:
    """Eight copies of one answer, or nothing right under an untrained policy: no spread, and not the target."""
    group = torch.zeros(8, dtype=torch.int64)
    same = torch.full((8,), -3.0)
    copies = replace(batch_of(same, 0 * same, same - 2, group), outcome=group)
    untrained = replace(
        batch_of(torch.arange(-8.0, 0), same - 3, torch.arange(-8.0, 0), group), outcome=torch.arange(8)
    )
    found = [log_variance(batch, beta=1.0)[1] for batch in (copies, untrained)]
    assert [one["residual_rms"] for one in found] == [0, 0]
    assert [one["groups_without_spread"] for one in found] == [1, 1]
    assert [one["distinct"] for one in found] == [1, 8]
    assert found[1]["log_z"] == -6  # the floor
    spread = log_variance(whole(REF, torch.zeros(2)), beta=BETA)[1]
    assert spread["groups_without_spread"] == 0
    assert "distinct" not in spread  # a batch whose tokens are unknown


def test_the_recorded_log_z_is_a_lower_bound_and_tight_at_the_target() -> None:
    best, log_z = (part[0] for part in target(True))
    generator = torch.Generator().manual_seed(0)
    for policy in (REF[0], (-REF[0]).log_softmax(0), best):
        drawn = torch.multinomial(policy.exp(), 4000, replacement=True, generator=generator)
        batch = batch_of(policy[drawn], LOG_REWARD[0, drawn], REF[0, drawn], torch.zeros(4000, dtype=torch.int64))
        recorded = log_variance(batch, beta=BETA)[1]["log_z"]
        assert recorded == pytest.approx(log_z.item()) if policy is best else recorded < log_z - 0.3


def learn(objective: Objective, *, steps: int = 300) -> Tensor:
    """Return the policy [problem, trajectory] that an objective teaches by Adam on all trajectories: far off-policy."""
    logits = torch.zeros(2, SIZE, dtype=torch.float64, requires_grad=True)
    log_z = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits, log_z], lr=0.3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        logp = logits.log_softmax(1)
        batch = whole(logp, log_z)
        torch.autograd.backward(objective(batch)[0])
        assert batch.logp.grad is not None
        assert batch.log_z is not None
        adam.zero_grad()
        torch.autograd.backward(
            [logp.flatten(), log_z.repeat_interleave(SIZE)], [batch.logp.grad[:, 0], _or_zero(batch.log_z)]
        )
        adam.step()
        decay.step()
    return logits.detach().softmax(1)


def _or_zero(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def total_variation(p: Tensor, q: Tensor) -> float:
    return float((p - q).abs().sum(1).max() / 2)


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("objective", [log_variance, trajectory_balance])
def test_learning_converges_to_the_enumerated_target(objective: Balance, relative: bool) -> None:
    learned = learn(lambda batch: objective(batch, beta=BETA, relative=relative))
    assert total_variation(learned, target(relative)[0].exp()) < 0.01


def test_a_wrong_sign_does_not_converge() -> None:
    flipped = learn(lambda batch: log_variance(replace(batch, log_reward=-batch.log_reward), beta=BETA))
    assert total_variation(flipped, target(True)[0].exp()) > 0.2


reward_values = st.one_of(st.floats(-50, 50), st.sampled_from([-1e30, 1e30, 0.0, -1e4]))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-80, 0), reward_values), min_size=1, max_size=8), st.booleans())
def test_losses_and_gradients_are_finite(rows: list[tuple[int, float, float]], relative: bool) -> None:
    _, group = torch.unique(torch.tensor([row[0] for row in rows]), return_inverse=True)
    logp, log_reward = torch.tensor([row[1] for row in rows]), torch.tensor([row[2] for row in rows])
    for objective in (log_variance, trajectory_balance):
        batch = batch_of(logp, log_reward, logp - 1, group, torch.zeros(len(rows)))
        loss, metrics = objective(batch, beta=1.0, relative=relative)
        torch.autograd.backward(loss)
        assert torch.isfinite(loss)
        assert all(math.isfinite(value) for value in metrics.values())
        assert batch.logp.grad is not None
        assert torch.isfinite(batch.logp.grad).all()


def test_equal_rewards_leave_the_reference_alone() -> None:
    batch = batch_of(REF[0], torch.full((SIZE,), -7.0).double(), REF[0], torch.zeros(SIZE, dtype=torch.int64))
    loss, _ = log_variance(batch, beta=3.0)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0.0, abs=1e-20)
    assert batch.logp.grad is not None
    assert batch.logp.grad.abs().max().item() < 1e-12


def test_missing_parts_are_named() -> None:
    batch = replace(whole(REF, torch.zeros(2)), logp_ref=None, log_z=None)
    with pytest.raises(ConfigError, match="reference"):
        log_variance(batch, beta=1.0)
    with pytest.raises(ConfigError, match="log_z"):
        trajectory_balance(batch, beta=1.0, relative=False)


def test_log_z_has_one_value_per_problem() -> None:
    head = ProblemLogZ(["p", "q", "p"], initial=2.0)
    with torch.no_grad():
        head.values[1] = 5.0
    plays = [Trajectory(Problem(key), (), ACCEPTED) for key in "qpq"]
    assert head(plays).tolist() == [5.0, 2.0, 5.0]
    head(plays).sum().backward()
    assert head.values.grad is not None
    assert head.values.grad.tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match="no log Z"):
        head([Trajectory(Problem("r"), (), ACCEPTED)])
