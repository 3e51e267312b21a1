"""Local search over trajectories: back up, play on anew, keep the better one; several chains side by side.

    tau = prefix (c steps) + suffix     c uniform among the last `back` cuts of tau, or among all of them
    tau' = prefix + suffix'             suffix' sampled by the policy, which plays to the end
    tau <- tau' with probability        accept(log R(tau') - log R(tau), log q(c | tau') - log q(c | tau))

With `metropolis` a chain leaves  P_F(tau) R(tau)^beta  unchanged, P_F being the policy that plays: the suffix is drawn
from it, so it cancels, and q(c | tau) = 1 / (number of cuts of tau) makes up for trajectories of other lengths. With
the reference as policy that is the relative target itself; in training it leads from what the policy finds towards what
it should. `greedy` climbs, and leaves no distribution unchanged.

Source: local search GFlowNets, Kim et al. 2024 (arXiv 2310.02710), whose backward policy is here a single way back, as
an observation carries its history; the correction for lengths is that of Wingate et al. 2011 (lightweight MCMC).
Not here: a temperature schedule over rounds, and moves that change the middle of a trajectory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from random import Random

from surpass.core import Conversation, Domain, Problem, State, Status, Trajectory
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed
from surpass.search.play import Play, play_on

Accept = Callable[[float, float], float]  # gain in log R, log of the ratio of cuts -> probability


def metropolis(gain: float, correction: float, *, beta: float = 1.0) -> float:
    """Return min(1, exp(beta gain + correction)): the stationary distribution is P_F R^beta."""
    return math.exp(min(0.0, beta * gain + correction))


def greedy(gain: float, correction: float) -> float:
    """Return 1 for a higher reward, else 0."""
    del correction
    return float(gain > 0)


def log_return(trajectory: Trajectory, *, floor: float = -10.0) -> float:
    """Return the log of the first seat's return, at least `floor`."""
    value = trajectory.verdict.returns[0]
    return max(floor, math.log(value)) if value > 0 else floor


def local_search(  # noqa: PLR0913 - every number is one that experiments compare
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    chains: int = 4,
    rounds: int = 3,
    back: int | None = None,
    max_steps: int = 8,
    accept: Accept = metropolis,
    log_reward: Callable[[Trajectory], float] = log_return,
    seed: int = 0,
) -> Conversation[None]:
    """Sample `chains` trajectories, improve each for `rounds` rounds, and yield all that was played.

    At most `back` steps are taken back, any number for None. `info` holds chain, round (0 for the first sample) and
    `kept`: whether the chain moved to this trajectory. An UNKNOWN one is never moved to, and always left for a known
    one. Ends as in `play.play_on`; the end of the budget ends the search.

    A search is not told the seed of its run. Its coins come from `seed`, the problem and all that was played before,
    so equal histories meet equal coins; give another `seed` where that may matter.
    """
    if min(chains, rounds + 1, max_steps, 1 if back is None else back) < 1:
        found = f"chains={chains}, rounds={rounds}, back={back}, max_steps={max_steps}"
        raise ConfigError(f"local_search: expected chains, back and max_steps >= 1 and rounds >= 0, found {found}")
    root = Play((state,))
    if verdict := domain.verify(state):
        yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    coins = _Coins(seed, problem.key)
    current: list[Play[State]] = [root] * chains
    for number in range(rounds + 1):
        rng = coins.rng()
        starts = [play.cut(rng.choice(cuts)) if (cuts := _cuts(play, back)) else root for play in current]
        plays = yield from play_on(domain, starts, max_steps=max_steps)
        coins.hear(plays)
        rng = coins.rng()
        for chain, (start, play) in enumerate(zip(starts, plays, strict=True)):
            record = play.record(problem, {"chain": chain, "round": number})
            kept = record.verdict.status is not Status.UNKNOWN
            if kept and current[chain].steps:
                gain = log_reward(record) - log_reward(current[chain].record(problem, {}))
                at = len(start.steps)
                kept = rng.random() < accept(gain, _log_q(play, at, back) - _log_q(current[chain], at, back))
            if kept:
                current[chain] = play
            yield replace(record, info={**record.info, "kept": kept})
        if any(play.end == "budget" for play in plays):
            return


def _cuts(play: Play[State], back: int | None) -> range:
    """Return the numbers of steps that may stay."""
    length = len(play.steps)
    return range(0 if back is None else max(0, length - back), length)


def _log_q(play: Play[State], at: int, back: int | None) -> float:
    """Return the log-probability of cutting a play there."""
    cuts = _cuts(play, back)
    return -math.log(len(cuts)) if at in cuts else -math.inf


class _Coins:
    """Chance that follows from a seed and all that was heard so far."""

    def __init__(self, seed: int, key: str) -> None:
        self._heard = blake2b(json.dumps([seed, key]).encode(), digest_size=8)

    def hear(self, plays: Sequence[Play[State]]) -> None:
        """Take in what was played."""
        actions = [[step.proposal.action for step in play.steps] for play in plays]
        self._heard.update(json.dumps(actions).encode())

    def rng(self) -> Random:
        """Return a generator; the same one until something is heard."""
        return Random(derive_seed(self._heard.hexdigest()))
