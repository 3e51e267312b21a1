"""BlocksWorld, the problems: random towers and goals with a wanted shortest plan, in splits that share none.

Worlds and goals with the hand empty have even distances: a block that is picked up is put somewhere. A split is a hash
of the task up to the names of its blocks, the same under every recipe. Short tasks soon repeat each other up to names,
so long ones outnumber them where many are asked for.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

from surpass.core import Problem
from surpass.domains.puzzles.blocksworld_plans import Reached, explore, path
from surpass.domains.puzzles.blocksworld_rules import Atom, Task, World, atom, show
from surpass.domains.puzzles.splits import digest, fill, signature
from surpass.errors import ConfigError

NAMES = "abcdefgh"
LARGEST = 6  # blocks; all worlds of each shape are kept, and 7 blocks have 15 shapes of 65,990 worlds
DRAWS = 100  # draws per wanted problem before a recipe is called too narrow


@dataclass(frozen=True, slots=True)
class Recipe:
    """What problems to generate."""

    blocks: tuple[int, int] = (3, 5)  # least and most
    length: tuple[int, int] = (2, 12)  # least and most actions of a shortest plan; even ones occur
    partial: float = 0.5  # the share of draws whose goal names only some of what is on what
    train: int = 200  # problems in the split
    held_out: int = 50  # problems in valid, and in test
    seed: int = 0


def shapes(blocks: int) -> list[tuple[int, ...]]:
    """Return the ways to pile some blocks into towers, as heights in descending order.

    >>> shapes(3)
    [(3,), (2, 1), (1, 1, 1)]
    """
    found: list[tuple[int, ...]] = []

    def extend(heights: tuple[int, ...], rest: int, most: int) -> None:
        if rest == 0:
            found.append(heights)
        for height in range(min(rest, most), 0, -1):
            extend((*heights, height), rest - height, height)

    extend((), blocks, blocks)
    return found


def towers(heights: tuple[int, ...], names: str) -> World:
    """Return the world of some towers, blocks named from the top of the first downwards, the hand empty."""
    atoms: set[Atom] = {("handempty",)}
    rest = iter(names)
    for height in heights:
        column = [next(rest) for _ in range(height)]
        atoms |= {("clear", column[0]), ("ontable", column[-1])}
        atoms |= {("on", upper, lower) for upper, lower in pairwise(column)}
    return frozenset(atoms)


@lru_cache(maxsize=64)
def _explored(heights: tuple[int, ...]) -> tuple[World, Reached, tuple[tuple[World, int], ...]]:
    """Return a world, all that can be reached from it, and those with an empty hand with their distance."""
    names = NAMES[: sum(heights)]
    world = towers(heights, names)
    reached = explore(world, tuple(names))
    distances: dict[World, int] = {}
    for one, step in reached.items():
        distances[one] = 0 if step is None else distances[step[0]] + 1
    return world, reached, tuple((one, far) for one, far in distances.items() if ("handempty",) in one)


def make(task: Task, solution: list[str] | None) -> Problem:
    """Return the problem of a task, named after what it asks; a plan that is given is a shortest one."""
    data = {"blocks": list(task.blocks), "init": sorted(map(show, task.init)), "goal": sorted(map(show, task.goal))}
    known = {} if solution is None else {"length": len(solution), "solution": solution}
    return Problem(f"blocksworld-{digest(repr(sorted(data.items())))}", "blocksworld", data | known)


def mark(task: Task) -> str:
    """Return a text that tasks share if they differ by the names of blocks alone."""
    goal = [(f"goal {name}", *blocks) for name, *blocks in task.goal]
    return signature([*task.init, *goal])


@lru_cache(maxsize=8)
def generate(recipe: Recipe) -> Mapping[str, tuple[Problem, ...]]:
    """Return the problems of each split. Raises ConfigError where the recipe yields too few different tasks."""
    least, most = recipe.blocks
    if not 2 <= least <= most <= LARGEST or not 1 <= recipe.length[0] <= recipe.length[1]:
        raise ConfigError(f"expected 2 to {LARGEST} blocks and a length of 1 or more, found {recipe}")
    rng = random.Random(recipe.seed)
    draws = (_draw(rng, recipe) for _ in range(DRAWS * (recipe.train + 2 * recipe.held_out)))
    marked = (None if drawn is None else (mark(drawn[0]), partial(make, *drawn)) for drawn in draws)
    return fill(marked, train=recipe.train, held_out=recipe.held_out)


def _draw(rng: random.Random, recipe: Recipe) -> tuple[Task, list[str]] | None:
    """Return a random task with a shortest plan of a random wanted length; None where this draw has none."""
    init, reached, still = _explored(rng.choice(shapes(rng.randint(*recipe.blocks))))
    length = rng.randint(*recipe.length)
    far = [world for world, distance in still if distance == length]
    if not far:
        return None
    target = rng.choice(far)
    goal = sorted(name for name in target if name[0] in ("on", "ontable"))
    if rng.random() < recipe.partial:
        goal = sorted(name for name in goal if name[0] == "on" and rng.random() < 0.7)
    wanted = frozenset(goal)
    first = next((world for world in reached if wanted <= world), target)  # in order of distance
    plan = path(reached, first)
    if not wanted or len(plan) != length:
        return None
    names = sorted({block for _, *blocks in init for block in blocks})
    mixed = dict(zip(names, rng.sample(names, len(names)), strict=True))

    def rename(atoms: World) -> World:
        return frozenset((name, *(mixed[block] for block in blocks)) for name, *blocks in atoms)

    renamed = [show((name, *(mixed[block] for block in blocks))) for name, *blocks in map(atom, plan)]
    return Task(tuple(names), rename(init), rename(wanted)), renamed
