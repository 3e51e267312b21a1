"""A pipe between the runner and one worker on which each problem travels once.

States carry their problem, with all its data, and travel there and back at every step. The parent's end numbers the
problems it sends and sends each in full the first time; from then on both ends write the number, and what comes back
holds the very problem that was sent. Works for any state that holds problems, and only while the two ends take turns:
the parent speaks when the worker owes it nothing, so both know the same problems whenever a message is read.
"""

from __future__ import annotations

import io
import pickle
import select
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

from surpass.core import Problem

KEPT = 1024  # problems known to both ends, after which they begin anew: a worker must not grow with the run


class Wire:
    """One end of a pipe. `teaches`: this end numbers problems; the other knows those it was sent."""

    def __init__(self, pipe: Connection, *, teaches: bool) -> None:
        self.pipe = pipe
        self._teaches = teaches
        self._known: list[Problem] = []
        self._numbers: dict[int, int] = {}  # id of a known problem -> its number

    def send(self, message: object) -> None:
        """Write one message. Raises what pickling it raises, and then nothing was sent or learned."""
        first, new, stream = len(self._known), list[Problem](), io.BytesIO()
        numbers = dict[int, int]()

        def number(problem: Problem) -> int | None:
            found = self._numbers.get(id(problem), numbers.get(id(problem)))
            if found is None and self._teaches:
                found = numbers[id(problem)] = first + len(new)
                new.append(problem)
            return found

        _Pickler(stream, number).dump(message)
        if new and first and first + len(new) > KEPT:  # never for a message without problems, which may interrupt
            self._learn(0, [])
            self.send(message)
            return
        head = pickle.dumps((first, new)) if self._teaches else b""
        self._learn(first, new)
        self.pipe.send_bytes(head + stream.getbuffer())

    def receive(self) -> object:
        """Wait for one message and read it. Raises EOFError or ConnectionResetError where the other end is gone."""
        stream = io.BytesIO(self.pipe.recv_bytes())
        if not self._teaches:
            self._learn(*pickle.load(stream))
        return _Unpickler(stream, self._known).load()

    def _learn(self, first: int, new: list[Problem]) -> None:
        """Know `new` from the number `first` on; nothing from there on is known any more."""
        if first == 0:
            self._known, self._numbers = [], {}
        self._known += new
        self._numbers.update((id(problem), first + index) for index, problem in enumerate(new))


def heard(wires: Iterable[Wire], seconds: float) -> list[Wire]:
    """Return those with something to read, or whose other end is gone, once there are any or the time has passed."""
    poll, owners = select.poll(), dict[int, Wire]()  # `connection.wait` costs 40 us, this one 2
    for wire in wires:
        owners[wire.pipe.fileno()] = wire
        poll.register(wire.pipe, select.POLLIN)
    return [owners[descriptor] for descriptor, _ in poll.poll(1000 * seconds)]


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, number: Callable[[Problem], int | None]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._number = number

    def persistent_id(self, found: object) -> int | None:
        return self._number(found) if type(found) is Problem else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, known: list[Problem]) -> None:
        super().__init__(stream)
        self._known = known

    def persistent_load(self, number: int) -> Problem:
        return self._known[number]
