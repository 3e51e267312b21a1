"""The runner: many conversations alive at once, their asks merged, their records in problem order.

One model batch answers all waiting `Propose` of equal n; one dispatch hands all waiting `Apply` to worker processes, or
runs them here. While workers step, the model proposes for the conversations that wait for it. The rows of a batch
carry seeds that depend on their place in their own conversation alone, so for a policy whose rows depend only on
observation and seed the result is the same under every schedule (unless `Budget.seconds` is set).

    conversation ── Propose, Score ──> one model batch ──┐
         ^  └────── Apply ──────────> workers or inline ─┤
         └───────────────────── answers ─────────────────┘
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, Protocol, runtime_checkable

from surpass.core import (
    Domain,
    Observation,
    Policy,
    Problem,
    Proposal,
    Propose,
    Score,
    Scored,
    Scorer,
    Search,
    State,
    Trajectory,
)
from surpass.errors import ConfigError, ModelError
from surpass.rollouts.budget import Budget
from surpass.rollouts.conversation import Live, Terms
from surpass.rollouts.seeds import derive_seed
from surpass.rollouts.trace import Event
from surpass.rollouts.workers import Failed, Inline, Pool, Workers

__all__ = ["Budget", "RunOptions", "derive_seed", "run", "standing"]

Row = list[Proposal] | Scored  # the answer to one observation


@runtime_checkable
class Truncates(Protocol):
    """A policy that writes up to so many tokens, and can tell an action that it did not end itself."""

    def truncated(self, proposal: Proposal, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out. Only `replicas` and `step` change what it finds."""

    workers: int = 0  # processes that start and step; 0: all in this process, where no deadline can be kept
    live: int = 64  # conversations alive at once; each costs memory, more make larger model batches
    replicas: int = 1  # independent conversations for each problem
    step: int = 0  # the training step, a part of every seed
    trace: Callable[[Event], None] | None = None  # hears every ask and answer (`trace.py`)
    deadline: float = 120.0  # seconds one start or one step may take in the workers of this run
    fail_fast: bool = True  # raise an error of the domain at once, or after all other conversations have ended
    pool: Pool[Any] | None = None  # open workers to use instead, with their own count and deadline

    def __post_init__(self) -> None:
        if self.workers < 0 or self.live < 1 or self.replicas < 1:
            found = f"workers={self.workers}, live={self.live}, replicas={self.replicas}"
            raise ConfigError(f"RunOptions: expected workers >= 0, live >= 1 and replicas >= 1, found {found}")


@dataclass(slots=True, eq=False)
class _Batch(Generic[State]):
    """What a model is asked at once, and who asked."""

    observations: list[Observation] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    places: list[tuple[Live[State], Sequence[int]]] = field(default_factory=list)  # and which of its rows


def run(
    search: Search[State],
    problems: Iterable[Problem],
    domain: Domain[State],
    policy: Policy | Sequence[Policy],
    *,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    seed: int = 0,
    options: RunOptions = RunOptions(),
) -> Iterator[Trajectory]:
    """Search all problems and yield their trajectories in problem order: every replica yields at least one.

    `policy` is one for all seats, or one for each. `Trajectory.info` gets what the conversation had cost by then
    (proposals, steps, tokens, seconds, and verifier_seconds: those spent in the domain's start and step, wherever they
    ran) and what it cost in all (total_proposals and so on; `budget.bill` adds these up), its replica, the seed of the
    run, how it ended and, from a policy that can tell, how many actions were cut at its token limit ("truncated").
    Closing the iterator early ends the processes that the run started. Raises what the domain raises (see
    `RunOptions.fail_fast`), ModelError for a policy that does not answer as it must, ConfigError for a search that
    needs another policy.
    """
    policies = [policy] if isinstance(policy, Policy) else list(policy)
    terms = Terms(search, domain, budget, seed, options.step, options.trace)
    upcoming = (Live(problem, replica, terms) for problem in problems for replica in range(options.replicas))
    with standing(options, domain) as opened:
        if opened.pool is None:
            yield from _converse(upcoming, policies, Inline(domain), options)
        else:
            with opened.pool.borrow() as pool:
                yield from _converse(upcoming, policies, pool, options)


@contextmanager
def standing(options: RunOptions, domain: Domain[State]) -> Iterator[RunOptions]:
    """Open the workers that options ask for, to be used in several runs; options with a pool, or without workers, stay.

    Processes take seconds to start and a domain may take minutes to open: who calls `run` again and again does it here.
    """
    if options.pool is not None or not options.workers:
        yield options
        return
    with Workers(domain, options.workers, deadline=options.deadline) as pool:
        yield replace(options, pool=pool)


