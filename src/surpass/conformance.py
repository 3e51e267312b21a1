"""The contracts of `core.py` as checks that anybody can run on a domain, a search or a policy of their own.

Each check returns quietly or raises `ConformanceError`, which names the part of the contract that is broken. They are
examples, not proofs: a few problems, a few actions, everything in this process unless told otherwise.

    def test_my_domain() -> None:
        check_domain(MyDomain(), "train")
"""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice

from surpass.core import (
    Apply,
    BudgetSpent,
    Conversation,
    Domain,
    Lost,
    Observation,
    Policy,
    Problem,
    Proposal,
    Propose,
    Score,
    Search,
    State,
    Status,
    Trainable,
    Trajectory,
    replay,
)
from surpass.errors import DataError
from surpass.rollouts.budget import Budget
from surpass.rollouts.runner import RunOptions, derive_seed, run
from surpass.rollouts.workers import Foresees

NONSENSE = ("", " ", "\x00", "no such action ∀", "a" * 2000, "}{", "-1", "None")
BUDGETS = (Budget(proposals=0), Budget(proposals=5), Budget(steps=0), Budget(steps=3), Budget(tokens=1))


class ConformanceError(AssertionError):
    """A part of a contract that is broken, with what was expected and what was found."""


def _require(held: object, contract: str, found: object = "") -> None:
    if not held:
        detail = f" found {str(found)[:500]}" if str(found) else ""
        raise ConformanceError(f"{contract};{detail}" if detail else contract)


def _same(first: object, second: object, contract: str) -> None:
    _require(first == second, contract, f"{first!r} and then {second!r}")


def check_domain(
    domain: Domain[State],
    split: str,
    *,
    limit: int = 5,
    nonsense: Sequence[str] = NONSENSE,
    wrong: Callable[[Problem], Iterable[Sequence[str]]] = lambda problem: (),
) -> None:
    """Hold a domain to its contract on the first `limit` problems of a split.

    Problems: unique keys, a stable order, JSON-able data, pickling; an unknown split raises DataError. States: hashable
    values that pickle; `step` leaves the old one as it was and gives the same twice; `observe` and `verify` are pure.
    Verdicts: data["solution"] is ACCEPTED and none of its beginnings is; `nonsense` is REJECTED without an exception;
    the action lists that `wrong` gives for a problem are not accepted. The domain pickles to one that says the same.
    Not checked: that what is accepted is right.
    """
    problems = _check_problems(domain, split, limit)
    for problem in problems:
        start = _check_state(domain, domain.start(problem), problem)
        _same(start, domain.start(problem), f"start gives equal states for {problem.key!r}")
        _check_solution(domain, problem, start)
        legal = domain.observe(start).legal or ()
        for action in nonsense if domain.verify(start) is None else ():
            if action not in legal:
                verdict = domain.verify(_step(domain, start, action, problem))
                rejected = verdict is not None and verdict.status is Status.REJECTED
                _require(rejected, f"nonsense {action[:40]!r} is REJECTED in {problem.key!r}", verdict)
        for actions in wrong(problem):
            played = replay(domain, problem, actions)
            _require(not played.solved, f"wrong actions are not ACCEPTED in {problem.key!r}", played.actions)
    copy: Domain[State] = pickle.loads(pickle.dumps(domain))
    with copy if isinstance(copy, AbstractContextManager) else nullcontext():
        for problem in problems:
            _same(domain.start(problem), copy.start(problem), f"a pickled domain starts {problem.key!r} equally")
            actions = problem.data.get("solution", [])
            first, second = (replay(one, problem, actions).verdict for one in (domain, copy))
            _same(first, second, f"a pickled domain judges {problem.key!r} equally")


def _check_problems(domain: Domain[State], split: str, limit: int) -> list[Problem]:
    problems = list(islice(domain.problems(split), limit))
    _require(problems, f"split {split!r} has problems")
    again = list(islice(domain.problems(split), limit))
    for problem, other in zip(problems, again, strict=True):
        _same((problem, problem.data), (other, other.data), "problems come in the same order every time")
        _same(json.loads(json.dumps(problem.data)), dict(problem.data), f"data of {problem.key!r} survives JSON")
        copy = pickle.loads(pickle.dumps(problem))
        _same((problem, problem.data), (copy, copy.data), f"problem {problem.key!r} pickles to an equal one")
    keys = Counter(problem.key for problem in islice(domain.problems(split), 1000))
    twice = [key for key, times in keys.items() if times > 1]
    _require(not twice, f"keys of split {split!r} are unique", twice)
    try:
        _require(not list(islice(domain.problems("no such split"), 1)), "an unknown split raises DataError")
    except DataError:
        return problems
    raise ConformanceError("an unknown split raises DataError; found an empty one")


