"""One `coqidetop` process, spoken to in its XML protocol: sentences in, state numbers and goals out.

Here: the process with its limits, the five calls that proofs need, and the reading of goals. Not here: what a text may
say (`rules`), files, lemmas and restarts (`session`). Facts about the protocol of Rocq 8.16: `Add` parses the first
sentence of its text and silently drops the rest, so callers split first; it answers parse errors only, and the sentence
runs at the next `Goal`; a failed sentence stays the tip until `Edit_at` moves back; `Edit_at` forgets all later states.
"""

from __future__ import annotations

import os
import re
import resource
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from surpass.domains.proofs import sandbox
from surpass.errors import VerifierError

PROGRAM = "coqidetop.opt"
ROOT = 1  # the state before the first sentence
_CHUNK = 1 << 16
# Rocq's own choice, a minor heap of 256 MB, costs that memory in each process and half of the speed in cache misses.
_HEAP = {"OCAMLRUNPARAM": "s=4M"}
_LARGEST = 64 << 20  # bytes of one answer; goals beyond this are no use to anybody
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # not allowed in XML, yet Rocq may print them
# Critical errors, as Rocq words them: trouble with resources, not a statement about the tactic. Believed only as a
# whole message, or as an anomaly's first words: `fail "Timeout!"` says "Tactic failure: Timeout!", and a name may begin
# a message ("Stack_overflow is already used."), but is no message and no anomaly.
EXHAUSTED = re.compile(
    r'Timeout!|Stack overflow\.|Out of memory\.|Anomaly "Uncaught exception (?:Stack_overflow|Out_of_memory)\b.*',
    re.DOTALL,
)


class CommandFailed(Exception):  # noqa: N818 - an answer of the prover, not trouble of ours
    """Rocq refused a sentence; the text is its message."""


class Exhausted(Exception):  # noqa: N818
    """A sentence ran out of time, memory or stack; the process is still usable."""


class ProcessDied(Exception):  # noqa: N818
    """The process ended; nothing of its state is left."""


class DiedBefore(ProcessDied):
    """It ended over what had been posted and was not asked for: nothing is known of the call that was to follow."""


class DiedStating(ProcessDied):
    """It ended while a lemma was stated, before any tactic."""


class DeadlinePassed(ProcessDied):
    """The process was killed: it did not answer in time, or answered without end."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal, each part on one line."""

    hyps: tuple[str, ...]  # "n, m : nat", "x := 0 : nat"
    conclusion: str

    @property
    def text(self) -> str:
        return "\n".join((*self.hyps, f"|- {self.conclusion}"))


