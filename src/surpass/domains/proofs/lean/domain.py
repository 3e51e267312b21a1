"""Lean 4 as a domain: theorems with a hole, one tactic an action, Lean's REPL as judge.

A state is a value: the problem, the tactics so far, and what Lean answered. The processes behind it are cache. Each
action passes `rules` (T0) and the REPL in tactic mode (T1); the one that closes the last goal is followed by the whole
declaration, elaborated anew, its statement and axioms compared (T2). Resources that end (heartbeats, recursion, time,
memory, a process that dies twice) give UNKNOWN. Not here: the second opinion of a fresh process (`trust.recheck`, T3).

**Developed without Lean**: its answers were replayed from recordings written after the REPL's documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from surpass.core import Observation, Problem, Status, Verdict
from surpass.domains.proofs.keys import check_keys
from surpass.domains.proofs.lean.loaders import load
from surpass.domains.proofs.lean.place import Place
from surpass.domains.proofs.lean.protocol import Answer, LeanInteract, Opener
from surpass.domains.proofs.lean.rules import normalise, refusal
from surpass.domains.proofs.lean.session import Outcome, Pool, SessionOptions
from surpass.domains.proofs.lean.trust import evidence
from surpass.domains.proofs.text import render
from surpass.errors import DataError

SPLITS = ("train", "valid", "test", "all")
_RETURNS = {Status.ACCEPTED: (1.0,), Status.REJECTED: (0.0,), Status.UNKNOWN: ()}
_UNJUDGED = "Not verified"  # the REPL's answer where it cannot tell: the whole declaration decides then
_ELIDED = "⋯"  # stands in goals for what Lean does not print


@dataclass(frozen=True, slots=True)
class ProofState:
    """One state of one proof."""

    problem: Problem
    tactics: tuple[str, ...]
    initial: str  # the goal at the start
    goals: str  # as shown
    status: Status | None = None  # None while the proof is open
    evidence: str = ""

    def __reduce__(self) -> tuple[type[ProofState], tuple[object, ...]]:
        """Pickle by position: what dataclasses do by themselves costs five times as much, at every step."""
        return ProofState, (self.problem, self.tactics, self.initial, self.goals, self.status, self.evidence)


class Lean:
    """The domain. Takes problems, or a file of them (see `loaders.load`); processes start when first needed.

    `opener` starts Lean: the real one, or a replay. `history` puts the initial goal and the tactics so far into the
    observation, not only the goals.
    """

    def __init__(
        self,
        problems: Path | str | Sequence[Problem],
        opener: Opener = LeanInteract(),  # noqa: B008 - frozen
        *,
        history: bool = True,
        options: SessionOptions = SessionOptions(),  # noqa: B008 - frozen
    ) -> None:
        if not isinstance(problems, (str, Path)):
            check_keys(problems)
        self._problems = problems
        self._history = history
        self.pool = Pool(opener, options)
        self._posed: dict[str, tuple[Problem, Place, str]] = {}  # by key: problems whose goal Lean has confirmed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.close()

    def __getstate__(self) -> dict[str, object]:
        """Pickle as configuration: live processes stay here."""
        return {**self.__dict__, "pool": (self.pool.opener, self.pool.options), "_posed": {}}

    def __setstate__(self, state: dict[str, object]) -> None:
        pool: tuple[Opener, SessionOptions] = state["pool"]  # type: ignore[assignment]  # as `__getstate__` has put it
        self.__dict__.update({**state, "pool": Pool(*pool)})

    def problems(self, split: str) -> Iterable[Problem]:
        """Return the problems of a split, in the order of the file; those that name no split are in every one."""
        if split not in SPLITS:
            raise DataError(f"expected a split among {', '.join(SPLITS)}, found {split!r}")
        given = load(self._problems).problems if isinstance(self._problems, (str, Path)) else self._problems
        found = [problem for problem in given if split in ("all", problem.data.get("split", split))]
        if not found:
            raise DataError(f"expected problems of the split {split!r} in {self._problems}, found none")
        return found

    def start(self, problem: Problem) -> ProofState:
        """Return the initial state: from the record where it has the goal, else Lean is asked.

        Raises VerifierError where the theorem cannot be stated.
        """
        goals = str(problem.data["goals"]) if "goals" in problem.data else self._confirm(problem)[1]
        return ProofState(problem, (), goals, goals)

    def observe(self, state: ProofState) -> Observation:
        """Return the goals; with history also the initial goal and the tactics."""
        text = state.goals
        if self._history:
            text = render(state.initial, state.tactics, state.goals, state.problem.data.get("premises", ()))
        return Observation(text, key="" if _ELIDED in state.goals else state.goals)

    def step(self, state: ProofState, action: str) -> ProofState:
        """Run one tactic. Raises DataError or VerifierError where the problem does not fit what is installed."""
        if state.status is not None:
            return state
        tactic = normalise(action)
        tactics = (*state.tactics, tactic)
        if reason := refusal(tactic):
            return replace(state, tactics=tactics, status=Status.REJECTED, evidence=evidence("lean", "T0", reason))
        place, _ = self._confirm(state.problem)
        outcome = self.pool.run(place, state.tactics, tactic)
        after = replace(state, tactics=tactics)
        if outcome.goals is None:
            return _ended(after, outcome)
        if outcome.goals:
            return replace(after, goals=_shown(outcome.goals))
        if outcome.status and outcome.status != "Completed" and not outcome.status.startswith(_UNJUDGED):
            return _ended(after, replace(outcome, message=outcome.status, exhausted=_exhausted(outcome.status)))
        verdict = self.pool.judge(place, tactics)
        return replace(after, goals="no goals", status=verdict.status, evidence=verdict.evidence)

    def verify(self, state: ProofState) -> Verdict | None:
        """Return the verdict that the final state carries."""
        return None if state.status is None else Verdict(state.status, _RETURNS[state.status], state.evidence)

    def _confirm(self, problem: Problem) -> tuple[Place, str]:
        """Return where the theorem stands and its goal. Raises DataError where Lean states another than the record.

        What was confirmed holds for the same data: two theorems may have come under one key.
        """
        if (known := self._posed.get(problem.key)) and known[0].data == problem.data:
            return known[1:]
        place = Place.of(problem)
        found = _shown(self.pool.goals(place))
        if found != problem.data.get("goals", found):
            raise DataError(
                f"problem {problem.key}: expected the goal {problem.data['goals']!r}, Lean states {found!r}; "
                "read the problems again with this toolchain"
            )
        self._posed[problem.key] = problem, place, found
        return place, found


def _shown(goals: Sequence[str]) -> str:
    return "\n\n".join(goals)


def _exhausted(status: str) -> bool:
    return Answer(status).exhausted


def _ended(state: ProofState, outcome: Outcome) -> ProofState:
    status = Status.UNKNOWN if outcome.exhausted else Status.REJECTED
    return replace(state, status=status, evidence=evidence(outcome.checker, "T1", outcome.message))
