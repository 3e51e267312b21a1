"""Each check passes on what is right, and names the contract that a broken part breaks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from surpass.conformance import ConformanceError, check_domain, check_policy, check_search, check_trainable
from surpass.core import (
    BudgetSpent,
    Conversation,
    Domain,
    Lost,
    Observation,
    Problem,
    Proposal,
    Status,
    Step,
    Trajectory,
    Verdict,
    apply,
    propose,
)
from surpass.models.scripted import Automaton, Place, Scripted, Uniform
from surpass.rollouts.runner import run
from surpass.search.sampling import sample
from tests.automata import ACTIONS, by_seed, diamond, forest

TICKS = count()


@dataclass
class Bent:
    """A domain that is right except where told; overrides are looked up by method name."""

    inner: Automaton = field(default_factory=diamond)
    bend: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def problems(self, split: str) -> Iterator[Problem]:
        return iter(self.bend.get("problems", self.inner.problems)(split))

    def start(self, problem: Problem) -> Place:
        place: Place = self.bend.get("start", self.inner.start)(problem)
        return place

    def observe(self, state: Place) -> Observation:
        seen: Observation = self.bend.get("observe", self.inner.observe)(state)
        return seen

    def step(self, state: Place, action: str) -> Place:
        place: Place = self.bend.get("step", self.inner.step)(state, action)
        return place

    def verify(self, state: Place) -> Verdict | None:
        verdict: Verdict | None = self.bend.get("verify", self.inner.verify)(state)
        return verdict


RIGHT = diamond()


def problems_with(*found: Problem) -> Callable[[str], list[Problem]]:
    def problems(split: str) -> list[Problem]:
        return list(found) if split == "train" else list(RIGHT.problems(split))

    return problems


def shuffled(split: str) -> list[Problem]:
    return [Problem(f"p{next(TICKS)}")] if split == "train" else list(RIGHT.problems(split))


def raising(state: Place, action: str) -> Place:
    if action not in {"up", "down", "join", "stray", "finish"}:
        raise KeyError(action)
    return RIGHT.step(state, action)


def forgiving(state: Place, action: str) -> Place:
    return state if action == "-1" else RIGHT.step(state, action)


def fickle(state: Place, action: str) -> Place:
    return replace(RIGHT.step(state, action), path=(str(next(TICKS)),))


def silent_verdict(state: Place) -> Verdict | None:
    verdict = RIGHT.verify(state)
    return verdict and replace(verdict, evidence="")


def free_returns(state: Place) -> Verdict | None:
    verdict = RIGHT.verify(state)
    return verdict and replace(verdict, returns=())


def early(state: Place) -> Verdict | None:
    return Verdict(Status.ACCEPTED, (1.0,), "early") if state.path else RIGHT.verify(state)


def stern(state: Place) -> Verdict | None:
    return Verdict(Status.REJECTED, (0.0,), "stern") if RIGHT.verify(state) else None


def ticking(state: Place) -> Observation:
    return Observation(str(next(TICKS)))


def twice_legal(state: Place) -> Observation:
    return Observation(state.node, ("up", "up"))


def by_process(problem: Problem) -> Place:
    return replace(RIGHT.start(problem), path=(str(next(TICKS)),))


@pytest.mark.parametrize(
    ("bend", "contract"),
    [
        ({"problems": problems_with(Problem("a"), Problem("a"))}, "keys of split 'train' are unique"),
        ({"problems": problems_with()}, "split 'train' has problems"),
        ({"problems": lambda split: [Problem("a")]}, "an unknown split raises DataError"),
        ({"problems": lambda split: [Problem("a")] if split == "train" else []}, "an unknown split raises DataError"),
        ({"problems": shuffled}, "same order every time"),
        ({"problems": problems_with(Problem("a", data={"x": (1, 2)}))}, "survives JSON"),
        ({"start": by_process}, "start gives equal states"),
        ({"observe": ticking}, "observe is pure"),
        ({"observe": twice_legal}, "distinct actions"),
        ({"step": raising}, "step never raises"),
        ({"step": forgiving}, "nonsense '-1' is REJECTED"),
        ({"step": fickle}, "step gives equal states"),
        ({"verify": silent_verdict}, "names its checker"),
        ({"verify": free_returns}, "has returns, unless UNKNOWN"),
        ({"verify": early}, "goes on after 1 actions"),
        ({"verify": stern}, "solution of 'a' is ACCEPTED"),
    ],
)
def test_a_bent_domain_is_named(bend: dict[str, Callable[..., Any]], contract: str) -> None:
    with pytest.raises(ConformanceError, match=contract):
        check_domain(Bent(RIGHT, bend), "train")


def test_a_right_domain_passes() -> None:
    check_domain(Bent(), "train")
    check_domain(
        forest(), "train", limit=12, wrong=lambda problem: [["x"], [*problem.data.get("solution", ["l"])[:-1], "x"]]
    )
    check_domain(by_seed(forest())[0], "train")
    with pytest.raises(ConformanceError, match="wrong actions are not ACCEPTED"):
        check_domain(RIGHT, "train", wrong=lambda problem: [["down", "join", "finish"]])


class Here(Bent):
    """Comes back from a pickle as another domain."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, inner=Automaton({"a": {}}, frozenset({"a"}), {"train": ("a",)}))


def test_a_domain_that_pickles_to_another_is_named() -> None:
    with pytest.raises(ConformanceError, match="a pickled domain starts 'a' equally"):
        check_domain(Here(), "train")


