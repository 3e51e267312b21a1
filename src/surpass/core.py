"""The nouns, the asks and their helpers: all that a domain, a policy and a search must know of each other.

A *policy* acts on a *problem*, a *domain* judges, the record is a *trajectory*. A search is a generator that asks
(`Propose`, `Score`, `Apply`) and is answered by the runner. No I/O, clock, chance or other module of ours is in here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

State = TypeVar("State")  # a hashable, picklable value, owned by its domain
State_co = TypeVar("State_co", covariant=True)
R = TypeVar("R")


class Status(StrEnum):
    """The three answers of a checker. UNKNOWN is never a zero: it is counted, reported and left out of rewards."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to solve. JSON-able and picklable; equality and hash ignore `data`."""

    key: str  # unique within its domain
    group: str = ""  # what shares an expensive start (a source file); the runner prefers one worker per group
    data: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # data["solution"]: known actions


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a policy may see of a state."""

    text: str
    legal: tuple[str, ...] | None = None  # the exact set of legal actions, or None; a list of hints belongs in `text`
    seat: int = 0  # whose turn it is
    key: str = ""  # a search may merge observations with equal keys; empty: never merged


@dataclass(frozen=True, slots=True)
class Proposal:
    """One action of a policy."""

    action: str
    logp: float | None = None  # log-probability at temperature 1, in nats; None where an API hides it
    tokens: tuple[int, ...] = ()  # exactly as sampled, the end marker included; empty where unknown


@dataclass(frozen=True, slots=True)
class Step:
    """What was seen and what was done."""

    observation: Observation
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker said. A verdict is a claim about a checker: `evidence` names it, its version and trust level."""

    status: Status
    returns: tuple[float, ...] = ()  # one per seat; empty when UNKNOWN
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The one record: written by the runner, read by training, evaluation and reports."""

    problem: Problem
    steps: tuple[Step, ...]
    verdict: Verdict
    info: Mapping[str, Any] = field(default_factory=dict, compare=False)  # costs, "end": how

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(step.proposal.action for step in self.steps)

    @property
    def solved(self) -> bool:
        return self.verdict.status is Status.ACCEPTED


class Domain(Protocol[State]):
    """Problems and their checker. A domain pickles as its configuration; one that holds processes starts them when
    first needed and is a context manager. `conformance.check_domain` holds an implementation to all of this."""

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield a split's problems, always in the same order. Raises DataError for an unknown or empty split."""

    def start(self, problem: Problem) -> State:
        """Return the initial state."""

    def observe(self, state: State) -> Observation:
        """Return what a policy may see. Cheap and pure."""

    def step(self, state: State, action: str) -> State:
        """Return the next state. Pure in meaning; a bad action gives a rejected state, never an exception."""

    def verify(self, state: State) -> Verdict | None:
        """Return the verdict stored in a final state, None while play goes on. Cheap and pure."""


@runtime_checkable
class Policy(Protocol):
    """Anything that proposes actions, in batches."""

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return up to `n` proposals for each observation; row i depends on observation i and seeds[i] alone."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A policy's opinion of one observation: `prior` follows `Observation.legal` and sums to 1; one value per seat."""

    prior: tuple[float, ...] = ()
    values: tuple[float, ...] = ()


@runtime_checkable
class Scorer(Protocol):
    """A policy that can answer `Score`."""

    def score(self, observations: Sequence[Observation]) -> list[Scored]: ...


class Trainable(Policy, Protocol):
    """A policy with a gradient. A frozen copy of one is the reference."""

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log-probabilities [B, T] at temperature 1, with gradient.

        T runs over the tokens of all actions of a trajectory, in order (`Proposal.tokens`); short rows end in zeros.
        """

    def encode(self, action: str) -> tuple[int, ...]:
        """Return the tokens of an action that was not sampled (a demonstration), the end marker included."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Ask the policy for up to `n` proposals on each observation."""

    observations: tuple[Observation, ...]
    n: int


@dataclass(frozen=True, slots=True)
class Score:
    """Ask the policy for priors and values."""

    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Apply(Generic[State_co]):
    """Ask the domain to step each (state, action) pair."""

    pairs: tuple[tuple[State_co, str], ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """The answer to one pair of an `Apply` where our machinery failed twice. Never the policy's fault."""

    reason: str


class BudgetSpent(Exception):  # noqa: N818 - a message to a search, not an error
    """Thrown by the runner into a search whose budget is spent: it may still yield trajectories, but not ask."""


Said = Propose | Score | Apply[object] | Trajectory
Conversation = Generator[Said, Any, R]  # the one Any: Python cannot type what `send` answers


class Search(Protocol[State]):
    """A search yields asks and trajectories; make one from a function with `functools.partial`."""

    def __call__(self, domain: Domain[State], problem: Problem, state: State, /) -> Conversation[None]: ...


def propose(observations: Sequence[Observation], n: int) -> Conversation[list[list[Proposal]]]:
    """Ask with `Propose`; each row of the answer may be shorter than `n`."""
    answer: list[list[Proposal]] = yield Propose(tuple(observations), n)
    return answer


def score(observations: Sequence[Observation]) -> Conversation[list[Scored]]:
    """Ask with `Score`."""
    answer: list[Scored] = yield Score(tuple(observations))
    return answer


def apply(pairs: Sequence[tuple[State, str]]) -> Conversation[list[State | Lost]]:
    """Ask with `Apply`; a `Lost` stands where our machinery failed."""
    answer: list[State | Lost] = yield Apply(tuple(pairs))
    return answer


def inside(
    conversation: Conversation[None], enough: Callable[[Sequence[Trajectory]], bool]
) -> Conversation[list[Trajectory]]:
    """Run a search within a search: forward its asks, keep its trajectories, stop when `enough` says so."""
    found: list[Trajectory] = []
    try:
        said = next(conversation)
        while True:
            if isinstance(said, Trajectory):
                found.append(said)
                if enough(found):
                    conversation.close()
                    return found
                said = next(conversation)
                continue
            try:
                answer = yield said
            except BudgetSpent as spent:
                said = conversation.throw(spent)
            else:
                said = conversation.send(answer)
    except StopIteration:
        return found


def replay(domain: Domain[State], problem: Problem, actions: Iterable[str]) -> Trajectory:
    """Play known actions and return the trajectory; stops where the domain gives a verdict.

    A play that runs out of actions before a verdict is REJECTED with info["end"] == "depth".
    """
    state, steps = domain.start(problem), list[Step]()
    verdict = domain.verify(state)
    for action in actions:
        if verdict is not None:
            break
        steps.append(Step(domain.observe(state), Proposal(action)))
        state = domain.step(state, action)
        verdict = domain.verify(state)
    end = "depth" if verdict is None else "verdict"
    verdict = verdict or Verdict(Status.REJECTED, (0.0,), "replay: unfinished")
    return Trajectory(problem, tuple(steps), verdict, {"end": end})
