"""Plays: trajectories that keep the states they went through, so that they can be gone back on and played anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from surpass.core import (
    BudgetSpent,
    Conversation,
    Domain,
    Lost,
    Problem,
    State,
    Status,
    Step,
    Trajectory,
    Verdict,
    apply,
    propose,
)

DEPTH = Verdict(Status.REJECTED, (0.0,), "play: unfinished at max_steps")
SILENT = Verdict(Status.REJECTED, (0.0,), "play: the policy proposed nothing")
BUDGET = Verdict(Status.UNKNOWN, (), "play: budget spent")


@dataclass(frozen=True, slots=True)
class Play(Generic[State]):
    """A path from the root: one state more than steps, except behind a loss."""

    states: tuple[State, ...]
    steps: tuple[Step, ...] = ()
    verdict: Verdict | None = None  # None while it can go on
    end: str = ""  # how it ended: verdict, depth, silent, lost or budget

    def cut(self, at: int) -> Play[State]:
        """Return the first `at` steps, to be played on. Requires that there are more."""
        return Play(self.states[: at + 1], self.steps[:at])

    def record(self, problem: Problem, info: Mapping[str, Any]) -> Trajectory:
        """Return an ended play as a trajectory."""
        assert self.verdict is not None
        return Trajectory(problem, self.steps, self.verdict, {"end": self.end, **info})


def play_on(domain: Domain[State], plays: Sequence[Play[State]], *, max_steps: int) -> Conversation[list[Play[State]]]:
    """Play all on to their ends, one proposal at a time, all of them one batch per depth, and return them in order.

    A play that is unfinished with `max_steps` steps in all, or for which the policy has no proposal, is REJECTED
    ("depth", "silent"); one that our machinery or the budget ended is UNKNOWN ("lost", "budget"): after "budget" the
    caller may not ask again.
    """
    found = [_judged(domain, play, max_steps) for play in plays]
    try:
        while going := [index for index, play in enumerate(found) if play.verdict is None]:
            seen = [domain.observe(found[index].states[-1]) for index in going]
            rows = yield from propose(seen, 1)
            steps = {index: Step(one, row[0]) for index, one, row in zip(going, seen, rows, strict=True) if row}
            for index in going:
                if index not in steps:
                    found[index] = replace(found[index], verdict=SILENT, end="silent")
            pairs = [(found[index].states[-1], step.proposal.action) for index, step in steps.items()]
            states = yield from apply(pairs)
            for (index, step), after in zip(steps.items(), states, strict=True):
                found[index] = _moved(domain, found[index], step, after, max_steps)
    except BudgetSpent:
        found = [replace(play, verdict=BUDGET, end="budget") if play.verdict is None else play for play in found]
    return found


def _moved(domain: Domain[State], play: Play[State], step: Step, after: State | Lost, max_steps: int) -> Play[State]:
    longer = replace(play, steps=(*play.steps, step))
    if isinstance(after, Lost):
        return replace(longer, verdict=Verdict(Status.UNKNOWN, (), f"play: lost, {after.reason}"), end="lost")
    return _judged(domain, replace(longer, states=(*play.states, after)), max_steps)


def _judged(domain: Domain[State], play: Play[State], max_steps: int) -> Play[State]:
    """Return the play with its verdict, if there is one to give."""
    if play.verdict is None and (verdict := domain.verify(play.states[-1])):
        return replace(play, verdict=verdict, end="verdict")
    if play.verdict is None and len(play.steps) >= max_steps:
        return replace(play, verdict=DEPTH, end="depth")
    return play
