"""The rules, one by one on small maps, and every probability by counting. Scenes start facing north, players 1 to 7."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from surpass.domains.economy import chance, kernel
from surpass.domains.economy.layout import layout_of
from surpass.domains.economy.reference import Game
from surpass.domains.economy.rules import ACTIONS, APPLE, BARE, GRASS, LIGHT, RIVER, RULES, WHO, Rules, rules_of
from surpass.domains.economy.simulator import Commons
from tests.domains.economy.play import unlikely

STAY, FORWARD, BACKWARD, LEFT, RIGHT, TURN_LEFT, TURN_RIGHT, ZAP, CLEAN = range(9)


def scene(name: str, text: str, agents: int = 2, **changes: object) -> Game:
    """A game on a small map, walls around it; nothing happens by chance unless told."""
    rows = text.split("/")
    walled = "\n".join(["W" * (len(rows[0]) + 2), *(f"W{row}W" for row in rows), "W" * (len(rows[0]) + 2)])
    quiet = replace(rules_of(name), map=walled, agents=agents, actions=9, dirt_chance=0.0)
    return Game(replace(quiet, **changes), 0)  # type: ignore[arg-type]


def test_maps_are_those_of_the_paper() -> None:
    for preset in ("paper", "melting_pot"):
        harvest, cleanup = (layout_of(rules_of(name, preset)) for name in ("harvest", "cleanup"))
        assert (harvest.height, harvest.width, len(harvest.apples)) == (18, 24, 64)
        assert (cleanup.height, cleanup.width, len(cleanup.apples)) == (21, 30, 122)
        assert (len(cleanup.river), sum(cleanup.dirty)) == (147, 79)
    assert len(layout_of(rules_of("cleanup", "melting_pot")).again[0]) == 19
    first = layout_of(rules_of("harvest", "melting_pot")).first
    assert [len(places) for places in first] == [2, 2, 60, 60, 60, 60, 60]
    own = [places[0] for places in layout_of(rules_of("harvest")).first]
    assert own == [(13, 17), (13, 14), (7, 7), (7, 16), (13, 11), (13, 8), (13, 5)]
    own = [places[0] for places in layout_of(rules_of("cleanup")).first]
    assert own == [(9, 11), (10, 8), (8, 8), (9, 5), (11, 5), (11, 11), (12, 8)]


def test_neighbours_are_those_within_two_cells() -> None:
    layout = layout_of(scene("harvest", "AAAAA/AAAAA/AAAAA/AAAAA/AAAAA/1  2 ").rules)
    middle = layout.apples[12]
    near = {(row - middle[0], column - middle[1]) for row, column in (layout.apples[site] for site in layout.near[12])}
    assert near == {(r, c) for r in range(-2, 3) for c in range(-2, 3) if 0 < r * r + c * c <= 4}
    assert len(near) == 12


@pytest.mark.parametrize(
    ("turns", "action", "goes"),
    [
        (0, FORWARD, (-1, 0)),
        (0, BACKWARD, (1, 0)),
        (0, LEFT, (0, -1)),
        (0, RIGHT, (0, 1)),
        (1, FORWARD, (0, 1)),
        (1, LEFT, (-1, 0)),
        (2, RIGHT, (0, -1)),
        (3, FORWARD, (0, -1)),
        (0, STAY, (0, 0)),
        (0, ZAP, (0, 0)),
    ],
)
def test_moves_are_relative_to_facing(turns: int, action: int, goes: tuple[int, int]) -> None:
    game = scene("harvest", "     /     /  1  /     /2    ")
    for _ in range(turns):
        game.step([TURN_RIGHT, STAY])
    row, column = game.agents[0].place
    game.step([action, STAY])
    assert game.agents[0].place == (row + goes[0], column + goes[1])
    assert game.agents[0].facing == turns
    game.step([TURN_LEFT, STAY])
    assert game.agents[0].facing == (turns - 1) % 4


def test_walls_and_agents_block_and_later_ones_wait() -> None:
    game = scene("harvest", "1/2/ ")
    game.step([FORWARD, FORWARD])
    assert [agent.place[0] for agent in game.agents] == [1, 2]
    game.step([BACKWARD, BACKWARD])  # the last player moves first, so both go
    assert [agent.place[0] for agent in game.agents] == [2, 3]
    game.step([FORWARD, FORWARD])  # it finds the first still there
    assert [agent.place[0] for agent in game.agents] == [1, 3]


def test_an_apple_is_eaten_once_and_regrows_two_steps_later_at_the_earliest() -> None:
    """Eaten in step 1, its neighbours are counted for the first time in step 2, and rolled for in step 3."""
    game = scene("harvest", "A A/1 2", regrowth=(0.0, 1.0))
    seen = []
    for action in (FORWARD, BACKWARD, STAY, STAY):
        game.step([action, STAY])
        seen.append((game.agents[0].ate, game.apples[0], game.grown))
    assert seen == [(1, False, 0), (0, False, 0), (0, True, 1), (0, True, 0)]


def test_an_apple_alone_never_comes_back() -> None:
    game = scene("harvest", "A  A/1 2 ", regrowth=(0.0, 1.0))
    for action in (FORWARD, BACKWARD, *[STAY] * 20):
        game.step([action, STAY])
        assert not game.apples[0]
    assert game.board()[1, 1] == BARE


def test_an_apple_that_grows_under_an_agent_is_eaten_at_once() -> None:
    game = scene("harvest", "A A/1 2", regrowth=(0.0, 1.0))
    ate = []
    for action in (FORWARD, STAY, STAY, STAY, STAY):
        game.step([action, STAY])
        ate.append(game.agents[0].ate)
    assert ate == [1, 0, 1, 0, 1]
    assert not game.apples[0]


def test_beams_have_the_shape_of_the_engine() -> None:
    game = scene("cleanup", "       /       /       /   1   /2      ")
    game.step([CLEAN, STAY])
    expected = {(r, 4 + c) for r, c in [(3, 0), (2, 0), (1, 0), *[(r, c) for r in (4, 3, 2) for c in (-1, 1)]]}
    assert set(game.light) == expected
    assert (game.board()[3, 4] // LIGHT, game.board()[4, 4] // WHO) == (2, 1)
    game.step([STAY, STAY])
    assert not game.light


def test_each_ray_cleans_the_first_dirt_and_stops() -> None:
    game = scene("cleanup", "FFFFF/FFFFF/~   ~/ 21  ", growth=0.0)
    game.step([CLEAN, STAY])
    layout = game.layout
    assert game.agents[0].cleaned == 3
    assert {layout.river[cell] for cell, dirty in enumerate(game.dirty) if not dirty} == {(2, 2), (2, 3), (2, 4)}
    assert game.board()[2, 3] == RIVER
    waits = []
    for _ in range(4):
        game.step([CLEAN, STAY])
        waits.append(game.agents[0].cleaned)
    assert waits == [0, 0, 1, 0], "two steps of rest after each beam; the middle ray reaches one row further"


def test_a_zapped_agent_misses_its_steps_and_comes_back() -> None:
    game = scene("harvest", "2    /     /1    ", zap_out=4)
    game.step([ZAP, STAY])
    assert game.agents[1].hit
    gone = []
    for _ in range(6):
        gone.append(game.agents[1].missing > 0)
        assert (not game.views()[1].any()) == gone[-1]
        game.step([STAY, FORWARD if gone[-1] else STAY])
    assert gone == [True] * 5 + [False]
    assert game.agents[1].place == (1, 1)


def test_zaps_stop_at_the_first_agent_and_cross_each_other() -> None:
    game = scene("harvest", "3/2/1/ ", agents=3)
    game.step([ZAP, ZAP, STAY])
    assert [agent.hit for agent in game.agents] == [False, True, True], "2 is hit, and fires all the same"
    assert game.light == {}


def test_zapping_needs_rest_which_those_out_do_not_take() -> None:
    game = scene("harvest", "2/ /1", zap_cooldown=2)
    fired = []
    for _ in range(7):
        game.step([ZAP, STAY])
        fired.append(bool(game.light))
    assert fired == [True, False, False, True, False, False, True]
    commons = Commons(rules_of("harvest", "melting_pot"), [0])
    commons.step(np.full((1, 7), ZAP))
    waiting = commons.readiness()
    assert set(waiting.ravel()) <= {0.0}
    commons.step(np.zeros((1, 7), int))
    assert set(commons.readiness().ravel()) <= {0.0, 0.5}


def test_an_occupied_entry_is_waited_for() -> None:
    game = scene("harvest", "2 /  /1 ", zap_out=1)
    game.step([ZAP, STAY])
    for action in (FORWARD, FORWARD, STAY, STAY):
        game.step([action, STAY])
    assert game.agents[1].missing == 1
    game.step([BACKWARD, STAY])
    assert game.agents[1].missing == 0


def test_clean_up_grows_only_below_the_threshold() -> None:
    """40 % dirt is the end of growth; it is looked at in the step after it was cleaned."""
    game = scene("cleanup", "FFHHH/    A/1   2", ripe=False, growth=1.0, depletion=0.4)
    game.step([STAY, STAY])
    game.step([FORWARD, STAY])
    assert not any(game.apples)
    game.step([CLEAN, STAY])
    assert (sum(game.dirty), any(game.apples)) == (0, False)
    game.step([STAY, STAY])
    assert all(game.apples)


def test_dirt_comes_after_its_delay() -> None:
    game = scene("cleanup", "HHHHH/12   ", dirt_chance=1.0, dirt_after=3)
    dirt = []
    for _ in range(9):
        game.step([STAY, STAY])
        dirt.append(sum(game.dirty))
    assert dirt == [0, 0, 0, 1, 2, 3, 4, 5, 5]


def many(rules: Rules, games: int) -> Commons:
    return Commons(rules, range(games))


def test_regrowth_has_the_chances_of_its_neighbours() -> None:
    """Eat one apple of a patch with n others near, wait, and count; n = 0, 1, 2, 3, 4 (as 3)."""
    for near, odds in enumerate((0.0, 0.0025, 0.005, 0.025, 0.025)):
        patch = "A" if near else " "
        row = {0: " A ", 1: " AA", 2: "AAA", 3: "AAA", 4: "AAA"}[near]
        above = {0: "   ", 1: "   ", 2: "   ", 3: f" {patch} ", 4: f"{patch}{patch} "}[near]
        rules = replace(scene("harvest", f"{above}/{row}/ 1 /2  ").rules, regrowth=(0.0, 0.0025, 0.005, 0.025))
        commons = many(rules, 4000)
        assert len(layout_of(rules).near[layout_of(rules).site[(2, 2)]]) == near
        for action in (FORWARD, BACKWARD):
            turn = commons.step(np.tile([action, STAY], (4000, 1)))
        hits = trials = 0
        for _ in range(10):
            bare = turn.apples == near
            turn = commons.step(np.zeros((4000, 2), int))
            trials, hits = trials + int(bare.sum()), hits + int(turn.grown.sum())
        if near == 0:
            assert hits == 0
        else:
            assert unlikely(hits, trials, odds) < 4, (near, hits, trials)


def test_the_orchard_grows_with_the_cleanliness_of_the_river() -> None:
    for dirty, odds in ((0, 0.05), (1, 0.05 * 0.75), (2, 0.025), (3, 0.05 * 0.25)):
        river = "F" * dirty + "H" * (10 - dirty)
        rules = replace(scene("cleanup", f"{river}/{'A' * 10}/1        2").rules, ripe=False)
        commons = many(rules, 2000)
        before, hits, trials = commons.now.apples, 0, 0
        for _ in range(10):
            turn = commons.step(np.zeros((2000, 2), int))
            trials, hits = trials + int((10 - before).sum()), hits + int(turn.grown.sum())
            before = turn.apples
        assert unlikely(hits, trials, odds) < 4, (dirty, hits, trials)


def test_dirt_comes_half_of_the_time_and_anywhere() -> None:
    rules = replace(scene("cleanup", "HHHHHHHH/12      ").rules, dirt_chance=0.5, dirt_after=2)
    commons = many(rules, 4000)
    for step in range(3):
        turn = commons.step(np.zeros((4000, 2), int))
        assert (step == 2) == turn.dirt.any()
    assert unlikely(int(turn.dirt.sum()), 4000, 0.5) < 4
    cells = (commons.boards()[:, 1, 1:9] % WHO == 7).sum(0)
    assert chi_square(cells) < 24.3, "7 degrees of freedom, one in a thousand"


def test_entries_and_facings_are_uniform() -> None:
    commons = many(rules_of("cleanup", "melting_pot"), 3000)
    boards = commons.boards()
    places = Counter(
        (int(row), int(column)) for board in boards for row, column in zip(*np.nonzero(board // WHO == 1), strict=True)
    )
    assert len(places) == 19
    assert chi_square(np.array(list(places.values()))) < 42.3, "18 degrees of freedom, one in a thousand"
    facings = Counter(Game(commons.rules, seed).agents[3].facing for seed in range(2000))
    assert chi_square(np.array([facings[facing] for facing in range(4)])) < 16.3


def test_moves_are_shuffled() -> None:
    """Two agents want the same free cell: each gets it half of the time, unless the order is fixed."""
    for shuffled in (True, False):
        rules = replace(scene("harvest", "  /12").rules, shuffled=shuffled)
        commons = many(rules, 4000)
        commons.step(np.tile([FORWARD, STAY], (4000, 1)))
        commons.step(np.tile([RIGHT, FORWARD], (4000, 1)))
        first = int((commons.boards()[:, 1, 2] // WHO == 1).sum())
        assert unlikely(first, 4000, 0.5) < 4 if shuffled else first == 0


def test_episodes_end_as_in_melting_pot() -> None:
    rules = replace(rules_of("harvest", "melting_pot"), end_after=10, end_every=10, length=100)
    commons = many(rules, 3000)
    ends = np.zeros(3000, int)
    for step in range(1, 101):
        done = commons.step(np.zeros((3000, 7), int)).done
        ends[(ends == 0) & done] = step
    assert set(ends) == {*range(19, 100, 10), 100}
    assert unlikely(int((ends == 19).sum()), 3000, 0.15) < 4
    assert unlikely(int((ends == 29).sum()), int((ends > 19).sum()), 0.15) < 4
    assert RULES["harvest"]["paper"].end_chance == 0


def chi_square(counts: NDArray[np.int_]) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.integers(0, chance.SLOTS - 1), st.integers(1, 200))
def test_chance_is_compiled_faithfully(key: int, step: int, slot: int, n: int) -> None:
    place = np.uint64(key), step, slot
    assert int(kernel.bits(*place)) == chance.bits(key, step, slot)
    assert kernel.uniform(*place) == chance.uniform(key, step, slot)
    assert kernel.below(*place, n) == chance.below(key, step, slot, n) < n


def test_chance_is_splitmix() -> None:
    """The published generator with seed 0 begins so."""
    assert [chance.bits(0, 0, slot) for slot in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_names_fit_the_numbers() -> None:
    assert [ACTIONS[ZAP], ACTIONS[CLEAN], ACTIONS[TURN_LEFT]] == ["zap", "clean", "turn left"]
    assert (APPLE, BARE, GRASS) == (3, 4, 5)
