"""One game of a commons, in plain Python: the rules as one would tell them. `kernel.py` is held equal to it, bitwise.

Not here: many games at once, and speed (`simulator.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from surpass.domains.economy import chance
from surpass.domains.economy.layout import Layout, Place, layout_of
from surpass.domains.economy.rules import (
    AHEAD,
    APPLE,
    ASIDE,
    BARE,
    BEAM,
    BEHIND,
    CLEAN,
    DIRT,
    GRASS,
    GROUND,
    LIGHT,
    NORTH,
    RIVER,
    VIEW,
    WALL,
    WHO,
    ZAP,
    Rules,
)

STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # north, east, south, west
RELATIVE = {1: 0, 2: 2, 3: 3, 4: 1}  # by action: quarter turns from where one faces to where one goes
TURNS = {5: 3, 6: 1}


@dataclass(slots=True)
class Agent:
    """One player. An agent that was zapped keeps its place and facing, but is not there."""

    place: Place
    facing: int
    missing: int = 0  # steps until it enters again; 0: it is there
    zap_wait: int = 0  # steps until it may zap again
    clean_wait: int = 0
    ate: int = 0  # apples, in this step
    cleaned: int = 0  # cells, in this step
    hit: bool = False  # zapped in this step


@dataclass(slots=True)
class Game:
    """One game, from its seed; `step` plays on."""

    rules: Rules
    seed: int
    t: int = 0
    done: bool = False
    grown: int = 0  # apples that grew in this step
    agents: list[Agent] = field(default_factory=list)
    apples: list[bool] = field(default_factory=list)  # by site
    ready: list[int] = field(default_factory=list)  # by site: ripe neighbours two steps before; -1: just eaten
    dirty: list[bool] = field(default_factory=list)  # by river cell
    light: dict[Place, int] = field(default_factory=dict)  # where beams of this step went, 1 zap + 2 clean
    layout: Layout = field(init=False)
    key: int = field(init=False)

    def __post_init__(self) -> None:
        self.layout, self.key = layout_of(self.rules), chance.key_of(self.seed)
        layout = self.layout
        self.apples = [self.rules.ripe] * len(layout.apples)
        self.ready = [-1] * len(layout.apples)
        self.dirty = list(layout.dirty)
        for index in range(self.rules.agents):
            self.agents.append(Agent((0, 0), NORTH, missing=1))
            self._enter(index, layout.first[index], turn=not self.rules.north)

    def step(self, actions: Sequence[int]) -> None:
        """Let every agent act once; a finished game stays as it is."""
        for agent in self.agents:
            agent.ate, agent.cleaned, agent.hit = 0, 0, False
        self.grown = 0
        if self.done:
            return
        self.t += 1
        self.light = {}
        there = [agent.missing == 0 for agent in self.agents]
        sprouts = self._sprouts()
        if not self.rules.regrowth:
            self._grow(sprouts)
            self._dirty()
        for index in self._order(chance.MOVING) if self.rules.shuffled else reversed(range(len(self.agents))):
            if there[index]:
                self._move(self.agents[index], actions[index])
        self._beams(actions, there)
        for index, agent in enumerate(self.agents):
            if agent.missing > 1:
                agent.missing -= 1
            elif agent.missing == 1:
                self._enter(index, self.layout.again[index], turn=True)
        if self.rules.regrowth:
            self._grow(sprouts)
        for agent in self.agents:
            if agent.hit:
                agent.missing = self.rules.zap_out + 1
        self.done = self._ends()

    def _sprouts(self) -> list[int]:
        """Return the sites that grow an apple in this step, and look at their neighbours for a later one."""
        layout, rules = self.layout, self.rules
        orchard = rules.growth * _cleanliness(sum(self.dirty), len(self.dirty), rules.depletion)
        found = []
        for site, apple in enumerate(self.apples):
            if apple:
                continue
            odds = orchard
            if rules.regrowth:
                odds = rules.regrowth[min(self.ready[site], len(rules.regrowth) - 1)] if self.ready[site] >= 0 else 0.0
                self.ready[site] = sum(self.apples[other] for other in layout.near[site])
            if odds > 0 and chance.uniform(self.key, self.t, chance.GROWTH + site) < odds:
                found.append(site)
        return found

    def _grow(self, sites: Sequence[int]) -> None:
        layout = self.layout
        for site in sites:
            self.apples[site] = True
            self.grown += 1
            under = self._who(layout.apples[site])
            if under is not None:
                self._eat(under, layout.apples[site])

    def _eat(self, agent: Agent, place: Place) -> None:
        site = self.layout.site.get(place)
        if site is not None and self.apples[site]:
            self.apples[site], self.ready[site] = False, -1
            agent.ate += 1

    def _dirty(self) -> None:
        """Perhaps turn one clean river cell dirty."""
        clean = [cell for cell, dirty in enumerate(self.dirty) if not dirty]
        due = clean and self.t > self.rules.dirt_after
        if due and chance.uniform(self.key, self.t, chance.DIRT) < self.rules.dirt_chance:
            self.dirty[clean[chance.below(self.key, self.t, chance.DIRT_WHERE, len(clean))]] = True

    def _move(self, agent: Agent, action: int) -> None:
        if action in TURNS:
            agent.facing = (agent.facing + TURNS[action]) % 4
        elif action in RELATIVE:
            there = _towards(agent.place, agent.facing + RELATIVE[action])
            if there not in self.layout.walls and self._who(there) is None:
                agent.place = there
                self._eat(agent, there)

    def _beams(self, actions: Sequence[int], there: Sequence[bool]) -> None:
        """Fire; a beam ends before a wall, and at the first agent (zap) or dirt (clean) it meets."""
        for index in self._order(chance.CLEANING):
            agent = self.agents[index]
            if not there[index]:
                continue
            if agent.zap_wait:
                agent.zap_wait -= 1
            elif actions[index] == ZAP:
                agent.zap_wait = self.rules.zap_cooldown
                self._fire(agent, 1, self._zapped)
            if agent.clean_wait:
                agent.clean_wait -= 1
            elif actions[index] == CLEAN:
                agent.clean_wait = self.rules.clean_cooldown
                self._fire(agent, 2, self._cleaned)

    def _fire(self, agent: Agent, colour: int, meets: Callable[[Agent, Place], bool]) -> None:
        for start in (agent.facing + 3, agent.facing + 1, agent.facing):  # beside it to the left and right, before it
            place = _towards(agent.place, start)
            for _ in range(BEAM):
                if place in self.layout.walls or meets(agent, place):
                    break
                self.light[place] = self.light.get(place, 0) | colour
                place = _towards(place, agent.facing)

    def _zapped(self, agent: Agent, place: Place) -> bool:
        target = self._who(place)
        if target is not None:
            target.hit = True
        return target is not None

    def _cleaned(self, agent: Agent, place: Place) -> bool:
        cell = self.layout.cell.get(place)
        if cell is None or not self.dirty[cell]:
            return False
        self.dirty[cell] = False
        agent.cleaned += 1
        return True

    def _enter(self, index: int, places: Sequence[Place], *, turn: bool) -> None:
        """Put an agent on one of the free `places`, if there is any, facing anywhere or as it did."""
        slot, agent = chance.ENTRY + 2 * index, self.agents[index]
        free = [place for place in places if self._who(place) is None]
        if free:
            agent.place = free[chance.below(self.key, self.t, slot, len(free))]
            agent.facing = chance.below(self.key, self.t, slot + 1, 4) if turn else agent.facing
            agent.missing = 0

    def _order(self, purpose: int) -> list[int]:
        """Return the agents in a new random order (Fisher and Yates)."""
        order = list(range(len(self.agents)))
        for last in range(len(order) - 1, 0, -1):
            other = chance.below(self.key, self.t, purpose + last, last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def _ends(self) -> bool:
        rules = self.rules
        due = rules.end_chance > 0 and self.t >= rules.end_after and (self.t + 1) % rules.end_every == 0
        early = due and chance.uniform(self.key, self.t, chance.END) < rules.end_chance
        return self.t >= rules.length or early

    def _who(self, place: Place) -> Agent | None:
        return next((agent for agent in self.agents if agent.missing == 0 and agent.place == place), None)

    def board(self) -> NDArray[np.uint8]:
        """Return the codes of all cells [height, width], as views show them (`rules.py`)."""
        layout = self.layout
        codes = np.full((layout.height, layout.width), GROUND, np.uint8)
        for places, code in ((layout.walls, WALL), (layout.water, RIVER)):
            for place in places:
                codes[place] = code
        for place, apple, ready in zip(layout.apples, self.apples, self.ready, strict=True):
            codes[place] = APPLE if apple else BARE if ready == 0 else GRASS
        for place, dirty in zip(layout.river, self.dirty, strict=True):
            codes[place] = DIRT if dirty else RIVER
        for place, colour in self.light.items():
            codes[place] += LIGHT * colour
        for index, agent in enumerate(self.agents):
            if not agent.missing:
                codes[agent.place] += WHO * (index + 1)
        return codes

    def views(self) -> NDArray[np.uint8]:
        """Return what each agent sees [agents, 11, 11]; zeros for one that is not there."""
        views = np.zeros((len(self.agents), VIEW, VIEW), np.uint8)
        board = np.pad(self.board(), AHEAD)
        for view, agent in zip(views, self.agents, strict=True):
            if not agent.missing:
                row, column = agent.place[0] + AHEAD, agent.place[1] + AHEAD
                around = board[row - AHEAD : row + AHEAD + 1, column - AHEAD : column + AHEAD + 1]
                turned = np.rot90(around, agent.facing)
                view[:] = turned[: AHEAD + 1 + BEHIND, AHEAD - ASIDE : AHEAD + ASIDE + 1]
        return views


def _towards(place: Place, facing: int) -> Place:
    row, column = STEPS[facing % 4]
    return place[0] + row, place[1] + column


def _cleanliness(dirty: int, cells: int, depletion: float) -> float:
    """Return how well an orchard grows, from 0 (dirty) to 1 (clean); 1 where there is no river."""
    return max(0.0, (depletion - dirty / cells) / depletion) if cells else 1.0
