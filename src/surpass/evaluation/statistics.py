"""Intervals for means and for differences of paired arms, by resampling; vectorised over all resamples.

Sources: Efron 1979 for the percentile bootstrap; Agarwal et al. 2021 (arXiv 2108.13264) for resampling runs in small
studies. Not here: tests under a null hypothesis. `share_at_most_zero` is a share of resamples, like a one-sided p-value
but not one. With fewer than about 10 seeds every such interval is too narrow; say the number of seeds beside it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.errors import DataError

_Z = 1.959964  # of a normal 95 % interval
_AT_ONCE = 4_000_000  # resampled values held in memory at a time


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % percentile interval."""

    mean: float
    low: float
    high: float
    share_at_most_zero: float  # of the resampled means: small when the mean is surely positive


def bootstrap(values: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean of independent values [N] and its interval. Raises DataError for none, or for NaN."""
    return hierarchical(np.asarray(values, dtype=np.float64)[None], resamples=resamples, seed=seed)


def paired_bootstrap(ours: ArrayLike, theirs: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean of ours - theirs, both [seeds, problems], resampling seeds and then problems.

    Row s of both arms shares a seed and column p a problem, and they stay together: what makes a problem hard for both
    cancels. Raises DataError for unequal shapes, no values, or NaN.
    """
    left, right = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if left.shape != right.shape:
        raise DataError(f"paired arms need equal shapes [seeds, problems], found {left.shape} and {right.shape}")
    return hierarchical(left - right, resamples=resamples, seed=seed)


def hierarchical(values: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean of values [seeds, problems] and its interval, resampling seeds, then problems.

    One draw of problems is shared by all seeds of a resample: a problem is the same problem in every run. With one seed
    only the problems vary, and the interval says nothing about other seeds. Raises DataError for no values, or for NaN.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise DataError(f"expected finite values [seeds, problems], at least one of each; found shape {table.shape}")
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // sum(table.shape))
    means = np.concatenate([_means(table, min(step, resamples - i), rng) for i in range(0, resamples, step)])
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(table.mean()), float(low), float(high), float((means <= 0).mean()))


def clustered(values: ArrayLike, groups: Sequence[Hashable], *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean of values [N] and its interval, resampling whole groups: values of one group are not independent.

    Groups may differ in size; a resample's mean is that of all its values. Raises DataError for no values, unequal
    lengths, or NaN. With one group there is nothing to resample: the interval is the mean.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size or len(groups) != len(found) or not np.isfinite(found).all():
        raise DataError(
            f"expected finite values [N] and a group for each, found {found.shape} and {len(groups)} groups"
        )
    place = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    member = np.array([place[group] for group in groups])
    sums, sizes = np.bincount(member, found), np.bincount(member)
    rng, number = np.random.default_rng(seed), len(place)
    step = max(1, _AT_ONCE // number)
    means = list[NDArray[np.float64]]()
    for begin in range(0, resamples, step):
        weights = rng.multinomial(number, np.full(number, 1 / number), size=min(step, resamples - begin))
        means.append((weights @ sums) / (weights @ sizes))
    spread = np.concatenate(means)
    low, high = np.quantile(spread, [0.025, 0.975])
    return Interval(float(found.mean()), float(low), float(high), float((spread <= 0).mean()))


def wilson(share: float, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of so many independent trials (Wilson 1927); no point at 0 and 1 either.

    For means of values in [0, 1] that are no trials it is too wide, never too narrow. Raises DataError for no trials.

    >>> [round(end, 3) for end in wilson(0.0, 10)]
    [0.0, 0.278]
    """
    if number < 1 or not 0 <= share <= 1:
        raise DataError(f"expected a share in [0, 1] of at least one trial, found {share} of {number}")
    z2 = _Z**2 / number
    middle, half = share + z2 / 2, _Z * math.sqrt(share * (1 - share) / number + z2 / (4 * number))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


def _means(table: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return resampled means: a draw with replacement is a vector of counts, a mean is w_seeds' table w_problems."""
    seeds, problems = table.shape
    w_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    w_problems = rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems
    return np.asarray(np.einsum("rs,rs->r", w_seeds, w_problems @ table.T), dtype=np.float64)
