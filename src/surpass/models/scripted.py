"""Fakes, shipped for everybody's tests: policies and a domain that do what they are told.

`Scripted` answers from a table, `Uniform` draws by seed alone, `Automaton` is a finite automaton whose actions can also
crash, hang, raise or stay unknown. None of them learns anything; the tabular policy in `tabular.py` does.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from surpass.core import Observation, Problem, Proposal, Scored, Status, Verdict
from surpass.errors import ConfigError, DataError, VerifierError

Fault = Literal["crash", "hang", "raise", "unknown"]


@dataclass(frozen=True, slots=True)
class Scripted:
    """A policy that answers each observation from a table: the first n of its actions, seeds ignored.

    The table is looked up by `Observation.key`, then by its text; `logps` gives log-probabilities by action.

    >>> Scripted({"A -> A": ["intro h", "auto"]}).propose([Observation("A -> A")], 1, seeds=[0])
    [[Proposal(action='intro h', logp=None, tokens=())]]
    """

    answers: Mapping[str, Sequence[str]]
    logps: Mapping[str, float] = field(default_factory=dict)
    otherwise: Sequence[str] = ()  # for observations that the table does not name

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return [[Proposal(action, self.logps.get(action)) for action in self._row(one)[:n]] for one in observations]

    def _row(self, observation: Observation) -> Sequence[str]:
        return self.answers.get(observation.key) or self.answers.get(observation.text, self.otherwise)


@dataclass(frozen=True, slots=True)
class Uniform:
    """A policy that draws n actions with replacement, by seed alone, from the legal ones or else from `alphabet`.

    Tokens are the place of the action in that list. It also answers `Score`: a uniform prior, and value 0 for each
    of `seats`. Raises ConfigError where there is nothing to draw from.
    """

    alphabet: tuple[str, ...] = ()
    seats: int = 1

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return [self._row(one, n, seed) for one, seed in zip(observations, seeds, strict=True)]

    def score(self, observations: Sequence[Observation]) -> list[Scored]:
        legals = [observation.legal or () for observation in observations]
        return [Scored((1 / len(legal),) * len(legal) if legal else (), (0.0,) * self.seats) for legal in legals]

    def _row(self, observation: Observation, n: int, seed: int) -> list[Proposal]:
        actions = self.alphabet if observation.legal is None else observation.legal
        if not actions and observation.legal is None:
            raise ConfigError("Uniform: expected legal actions or an alphabet, found neither; give `alphabet`")
        drawn = random.Random(seed).choices(range(len(actions)), k=n) if actions else []
        return [Proposal(actions[index], -math.log(len(actions)), (index,)) for index in drawn]


@dataclass(frozen=True, slots=True)
class Place:
    """A state of an `Automaton`: where it is, how it came there, and what the checker says."""

    problem: str
    path: tuple[str, ...]
    node: str
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Automaton:
    """A domain given by a table of moves: node -> action -> node; reaching a goal is accepted, a missing move rejected.

    Each problem is named after the node it starts in, with its shortest solution in its data where it has one.
    `faults` says what happens at an action instead of a move: "crash" kills the process, "hang" never returns, "raise"
    raises VerifierError, "unknown" gives an UNKNOWN verdict. With a folder `once`, a fault happens the first time only
    (in any process), and the action is a move afterwards. `exact` puts the legal moves into the observation, and
    rejects where there are none.

    >>> domain = Automaton({"a": {"go": "b"}}, frozenset({"b"}), {"train": ("a",)})
    >>> domain.verify(domain.step(domain.start(Problem("a")), "go")).status
    <Status.ACCEPTED: 'accepted'>
    """

    moves: Mapping[str, Mapping[str, str]]
    goals: frozenset[str]
    splits: Mapping[str, tuple[str, ...]]  # split -> the nodes that its problems start in
    faults: Mapping[str, Fault] = field(default_factory=dict)
    once: str = ""
    exact: bool = False
    merges: bool = True  # the key of an observation is its node; otherwise empty
    patience: float = 3600.0  # seconds that a "hang" sleeps

    def problems(self, split: str) -> Iterable[Problem]:
        if not self.splits.get(split):
            raise DataError(f"Automaton: expected a split among {sorted(self.splits)}, found {split!r}")
        for node in self.splits[split]:
            solution = self.shortest(node)
            yield Problem(node, group=node, data={} if solution is None else {"solution": solution})

    def start(self, problem: Problem) -> Place:
        return self._place(Place(problem.key, (), ""), problem.key)

    def observe(self, state: Place) -> Observation:
        legal = tuple(self.moves.get(state.node, ())) if self.exact and state.status is None else None
        return Observation(state.node, legal, key=state.node if self.merges else "")

    def step(self, state: Place, action: str) -> Place:
        path = (*state.path, action)
        fault = self.faults.get(action)
        if state.status is not None:
            return Place(state.problem, path, state.node, Status.REJECTED)
        if fault is not None and self._due(action):
            return Place(state.problem, path, state.node, self._suffer(fault, action))
        target = self.moves.get(state.node, {}).get(action)
        if target is None:
            return Place(state.problem, path, state.node, Status.REJECTED)
        return self._place(Place(state.problem, path, ""), target)

    def verify(self, state: Place) -> Verdict | None:
        if state.status is None:
            return None
        returns = {Status.ACCEPTED: (1.0,), Status.REJECTED: (0.0,), Status.UNKNOWN: ()}
        return Verdict(state.status, returns[state.status], "automaton")

    def shortest(self, node: str) -> list[str] | None:
        """Return the fewest actions from a node to a goal, None where no path leads there."""
        paths: dict[str, list[str]] = {node: []}
        queue = deque([node])
        while queue:
            here = queue.popleft()
            if here in self.goals:
                return paths[here]
            for action, target in self.moves.get(here, {}).items():
                if target not in paths:
                    paths[target] = [*paths[here], action]
                    queue.append(target)
        return None

    def _place(self, state: Place, node: str) -> Place:
        stuck = self.exact and not self.moves.get(node)
        status = Status.ACCEPTED if node in self.goals else Status.REJECTED if stuck else None
        return Place(state.problem, state.path, node, status)

    def _due(self, action: str) -> bool:
        if not self.once:
            return True
        mark = Path(self.once) / action.encode().hex()
        if mark.exists():
            return False
        mark.touch()
        return True

    def _suffer(self, fault: Fault, action: str) -> Status:
        match fault:
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(self.patience)
            case "raise":
                raise VerifierError(f"Automaton: asked to raise at {action!r}")
            case "unknown":
                pass
        return Status.UNKNOWN
