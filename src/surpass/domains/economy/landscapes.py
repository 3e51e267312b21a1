"""Synthetic response surfaces with known optima, in families: policymakers learn on some and are judged on others.

A height is a function of shares (the place of each rate in its range, 0 to 1): 1 at the best rates, 0 on average over
all. Welfare is offset + scale * (height + noise * N(0, 1)), so the same number is good here and bad there. In some, a
context is drawn each term, and says which rate plays which part. `LEARNED` are for training and `HELD_OUT` for tests;
`surface` of `society.py` is a bowl, and so learned. Not here: societies of agents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator

from surpass.domains.economy.accounting import Reals
from surpass.domains.economy.society import Metrics, Rate, checked
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed

Height = Callable[[Reals], Reals]  # shares [n, rates] -> [n]
SAMPLES = 512  # uniform shares from which the mean of a height is estimated


@dataclass(frozen=True, slots=True)
class Landscape:
    """A response surface as a `Society`. Rates run from 0 to `high`."""

    family: str
    height: Height
    best: tuple[float, ...]  # shares whose height is 1, where context 1 holds
    parts: tuple[tuple[int, ...], ...]  # for each context, which rate plays part 0, 1, ...
    scale: float = 1.0
    offset: float = 0.0
    noise: float = 0.0  # standard deviation, in heights
    high: float = 1.0

    @property
    def rates(self) -> tuple[Rate, ...]:
        return tuple(Rate(f"rate {index + 1}", 0.0, self.high) for index in range(len(self.best)))

    def context(self, seed: int) -> tuple[tuple[str, float], ...]:
        if len(self.parts) == 1:
            return ()
        return (("kind", float(1 + derive_seed(seed, "kind") % len(self.parts))),)

    def best_rates(self, seed: int) -> tuple[float, ...]:
        """Return the rates of greatest expected welfare in the context of a seed."""
        rates = [0.0] * len(self.best)
        for part, rate in enumerate(self._parts(seed)):
            rates[rate] = self.high * self.best[part]
        return tuple(rates)

    def reached(self, rates: Sequence[float], seed: int) -> float:
        """Return the height of rates, without noise: 1 is best, 0 what uniform rates come to on average."""
        shares = np.array(checked(rates, self.rates)) / self.high
        return float(self.height(shares[None, list(self._parts(seed))])[0])

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        shock = self.noise * np.random.default_rng(derive_seed(seed, "noise")).standard_normal() if self.noise else 0.0
        return Metrics(float(self.offset + self.scale * (self.reached(rates, seed) + shock)))

    def _parts(self, seed: int) -> tuple[int, ...]:
        context = self.context(seed)
        return self.parts[int(context[0][1]) - 1] if context else self.parts[0]


def landscape(seed: int, families: Sequence[str], *, rates: Sequence[int] = (1, 2, 3, 4, 5)) -> Landscape:
    """Draw a landscape: a family, how many rates, noise, contexts, scale and offset. Raises ConfigError for no family.

    Half of them have no noise, the others up to a tenth of the height; a third of those with two rates or more have two
    or three contexts.
    """
    unknown = [name for name in families if name not in FAMILIES]
    if not families or unknown:
        raise ConfigError(f"families: expected some of {', '.join(FAMILIES)}, found {unknown or 'none'}")
    chance = np.random.default_rng(derive_seed("landscape", seed))
    family = families[int(chance.integers(len(families)))]
    count = rates[int(chance.integers(len(rates)))]
    raw, best = FAMILIES[family](chance, count)
    centre = raw(chance.random((SAMPLES, count))).mean()
    top = float(raw(best[None])[0])
    kinds = int(chance.integers(2, 4)) if count > 1 and chance.random() < 1 / 3 else 1
    parts = [tuple(range(count)), *(tuple(chance.permutation(count).tolist()) for _ in range(kinds - 1))]
    return Landscape(
        family,
        lambda shares: (raw(shares) - centre) / (top - centre),
        tuple(best.tolist()),
        tuple(parts),
        scale=float(np.exp(chance.uniform(-3, 6))),
        offset=float(chance.normal() * np.exp(chance.uniform(-3, 6))),
        noise=float(chance.uniform(0, 0.1)) if chance.random() < 0.5 else 0.0,
        high=float(chance.choice([1.0, 1.0, 3.0, 5.0])),
    )


def _turned(chance: Generator, count: int, low: float, high: float) -> Reals:
    """Return a positive definite matrix with eigenvalues from low to high, evenly in their logarithm."""
    axes, _ = np.linalg.qr(chance.standard_normal((count, count)))
    return np.asarray(axes @ np.diag(np.exp(chance.uniform(math.log(low), math.log(high), count))) @ axes.T)


def _bowl(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a quadratic with its best rates anywhere."""
    best, matrix = chance.random(count), _turned(chance, count, 1, 30)
    return lambda x: -np.einsum("ni,ij,nj->n", x - best, matrix, x - best), best


