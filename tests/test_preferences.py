"""A policy that sees its preference: rules stay those within, and the target moves along the front."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from surpass.conformance import check_domain
from surpass.core import Observation, Problem, Status, Trajectory, Verdict, replay
from surpass.domains.proofs.kernel.domain import Kernel, State, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import ConfigError, DataError
from surpass.evaluation.pareto import hypervolume, pareto_front
from surpass.models.scripted import Automaton, Place
from surpass.models.tabular import Tabular
from surpass.objectives.balance import log_variance
from surpass.preferences import Conditioned, brevity, product, simplex, success, total
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from surpass.verify import judge_again
from tests.automata import forest

NAMES = ("success", "brevity")
GRID = simplex(2, 4)
SCORES = (success, brevity)
HORIZON = 6
STATEMENT = pose("A -> ~ A -> B")


def conditioned() -> Conditioned[State]:
    return Conditioned(Kernel(), NAMES, GRID)


PROBLEMS = list(conditioned().posed(STATEMENT))


def test_the_wrapped_kernel_is_a_domain() -> None:
    check_domain(conditioned(), "train", limit=2 * len(GRID))


def test_problems_come_once_for_each_preference_and_states_of_two_never_merge() -> None:
    domain = conditioned()
    within = list(Kernel().problems("train"))[:3]
    found = list(domain.problems("train"))[: 3 * len(GRID)]
    assert [one.data["key"] for one in found] == [one.key for one in within for _ in GRID]
    assert [tuple(one.data["weights"]) for one in found[: len(GRID)]] == list(GRID)
    seen = [domain.observe(domain.start(one)) for one in found]
    assert len({one.text for one in seen}) == len({one.key for one in seen}) == len(found)
    assert seen[1].text.startswith("weights: success 0.25, brevity 0.75\n")
    assert seen[1].legal == Kernel().observe(Kernel().start(within[0])).legal
    bare = Conditioned(replace(forest(), merges=False), NAMES, GRID)
    assert bare.observe(bare.start(next(iter(bare.problems("train"))))).key == ""


def test_the_checker_within_judges_and_judges_again() -> None:
    domain = conditioned()
    problem = next(iter(domain.problems("train")))
    found = replay(domain, problem, problem.data["solution"])
    assert found.solved
    assert [one.status for one in judge_again([found])] == [Status.ACCEPTED]
    assert replay(domain, problem, ["nonsense"]).verdict.status is Status.REJECTED


@dataclass
class Opened:
    """A domain that holds something."""

    domain: Automaton
    open: int = 0

    def __enter__(self) -> Opened:
        self.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.open -= 1

    def problems(self, split: str) -> Iterable[Problem]:
        return self.domain.problems(split)

    def start(self, problem: Problem) -> Place:
        return self.domain.start(problem)

    def observe(self, state: Place) -> Observation:
        return self.domain.observe(state)

    def step(self, state: Place, action: str) -> Place:
        return self.domain.step(state, action)

    def verify(self, state: Place) -> Verdict | None:
        return self.domain.verify(state)


def test_entering_enters_the_domain_within() -> None:
    held = Opened(forest())
    with Conditioned(held, NAMES, GRID) as domain:
        assert held.open == 1
        assert next(iter(domain.problems("train"))).key == "n0 [success 0, brevity 1]"
    assert held.open == 0
    assert pickle.loads(pickle.dumps(conditioned())) == conditioned()


def test_simplex_covers_the_corners_evenly() -> None:
    assert simplex(1, 3) == ((1.0,),)
    found = simplex(3, 4)
    assert len(found) == len(set(found)) == math.comb(6, 2)
    assert all(math.fsum(weights) == 1 for weights in found)
    assert {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)} <= set(found)


def test_rewards_are_the_weighted_product_and_sum() -> None:
    proof = next(leaf for leaf in trajectories(Kernel(), STATEMENT, HORIZON) if leaf.solved and len(leaf.steps) == 4)
    plays = [replace(proof, problem=one) for one in PROBLEMS]
    failed = [replace(one, verdict=replace(one.verdict, status=Status.REJECTED)) for one in plays]
    shares = torch.tensor(GRID, dtype=torch.float64)
    torch.testing.assert_close(product(plays, scores=SCORES), shares @ torch.tensor([0.0, -2.0]).double())
    torch.testing.assert_close(product(failed, scores=SCORES), shares @ torch.tensor([-5.0, -2.0]).double())
    rewards = torch.tensor([-5.0, -2.0], dtype=torch.float64).exp()
    torch.testing.assert_close(total(failed, scores=SCORES), (shares @ rewards).log())
    floor = partial(success, floor=-math.inf)
    assert product(failed[:1], scores=(floor, brevity)).tolist() == [-2.0]  # a weight of 0 asks for nothing


def test_what_does_not_fit_is_told() -> None:
    for grid in ((), ((0.5, 0.6),), ((1.5, -0.5),), ((1.0,),), ((0.5, 0.5), (0.5000000001, 0.4999999999))):
        with pytest.raises(ConfigError, match="expected"):
            Conditioned(Kernel(), NAMES, grid)
    with pytest.raises(DataError, match="as `Conditioned` poses it"):
        conditioned().start(STATEMENT)
    play = Trajectory(PROBLEMS[0], (), replay(Kernel(), STATEMENT, []).verdict)
    for reward in (product, total):
        with pytest.raises(DataError, match="expected 1 weights"):
            reward([play], scores=(success,))
    for wrong in ((0, 1), (1, 0)):
        with pytest.raises(ConfigError, match="objectives >= 1"):
            simplex(*wrong)


def outcome(policy: Tabular, problem: Problem) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Return log p and log R of every play, and the expected success and brevity, exactly."""
    leaves = trajectories(conditioned(), problem, HORIZON)
    with torch.no_grad():
        logp = policy.logp(leaves).sum(1)
    p = logp.exp().tolist()
    chance = math.fsum(x for x, leaf in zip(p, leaves, strict=True) if leaf.solved)
    short = math.fsum(x * math.exp(brevity(leaf)) for x, leaf in zip(p, leaves, strict=True))
    return logp, product(leaves, scores=SCORES), (chance, short)