@dataclass(frozen=True)
class Goals:
    """The open goals of a proof: in focus, waiting behind bullets and braces, shelved, given up."""

    focused: tuple[Goal, ...]
    background: tuple[Goal, ...] = ()
    shelved: tuple[Goal, ...] = ()
    given_up: tuple[Goal, ...] = ()

    @property
    def done(self) -> bool:
        """Tell whether nothing is left anywhere."""
        return not (self.focused or self.background or self.shelved or self.given_up)

    @cached_property
    def text(self) -> str:
        """The goals in focus, a blank line between them, then the number of the others, one kind on each line."""
        others = (("unfocused", self.background), ("shelved", self.shelved), ("given up", self.given_up))
        counts = [f"({name}: {len(goals)})" for name, goals in others if goals]
        blocks = [goal.text for goal in self.focused] or ["no goal in focus" if counts else "no goals"]
        return "\n\n".join([*blocks, "\n".join(counts)] if counts else blocks)

    @property
    def key(self) -> str:
        """All goals in full: equal keys mean equal goals, unlike equal `text`."""
        parts = (self.background, self.shelved, self.given_up)
        hidden = "\n\n".join("\n".join(goal.text for goal in goals) for goals in parts)
        return f"{self.text}\n\n{hidden}" if any(parts) else self.text


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may use."""

    memory: int = 4 << 30  # bytes of address space
    cpu: int = 24 * 3600  # seconds over the life of the process
    call: float = 600.0  # wall-clock seconds one call may take before the process is killed


class _Posted(NamedTuple):
    """A sentence that was written but not read."""

    sentence: str
    at: int
    back: int | None  # the step back that was written before it


@lru_cache(maxsize=1)
def version(program: str = PROGRAM) -> str:
    """Return the version of the installed prover, such as "8.16.1". Raises VerifierError where there is none."""
    found = subprocess.run([_located(program), "-print-version"], capture_output=True, text=True, check=False)
    if found.returncode or not found.stdout.strip():
        raise VerifierError(f"expected a version from `{program} -print-version`, got {found.stderr.strip()!r}")
    return found.stdout.split()[0]


def _located(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise VerifierError(f"expected {program} on the PATH, found none: install Rocq (apt-get install coq)")
    return path


class Toplevel:
    """A live prover process. Close it, or use it as a context manager; it also ends when its parent dies.

    `options` are load path arguments (`-R dir Name`). Starting it and every method may raise ProcessDied; `tip` is the
    newest state.
    """

    def __init__(
        self, top: str = "Top", options: Sequence[str] = (), limits: Limits = Limits(), *, noinit: bool = False
    ) -> None:
        self.limits = limits
        self.options = tuple(options)
        self.patience = limits.call  # seconds; may be set before any call
        self.tip = ROOT
        self._scratch = sandbox.scratch()  # `lia` and others write caches where they stand
        self._buffer = bytearray()
        self._back: int | None = None  # the state to go back to before the next call
        self._posted: deque[_Posted] = deque()  # written, not answered yet; the last one decides where the prover is
        flags = ["-main-channel", "stdfds", "-q", "-async-proofs", "off", "-w", "none", "-top", top]
        command = [_located(PROGRAM), *flags, *(["-noinit"] if noinit else []), *options]
        self._process = subprocess.Popen(
            sandbox.confined(command, self._scratch, level=sandbox.level(), memory=limits.memory, cpu=limits.cpu),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._scratch,
            env=sandbox.environment(self._scratch) | _HEAP,
            start_new_session=True,
            bufsize=0,
        )
        try:
            self._call('<call val="Init"><option val="none"/></call>')
        except (ProcessDied, CommandFailed, OSError) as error:
            killed = isinstance(error, ProcessDied) and (self._process.poll() or 0) < 0
            self.close()
            if killed and not isinstance(error, DeadlinePassed):
                raise ProcessDied("the prover was killed while it started") from error
            raise VerifierError(
                f"expected `{PROGRAM} {' '.join([*flags, *options])}` to start, it ended: {error}; "
                f"run the command by hand to see why (in another sandbox: {sandbox.CHOICE}={sandbox.LEVELS[-1]})"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def add(self, sentence: str) -> int:
        """Parse one sentence at the tip and return its state; it runs at the next `goals`. Raises CommandFailed."""
        return self._added(self._call(_add(sentence, self.tip)))

    def goals(self) -> Goals | None:
        """Run up to the tip and return its goals, None outside a proof. Raises CommandFailed, Exhausted."""
        return _goals(self._call(_GOAL)[-1])

    @property
    def owes(self) -> int:
        """How many posted sentences have not been answered."""
        return len(self._posted)

    def post(self, sentence: str) -> None:
        """Write a sentence that is to run at the tip, and do not wait: `run` of the same sentence reads the answer.

        More may be posted at the same tip before that, and are answered in order; what the earlier ones led to is then
        forgotten by the prover. Any other call drops what was posted, or raises DiedBefore where that ends the process.
        """
        back = self.tip if self._posted else self._back
        self._write(f"{_edit(back)}{_add(sentence, self.tip)}{_GOAL}")
        self._back = None
        self._posted.append(_Posted(sentence, self.tip, back))

    def run(self, sentence: str) -> Goals | None:
        """Add one sentence, run it, and return the goals: all in one write. On an error the tip is as before."""
        if self._posted and self._posted[0][:2] != (sentence, self.tip):
            self.drop()
        if not self._posted:
            self.post(sentence)
        _, before, back = self._posted.popleft()
        self._back = None  # where the prover is was decided when this was written
        self._went(back)
        try:
            self._added(self._answer())
        except (CommandFailed, Exhausted):  # a parser may run out of stack
            self._answer()  # the goals of the old tip
            raise
        try:
            goals = _goals(self._answer()[-1])
        except (CommandFailed, Exhausted):
            self.edit_at(before)
            raise
        if self._posted:  # what follows was written to run where this began
            self.tip = before
        return goals

    def edit_at(self, state: int) -> None:
        """Go back to an earlier state; later ones are forgotten. The prover hears of it with the next call.

        Raises VerifierError, then, where the state is not alive: whoever keeps states must forget them in time.
        """
        self._back = self.tip = state

    def query(self, text: str) -> list[str]:
        """Run a query (`Print Assumptions x.`) at the tip and return its messages; the tip stays. Raises CommandFailed.

        Messages are the notices of this query alone, asked after all tactics ran: what those printed is not here.
        """
        answer = self._call(
            f'<call val="Query"><pair><route_id val="1"/><pair><string>{escape(text)}</string>'
            f'<state_id val="{self.tip}"/></pair></pair></call>'
        )
        found = [message for element in answer if element.get("route") == "1" for message in _messages(element)]
        if failed := [text for level, text in found if level == "error"]:
            raise CommandFailed(failed[0])
        return [text for level, text in found if level == "notice"]

    def memory(self) -> int:
        """Return the resident memory of the process in bytes, 0 when it is gone."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * resource.getpagesize()

    def close(self) -> None:
        """End the process and all it started, and remove its scratch directory. May be called twice."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.kill()
        self._process.wait()
        self._posted.clear()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _added(self, answer: ElementTree.Element) -> int:
        found = answer[-1].find("pair/state_id")
        if found is None:
            raise VerifierError(
                f"expected a state from Add, got {ElementTree.tostring(answer[-1])!r}: unknown protocol"
            )
        self.tip = int(found.get("val", "0"))
        return self.tip

    def _call(self, call: str) -> ElementTree.Element:
        self._send(call)
        return self._answer()

    def _send(self, text: str) -> None:
        """Write calls, after the step back that is still due: one write, so the prover need not wait between them."""
        self.drop()
        back, self._back = self._back, None
        self._write(_edit(back) + text)
        self._went(back)

    def drop(self) -> None:
        """Read the answers to all that was posted and forget them; the tip is where it was."""
        while self._posted:
            back = self._posted.popleft().back
            try:
                self._went(back)
                for _ in range(2):
                    with suppress(CommandFailed, Exhausted):
                        self._answer()
            except ProcessDied as died:
                raise DiedBefore(f"{died} (over what had begun ahead)") from died
            self._back = self.tip

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode())
        except (BrokenPipeError, ValueError) as error:
            self.close()
            raise ProcessDied("the prover ended before the call") from error

    def _went(self, back: int | None) -> None:
        """Read the answer to a step back, if there was one."""
        if back is not None:
            try:
                self._answer()
            except CommandFailed as error:
                self.close()
                raise VerifierError(f"expected state {back} to be alive, found: {error}") from error

    def _answer(self) -> ElementTree.Element:
        """Return the feedback and the value of one call, as the children of one element."""
        raw = self._read(time.monotonic() + self.patience)
        answer = _parsed(raw)
        if answer[-1].get("val") == "fail":
            message = _line(answer[-1].find("richpp"))
            raise (Exhausted if EXHAUSTED.fullmatch(message) else CommandFailed)(message)
        return answer

    def _read(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        pipe, buffer, seen = self._process.stdout.fileno(), self._buffer, 0
        while (end := buffer.find(b"</value>", max(0, seen - 8))) < 0:
            seen = len(buffer)
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(pipe, _CHUNK) if ready else b""
            if not ready or seen > _LARGEST:
                self.close()
                raise DeadlinePassed(
                    f"the prover was killed after {self.patience:g} s or {_LARGEST >> 20} MB of answer"
                )
            if not chunk:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(1.0)  # its pipe closes before its status is known
                self.close()
                raise ProcessDied(f"the prover ended with status {self._process.returncode}")
            buffer += chunk
        end += len(b"</value>")
        raw = bytes(buffer[:end])
        del buffer[:end]
        return raw


_GOAL = '<call val="Goal"><unit/></call>'


def _edit(state: int | None) -> str:
    return "" if state is None else f'<call val="Edit_at"><state_id val="{state}"/></call>'


def _add(sentence: str, state: int) -> str:
    return (
        f'<call val="Add"><pair><pair><pair><pair><string>{escape(sentence)}</string><int>-1</int></pair><pair>'
        f'<state_id val="{state}"/><bool val="false"/></pair></pair><int>0</int></pair><pair><int>0</int><int>0</int>'
        "</pair></pair></call>"
    )


def _parsed(raw: bytes) -> ElementTree.Element:
    text = raw.replace(b"&nbsp;", b" ").decode(errors="replace")
    try:
        return ElementTree.fromstring(f"<answer>{text}</answer>")
    except ElementTree.ParseError:
        return ElementTree.fromstring(f"<answer>{_UNPRINTABLE.sub('?', text)}</answer>")


def _line(element: ElementTree.Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _messages(feedback: ElementTree.Element) -> list[tuple[str, str]]:
    """Return the level and text of each message, lines kept."""
    return [
        (level.get("val", ""), "".join(text.itertext()))
        for message in feedback.iter("message")
        if (level := message.find("message_level")) is not None and (text := message.find("richpp")) is not None
    ]


def _goals(value: ElementTree.Element) -> Goals | None:
    found = value.find("option/goals")
    return None if found is None else Goals(*(tuple(_goal(goal) for goal in part.iter("goal")) for part in found))


def _goal(element: ElementTree.Element) -> Goal:
    _, hyps, conclusion, *_ = element
    return Goal(tuple(_line(hyp) for hyp in hyps), _line(conclusion))
