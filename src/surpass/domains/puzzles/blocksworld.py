"""BlocksWorld as a domain: rearrange towers until a goal holds, one block at a time.

An action is one line of a plan as planning competitions write it, `(unstack b a)`. A play ends as soon as the goal
holds (the hand need not be empty), at an action that cannot be done, and `slack` actions after the length of a shortest
plan. Its return is binary: 1 where the goal holds, 0 otherwise; `partial` above 0 makes what ran out of actions graded.
Rules are in `blocksworld_rules.py`, shortest plans in `blocksworld_plans.py`, files in `blocksworld_pddl.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from surpass.core import Observation, Problem, Status, Trajectory, Verdict
from surpass.domains.puzzles.blocksworld_generate import Recipe, generate, make
from surpass.domains.puzzles.blocksworld_plans import shortest
from surpass.domains.puzzles.blocksworld_rules import Task, World, atom, check, legal, perform, show_all
from surpass.domains.puzzles.splits import require
from surpass.errors import ConfigError, DataError

VERSION = "blocksworld 1"  # changes whenever a rule changes
SPENT = "no action is left and the goal does not hold"


@dataclass(frozen=True, slots=True)
class State:
    """An attempt."""

    problem: str  # Problem.key
    blocks: tuple[str, ...]
    goal: World
    actions: tuple[str, ...]  # the last one is the culprit where `refusal` is set, unless they are spent
    world: World
    left: int | None  # actions that may follow; None: as many as a search allows
    refusal: str = ""  # why the attempt failed; empty while it has not

    @property
    def status(self) -> Status | None:
        """None while play goes on."""
        if self.refusal:
            return Status.REJECTED
        return Status.ACCEPTED if self.goal <= self.world else None


@dataclass(frozen=True, slots=True)
class BlocksWorld:
    """BlocksWorld; a `surpass.core.Domain` over `State`.

    Canonical: `Observation.legal` is the exact set of accepted actions. Otherwise it is None, and upper case, free
    spaces and missing parentheses are accepted too, for language models.
    """

    canonical: bool = True
    history: bool = True  # show the actions so far; without, the text is the world and the goal, and states merge
    slack: int | None = 2  # actions allowed beyond a shortest plan; None: no limit, also where none is known
    partial: float = 0.0  # the return where actions ran out, times the share of goal atoms that hold
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        """Raise ConfigError for a slack or a partial return that cannot be."""
        if (self.slack is not None and self.slack < 0) or not 0 <= self.partial < 1:
            found = f"slack={self.slack}, partial={self.partial}"
            raise ConfigError(f"BlocksWorld: expected slack >= 0 or None and partial from 0 to below 1, found {found}")

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the generated problems of a split. Raises DataError for an unknown one."""
        require(split, "blocksworld")
        yield from generate(self.recipe)[split]

    def start(self, problem: Problem) -> State:
        """Return the world that `data` describes. Raises DataError where it describes none."""
        asked = task(problem)
        length = problem.data.get("length")
        limit = None if self.slack is None or not isinstance(length, int) else length + self.slack
        return State(problem.key, asked.blocks, asked.goal, (), asked.init, limit)

    def observe(self, state: State) -> Observation:
        """Return the goal and the world, with the actions so far where `history` is set."""
        left = "" if state.left is None else f"actions left: {state.left}\n"
        goal, now = f"goal: {show_all(state.goal)}\n", f"state: {show_all(state.world)}\n{left}"
        done = "".join(f"{action}\n" for action in state.actions)
        text = f"{goal}actions:\n{done}{now}" if self.history else goal + now
        actions = None
        if self.canonical:
            actions = () if state.status else tuple(one.text for one in legal(state.world, state.blocks))
        return Observation(text, actions, 0, goal + now)

    def step(self, state: State, action: str) -> State:
        """Return the world after an action, or a rejected state that says why it cannot be done."""
        if state.refusal:
            return state
        done = (*state.actions, action)
        text = action if self.canonical else _tidy(action)
        found = "nothing is left to do" if state.status is not None else perform(state.world, state.blocks, text)
        if isinstance(found, str):
            return State(state.problem, state.blocks, state.goal, done, state.world, state.left, found)
        left = None if state.left is None else state.left - 1
        spent = SPENT if left is not None and left <= 0 and not state.goal <= found else ""
        return State(state.problem, state.blocks, state.goal, done, found, left, spent)

    def verify(self, state: State) -> Verdict | None:
        """Return the verdict of a finished attempt."""
        if state.status is None:
            return None
        if state.status is Status.ACCEPTED:
            return Verdict(Status.ACCEPTED, (1.0,), f"{VERSION}; T3")
        share = len(state.goal & state.world) / len(state.goal) if state.refusal == SPENT else 0.0
        return Verdict(Status.REJECTED, (self.partial * share,), f"{VERSION}; {state.refusal}")


def pose(asked: Task, *, limit: int = 200_000) -> Problem:
    """Return the problem of a task, with a shortest plan.

    Raises DataError where the task makes no sense or no plan leads to its goal, ConfigError where the search meets more
    than `limit` worlds.
    """
    plan = shortest(check(asked), limit=limit)
    if plan is None:
        raise DataError(
            f"expected a goal that can be reached from {show_all(asked.init)}, found {show_all(asked.goal)}"
        )
    return make(asked, plan)


def key(trajectory: Trajectory) -> tuple[str, ...]:
    """Return the plan of a play, every action in its one spelling: plans with other actions are other solutions.

    For `evaluation.diversity`.
    """
    return tuple(map(_tidy, trajectory.actions))


def task(problem: Problem) -> Task:
    """Return what a problem asks, for `blocksworld_pddl.write_problem`. Raises DataError for other data."""
    parts = []
    for name in ("blocks", "init", "goal"):
        part = problem.data.get(name)
        if not isinstance(part, list) or not all(isinstance(one, str) for one in part):
            raise DataError(f"expected data[{name!r}] of {problem.key!r} to be a list of texts, found {part!r}")
        parts.append(part)
    blocks, init, goal = parts
    asked = Task(tuple(blocks), frozenset(map(atom, init)), frozenset(map(atom, goal)), problem.key)
    return check(asked)


def _tidy(action: str) -> str:
    inner = action.strip()
    if inner.startswith("(") and inner.endswith(")"):
        inner = inner[1:-1]
    return f"({' '.join(inner.lower().split())})"
