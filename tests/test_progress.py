"""The prover's chances against their exact values: every play listed, with its probability."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import replay as played
from surpass.domains.proofs import reward
from surpass.domains.proofs.kernel.domain import Kernel, State, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import ConfigError
from surpass.models.heads import StateTable
from surpass.models.scripted import Automaton, Uniform
from surpass.models.tabular import Tabular
from surpass.objectives.batch import Heads, log_return
from surpass.objectives.flows import forward_looking
from surpass.progress import Prover, Rate, progress
from surpass.rollouts.runner import Budget
from surpass.search.sampling import sample
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train

HORIZON = 6
PROBLEM = pose("A -> ~ A -> B")
SPACE = trajectories(Kernel(), PROBLEM, HORIZON)


def policy() -> Tabular:
    return Tabular(rows=256, width=8, scale=0.5, seed=1).double().frozen_copy()


def exact(prefix: tuple[str, ...]) -> float:
    """The chance of success from a prefix, by summing over all plays."""
    mass: list[float] = policy().logp(SPACE).sum(1).exp().tolist()
    within = [(p, leaf.solved) for p, leaf in zip(mass, SPACE, strict=True) if leaf.actions[: len(prefix)] == prefix]
    return sum(p for p, solved in within if solved) / sum(p for p, _ in within)


def test_rates_are_the_exact_chances() -> None:
    n = 300
    prover = Prover(Kernel(), policy(), n=n, horizon=HORIZON)
    found = {}
    for leaf, rates in zip(SPACE, prover(SPACE), strict=True):
        assert len(rates) == len(leaf.steps) + 1
        assert rates[-1] == Rate(int(leaf.solved), 1)
        found.update({leaf.actions[:at]: rate for at, rate in enumerate(rates[:-1])})
    assert len(found) > 15
    assert any(0.1 < exact(prefix) < 0.9 for prefix in found)
    for prefix, rate in found.items():
        chance = exact(prefix)
        assert rate.known == n
        assert rate.mean == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / n) + 1e-9)


def test_progress_sums_to_the_outcome_less_the_start() -> None:
    prover = Prover(Kernel(), policy(), n=20, horizon=HORIZON)
    table = reward.advances(SPACE, rates=prover)
    assert table.shape == (len(SPACE), HORIZON)
    for leaf, rates, row in zip(SPACE, prover(SPACE), table, strict=True):
        assert rates[0].mean is not None
        assert float(row.sum()) == pytest.approx(float(leaf.solved) - rates[0].mean)
        assert not row[len(leaf.steps) :].any()
    solved = table[[leaf.solved for leaf in SPACE]]
    assert solved.max() > 0.2  # some step made the difference


def test_what_a_state_has_earned() -> None:
    prover = Prover(Kernel(), policy(), n=9, horizon=HORIZON)
    earned = reward.earned(SPACE, rates=prover, floor=-2.0)
    for rates, row in zip(prover(SPACE), earned, strict=True):
        for rate, value in zip(rates[:-1], row.tolist(), strict=False):
            assert value == pytest.approx(max(-2.0, math.log((rate.solved + 0.5) / 10)))
    assert earned.min() == -2.0


def test_a_prefix_is_estimated_once_and_alone() -> None:
    """Whatever else is asked, before or beside it."""
    prover = Prover(Kernel(), policy(), n=5, horizon=HORIZON, seed=4)
    whole = prover(SPACE)
    cost = dict(prover.cost)
    assert cost["steps"] > 0
    assert cost["proposals"] > 0
    assert prover(SPACE[::-1]) == whole[::-1]
    assert prover.cost == cost
    for leaf, rates in zip(SPACE[:4], whole, strict=False):
        assert Prover(Kernel(), policy(), n=5, horizon=HORIZON, seed=4)([leaf]) == [rates]
    assert Prover(Kernel(), policy(), n=5, horizon=HORIZON, seed=5)(SPACE) != whole
    assert Prover(Kernel(), policy(), n=5, horizon=HORIZON)([]) == []


def test_the_horizon_counts_from_the_start() -> None:
    """With as many actions as the shortest proof has, only that proof succeeds: none is left after a detour."""
    shortest = min((leaf for leaf in SPACE if leaf.solved), key=lambda leaf: len(leaf.steps))
    detour = next(leaf for leaf in SPACE if leaf.solved and len(leaf.steps) > len(shortest.steps))
    prover = Prover(Kernel(), policy(), n=40, horizon=len(shortest.steps))
    direct, late = prover([shortest, detour])
    assert all(rate.solved > 0 for rate in direct)
    strayed = next(at for at in range(9) if shortest.actions[:at] != detour.actions[:at])
    assert all(rate.solved == 0 for rate in late[strayed:-1])


def maze() -> Automaton:
    moves = {"a": {"go": "b", "fog": "b"}, "b": {"on": "goal", "off": "c"}, "c": {}}
    return Automaton(moves, frozenset({"goal"}), {"train": ("a",)}, faults={"fog": "unknown"})


def test_unknown_is_not_a_failure() -> None:
    domain = maze()
    problem = next(iter(domain.problems("train")))
    lucky = played(domain, problem, ["go", "on"])
    fogged = played(domain, problem, ["fog"])
    prover = Prover(domain, Uniform(("go", "fog", "on")), n=60)
    (start, middle, end), (same, unknown) = prover([lucky, fogged])
    assert start == same
    assert 0 < start.known < 60
    assert middle.known < 60
    assert end == Rate(1, 1)
    assert unknown == Rate(0, 0)
    assert unknown.mean is None
    assert reward.advances([fogged], rates=prover).tolist() == [[0.0]]
    broke = Prover(domain, Uniform(("go", "on")), n=4, budget=Budget(steps=1))
    assert broke([lucky])[0][:2] == [Rate(0, 0), Rate(0, 0)]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda two: Rate(min(two), max(two))), min_size=2))
def test_progress_is_bounded_and_finite(rates: list[Rate]) -> None:
    found = progress(rates)
    assert len(found) == len(rates) - 1
    assert all(-1 <= value <= 1 for value in found)
    assert all(0 < rate.smoothed < 1 for rate in rates)


def test_settings_are_checked() -> None:
    for n, horizon in ((0, 1), (1, 0)):
        with pytest.raises(ConfigError, match="n >= 1 and horizon >= 1"):
            Prover(Kernel(), policy(), n=n, horizon=horizon)


def parts() -> Parts[State]:
    learner = Tabular(rows=256, width=8).double()
    prover = Prover(Kernel(), policy(), n=4, horizon=HORIZON)
    return Parts(
        learner,
        [PROBLEM],
        partial(forward_looking, beta=0.5),
        log_return,
        domain=Kernel(),
        search=partial(sample, n=6, max_steps=HORIZON),
        reference=learner.frozen_copy(),
        heads=Heads(log_flow=StateTable(rows=256).double(), state_reward=partial(reward.earned, rates=prover)),
    )


def test_a_run_that_was_interrupted_meets_the_same_estimates(tmp_path: Path) -> None:
    config = TrainConfig(steps=6, learning_rate=0.05)
    tables = []
    for name, stop in (("whole", 6), ("broken", 3)):
        run = Run.create(tmp_path / name, {})
        train(replace(config, steps=stop), parts(), run)
        made = parts()
        train(config, made, run)  # in fresh parts: what the prover knew is gone
        assert isinstance(made.policy, Tabular)
        tables.append(made.policy.table.detach())
    assert torch.equal(*tables)
    assert tables[0].any()
