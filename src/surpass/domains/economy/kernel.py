"""The rules of `reference.py` once more, compiled, for many games: step by step and bit by bit the same.

A game is one record (a NumPy structured scalar, passed by address). Its board is one byte a cell, in the code of views,
with a border as wide as an agent sees; places are indices into it, so a view is a copy without a test for edges.
Compiled once on a machine, for all maps up to the capacities below, and kept by numba's cache.
Not here: what the rules mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from surpass.domains.economy import chance
from surpass.domains.economy.rules import (
    AHEAD,
    APPLE,
    ASIDE,
    BARE,
    BEAM,
    CLEAN,
    DIRT,
    GRASS,
    LIGHT,
    MOST_AGENTS,
    NORTH,
    OUTSIDE,
    RIVER,
    VIEW,
    WALL,
    WHO,
    ZAP,
)

F = TypeVar("F", bound=Callable[..., object])
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Small = NDArray[np.int8]
Field = tuple[str, str] | tuple[str, str, tuple[int, ...]]

GAMMA, FIRST, SECOND = np.uint64(chance.GAMMA), np.uint64(chance.FIRST), np.uint64(chance.SECOND)
SLOTS, MOVING, CLEANING, END = chance.SLOTS, chance.MOVING, chance.CLEANING, chance.END
DIRTY, DIRT_WHERE, ENTRY, GROWTH = chance.DIRT, chance.DIRT_WHERE, chance.ENTRY, chance.GROWTH
TERRAIN, AGENT, UNLIT = np.uint8(WHO - 1), np.uint8(LIGHT - WHO), np.uint8(LIGHT - 1)  # parts of a cell's byte

NEAR, REGROWTHS = 12, 16  # neighbours of a site, chances of regrowth: at most
RAYS = 3 * BEAM  # cells that one agent may light in a step
WHOLE = (
    *("agents", "stride", "sites", "cells", "regrowths", "dirt_after", "length", "end_after", "end_every"),
    *("zap_cooldown", "zap_out", "clean_cooldown"),
)


class World(Protocol):
    """Rules and map, the same for all games: a record of `world_type`."""

    agents: int
    stride: int  # cells of a row of the board
    sites: int
    cells: int  # of the river
    regrowths: int  # entries of `regrowth`; 0 where there is a river
    growth: float
    depletion: float
    dirt_chance: float
    dirt_after: int
    length: int
    end_after: int
    end_every: int
    end_chance: float
    shuffled: bool
    north: bool
    ripe: bool
    zap_cooldown: int
    zap_out: int
    clean_cooldown: int
    regrowth: NDArray[np.float64]  # [ripe neighbours]
    first: Ints  # [agents, entries] places, then -1
    again: Ints  # [agents, entries]
    board: Bytes  # [places] what is there before anything happened
    site: NDArray[np.int16]  # [places] apple site, or -1
    apples: Ints  # [sites] place
    near: NDArray[np.int16]  # [sites, 12] neighbouring sites, then -1
    river: Ints  # [cells] place


class Game(Protocol):
    """One game: a record of `game_type`."""

    key: np.uint64
    t: int
    done: bool
    lights: int
    apples: int  # how many are ripe
    dirt: int  # how many river cells are dirty
    grown: int  # apples that grew in this step
    place: Ints  # [agents]
    order: Ints  # [agents] in which they act
    facing: Small  # [agents]
    missing: Ints  # [agents] steps until it enters again; 0: it is there
    zap_wait: Ints  # [agents]
    clean_wait: Ints  # [agents]
    ate: Small  # [agents] in this step
    cleaned: Small  # [agents] in this step
    hit: Bytes  # [agents] in this step
    lit: Ints  # [lights] places where beams of this step went
    board: Bytes  # [places]
    ripe: Bytes  # [sites]
    sprout: Bytes  # [sites] grows in this step
    count: Small  # [sites] ripe neighbours now
    ready: Small  # [sites] two steps before, or -1


def world_type(places: int, sites: int, cells: int, entries: int) -> np.dtype[np.void]:
    """Return the type of a world's record, for a board of so many places at most, and so on."""
    types: list[Field] = [(name, "i8") for name in WHOLE]
    types += [(name, "f8") for name in ("growth", "depletion", "dirt_chance", "end_chance")]
    types += [(name, "?") for name in ("shuffled", "north", "ripe")]
    types += [("regrowth", "f8", (REGROWTHS,)), ("board", "u1", (places,)), ("site", "i2", (places,))]
    types += [("first", "i4", (MOST_AGENTS, entries)), ("again", "i4", (MOST_AGENTS, entries))]
    types += [("apples", "i4", (sites,)), ("near", "i2", (sites, NEAR)), ("river", "i4", (cells,))]
    return np.dtype(types, align=True)


