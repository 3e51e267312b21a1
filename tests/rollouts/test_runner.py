from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

import pytest

from surpass.core import (
    BudgetSpent,
    Conversation,
    Domain,
    Observation,
    Policy,
    Problem,
    Proposal,
    Scored,
    Search,
    State,
    Status,
    Step,
    Trajectory,
    Verdict,
    apply,
    propose,
    score,
)
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.domain import State as KernelState
from surpass.errors import ConfigError, ModelError, VerifierError
from surpass.models.scripted import Automaton, Place, Scripted, Uniform
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.rollouts.trace import Event
from surpass.rollouts.workers import Workers
from surpass.search.again import again
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from tests.automata import ACTIONS, by_seed, diamond, forest

REJECTED = Verdict(Status.REJECTED, (0.0,))


@dataclass
class Watched:
    """A uniform policy that keeps what it was asked."""

    inner: Uniform = field(default_factory=partial(Uniform, ACTIONS))
    calls: list[tuple[list[str], int, list[int]]] = field(default_factory=list)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        self.calls.append(([one.text for one in observations], n, list(seeds)))
        return self.inner.propose(observations, n, seeds=seeds)


def asks(rounds: int, n: int = 1) -> Callable[[Domain[State], Problem, State], Conversation[None]]:
    """A search that asks for n proposals some times over, then records how many came."""

    def search(domain: Domain[State], problem: Problem, state: State, /) -> Conversation[None]:
        seen, steps = domain.observe(state), list[Step]()
        try:
            for _ in range(rounds):
                rows = yield from propose([seen], n)
                steps += [Step(seen, one) for one in rows[0]]
        except BudgetSpent:
            pass
        yield Trajectory(problem, tuple(steps), REJECTED)

    return search


def timeless(found: Trajectory) -> dict[str, object]:
    return {key: value for key, value in found.info.items() if not key.endswith("seconds")}


@pytest.mark.parametrize("search", [partial(sample, n=5, max_steps=6), partial(best_first, width=4)])
@pytest.mark.parametrize("options", [RunOptions(live=1), RunOptions(live=3), RunOptions(workers=2, live=5)])
def test_results_do_not_depend_on_the_schedule(
    search: Callable[[Domain[Place], Problem, Place], Conversation[None]], options: RunOptions
) -> None:
    domain, policy = forest(), Uniform(ACTIONS)
    budget = Budget(steps=30)
    expected = list(run(search, domain.problems("train"), domain, policy, budget=budget, seed=3))
    found = list(run(search, domain.problems("train"), domain, policy, budget=budget, seed=3, options=options))
    assert found == expected
    assert [timeless(one) for one in found] == [timeless(one) for one in expected]
    assert any(one.solved for one in found)
    assert not all(one.solved for one in found)


def test_seeds_depend_on_run_step_replica_problem_ask_and_row() -> None:
    domain = forest(2)

    def drawn(seed: int = 0, step: int = 0) -> list[Trajectory]:
        options = RunOptions(replicas=2, step=step)
        return list(run(asks(2, n=40), domain.problems("train"), domain, Uniform(ACTIONS), seed=seed, options=options))

    lines = [one.actions[start : start + 40] for one in drawn() for start in (0, 40)]
    assert len(set(lines)) == 8
    assert drawn() == drawn()
    assert not {one.actions for one in drawn()} & {one.actions for one in drawn(seed=1)}
    assert not {one.actions for one in drawn()} & {one.actions for one in drawn(step=1)}


def test_waiting_proposals_are_one_batch_and_seeds_are_not_repeated() -> None:
    domain, policy = forest(9), Watched()
    list(run(partial(sample, n=3, max_steps=2), domain.problems("train"), domain, policy))
    (roots, n, seeds), (later, one, more) = policy.calls
    assert (len(roots), n, one) == (9, 3, 1)
    assert len(later) > 9
    assert len({*seeds, *more}) == len(roots) + len(later)


