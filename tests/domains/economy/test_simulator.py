"""The kernel against the reference, and what a batch may not change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.domains.economy.reference import Game
from surpass.domains.economy.rules import DIRT, RULES, VIEW, WHO, rules_of
from surpass.domains.economy.simulator import Commons
from surpass.errors import ConfigError
from tests.domains.economy.play import actions_for, crowded, same

PRESETS = [(name, preset) for name in RULES for preset in RULES[name]]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_kernel_and_reference_are_equal_step_by_step(name: str, preset: str) -> None:
    rules, seeds = rules_of(name, preset), [0, 1, 2**40]
    commons, games = Commons(rules, seeds), [Game(rules, seed) for seed in seeds]
    assert same(commons, commons.now, games)
    for actions in actions_for(rules, len(seeds), 0, 120):
        turn = commons.step(actions)
        for game, chosen in zip(games, actions.tolist(), strict=True):
            game.step(chosen)
        assert same(commons, turn, games)


@given(st.sampled_from(list(RULES)), st.integers(2, 7), st.integers(0, 2**63), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_kernel_and_reference_are_equal_where_everything_happens(
    name: str, agents: int, seed: int, shuffled: bool, ripe: bool
) -> None:
    rules = replace(crowded(name, agents), shuffled=shuffled, ripe=ripe)
    commons, game = Commons(rules, [seed]), Game(rules, seed)
    for actions in actions_for(rules, 1, seed % 1000, 75):
        turn = commons.step(actions)
        game.step(actions[0].tolist())
        assert same(commons, turn, [game])
    assert game.done


def test_crowded_games_reach_every_rule() -> None:
    """The test above means something: zaps, cleaning, eating, regrowth and early ends all happen in it."""
    for name in RULES:
        rules = crowded(name)
        commons = Commons(rules, range(20))
        ends, seen = np.zeros(20, int), np.zeros(4, int)
        for step, actions in enumerate(actions_for(rules, 20, 0, 75)):
            turn = commons.step(actions)
            ends = np.where((ends == 0) & turn.done, step + 1, ends)
            seen += [turn.hit.sum(), turn.cleaned.sum(), turn.ate.sum(), turn.grown.sum()]
        assert (seen > 50).all(), (name, seen)
        assert len(set(ends)) > 3
        assert set(ends) <= {29, 39, 49, 59, 69, 70}


@pytest.mark.parametrize("name", RULES)
def test_a_game_does_not_depend_on_its_batch(name: str) -> None:
    rules, games = rules_of(name, "melting_pot"), 70
    actions = actions_for(rules, games, 1, 60)
    together, shared = Commons(rules, range(games), threads=1), Commons(rules, range(games), threads=2)
    turned, alone = Commons(rules, range(games)[::-1]), Commons(rules, [7])
    assert shared.threads == 2
    for chosen in actions:
        first, second = together.step(chosen), shared.step(chosen)
        third, fourth = turned.step(chosen[::-1]), alone.step(chosen[7:8])
        for field in first.__slots__:
            one = getattr(first, field)
            assert np.array_equal(one, getattr(second, field))
            assert np.array_equal(one, getattr(third, field)[::-1])
            assert np.array_equal(one[7:8], getattr(fourth, field))


def test_seeds_differ_and_repeat() -> None:
    rules = rules_of("cleanup", "melting_pot")
    commons = Commons(rules, [1, 2, 1])
    assert np.array_equal(commons.now.views[0], commons.now.views[2])
    assert not np.array_equal(commons.now.views[0], commons.now.views[1])
    before = commons.boards()
    for actions in actions_for(rules, 3, 0, 5):
        commons.step(actions)
    commons.reset(where=[True, False, True])
    after = commons.boards()
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])
    commons.reset([2, 2, 9], where=[True, False, False])
    assert commons.seeds == (2, 2, 1)


@pytest.mark.parametrize("name", RULES)
def test_apples_are_conserved_and_agents_never_overlap(name: str) -> None:
    for rules in (crowded(name), rules_of(name, "melting_pot")):
        commons = Commons(rules, range(40))
        before = commons.now.apples
        for actions in actions_for(rules, 40, 2, 70):
            turn, boards = commons.step(actions), commons.boards()
            assert np.array_equal(turn.apples, before + turn.grown - turn.ate.sum(1))
            assert np.array_equal(turn.apples, (boards % WHO == 3).sum((1, 2)))
            assert np.array_equal(turn.dirt, (boards % WHO == DIRT).sum((1, 2)))
            here = [np.bincount(board[board // WHO % WHO > 0] // WHO % WHO, minlength=8) for board in boards]
            there = (turn.views != 0).any((2, 3))
            assert np.array_equal(np.array(here)[:, 1:], there.astype(int)), "each agent once, or out"
            assert turn.ate.max() <= (1 if name == "harvest" else 2), "2: one grew under it, one it went to"
            before = turn.apples


def test_a_view_is_seen_from_the_agent() -> None:
    commons = Commons(rules_of("harvest", "melting_pot"), range(50))
    own = commons.now.views[:, :, VIEW - 2, VIEW // 2]
    assert (own // WHO % WHO == np.arange(1, 8)).all()


def test_a_finished_game_stays_as_it_is() -> None:
    rules = replace(rules_of("harvest"), length=3)
    commons = Commons(rules, range(2))
    for actions in actions_for(rules, 2, 0, 3):
        turn = commons.step(actions)
    assert turn.done.all()
    last = commons.boards()
    turn = commons.step(np.ones((2, 7), int))
    assert np.array_equal(commons.boards(), last)
    assert not turn.ate.any()


def test_views_are_written_where_told() -> None:
    rules = rules_of("harvest")
    commons, views = Commons(rules, range(3)), np.zeros((3, 7, 11, 11), np.uint8)
    turn = commons.step(np.zeros((3, 7), int), views=views)
    assert turn.views is views
    assert views.any()
    with pytest.raises(ConfigError, match="views"):
        commons.step(np.zeros((3, 7), int), views=views[:2])


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (np.zeros((2, 7), int), "expected whole numbers"),
        (np.zeros((3, 7)), "float64"),
        (np.full((3, 7), 7), "expected 0 to 6, found 7"),
        (np.full((3, 7), -1), "found -1"),
        (np.full((3, 7), np.nan), "float64"),
    ],
)
def test_actions_that_cannot_be(actions: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Commons(rules_of("harvest"), range(3)).step(actions)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agents", 1),
        ("agents", 8),
        ("agents", 2.0),
        ("length", 0),
        ("actions", 0),
        ("growth", float("nan")),
        ("dirt_chance", 1.5),
        ("end_chance", -0.1),
        ("depletion", 0.0),
        ("zap_out", -1),
        ("regrowth", (0.1, 2.0)),
        ("regrowth", (0.1,) * 17),
        ("map", "WWW\nW W\nWWW"),
        ("map", "WWW\nWPA\nWWW"),
        ("map", "WWWW\nWPxW\nWWWW"),
        ("map", "WWWW\nWW"),
    ],
)
def test_rules_that_cannot_be_played(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        Commons(replace(rules_of("harvest", "melting_pot"), **{field: value}), [0])  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [[], [0.5], ["a"]])
def test_seeds_that_cannot_be(seeds: list[int]) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        Commons(rules_of("harvest"), seeds)


def test_unknown_rules_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="harvest, cleanup"):
        rules_of("harvests")
    with pytest.raises(ConfigError, match="paper, melting_pot"):
        rules_of("harvest", "none")


@pytest.mark.slow  # compiles a kernel of its own
def test_a_large_map_is_played_equally() -> None:
    rows = ["W" * 90, *["W" + "P" * 30 + "AF" * 29 + "W"] * 3, *["W" + " " * 88 + "W"] * 57, "W" * 90]
    rules = replace(rules_of("cleanup", "melting_pot"), map="\n".join(rows), agents=3)
    commons, games = Commons(rules, [0, 1]), [Game(rules, 0), Game(rules, 1)]
    for actions in actions_for(rules, 2, 0, 60):
        turn = commons.step(actions)
        for game, chosen in zip(games, actions.tolist(), strict=True):
            game.step(chosen)
        assert same(commons, turn, games)
