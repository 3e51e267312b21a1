"""One conversation kept alive: what it waits for, what it has spent, what it has found.

Batching and processes are the runner's (`runner.py`); here a search speaks, is charged, refused or answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, cast

from surpass.core import (
    Apply,
    BudgetSpent,
    Conversation,
    Domain,
    Lost,
    Problem,
    Propose,
    Said,
    Score,
    Search,
    State,
    Status,
    Trajectory,
    Verdict,
)
from surpass.rollouts.budget import Ask, Budget, Cost, generated, price
from surpass.rollouts.seeds import derive_seeds
from surpass.rollouts.trace import Event, Trace
from surpass.rollouts.workers import Task


@dataclass(frozen=True, slots=True)
class Terms(Generic[State]):
    """What all conversations of a run share."""

    search: Search[State]
    domain: Domain[State]
    budget: Budget
    seed: int
    step: int
    tell: Callable[[Event], None] | None


class Live(Generic[State]):
    """One search on one problem: a generator, its bill and its records.

    It begins with its first state; while `ask` is not None it waits for an answer to it; then it is `over`.
    """

    def __init__(self, problem: Problem, replica: int, terms: Terms[State]) -> None:
        self.problem, self.replica = problem, replica
        self.ask: Ask | None = None
        self.over = False
        self.records: list[Trajectory] = []
        self._infos: list[dict[str, Any]] = []  # of the records
        self.errors: list[Exception] = []  # of the domain
        self.verifier_seconds = 0.0  # inside the domain's start and step, wherever those ran
        self._terms = terms
        self._spent = Cost()
        self._asks = 0
        self._began = time.monotonic()
        self._refusal = ""  # why BudgetSpent was thrown; empty while the conversation may ask
        self._conversation: Conversation[None] | None = None
        self.tasks: tuple[Task[State], ...] = (problem,)  # for workers: the start, then the pairs of each Apply
        self._arrived: dict[int, State | Lost] = {}  # what has come of the current Apply, by pair
        self._trace = Trace(terms.tell, terms.domain, problem, replica=replica)

    def take_tasks(self) -> tuple[Task[State], ...]:
        """Hand over what a worker must do; nothing a second time."""
        tasks, self.tasks = self.tasks, ()
        return tasks

    def receive(self, index: int, state: State | Lost) -> None:
        """Take in the initial state, or the answer to one pair of an Apply."""
        if self.over:  # a pair of the same Apply has failed
            return
        if self._conversation is None:
            self._begin(state)
            return
        assert isinstance(self.ask, Apply)
        self._arrived[index] = state
        if len(self._arrived) == len(self.ask.pairs):
            states = [self._arrived[pair] for pair in range(len(self._arrived))]
            self._arrived = {}
            self._trace.applied(self._asks, self.ask, states)
            self._answer(states)

    def seeds(self, rows: int) -> list[int]:
        """Return the seed of each row of the current ask: equal however the asks of a run were merged."""
        terms = self._terms
        return derive_seeds(terms.seed, terms.step, self.problem.key, self.replica, self._asks, rows=rows)

    def think(self, rows: list[Any]) -> None:
        """Take in the answer to a Propose (lists of proposals) or a Score (`Scored`), one for each observation."""
        if isinstance(self.ask, Propose):
            self._spent += generated(rows)
            self._trace.proposed(self._asks, self.ask, rows)
        elif isinstance(self.ask, Score):
            self._trace.scored(self._asks, self.ask, rows)
        self._answer(rows)

    def fail(self, error: Exception) -> None:
        """Close the search for an error of the domain, which the runner raises."""
        error.add_note(f"problem {self.problem.key!r}, replica {self.replica}")
        self.errors.append(error)
        if not self.over:
            self.abandon("error", f"{type(error).__name__}: {error}")

    def abandon(self, end: str, evidence: str) -> None:
        """Close the search and record UNKNOWN: the budget, a lost start, or an error of ours."""
        if self._conversation is not None:
            self._conversation.close()
        verdict = Verdict(Status.UNKNOWN, (), f"runner: {evidence}")
        self._record(Trajectory(self.problem, (), verdict, {"end": end}))
        self._end()

    def close(self) -> None:
        """End the search without a record, because nobody listens any more."""
        if self._conversation is not None:
            self._conversation.close()

    def _begin(self, state: State | Lost) -> None:
        self._trace.start(state)
        if isinstance(state, Lost):
            self.abandon("lost", f"start: {state.reason}")
            return
        self._began = time.monotonic()
        self._conversation = self._terms.search(self._terms.domain, self.problem, state)
        self._hear(partial(next, self._conversation))

    def _answer(self, answer: list[Any]) -> None:
        assert self._conversation is not None
        self._hear(partial(self._conversation.send, answer))

    def _hear(self, speak: Callable[[], Said]) -> None:
        """Let the search speak until it asks something that it can pay for, or ends."""
        assert self._conversation is not None
        self.ask = None
        while True:
            try:
                said = speak()
            except StopIteration:
                self._finish()
                return
            except BudgetSpent:  # the search did not catch it
                self.abandon("budget", self._refusal)
                return
            except Exception as error:
                error.add_note(f"raised by the search on problem {self.problem.key!r}, replica {self.replica}")
                raise
            if isinstance(said, Trajectory):
                self._record(said)
                speak = partial(next, self._conversation)
                continue
            if self._refusal:  # it was told, and asks again
                self.abandon("budget", self._refusal)
                return
            self._asks += 1
            self._refusal = self._terms.budget.refusal(self._spent, said, time.monotonic() - self._began)
            if self._refusal:
                self._trace.refused(self._asks, self._refusal)
                speak = partial(self._conversation.throw, BudgetSpent(self._refusal))
                continue
            self._spent += price(said)
            if not (said.pairs if isinstance(said, Apply) else said.observations):
                speak = partial(self._conversation.send, [])  # nothing was asked
                continue
            self.ask = said
            if isinstance(said, Apply):
                self.tasks = cast("Apply[State]", said).pairs  # its own states come back to it
            return

    def _finish(self) -> None:
        if self.records:
            self._end()
        elif self._refusal:
            self.abandon("budget", self._refusal)
        else:
            self.abandon("empty", "search ended without a trajectory")

    def _end(self) -> None:
        """Write the whole cost into every record: the search may have gone on after the last of them."""
        self.ask, self.over = None, True
        total = {f"total_{name}": cost for name, cost in self._cost().items()}
        for info in self._infos:
            info.update(total)

    def _cost(self) -> dict[str, float]:
        """Return what the conversation has cost so far."""
        return {
            "proposals": self._spent.proposals,
            "steps": self._spent.steps,
            "tokens": self._spent.tokens,
            "seconds": time.monotonic() - self._began,
            "verifier_seconds": self.verifier_seconds,
        }

    def _record(self, trajectory: Trajectory) -> None:
        """Keep a trajectory with what its conversation had cost by then; an `end` set by the search stays."""
        unpaid = bool(self._refusal) and trajectory.verdict.status is Status.UNKNOWN
        info = {
            "end": "budget" if unpaid else "verdict",
            **trajectory.info,
            **self._cost(),
            "replica": self.replica,
            "seed": self._terms.seed,
        }
        self._infos.append(info)
        self.records.append(Trajectory(trajectory.problem, trajectory.steps, trajectory.verdict, info))
        self._trace.found(self._asks, self.records[-1])