def _check_state(domain: Domain[State], state: State, problem: Problem) -> State:
    copy = pickle.loads(pickle.dumps(state))
    _same(state, copy, f"states of {problem.key!r} pickle to equal ones")
    _same(hash(state), hash(copy), f"equal states of {problem.key!r} have equal hashes")
    _same(domain.observe(state), domain.observe(copy), f"observe is pure in {problem.key!r}")
    verdict = domain.verify(state)
    _same(verdict, domain.verify(copy), f"verify is pure in {problem.key!r}")
    if verdict is None:
        legal = domain.observe(state).legal
        fair = legal is None or (legal and len(set(legal)) == len(legal))
        _require(fair, f"legal is None, or some distinct actions while play goes on in {problem.key!r}", legal)
    else:
        known = verdict.status is not Status.UNKNOWN
        _require(bool(verdict.returns) == known, "a verdict has returns, unless UNKNOWN", verdict)
        _require(all(map(math.isfinite, verdict.returns)), "returns are finite", verdict)
        _require(verdict.evidence, "a verdict names its checker in evidence", verdict)
    return state


def _step(domain: Domain[State], state: State, action: str, problem: Problem) -> State:
    """Step twice, the second time begun ahead where the domain can: the same comes out, the old state is unchanged."""
    before = pickle.dumps(state)
    try:
        after = domain.step(state, action)
        if isinstance(domain, Foresees):
            domain.ahead(state, action)
        again = domain.step(state, action)
    except Exception as error:
        raise ConformanceError(f"step never raises for an action of the policy; {action[:40]!r}: {error!r}") from error
    _same(after, again, f"step gives equal states for {action[:40]!r} in {problem.key!r}")
    _same(pickle.loads(before), state, f"step leaves the old state as it was in {problem.key!r}")
    return _check_state(domain, after, problem)


def _check_solution(domain: Domain[State], problem: Problem, state: State) -> None:
    actions: Sequence[str] = problem.data.get("solution", ())
    if not actions:
        return
    for index, action in enumerate(actions):
        verdict = domain.verify(state)
        _require(verdict is None, f"solution of {problem.key!r} goes on after {index} actions", verdict)
        legal = domain.observe(state).legal
        _require(legal is None or action in legal, f"solution action {action!r} of {problem.key!r} is legal", legal)
        state = _step(domain, state, action, problem)
    verdict = domain.verify(state)
    _require(verdict and verdict.status is Status.ACCEPTED, f"solution of {problem.key!r} is ACCEPTED", verdict)
    for _ in range(2):
        _same(verdict, replay(domain, problem, actions).verdict, f"replay of {problem.key!r} gives the same verdict")


def check_search(
    search: Search[State],
    domain: Domain[State],
    problems: Iterable[Problem],
    policy: Policy,
    *,
    budgets: Sequence[Budget] = BUDGETS,
) -> None:
    """Hold a search to its contract on some problems, with a policy whose rows depend on observation and seed alone.

    It says nothing but asks and trajectories, at least one trajectory for each conversation; what ended in a verdict
    replays to the same steps and verdict; it never asks again after BudgetSpent; where every step is lost it records
    UNKNOWN alone; its result does not depend on what else runs.
    """
    problems = list(problems)
    alone = list(run(_heard(search), problems, domain, policy, options=RunOptions(live=1)))
    merged = list(run(_heard(search), problems, domain, policy, options=RunOptions(live=64)))
    _same(alone, merged, "a search gives the same trajectories whatever else runs")
    for trajectory in alone:
        key = trajectory.problem.key
        _require(trajectory.info["end"] != "empty", f"a search yields a trajectory for {key!r}")
        if trajectory.info["end"] == "verdict" or trajectory.solved:
            again = replay(domain, trajectory.problem, trajectory.actions)
            _same(trajectory.verdict, again.verdict, f"a trajectory of {key!r} replays to its verdict")
            seen, shown = ([step.observation for step in one.steps] for one in (trajectory, again))
            _same(seen, shown, f"a trajectory of {key!r} records what the domain shows")
    for budget in budgets:
        for trajectory in run(_heard(search), problems, domain, policy, budget=budget):
            status, end = trajectory.verdict.status, trajectory.info["end"]
            fair = status is not Status.REJECTED or end != "budget"
            _require(fair, f"what {budget} ended is UNKNOWN", trajectory.verdict)
    for trajectory in run(_heard(search, lose=True), problems, domain, policy):
        unknown = trajectory.verdict.status is Status.UNKNOWN or not trajectory.info["steps"]
        _require(unknown, "a search whose steps were all lost records UNKNOWN", trajectory.verdict)


