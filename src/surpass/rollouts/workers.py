"""Worker processes that start and step a domain, and the same in this process.

One process, one pipe, one task at a time. The parent uses no threads: it keeps some tasks in each worker's pipe, so
that a worker goes on while its answers are read, and reads answers, a few at once, whenever it looks. A worker that
dies or exceeds the deadline is killed with everything it started and replaced; the tasks it had not answered are tried
once more, each alone, and what fails again is given up as `Lost`. An exception of a domain is not a loss but our own
trouble: it comes back as `Failed`.

Processes are spawned, so a script that opens workers needs the usual `if __name__ == "__main__":`. Not here: who asks
and why (`runner.py`). Children that a domain puts into a session of their own must end with their standard input.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Generic, Protocol, Self, TypeAlias, TypeVar, cast, runtime_checkable

from surpass.core import Domain, Lost, Problem, State
from surpass.errors import ConfigError, VerifierError
from surpass.rollouts.processes import end_with_parent, kill_tree
from surpass.rollouts.wire import Wire, heard

CHUNK = 32  # tasks a worker holds: enough to stay busy during a model batch, few enough to leave others something
AFLOAT = 1 << 16  # bytes sent ahead to a busy worker: a pipe holds them, so neither end waits for the other to read
SPLIT = 8  # tasks that wait for one worker before an idle one, which may have to start their group, takes half of them
STALE = 1.0  # seconds that the first of them has waited by then: starting a group may well take that long
BEGUN = 2  # tasks that a domain works on at once, where it can: one is waited for, the next has begun
OPENING = 300.0  # seconds to spawn a process, import its modules and open the domain
PULSE = 0.01  # seconds for which a worker gathers answers, at most
GRACE = 3.0  # seconds to finish a task and close the domain at the end


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer to a task whose domain raised: never the policy's fault, never passed over in silence."""

    error: Exception


State_contra = TypeVar("State_contra", contravariant=True)
Task: TypeAlias = Problem | tuple[State, str]  # start a problem, or step a state
Answer: TypeAlias = State | Lost | Failed
Timed: TypeAlias = tuple[Answer[State], float]  # with the seconds spent inside the domain


@runtime_checkable
class Foresees(Protocol[State_contra]):
    """A domain that can begin with a step before it is asked for, while something else keeps us busy."""

    def ahead(self, state: State_contra, action: str) -> bool:
        """Begin with a step that will be asked for next, if that takes no waiting; tell whether it has begun.

        Steps that have begun are asked for in order. Changes no answer and raises nothing.
        """


class Pool(Protocol[State]):
    """What a run needs of those who start and step for it: `Workers` here, `RayWorkers` on other machines."""

    def borrow(self) -> AbstractContextManager[Pool[State]]: ...

    @property
    def busy(self) -> bool: ...

    def submit(self, task: Task[State], group: str) -> int: ...

    def collect(self, *, wait: bool) -> Iterator[tuple[int, Timed[State]]]: ...


class Inline(Generic[State]):
    """The default: tasks run in this process, when their answers are collected. No deadline can be kept."""

    def __init__(self, domain: Domain[State]) -> None:
        self._hand = Hand(domain)
        self._queue: list[tuple[int, Task[State]]] = []
        self._tickets = count()

    @property
    def busy(self) -> bool:
        """Whether a run still waits for an answer."""
        return bool(self._queue)

    def submit(self, task: Task[State], group: str) -> int:
        """Take a task in and return the number that its answer will carry; one process holds all groups."""
        ticket = next(self._tickets)
        self._queue.append((ticket, task))
        return ticket

    def collect(self, *, wait: bool) -> Iterator[tuple[int, Timed[State]]]:
        """Run all tasks taken in so far and yield their answers, in order."""
        queue, self._queue = self._queue, []
        self._hand.forget()
        tasks = deque(task for _, task in queue)
        for ticket, _ in queue:
            timed = self._hand.perform(tasks)
            yield ticket, timed


