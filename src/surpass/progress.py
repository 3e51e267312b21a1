"""Process rewards as progress: how much each step changes the chance that a *prover* would still succeed.

    V(s_k)    = P(the prover's play from s_k is accepted within the horizon), by n rollouts; 0 or 1 of a final state
    progress  A(s_k, a_k) = V(s_{k+1}) - V(s_k)                a step's advantage under the prover

The prover is a policy of its own: not the one that learns, whose advantage says little where it nearly always fails or
succeeds, but one to which good steps make a difference (Setlur et al. 2024, arXiv 2410.08146). Progress sums to the
outcome less V(s_0) over a trajectory, so it moves credit among steps and makes none.
V is also a guess at what a state has earned, for `objectives.flows.forward_looking`: see `domains/proofs/reward.py`.

An estimate is a pure function of the prefix and the prover's seed, so a training run that asks again after an
interruption hears the same; all prefixes of a problem meet the same chance, which steadies their differences.
Not here: a learned critic (`models/heads.py`); verdicts of steps (they are exact: the checker's).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Generic

from surpass.core import (
    BudgetSpent,
    Conversation,
    Domain,
    Lost,
    Policy,
    Problem,
    Proposal,
    State,
    Status,
    Step,
    Trajectory,
    apply,
)
from surpass.errors import ConfigError
from surpass.rollouts.budget import bill
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.search.play import Play, play_on

Prefix = tuple[str, ...]
PREFIX = "prefix"  # where a problem's data holds the actions that come first


@dataclass(frozen=True, slots=True)
class Rate:
    """What came of the rollouts from one state; those that ended UNKNOWN are in neither number."""

    solved: int
    known: int

    @property
    def mean(self) -> float | None:
        """The share that was solved, None where nothing is known."""
        return self.solved / self.known if self.known else None

    @property
    def smoothed(self) -> float:
        """The same with half a success and half a failure added: never 0 or 1, and 1/2 where nothing is known."""
        return (self.solved + 0.5) / (self.known + 1)


class Prover(Generic[State]):
    """A prover policy with its estimates so far: a call gives the rates of all states of some trajectories.

    `horizon` is in actions from the start of the problem. A prefix is estimated once, and costs what `cost` adds up.
    """

    def __init__(
        self,
        domain: Domain[State],
        policy: Policy,
        *,
        n: int = 8,
        horizon: int = 8,
        seed: int = 0,
        budget: Budget = Budget(),  # noqa: B008 - frozen
        options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    ) -> None:
        """Estimate by `n` rollouts for each prefix; `budget` is of one prefix, and leaves what it cuts UNKNOWN."""
        if n < 1 or horizon < 1:
            raise ConfigError(f"Prover: expected n >= 1 and horizon >= 1, found n={n}, horizon={horizon}")
        self.cost = bill(())
        self._domain, self._policy, self._seed = domain, policy, seed
        self._search = partial(_continue, n=n, horizon=horizon)
        self._budget, self._options = budget, options
        self._known: dict[tuple[str, Prefix], Rate] = {}

    def __call__(self, trajectories: Sequence[Trajectory]) -> list[list[Rate]]:
        """Return, for each trajectory, the rates of the state before each step and after the last: one more than steps.

        The last is the trajectory's own outcome. Raises what the runner and the domain raise.
        """
        asked: dict[tuple[str, Prefix], Problem] = {}
        for trajectory in trajectories:
            for prefix in _prefixes(trajectory):
                problem = trajectory.problem
                if (problem.key, prefix) not in self._known:
                    data = {**problem.data, PREFIX: list(prefix)}
                    asked.setdefault((problem.key, prefix), replace(problem, data=data))
        self._estimate(asked)
        return [
            [self._known[trajectory.problem.key, prefix] for prefix in _prefixes(trajectory)] + [_outcome(trajectory)]
            for trajectory in trajectories
        ]

    def _estimate(self, asked: dict[tuple[str, Prefix], Problem]) -> None:
        found: dict[tuple[str, Prefix], list[Trajectory]] = {key: [] for key in asked}
        rollouts = run(
            self._search,
            asked.values(),
            self._domain,
            self._policy,
            budget=self._budget,
            seed=self._seed,
            options=self._options,
        )
        for rollout in rollouts:
            found[rollout.problem.key, tuple(rollout.problem.data[PREFIX])].append(rollout)
        for key, plays in found.items():
            statuses = Counter(play.verdict.status for play in plays)
            solved = statuses[Status.ACCEPTED]
            self._known[key] = Rate(solved, solved + statuses[Status.REJECTED])
            self.cost = {name: cost + self.cost[name] for name, cost in bill(plays).items()}


def progress(rates: Sequence[Rate]) -> list[float]:
    """Return V(s_{k+1}) - V(s_k) for each step, 0 where either is not known.

    >>> progress([Rate(1, 4), Rate(3, 4), Rate(0, 0), Rate(1, 1)])
    [0.5, 0.0, 0.0]
    """
    values = [rate.mean for rate in rates]
    return [0.0 if before is None or after is None else after - before for before, after in pairwise(values)]


def _continue(domain: Domain[State], problem: Problem, state: State, *, n: int, horizon: int) -> Conversation[None]:
    """Replay the prefix in the problem's data, then play `n` times on from there."""
    start = Play((state,))
    try:
        for action in problem.data[PREFIX]:
            (after,) = yield from apply([(start.states[-1], action)])
            if isinstance(after, Lost):
                return
            step = Step(domain.observe(start.states[-1]), Proposal(action))
            start = Play((*start.states, after), (*start.steps, step))
    except BudgetSpent:
        return
    for play in (yield from play_on(domain, [start] * n, max_steps=horizon)):
        yield play.record(problem, {})


def _prefixes(trajectory: Trajectory) -> list[Prefix]:
    """Return the actions before each step."""
    return [trajectory.actions[:at] for at in range(len(trajectory.steps))]


def _outcome(trajectory: Trajectory) -> Rate:
    return Rate(int(trajectory.solved), int(trajectory.verdict.status is not Status.UNKNOWN))
