"""The rules of the two commons, as data: what an experiment may change, and two named presets of each.

    harvest   apples regrow where apples are left; who eats the last one of a patch kills it
    cleanup   apples grow while the river is clean; who cleans it does not eat

`"melting_pot"` is Melting Pot 2 (github.com/google-deepmind/meltingpot); `"paper"` is the setting of Large Legislative
Models (arXiv 2410.08345): no zapping in Harvest, one entry for each player, facing north, players 7 to 1 move in this
order, Clean Up starts with ripe apples, episodes of 1000 steps. Left out of both: a Melting Pot avatar on whose cell an
apple of Clean Up grows and who walks into a wall in that same step is paid twice for the one apple; here once.

One step, in this order (that of the engine's queue):
    1  Clean Up: apples grow, by the dirt of the step before; perhaps one clean river cell turns dirty
    2  agents turn or move, one after another; whoever enters the cell of an apple eats it
    3  beams: cleaning, zapping; then agents who waited enter again
    4  Harvest: apples grow, each with the chance for the ripe neighbours it had two steps before
    5  who was zapped leaves; perhaps the episode ends
An apple that grows under an agent is eaten at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from surpass.domains.economy import maps
from surpass.errors import ConfigError

ACTIONS = ("stay", "forward", "backward", "left", "right", "turn left", "turn right", "zap", "clean")
ZAP, CLEAN = 7, 8
NORTH, EAST, SOUTH, WEST = range(4)
AHEAD, BEHIND, ASIDE = 9, 1, 5  # what an agent sees: 11 x 11 cells, itself at row 9, column 5
VIEW = AHEAD + 1 + BEHIND
BEAM = 3  # cells that a beam reaches

# A cell of a view is one byte: terrain + 8 * (agent + 1, or 0) + 64 * (1 zapped, + 2 cleaned in this step).
OUTSIDE, GROUND, WALL, APPLE, BARE, GRASS, RIVER, DIRT = range(8)  # BARE: no apple near, so none will grow
WHO, LIGHT = 8, 64
MOST_AGENTS = 7


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that decides what happens. Raises ConfigError, naming the field, for what cannot be played."""

    name: str
    map: str  # see maps.py
    agents: int = MOST_AGENTS  # 2 to 7; of a map with numbered entries, the first ones
    actions: int = len(ACTIONS)  # the first so many of ACTIONS
    length: int = 1000  # steps at most
    end_after: int = 1000  # with end_chance: the first end is possible in the first step after it that ...
    end_every: int = 100  # ... is one short of a multiple of this
    end_chance: float = 0.0
    shuffled: bool = True  # agents move in a new random order at each step; otherwise from the last to the first
    north: bool = False  # all start facing north; otherwise each as chance has it
    ripe: bool = True  # apples are there at the start
    regrowth: tuple[float, ...] = ()  # Harvest: chance by ripe neighbours within distance 2; the last for more
    growth: float = 0.0  # Clean Up: chance in a clean river's orchard ...
    depletion: float = 1.0  # ... which falls linearly to 0 at this fraction of dirty cells
    dirt_chance: float = 0.0  # of one more dirty cell ...
    dirt_after: int = 0  # ... in each step after these
    zap_cooldown: int = 2  # steps that must pass between two beams of one agent
    zap_out: int = 4  # steps that a zapped agent misses before the one in which it enters again
    clean_cooldown: int = 2

    def __post_init__(self) -> None:
        _whole("agents", self.agents, 2, MOST_AGENTS)
        _whole("actions", self.actions, 1, len(ACTIONS))
        for name in ("length", "end_every"):
            _whole(name, getattr(self, name), 1, 10**9)
        for name in ("end_after", "dirt_after", "zap_cooldown", "zap_out", "clean_cooldown"):
            _whole(name, getattr(self, name), 0, 10**4)
        for name in ("end_chance", "growth", "dirt_chance"):
            _chance(name, getattr(self, name))
        for index, chance in enumerate(self.regrowth):
            _chance(f"regrowth[{index}]", chance)
        if not 0 < self.depletion <= 1:
            raise ConfigError(f"depletion: expected a fraction above 0, at most 1, found {self.depletion}")


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a whole number from {low} to {high}, found {value!r}")


def _chance(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ConfigError(f"{name}: expected a probability from 0 to 1, found {value!r}")


_HARVEST = Rules("harvest", maps.HARVEST, actions=8, length=5000, end_chance=0.15, regrowth=(0.0, 0.0025, 0.005, 0.025))
_CLEANUP = Rules(
    "cleanup",
    maps.CLEANUP,
    length=5000,
    end_chance=0.2,
    ripe=False,
    growth=0.05,
    depletion=0.4,
    dirt_chance=0.5,
    dirt_after=50,
    zap_cooldown=10,
    zap_out=50,
)


def _as_in_the_paper(rules: Rules, text: str, actions: int) -> Rules:
    return replace(rules, map=text, actions=actions, length=1000, end_chance=0.0, shuffled=False, north=True, ripe=True)


RULES: dict[str, dict[str, Rules]] = {
    "harvest": {"paper": _as_in_the_paper(_HARVEST, maps.HARVEST_PLACED, 7), "melting_pot": _HARVEST},
    "cleanup": {"paper": _as_in_the_paper(_CLEANUP, maps.CLEANUP_PLACED, 9), "melting_pot": _CLEANUP},
}


def rules_of(name: str, preset: str = "paper") -> Rules:
    """Return a preset; `dataclasses.replace` changes it. Raises ConfigError for an unknown one, naming those there are.

    >>> rules_of("harvest").regrowth
    (0.0, 0.0025, 0.005, 0.025)
    """
    if name not in RULES:
        raise ConfigError(f"name: expected one of {', '.join(RULES)}, found {name!r}")
    if preset not in RULES[name]:
        raise ConfigError(f"preset: expected one of {', '.join(RULES[name])}, found {preset!r}")
    return RULES[name][preset]
