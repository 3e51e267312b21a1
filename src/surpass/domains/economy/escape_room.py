"""Contextual Escape Room: somebody must stand at a lever, at a loss, for others to leave by the door.

Five agents choose at each of five steps where to be: one of three levers, the door, or the start, in one move from
anywhere. One lever is live (the context). With `needed` agents at it the door is open: those at the door get +10, all
others -1, whether they moved or not. While it is shut those who moved get -1 and those who stayed 0. The door may be
left by the same agents at every step. As in Large Legislative Models (arXiv 2410.08345); the Escape Room of LIO (arXiv
2006.06051) instead ends once somebody is out. Best joint return: 140, two at the live lever and three at the door from
the first step on (`best_return` enumerates it).
Not here: the incentives that make standing at a lever worth it (`accounting.pay_by_state`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.bounds import at_least
from surpass.domains.economy import chance
from surpass.errors import ConfigError

PRIZE, PRICE = 10.0, -1.0


@dataclass(frozen=True, slots=True)
class RoomRules:
    """The size of a room. States and actions alike: levers 0, 1, ..., then the door, then the start."""

    agents: int = 5
    levers: int = 3
    needed: int = 2  # agents at the live lever that open the door
    length: int = 5  # steps
    live: int | None = None  # which lever is live; None: as chance has it, by game

    def __post_init__(self) -> None:
        at_least(self, agents=2, levers=1, needed=1, length=1)
        for name in ("agents", "levers", "needed", "length"):
            if not isinstance(getattr(self, name), int):
                raise ConfigError(f"{name}: expected a whole number, found {getattr(self, name)}")
        if self.live is not None and not (isinstance(self.live, int) and 0 <= self.live < self.levers):
            raise ConfigError(f"live: expected a lever from 0 to {self.levers - 1}, found {self.live}")

    @property
    def states(self) -> int:
        """How many places there are: the levers, the door, the start."""
        return self.levers + 2

    @property
    def door(self) -> int:
        return self.levers

    @property
    def start(self) -> int:
        return self.levers + 1


@dataclass(frozen=True, slots=True)
class RoomTurn:
    """What one step tells."""

    places: NDArray[np.int64]  # [games, agents] where everybody is now
    raw: NDArray[np.float64]  # [games, agents] rewards before incentives
    open: NDArray[np.bool_]  # [games] whether the door is
    done: bool


class EscapeRoom:
    """Games of the same rules, one for each seed, which decides the live lever. Game i depends on nothing else."""

    def __init__(self, rules: RoomRules, seeds: Sequence[int]) -> None:
        if not len(seeds):
            raise ConfigError("seeds: expected one whole number for each game, found none")
        self.rules = rules
        self.live = live_levers(rules, seeds)
        self.reset()

    def reset(self) -> None:
        """Put everybody back to the start; the live levers stay."""
        self.t = 0
        self.places = np.full((len(self.live), self.rules.agents), self.rules.start)

    def step(self, actions: ArrayLike) -> RoomTurn:
        """Move everybody [games, agents]. Raises ConfigError for other shapes or states, or after the last step."""
        chosen = np.asarray(actions)
        if chosen.shape != self.places.shape or not np.issubdtype(chosen.dtype, np.integer):
            raise ConfigError(
                f"actions: expected whole numbers {self.places.shape}, found {chosen.dtype} {chosen.shape}"
            )
        if chosen.min() < 0 or chosen.max() >= self.rules.states:
            raise ConfigError(f"actions: expected 0 to {self.rules.states - 1}, found {chosen.min()} to {chosen.max()}")
        if self.t >= self.rules.length:
            raise ConfigError(f"step: expected at most {self.rules.length} steps; reset() begins anew")
        self.t += 1
        before, self.places = self.places, chosen.astype(np.int64)
        raw, opened = rewards(before, self.places, self.live, self.rules)
        return RoomTurn(self.places, raw, opened, self.t == self.rules.length)

    def observation(self) -> NDArray[np.float32]:
        """Return what every agent sees [games, agents * states + levers]: all places and the live lever, one-hot."""
        where = np.eye(self.rules.states, dtype=np.float32)[self.places]
        return np.concatenate(
            [where.reshape(len(where), -1), np.eye(self.rules.levers, dtype=np.float32)[self.live]], axis=1
        )


def live_levers(rules: RoomRules, seeds: Sequence[int]) -> NDArray[np.int64]:
    """Return which lever is live in the game of each seed [games]."""
    drawn = [chance.below(chance.key_of(seed), 0, 0, rules.levers) for seed in seeds]
    return np.array([rules.live if rules.live is not None else lever for lever in drawn])


def rewards(
    before: NDArray[np.int64], after: NDArray[np.int64], live: NDArray[np.int64], rules: RoomRules
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return raw rewards [..., agents] and whether the door is open [...], for places [..., agents].

    >>> rewards(np.array([4] * 5), np.array([0, 0, 3, 3, 4]), np.array(0), RoomRules())[0].tolist()
    [-1.0, -1.0, 10.0, 10.0, -1.0]
    """
    opened = (after == live[..., None]).sum(-1) >= rules.needed
    shut = np.where(after != before, PRICE, 0.0)
    free = np.where(after == rules.door, PRIZE, PRICE)
    return np.where(opened[..., None], free, shut), opened


def best_return(rules: RoomRules) -> float:
    """Return the best sum of raw rewards that the agents can reach together, by enumeration over how many are where.

    >>> best_return(RoomRules())
    140.0
    """
    crowds = [
        np.bincount(one, minlength=rules.states)
        for one in combinations_with_replacement(range(rules.states), rules.agents)
    ]
    counts = np.array(crowds)  # [crowds, states]
    live = 0 if rules.live is None else rules.live  # all levers are alike
    out = counts[:, rules.door]
    opened = counts[:, live] >= rules.needed
    moved = rules.agents - np.minimum(counts[:, None], counts[None]).sum(-1)  # [from, to], as few as can be
    gain = np.where(opened[None], PRIZE * out + PRICE * (rules.agents - out), PRICE * moved)
    value = np.zeros(len(crowds))
    for _ in range(rules.length):
        value = (gain + value[None]).max(1)
    return float(value[counts[:, rules.start] == rules.agents][0])
