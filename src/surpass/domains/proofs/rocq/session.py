"""Live provers standing at lemmas: one process for each source file, kept while it is useful.

A session replays its file, with the real proofs, up to the lemma asked for; moving to an earlier lemma is one `Edit_at`
(1-2 ms), to a later one a replay of what lies between. At a lemma it holds the path of tactics that leads to the
prover's tip, so a neighbouring state costs the tactics that differ. All of this is cache: a session that is closed,
killed or evicted is built again from the file, the place and the tactics, which the caller's state carries.

Not here: which tactics are permitted (`rules`) and what makes a verdict (`domain`, `trust`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from surpass.core import Problem
from surpass.domains.proofs.rocq.assumptions import Rests, rests_on
from surpass.domains.proofs.rocq.protocol import (
    ROOT,
    CommandFailed,
    DeadlinePassed,
    DiedBefore,
    DiedStating,
    Exhausted,
    Goals,
    Limits,
    ProcessDied,
    Toplevel,
)
from surpass.domains.proofs.rocq.sentences import split
from surpass.errors import DataError, VerifierError

_MEMORY_EVERY = 64  # runs between two looks at the memory of a process
_REPLAYS = 4  # tries to reach a lemma: what dies there did not die of a policy's tactic
_QUARANTINE = 10_000  # actions remembered as deadly


@dataclass(frozen=True, slots=True)
class Source:
    """A file as the prover is to read it."""

    file: str
    top: str  # logical name
    noinit: bool = False
    options: tuple[str, ...] = ()  # load path arguments

    def __hash__(self) -> int:
        """A string keeps its hash; a tuple of all fields would be hashed anew at every tactic."""
        return hash(self.file)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lemma stands: nothing of the file from `position` on is known to the prover there."""

    source: Source
    position: int  # index of the statement among the file's sentences
    pose: tuple[str, ...]  # the statement, and `Proof.` in whatever form the file has it
    preamble: tuple[str, ...] = ()  # sentences of ours between the file and the statement: what a prover needs loaded

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Read the place from the data of a problem. Raises DataError where a field is missing."""
        data = problem.data
        try:
            source = Source(str(data["file"]), str(data["top"]), bool(data["noinit"]), tuple(data["options"]))
            pose = (str(data["statement"]), str(data.get("opening", "")))
            return cls(source, int(data["position"]), tuple(filter(None, pose)), tuple(data.get("preamble", ())))
        except KeyError as error:
            raise DataError(
                f"problem {problem.key}: expected data[{error}] (see rocq/README.md), found {sorted(data)}; "
                "extract the corpus again"
            ) from error


_Asked = tuple[Place, tuple[str, ...], str]  # where, after what, which sentence; empty: the statement


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Limits of a pool and of each tactic."""

    timeout: int = 5  # seconds that Rocq gives each tactic, and Qed
    grace: float = 5.0  # seconds beyond `timeout` before the process is killed
    processes: int = 8  # alive at once
    memory: int = 6 << 30  # resident bytes of all processes together, above which the least recently used ones end
    resident: int = 2 << 30  # resident bytes of one process, above which it starts anew
    limits: Limits = field(default_factory=Limits)  # of each process; `limits.call` bounds the replay up to a lemma


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one tactic: goals where it ran, else a message; `exhausted` where it was resources that ended it."""

    goals: Goals | None
    message: str = ""
    exhausted: bool = False


def source_text(file: Path | str) -> str:
    """Return a source file as Rocq reads it: line ends as they are, without a byte order mark.

    All who read sources do it here, so that they agree on every sentence. Raises DataError where it cannot be read.
    """
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as source:
            return source.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"expected Rocq source in {file}, found {error}; give the path of a .v file, or extract the corpus again"
        ) from error


@lru_cache(maxsize=64)
def sentences(file: str) -> tuple[str, ...]:
    """Return the sentences of a source file. Raises DataError where it cannot be read."""
    return tuple(sentence.text for sentence in split(source_text(file)))


def check_statement(place: Place) -> None:
    """Raise DataError unless the file states at `place` what the place says it does."""
    found = sentences(place.source.file)[place.position : place.position + 1]
    if found != place.pose[:1]:
        raise DataError(
            f"expected {place.pose[0]!r} as sentence {place.position} of {place.source.file}, found {found}: "
            "the file has changed; extract the corpus again"
        )


def pose(top: Toplevel, place: Place, timeout: int) -> Goals | None:
    """State the lemma at the tip, with the patience set, and bound what follows to `timeout` seconds a sentence.

    The bound comes last: a statement may take what it takes. Raises CommandFailed, Exhausted, ProcessDied.
    """
    for sentence in place.preamble:
        top.add(sentence)
    found: Goals | None = None
    for sentence in place.pose:
        found = top.run(sentence)
    top.run(f"Set Default Timeout {timeout}.")
    return found


class Session:
    """One file in one process, which starts when first needed and again after it ended."""

    def __init__(self, source: Source, options: SessionOptions = SessionOptions()) -> None:
        self.source = source
        self._options = options
        self._top: Toplevel | None = None
        self._marks = [ROOT]  # _marks[k] is the state after the first k sentences of the file
        self._place: Place | None = None  # the lemma posed after the last mark
        self._path: list[str] = []  # sentences after the lemma was posed
        self._tips: list[int] = []  # the states they led to
        self._base = ROOT  # the state in which the lemma is posed
        self._runs = 0
        self._strayed = False  # what had begun was dropped, and those who count what has begun do not know it
        self._posed = Goals(())

    @property
    def memory(self) -> int:
        return self._top.memory() if self._top else 0

    def close(self) -> None:
        """End the process; the next call starts another. The caller does so where a call raised ProcessDied."""
        if self._top is not None:
            self._top.close()
        self._top, self._marks, self._place, self._path, self._tips = None, [ROOT], None, [], []

    def goals(self, place: Place) -> Goals:
        """Pose the lemma and return its initial goals.

        Raises ProcessDied, Exhausted where the lemma cannot be stated within the limits, VerifierError.
        """
        self._pose(place)
        return self._posed

    def run(self, place: Place, path: Sequence[str], sentence: str) -> Outcome:
        """Run one sentence in the state that `path` leads to; the session stays there or one further.

        Raises ProcessDied where the process ended (the session must then be closed), Exhausted where `path` did not run
        as it did before, VerifierError where the file cannot be replayed.
        """
        owed = self._owes
        top = self._reach(place, path)
        top.patience = self._options.timeout + self._options.grace
        try:
            goals = top.run(sentence)
        except CommandFailed as failed:
            return Outcome(None, str(failed))
        except Exhausted as exhausted:
            return Outcome(None, str(exhausted), exhausted=True)
        finally:
            self._strayed |= top.owes < owed - 1
        if not top.owes:  # else the prover has gone back already, for what comes next
            self._arrive(sentence)
        self._watch()
        return Outcome(goals, "" if goals else "the sentence left the proof")

    def ahead(self, place: Place, path: Sequence[str], sentence: str) -> bool:
        """Let the prover begin with a sentence that `run` will be asked for next; tell whether it stood ready for it.

        It is ready where it stands at `path` or beyond; while it owes answers, at `path` only. Says no once after it
        dropped what had begun: that will be asked for first. Raises ProcessDied.
        """
        top, strayed, self._strayed = self._top, self._strayed, False
        if strayed or top is None or place != self._place or self._path[: len(path)] != [*path]:
            return False
        if not top.owes:
            self._back(len(path))
        elif len(self._path) > len(path):
            return False
        top.patience = self._options.timeout + self._options.grace
        top.post(sentence)
        return True

    def finish(self, place: Place, path: Sequence[str], name: str, allowed: Sequence[str]) -> tuple[Outcome, Rests]:
        """Run `Qed.` after `path`, ask what `name` rests on (see `rests_on`), and undo both. Raises like `run`."""
        self._strayed |= self._owes > 0
        outcome = self.run(place, path, "Qed.")
        if outcome.message != "the sentence left the proof":
            return outcome, Rests()
        top = self._reach(place, [*path, "Qed."])
        top.patience = self._options.limits.call
        try:
            found = Outcome(None), rests_on(top, name, allowed)
        except CommandFailed as failed:
            found = Outcome(None, f"Print Assumptions: {failed}"), Rests()
        except Exhausted as exhausted:
            found = Outcome(None, str(exhausted), exhausted=True), Rests()
        self._back(len(path))
        return found

    @property
    def _owes(self) -> int:
        return self._top.owes if self._top else 0

    def _reach(self, place: Place, path: Sequence[str]) -> Toplevel:
        """Make `path` the path to the tip: go back to where they part, and replay the rest."""
        top = self._pose(place)
        shared = min(len(self._path), len(path))
        if self._path != [*path]:
            pairs = zip(self._path, path, strict=False)
            shared = next((i for i, (mine, wanted) in enumerate(pairs) if mine != wanted), shared)
        self._back(shared)
        top.patience = self._options.timeout + self._options.grace
        for sentence in path[shared:]:
            try:
                top.run(sentence)
            except CommandFailed as error:  # it ran before, from the same state: it must depend on time
                raise Exhausted(f"replay of {sentence!r}: {error}") from error
            self._arrive(sentence)
        return top

    def _arrive(self, sentence: str) -> None:
        self._path.append(sentence)
        self._tips.append(self._live().tip)

    def _back(self, length: int) -> None:
        if length == len(self._path) and self._tip() == self._live().tip:
            return
        del self._path[length:], self._tips[length:]
        self._live().edit_at(self._tip())

    def _tip(self) -> int:
        return self._tips[-1] if self._tips else self._base

    def _pose(self, place: Place) -> Toplevel:
        if self._top is not None and place == self._place:
            return self._top
        check_statement(place)
        try:
            top = self._seek(place)
        except (CommandFailed, Exhausted) as error:
            raise self._unposed(place, error) from error
        try:
            found = pose(top, place, self._options.timeout)
        except (Exhausted, DeadlinePassed) as spent:  # this statement is too much, others of the file need not be
            self.close()
            raise Exhausted(f"stating the lemma: {spent}") from spent
        except CommandFailed as error:
            raise self._unposed(place, error) from error
        except ProcessDied as died:
            raise DiedStating(f"{died} (over its statement)") from died
        if found is None:
            raise VerifierError(f"expected {place.pose[0]!r} of {self.source.file} to open a proof; it opened none")
        self._posed, self._place, self._base, self._path, self._tips = found, place, top.tip, [], []
        return top

    def _unposed(self, place: Place, error: Exception) -> VerifierError:
        self.close()
        return VerifierError(
            f"expected to replay {self.source.file} up to {place.pose[0]!r}, found: {error}; "
            "was the corpus extracted with this version of Rocq?"
        )

    def _seek(self, place: Place) -> Toplevel:
        """Bring the tip to the place, forwards or backwards."""
        top = self._live()
        top.drop()  # tactics, which have the patience of tactics
        top.patience = self._options.limits.call
        self._place = None
        del self._marks[place.position + 1 :]
        if top.tip != self._marks[-1]:
            top.edit_at(self._marks[-1])
        for sentence in sentences(self.source.file)[len(self._marks) - 1 : place.position]:
            self._marks.append(top.add(sentence))
        top.goals()
        return top

    def _live(self) -> Toplevel:
        if self._top is None:
            self._top = Toplevel(self.source.top, self.source.options, self._options.limits, noinit=self.source.noinit)
        return self._top

    def _watch(self) -> None:
        self._runs += 1
        if self._runs % _MEMORY_EVERY == 0 and self.memory > self._options.resident:
            self.close()


class Pool:
    """The sessions of one worker, least recently used first. A context manager; starts nothing by itself."""

    def __init__(self, options: SessionOptions = SessionOptions()) -> None:
        self.options = options
        self._sessions: OrderedDict[Source, Session] = OrderedDict()
        self._deadly: OrderedDict[_Asked, str] = OrderedDict()
        self.restarts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def memory(self) -> int:
        """Resident bytes of all processes."""
        return sum(session.memory for session in self._sessions.values())

    def close(self) -> None:
        """End all processes."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def goals(self, place: Place) -> Goals:
        """Return the initial goals of the lemma at `place`. Raises VerifierError, and Exhausted as `Session.goals`."""
        return self._standing(place).goals(place)

    def run(self, place: Place, path: Sequence[str], sentence: str) -> Outcome:
        """Run one sentence after `path`; a process that ends is replaced, and the sentence tried once more.

        A sentence that ended two processes, or one at its deadline, is exhausted now and whenever it is asked again.
        """
        before = tuple(path)
        return self._insist(place, before, sentence, lambda session: (session.run(place, before, sentence), Rests()))[0]

    def ahead(self, place: Place, path: Sequence[str], sentence: str) -> bool:
        """Begin what `run` will be asked for next, if a prover stands ready; changes no answer."""
        session = self._sessions.get(place.source)
        if session is None or (self._deadly and (place, tuple(path), sentence) in self._deadly):
            return False
        try:
            return session.ahead(place, path, sentence)
        except ProcessDied:  # `run` will see it
            return False

    def finish(
        self, place: Place, path: Sequence[str], name: str, allowed: Sequence[str] = ()
    ) -> tuple[Outcome, Rests]:
        """Run `Qed.` after `path` and return what `name` then rests on, too (see `rests_on`); both are undone."""
        return self._insist(place, tuple(path), "Qed.", lambda session: session.finish(place, path, name, allowed))

    def _insist(
        self, place: Place, path: tuple[str, ...], sentence: str, call: Callable[[Session], tuple[Outcome, Rests]]
    ) -> tuple[Outcome, Rests]:
        key = (place, path, sentence)
        reason = self._deadly.get(key) if self._deadly else None
        trials = 0 if reason else 2
        while trials:
            try:
                session = self._standing(place)
                return call(session)
            except Exhausted as exhausted:
                return Outcome(None, str(exhausted), exhausted=True), Rests()
            except DiedBefore:  # not of this sentence; nothing has begun in the next process
                self._bury(session)
            except ProcessDied as died:
                self._bury(session)
                trials, reason = trials - 1, str(died)
                if isinstance(died, DeadlinePassed):
                    break
        reason = reason or "the prover ended"
        self._quarantine(key, reason)
        return Outcome(None, reason, exhausted=True), Rests()

    def _quarantine(self, key: _Asked, reason: str) -> None:
        self._deadly[key] = reason
        if len(self._deadly) > _QUARANTINE:
            self._deadly.popitem(last=False)

    def _standing(self, place: Place) -> Session:
        """Return a session at the lemma.

        Raises VerifierError where its process died again and again on the way, Exhausted where that was over the
        statement itself, or it took too long: at once when it is asked again.
        """
        if self._deadly and (reason := self._deadly.get((place, (), ""))):
            raise Exhausted(reason)
        for _ in range(_REPLAYS):
            session = self._session(place.source)
            try:
                session.goals(place)
            except Exhausted as exhausted:
                self._quarantine((place, (), ""), str(exhausted))
                raise
            except ProcessDied as died:
                self._bury(session)
                last = died
            else:
                return session
        if isinstance(last, DiedStating):
            self._quarantine((place, (), ""), str(last))
            raise Exhausted(str(last))
        raise VerifierError(
            f"{place.source.file}: expected to replay it up to {place.pose[0]!r}, found {_REPLAYS} times that {last}; "
            "raise the limits, or see what kills provers here"
        ) from last

    def _session(self, source: Source) -> Session:
        session = self._sessions.get(source)
        if session is None:
            self._make_room()
            session = self._sessions[source] = Session(source, self.options)
        self._sessions.move_to_end(source)
        return session

    def _bury(self, session: Session) -> None:
        session.close()
        self.restarts += 1

    def _make_room(self) -> None:
        used = self.memory
        while self._sessions and (len(self._sessions) >= self.options.processes or used > self.options.memory):
            _, oldest = self._sessions.popitem(last=False)
            used -= oldest.memory
            oldest.close()