def asking_on(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    seen = domain.observe(state)
    for _ in range(20):
        with contextlib.suppress(BudgetSpent):
            yield from propose([seen], 1)
    yield Trajectory(problem, (), Verdict(Status.REJECTED, (0.0,)), {"end": "depth"})


def mute(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    yield from propose([domain.observe(state)], 1)


def babbling(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    yield "hello"  # type: ignore[misc]


def lying(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    step = Step(domain.observe(state), Proposal("up"))
    yield Trajectory(problem, (step,), Verdict(Status.ACCEPTED, (1.0,), "me"))


def heartless(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    states = yield from apply([(state, "up")])
    if isinstance(states[0], Lost):
        yield Trajectory(problem, (), Verdict(Status.REJECTED, (0.0,)))
    yield Trajectory(problem, (), Verdict(Status.REJECTED, (0.0,)), {"end": "depth"})


def stolen(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    yield Trajectory(Problem("other"), (), Verdict(Status.REJECTED, (0.0,)), {"end": "depth"})


def blind(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    (after,) = yield from apply([(state, "?")])
    assert not isinstance(after, Lost)
    verdict = domain.verify(after)
    assert verdict is not None
    yield Trajectory(problem, (Step(Observation("elsewhere"), Proposal("?")),), verdict)


def asking_nothing(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    yield from propose([domain.observe(state)], 0)


def counting(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    yield from propose([domain.observe(state)], 1)
    verdict = Verdict(Status.REJECTED, (0.0,), str(next(TICKS)))
    yield Trajectory(problem, (), verdict, {"end": "depth"})


@pytest.mark.parametrize(
    ("search", "contract"),
    [
        (asking_on, "does not ask after BudgetSpent"),
        (mute, "yields a trajectory for 'a'"),
        (babbling, "says Propose, Score, Apply or Trajectory; found 'hello'"),
        (lying, "replays to its verdict"),
        (heartless, "were all lost records UNKNOWN"),
        (stolen, "records its own problem"),
        (blind, "records what the domain shows"),
        (counting, "whatever else runs"),
        (asking_nothing, "at least one proposal"),
    ],
)
def test_a_bent_search_is_named(search: Any, contract: str) -> None:
    with pytest.raises(ConformanceError, match=contract):
        check_search(search, RIGHT, RIGHT.problems("train"), Uniform(("up", "down", "join", "finish")))


SEEN = [Observation(text, key=text) for text in "abcde"]


class Bad:
    """A policy that breaks one part of its contract."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        rows = Uniform(ACTIONS).propose(observations, n, seeds=seeds)
        match self.fault:
            case "short":
                return rows[1:]
            case "many":
                return [[*row, *row] for row in rows]
            case "positive":
                return [[replace(one, logp=0.5) for one in row] for row in rows]
            case "clock":
                return [[replace(one, action=str(next(TICKS))) for one in row] for row in rows]
            case "place":
                return [[replace(one, action=str(place)) for one in row] for place, row in enumerate(rows)]
            case "batch":
                return [[replace(one, logp=-float(len(rows))) for one in row] for row in rows]
            case _:
                return rows


@pytest.mark.parametrize(
    ("fault", "contract"),
    [
        ("short", "one row for each observation"),
        ("many", "at most 4 proposals"),
        ("positive", "finite and at most 0"),
        ("clock", "the same twice"),
        ("place", "its place in the batch"),
        ("batch", "the rest of the batch"),
    ],
)
def test_a_bent_policy_is_named(fault: str, contract: str) -> None:
    check_policy(Bad(""), SEEN)
    with pytest.raises(ConformanceError, match=contract):
        check_policy(Bad(fault), SEEN)


def test_an_illegal_proposal_is_named() -> None:
    check_policy(Uniform(), [Observation("a", ("l", "r"))])
    with pytest.raises(ConformanceError, match="a proposal is legal; found 'up'"):
        check_policy(Scripted({"a": ["up"]}), [Observation("a", ("l", "r"))])


@dataclass
class Weights:
    """Three logits, and one way to be wrong."""

    fault: str = ""
    logits: Tensor = field(default_factory=lambda: torch.zeros(3, requires_grad=True))

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return Uniform(ACTIONS).propose(observations, n, seeds=seeds)

    def encode(self, action: str) -> tuple[int, ...]:
        return () if self.fault == "mute" else (ACTIONS.index(action),)

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        longest = max(len(one.steps) for one in trajectories)
        rows = torch.zeros(len(trajectories), longest + (self.fault == "wide"))
        logps = self.logits.log_softmax(0) * (2 if self.fault == "double" else 1)
        for row, one in enumerate(trajectories):
            for place, step in enumerate(one.steps):
                rows[row, place] = logps[step.proposal.tokens[0]]
        if self.fault == "tail":
            rows = rows - 1
        if self.fault == "batch":
            rows = rows + 1e-3 * torch.tensor([[1.0, -1.0]]).repeat(1, longest)[:, :longest] * (len(trajectories) > 1)
        return rows.detach() if self.fault == "detached" else rows


def test_the_gradient_side_of_a_policy() -> None:
    domain = forest()
    found = list(run(partial(sample, n=12, max_steps=4), [Problem("n0")], domain, Weights()))
    assert len({len(one.steps) for one in found}) > 1
    check_trainable(Weights(), found)
    for fault, contract in (
        ("wide", "shape"),
        ("detached", "carries a gradient"),
        ("double", "sums to what was told"),
        ("tail", "end in zeros"),
        ("batch", "does not depend on the rest|end in zeros"),
        ("mute", "encode gives tokens"),
    ):
        with pytest.raises(ConformanceError, match=contract):
            check_trainable(Weights(fault), found)