def game_type(places: int, sites: int) -> np.dtype[np.void]:
    """Return the type of a game's record."""
    types: list[Field] = [("key", "u8"), ("t", "i8"), ("lights", "i8"), ("apples", "i8"), ("dirt", "i8")]
    types += [("grown", "i8"), ("done", "?")]
    types += [(name, "i4", (MOST_AGENTS,)) for name in ("place", "order", "missing", "zap_wait", "clean_wait")]
    types += [(name, "i1", (MOST_AGENTS,)) for name in ("facing", "ate", "cleaned")]
    types += [("hit", "u1", (MOST_AGENTS,)), ("lit", "i4", (RAYS * MOST_AGENTS,)), ("board", "u1", (places,))]
    types += [(name, "u1", (sites,)) for name in ("ripe", "sprout")]
    types += [(name, "i1", (sites,)) for name in ("count", "ready")]
    return np.dtype(types, align=True)


def compiled(function: F) -> F:
    """Compile with numba; while it runs, the interpreter's lock is free."""
    return cast("F", numba.njit(function, cache=True, nogil=True))


@compiled
def bits(key: np.uint64, step: int, slot: int) -> np.uint64:
    """See `chance.bits`."""
    z = key + GAMMA * np.uint64(step * SLOTS + slot + 1)
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))


@compiled
def uniform(key: np.uint64, step: int, slot: int) -> float:
    """See `chance.uniform`."""
    return float(bits(key, step, slot) >> np.uint64(11)) * 2.0**-53


