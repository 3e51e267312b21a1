"""Weak principals: rules of thumb that look for something better than the best term so far, and model nothing.

    climb        near the best so far; now and then anywhere
    coordinate   the best so far with one rate drawn anew, each in its turn
    evolve       the (1+1) evolution strategy, its step by the one-fifth rule (Rechenberg 1973)
    stride       beyond the best so far, coming from the second best: a noisy pattern move (Hooke and Jeeves 1961)

Each begins at random in every context, whose terms are all it looks at, and is cut at the bounds. They are what the
in-context policymaker learns from. Not here: principals that model what they have seen (`optimisers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from surpass.domains.economy.accounting import Reals
from surpass.domains.economy.principals.principal import Principal, Rates
from surpass.domains.economy.society import Context, Rate, Society, Term
from surpass.rollouts.seeds import derive_seed

Rule = Callable[[Reals, Reals, Generator], Reals]  # shares [t, rates] and welfare [t] of a context -> shares [rates]


@dataclass(frozen=True, slots=True)
class Weak:
    """A rule as a principal. A share is a rate's place in its range."""

    rule: Rule
    rates: tuple[Rate, ...]
    seed: int

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        chance = np.random.default_rng(derive_seed(self.seed, len(history)))
        low, high = (np.array([getattr(rate, end) for rate in self.rates]) for end in ("low", "high"))
        past = [term for term in history if term.context == context]
        if past:
            tried = (np.array([term.rates for term in past]) - low) / (high - low)
            shares = self.rule(tried, np.array([term.metrics.welfare for term in past]), chance)
        else:
            shares = chance.random(len(self.rates))
        # The cut of rates, not of shares: rounding may carry the greatest share beyond its rate.
        return tuple(np.clip(low + shares * (high - low), low, high).tolist())


def climb(society: Society, *, seed: int, step: float = 0.15, epsilon: float = 0.2) -> Principal:
    """Return hill climbing by steps of that standard deviation, in shares; with chance epsilon it goes anywhere."""

    def rule(tried: Reals, welfare: Reals, chance: Generator) -> Reals:
        if chance.random() < epsilon:
            return np.asarray(chance.random(tried.shape[1]))
        return np.asarray(tried[welfare.argmax()] + step * chance.standard_normal(tried.shape[1]))

    return Weak(rule, society.rates, seed)


def coordinate(society: Society, *, seed: int) -> Principal:
    """Return coordinate search."""

    def rule(tried: Reals, welfare: Reals, chance: Generator) -> Reals:
        shares: Reals = tried[welfare.argmax()].copy()
        shares[len(tried) % len(shares)] = chance.random()
        return shares

    return Weak(rule, society.rates, seed)


def evolve(society: Society, *, seed: int, step: float = 0.3) -> Principal:
    """Return a (1+1) evolution strategy whose step begins at that standard deviation, in shares."""

    def rule(tried: Reals, welfare: Reals, chance: Generator) -> Reals:
        gains = welfare[1:] > np.maximum.accumulate(welfare)[:-1]
        size = step * np.prod(np.where(gains, 1.5, 1.5**-0.25))  # in balance where one in five succeeds
        return np.asarray(tried[welfare.argmax()] + size * chance.standard_normal(tried.shape[1]))

    return Weak(rule, society.rates, seed)


def stride(society: Society, *, seed: int, noise: float = 0.08) -> Principal:
    """Return pattern moves, with noise of that standard deviation, in shares."""

    def rule(tried: Reals, welfare: Reals, chance: Generator) -> Reals:
        order = welfare.argsort(kind="stable")
        if len(order) == 1:
            return np.asarray(chance.random(tried.shape[1]))
        best, second = tried[order[-1]], tried[order[-2]]
        onward = chance.uniform(0, 1) * (best - second)
        return np.asarray(best + onward + noise * chance.standard_normal(len(best)))

    return Weak(rule, society.rates, seed)
