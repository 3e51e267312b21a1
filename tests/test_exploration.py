"""Who acts in a step: shares that are asked for are met, and what is recorded stays the policy's own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch

from surpass.core import Observation, Policy, Proposal
from surpass.domains.proofs.kernel.domain import Kernel, State, pose
from surpass.errors import ConfigError
from surpass.exploration import Exploration, Straying
from surpass.models.tabular import Tabular
from surpass.objectives.balance import log_variance
from surpass.objectives.batch import log_return
from surpass.recipe import explored
from surpass.schedules import Constant, Linear
from surpass.search.sampling import sample
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from tests.learning import TEXTS, TinyPolicy

HERE = Observation("here", legal=("a", "b", "c", "d"))


def sure() -> Tabular:
    """A policy that all but always takes the first action."""
    policy = Tabular(rows=4, width=4)
    policy.propose([HERE], 1, seeds=[0])
    with torch.no_grad():
        policy.table[0, 0] = 12.0
    return policy


def draws(policy: Policy, rounds: int = 400) -> list[Proposal]:
    return [one for row in policy.propose([HERE] * rounds, 10, seeds=range(rounds)) for one in row]


def test_epsilon_is_the_share_of_uniform_actions() -> None:
    policy = sure()
    found = draws(Straying(policy, policy, 0.4))
    counts = Counter(one.action for one in found)
    for action in "bcd":  # 4000 draws: three deviations are 0.014
        assert counts[action] / len(found) == pytest.approx(0.1, abs=0.015)
    strayed = [one for one in found if one.logp is None]
    assert len(strayed) / len(found) == pytest.approx(0.4, abs=0.025)
    assert all(one.tokens for one in strayed)
    assert all(one.action == "a" and one.logp is not None and one.logp > -0.01 for one in found if one not in strayed)


def test_straying_depends_on_observation_and_seed_alone() -> None:
    policy = Straying(sure(), sure(), 0.5)
    whole = policy.propose([HERE] * 6, 3, seeds=range(6))
    assert whole == [policy.propose([HERE], 3, seeds=[seed])[0] for seed in range(6)]
    assert len({tuple(one.action for one in row) for row in whole}) > 1


class Free(TinyPolicy):
    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return [[Proposal("a")] for _ in observations]


def test_uniform_actions_need_to_be_known() -> None:
    with pytest.raises(ConfigError, match="exact legal actions"):
        Straying(Free(TEXTS), sure(), 0.5).propose([Observation("free")], 1, seeds=[0])


def test_schedules_say_when() -> None:
    exploration = Exploration(Linear(1.0, 0.0, 10), Constant(0.5), Linear(0.5, 2.5, 10), epsilon=Linear(0.5, 0.0, 10))
    policy = sure()
    acting, told = exploration.policy(policy, 0, rng=Random(0))
    assert told == {"temperature": 0.5, "epsilon": 0.5}
    assert isinstance(acting, Straying)
    assert acting.policy is not policy
    acting, told = exploration.policy(policy, 10, rng=Random(0))
    assert acting is policy
    assert told == {"temperature": 1.0}
    shares = [exploration.policy(policy, 5, rng=Random(seed))[1]["temperature"] for seed in range(200)]
    assert sum(value != 1.0 for value in shares) == pytest.approx(100, abs=25)
    assert all(0.5 <= value <= 1.5 for value in shares)


class Roaming(TinyPolicy):
    epsilon = 0.0

    def tempered(self, temperature: float) -> Roaming:
        view = super().tempered(temperature)
        assert isinstance(view, Roaming)
        return view

    def roaming(self, epsilon: float) -> Roaming:
        view = self.tempered(self.temperature)
        view.epsilon = epsilon
        return view


def test_tokens_roam_where_the_policy_can() -> None:
    policy = Roaming(TEXTS)
    exploration = Exploration(Constant(1.0), Constant(0.5), Constant(0.5), token_epsilon=Constant(0.1))
    acting, told = exploration.policy(policy, 0, rng=Random(0))
    assert isinstance(acting, Roaming)
    assert (acting.epsilon, acting.temperature, told["token_epsilon"]) == (0.1, 0.5, 0.1)
    assert (policy.epsilon, policy.temperature) == (0.0, 1.0)
    with pytest.raises(ConfigError, match="Tabular cannot roam"):
        exploration.policy(sure(), 0, rng=Random(0))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_a_chance_is_a_chance(wrong: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Exploration(epsilon=Constant(wrong)).policy(sure(), 3, rng=Random(0))


def solutions(epsilon: float, folder: Path) -> set[Sequence[str]]:
    policy = Tabular(rows=512, width=12)
    start = Kernel().observe(Kernel().start(pose("A -> A -> A")))
    policy.propose([start], 1, seeds=[0])
    with torch.no_grad():
        policy.table[0, 1] = 25.0  # `exfalso` from the start: a dead end it does not leave by itself
    parts = Parts(
        policy,
        [pose("A -> A -> A")],
        partial(log_variance, beta=0.5),
        log_return,
        domain=Kernel(),
        search=partial(sample, n=4, max_steps=5),
        reference=policy.frozen_copy(),
        exploration=Exploration(epsilon=Constant(epsilon)),
    )
    run = Run.create(folder, {})
    train(TrainConfig(steps=20, learning_rate=1e-6), parts, run)
    assert all(row.get("epsilon", 0.0) == epsilon for row in run.metrics())
    return {one.actions for one in run.trajectories() if one.solved}


def test_in_training_epsilon_finds_what_the_policy_would_not(tmp_path: Path) -> None:
    assert not solutions(0.0, tmp_path / "without")
    assert solutions(0.5, tmp_path / "with")


def test_the_numbers_of_the_configuration_are_the_usual_exploration() -> None:
    config = TrainConfig(temper_probability=0.2, temper_low=0.3, temper_high=0.4)
    parts: Parts[State] = Parts(sure(), [pose("A")], partial(log_variance, beta=1.0), log_return)
    assert explored(config, parts) == Exploration(Constant(0.2), Constant(0.3), Constant(0.4))
    other = Exploration(epsilon=Constant(0.1))
    assert explored(config, replace(parts, exploration=other)) is other