def test_conditioning_moves_a_policy_along_the_front(tmp_path: Path) -> None:
    """One table, five preferences, all plays in every batch: each becomes its target, and together they are a front."""
    policy = Tabular(rows=512, width=8).double()
    reference = policy.frozen_copy()
    parts: Parts[State] = Parts(
        policy,
        PROBLEMS,
        partial(log_variance, beta=3.0),
        partial(product, scores=SCORES),
        demonstrations={one.key: trajectories(conditioned(), one, HORIZON) for one in PROBLEMS},
        reference=reference,
    )
    config = TrainConfig(
        steps=120,
        problems_per_step=5,
        learning_rate=0.2,
        schedule="cosine",
        clip=10.0,
        checkpoint_every=200,
        micro_batch=200,
    )
    before = [outcome(reference, problem)[2] for problem in PROBLEMS]
    train(config, parts, Run.create(tmp_path / "run", {}))
    points = []
    for problem in PROBLEMS:
        logp, log_reward, point = outcome(policy, problem)
        target = (outcome(reference, problem)[0] + 3.0 * log_reward).softmax(0)
        assert float((logp.exp() - target).abs().sum()) / 2 < 0.05
        points.append(point)
    assert all(one == before[0] for one in before)  # before, the weights are words to it
    assert [a for a, _ in points] == sorted(a for a, _ in points)  # more weight on success: more success
    assert [b for _, b in points] == sorted((b for _, b in points), reverse=True)
    assert points[0][0] < 0.1
    assert points[-1][0] > 0.8
    assert pareto_front(points) == list(range(len(GRID)))
    single = max(hypervolume([point], (0, 0)) for point in points)
    assert hypervolume(points, (0, 0)) > 1.2 * single