def _converse(
    upcoming: Iterator[Live[State]],
    policies: Sequence[Policy],
    pool: Inline[State] | Pool[State],
    options: RunOptions,
) -> Iterator[Trajectory]:
    unread: deque[Live[State]] = deque()  # in problem order
    alive: list[Live[State]] = []
    posted: dict[int, tuple[Live[State], int]] = {}  # ticket -> what waits for its answer
    errors: list[Exception] = []
    telling = [policy if isinstance(policy, Truncates) else None for policy in policies]

    def post(live: Live[State]) -> None:
        for index, task in enumerate(live.take_tasks()):
            posted[pool.submit(task, live.problem.group)] = (live, index)

    try:
        while True:
            for live in islice(upcoming, options.live - len(alive)):
                unread.append(live)
                alive.append(live)
                post(live)
            if not alive:
                break
            for ticket, (answer, seconds) in pool.collect(wait=not _due(alive, pool)):
                live, index = posted.pop(ticket)
                live.verifier_seconds += seconds
                if isinstance(answer, Failed):
                    live.fail(answer.error)
                    if options.fail_fast:
                        raise answer.error
                else:
                    live.receive(index, answer)
                    if live.tasks:  # seldom, where one Apply has many pairs
                        post(live)
            if _due(alive, pool):
                waiting = [live for live in alive if isinstance(live.ask, (Propose, Score))]
                _think(waiting, policies)
                for live in waiting:
                    post(live)
            alive = [live for live in alive if not live.over]
            while unread and unread[0].over:
                live = unread.popleft()
                yield from (_marked(record, telling) for record in live.records)
                errors.extend(live.errors)
    finally:
        for live in alive:
            live.close()
    if errors:
        errors[0].add_note(f"raised after all conversations had ended; {len(errors)} such errors in all")
        raise errors[0]


def _marked(record: Trajectory, telling: Sequence[Truncates | None]) -> Trajectory:
    """Say how many actions were cut at the limit of their tokens, where the policy of their seat can tell."""
    if all(policy is None for policy in telling):
        return record
    players = [(step.proposal, telling[_player(step.observation, telling)]) for step in record.steps]
    cut = [policy.truncated(proposal) for proposal, policy in players if policy is not None]
    return replace(record, info={**record.info, "truncated": sum(cut)}) if cut else record


def _due(alive: Sequence[Live[State]], pool: Inline[State] | Pool[State]) -> bool:
    """Whether the model should work now: with half of the conversations, while workers serve the other half.

    Smaller batches would waste the model, larger ones would leave the workers idle.
    """
    waiting = sum(isinstance(live.ask, (Propose, Score)) for live in alive)
    return waiting > 0 and (not pool.busy or 2 * waiting >= len(alive))


def _think(waiting: Sequence[Live[State]], policies: Sequence[Policy]) -> None:
    """Answer all waiting Propose and Score: one model batch for each kind, n and policy."""
    batches: dict[tuple[int, int | None], _Batch[State]] = defaultdict(_Batch)
    answers: dict[Live[State], list[Row]] = {}
    for live in waiting:
        assert isinstance(live.ask, (Propose, Score))
        observations = live.ask.observations
        n = live.ask.n if isinstance(live.ask, Propose) else None  # None: a Score
        seeds = live.seeds(len(observations)) if n is not None else [0] * len(observations)
        answers[live] = [[]] * len(observations)
        for player, rows in _players(observations, policies):
            batch = batches[player, n]
            batch.observations += [observations[row] for row in rows]
            batch.seeds += [seeds[row] for row in rows]
            batch.places.append((live, rows))
    for (player, n), batch in batches.items():
        if n is None:
            found = iter(_scores(policies[player], batch.observations))
        else:
            found = iter(_proposals(policies[player], batch.observations, n, batch.seeds))
        for live, rows in batch.places:
            for row, answer in zip(rows, found, strict=False):  # the next ones are the next conversation's
                answers[live][row] = answer
    for live, answered in answers.items():
        live.think(answered)


def _players(observations: Sequence[Observation], policies: Sequence[object]) -> Iterable[tuple[int, Sequence[int]]]:
    """Return which policies play, and in which rows each."""
    if len(policies) == 1:
        return [(0, range(len(observations)))]
    rows: dict[int, list[int]] = defaultdict(list)
    for row, observation in enumerate(observations):
        rows[_player(observation, policies)].append(row)
    return rows.items()


def _player(observation: Observation, policies: Sequence[object]) -> int:
    if len(policies) == 1:
        return 0
    if observation.seat >= len(policies):
        raise ConfigError(
            f"run: expected one policy or one for each seat, found {len(policies)} for seat {observation.seat}"
        )
    return observation.seat


def _proposals(policy: Policy, observations: list[Observation], n: int, seeds: list[int]) -> Sequence[Row]:
    rows = policy.propose(observations, n, seeds=seeds)
    if len(rows) != len(observations) or any(len(row) > n for row in rows):
        found = f"{len(rows)} rows, the longest of {max(map(len, rows), default=0)}"
        raise ModelError(
            f"{type(policy).__name__}.propose: expected {len(observations)} rows of at most {n}, found {found}"
        )
    return rows


def _scores(policy: Policy, observations: list[Observation]) -> Sequence[Row]:
    if not isinstance(policy, Scorer):
        raise ConfigError(f"run: this search asks for scores, and {type(policy).__name__} has no score method")
    rows = policy.score(observations)
    if len(rows) != len(observations):
        raise ModelError(f"{type(policy).__name__}.score: expected {len(observations)} rows, found {len(rows)}")
    return rows
