"""Problems are drawn by what was recorded of them, and a hopeless or mastered one seldom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from surpass.core import Problem, Proposal, Step, Trajectory
from surpass.curriculum import Curriculum, learnable, learned, log_z, near, success
from surpass.drawing import draw
from surpass.errors import ConfigError
from surpass.objectives.balance import ProblemLogZ, log_variance
from surpass.objectives.batch import Batch, Heads, collate, log_return
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from tests.learning import ACCEPTED, ACTIONS, PROBLEMS, REJECTED, TEXTS, TinyDomain, TinyPolicy, play

KEYS = [problem.key for problem in PROBLEMS]


def attempt(key: str, action: str, *, solved: bool) -> Trajectory:
    domain = TinyDomain(length=1)
    observation = domain.observe(domain.start(Problem(key)))
    policy = TinyPolicy(TEXTS)
    step = Step(observation, Proposal(action, None, policy.encode(action)))
    return Trajectory(Problem(key), (step,), ACCEPTED if solved else REJECTED)


def batch_of(plays: Sequence[Trajectory], policy: TinyPolicy, reference: TinyPolicy | None = None) -> Batch:
    heads = Heads(log_z=ProblemLogZ(KEYS, initial=-3.0))
    return collate(policy, plays, log_return, reference=reference or TinyPolicy(TEXTS, seed=1), heads=heads)


def test_weighted_draws_are_proportional_and_without_repetition() -> None:
    weights = [0.5, 0.3, 0.2, 0.0]
    logs = [math.log(weight) if weight else -math.inf for weight in weights]
    firsts, seconds = Counter[int](), Counter[int]()
    for seed in range(4000):
        first, second, *_ = draw(logs, 2, rng=Random(seed))
        assert first != second
        firsts[first] += 1
        seconds[second] += 1
    for index, weight in enumerate(weights):
        assert firsts[index] / 4000 == pytest.approx(weight, abs=0.025)
    # without replacement: sum over other firsts i of w_i w_j / (1 - w_i)
    expected = sum(weights[i] * weights[2] / (1 - weights[i]) for i in (0, 1))
    assert seconds[2] / 4000 == pytest.approx(expected, abs=0.025)
    assert draw(logs, 9, rng=Random(0))[-1] == 3
    assert draw([], 3, rng=Random(0)) == []


def test_statistics_of_a_batch() -> None:
    plays = [attempt(KEYS[0], "a", solved=True), attempt(KEYS[0], "b", solved=False)]
    policy, reference = TinyPolicy(TEXTS), TinyPolicy(TEXTS, seed=1)
    batch = batch_of(plays, policy, reference)
    assert success(batch).tolist() == [1.0, 0.0]
    assert learned(batch).tolist() == [-3.0, -3.0]
    ours, theirs = (one.probabilities(f"{KEYS[0]}/0").log() for one in (policy, reference))
    at = [ACTIONS.index("a"), ACTIONS.index("b")]
    expected = 0.7 * torch.tensor([0.0, -10.0]) + theirs[at] - ours[at]
    torch.testing.assert_close(log_z(batch, beta=0.7), expected.double())
    plain = 0.7 * torch.tensor([0.0, -10.0]) - ours[at]
    torch.testing.assert_close(log_z(batch, beta=0.7, relative=False), plain.double())
    with pytest.raises(ConfigError, match="needs log_z"):
        learned(collate(policy, plays, log_return))


def test_at_balance_the_statistic_is_log_z_of_every_trajectory() -> None:
    """A policy that is the target: the enumerated partition function comes out, whatever is sampled."""
    reference = TinyPolicy(TEXTS, seed=1)
    plays = [attempt(KEYS[0], action, solved=action.startswith("a")) for action in ACTIONS]
    prior = reference.probabilities(f"{KEYS[0]}/0")
    log_rewards = torch.tensor([0.0 if action.startswith("a") else -10.0 for action in ACTIONS]).double()
    exact = (prior.log() + 0.7 * log_rewards).logsumexp(0)
    policy = TinyPolicy(TEXTS)
    row = policy.rows[f"{KEYS[0]}/0"]
    weight = dict(zip(ACTIONS, (prior.log() + 0.7 * log_rewards).exp().tolist(), strict=True))
    with torch.no_grad():
        for index, prefix in enumerate(word for word in ACTIONS if len(word) < 3):
            mass = [weight[prefix]]
            mass += [sum(w for word, w in weight.items() if word.startswith(prefix + letter)) for letter in "ab"]
            policy.table[row, index] = torch.tensor(mass).double().log()
    found = log_z(batch_of(plays, policy, reference), beta=0.7)
    torch.testing.assert_close(found, exact.expand_as(found))


def test_the_middle_is_drawn_most() -> None:
    curriculum = Curriculum(success, learnable)
    curriculum.estimates = {"hopeless": 0.0, "half": 0.5, "mastered": 1.0}
    problems = [Problem(key) for key in curriculum.estimates]
    found = Counter(curriculum.draw(problems, 1, rng=Random(seed))[0].key for seed in range(2000))
    assert found["half"] / 2000 == pytest.approx(1 / 1.1, abs=0.025)
    assert min(found.values()) > 50
    aimed = Curriculum(success, partial(near, centre=-5.0, width=1.0))
    aimed.estimates = {"easy": 0.0, "right": -5.0, "hard": -10.0}
    drawn = Counter(
        aimed.draw([Problem(key) for key in aimed.estimates], 1, rng=Random(seed))[0].key for seed in range(500)
    )
    assert drawn.most_common(1)[0][0] == "right"


def test_what_was_never_drawn_comes_first_and_what_gives_no_verdict_does_not_stay_there() -> None:
    curriculum = Curriculum(success, learnable)
    problems = [Problem("known"), Problem("broken")]
    curriculum.estimates["known"] = 0.5
    found = [curriculum.draw(problems, 1, rng=Random(seed))[0].key for seed in range(400)]
    early, late = (part.count("broken") for part in (found[:40], found[-40:]))
    assert early > 2 * late
    assert len(curriculum.draw(problems, 9, rng=Random(0))) == 2


def test_estimates_move_by_the_mean_of_fresh_rows_alone() -> None:
    policy, curriculum = TinyPolicy(TEXTS), Curriculum(success, learnable, memory=0.75)
    fresh = [attempt(KEYS[0], "a", solved=True), attempt(KEYS[0], "b", solved=False)]
    demonstrated = [attempt(KEYS[0], "aa", solved=True), attempt(KEYS[1], "b", solved=True)]
    curriculum.record(fresh, batch_of([*fresh, *demonstrated], policy))
    assert curriculum.estimates == {KEYS[0]: 0.5}
    curriculum.record(fresh[:1], batch_of([fresh[0], *demonstrated], policy))
    assert curriculum.estimates == {KEYS[0]: 0.75 * 0.5 + 0.25}
    assert curriculum.metrics() == {"curriculum_seen": 1.0, "curriculum_mean": 0.625}


def broken(batch: Batch) -> Tensor:
    return torch.tensor([math.nan, 1.0, math.inf])


def test_numbers_that_are_none_say_nothing_or_are_told() -> None:
    plays = [attempt(key, "a", solved=True) for key in (KEYS[0], KEYS[0], KEYS[1])]
    curriculum = Curriculum(broken, lambda estimate: math.nan)
    curriculum.record(plays, batch_of(plays, TinyPolicy(TEXTS)))
    assert curriculum.estimates == {KEYS[0]: 1.0}
    with pytest.raises(ConfigError, match="'t-a' below infinity, found nan"):
        curriculum.draw(PROBLEMS, 1, rng=Random(0))
    with pytest.raises(ConfigError, match="memory < 1"):
        Curriculum(success, learnable, memory=1.0)


@given(st.floats(0, 1), st.floats(-100, 10))
def test_weights_are_at_most_those_of_the_best_and_never_nothing(rate: float, estimate: float) -> None:
    assert math.log(0.05) <= learnable(rate) <= 0
    assert math.log(0.05) <= near(estimate, centre=-2.0, width=0.5) <= 0


def test_in_training_the_solvable_problem_is_drawn_more_than_the_hopeless(tmp_path: Path) -> None:
    policy = TinyPolicy(TEXTS)
    with torch.no_grad():  # t-b is never solved: its first word ends at once
        policy.table[policy.rows["t-b/0"], 0] = torch.tensor([9.0, 0.0, 0.0])
        for text in ("t-a/0", "t-a/1"):  # t-a about half of the time
            policy.table[policy.rows[text], 0] = torch.tensor([-9.0, 1.0, 0.0])
    curriculum = Curriculum(success, learnable)
    parts = Parts(
        policy,
        PROBLEMS,
        partial(log_variance, beta=0.1),
        log_return,
        domain=TinyDomain(),
        search=partial(play, n=4),
        reference=policy.frozen_copy(),
        curriculum=curriculum,
    )
    run = Run.create(tmp_path / "run", {})
    last = train(TrainConfig(steps=60, learning_rate=1e-4), parts, run)
    drawn = Counter(one.problem.key for one in run.trajectories())
    assert drawn["t-a"] > 1.5 * drawn["t-b"] > 0
    assert last["curriculum_seen"] == 2


def test_a_restored_curriculum_draws_what_the_other_draws() -> None:
    problems = [Problem(f"p{i}") for i in range(6)]
    first = Curriculum(success, learnable)
    first.estimates = {"p0": 0.5, "p1": 0.9}
    for seed in range(5):
        first.draw(problems, 2, rng=Random(seed))
    twin = Curriculum(success, learnable)
    twin.load_state_dict(first.state_dict())
    assert (twin.estimates, twin.draws) == (first.estimates, first.draws)
    for seed in range(20):
        assert first.draw(problems, 2, rng=Random(seed)) == twin.draw(problems, 2, rng=Random(seed))