class Hand(Generic[State]):
    """What performs tasks one by one and lets the domain begin with the next one meanwhile."""

    def __init__(self, domain: Domain[State]) -> None:
        self._domain = domain
        self._ahead = domain.ahead if isinstance(domain, Foresees) else None
        self._begun = 0  # of the first tasks

    def perform(self, tasks: deque[Task[State]]) -> tuple[State | Failed, float]:
        """Take the first task and return its answer, with the seconds that were spent waiting for it."""
        if self._ahead is not None:
            while self._begun < min(BEGUN, len(tasks)) and self._begin(self._ahead, tasks[self._begun]):
                self._begun += 1
            self._begun = max(0, self._begun - 1)
        task, began = tasks.popleft(), time.perf_counter()
        answer: State | Failed
        try:
            answer = self._domain.start(task) if isinstance(task, Problem) else self._domain.step(*task)
        except Exception as error:  # noqa: BLE001 - the boundary to domains: what they raise is reported with its problem
            answer = Failed(error)
        return answer, time.perf_counter() - began

    def forget(self) -> None:
        """Know that nobody will ask for what has begun."""
        self._begun = 0

    @staticmethod
    def _begin(ahead: Callable[[State, str], bool], task: Task[State]) -> bool:
        return not isinstance(task, Problem) and ahead(*task)


@dataclass(slots=True, eq=False)
class _Job(Generic[State]):
    ticket: int
    task: Task[State]
    born: float  # when it was taken in
    failures: int = 0  # processes that ended before they had answered it
    size: int = 0  # bytes of its message, if it was the message's last task
    seconds: float = 0.0  # that those had spent on it
    dropped: bool = False  # nobody wants the answer any more


@dataclass(slots=True, eq=False)
class _Worker(Generic[State]):
    process: BaseProcess
    wire: Wire
    since: float  # when it was last heard of while it had something to do
    open: bool = False  # it has entered its domain
    deaths: int = 0  # in a row, before it was open
    queue: deque[_Job[State]] = field(default_factory=deque)
    sent: deque[_Job[State]] = field(default_factory=deque)  # answers come back in this order


