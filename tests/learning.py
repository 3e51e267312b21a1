"""A policy and a domain small enough to enumerate, for the tests of learning.

An action is a string of a's and b's of at most three letters; one token per letter and an end marker, so there are
exactly 15 actions and `TinyPolicy` can represent every distribution over them, independently for each observation.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from surpass.core import Conversation, Domain, Lost, Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.core import apply as apply_all
from surpass.core import propose as propose_all

torch.set_num_threads(1)  # the tensors are tiny: threads would only wait for each other

LETTERS = "ab"
LONGEST = 3
ACTIONS = ["".join(word) for n in range(LONGEST + 1) for word in itertools.product(LETTERS, repeat=n)]
PREFIXES = [action for action in ACTIONS if len(action) < LONGEST]


class TinyPolicy(nn.Module):
    """A table of logits [observation, prefix, end or letter]."""

    def __init__(self, texts: Sequence[str], *, seed: int = 0, temperature: float = 1.0) -> None:
        super().__init__()
        self.rows = {text: row for row, text in enumerate(texts)}
        self.temperature = temperature
        start = torch.randn((len(texts), len(PREFIXES), 3), generator=torch.Generator().manual_seed(seed))
        self.table = nn.Parameter(start.double())

    def encode(self, action: str) -> tuple[int, ...]:
        return (*(1 + LETTERS.index(letter) for letter in action), 0)

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        return self._by_token(trajectories, lambda token: token)

    def log_stop(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return the log-probability [B, T] of the end marker in the place of each token."""
        return self._by_token(trajectories, lambda _: 0)

    def _by_token(self, trajectories: Sequence[Trajectory], asked: Callable[[int], int]) -> Tensor:
        lengths = [sum(len(step.proposal.tokens) for step in trajectory.steps) for trajectory in trajectories]
        places: list[tuple[int, ...]] = []  # batch row, column, observation, prefix, token
        for b, trajectory in enumerate(trajectories):
            column = 0
            for step in trajectory.steps:
                prefix = ""
                for token in step.proposal.tokens:
                    if len(prefix) < LONGEST:  # else only the end can follow, for sure
                        row = self.rows[step.observation.text]
                        places.append((b, column, row, PREFIXES.index(prefix), asked(token)))
                        prefix += LETTERS[token - 1] if token else ""
                    column += 1
        b_, t_, row_, prefix_, token_ = torch.tensor(places).T
        values = self.table.log_softmax(2)[row_, prefix_, token_]
        return values.new_zeros(len(lengths), max(lengths)).index_put((b_, t_), values)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        logp = self.table.detach().log_softmax(2)
        tempered: list[list[list[float]]] = (logp / self.temperature).exp().tolist()
        answers = []
        for observation, seed in zip(observations, seeds, strict=True):
            row, rng = self.rows[observation.text], random.Random(seed)
            answers.append([self._sample(logp[row], tempered[row], rng) for _ in range(n)])
        return answers

    def _sample(self, logp: Tensor, weights: list[list[float]], rng: random.Random) -> Proposal:
        action, total = "", 0.0
        while len(action) < LONGEST:
            prefix = PREFIXES.index(action)
            (token,) = rng.choices(range(3), weights[prefix])
            total += float(logp[prefix, token])
            if not token:
                break
            action += LETTERS[token - 1]
        return Proposal(action, total, self.encode(action))

    def probabilities(self, text: str) -> Tensor:
        """Return the exact probability of each of ACTIONS at temperature 1."""
        problem = Problem(text)
        plays = [
            Trajectory(problem, (Step(Observation(text), Proposal(a, None, self.encode(a))),), ACCEPTED)
            for a in ACTIONS
        ]
        return self.logp(plays).sum(1).exp().detach()

    def frozen_copy(self) -> TinyPolicy:
        return copy.deepcopy(self).requires_grad_(False)

    def tempered(self, temperature: float) -> TinyPolicy:
        view = copy.copy(self)
        view.temperature = temperature
        return view


ACCEPTED = Verdict(Status.ACCEPTED, (1.0,), "tiny")
REJECTED = Verdict(Status.REJECTED, (0.0,), "tiny")
UNKNOWN = Verdict(Status.UNKNOWN, (), "tiny")


@dataclass(frozen=True)
class TinyState:
    problem: str
    actions: tuple[str, ...] = ()
    verdict: Verdict | None = None


@dataclass
class TinyDomain:
    """Say words that begin with the letter of the problem, `length` of them; "aaa" crashes the checker (UNKNOWN)."""

    length: int = 2
    calls: int = field(default=0, compare=False)

    def problems(self, split: str) -> Iterable[Problem]:
        return [Problem(f"{split}-{letter}", data={"solution": [letter, letter * 2]}) for letter in LETTERS]

    def start(self, problem: Problem) -> TinyState:
        return TinyState(problem.key)

    def observe(self, state: TinyState) -> Observation:
        return Observation(f"{state.problem}/{len(state.actions)}", key=f"{state.problem}/{len(state.actions)}")

    def step(self, state: TinyState, action: str) -> TinyState:
        self.calls += 1
        actions = (*state.actions, action)
        if action == "aaa":
            return TinyState(state.problem, actions, UNKNOWN)
        if not action.startswith(state.problem[-1]):
            return TinyState(state.problem, actions, REJECTED)
        return TinyState(state.problem, actions, ACCEPTED if len(actions) == self.length else None)

    def verify(self, state: TinyState) -> Verdict | None:
        return state.verdict


PROBLEMS = list(TinyDomain().problems("t"))
TEXTS = [f"{problem.key}/{depth}" for problem in PROBLEMS for depth in range(2)]


def play(domain: Domain[TinyState], problem: Problem, state: TinyState, *, n: int = 4) -> Conversation[None]:
    """Yield `n` independent rollouts: a search of the tests, so that they need no other."""
    for _ in range(n):
        here, steps = state, list[Step]()
        while (verdict := domain.verify(here)) is None:
            observation = domain.observe(here)
            ((proposal,),) = yield from propose_all([observation], 1)
            (answer,) = yield from apply_all([(here, proposal.action)])
            assert not isinstance(answer, Lost)
            here = answer
            steps.append(Step(observation, proposal))
        yield Trajectory(problem, tuple(steps), verdict, {"end": "verdict"})


def rollouts(
    policy: TinyPolicy, problems: Iterable[Problem] = PROBLEMS, *, n: int = 4, seed: int = 0
) -> Iterator[Trajectory]:
    """Yield `n` trajectories for each problem without a runner; UNKNOWN ones included."""
    domain = TinyDomain()
    for problem in problems:
        for i in range(n):
            state, steps = domain.start(problem), list[Step]()
            while domain.verify(state) is None:
                observation = domain.observe(state)
                ((proposal,),) = policy.propose([observation], 1, seeds=[seed * 1000 + 10 * i + len(steps)])
                state = domain.step(state, proposal.action)
                steps.append(Step(observation, proposal))
            verdict = domain.verify(state)
            assert verdict is not None
            yield Trajectory(problem, tuple(steps), verdict, {"end": "verdict"})
