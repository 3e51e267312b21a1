"""Many games of a commons at once: arrays of [games, agents] in, arrays of [games, agents, ...] out.

    commons = Commons(rules_of("harvest"), seeds=range(64))
    turn = commons.step(np.zeros((64, 7), np.int16))       # everybody stays
    turn.views[0, 3]                                        # what agent 3 of game 0 sees: 11 x 11 codes (`rules.py`)

One environment step is one step of one game, in which all agents act once. Game i depends on its own seed and actions
alone: the batch, its order and the number of threads change nothing. Needs numba (extra `economy`).
Not here: rewards after taxes or incentives (`accounting.py`), pictures (`render.py`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.domains.economy import chance
from surpass.domains.economy.layout import Layout, Place, layout_of
from surpass.domains.economy.rules import AHEAD, DIRT, GROUND, OUTSIDE, RIVER, VIEW, WALL, Rules
from surpass.errors import ConfigError

if TYPE_CHECKING:
    from surpass.domains.economy.kernel import World

FEW = 32  # games for which a second thread costs more than it saves


@dataclass(frozen=True, slots=True)
class Turn:
    """What one step tells. Its arrays are its own: a later step leaves them as they are."""

    views: NDArray[np.uint8]  # [games, agents, 11, 11] codes, the agent's own cell at row 9, column 5; 0: not there
    ate: NDArray[np.int8]  # [games, agents] apples, which are the raw rewards
    cleaned: NDArray[np.int8]  # [games, agents] river cells cleaned
    hit: NDArray[np.bool_]  # [games, agents] was zapped
    grown: NDArray[np.int64]  # [games] apples that grew in the step
    apples: NDArray[np.int64]  # [games] ripe apples after the step
    dirt: NDArray[np.int64]  # [games] dirty river cells after the step
    done: NDArray[np.bool_]  # [games] whether the game is over; its further steps change nothing


class Commons:
    """Games of the same rules, one for each seed. Raises ConfigError where numba is missing or a seed is no number."""

    def __init__(self, rules: Rules, seeds: Sequence[int], *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"threads: expected 1 or more, found {threads}")
        self.rules = rules
        self.seeds = _checked(seeds)
        self.threads = min(threads or len(os.sched_getaffinity(0)), max(1, len(self.seeds) // FEW))
        self._world, kind = _world(rules)
        self._games = np.zeros(len(self.seeds), kind)
        self.now = self.reset()

    def __len__(self) -> int:
        return len(self.seeds)

    def reset(self, seeds: Sequence[int] | None = None, *, where: ArrayLike | None = None) -> Turn:
        """Begin anew, with other seeds if some are given [games], only `where` told [games]; return what is seen."""
        from surpass.domains.economy.kernel import look_all, start_games

        which = np.ones(len(self), np.bool_) if where is None else np.asarray(where, np.bool_)
        fresh = self.seeds if seeds is None else _checked(seeds)
        if which.shape != (len(self),) or len(fresh) != len(self):
            found = f"{len(fresh)} seeds and {which.shape}"
            raise ConfigError(f"seeds, where: expected one for each of {len(self)} games, found {found}")
        self.seeds = tuple(new if at else old for new, old, at in zip(fresh, self.seeds, which, strict=True))
        keys = np.array([chance.key_of(seed) for seed in self.seeds], np.uint64)
        start_games(self._world, self._games, keys, which)
        views = np.empty((len(self), self.rules.agents, VIEW, VIEW), np.uint8)
        look_all(self._world, self._games, views)
        self.now = self._turn(views)
        return self.now

    def step(self, actions: ArrayLike, *, views: NDArray[np.uint8] | None = None) -> Turn:
        """Let all agents act once [games, agents], numbers of `ACTIONS`; what they see is written to `views` if given.

        Raises ConfigError for actions of another shape or range, and for `views` that are not [games, agents, 11, 11].
        """
        from surpass.domains.economy.kernel import step_games

        chosen = self._legal(actions)
        shape = (*chosen.shape, VIEW, VIEW)
        seen = np.empty(shape, np.uint8) if views is None else views
        if seen.shape != shape or seen.dtype != np.uint8 or not seen.flags.c_contiguous:
            raise ConfigError(f"views: expected contiguous bytes {shape}, found {seen.dtype} {seen.shape}")
        cuts = [len(self) * part // self.threads for part in range(self.threads + 1)]
        parts = [slice(low, high) for low, high in pairwise(cuts)]
        waiting = [
            _pool(self.threads).submit(step_games, self._world, self._games[part], chosen[part], seen[part])
            for part in parts[1:]
        ]
        step_games(self._world, self._games[parts[0]], chosen[parts[0]], seen[parts[0]])
        for one in waiting:
            one.result()
        self.now = self._turn(seen)
        return self.now

    def readiness(self) -> NDArray[np.float32]:
        """Return how near each agent is to zapping again [games, agents]: 1 may, 0 just did or is not there."""
        cooldown = max(1, self.rules.zap_cooldown)
        waits, missing = (self._games[name][:, : self.rules.agents] for name in ("zap_wait", "missing"))
        return np.where(missing, 0, np.maximum(0, 1 - waits / cooldown)).astype(np.float32)

    def boards(self) -> NDArray[np.uint8]:
        """Return the codes of all cells [games, height, width], as views show them."""
        layout = layout_of(self.rules)
        stride, rows = layout.width + 2 * AHEAD, layout.height + 2 * AHEAD
        wide = self._games["board"][:, : rows * stride].reshape(len(self), rows, stride)
        return np.ascontiguousarray(wide[:, AHEAD:-AHEAD, AHEAD:-AHEAD])

    def _legal(self, actions: ArrayLike) -> NDArray[np.int16]:
        chosen = np.asarray(actions)
        expected = (len(self), self.rules.agents)
        if chosen.shape != expected or not np.issubdtype(chosen.dtype, np.integer):
            raise ConfigError(f"actions: expected whole numbers {expected}, found {chosen.dtype} {chosen.shape}")
        low, high = chosen.min(), chosen.max()
        if low < 0 or high >= self.rules.actions:
            raise ConfigError(f"actions: expected 0 to {self.rules.actions - 1}, found {low} to {high}")
        return np.ascontiguousarray(chosen, np.int16)

    def _turn(self, views: NDArray[np.uint8]) -> Turn:
        games, agents = self._games, self.rules.agents
        ate, cleaned, hit = (games[name][:, :agents].copy() for name in ("ate", "cleaned", "hit"))
        grown, apples, dirt, done = (games[name].copy() for name in ("grown", "apples", "dirt", "done"))
        return Turn(views, ate, cleaned, hit.astype(np.bool_), grown, apples, dirt, done)


def _checked(seeds: Sequence[int]) -> tuple[int, ...]:
    found = tuple(seeds)
    wrong = [seed for seed in found if not isinstance(seed, int | np.integer)]
    if not found or wrong:
        raise ConfigError(f"seeds: expected one whole number for each game, found {wrong[:1] or 'none'}")
    return tuple(int(seed) for seed in found)


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="commons")


@lru_cache(maxsize=64)
def _world(rules: Rules) -> tuple[World, np.dtype[np.void]]:
    """Return rules and map as the record of the kernel, and the type of its games."""
    try:
        from surpass.domains.economy.kernel import game_type, world_type
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise ConfigError("the simulators need numba; pip install 'surpass[economy]'") from error

    layout = layout_of(rules)
    stride = layout.width + 2 * AHEAD
    places, sites = _room(stride * (layout.height + 2 * AHEAD), 2048), _room(len(layout.apples), 128)
    entries = _room(max(map(len, (*layout.first, *layout.again))), 64)
    world = np.zeros(1, world_type(places, sites, _room(len(layout.river), 256), entries))[0]

    def at(found: Sequence[Place]) -> list[int]:
        return [(row + AHEAD) * stride + column + AHEAD for row, column in found]

    for name in rules.__slots__:
        if name in (world.dtype.names or ()) and name != "regrowth":
            world[name] = getattr(rules, name)
    world["stride"], world["sites"], world["cells"] = stride, len(layout.apples), len(layout.river)
    world["regrowths"] = len(rules.regrowth)
    _fill(world["regrowth"], rules.regrowth)
    _fill(world["apples"], at(layout.apples))
    _fill(world["river"], at(layout.river))
    for name, rows in (("near", layout.near), ("first", map(at, layout.first)), ("again", map(at, layout.again))):
        world[name][:] = -1
        for line, row in zip(world[name], rows, strict=False):
            _fill(line, row)
    world["site"][:] = -1
    world["site"][at(layout.apples)] = np.arange(len(layout.apples))
    world["board"].reshape(-1)[: stride * (layout.height + 2 * AHEAD)] = _board(layout).ravel()
    return cast("World", world), game_type(places, sites)


def _room(needed: int, least: int) -> int:
    """Return a capacity: few sizes, so that few kernels are compiled."""
    return max(least, 1 << (needed - 1).bit_length()) if needed else least


def _fill(line: NDArray[np.generic], values: Sequence[float]) -> None:
    if len(values) > len(line):
        raise ConfigError(f"regrowth: expected at most {len(line)} chances, found {len(values)}")
    line[: len(values)] = values


def _board(layout: Layout) -> NDArray[np.uint8]:
    """Return the codes of a map without apples, with a border."""
    board = np.full((layout.height, layout.width), GROUND, np.uint8)
    for places, code in ((layout.walls, WALL), (layout.water, RIVER)):
        for place in places:
            board[place] = code
    for place, dirty in zip(layout.river, layout.dirty, strict=True):
        board[place] = DIRT if dirty else RIVER
    return np.pad(board, AHEAD, constant_values=OUTSIDE)