def _ridge(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a sharp ridge along a random direction, and a gentle slope towards its best point."""
    best, across = chance.random(count), chance.standard_normal(count)
    across /= np.linalg.norm(across)
    gentle = chance.uniform(0.1, 0.5)
    return lambda x: -np.abs((x - best) @ across) - gentle * np.square(x - best).sum(1), best


def _bump(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a peak on a plain."""
    best, matrix = chance.random(count), _turned(chance, count, 3, 20)
    return lambda x: np.exp(-np.einsum("ni,ij,nj->n", x - best, matrix, x - best) / 2), best


def _plateau(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a slope up to a flat top."""
    best, radius, matrix = chance.random(count), chance.uniform(0.1, 0.4), _turned(chance, count, 1, 10)
    return lambda x: -np.maximum(0, np.sqrt(np.einsum("ni,ij,nj->n", x - best, matrix, x - best)) - radius), best


def _powers(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a sum over rates of powers from 0.5 (a needle) to 3 (almost flat at the top)."""
    best, weight, power = chance.random(count), np.exp(chance.normal(size=count)), chance.uniform(0.5, 3, count)
    return lambda x: -(weight * np.abs(x - best) ** power).sum(1), best


def _twins(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return two peaks, one lower than the other."""
    best, other = chance.random(count), chance.random(count)
    first, second, lower = (chance.uniform(5, 20), chance.uniform(5, 20), chance.uniform(0.4, 0.85))
    return lambda x: np.maximum(
        np.exp(-first * np.square(x - best).sum(1)), lower * np.exp(-second * np.square(x - other).sum(1))
    ), best


def _waves(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a smooth random function: many waves of random direction. Its best rates are searched for."""
    frequency, phase = chance.normal(0, 2.5, (64, count)), chance.uniform(0, 2 * math.pi, 64)

    def raw(x: Reals) -> Reals:
        return np.asarray(np.cos(x @ frequency.T + phase).sum(1))

    tried, width = chance.random((4096, count)), 0.1
    best = tried[raw(tried).argmax()]
    while width > 1e-4:
        tried = np.clip(best + width * chance.standard_normal((256, count)), 0, 1)
        width *= 0.7
        best = max(best, tried[raw(tried).argmax()], key=lambda one: float(raw(one[None])[0]))
    return raw, best


def _revenue(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a product of x^a (1 - x)^b: nothing at either end, as a tax's revenue, and lopsided between."""
    left, right = chance.uniform(0.3, 3, count), chance.uniform(0.3, 3, count)
    return lambda x: np.asarray(np.prod(x**left * (1 - x) ** right, axis=1)), left / (left + right)


def _cliff(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return what rises with each rate up to a limit of its own, beyond which it falls at once and then slowly."""
    best, slope = chance.uniform(0.2, 0.95, count), np.exp(chance.normal(0, 0.5, count))
    drop, beyond = chance.uniform(0.2, 0.8, count), chance.uniform(0, 1, count)

    def raw(x: Reals) -> Reals:
        over = x - best
        return np.asarray(-np.where(over > 0, drop + beyond * over, -slope * over).sum(1))

    return raw, best


def _corner(chance: Generator, count: int) -> tuple[Height, Reals]:
    """Return a sum of rates and of their products, with random signs: best at a corner."""
    linear, pairs = chance.normal(size=count), np.triu(chance.normal(size=(count, count)), 1)

    def raw(x: Reals) -> Reals:
        return np.asarray(x @ linear + np.einsum("ni,ij,nj->n", x, pairs, x))

    corners = np.array(list(itertools.product((0.0, 1.0), repeat=count)))
    return raw, corners[raw(corners).argmax()]


FAMILIES: Mapping[str, Callable[[Generator, int], tuple[Height, Reals]]] = MappingProxyType(
    {
        "bowl": _bowl,
        "ridge": _ridge,
        "bump": _bump,
        "plateau": _plateau,
        "powers": _powers,
        "twins": _twins,
        "waves": _waves,
        "revenue": _revenue,
        "cliff": _cliff,
        "corner": _corner,
    }
)
LEARNED = ("bowl", "ridge", "bump", "plateau", "powers", "twins")
HELD_OUT = ("waves", "revenue", "cliff", "corner")
