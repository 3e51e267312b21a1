"""Loss on detached leaves, then a push in micro-batches, are the gradient of one pass: all objectives, all heads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from surpass.objectives import OBJECTIVES
from surpass.objectives.batch import Objective, collate, log_return, push, with_tokens
from tests.learning import TEXTS, TinyPolicy
from tests.objectives.examples import heads, plays_for
from tests.objectives.test_robust import variants

LEARNED = {
    "trajectory_balance": {"log_z"},
    "flowrl": {"log_z"},
    "subtrajectory_balance": {"log_flow"},
    "detailed_balance": {"log_flow"},
    "forward_looking": {"log_flow"},
    "ppo": {"value"},
}


def both(name: str, objective: Objective, micro_batch: int) -> tuple[list[Tensor], list[Tensor], set[str]]:
    """Return the gradients of policy and heads in two passes and in one, and which heads the two passes reached."""
    policy, reference = TinyPolicy(TEXTS), TinyPolicy(TEXTS, seed=1)
    plays, bundle = plays_for(name, policy, n=6), heads(policy, reference)
    modules = bundle.modules()
    parameters: list[nn.Parameter] = [policy.table, *(p for module in modules.values() for p in module.parameters())]
    batch = collate(policy, plays, log_return, reference=reference, heads=bundle, micro_batch=micro_batch)
    torch.autograd.backward(objective(batch)[0])
    push(policy, plays, batch, heads=bundle, micro_batch=micro_batch)
    twice = [parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in parameters]
    filled = with_tokens(policy, plays)
    live = {"logp": policy.logp(filled), "log_stop": policy.log_stop(filled)}
    live |= {key: module(filled) for key, module in modules.items()}
    once = torch.autograd.grad(objective(replace(batch, **live))[0], parameters, materialize_grads=True)
    return twice, list(once), {key for key, module in modules.items() if next(module.parameters()).grad is not None}


@pytest.mark.parametrize("micro_batch", [1, 3, 64])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_passes_are_one(name: str, micro_batch: int) -> None:
    for objective in variants(name):
        twice, once, learned = both(name, objective, micro_batch)
        assert learned == LEARNED.get(name, set())
        for found, expected in zip(twice, once, strict=True):
            assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert both(name, variants(name)[0], micro_batch)[0][0].abs().max() > 1e-3
