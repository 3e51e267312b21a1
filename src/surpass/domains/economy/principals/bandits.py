"""Bandits: every policy of a grid is an arm, a table of each context says what the arms came to.

    epsilon_greedy   a random arm with chance epsilon, otherwise the best mean; untried arms count as 0
    ucb              every arm once, then the best  mean_a + c sqrt(ln t / n_a)
    thompson         the best of means drawn from the posterior of each arm, Gaussian with a normal-inverse-gamma prior

Grids, coefficients and prior are those of Large Legislative Models (arXiv 2410.08345). Auer et al. 2002 for UCB1. Ties
are broken, and the first tour of `ucb` is ordered, as chance has it: in the order of the grid a short run would see one
corner. Nothing is shared between neighbouring arms, which is why these need many terms.

Legend: A arms, n plays of each, t plays of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator

from surpass.domains.economy.accounting import Reals, Whole
from surpass.domains.economy.principals.principal import ByContext, Learning, Principal, Rates
from surpass.domains.economy.society import Context, Rate, Society, Term
from surpass.errors import ConfigError

MOST = 5_000_000  # arms; more would not fit into memory beside their statistics


class Arms:
    """What the arms of a grid came to."""

    def __init__(self, rates: tuple[Rate, ...], levels: int) -> None:
        if levels < 2 or levels ** len(rates) > MOST:
            raise ConfigError(f"levels: expected 2 or more, of at most {MOST:,} arms in all, found {levels}")
        self._rates, self._shape = rates, (levels,) * len(rates)
        self._grid = [np.linspace(rate.low, rate.high, levels) for rate in rates]
        self.plays: Whole = np.zeros(levels ** len(rates), np.int64)  # [A]
        self.means: Reals = np.zeros(len(self.plays))  # [A] of welfare; 0 where there was no play
        self.spread: Reals = np.zeros(len(self.plays))  # [A] sum of squared distances from the mean

    def add(self, rates: Rates, welfare: float) -> None:
        """Count a term for the arm that is nearest to its rates."""
        places = [int(np.abs(levels - rate).argmin()) for levels, rate in zip(self._grid, rates, strict=True)]
        arm = np.ravel_multi_index(places, self._shape)
        self.plays[arm] += 1
        before = welfare - self.means[arm]
        self.means[arm] += before / self.plays[arm]
        self.spread[arm] += before * (welfare - self.means[arm])

    def rates(self, arm: int) -> Rates:
        """Return the rates of an arm."""
        places = np.unravel_index(arm, self._shape)
        return tuple(float(levels[place]) for levels, place in zip(self._grid, places, strict=True))


Pick = Callable[[Arms, Generator], int]


class Bandit:
    """A learner of one context that picks an arm."""

    def __init__(self, rates: tuple[Rate, ...], levels: int, pick: Pick) -> None:
        self._arms, self._pick = Arms(rates, levels), pick

    def learn(self, term: Term, *, seed: int) -> None:
        self._arms.add(term.rates, term.metrics.welfare)

    def choose(self, context: Context, *, seed: int) -> Rates:
        return self._arms.rates(self._pick(self._arms, np.random.default_rng(seed)))


def pick_greedily(arms: Arms, chance: Generator, *, epsilon: float) -> int:
    """Return the arm of the best mean or, with chance `epsilon`, any."""
    if chance.random() < epsilon:
        return int(chance.integers(len(arms.plays)))
    return _any_best(arms.means, chance)


def pick_by_bound(arms: Arms, chance: Generator, *, coefficient: float) -> int:
    """Return an arm that was never played or else that of the highest upper confidence bound."""
    untried = np.flatnonzero(arms.plays == 0)
    if len(untried):
        return int(chance.choice(untried))
    return _any_best(arms.means + coefficient * np.sqrt(np.log(arms.plays.sum()) / arms.plays), chance)


def pick_by_posterior(arms: Arms, chance: Generator, *, mean: float, count: float, shape: float, scale: float) -> int:
    """Return the arm of the highest mean drawn from its posterior.

    1 / var ~ Gamma(shape_n, rate scale_n), mu ~ N(mean_n, var / count_n); Murphy 2007, section 6, has the updates.
    """
    n = arms.plays
    counts, shapes = count + n, shape + n / 2
    means = (count * mean + n * arms.means) / counts
    scales = scale + arms.spread / 2 + count * n * (arms.means - mean) ** 2 / (2 * counts)
    precision = chance.gamma(shapes) / scales
    return int((means + chance.standard_normal(len(n)) / np.sqrt(counts * precision)).argmax())


def _any_best(values: Reals, chance: Generator) -> int:
    return int(chance.choice(np.flatnonzero(values == values.max())))


def _bandit(society: Society, seed: int, levels: int, pick: Pick) -> Principal:
    Arms(society.rates, levels)  # raises at once, not in the first term
    return Learning(lambda: ByContext(lambda _: Bandit(society.rates, levels, pick)), seed=seed)


def epsilon_greedy(society: Society, *, seed: int, levels: int = 21, epsilon: float = 0.1) -> Principal:
    """Return the epsilon-greedy bandit. Raises ConfigError for a chance that is none."""
    if not 0 <= epsilon <= 1:
        raise ConfigError(f"epsilon: expected 0 to 1, found {epsilon}")
    return _bandit(society, seed, levels, partial(pick_greedily, epsilon=epsilon))


def ucb(society: Society, *, seed: int, levels: int = 11, coefficient: float = 0.2) -> Principal:
    """Return the UCB bandit. Raises ConfigError for a coefficient below 0."""
    if not coefficient >= 0:
        raise ConfigError(f"coefficient: expected 0 or more, found {coefficient}")
    return _bandit(society, seed, levels, partial(pick_by_bound, coefficient=coefficient))


def thompson(
    society: Society,
    *,
    seed: int,
    levels: int = 11,
    mean: float = 0.0,
    count: float = 0.05,
    shape: float = 1.0,
    scale: float = 25.0,
) -> Principal:
    """Return Gaussian Thompson sampling; the prior of each arm says what it is thought to be before it is played."""
    for name, value in (("count", count), ("shape", shape), ("scale", scale)):
        if not value > 0:
            raise ConfigError(f"{name}: expected a number above 0, found {value}")
    return _bandit(society, seed, levels, partial(pick_by_posterior, mean=mean, count=count, shape=shape, scale=scale))
