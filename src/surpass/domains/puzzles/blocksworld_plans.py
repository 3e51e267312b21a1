"""BlocksWorld, the oracle: shortest plans by breadth-first search, exact and without a heuristic.

Every action has an inverse, so distances are those of an undirected graph; the search still runs forwards only, from a
world to whichever goal comes first. Blocks 3, 4, 5, 6, 7: 22, 125, 866, 7057, 65990 worlds. Planning with the fewest
moves is NP-hard (Gupta and Nau 1992): beyond seven blocks set `limit` and expect to wait. All plans, not only one, come
from `enumeration.py`.
"""

from __future__ import annotations

from surpass.domains.puzzles.blocksworld_rules import Task, World, apply, legal
from surpass.errors import ConfigError

Reached = dict[World, tuple[World, str] | None]  # world -> where it was reached from and how, in order of distance


def explore(init: World, blocks: tuple[str, ...], goal: World | None = None, *, limit: int = 200_000) -> Reached:
    """Return all worlds in order of distance, or those up to the first in which the goal holds.

    Raises ConfigError above `limit` worlds.
    """
    reached: Reached = {init: None}
    frontier = [init]
    while frontier:
        following: list[World] = []
        for world in frontier:
            if goal is not None and goal <= world:
                return reached
            for action in legal(world, blocks):
                after = apply(world, action)
                if after not in reached:
                    reached[after] = (world, action.text)
                    following.append(after)
            if len(reached) > limit:
                raise ConfigError(f"expected at most {limit} worlds of {len(blocks)} blocks: raise limit, or use fewer")
        frontier = following
    return reached


def path(reached: Reached, world: World) -> list[str]:
    """Return the actions that lead to a world."""
    actions: list[str] = []
    while (step := reached[world]) is not None:
        world, action = step
        actions.append(action)
    return actions[::-1]


def shortest(task: Task, *, limit: int = 200_000) -> list[str] | None:
    """Return a plan with the fewest actions, None where no plan leads to the goal. Raises ConfigError above `limit`."""
    reached = explore(task.init, task.blocks, task.goal, limit=limit)
    found = next((world for world in reached if task.goal <= world), None)
    return None if found is None else path(reached, found)