@compiled
def below(key: np.uint64, step: int, slot: int, n: int) -> int:
    """See `chance.below`."""
    return int(((bits(key, step, slot) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@compiled
def offset(world: World, facing: int) -> int:
    """Return how far in the board the next cell lies in a direction."""
    turn = facing % 4
    if turn == 0:
        return -world.stride
    if turn == 1:
        return 1
    return world.stride if turn == 2 else -1


@compiled
def start(world: World, game: Game, key: np.uint64) -> None:
    """Begin a game anew."""
    game.key = key
    game.t = game.lights = game.apples = game.dirt = 0
    game.done = False
    game.facing[:] = NORTH
    game.missing[:] = 1
    game.zap_wait[:] = 0
    game.clean_wait[:] = 0
    for place in range(len(world.board)):
        game.board[place] = world.board[place]
        game.dirt += world.board[place] == DIRT
    for site in range(world.sites):
        game.ripe[site] = world.ripe
        game.apples += world.ripe
        game.ready[site] = -1
        game.count[site] = 0
        for other in world.near[site]:
            game.count[site] += world.ripe and other >= 0
        terrain(game, world.apples[site], APPLE if world.ripe else GRASS)
    for agent in range(world.agents):
        enter(world, game, agent, world.first[agent], not world.north)


@compiled
def enter(world: World, game: Game, agent: int, places: Ints, turn: bool) -> None:
    """Put an agent on one of the free places, if there is any."""
    free = 0
    for place in places:
        if place >= 0 and game.board[place] & AGENT == 0:
            free += 1
    if free == 0:
        return
    wanted = below(game.key, game.t, ENTRY + 2 * agent, free)
    for place in places:
        if place >= 0 and game.board[place] & AGENT == 0:
            if wanted == 0:
                game.place[agent] = place
                break
            wanted -= 1
    if turn:
        game.facing[agent] = below(game.key, game.t, ENTRY + 2 * agent + 1, 4)
    game.missing[agent] = 0
    game.board[game.place[agent]] |= np.uint8(WHO * (agent + 1))


@compiled
def terrain(game: Game, place: int, code: int) -> None:
    """Change what lies in a cell, whoever stands on it."""
    game.board[place] = (game.board[place] & ~TERRAIN) | np.uint8(code)


@compiled
def eat(world: World, game: Game, agent: int) -> None:
    """Eat the apple under an agent, if there is one."""
    place = game.place[agent]
    site = world.site[place]
    if site < 0 or game.ripe[site] == 0:
        return
    game.ripe[site] = 0
    game.ready[site] = -1
    game.apples -= 1
    game.ate[agent] += 1
    terrain(game, place, GRASS)
    for other in world.near[site]:
        if other >= 0:
            game.count[other] -= 1


@compiled
def sprouts(world: World, game: Game) -> None:
    """Mark the sites that grow an apple in this step, and look at their neighbours for a later one."""
    harvest = world.regrowths > 0
    odds = world.growth
    if world.cells > 0:
        odds *= max(0.0, (world.depletion - game.dirt / world.cells) / world.depletion)
    for site in range(world.sites):
        game.sprout[site] = 0
        if game.ripe[site]:
            continue
        if harvest:
            ready = game.ready[site]
            odds = world.regrowth[min(ready, world.regrowths - 1)] if ready >= 0 else 0.0
            if game.count[site] != ready:
                game.ready[site] = game.count[site]
                terrain(game, world.apples[site], BARE if game.count[site] == 0 else GRASS)
        if odds > 0 and uniform(game.key, game.t, GROWTH + site) < odds:
            game.sprout[site] = 1


@compiled
def grow(world: World, game: Game) -> None:
    """Let the marked sites grow; an agent that stands on one eats it."""
    for site in range(world.sites):
        if game.sprout[site]:
            place = world.apples[site]
            game.ripe[site] = 1
            game.apples += 1
            game.grown += 1
            terrain(game, place, APPLE)
            for other in world.near[site]:
                if other >= 0:
                    game.count[other] += 1
            who = (game.board[place] & AGENT) // WHO
            if who > 0:
                eat(world, game, who - 1)


@compiled
def spoil(world: World, game: Game) -> None:
    """Perhaps turn one clean river cell dirty."""
    clean = world.cells - game.dirt
    if game.t <= world.dirt_after or clean == 0:
        return
    if uniform(game.key, game.t, DIRTY) >= world.dirt_chance:
        return
    wanted = below(game.key, game.t, DIRT_WHERE, clean)
    for cell in range(world.cells):
        place = world.river[cell]
        if game.board[place] & TERRAIN == RIVER:
            if wanted == 0:
                terrain(game, place, DIRT)
                break
            wanted -= 1
    game.dirt += 1


@compiled
def shuffle(world: World, game: Game, purpose: int) -> None:
    """Put the agents in a new random order."""
    for index in range(world.agents):
        game.order[index] = index
    for last in range(world.agents - 1, 0, -1):
        other = below(game.key, game.t, purpose + last, last + 1)
        game.order[last], game.order[other] = game.order[other], game.order[last]


@compiled
def move(world: World, game: Game, agent: int, action: int) -> None:
    """Turn or go, where an action says so and the way is free."""
    facing = game.facing[agent]
    if action == 5:
        game.facing[agent] = (facing + 3) % 4
    elif action == 6:
        game.facing[agent] = (facing + 1) % 4
    elif 1 <= action <= 4:
        turn = 0 if action == 1 else 2 if action == 2 else 3 if action == 3 else 1
        place = game.place[agent]
        there = place + offset(world, facing + turn)
        cell = game.board[there]
        if cell & TERRAIN != WALL and cell & AGENT == 0:
            game.board[place] &= ~AGENT
            game.board[there] |= np.uint8(WHO * (agent + 1))
            game.place[agent] = there
            eat(world, game, agent)


@compiled
def ray(world: World, game: Game, agent: int, place: int, colour: int) -> None:
    """Send one of the three rays of a beam from `place`."""
    ahead = offset(world, game.facing[agent])
    for _ in range(BEAM):
        cell = game.board[place]
        if cell & TERRAIN == WALL or cell & TERRAIN == OUTSIDE:
            return
        if colour == 1 and cell & AGENT:
            game.hit[(cell & AGENT) // WHO - 1] = 1
            return
        if colour == 2 and cell & TERRAIN == DIRT:
            terrain(game, place, RIVER)
            game.dirt -= 1
            game.cleaned[agent] += 1
            return
        if cell < LIGHT:
            game.lit[game.lights] = place
            game.lights += 1
        game.board[place] |= np.uint8(LIGHT * colour)
        place += ahead


@compiled
def fire(world: World, game: Game, agent: int, colour: int) -> None:
    """Send the rays that start to the left, to the right and before an agent."""
    facing, place = game.facing[agent], game.place[agent]
    ray(world, game, agent, place + offset(world, facing + 3), colour)
    ray(world, game, agent, place + offset(world, facing + 1), colour)
    ray(world, game, agent, place + offset(world, facing), colour)


@compiled
def beams(world: World, game: Game, actions: NDArray[np.int16]) -> None:
    """Let those fire who may."""
    shuffle(world, game, CLEANING)
    for turn in range(world.agents):
        agent = game.order[turn]
        if game.missing[agent]:
            continue
        if game.zap_wait[agent]:
            game.zap_wait[agent] -= 1
        elif actions[agent] == ZAP:
            game.zap_wait[agent] = world.zap_cooldown
            fire(world, game, agent, 1)
        if game.clean_wait[agent]:
            game.clean_wait[agent] -= 1
        elif actions[agent] == CLEAN:
            game.clean_wait[agent] = world.clean_cooldown
            fire(world, game, agent, 2)


@compiled
def play(world: World, game: Game, actions: NDArray[np.int16]) -> None:
    """Play one step of one game."""
    game.t += 1
    for light in range(game.lights):
        game.board[game.lit[light]] &= UNLIT
    game.lights = 0
    sprouts(world, game)
    if world.regrowths == 0:
        grow(world, game)
        spoil(world, game)
    if world.shuffled:
        shuffle(world, game, MOVING)
    else:
        for index in range(world.agents):
            game.order[index] = world.agents - 1 - index
    for index in range(world.agents):
        agent = game.order[index]
        if game.missing[agent] == 0:
            move(world, game, agent, actions[agent])
    beams(world, game, actions)
    for agent in range(world.agents):
        if game.missing[agent] > 1:
            game.missing[agent] -= 1
        elif game.missing[agent] == 1:
            enter(world, game, agent, world.again[agent], True)
    if world.regrowths > 0:
        grow(world, game)
    for agent in range(world.agents):
        if game.hit[agent]:
            game.missing[agent] = world.zap_out + 1
            game.board[game.place[agent]] &= ~AGENT
    t = game.t
    due = world.end_chance > 0 and t >= world.end_after and (t + 1) % world.end_every == 0
    if t >= world.length or (due and uniform(game.key, t, END) < world.end_chance):
        game.done = True


@compiled
def look(world: World, game: Game, views: Bytes) -> None:
    """Write what each agent sees [agents, 11, 11]."""
    for agent in range(world.agents):
        if game.missing[agent]:
            views[agent] = 0
            continue
        ahead, right = offset(world, game.facing[agent]), offset(world, game.facing[agent] + 1)
        line = game.place[agent] + AHEAD * ahead - ASIDE * right
        for row in range(VIEW):
            place = line
            for column in range(VIEW):
                views[agent, row, column] = game.board[place]
                place += right
            line -= ahead


@compiled
def forget(game: Game) -> None:
    """Clear what the step before told."""
    game.grown = 0
    game.ate[:] = 0
    game.cleaned[:] = 0
    game.hit[:] = 0


@compiled
def start_games(world: World, games: NDArray[np.void], keys: NDArray[np.uint64], which: NDArray[np.bool_]) -> None:
    """Begin the games that `which` marks anew."""
    for index in range(len(games)):
        forget(games[index])
        if which[index]:
            start(world, games[index], keys[index])


@compiled
def look_all(world: World, games: NDArray[np.void], views: Bytes) -> None:
    """Write what all agents see [games, agents, 11, 11]."""
    for index in range(len(games)):
        look(world, games[index], views[index])


@compiled
def step_games(world: World, games: NDArray[np.void], actions: NDArray[np.int16], views: Bytes) -> None:
    """Play one step of each game and write what is seen; finished games stay as they are."""
    for index in range(len(games)):
        game = games[index]
        forget(game)
        if not game.done:
            play(world, game, actions[index])
        look(world, game, views[index])
