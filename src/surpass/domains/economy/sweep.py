"""Which fixed rates are best: many policies, each with the same seeds, and the table of what came of them.

    table = grid(society, lattice(society.rates, 3), seeds=range(4))     # 27 policies of three rates, 4 terms each
    found = best(table)                                                   # the policy of greatest mean welfare
    table += grid(society, around(found.rates, society.rates, 0.25), seeds=range(4))

The best of many noisy means is too high a number: judge it again, on seeds that did not choose it.
Not here: who searches (principals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from surpass.domains.economy.society import Metrics, Rate, Society, checked, terms
from surpass.errors import ConfigError

Rates = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One policy and what its terms came to, one for each seed."""

    rates: Rates
    seeds: tuple[int, ...]
    metrics: tuple[Metrics, ...]

    @property
    def welfare(self) -> float:
        """The mean over seeds."""
        return float(np.mean([one.welfare for one in self.metrics]))

    @property
    def error(self) -> float:
        """The standard error of the mean; NaN for one seed."""
        count = len(self.metrics)
        return (
            float(np.std([one.welfare for one in self.metrics], ddof=1) / math.sqrt(count)) if count > 1 else math.nan
        )


def grid(
    society: Society,
    points: Iterable[Sequence[float]],
    seeds: Iterable[int],
    *,
    batch: int = 16,
    tell: Callable[[Point], None] = lambda _: None,
) -> tuple[Point, ...]:
    """Play a term of every policy with every seed, whole policies of about `batch` terms at once; `tell` each as it is.

    Every policy meets the same seeds, so that differences are of policies. Raises ConfigError for rates out of range,
    before anything is played, and for no policy or no seed; SocietyError where the society gives no answer.
    """
    chosen, drawn = [checked(one, society.rates) for one in points], tuple(seeds)
    if not chosen or not drawn or batch < 1:
        raise ConfigError(
            f"points, seeds, batch: expected 1 or more of each, found {len(chosen)}, {len(drawn)}, {batch}"
        )
    at_once, table = max(1, batch // len(drawn)), list[Point]()
    for start in range(0, len(chosen), at_once):
        part = chosen[start : start + at_once]
        told = terms(society, [one for one in part for _ in drawn], [*drawn] * len(part))
        for index, one in enumerate(part):
            table.append(Point(one, drawn, told[index * len(drawn) : (index + 1) * len(drawn)]))
            tell(table[-1])
    return tuple(table)


def lattice(rates: Sequence[Rate], values: int) -> list[Rates]:
    """Return all policies whose rates are among `values` equally spaced ones, ends included.

    >>> lattice([Rate("tax"), Rate("fine", 0, 2)], 2)
    [(0.0, 0.0), (0.0, 2.0), (1.0, 0.0), (1.0, 2.0)]
    """
    if values < 2:
        raise ConfigError(f"values: expected 2 or more, found {values}")
    return list(product(*(np.linspace(rate.low, rate.high, values).tolist() for rate in rates)))


def around(point: Sequence[float], rates: Sequence[Rate], step: float) -> list[Rates]:
    """Return the neighbours of a policy: each rate kept, or moved by `step` of its range, where it stays in range.

    >>> around((0.5, 0.0), [Rate("tax"), Rate("fine", 0, 2)], 0.25)
    [(0.25, 0.0), (0.25, 0.5), (0.5, 0.5), (0.75, 0.0), (0.75, 0.5)]
    """
    if not 0 < step <= 1:
        raise ConfigError(f"step: expected a fraction of the range above 0, found {step}")
    centre = checked(point, rates)
    moves = [
        [one for one in (at - step * (rate.high - rate.low), at, at + step * (rate.high - rate.low)) if rate.holds(one)]
        for at, rate in zip(centre, rates, strict=True)
    ]
    return [one for one in product(*moves) if one != centre]


def best(table: Iterable[Point]) -> Point:
    """Return the policy of greatest mean welfare, the first of equals."""
    return max(table, key=lambda point: point.welfare)
