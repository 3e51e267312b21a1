"""Rocq as a domain: lemmas of an extracted corpus, one tactic sentence an action, the prover as judge.

A state is a value: the problem, the tactics so far, and what the prover answered. The pool of live provers behind it is
cache. Each action passes `rules` (T0) and the prover (T1); the one that closes the last goal and the last brace is
followed by `Qed.` and `Print Assumptions` (T2), whose answer the final state carries. Resources that end (time, memory,
stack, a process that dies twice) give UNKNOWN. Not here: the second opinion of a fresh process (`trust.recheck`, T3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from surpass.core import Observation, Problem, Status, Verdict
from surpass.domains.proofs.keys import check_keys
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq.assumptions import Rests
from surpass.domains.proofs.rocq.protocol import Exhausted, Goals
from surpass.domains.proofs.rocq.rules import as_sentence, normalise, refusal
from surpass.domains.proofs.rocq.session import Outcome, Place, Pool, SessionOptions
from surpass.domains.proofs.rocq.trust import HUMAN, beyond, evidence, needs_human, open_braces
from surpass.domains.proofs.text import render
from surpass.errors import DataError

Premises = Callable[[Problem, str], Sequence[str]]  # (problem, goals) -> one line each, the likeliest last
_RETURNS = {Status.ACCEPTED: (1.0,), Status.REJECTED: (0.0,), Status.UNKNOWN: ()}
_MESSAGE = 300  # characters of the prover's message kept in the evidence


class Filters(TypedDict, total=False):
    """Which problems of a corpus; the meaning of each is that of `corpus.problems`."""

    by: corpora.By
    seed: int
    max_sentences: int | None
    max_chars: int | None
    within: Sequence[str]


@dataclass(frozen=True, slots=True)
class ProofState:
    """One state of one proof."""

    problem: Problem
    tactics: tuple[str, ...]
    goals: str  # as shown
    key: str  # all goals in full, those out of focus too
    status: Status | None = None  # None while the proof is open
    evidence: str = ""

    def __reduce__(self) -> tuple[type[ProofState], tuple[object, ...]]:
        """Pickle by position: what dataclasses do by themselves costs five times as much, at every step."""
        return ProofState, (self.problem, self.tactics, self.goals, self.key, self.status, self.evidence)


class Rocq:
    """The domain. Takes a corpus folder, or problems; provers start when first needed and end with the context.

    Raises DataError for problems of one key that are not the same.

    `history` puts the initial goals and the tactics so far into the observation, not only the goals. Premises in the
    problem's data are shown with it; `offering` shows what suits the goals of each state instead.
    """

    def __init__(
        self,
        corpus: Path | str | Sequence[Problem],
        *,
        history: bool = True,
        options: SessionOptions | None = None,
        **filters: Unpack[Filters],
    ) -> None:
        if not isinstance(corpus, (str, Path)):
            check_keys(corpus)
        self._corpus = corpus
        self._history = history
        self._filters = filters
        self.pool = Pool(options or SessionOptions())
        self._posed: dict[Place, object] = {}  # the initial goals that the prover states there
        self._human: dict[tuple[Place, tuple[str, ...]], Rests] = {}  # what human proofs rest on, where it was asked
        self._premises: Premises | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.close()

    def __getstate__(self) -> dict[str, object]:
        """Pickle as configuration: live provers stay here."""
        return {**self.__dict__, "pool": self.pool.options, "_posed": {}, "_human": {}}

    def __setstate__(self, state: dict[str, object]) -> None:
        options = state["pool"]
        assert isinstance(options, SessionOptions)
        self.__dict__.update({**state, "pool": Pool(options)})

    def offering(self, premises: Premises) -> Self:
        """Return a view that shares the live provers and shows `premises(problem, goals)` in every observation."""
        view = object.__new__(type(self))  # `copy` would go by what is pickled, and the provers are not
        view.__dict__.update({**self.__dict__, "_premises": premises})
        return view

    def problems(self, split: str) -> Iterable[Problem]:
        """Return the problems of a split, ordered by file and position; problems given as such are in every split."""
        if split not in corpora.SHARES:
            raise DataError(f"expected a split among {', '.join(corpora.SHARES)}, found {split!r}")
        if isinstance(self._corpus, (str, Path)):
            return corpora.problems(self._corpus, split, **self._filters)
        return list(self._corpus)

    def start(self, problem: Problem) -> ProofState:
        """Return the initial state, from the record alone: no prover is asked."""
        goals = str(problem.data["goals"])
        return ProofState(problem, (), goals, goals)

    def observe(self, state: ProofState) -> Observation:
        """Return the goals; with history also the initial goals and the tactics."""
        data = state.problem.data
        text = state.goals
        if self._history:
            premises = data.get("premises", ())
            if self._premises is not None and state.status is None:
                premises = self._premises(state.problem, state.goals)
            text = render(data["goals"], state.tactics, state.goals, premises)
        return Observation(text, key=state.key)

    def step(self, state: ProofState, action: str) -> ProofState:
        """Run one sentence. Raises DataError or VerifierError where the corpus does not fit what is installed."""
        if state.status is not None:
            return state
        tactic = normalise(action)
        tactics = (*state.tactics, tactic)
        if reason := refusal(tactic):
            return replace(state, tactics=tactics, status=Status.REJECTED, evidence=evidence("T0", reason))
        try:
            place = self._confirm(state.problem)
        except Exhausted as exhausted:
            return _ended(replace(state, tactics=tactics), Outcome(None, str(exhausted), exhausted=True), "T1")
        *path, sentence = map(as_sentence, tactics)
        outcome = self.pool.run(place, path, sentence)
        goals = outcome.goals
        if goals is None:
            return _ended(replace(state, tactics=tactics), outcome, "T1")
        after = ProofState(state.problem, tactics, goals.text, _key(goals, tactics))
        if goals.done and not open_braces(tactics):
            return self._finish(after, place, [*path, sentence])
        return after

    def ahead(self, state: ProofState, action: str) -> bool:
        """Let a prover that stands ready begin with a step that is asked for next (`rollouts.workers.Foresees`)."""
        tactic = normalise(action)
        place = Place.of(state.problem)
        if place not in self._posed or state.status is not None or refusal(tactic):
            return False
        return self.pool.ahead(place, [as_sentence(one) for one in state.tactics], as_sentence(tactic))

    def verify(self, state: ProofState) -> Verdict | None:
        """Return the verdict that the final state carries."""
        return None if state.status is None else Verdict(state.status, _RETURNS[state.status], state.evidence)

    def _confirm(self, problem: Problem) -> Place:
        """Return where the lemma stands. Raises DataError unless the prover states it as the corpus does, Exhausted.

        What was confirmed goes by the place, never by the key of a problem: two lemmas of a file may have one name.
        """
        place = Place.of(problem)
        if place not in self._posed:
            self._posed[place] = self.pool.goals(place).text
        if (found := self._posed[place]) != problem.data["goals"]:
            raise DataError(
                f"problem {problem.key}: expected the goals {problem.data['goals']!r}, the prover states {found!r}; "
                "extract the corpus again with this version of Rocq"
            )
        return place

    def _finish(self, state: ProofState, place: Place, path: Sequence[str]) -> ProofState:
        data = state.problem.data
        name, allowed = str(data["name"]).rpartition(".")[2], data.get("assumptions", ())
        outcome, rests = self.pool.finish(place, path, name, allowed)
        if outcome.message:
            return _ended(state, outcome, "T2")
        human, solution = rests, tuple(data.get("solution", ()))
        if not rests.extra and needs_human(rests, state.tactics, solution):
            if (place, solution) not in self._human:
                outcome, found = self.pool.finish(place, solution, name, allowed)
                if outcome.message:
                    told = evidence("T2", f"{HUMAN}: {outcome.message[:_MESSAGE]}")
                    return replace(state, status=Status.UNKNOWN, evidence=told)
                self._human[place, solution] = found
            human = self._human[place, solution]
        if extra := beyond(rests, human):
            return replace(state, status=Status.REJECTED, evidence=evidence("T2", f"rests on {', '.join(extra)}"))
        return replace(state, status=Status.ACCEPTED, evidence=evidence("T2"))


def _ended(state: ProofState, outcome: Outcome, level: str) -> ProofState:
    status = Status.UNKNOWN if outcome.exhausted else Status.REJECTED
    return replace(state, status=status, evidence=evidence(level, outcome.message[:_MESSAGE]))


def _key(goals: Goals, tactics: Sequence[str]) -> str:
    """Return what makes two states of a proof interchangeable: all goals, and the bullets and braces still open.

    Bullets are told apart by the whole path: two states with equal goals under different bullets accept different ones.
    """
    marks = "".join(tactic for tactic in tactics if as_sentence(tactic) == tactic)
    return f"{goals.key}\n\n{marks}" if marks else goals.key
