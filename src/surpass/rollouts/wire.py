"""A pipe between the runner and one worker on which each problem travels once.

States carry their problem, with all its data, and travel there and back at every step. The parent's end numbers the
problems it sends and sends each in full the first time; from then on both ends write the number, and what comes back
holds the very problem that was sent. Works for any state that holds problems. The parent may say more while the worker
still owes it answers: those name problems of earlier messages, whose numbers stay until it owes none (`offer`).
"""

from __future__ import annotations

import copyreg
import io
import pickle
import select
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from typing import Any

from surpass.core import Problem

KEPT = 1024  # problems known to both ends, after which they begin anew: a worker must not grow with the run


class Wire:
    """One end of a pipe. `teaches`: this end numbers problems; the other knows those it was sent."""

    def __init__(self, pipe: Connection, *, teaches: bool) -> None:
        self.pipe = pipe
        self._poll = select.poll()  # `connection.wait` costs 40 us, this one 2
        self._poll.register(pipe, select.POLLIN)
        self._teaches = teaches
        self._known: list[Problem] = []
        self._numbers: dict[int, int] = {}  # id of a known problem -> its number

    def send(self, message: object) -> int:
        """Write one message and return its size in bytes. Raises what pickling it raises: then nothing was sent."""
        written = self.offer(message)
        assert written is not None
        return written

    def offer(self, message: object, room: int | None = None) -> int | None:
        """Write one message and return its size; None, and nothing is sent, where it takes more than `room` bytes.

        With a room, what the other end still owes can be read: problems keep their numbers, or nothing is sent.
        """
        first, new, stream = len(self._known), list[Problem](), io.BytesIO()
        numbers = dict[int, int]()

        def number(problem: Problem) -> int | None:
            found = self._numbers.get(id(problem), numbers.get(id(problem)))
            if found is None and self._teaches:
                found = numbers[id(problem)] = first + len(new)
                new.append(problem)
            return found

        _Pickler(stream, number).dump(message)
        if new and first and first + len(new) > KEPT:
            if room is not None:
                return None
            self._learn(0, [])
            return self.offer(message)
        head = pickle.dumps((first, new)) if self._teaches else b""
        text = head + stream.getbuffer()
        if room is not None and len(text) > room:
            return None
        self._learn(first, new)
        self.pipe.send_bytes(text)
        return len(text)

    def receive(self) -> object:
        """Wait for one message and read it. Raises EOFError or ConnectionResetError where the other end is gone."""
        stream = io.BytesIO(self.pipe.recv_bytes())
        if not self._teaches:
            self._learn(*pickle.load(stream))
        return _Unpickler(stream, self._known).load()

    def waiting(self) -> bool:
        """Whether there is something to read, or the other end is gone."""
        return bool(self._poll.poll(0))

    def _learn(self, first: int, new: list[Problem]) -> None:
        """Know `new` from the number `first` on; nothing from there on is known any more."""
        if first == 0:
            self._known, self._numbers = [], {}
        self._known += new
        self._numbers.update((id(problem), first + index) for index, problem in enumerate(new))


def heard(wires: Iterable[Wire], seconds: float) -> list[Wire]:
    """Return those with something to read, or whose other end is gone, once there are any or the time has passed."""
    poll, owners = select.poll(), dict[int, Wire]()
    for wire in wires:
        owners[wire.pipe.fileno()] = wire
        poll.register(wire.pipe, select.POLLIN)
    return [owners[descriptor] for descriptor, _ in poll.poll(1000 * seconds)]


def _numbered(number: int) -> Problem:
    """Stand, in a message, for the problem of that number; the reader calls its own list instead."""
    raise NotImplementedError(f"problem {number} read without a Wire")


class _Pickler(pickle.Pickler):
    """Writes numbers for problems. A table of types costs nothing for all other objects, unlike `persistent_id`."""

    def __init__(self, stream: io.BytesIO, number: Callable[[Problem], int | None]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)

        def reduce(problem: Problem) -> Any:
            found = number(problem)
            return problem.__reduce_ex__(pickle.HIGHEST_PROTOCOL) if found is None else (_numbered, (found,))

        self.dispatch_table = {**copyreg.dispatch_table, Problem: reduce}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, known: list[Problem]) -> None:
        super().__init__(stream)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        if name == _numbered.__name__ and module == __name__:
            return self._known.__getitem__
        return super().find_class(module, name)
