"""Principals that learn nothing: the same rates always, and rates as chance has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surpass.domains.economy.principals.principal import Principal, Rates
from surpass.domains.economy.society import Context, Rate, Society, Term, checked
from surpass.rollouts.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same rates."""

    rates: Rates

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        return self.rates


@dataclass(frozen=True, slots=True)
class Uniform:
    """Rates drawn anew for each term, uniform over their ranges."""

    rates: tuple[Rate, ...]
    seed: int

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        chance = np.random.default_rng(derive_seed(self.seed, len(history)))
        return tuple(float(chance.uniform(rate.low, rate.high)) for rate in self.rates)


def fixed(society: Society, *, seed: int, rates: Sequence[float] | None = None) -> Principal:
    """Return the principal of fixed rates, by default the lowest: no policy. Raises ConfigError where out of range."""
    lowest = [rate.low for rate in society.rates]
    return Fixed(checked(lowest if rates is None else rates, society.rates))


def uniform(society: Society, *, seed: int) -> Principal:
    """Return the principal that draws."""
    return Uniform(society.rates, seed)
