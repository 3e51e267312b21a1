"""BlocksWorld, the rules: a world is a set of ground atoms, an action a ground instance of one of four STRIPS schemas.

    atoms     (on x y)  (ontable x)  (clear x)  (holding x)  (handempty)
    actions   (pick-up x)  (put-down x)  (stack x y)  (unstack x y)         written as in competitions' plans

`SCHEMAS` is the only statement of what actions need and change: `legal` grounds it, `blocksworld_pddl.py` writes it as
a PDDL domain and holds other people's domain files to it. Not here: types, other schemas, numbers, time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from surpass.errors import DataError

Atom = tuple[str, ...]  # a predicate and its blocks
World = frozenset[Atom]

ARITY = {"on": 2, "ontable": 1, "clear": 1, "holding": 1, "handempty": 0}
NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Schema:
    """A STRIPS action: `needs` must hold, then `deletes` cease to hold and `adds` begin to. Variables start with ?."""

    name: str
    variables: tuple[str, ...]
    needs: World
    adds: World
    deletes: World

    def ground(self, blocks: Iterable[str]) -> Action:
        """Return the action that does this to some blocks."""
        values = dict(zip(self.variables, blocks, strict=True))

        def put(atoms: World) -> World:
            return frozenset((name, *(values[variable] for variable in variables)) for name, *variables in atoms)

        return Action(show((self.name, *values.values())), put(self.needs), put(self.adds), put(self.deletes))


@dataclass(frozen=True, slots=True)
class Action:
    """A ground action: its text, what it needs and what it changes."""

    text: str
    needs: World
    adds: World
    deletes: World


def _schema(name: str, variables: str, needs: str, adds: str, deletes: str) -> Schema:
    parts = [frozenset(map(atom, part.split(", "))) for part in (needs, adds, deletes)]
    return Schema(name, tuple(variables.split()), *parts)


def atom(text: str) -> Atom:
    """Return the atom of a text with or without parentheses; neither predicate nor blocks are checked."""
    return tuple(text.strip("() ").split())


SCHEMAS = (
    _schema("pick-up", "?x", "clear ?x, ontable ?x, handempty", "holding ?x", "clear ?x, ontable ?x, handempty"),
    _schema("put-down", "?x", "holding ?x", "clear ?x, ontable ?x, handempty", "holding ?x"),
    _schema("stack", "?x ?y", "holding ?x, clear ?y", "on ?x ?y, clear ?x, handempty", "holding ?x, clear ?y"),
    _schema(
        "unstack", "?x ?y", "on ?x ?y, clear ?x, handempty", "holding ?x, clear ?y", "on ?x ?y, clear ?x, handempty"
    ),
)


@dataclass(frozen=True, slots=True)
class Task:
    """A world and the atoms that are to hold in the end; the goal may leave the rest open."""

    blocks: tuple[str, ...]  # sorted
    init: World
    goal: World
    name: str = "task"


def show(name: Atom) -> str:
    """Return the text of an atom: `(on a b)`."""
    return f"({' '.join(name)})"


def show_all(atoms: World) -> str:
    """Return the texts of some atoms, sorted."""
    return " ".join(sorted(map(show, atoms)))


@lru_cache(maxsize=256)
def ground(blocks: tuple[str, ...]) -> dict[str, Action]:
    """Return all actions on some blocks by their text, sorted; those that name a block twice can never be done."""
    choices = ((schema, chosen) for schema in SCHEMAS for chosen in permutations(blocks, len(schema.variables)))
    actions = [schema.ground(chosen) for schema, chosen in choices]
    return {action.text: action for action in sorted(actions, key=lambda action: action.text)}


def legal(world: World, blocks: tuple[str, ...]) -> list[Action]:
    """Return the actions that can be done in a world."""
    return [action for action in ground(blocks).values() if action.needs <= world]


def apply(world: World, action: Action) -> World:
    """Return the world after an action whose needs hold."""
    return (world - action.deletes) | action.adds


def perform(world: World, blocks: tuple[str, ...], text: str) -> World | str:
    """Return the world after the action of a text or, as a string, why it cannot be done."""
    action = ground(blocks).get(text)
    if action is None:
        forms = ", ".join(show((schema.name, *schema.variables)) for schema in SCHEMAS)
        return f"expected one of {forms} with different blocks among {' '.join(blocks)}, found {text[:80]!r}"
    missing = action.needs - world
    if missing:
        return f"{text} needs {show_all(missing)}, which does not hold"
    return apply(world, action)


def check(task: Task) -> Task:
    """Return a task that makes sense. Raises DataError where its atoms, its blocks or its world do not.

    The world must put every block on the table, on one block or in the hand, and say what is clear and whether the hand
    is empty. The goal need only speak of the same blocks: whether it can be reached is for a planner to say.
    """
    for name in task.blocks:
        if NAME.fullmatch(name) is None:
            raise DataError(f"expected a block's name of lower case letters, digits, - and _, found {name[:40]!r}")
    if task.blocks != tuple(sorted(set(task.blocks))) or not task.blocks:
        raise DataError(f"expected one or more different blocks in order, found {' '.join(task.blocks)[:80]!r}")
    for name, *blocks in sorted(task.init | task.goal):
        if ARITY.get(name) != len(blocks):
            known = ", ".join(f"{name}/{arity}" for name, arity in ARITY.items())
            raise DataError(f"expected an atom among {known}, found {show((name, *blocks))}")
        if unknown := sorted(set(blocks) - set(task.blocks)):
            found = f"{unknown[0]!r} in {show((name, *blocks))}"
            raise DataError(f"expected blocks among {' '.join(task.blocks)}, found {found}")
    _check_world(task)
    return task


def _check_world(task: Task) -> None:
    """Build the towers up from the table and compare what they make true with what is said."""
    above = {blocks[1]: blocks[0] for name, *blocks in task.init if name == "on"}
    held = [blocks[0] for name, *blocks in task.init if name == "holding"]
    placed = list(held)
    true: set[Atom] = {("holding", block) for block in held} or {("handempty",)}
    for bottom in (blocks[0] for name, *blocks in task.init if name == "ontable"):
        true.add(("ontable", bottom))
        placed.append(block := bottom)
        while block in above and len(placed) <= len(task.blocks):
            true.add(("on", above[block], block))
            placed.append(block := above[block])
        true.add(("clear", block))
    missing, extra = frozenset(true) - task.init, task.init - true
    if len(held) > 1 or sorted(placed) != list(task.blocks) or missing or extra:
        raise DataError(
            "expected a world with every block once, in towers on the table or as the only one in the hand; "
            f"found the blocks {' '.join(sorted(placed))} placed, [{show_all(missing)}] missing and "
            f"[{show_all(extra)}] too much in {show_all(task.init)[:300]}"
        )