def test_proposals_of_different_n_are_different_batches() -> None:
    domain, policy = forest(2), Watched()

    def search(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        rows = yield from propose([domain.observe(state)] * 2, 2 if problem.key == "n0" else 5)
        yield Trajectory(problem, tuple(Step(domain.observe(state), one) for row in rows for one in row), REJECTED)

    found = list(run(search, domain.problems("train"), domain, policy))
    assert [len(one.steps) for one in found] == [4, 10]
    assert sorted((texts, n) for texts, n, _ in policy.calls) == [(["n0", "n0"], 2), (["n1", "n1"], 5)]


def test_output_is_in_problem_order_and_consumes_problems_as_it_goes() -> None:
    domain = forest()
    drawn: list[str] = []

    def endless() -> Iterator[Problem]:
        for index in count():
            drawn.append(str(index))
            yield Problem("n0" if index % 3 else "n15", group=str(index))

    def uneven(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        yield from asks(1 + 7 * (problem.key == "n15"))(domain, problem, state)

    running = run(uneven, endless(), domain, Uniform(ACTIONS), options=RunOptions(live=4))
    first = [next(running).problem.group for _ in range(10)]
    running.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    assert first == [str(index) for index in range(10)]
    assert len(drawn) < 60


@pytest.mark.parametrize(("limit", "asked"), [(0, 0), (1, 0), (2, 1), (7, 3), (8, 4), (100, 5)])
def test_an_ask_beyond_the_budget_is_refused(limit: int, asked: int) -> None:
    domain, policy = diamond(), Watched()
    (found,) = run(asks(5, n=2), domain.problems("train"), domain, policy, budget=Budget(proposals=limit))
    assert len(policy.calls) == asked
    assert found.info["proposals"] == 2 * asked == len(found.steps) <= limit
    assert found.verdict == REJECTED


def stubborn(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    seen = domain.observe(state)
    for _ in range(9):
        try:
            yield from propose([seen], 1)
        except BudgetSpent:
            yield Trajectory(problem, (), Verdict(Status.UNKNOWN))


def careless(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    yield from asks_uncaught(domain.observe(state))


def asks_uncaught(seen: Observation) -> Conversation[None]:
    while True:
        yield from propose([seen], 1)


def test_a_search_that_asks_after_the_budget_is_closed() -> None:
    domain, policy = diamond(), Watched()
    found = list(run(stubborn, domain.problems("train"), domain, policy, budget=Budget(proposals=3)))
    assert [one.verdict.status for one in found] == [Status.UNKNOWN, Status.UNKNOWN]
    assert [one.info["end"] for one in found] == ["budget", "budget"]
    assert len(policy.calls) == 3


def test_a_search_that_does_not_catch_a_spent_budget_is_unknown() -> None:
    domain = diamond()
    (found,) = run(careless, domain.problems("train"), domain, Uniform(ACTIONS), budget=Budget(proposals=3))
    assert (found.verdict.status, found.info["end"], found.info["proposals"]) == (Status.UNKNOWN, "budget", 3)
    assert "proposals: 4 asked in all, 3 allowed" in found.verdict.evidence


def test_tokens_and_seconds_end_a_conversation() -> None:
    domain = diamond()
    (found,) = run(asks(9, n=4), domain.problems("train"), domain, Uniform(ACTIONS), budget=Budget(tokens=9))
    assert (found.info["tokens"], found.info["proposals"]) == (12, 12)
    (found,) = run(careless, domain.problems("train"), domain, Uniform(ACTIONS), budget=Budget(seconds=0.05))
    assert found.info["end"] == "budget"
    assert found.info["seconds"] >= 0.05


def test_a_search_without_a_trajectory_is_recorded() -> None:
    def mute(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        yield from propose([domain.observe(state)], 1)

    domain = diamond()
    (found,) = run(mute, domain.problems("train"), domain, Uniform(ACTIONS))
    assert (found.verdict.status, found.info["end"]) == (Status.UNKNOWN, "empty")
    assert "ended without a trajectory" in found.verdict.evidence


def test_costs_are_those_at_the_time_of_yielding_and_an_end_stays() -> None:
    def two(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        yield from propose([domain.observe(state)], 2)
        yield Trajectory(problem, (), REJECTED, {"end": "mine", "steps": 99, "extra": 1})
        yield from apply([(state, "up"), (state, "down"), (state, "up")])
        yield Trajectory(problem, (), REJECTED)

    domain = diamond()
    options = RunOptions(replicas=2)
    found = list(run(two, domain.problems("train"), domain, Uniform(ACTIONS), seed=7, options=options))
    keys = ("proposals", "steps", "tokens", "replica", "seed", "end")
    assert [tuple(one.info[key] for key in keys) for one in found] == [
        (2, 0, 2, 0, 7, "mine"),
        (2, 3, 2, 0, 7, "verdict"),
        (2, 0, 2, 1, 7, "mine"),
        (2, 3, 2, 1, 7, "verdict"),
    ]
    assert found[0].info["extra"] == 1
    assert found[1].info["seconds"] >= found[0].info["seconds"] >= 0


def test_an_empty_ask_is_answered_without_anybody() -> None:
    def nothing(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        rows = yield from propose([], 3)
        states = yield from apply(list[tuple[Place, str]]())
        assert rows == []
        assert states == []
        yield Trajectory(problem, (), REJECTED)

    domain, policy = diamond(), Watched()
    (found,) = run(nothing, domain.problems("train"), domain, policy)
    assert found.verdict == REJECTED
    assert not policy.calls


def test_scores_reach_a_scorer_and_refuse_another_policy() -> None:
    def judged(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        (scored,) = yield from score([domain.observe(state)])
        yield Trajectory(problem, (), REJECTED, {"scored": scored})

    domain, policy = by_seed(diamond())
    (found,) = run(judged, domain.problems("train"), domain, policy)
    assert found.info["scored"] == Scored((0.5, 0.5), (0.0,))
    assert found.info["proposals"] == 1
    with pytest.raises(ConfigError, match="Scripted has no score method"):
        list(run(judged, domain.problems("train"), domain, Scripted({})))


@dataclass(frozen=True)
class TwoSeats:
    """The diamond, where the two seats take turns."""

    inner: Automaton = field(default_factory=diamond)

    def problems(self, split: str) -> Iterator[Problem]:
        return iter(self.inner.problems(split))

    def start(self, problem: Problem) -> Place:
        return self.inner.start(problem)

    def observe(self, state: Place) -> Observation:
        return replace(self.inner.observe(state), seat=len(state.path) % 2)

    def step(self, state: Place, action: str) -> Place:
        return self.inner.step(state, action)

    def verify(self, state: Place) -> Verdict | None:
        return self.inner.verify(state)


def test_each_seat_has_its_policy() -> None:
    first, second = Scripted({"a": ["up"], "d": ["finish"]}), Scripted({"b": ["join"]})
    domain = TwoSeats()
    (found,) = run(partial(sample, n=1), domain.problems("train"), domain, [first, second])
    assert found.actions == ("up", "join", "finish")
    assert found.solved
    with pytest.raises(ConfigError, match="one for each seat"):
        list(run(partial(sample, n=1), domain.problems("train"), domain, list[Policy]()))


class Wrong:
    """A policy that gives a row too few, or one proposal too many."""

    def __init__(self, rows: int, each: int) -> None:
        self.rows, self.each = rows, each

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return [[Proposal("up")] * self.each] * self.rows


@pytest.mark.parametrize("policy", [Wrong(0, 1), Wrong(2, 1), Wrong(1, 2)])
def test_a_policy_that_answers_wrongly_is_our_trouble(policy: Policy) -> None:
    domain = diamond()
    with pytest.raises(ModelError, match="expected 1 rows of at most 1, found"):
        list(run(asks(1), domain.problems("train"), domain, policy))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_domain_raises_at_once_or_after_the_rest(workers: int) -> None:
    domain = replace(forest(6, faults={"boom": "raise"}), exact=False)
    policy = Scripted({"n2": ["boom"], "n4": ["boom"]}, otherwise=["l", "r"])
    search = partial(best_first, width=2)
    options = RunOptions(workers=workers, live=2)
    with pytest.raises(VerifierError, match="asked to raise at 'boom'") as raised:
        list(run(search, domain.problems("train"), domain, policy, options=options))
    notes = "\n".join(raised.value.__notes__)
    assert "problem 'n" in notes
    assert ("In a worker" in notes) == bool(workers)
    found: list[Trajectory] = []
    with pytest.raises(VerifierError) as raised:
        found.extend(run(search, domain.problems("train"), domain, policy, options=replace(options, fail_fast=False)))
    ends = {one.problem.key: one.info["end"] for one in found}
    assert list(ends) == [f"n{root}" for root in range(6)]
    assert [key for key, end in ends.items() if end == "error"] == ["n0", "n1", "n2", "n4"]
    assert all(one.verdict.status is Status.UNKNOWN for one in found if one.info["end"] == "error")
    assert any("4 such errors in all" in note for note in raised.value.__notes__)


@pytest.mark.parametrize(
    "make", [partial(RunOptions, live=0), partial(RunOptions, replicas=0), partial(RunOptions, -1)]
)
def test_options_that_cannot_be(make: Callable[[], RunOptions]) -> None:
    with pytest.raises(ConfigError, match="expected workers >= 0, live >= 1 and replicas >= 1"):
        make()


def test_an_error_of_a_search_names_the_problem() -> None:
    def wrong(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        yield from propose([domain.observe(state)], 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        list(run(wrong, diamond().problems("train"), diamond(), Uniform(ACTIONS)))
    assert raised.value.__notes__ == ["raised by the search on problem 'a', replica 0"]


@dataclass
class Looking:
    """A policy that looks, whenever it is asked, whether the workers are busy."""

    pool: Workers[Place]
    seen: list[tuple[int, bool]] = field(default_factory=list)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        self.seen.append((len(observations), self.pool.busy))
        return Uniform(ACTIONS).propose(observations, n, seeds=seeds)


@dataclass(frozen=True)
class Slow(TwoSeats):
    """Takes its time for a step."""

    inner: Automaton = field(default_factory=forest)

    def step(self, state: Place, action: str) -> Place:
        time.sleep(0.003)
        return self.inner.step(state, action)

    def observe(self, state: Place) -> Observation:
        return self.inner.observe(state)


def test_the_model_works_on_one_half_while_workers_step_the_other() -> None:
    domain, search = Slow(), partial(best_first, width=4, expansions=5)
    with Workers(domain, 1) as pool:
        policy = Looking(pool)
        found = list(run(search, domain.problems("train"), domain, policy, options=RunOptions(live=12, pool=pool)))
    assert found == list(run(search, domain.problems("train"), domain, Uniform(ACTIONS)))
    assert any(busy for _, busy in policy.seen)
    first = next(rows for rows, busy in policy.seen if busy)
    assert 6 <= first < 12


def test_each_conversation_tells_the_same_under_every_schedule() -> None:
    domain, heard = forest(), list[dict[str, list[Event]]]()
    for options in (RunOptions(live=1), RunOptions(live=5), RunOptions(workers=2)):
        events: list[Event] = []
        search = partial(best_first, width=3, expansions=6)
        told = replace(options, trace=events.append)
        list(run(search, domain.problems("train"), domain, Uniform(ACTIONS), options=told))
        heard.append(
            {key: [one for one in events if one["problem"] == key] for key in {one["problem"] for one in events}}
        )
    assert heard[0] == heard[1] == heard[2]
    assert len(heard[0]) == 12


@pytest.mark.parametrize("workers", [0, 1])
def test_seconds_inside_the_domain_are_billed_where_it_runs(workers: int) -> None:
    def two(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
        for _ in range(2):
            yield from apply([(state, "l")] * 5)
            yield Trajectory(problem, (), REJECTED)

    domain = Slow()
    found = list(run(two, domain.problems("train"), domain, Uniform(ACTIONS), options=RunOptions(workers=workers)))
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert 5 * 0.003 <= first.info["verifier_seconds"] <= second.info["verifier_seconds"] - 5 * 0.003
    billed = sum(one.info["verifier_seconds"] for one in found[1::2])
    assert billed <= max(one.info["seconds"] for one in found) * 1.5 + 0.1


@pytest.mark.parametrize(
    "search",
    [partial(best_first, solutions=9, expansions=8), partial(again, search=best_first, solutions=9, rounds=8)],
)
def test_what_a_search_asks_after_its_last_record_is_billed(search: Search[KernelState]) -> None:
    """Proofs are found early; the search goes on and finds no other, so no record of its own says what that took."""
    events = list[Event]()
    problem = pose(r"A -> A \/ B")
    found = list(run(search, [problem], Kernel(), Uniform(), seed=1, options=RunOptions(trace=events.append)))
    steps = sum(len(event["pairs"]) for event in events if event["kind"] == "apply")
    proposals = sum(event["n"] * len(event["observations"]) for event in events if event["kind"] == "propose")
    assert found[-1].solved
    assert found[-1].info["steps"] < steps
    assert found[-1].info["proposals"] < proposals
    assert {(one.info["total_steps"], one.info["total_proposals"]) for one in found} == {(steps, proposals)}