def _heard(search: Search[State], *, lose: bool = False) -> Search[State]:
    """Listen to a search: check all it says, and with `lose` answer each pair of an Apply with Lost."""

    def listen(domain: Domain[State], problem: Problem, state: State, /) -> Conversation[None]:
        conversation = search(domain, problem, state)
        speak: Callable[[], object] = partial(next, conversation)
        spent = False
        while True:
            try:
                said = speak()
            except StopIteration:
                return
            if not isinstance(said, Propose | Score | Apply | Trajectory):
                raise ConformanceError(f"a search says Propose, Score, Apply or Trajectory; found {said!r}")
            if isinstance(said, Trajectory):
                _require(said.problem == problem, "a search records its own problem", said.problem)
                yield said
                speak = partial(next, conversation)
                continue
            _require(not spent, "a search does not ask after BudgetSpent", said)
            if isinstance(said, Propose):
                _require(said.n > 0, "a Propose asks for at least one proposal", said.n)
            try:
                answer = yield said
            except BudgetSpent as message:
                spent = True
                speak = partial(conversation.throw, message)
                continue
            if lose and isinstance(said, Apply):
                answer = [Lost("conformance: lost")] * len(said.pairs)
            speak = partial(conversation.send, answer)

    return listen


def check_policy(
    policy: Policy, observations: Sequence[Observation], *, n: int = 4, seed: int = 0, tolerance: float = 1e-4
) -> None:
    """Hold a policy to its contract on some observations.

    One row for each observation, of at most n proposals, legal where the observation says what is; a row depends on its
    own observation and seed alone: asked again, alone or in another order it holds the same actions and tokens, and
    log-probabilities equal up to `tolerance`. Log-probabilities are not above 0.
    """
    seeds = [derive_seed(seed, row) for row in range(len(observations))]
    rows = policy.propose(observations, n, seeds=seeds)
    _same(len(rows), len(observations), "propose gives one row for each observation")
    for observation, row in zip(observations, rows, strict=True):
        _require(len(row) <= n, f"a row holds at most {n} proposals", len(row))
        for proposal in row:
            legal = observation.legal is None or proposal.action in observation.legal
            _require(legal, "a proposal is legal", f"{proposal.action!r}, legal are {observation.legal}")
            fair = proposal.logp is None or (math.isfinite(proposal.logp) and proposal.logp <= tolerance)
            _require(fair, "a log-probability is finite and at most 0", proposal)
    _alike(rows, policy.propose(observations, n, seeds=seeds), "propose gives the same twice", tolerance)
    turned = policy.propose(observations[::-1], n, seeds=seeds[::-1])[::-1]
    _alike(rows, turned, "a row does not depend on its place in the batch", tolerance)
    single = [policy.propose([one], n, seeds=[mine])[0] for one, mine in zip(observations, seeds, strict=True)]
    _alike(rows, single, "a row does not depend on the rest of the batch", tolerance)


def _alike(
    first: Sequence[Sequence[Proposal]], second: Sequence[Sequence[Proposal]], contract: str, tolerance: float
) -> None:
    for row, other in zip(first, second, strict=True):
        _same([(one.action, one.tokens) for one in row], [(one.action, one.tokens) for one in other], contract)
        for one, again in zip(row, other, strict=True):
            if one.logp is None or again.logp is None:
                _same(one.logp, again.logp, contract)
            else:
                _require(abs(one.logp - again.logp) <= tolerance, contract, f"{one} and then {again}")


def check_trainable(policy: Trainable, trajectories: Sequence[Trajectory], *, tolerance: float = 1e-4) -> None:
    """Hold the gradient side of a policy to its contract on trajectories that it sampled at temperature 1.

    `logp` is [B, T], T the most tokens of a trajectory, with gradient; rows sum to what was told when sampling and end
    in zeros; a trajectory scores the same alone; `encode` is never empty.
    """
    table = policy.logp(trajectories)
    lengths = [sum(len(step.proposal.tokens) for step in one.steps) for one in trajectories]
    _same(tuple(table.shape), (len(trajectories), max(lengths)), "logp has shape [B, T]")
    _require(table.requires_grad, "logp carries a gradient")
    for trajectory, row, length in zip(trajectories, table.detach(), lengths, strict=True):
        _require(not row[length:].any(), "rows of logp end in zeros", row)
        told = [step.proposal.logp for step in trajectory.steps]
        if None not in told:
            expected, got = math.fsum(one or 0.0 for one in told), float(row.sum())
            _require(abs(expected - got) <= tolerance * max(1, length), "logp sums to what was told", (expected, got))
        alone = policy.logp([trajectory]).detach()[0]
        _require(
            float((alone - row[:length]).abs().max()) <= tolerance if length else True,
            "a row of logp does not depend on the rest of the batch",
        )
        for action in trajectory.actions:
            _require(policy.encode(action), f"encode gives tokens for {action!r}")
