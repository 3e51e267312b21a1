"""Every objective through the loop of `train.py`, with its heads in the optimiser and in the checkpoint."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from surpass.errors import ConfigError
from surpass.objectives import OBJECTIVES
from surpass.objectives.batch import Heads, log_return
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from tests.learning import PROBLEMS, TEXTS, TinyDomain, TinyPolicy, TinyState, play
from tests.objectives.examples import heads
from tests.objectives.test_fixed_points import load
from tests.objectives.test_two_pass import LEARNED

CONFIG = TrainConfig(steps=4, problems_per_step=2, learning_rate=0.05, temper_probability=0.0)


def parts(name: str) -> Parts[TinyState]:
    policy, reference = TinyPolicy(TEXTS), TinyPolicy(TEXTS, seed=1).frozen_copy()
    function = load(name)
    if "beta" in inspect.signature(function).parameters:
        function = partial(function, beta=0.5)
    return Parts(
        policy=policy,
        problems=PROBLEMS,
        objective=function,
        reward=log_return,
        domain=TinyDomain(length=1 if name == "modified_subtb" else 2),
        search=partial(play, n=6),
        reference=reference,
        heads=heads(policy, reference),
    )


def numbers(made: Parts[TinyState]) -> dict[str, Tensor]:
    found = {name: next(module.parameters()).detach() for name, module in made.heads.modules().items()}
    return found | {"policy": next(iter(made.policy.parameters())).detach()}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_moves_the_policy_and_the_heads_it_needs(tmp_path: Path, name: str) -> None:
    made = parts(name)
    before = {key: value.clone() for key, value in numbers(made).items()}
    last = train(CONFIG, made, Run.create(tmp_path / "run", {}))
    moved = {key for key, value in numbers(made).items() if not torch.equal(value, before[key])}
    assert moved == {"policy"} | LEARNED.get(name, set())
    assert all(math.isfinite(value) for value in last.values())
    assert last["skipped_not_finite"] == 0


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_later_passes_are_clipped_against_the_first(tmp_path: Path, name: str) -> None:
    rows = []
    for passes in (1, 3):
        config = replace(CONFIG, steps=1, passes=passes, learning_rate=0.5, clip=100.0)
        rows.append(train(config, parts(name), Run.create(tmp_path / f"{passes}", {})))
    assert rows[0]["clipped"] == 0.0 < rows[1]["clipped"]
    assert rows[0]["gradient_tokens"] < rows[1]["gradient_tokens"] <= 3 * rows[0]["gradient_tokens"]
    assert rows[1]["sampled_tokens"] == rows[0]["sampled_tokens"]
    with pytest.raises(ConfigError, match="passes >= 1"):
        train(replace(CONFIG, passes=0), parts(name), Run.create(tmp_path / "none", {}))


@pytest.mark.parametrize("name", ["subtrajectory_balance", "ppo"])
def test_a_resumed_run_ends_as_the_whole_one(tmp_path: Path, name: str) -> None:
    whole = parts(name)
    train(CONFIG, whole, Run.create(tmp_path / "whole", {}))
    halves = Run.create(tmp_path / "halves", {})
    train(replace(CONFIG, steps=2), parts(name), halves)
    resumed = parts(name)
    train(CONFIG, resumed, halves)
    for key, value in numbers(resumed).items():
        assert torch.equal(value, numbers(whole)[key]), key
    with pytest.raises(ConfigError, match=r"heads were \['log_flow', 'log_z', 'value'\], are none"):
        train(CONFIG, replace(parts(name), heads=Heads()), halves)
