"""No objective gives a loss, a gradient or a metric that is not finite, whatever finite batch it is given."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surpass.errors import ConfigError, DataError
from surpass.objectives import OBJECTIVES, preference
from surpass.objectives.batch import Batch
from surpass.objectives.flows import modified_subtb, subtrajectory_balance
from surpass.objectives.gradient import ppo
from surpass.objectives.likelihood import confidence_limited, reward_ranked
from tests.objectives.checks import Function
from tests.objectives.test_fixed_points import load

LONGEST = 4  # tokens, and steps


@dataclass(frozen=True)
class Row:
    problem: int
    tokens: int
    steps: int
    log_reward: float
    accepted: bool


REWARDS = st.one_of(st.floats(-50, 5, width=32), st.sampled_from([0.0, -10.0, -1e4, -1e30, 1e30]))
ROWS = st.lists(
    st.builds(Row, st.integers(0, 2), st.integers(1, LONGEST), st.integers(1, LONGEST), REWARDS, st.booleans()),
    min_size=1,
    max_size=5,
)
LOGP = st.sampled_from([0.0, -1e-9, -0.5, -3.0, -80.0, -1e4])


def made(rows: list[Row], logp: list[float], seed: int) -> Batch:
    """Return a float32 batch with these lengths and rewards; `logp` is repeated over its tokens, the rest drawn."""
    generator = torch.Generator().manual_seed(seed)
    count = len(rows)
    tokens = torch.tensor([row.tokens for row in rows])
    mask = torch.arange(LONGEST) < tokens[:, None]
    steps = torch.tensor([[min(t, row.steps - 1) for t in range(LONGEST)] for row in rows])
    cycle = torch.tensor([logp[i % len(logp)] for i in range(count * LONGEST)]).reshape(count, LONGEST)
    stop = -3 * torch.rand(count, LONGEST, generator=generator)
    stop[torch.rand(count, LONGEST, generator=generator) < 0.2] = -torch.inf  # prefixes that cannot end

    def drawn(*shape: int) -> Tensor:
        return 3 * torch.randn(shape, generator=generator)

    return Batch(
        logp=(cycle * mask).requires_grad_(),
        logp_old=(cycle + drawn(count, LONGEST)) * mask,
        mask=mask,
        step_index=torch.where(mask, steps, -1),
        log_reward=torch.tensor([row.log_reward for row in rows]),
        log_pb=torch.zeros(count),
        group=torch.unique(torch.tensor([row.problem for row in rows]), return_inverse=True)[1],
        seat=torch.zeros(count, dtype=torch.int64),
        accepted=torch.tensor([row.accepted for row in rows]),
        logp_ref=-drawn(count, LONGEST).abs() * mask,
        log_z=drawn(count).requires_grad_(),
        log_flow=drawn(count, LONGEST).requires_grad_(),
        value=drawn(count, LONGEST).requires_grad_(),
        log_stop=torch.where(mask, stop, 0).requires_grad_(),
        log_stop_ref=torch.where(mask, stop, 0),
        state_reward=drawn(count, LONGEST),
        prefix_reward=drawn(count, LONGEST) * mask,
    )


def variants(name: str) -> list[Function]:
    """Return the objective with each of its options that changes the arithmetic."""
    function = load(name)
    options = inspect.signature(function).parameters
    if "beta" in options:
        function = partial(function, beta=0.5)
    found = [function]
    found += [partial(function, relative=False)] if "relative" in options else []
    found += [partial(function, kl=0.3)] if "kl" in options else []
    found += [partial(function, standardise=True)] if "standardise" in options else []
    found += [partial(function, accepted_only=False)] if "accepted_only" in options else []
    found += [partial(function, scale="none", lengths="sum")] if "scale" in options else []
    found += [partial(function, lam=lam) for lam in (0.0, 1.0)] if "lam" in options else []
    found += [partial(function, n=n) for n in (1, 10**6)] if "n" in options else []
    if "divergence" in options:
        others = (preference.forward_kl, preference.jensen_shannon, preference.alpha_divergence)
        found += [partial(function, divergence=divergence, strength=2.0) for divergence in others]
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=20, deadline=None)
@given(rows=ROWS, logp=st.lists(LOGP, min_size=1, max_size=7), seed=st.integers(0, 9), equal=st.booleans())
def test_everything_stays_finite(name: str, rows: list[Row], logp: list[float], seed: int, equal: bool) -> None:
    if equal:
        rows = [Row(row.problem, row.tokens, row.steps, rows[0].log_reward, row.accepted) for row in rows]
    if name == "modified_subtb":
        rows = [Row(row.problem, row.tokens, 1, row.log_reward, row.accepted) for row in rows]
    for function in variants(name):
        batch = made(rows, logp, seed)
        loss, metrics = function(batch)
        torch.autograd.backward(loss)
        assert math.isfinite(loss.item())
        assert all(math.isfinite(value) for value in metrics.values()), metrics
        for leaf in batch.leaves().values():
            assert leaf.grad is None or torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("name", ["log_variance", "reinforce", "grpo", "dpo"])
def test_equal_rewards_teach_nothing_of_their_own(name: str) -> None:
    """A policy that is the reference, and rewards that do not differ: there is nothing to learn."""
    batch = made([Row(0, 3, 1, -10.0, False)] * 4, [-0.5], 1)
    still = batch.logp.detach().clone()
    batch = Batch(**{name: getattr(batch, name) for name in Batch.__slots__} | {"logp_ref": still, "logp_old": still})
    function = load(name)
    loss, _ = function(batch, beta=0.5) if name in ("log_variance", "dpo") else function(batch)
    torch.autograd.backward(loss)
    assert batch.logp.grad is not None
    assert batch.logp.grad.abs().max() < 1e-6


def test_limited_confidence_is_exact_where_the_plain_formula_breaks() -> None:
    batch = made([Row(0, 1, 1, 0.0, True)], [-200.0], 0)  # (1 - e^-200)^16 rounds to 1
    loss, _ = confidence_limited(batch, n=16)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(200 - math.log(16))
    assert batch.logp.grad is not None
    assert batch.logp.grad[0, 0].item() == pytest.approx(-1)
    for logp in (-28.0, -26.0, -1e-3):  # both sides of where the formula changes
        batch = made([Row(0, 1, 1, 0.0, True)], [logp], 0)
        loss, _ = confidence_limited(batch, n=1)
        torch.autograd.backward(loss)
        assert loss.item() == pytest.approx(-logp, rel=1e-5)
        assert batch.logp.grad is not None
        assert batch.logp.grad[0, 0].item() == pytest.approx(-1, rel=1e-5)


def test_what_cannot_be_used_is_named() -> None:
    batch = made([Row(0, 3, 2, 0.0, True)], [-1.0], 0)
    with pytest.raises(DataError, match="one action"):
        modified_subtb(batch, beta=1.0)
    with pytest.raises(ConfigError, match="lam"):
        subtrajectory_balance(batch, beta=1.0, lam=-0.5)
    with pytest.raises(ConfigError, match="fraction"):
        reward_ranked(batch, fraction=0.0)
    with pytest.raises(ConfigError, match="n >= 1"):
        confidence_limited(batch, n=0)
    with pytest.raises(ConfigError, match="alpha"):
        preference.dpo(batch, beta=1.0, divergence=partial(preference.alpha_divergence, alpha=0.0))
    bare = made([Row(0, 3, 1, 0.0, True)], [-1.0], 0)
    fields = {name: getattr(bare, name) for name in Batch.__slots__}
    heads = ("log_z", "log_flow", "value", "log_stop", "log_stop_ref", "state_reward", "prefix_reward")
    without = Batch(**fields | dict.fromkeys(heads))
    needs = {"trajectory_balance": "log_z", "flowrl": "log_z", "subtrajectory_balance": "log_flow"}
    needs |= {"detailed_balance": "log_flow", "forward_looking": "log_flow", "modified_subtb": "log_stop"}
    for name, head in needs.items():
        with pytest.raises(ConfigError, match=f"{head}, the batch has none"):
            load(name)(without, beta=1.0)
    with pytest.raises(ConfigError, match="value, the batch has none"):
        ppo(without)
    alone = Batch(**fields | {"logp_ref": None})
    for name in ("log_variance", "trajectory_balance", "subtrajectory_balance", "modified_subtb", "flowrl", "dpo"):
        with pytest.raises(ConfigError, match="reference"):
            load(name)(alone, beta=1.0)
    for name in ("reinforce", "grpo", "ppo"):
        with pytest.raises(ConfigError, match="reference"):
            load(name)(alone, kl=0.1)
