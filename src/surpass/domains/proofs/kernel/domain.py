"""The kernel as a domain: states, observations, verdicts.

A state is the stated goal, the tactics so far and the goals that remain; a tactic acts on the first of them. The rules
are in `rules.py`, where problems come from is in `generate.py`. There are no processes, clocks or caches here: a step
is arithmetic on values, so the state itself is the replayed proof, and a proof is checked again by stepping again.
`export.py` hands it to Rocq as an independent judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from surpass.core import Observation, Problem, Status, Verdict
from surpass.domains.proofs.kernel.formula import AND, FALSE, OR, parse
from surpass.domains.proofs.kernel.generate import SPLITS, Recipe, generate
from surpass.domains.proofs.kernel.rules import Goal, Goals, fresh, infer, legal, show, spine
from surpass.domains.proofs.text import render
from surpass.errors import DataError

VERSION = "kernel 1"  # changes whenever a rule changes


@dataclass(frozen=True, slots=True)
class State:
    """A proof attempt."""

    problem: str  # Problem.key
    initial: Goal  # what was to be proved
    tactics: tuple[str, ...]  # the last one is the culprit where `refusal` is set
    goals: Goals  # what remains; the next tactic acts on the first
    refusal: str = ""  # why the attempt failed; empty while it has not

    @property
    def status(self) -> Status | None:
        """None while the proof goes on."""
        if self.refusal:
            return Status.REJECTED
        return None if self.goals else Status.ACCEPTED


@dataclass(frozen=True, slots=True)
class Kernel:
    """Intuitionistic propositional logic with Rocq-like tactics; a `surpass.core.Domain` over `State`.

    Canonical: hypothesis names are chosen automatically, every inference has one spelling, `Observation.legal` is the
    exact set of accepted actions, and a goal to which none applies ends the attempt. Otherwise names are free (lower
    case, new in their goal), `assumption` works too, spaces do not matter, and `legal` is None.
    """

    canonical: bool = True
    history: bool = True  # show the tactics so far; without, the text is the goals alone and states merge
    recipe: Recipe = field(default_factory=Recipe)

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the generated problems of "train", "valid" or "test". Raises DataError for another split."""
        if split not in SPLITS:
            raise DataError(f"expected a split among {', '.join(SPLITS)}, found {split!r}: the kernel has no other")
        yield from generate(self.recipe)[split]

    def start(self, problem: Problem) -> State:
        """Return the state that asks for a proof of `data["statement"]`. Raises DataError where that is no formula."""
        statement = problem.data.get("statement")
        if not isinstance(statement, str):
            raise DataError(
                f"expected data['statement'] of problem {problem.key!r} to be a formula, found {statement!r}"
            )
        goal = Goal((), parse(statement))
        return State(problem.key, goal, (), (goal,), self._stuck(goal))

    def observe(self, state: State) -> Observation:
        """Return the goals, with the tactics so far where `history` is set."""
        goals = show(state.goals)
        text = render(state.initial.text, state.tactics, goals) if self.history else goals
        actions = None
        if self.canonical:
            actions = () if state.status is not None else legal(state.goals[0])
        return Observation(text, actions, 0, goals)

    def step(self, state: State, action: str) -> State:
        """Return what a tactic leaves of the first goal, or a rejected state that says why it does not apply."""
        if state.refusal:
            return state
        tactics = (*state.tactics, action)
        if not state.goals:
            return State(state.problem, state.initial, tactics, (), "no goal is left")
        goal, *rest = state.goals
        refusal = self._misspelt(goal, action) if self.canonical else ""
        found = refusal or infer(goal, action)
        if isinstance(found, str):
            return State(state.problem, state.initial, tactics, state.goals, found)
        goals = (*found, *rest)
        return State(state.problem, state.initial, tactics, goals, self._stuck(goals[0]) if goals else "")

    def verify(self, state: State) -> Verdict | None:
        """Return the verdict of a finished attempt."""
        if state.status is None:
            return None
        if state.status is Status.ACCEPTED:
            return Verdict(Status.ACCEPTED, (1.0,), f"{VERSION}; T3")
        return Verdict(Status.REJECTED, (0.0,), f"{VERSION}; {state.refusal}")

    def _misspelt(self, goal: Goal, action: str) -> str:
        """Say why an action that `infer` may accept is none of `rules.legal`; empty where it may be one."""
        if action == "assumption":
            return "canonical: expected `exact h`, found 'assumption'"
        if action.startswith("intro") and action != (name := f"intro {fresh((h for h, _ in goal.hypotheses), 1)[0]}"):
            return f"canonical: expected {name!r}, found {action[:80]!r}"
        return "" if " ".join(action.split()) == action else f"canonical: expected single spaces, found {action[:80]!r}"

    def _stuck(self, goal: Goal) -> str:
        """Say that no canonical action is left; only False can be such a goal, all others leave `exfalso`."""
        if not self.canonical or goal.conclusion is not FALSE:
            return ""
        heads = (spine(formula)[1] for _, formula in goal.hypotheses)
        return "" if any(head is FALSE or head.op in (AND, OR) for head in heads) else "no tactic applies to the goal"


def pose(statement: str, *, key: str = "") -> Problem:
    r"""Return a problem for a formula of one's own; the key defaults to the statement.

    >>> pose(r"A -> A \/ B").data["goals"]
    '|- A -> A \\/ B'
    """
    formula = parse(statement)
    data = {"statement": formula.text, "file": "", "name": key or formula.text, "goals": Goal((), formula).text}
    return Problem(key or formula.text, "kernel", data | {"assumptions": []})
