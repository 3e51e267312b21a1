"""The runner on Ray: domains and policies as actors, on one machine or many, with the results of the local runner.

`run` has the signature of `runner.run`. Its `options.workers` are Ray actors that each hold the domain, opened;
searches, budgets and seeds stay in the caller, so nothing that is found depends on where a step was taken. An actor
that dies or exceeds the deadline is replaced; the tasks it had not answered are tried once more, each alone, and what
fails again is given up as `Lost`, as in `workers.py`. `Replicas` is a policy that spreads a batch over actors, each
with a copy of it; Ray starts those anew where they die.

Not here: starting a cluster (`docs/ray.md`), and what a policy does with a GPU. Unless `ray.init` was called, Ray
connects to `RAY_ADDRESS` or starts on this machine.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Generic, Self

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayError

from surpass.core import Domain, Lost, Observation, Policy, Problem, Proposal, Scored, Scorer, Search, State, Trajectory
from surpass.errors import ConfigError, VerifierError
from surpass.rollouts import runner
from surpass.rollouts.runner import Budget, RunOptions
from surpass.rollouts.workers import CHUNK, OPENING, Failed, Hand, Task, Timed, portable

_DEATHS = (RayActorError, ObjectLostError, OutOfMemoryError)  # of an actor, or of the machine that held its answer


def run(
    search: Search[State],
    problems: Iterable[Problem],
    domain: Domain[State],
    policy: Policy | Sequence[Policy],
    *,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    seed: int = 0,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
) -> Iterator[Trajectory]:
    """Do what `runner.run` does, with `options.workers` actors (at least one) in the place of processes."""
    with RayWorkers(domain, max(1, options.workers), deadline=options.deadline) as pool:
        here = replace(options, workers=0, pool=pool)
        yield from runner.run(search, problems, domain, policy, budget=budget, seed=seed, options=here)


@dataclass(slots=True, eq=False)
class _Job(Generic[State]):
    ticket: int
    task: Task[State]
    failures: int = 0  # actors that ended before they had answered it


@dataclass(slots=True, eq=False)
class _Worker(Generic[State]):
    actor: Any  # Ray's handles have no types
    opened: bool = False
    answer: Any = None  # the reference that is waited for: of opening, then of what was sent
    since: float = 0.0
    deaths: int = 0  # in a row, before it was open
    queue: deque[_Job[State]] = field(default_factory=deque)
    sent: list[_Job[State]] = field(default_factory=list)


class RayWorkers(Generic[State]):
    """A pool of actors for `RunOptions.pool`: a context manager, for one run at a time.

    `deadline` is in seconds, for one task; what takes longer is noticed after twice that at the latest.
    """

    def __init__(self, domain: Domain[State], actors: int, *, deadline: float = 120.0) -> None:
        if actors < 1:
            raise ConfigError(f"RayWorkers: expected at least 1 actor, found {actors}")
        self._domain = pickle.dumps(domain)
        self._count, self._deadline = actors, deadline
        self._tickets = count()
        self._workers: list[_Worker[State]] = []
        self._homes: dict[str, int] = {}  # group -> the actor that has, or will have, paid for its start
        self._done: deque[tuple[int, Timed[State]]] = deque()
        self._borrowed = False

    def __enter__(self) -> Self:
        self._workers = [self._start() for _ in range(self._count)]
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self._workers:
            with suppress(RayError):  # a domain that does not close must not keep the others alive
                if not worker.sent and worker.opened:
                    ray.get(worker.actor.close.remote(), timeout=10)
            ray.kill(worker.actor)
        self._workers = []

    @contextmanager
    def borrow(self) -> Iterator[Self]:
        """Hold the pool for one run; what is unfinished at its end is forgotten, with the actors that are at it."""
        if self._borrowed or not self._workers:
            raise ConfigError("RayWorkers: expected an open pool that no other run uses; use it as a context manager")
        self._borrowed = True
        try:
            yield self
        finally:
            self._borrowed = False
            self._done.clear()
            for index, worker in enumerate(self._workers):
                worker.queue.clear()
                if worker.sent:
                    ray.kill(worker.actor)
                    self._workers[index] = self._start()

    @property
    def busy(self) -> bool:
        """Whether a run still waits for an answer."""
        return bool(self._done) or any(worker.queue or worker.sent for worker in self._workers)

    def submit(self, task: Task[State], group: str) -> int:
        """Take a task in and return the number that its answer will carry; the tasks of a group go to one actor."""
        loads = [len(worker.queue) + len(worker.sent) for worker in self._workers]
        home = self._homes.setdefault(group, len(self._homes) % self._count) if group else loads.index(min(loads))
        job = _Job(next(self._tickets), task)
        self._workers[home].queue.append(job)
        return job.ticket

    def collect(self, *, wait: bool) -> Iterator[tuple[int, Timed[State]]]:
        """Yield what has been answered; with `wait`, block until there is something or nothing is left to do.

        Raises VerifierError where an actor cannot open the domain, or whatever the domain raised then.
        """
        waits = wait and self.busy
        self._exchange(waits=False)
        while waits and self.busy and not self._done:
            self._exchange(waits=True)
        while self._done:
            yield self._done.popleft()

    def _exchange(self, *, waits: bool) -> None:
        """Feed actors that have nothing to do, read what has come, replace the dead and the hung."""
        for worker in self._workers:
            if worker.opened and not worker.sent and worker.queue:
                alone = worker.queue[0].failures > 0
                worker.sent = [worker.queue.popleft() for _ in range(1 if alone else min(CHUNK, len(worker.queue)))]
                worker.answer = worker.actor.work.remote([job.task for job in worker.sent], self._deadline)
                worker.since = time.monotonic()
        waiting = [worker.answer for worker in self._workers if worker.answer is not None]
        patience = max(0.01, min(map(self._left, self._workers))) if waits else 0.0  # of what has just been sent, too
        ready = set(ray.wait(waiting, timeout=patience)[0]) if waiting else set()
        for index, worker in enumerate(self._workers):
            if worker.answer in ready:
                try:
                    self._take(worker, ray.get(worker.answer))
                except _DEATHS:
                    self._replace(index, "died")
            elif self._left(worker) <= 0:
                self._replace(index, f"exceeded {self._deadline if worker.opened else OPENING:g} s")

    def _take(self, worker: _Worker[State], answers: list[Timed[State]]) -> None:
        worker.answer = None
        if not worker.opened:
            for answer, _ in answers:
                if isinstance(answer, Failed):
                    raise answer.error
            worker.opened = True
        self._done.extend((job.ticket, timed) for job, timed in zip(worker.sent, answers, strict=False))
        worker.queue.extendleft(reversed(worker.sent[len(answers) :]))  # there was no time for them
        worker.sent = []

    def _replace(self, index: int, reason: str) -> None:
        worker = self._workers[index]
        ray.kill(worker.actor)
        if not worker.opened and worker.deaths:
            raise VerifierError(
                f"opening the domain: the actor {reason}, twice in a row; try it in process (workers=0)"
            )
        fresh = self._start()
        fresh.deaths = worker.deaths + (not worker.opened)
        for job in worker.sent:
            job.failures += 1
            if job.failures == 2:  # the second time it was alone
                self._done.append((job.ticket, (Lost(f"worker {reason}, twice"), time.monotonic() - worker.since)))
            else:
                fresh.queue.append(job)
        fresh.queue.extend(worker.queue)
        self._workers[index] = fresh

    def _left(self, worker: _Worker[State]) -> float:
        """Return the seconds that an actor may still take for what it is at."""
        if worker.answer is None:
            return 3600.0
        limit = 2 * self._deadline if worker.opened else OPENING
        return worker.since + limit - time.monotonic()

    def _start(self) -> _Worker[State]:
        actor: Any = ray.remote(_Holder).remote(self._domain)
        return _Worker(actor, answer=actor.open.remote(), since=time.monotonic())


class _Holder:
    """What an actor is: the domain, opened, in a process that Ray has started somewhere."""

    def __init__(self, domain: bytes) -> None:
        self._pickled = domain

    def open(self) -> list[tuple[object, float]]:
        """Open the domain; the answer holds what it raises."""
        try:
            self._domain: Domain[Any] = pickle.loads(self._pickled)
            opened = self._domain if isinstance(self._domain, AbstractContextManager) else nullcontext()
            opened.__enter__()
        except Exception as error:  # noqa: BLE001 - the boundary to domains: the caller raises it
            return [(portable(Failed(error)), 0.0)]
        self._opened: AbstractContextManager[object] = opened
        return []

    def work(self, tasks: list[Task[Any]], patience: float) -> list[tuple[object, float]]:
        """Start or step, one task after the other, beginning none after `patience` seconds."""
        hand, waiting = Hand(self._domain), deque(tasks)
        began, answers = time.monotonic(), list[tuple[object, float]]()
        while waiting and not (answers and time.monotonic() - began > patience):
            answer, seconds = hand.perform(waiting)
            answers.append((portable(answer), seconds))
        return answers

    def close(self) -> None:
        """Close the domain."""
        self._opened.__exit__(None, None, None)


class Replicas:
    """A policy that asks `replicas` copies of itself, each in an actor: row i of an answer is that of any of them.

    `resources` go to `ray.remote`, such as `{"num_gpus": 1}`. A copy that dies is started anew and asked again.
    """

    def __init__(self, policy: Policy, replicas: int, **resources: Any) -> None:
        if replicas < 1:
            raise ConfigError(f"Replicas: expected at least 1 replica, found {replicas}")
        holder = ray.remote(max_restarts=-1, max_task_retries=2, **resources)(_Player)
        self._policy = ray.put(policy)  # kept for as long as a copy may have to start anew
        self.actors: list[Any] = [holder.remote(self._policy) for _ in range(replicas)]

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return up to `n` proposals for each observation. Raises what the policy raises."""
        parts = [
            actor.propose.remote(list(observations[part]), n, list(seeds[part]))
            for actor, part in self._shares(observations)
        ]
        return [row for rows in ray.get(parts) for row in rows]

    def score(self, observations: Sequence[Observation]) -> list[Scored]:
        """Return what the policy's own `score` returns. Raises ConfigError where it has none."""
        parts = [actor.score.remote(list(observations[part])) for actor, part in self._shares(observations)]
        return [row for rows in ray.get(parts) for row in rows]

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            ray.kill(actor)

    def _shares(self, observations: Sequence[Observation]) -> Iterator[tuple[Any, slice]]:
        """Yield each actor that has something to do with its part of the batch."""
        size = -(-len(observations) // len(self.actors))
        for index, actor in enumerate(self.actors):
            if index * size < len(observations):
                yield actor, slice(index * size, (index + 1) * size)


class _Player:
    """A copy of a policy in an actor."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def propose(self, observations: list[Observation], n: int, seeds: list[int]) -> list[list[Proposal]]:
        return self._policy.propose(observations, n, seeds=seeds)

    def score(self, observations: list[Observation]) -> list[Scored]:
        if not isinstance(self._policy, Scorer):
            raise ConfigError(
                f"run: this search asks for scores, and {type(self._policy).__name__} has no score method"
            )
        return self._policy.score(observations)
