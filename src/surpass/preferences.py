"""Several objectives, one policy: the preference among them is part of the problem, and the policy sees it.

    problem (x, w), observation "weights: ..." + that of x, w >= 0, sum w = 1
    product   log R(tau | w) = sum_i w_i log R_i(tau)
    total     log R(tau | w) = log sum_i w_i R_i(tau)

Each (x, w) is a problem of its own, with its own log Z, so any balance objective trains the conditional target
p_ref(tau) R(tau | w)^beta for all w at once. As beta grows it moves to the best trajectory, which for a total lies on
the convex hull of the R_i, for a product on that of the log R_i: no weights lead to the rest of a front.

Source: multi-objective GFlowNets by preference conditioning, Jain et al. 2023 (arXiv 2210.12765), whose "weighted sum"
and "weighted log-sum" these are. Not here: fronts and their volume (`evaluation/pareto.py`), and fresh weights from a
Dirichlet at every step: the weights of a problem are fixed with it, so a run can be repeated and counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Generic, Self

import torch
from torch import Tensor

from surpass.core import Domain, Observation, Problem, State, Trajectory, Verdict
from surpass.errors import ConfigError, DataError

Weights = tuple[float, ...]
Score = Callable[[Trajectory], float]  # log R_i of a trajectory, at most 0; a floor is its own business


@dataclass(frozen=True, slots=True)
class Weighed(Generic[State]):
    """A state of the domain within, and the weights it is seen with."""

    state: State
    shown: str


@dataclass(frozen=True, slots=True)
class Conditioned(Generic[State]):
    """A domain whose problems come once for each preference in `grid`; a `surpass.core.Domain` over `Weighed`.

    Rules and verdicts are those of the domain within; only problems and observations say the weights. Enter it where
    the domain within holds processes.
    """

    domain: Domain[State]
    names: tuple[str, ...]  # of the objectives
    grid: tuple[Weights, ...]
    _stack: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def __post_init__(self) -> None:
        for weights in self.grid:
            fair = len(weights) == len(self.names) and all(weight >= 0 for weight in weights)
            if not fair or not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
                raise ConfigError(f"expected a weight for each of {self.names}, not below 0, sum 1, found {weights}")
        if not self.grid or len({self._shown(weights) for weights in self.grid}) < len(self.grid):
            raise ConfigError(f"expected preferences that differ in their first six digits, found {self.grid}")

    def __reduce__(self) -> tuple[object, ...]:
        return Conditioned, (self.domain, self.names, self.grid)

    def __enter__(self) -> Self:
        if isinstance(self.domain, AbstractContextManager):
            self._stack.enter_context(self.domain)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield each problem of a split once for each preference, all of a problem together."""
        for problem in self.domain.problems(split):
            yield from self.posed(problem)

    def posed(self, problem: Problem) -> Iterator[Problem]:
        """Yield a problem of the domain within, once for each preference."""
        for weights in self.grid:
            data = {**problem.data, "weights": list(weights), "key": problem.key}
            yield replace(problem, key=f"{problem.key} [{self._shown(weights)}]", data=data)

    def start(self, problem: Problem) -> Weighed[State]:
        """Return the initial state. Raises DataError for a problem without weights."""
        weights = weights_of(problem)
        return Weighed(self.domain.start(replace(problem, key=problem.data["key"])), self._shown(weights))

    def observe(self, state: Weighed[State]) -> Observation:
        """Return what the domain within shows, behind the weights."""
        seen, before = self.domain.observe(state.state), f"weights: {state.shown}\n"
        return replace(seen, text=before + seen.text, key=before + seen.key if seen.key else "")

    def step(self, state: Weighed[State], action: str) -> Weighed[State]:
        return Weighed(self.domain.step(state.state, action), state.shown)

    def verify(self, state: Weighed[State]) -> Verdict | None:
        return self.domain.verify(state.state)

    def _shown(self, weights: Weights) -> str:
        return ", ".join(f"{name} {weight:.6g}" for name, weight in zip(self.names, weights, strict=True))


def simplex(objectives: int, parts: int) -> tuple[Weights, ...]:
    """Return all weights that are multiples of 1 / parts, the corners included.

    >>> simplex(2, 2)
    ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))
    """
    if objectives < 1 or parts < 1:
        raise ConfigError(f"simplex: expected objectives >= 1 and parts >= 1, found {objectives} and {parts}")
    return tuple(tuple(share / parts for share in shares) for shares in _shares(objectives, parts))


def _shares(objectives: int, parts: int) -> Iterator[tuple[int, ...]]:
    if objectives == 1:
        yield (parts,)
        return
    for first in range(parts + 1):
        yield from ((first, *rest) for rest in _shares(objectives - 1, parts - first))


def weights_of(problem: Problem) -> Weights:
    """Return the preference of a problem. Raises DataError where there is none."""
    if "weights" not in problem.data or "key" not in problem.data:
        raise DataError(f"problem {problem.key!r}: expected data with 'weights' and 'key', as `Conditioned` poses it")
    return tuple(problem.data["weights"])


def product(trajectories: Sequence[Trajectory], *, scores: Sequence[Score]) -> Tensor:
    """Return sum_i w_i log R_i of each trajectory [B]: a `Reward`. Raises DataError where weights do not fit."""
    rows = [
        math.fsum(weight * score for weight, score in zip(weights, logs, strict=True) if weight)
        for weights, logs in _scored(trajectories, scores)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def total(trajectories: Sequence[Trajectory], *, scores: Sequence[Score]) -> Tensor:
    """Return log sum_i w_i R_i of each trajectory [B]: a `Reward`. Raises DataError where weights do not fit."""
    sums = [
        math.fsum(weight * math.exp(score) for weight, score in zip(weights, logs, strict=True))
        for weights, logs in _scored(trajectories, scores)
    ]
    return torch.tensor(sums, dtype=torch.float64).log()


def success(trajectory: Trajectory, *, floor: float = -5.0) -> float:
    """Return log R = 0 for an accepted trajectory, `floor` for another."""
    return 0.0 if trajectory.solved else floor


def brevity(trajectory: Trajectory, *, scale: float = 2.0) -> float:
    """Return log R = -steps / scale: a longer trajectory is worth less, solved or not."""
    return -len(trajectory.steps) / scale


def _scored(trajectories: Sequence[Trajectory], scores: Sequence[Score]) -> Iterator[tuple[Weights, list[float]]]:
    for trajectory in trajectories:
        weights = weights_of(trajectory.problem)
        if len(weights) != len(scores):
            key = trajectory.problem.key
            raise DataError(f"problem {key!r}: expected {len(scores)} weights, one for each score, found {weights}")
        yield weights, [score(trajectory) for score in scores]
