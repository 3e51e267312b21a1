"""Drives one UCI engine over bare pipes, with a deadline for every answer. What an engine is asked is `players.py`'s.

Bare pipes because a weak engine thinks 0.1 ms: a library's event loop would cost more than the move. Whatever goes
wrong (it cannot be started, dies, hangs, says nothing that can be read) ends the process and raises VerifierError.
"""

from __future__ import annotations

import os
import re
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from surpass.errors import ConfigError, VerifierError

LINE = 1 << 20  # bytes of one line; longer ones are no engine's
NO_MOVES = frozenset({"(none)", "0000", "NULL"})


@dataclass(frozen=True, slots=True)
class Found:
    """What an engine answered: its move, empty where it gave none, and its last score for the side to move."""

    move: str
    centipawns: int | None = None
    mate: int | None = None  # moves to mate, negative where it is mated
    scores: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)  # both, by move; see MultiPV


class Engine:
    """A running engine. Make one in a `with` block, or call `close`."""

    def __init__(self, command: str | Sequence[str], options: Mapping[str, object], *, deadline: float = 30.0) -> None:
        self.command = shlex.split(command) if isinstance(command, str) else list(command)
        self.deadline = deadline
        self.names: dict[str, str] = {}  # option, folded -> as the engine spells it
        self.ranges: dict[str, tuple[int, int]] = {}  # of numeric options; engines ignore what lies outside
        self.title = self.command[0] if self.command else ""
        self._buffer = b""
        try:
            # Debian keeps engines in /usr/games, which is not in everybody's PATH
            program = shutil.which(self.command[0], path=f"{os.environ.get('PATH', '')}:/usr/games") or self.command[0]
            self._process = subprocess.Popen(
                [program, *self.command[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except (OSError, ValueError, IndexError) as error:
            raise VerifierError(f"cannot start the engine {command!r} ({error}); is it installed?") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._out, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        try:
            self._greet()
            self.set(options)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def set(self, options: Mapping[str, object]) -> None:
        """Set options by name, whatever its case. Raises ConfigError for one that the engine does not have."""
        for name, value in options.items():
            known = self.names.get(name.casefold())
            if known is None:
                raise ConfigError(
                    f"the engine {self.title} has no option {name!r}; it has: {', '.join(self.names.values())}"
                )
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            if name.casefold() in self.ranges:
                low, high = self.ranges[name.casefold()]
                if not re.fullmatch(r"-?\d{1,18}", shown) or not low <= int(shown) <= high:
                    raise ConfigError(f"the engine {self.title} takes {known} from {low} to {high}, found {shown!r}")
            self._send(f"setoption name {known}" + (f" value {shown}" if shown else ""))
        self._ready()

    def new_game(self) -> None:
        """Tell that what follows has nothing to do with what came before: engines clear their memory."""
        self._send("ucinewgame")
        self._ready()

    def think(self, position: str, go: str) -> Found:
        """Return the move for a position (`startpos moves e2e4`) under limits (`nodes 100`)."""
        self._send(f"position {position}\ngo {go}")
        centipawns: int | None = None
        mate: int | None = None
        scores: dict[str, tuple[int | None, int | None]] = {}
        until = time.monotonic() + self.deadline
        while True:
            words = self._line(until).split()
            if words[:1] == ["bestmove"]:
                move = words[1] if len(words) > 1 else ""
                return Found("" if move in NO_MOVES else move, centipawns, mate, scores)
            if words[:1] == ["info"] and "score" in words and "lowerbound" not in words and "upperbound" not in words:
                kind, value = [*words[words.index("score") + 1 :], "", ""][:2]
                if re.fullmatch("-?[0-9]{1,9}", value) and kind in ("cp", "mate"):
                    centipawns, mate = (int(value), None) if kind == "cp" else (None, int(value))
                    if "pv" in words[:-1]:
                        scores[words[words.index("pv") + 1]] = centipawns, mate

    def close(self) -> None:
        """End the process; one that does not leave when asked is killed."""
        if self._process.poll() is None:
            try:
                os.write(self._in, b"quit\n")
                self._process.wait(timeout=0.5)
            except (OSError, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                with suppress(OSError):  # what was left in the pipe of a dead engine
                    stream.close()

    def _greet(self) -> None:
        self._send("uci")
        until = time.monotonic() + self.deadline
        while (line := self._line(until)) != "uciok":
            if line.startswith("id name "):
                self.title = line.removeprefix("id name ").strip()
            if line.startswith("option name ") and " type " in line:
                name = line.removeprefix("option name ").split(" type ")[0].strip()
                self.names[name.casefold()] = name
                if match := re.search(r" type spin .*\bmin (-?\d{1,18}) max (-?\d{1,18})\b", line):
                    self.ranges[name.casefold()] = int(match[1]), int(match[2])

    def _ready(self) -> None:
        self._send("isready")
        until = time.monotonic() + self.deadline
        while self._line(until) != "readyok":
            pass

    def _send(self, text: str) -> None:
        try:
            os.write(self._in, f"{text}\n".encode())  # a few KB: less than a pipe holds
        except OSError as error:
            raise self._failed("died") from error

    def _line(self, until: float) -> str:
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise self._failed(f"did not answer within {self.deadline:g} s")
            piece = os.read(self._out, 65_536)
            if not piece:
                raise self._failed("died")
            self._buffer += piece
            if len(self._buffer) > LINE:
                raise self._failed("wrote a line without end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _failed(self, what: str) -> VerifierError:
        self._process.kill()
        code = self._process.wait()
        detail = f" (exit code {code})" if what == "died" else ""
        return VerifierError(f"the engine {self.title} ({shlex.join(self.command)}) {what}{detail}")
