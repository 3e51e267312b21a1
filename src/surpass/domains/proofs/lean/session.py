"""Live processes of the REPL, and what they have been through.

A process keeps every environment and proof state it ever made, so a session only remembers their numbers: of contexts,
of theorems stated there, and of the tactic paths played below them. A sibling costs one request, a state unknown to the
process the tactics from its nearest known ancestor. Nothing is ever released within a process; it is ended, and
all is built again when asked for, after `SessionOptions.requests` or above `SessionOptions.resident`.

Not here: which tactics are permitted (`rules`) and what makes a verdict (`domain`, `trust`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from surpass.core import Status, Verdict
from surpass.domains.proofs.lean import trust
from surpass.domains.proofs.lean.place import Place
from surpass.domains.proofs.lean.protocol import (
    Answer,
    DeadlinePassedError,
    Opener,
    ProcessDiedError,
    Repl,
    pickle,
    tactic,
    unpickle,
)
from surpass.errors import VerifierError

T = TypeVar("T")
_MEMORY_EVERY = 64  # tactics between two looks at the memory of a process
_QUARANTINE = 10_000  # actions remembered as deadly


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Limits of a process and of each request."""

    timeout: float = 10.0  # seconds for a tactic; beyond it the process is killed
    finish: float = 60.0  # seconds to elaborate a finished proof
    load: float = trust.LOAD  # seconds for what stands before a theorem
    resident: int = 6 << 30  # bytes above which a process starts anew
    requests: int = 20_000  # after which a process starts anew
    pickles: Path | None = None  # folder for environments as .olean files; scoped notations may not survive that


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a tactic: goals where it ran, else a message; `exhausted` where resources ended it."""

    goals: tuple[str, ...] | None
    message: str = ""
    exhausted: bool = False
    status: str = ""  # the REPL's own opinion
    checker: str = "lean"


@dataclass(frozen=True, slots=True)
class _Stated:
    env: int | None  # before the theorem
    answer: Answer


class _PathLostError(Exception):
    """A tactic that ran before does not run again: it must depend on time."""


class Session:
    """One process, started when first needed."""

    def __init__(self, project: str, opener: Opener, options: SessionOptions) -> None:
        self._project, self._opener, self._options = project, opener, options
        self._repl: Repl | None = None
        self._contexts: dict[str, int | None] = {}
        self._stated: dict[Place, _Stated] = {}
        self._played: dict[tuple[Place, tuple[str, ...]], Answer] = {}
        self._requests = self._runs = 0

    @property
    def checker(self) -> str:
        return trust.checker(self._repl) if self._repl else "lean"

    def close(self) -> None:
        """End the process; the next call starts another. The caller does so where a call raised ProcessDiedError."""
        if self._repl is not None:
            self._repl.close()
        self._repl, self._requests = None, 0
        for known in (self._contexts, self._stated, self._played):
            known.clear()

    def goals(self, place: Place) -> tuple[str, ...]:
        """State the theorem and return its goal. Raises VerifierError, ProcessDiedError."""
        return self._state(place).answer.goals

    def run(self, place: Place, path: tuple[str, ...], action: str) -> Outcome:
        """Run one tactic after `path`, or remember what came of it. Raises ProcessDiedError, VerifierError."""
        if known := self._played.get((place, (*path, action))):
            return Outcome(known.goals, status=known.status, checker=self.checker)
        try:
            state = self._reach(place, path)
        except _PathLostError as lost:
            return Outcome(None, str(lost), exhausted=True, checker=self.checker)
        repl = self._live()
        answer = tactic(repl, action, state, self._options.timeout)
        who = trust.checker(repl)
        if answer.message:
            return Outcome(None, answer.message, answer.exhausted, checker=who)
        self._played[place, (*path, action)] = answer
        self._watch()
        return Outcome(answer.goals, status=answer.status, checker=who)

    def judge(self, place: Place, path: Sequence[str]) -> Verdict:
        """Elaborate the whole proof (T2). Raises ProcessDiedError, VerifierError."""
        stated = self._state(place)
        repl = self._live()
        return trust.judge(repl, stated.env, stated.answer.env, place, path, self._options.finish, "T2")

    def _reach(self, place: Place, path: tuple[str, ...]) -> int:
        """Return the proof state after `path`, playing what is not known of it."""
        self._state(place)
        known = next(n for n in range(len(path), -1, -1) if (place, path[:n]) in self._played)
        state = self._played[place, path[:known]].state
        for length in range(known + 1, len(path) + 1):
            answer = tactic(self._live(), path[length - 1], state, self._options.timeout)
            if answer.message:
                raise _PathLostError(f"replay of {path[length - 1]!r}: {answer.message}")
            self._played[place, path[:length]] = answer
            state = answer.state
        return state

    def _state(self, place: Place) -> _Stated:
        found = self._stated.get(place)
        if found is None:
            repl = self._live()
            env = self._context(repl, place.context)
            found = self._stated[place] = _Stated(env, trust.state(repl, env, place, self._options.finish))
            self._played[place, ()] = found.answer
        return found

    def _context(self, repl: Repl, context: str) -> int | None:
        """Return the environment after a context: known, from a pickle, or elaborated from the nearest known one."""
        if context in self._contexts:
            return self._contexts[context]
        kept = self._pickle(repl, context)
        if kept and kept.exists():
            env: int | None = unpickle(repl, kept, self._options.load)
        else:
            nearest = max((known for known in self._contexts if context.startswith(known)), key=len, default="")
            rest = context[len(nearest) :]
            env = trust.elaborate_context(repl, rest, self._contexts.get(nearest), self._options.load)
            if kept and env is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                pickle(repl, env, kept, self._options.load)
        self._contexts[context] = env
        return env

    def _pickle(self, repl: Repl, context: str) -> Path | None:
        """Return where the environment after a context is kept: the toolchain, the project and the text name it."""
        if self._options.pickles is None:
            return None
        identity = "\0".join((trust.checker(repl), self._project, context))
        return self._options.pickles / f"{hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()}.olean"

    def _live(self) -> Repl:
        if self._repl is None:
            self._repl = self._opener(self._project)
        self._requests += 1
        return self._repl

    def _watch(self) -> None:
        """End a process that has grown too large; no state is lost, as each can be played again."""
        if self._repl is None:
            return
        self._runs += 1
        crowded = self._runs % _MEMORY_EVERY == 0 and self._repl.memory() > self._options.resident
        if crowded or self._requests > self._options.requests:
            self.close()


class Pool:
    """The sessions of one worker, one for each project. Starts nothing by itself."""

    def __init__(self, opener: Opener, options: SessionOptions = SessionOptions()) -> None:
        self.opener, self.options = opener, options
        self._sessions: dict[str, Session] = {}
        self._deadly: OrderedDict[tuple[Place, tuple[str, ...]], str] = OrderedDict()
        self.restarts = 0

    def close(self) -> None:
        """End all processes."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def goals(self, place: Place) -> tuple[str, ...]:
        """Return the goal of a theorem. Raises VerifierError where it cannot be stated."""
        session = self._session(place)
        try:
            return session.goals(place)
        except ProcessDiedError as died:
            self._bury(session)
            raise VerifierError(f"expected {place.name} to be stated, found: {died}; raise the limits") from died

    def run(self, place: Place, path: Sequence[str], action: str) -> Outcome:
        """Run one tactic after `path`; a process that ends is replaced, and the tactic tried once more.

        A tactic that ended two processes, or one at its deadline, is exhausted now and whenever it is asked again.
        """
        played = tuple(path)
        found = self._insist(place, (*played, action), lambda session: session.run(place, played, action))
        return Outcome(None, found, exhausted=True) if isinstance(found, str) else found

    def judge(self, place: Place, path: Sequence[str]) -> Verdict:
        """Elaborate a finished proof (T2), with the same patience."""
        found = self._insist(place, (*path, ""), lambda session: session.judge(place, path))
        return Verdict(Status.UNKNOWN, (), trust.evidence("lean", "T2", found)) if isinstance(found, str) else found

    def _insist(self, place: Place, played: tuple[str, ...], call: Callable[[Session], T]) -> T | str:
        """Return the answer of a call, or why there is none."""
        if reason := self._deadly.get((place, played)):
            return reason
        reason = ""
        for _ in range(2):
            self.goals(place)  # what ends a process here is not the tactic's fault
            session = self._session(place)
            try:
                return call(session)
            except ProcessDiedError as died:
                self._bury(session)
                reason = str(died)
                if isinstance(died, DeadlinePassedError):
                    break
        self._deadly[place, played] = reason
        if len(self._deadly) > _QUARANTINE:
            self._deadly.popitem(last=False)
        return reason

    def _session(self, place: Place) -> Session:
        return self._sessions.setdefault(place.project, Session(place.project, self.opener, self.options))

    def _bury(self, session: Session) -> None:
        session.close()
        self.restarts += 1