class Workers(Generic[State]):
    """A pool of processes that each hold the same domain, opened; a context manager, for one run at a time.

    `deadline` is in seconds, for one task. The processes end with the parent, however it ends.
    """

    def __init__(self, domain: Domain[State], processes: int, *, deadline: float = 120.0) -> None:
        if processes < 1:
            raise ConfigError(
                f"Workers: expected at least 1 process, found {processes}; to run in process use workers=0"
            )
        self._domain = pickle.dumps(domain)
        self._count, self._deadline = processes, deadline
        self._tickets = count()  # never used twice, so that a late answer of an earlier run is known as such
        self._workers: list[_Worker[State]] = []
        self._homes: dict[str, int] = {}  # group -> the worker that has, or will have, paid for its start
        self._done: deque[tuple[int, Timed[State]]] = deque()
        self._borrowed = False

    def __enter__(self) -> Self:
        self._workers = [_spawn(self._domain) for _ in range(self._count)]
        return self

    def __exit__(self, *exc: object) -> None:
        until = time.monotonic() + GRACE
        for worker in self._workers:
            worker.wire.pipe.close()  # an idle worker leaves at once, a busy one when it tries to answer
        for worker in self._workers:
            connection.wait([worker.process.sentinel], max(0.0, until - time.monotonic()))
            _kill(worker.process)
        self._workers = []

    @contextmanager
    def borrow(self) -> Iterator[Self]:
        """Hold the pool for one run; what is unfinished at its end is forgotten."""
        if self._borrowed:
            raise ConfigError("Workers: another run still uses this pool; exhaust or close() its iterator first")
        if not self._workers:
            raise ConfigError("Workers: the pool is not open; use it as `with Workers(domain, 2) as pool:`")
        self._borrowed = True
        try:
            yield self
        finally:
            self._borrowed = False
            self._done.clear()
            for worker in self._workers:
                worker.queue.clear()
                for job in worker.sent:
                    job.dropped = True
                if worker.sent:
                    with suppress(
                        BrokenPipeError, ConnectionResetError
                    ):  # it has died, and will be replaced when next used
                        worker.wire.send([])  # a word in between: the worker skips the rest

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids, for those who watch them."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    @property
    def busy(self) -> bool:
        """Whether a run still waits for an answer."""
        if self._done or any(worker.queue for worker in self._workers):
            return True
        return any(not job.dropped for worker in self._workers for job in worker.sent)

    def submit(self, task: Task[State], group: str) -> int:
        """Take a task in and return the number that its answer will carry.

        The tasks of a group go to one worker, until many wait there and another has nothing to do.
        """
        if group:
            home = self._homes.setdefault(group, len(self._homes) % self._count)
        else:
            loads = [len(worker.queue) + len(worker.sent) for worker in self._workers]
            home = loads.index(min(loads))
        job = _Job(next(self._tickets), task, time.monotonic())
        self._workers[home].queue.append(job)
        return job.ticket

    def collect(self, *, wait: bool) -> Iterator[tuple[int, Timed[State]]]:
        """Yield what has been answered; with `wait`, block until there is something or nothing is left to do.

        Raises VerifierError where a worker cannot open the domain, or whatever the domain raised then.
        """
        waits = wait and self.busy
        self._exchange(waits=waits)
        while waits and self.busy and not self._done:
            self._exchange(waits=True)
        while self._done:
            yield self._done.popleft()

    def _exchange(self, *, waits: bool) -> None:
        """Feed idle workers, wait for a sign of any of them, read what has come, replace the dead and the hung."""
        self._feed()
        speaking = heard((worker.wire for worker in self._workers), self._patience() if waits else 0.0)
        for index, worker in enumerate(self._workers):
            if worker.wire in speaking and not self._read(worker):
                self._replace(index, "died")
            elif time.monotonic() > self._limit(worker):
                self._replace(index, f"exceeded {self._deadline if worker.open else OPENING:g} s")
        self._feed()

    def _feed(self) -> None:
        ready = [worker for worker in self._workers if worker.open and len(worker.sent) < CHUNK]
        for worker in sorted(ready, key=lambda one: not one.queue):  # what waits after these were fed may be taken
            longest = max((one.queue for one in self._workers), key=len)
            waits = len(longest) >= SPLIT and time.monotonic() - longest[0].born >= STALE
            if waits and not worker.queue and not worker.sent:  # take from the end: its front may be a second try
                worker.queue.extend(reversed([longest.pop() for _ in range(len(longest) // 2)]))
            if worker.queue:
                self._hand(worker)

    def _hand(self, worker: _Worker[State]) -> None:
        """Send a worker what waits for it, as far as it may: what failed before is tried alone."""
        alone = worker.queue[0].failures > 0
        if worker.sent and (alone or worker.sent[0].failures):
            return
        jobs = list(islice(worker.queue, 1 if alone else CHUNK - len(worker.sent)))
        room = AFLOAT - sum(job.size for job in worker.sent) if worker.sent else None
        size: int | None = 0
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died: `_read` will see that
            size = worker.wire.offer([job.task for job in jobs], room)
        if size is None:
            return
        if not worker.sent:
            worker.since = time.monotonic()
        jobs[-1].size = size
        worker.sent.extend(jobs)
        for _ in jobs:
            worker.queue.popleft()

    def _read(self, worker: _Worker[State]) -> bool:
        """Read what a worker has said, in one message; False if it is gone."""
        try:
            answers = cast("list[Timed[State]]", worker.wire.receive())
        except (EOFError, ConnectionResetError):
            return False
        worker.since = time.monotonic()
        if not worker.open:
            for answer, _ in answers:
                if isinstance(answer, Failed):
                    raise answer.error
            worker.open, worker.deaths = True, 0
            return True
        for answer, seconds in answers:
            job = worker.sent.popleft()
            if not job.dropped:
                self._done.append((job.ticket, (answer, job.seconds + seconds)))
        return True

    def _replace(self, index: int, reason: str) -> None:
        """Kill a worker and start another in its place; what it had not answered has one failure more."""
        worker = self._workers[index]
        if reason == "died":  # its pipe closes before its exit code is known
            connection.wait([worker.process.sentinel], 1.0)
        _kill(worker.process)
        worker.wire.pipe.close()
        reason = f"worker {reason} (exit code {worker.process.exitcode})"
        if not worker.open and worker.deaths:
            raise VerifierError(f"opening the domain: the {reason}, twice in a row; try it in process (workers=0)")
        again = deque(job for job in worker.sent if not job.dropped)
        for job in again:
            job.failures += 1
        if again:
            again[0].seconds += time.monotonic() - worker.since
            if again[0].failures == 2:  # the second time it was alone
                job = again.popleft()
                self._done.append((job.ticket, (Lost(f"{reason}, twice"), job.seconds)))
        fresh: _Worker[State] = _spawn(self._domain)
        fresh.queue = again + worker.queue
        fresh.deaths = worker.deaths + (not worker.open)
        self._workers[index] = fresh

    def _limit(self, worker: _Worker[State]) -> float:
        if not worker.open:
            return worker.since + OPENING
        return worker.since + self._deadline if worker.sent else float("inf")

    def _patience(self) -> float:
        return min(3600.0, max(0.0, min(self._limit(worker) for worker in self._workers) - time.monotonic()) + 0.001)


def _spawn(domain: bytes) -> _Worker[State]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, domain), daemon=True)
    process.start()
    theirs.close()  # so that the death of the child is an end of file
    return _Worker(process, Wire(ours, teaches=True), time.monotonic())


def _kill(process: BaseProcess) -> None:
    """Kill a worker, its children and its group, and wait for it."""
    assert process.pid is not None
    kill_tree(process.pid)
    process.join()


def _serve(pipe: Connection, pickled: bytes) -> None:
    """Be a worker: open the domain, then answer tasks one by one until the pipe closes."""
    os.setsid()  # a group of its own, to be killed as one; and no Ctrl-C, which is the parent's to handle
    end_with_parent()
    wire = Wire(pipe, teaches=False)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has closed the pool
        try:
            domain: Domain[object] = pickle.loads(pickled)
            opened = domain if isinstance(domain, AbstractContextManager) else nullcontext()
            opened.__enter__()
        except Exception as error:  # noqa: BLE001 - the boundary to domains: the parent raises it
            wire.send([(portable(Failed(error)), 0.0)])
            return
        try:
            wire.send([])
            _work(domain, wire)
        finally:
            opened.__exit__(None, None, None)


def _work(domain: Domain[object], wire: Wire) -> None:
    """Answer the tasks of all messages, in order, until the pipe closes."""
    tasks, done, spoke = deque["Task[object]"](), list[Timed[object]](), 0.0
    hand = Hand(domain)
    while True:
        while not tasks or wire.waiting():
            if more := cast("list[Task[object]]", wire.receive()):
                tasks.extend(more)
            elif tasks:  # what has not been done is not wanted any more
                _tell(wire, [*done, *[(None, 0.0)] * len(tasks)])
                tasks.clear()
                hand.forget()
                done = []
        spoke = spoke if done else time.monotonic()
        done.append(hand.perform(tasks))
        if len(done) >= len(tasks) or time.monotonic() - spoke >= PULSE:  # halfway: time to be sent more
            _tell(wire, done)
            done = []


def _tell(wire: Wire, done: list[Timed[object]]) -> None:
    done = [(portable(answer) if isinstance(answer, Failed) else answer, seconds) for answer, seconds in done]
    try:
        wire.send(done)
    except OSError:  # the pipe's trouble, not the answers'
        raise
    except Exception:  # noqa: BLE001 - pickling runs the code of any class
        wire.send([(answer if isinstance(answer, Failed) else portable(answer), seconds) for answer, seconds in done])


def portable(answer: object) -> object:
    """Return an answer that can make the journey: itself, or a failure that tells what could not."""
    try:
        if isinstance(answer, Failed):
            answer.error.add_note("In a worker:\n" + "".join(traceback.format_exception(answer.error)))
        pickle.loads(pickle.dumps(answer))  # exceptions with odd constructors fail only on the way back
    except Exception as error:  # noqa: BLE001 - pickling runs the code of any class
        found = answer.error if isinstance(answer, Failed) else error
        failed = Failed(VerifierError(f"{type(found).__name__}: {found}"))
        failed.error.add_note("In a worker:\n" + "".join(traceback.format_exception(found)))
        return failed
    return answer
