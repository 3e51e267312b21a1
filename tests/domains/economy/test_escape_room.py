"""Escape Room against its description, and its best return against every play there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from surpass.domains.economy.escape_room import EscapeRoom, RoomRules, best_return
from surpass.errors import ConfigError


def test_the_best_return_is_140() -> None:
    assert best_return(RoomRules()) == 140
    assert best_return(RoomRules(live=2)) == 140
    room = EscapeRoom(RoomRules(live=1), [0])
    returns = [room.step([[1, 1, 3, 3, 3]]).raw.sum() for _ in range(5)]
    assert returns == [28] * 5


@pytest.mark.parametrize(
    "rules", [RoomRules(3, 1, 1, 2), RoomRules(3, 2, 2, 2), RoomRules(2, 2, 2, 2), RoomRules(3, 1, 3, 1)]
)
def test_the_best_return_by_playing_everything(rules: RoomRules) -> None:
    joint = np.array(list(product(range(rules.states), repeat=rules.agents)))
    plays = np.array(list(product(range(len(joint)), repeat=rules.length)))
    fixed = RoomRules(rules.agents, rules.levers, rules.needed, rules.length, live=0)
    room = EscapeRoom(fixed, [0] * len(plays))
    total = sum(room.step(joint[plays[:, step]]).raw.sum(1) for step in range(rules.length))
    assert np.max(total) == best_return(rules)


def test_rewards_are_those_of_the_paper() -> None:
    room = EscapeRoom(RoomRules(live=0), [0])
    turn = room.step([[1, 1, 3, 4, 4]])  # two at a dead lever
    assert (turn.raw.tolist(), turn.open.tolist()) == ([[-1, -1, -1, 0, 0]], [False])
    turn = room.step([[0, 0, 3, 4, 3]])
    assert (turn.raw.tolist(), turn.open.tolist()) == ([[-1, -1, 10, -1, 10]], [True])
    turn = room.step([[0, 0, 3, 4, 3]])  # nobody moves, and the door is still open
    assert turn.raw.tolist() == [[-1, -1, 10, -1, 10]]
    turn = room.step([[0, 4, 3, 4, 3]])
    assert turn.raw.tolist() == [[0, -1, 0, 0, 0]]
    assert room.step([[0] * 5]).done
    with pytest.raises(ConfigError, match="at most 5 steps"):
        room.step([[0] * 5])
    room.reset()
    assert (room.places == 4).all()


def test_random_agents_lose_eleven() -> None:
    """-11.2 in a simulation of the description by others."""
    room, chance = EscapeRoom(RoomRules(), range(20_000)), np.random.default_rng(0)
    total = np.zeros(20_000)
    for _ in range(5):
        total += room.step(chance.integers(0, 5, (20_000, 5))).raw.sum(1)
    assert abs(total.mean() + 11.2) < 4 * total.std() / np.sqrt(20_000)


def test_the_live_lever_is_the_seeds() -> None:
    live = EscapeRoom(RoomRules(), range(3000)).live
    assert (live[:50] == EscapeRoom(RoomRules(), range(50)).live).all()
    counts = np.bincount(live, minlength=3)
    assert ((counts - 1000) ** 2 / 1000).sum() < 13.8, "2 degrees of freedom, one in a thousand"


def test_everybody_sees_all_places_and_the_lever() -> None:
    room = EscapeRoom(RoomRules(live=2), [0])
    room.step([[0, 1, 2, 3, 4]])
    seen = room.observation()
    assert seen.shape == (1, 28)
    assert np.flatnonzero(seen[0]).tolist() == [0, 6, 12, 18, 24, 27]


@pytest.mark.parametrize("field", ["agents", "levers", "needed", "length", "live"])
def test_rooms_that_cannot_be(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        RoomRules(**{field: 9 if field == "live" else 0})
    with pytest.raises(ConfigError, match=field):
        RoomRules(**{field: 2.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("actions", [[[5, 0, 0, 0, 0]], [[-1, 0, 0, 0, 0]], [[0, 0]], [[0.5] * 5]])
def test_actions_that_cannot_be(actions: object) -> None:
    with pytest.raises(ConfigError, match="actions"):
        EscapeRoom(RoomRules(), [0]).step(actions)  # type: ignore[arg-type]
