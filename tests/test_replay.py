from __future__ import annotations

import math
import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Observation, Problem, Proposal, Step, Trajectory
from surpass.errors import ConfigError
from surpass.replay import Preference, Replay, by_recency, by_reward, jointly, uniformly
from tests.learning import ACCEPTED


def play(*actions: str, key: str = "p") -> Trajectory:
    return Trajectory(Problem(key), tuple(Step(Observation(""), Proposal(action)) for action in actions), ACCEPTED)


def rewards(replay: Replay, key: str = "p") -> list[float]:
    return [log_reward for log_reward, _ in replay.stored(key)]


def test_the_lowest_reward_leaves_first() -> None:
    replay = Replay(capacity=3, tolerance=0.0)
    for i, log_reward in enumerate([-3.0, -1.0, -2.0]):
        assert replay.add(play(f"a{i}"), log_reward)
    assert not replay.add(play("worse"), -4.0)
    assert not replay.add(play("no better than the worst"), -3.0)
    assert replay.add(play("better"), -0.5)
    assert rewards(replay) == [-1.0, -2.0, -0.5]
    assert replay.add(play("another problem", key="q"), -9.0)
    assert len(replay) == 4


def test_exact_duplicates_are_rejected_even_at_a_higher_reward() -> None:
    replay = Replay(tolerance=0.0)
    assert replay.add(play("intros.", "auto."), -5.0)
    assert not replay.add(play("intros.", "auto."), 0.0)
    assert replay.add(play("intros.auto."), -5.0)  # other actions, though the same letters
    assert rewards(replay) == [-5.0, -5.0]


@pytest.mark.parametrize(("new", "stays"), [(-4.0, [-4.0, -1.0]), (-5.0, [-5.0, -1.0]), (-6.0, [-5.0, -1.0])])
def test_of_near_duplicates_the_higher_reward_stays(new: float, stays: list[float]) -> None:
    replay = Replay(tolerance=0.25)
    replay.add(play("apply and_comm."), -5.0)
    replay.add(play("induction n; simpl; auto."), -1.0)
    assert replay.add(play("apply and_comm_x."), new) == (new > -5.0)
    assert sorted(rewards(replay)) == sorted(stays)


def test_the_tolerance_is_a_share_of_both_lengths() -> None:
    # distance 2 of lengths 4 + 4: near from a share above 1/4 on
    for tolerance, kept in ((0.25, True), (0.26, False)):
        replay = Replay(tolerance=tolerance)
        replay.add(play("aaaa"), -1.0)
        assert replay.add(play("aabb"), -2.0) == kept


def test_short_distinct_solutions_stand_side_by_side() -> None:
    replay = Replay()
    for action in ("auto.", "eauto.", "tauto.", "lia.", "nia."):
        assert replay.add(play(action), 0.0)
    assert not replay.add(play("auto."), 0.0)
    assert rewards(replay) == [0.0] * 5


def test_draw_is_without_repetition_and_by_problem() -> None:
    replay = Replay(tolerance=0.0)
    for i in range(6):
        replay.add(play(f"tactic {i}"), -float(i))
    replay.add(play("other", key="q"), 0.0)
    for n, expected in ((3, 3), (6, 6), (50, 6)):
        drawn = replay.draw("p", n, rng=random.Random(n))
        assert len(drawn) == len({trajectory.actions for trajectory in drawn}) == expected
        assert all(trajectory.problem.key == "p" for trajectory in drawn)
    assert replay.draw("unknown", 3, rng=random.Random(0)) == []
    seen = {trajectory.actions for seed in range(60) for trajectory in replay.draw("p", 1, rng=random.Random(seed))}
    assert len(seen) == 6


def shares(prefer: Preference, log_rewards: list[float]) -> list[float]:
    """How often each entry is the one drawn, in order of arrival."""
    replay = Replay(tolerance=0.0, prefer=prefer)
    for i, log_reward in enumerate(log_rewards):
        replay.add(play(f"tactic {i}"), log_reward)
    drawn = [replay.draw("p", 1, rng=random.Random(seed))[0].actions[0] for seed in range(3000)]
    return [drawn.count(f"tactic {i}") / 3000 for i in range(len(log_rewards))]


def test_draws_as_preferred() -> None:
    log_rewards = [-1.0, 0.0, -2.0]
    weights: dict[Preference, list[float]] = {
        uniformly: [1.0, 1.0, 1.0],
        by_reward: [math.exp(-1.0), 1.0, math.exp(-2.0)],
        partial(by_reward, alpha=0.0): [1.0, 1.0, 1.0],
        partial(by_recency, lifetime=2.0): [math.exp(-1.0), math.exp(-0.5), 1.0],
        partial(jointly, preferences=[by_reward, partial(by_recency, lifetime=2.0)]): [
            math.exp(-2.0),
            math.exp(-0.5),
            math.exp(-2.0),
        ],
    }
    for prefer, expected in weights.items():
        assert shares(prefer, log_rewards) == pytest.approx([one / sum(expected) for one in expected], abs=0.03)


def test_a_tiny_reward_is_still_drawn_after_the_others() -> None:
    replay = Replay(tolerance=0.0, prefer=partial(by_reward, alpha=1e6))
    for i in range(4):
        replay.add(play(f"tactic {i}"), -float(i))
    assert [one.actions[0] for one in replay.draw("p", 9, rng=random.Random(0))] == [f"tactic {i}" for i in range(4)]


@given(
    st.lists(st.tuples(st.text(max_size=5), st.sampled_from("pq"), st.floats(-30, 0)), max_size=12),
    st.sampled_from([0.0, 0.25]),
)
def test_invariants_and_exact_restoration(offers: list[tuple[str, str, float]], tolerance: float) -> None:
    replay, best = Replay(capacity=3, tolerance=tolerance), dict[str, float]()
    for action, key, log_reward in offers:
        new = action not in {kept.actions[0] for _, kept in replay.stored(key)}
        replay.add(play(action, key=key), log_reward)
        best[key] = max(best.get(key, log_reward), log_reward) if new else best[key]
    for key in best:
        assert len(replay.stored(key)) <= 3
        assert max(rewards(replay, key)) == best[key]
        assert len({kept.actions for _, kept in replay.stored(key)}) == len(replay.stored(key))
    twin = Replay(capacity=3)
    twin.load_state_dict(replay.state_dict())
    assert all(twin.stored(key) == replay.stored(key) for key in "pq")


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="capacity"):
        Replay(capacity=0)
    with pytest.raises(ConfigError, match="tolerance"):
        Replay(tolerance=2.0)
