"""A map read once: where everything is, as rows and columns.

Sites are numbered in reading order; chance is drawn by these numbers, so the reference and the kernel share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from surpass.domains.economy.rules import Rules
from surpass.errors import ConfigError

Place = tuple[int, int]  # row, column
LEGEND = frozenset("WA~HFPQ1234567 ")
RADIUS = 2  # Euclidean, of what counts as near an apple


@dataclass(frozen=True, slots=True)
class Layout:
    """What does not change during a game."""

    height: int
    width: int
    walls: frozenset[Place]
    water: frozenset[Place]  # all of the river, cells that can be dirty included
    apples: tuple[Place, ...]
    near: tuple[tuple[int, ...], ...]  # by apple site: the other sites within RADIUS
    river: tuple[Place, ...]  # cells that can be dirty
    dirty: tuple[bool, ...]  # at the start, by river cell
    first: tuple[tuple[Place, ...], ...]  # by agent: where it may enter at the start
    again: tuple[tuple[Place, ...], ...]  # and after it was zapped
    site: Mapping[Place, int] = field(hash=False)  # apple site by place
    cell: Mapping[Place, int] = field(hash=False)  # river cell by place


@lru_cache(maxsize=64)
def layout_of(rules: Rules) -> Layout:
    """Read the map of some rules. Raises ConfigError where it cannot be played on."""
    rows = rules.map.strip("\n").split("\n")
    if not rows or len({len(row) for row in rows}) != 1:
        raise ConfigError("map: expected rows of equal length")
    at: dict[str, list[Place]] = {}
    for row, line in enumerate(rows):
        for column, sign in enumerate(line):
            if sign not in LEGEND:
                raise ConfigError(f"map: expected one of {''.join(sorted(LEGEND))!r}, found {sign!r} in row {row}")
            at.setdefault(sign, []).append((row, column))
    edge = {*rows[0], *rows[-1], *(line[0] for line in rows), *(line[-1] for line in rows)}
    if edge != {"W"}:
        raise ConfigError("map: expected walls (W) all around")
    apples = tuple(at.get("A", []))
    river = tuple(sorted([*at.get("H", []), *at.get("F", [])]))
    if len(apples) > 192:
        raise ConfigError(f"map: expected at most 192 apple sites, found {len(apples)}")
    dirty = set(at.get("F", []))
    first, again = _entries(at, rules.agents)
    return Layout(
        height=len(rows),
        width=len(rows[0]),
        walls=frozenset(at["W"]),
        water=frozenset([*at.get("~", []), *river]),
        apples=apples,
        near=tuple(_near(place, apples) for place in apples),
        river=river,
        dirty=tuple(place in dirty for place in river),
        first=first,
        again=again,
        site={place: index for index, place in enumerate(apples)},
        cell={place: index for index, place in enumerate(river)},
    )


def _near(place: Place, apples: tuple[Place, ...]) -> tuple[int, ...]:
    def close(other: Place) -> bool:
        distance = (other[0] - place[0]) ** 2 + (other[1] - place[1]) ** 2
        return 0 < distance <= RADIUS**2

    return tuple(site for site, other in enumerate(apples) if close(other))


def _entries(at: dict[str, list[Place]], agents: int) -> tuple[tuple[tuple[Place, ...], ...], ...]:
    """Return where each agent enters first, and again: numbered cells, or any P (Q first, for the first ones)."""
    if "1" in at:
        missing = [str(agent + 1) for agent in range(agents) if str(agent + 1) not in at]
        if missing:
            raise ConfigError(f"map: expected an entry for each of {agents} agents, found none for {missing[0]}")
        own = tuple(tuple(at[str(agent + 1)]) for agent in range(agents))
        return own, own
    outer, inner = tuple(at.get("P", ())), tuple(at.get("Q", ()))
    if len(outer) < agents:
        raise ConfigError(f"map: expected at least {agents} entries (P), found {len(outer)}")
    return tuple(inner if agent < len(inner) else outer for agent in range(agents)), (outer,) * agents
