"""Pareto fronts and the volume they dominate; in every objective more is better.

Source of the volume: inclusion of one point at a time, as in While et al. 2012 ("A fast way of calculating exact
hypervolumes"). Exact; exponential in the number of points where there are many objectives, n log n for two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from surpass.errors import DataError

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is nowhere below `b` and somewhere above it."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other dominates, in order; of equal points the first.

    Raises DataError for points of different lengths or with numbers that are NaN.

    >>> pareto_front([(1, 3), (2, 2), (1, 2), (3, 0), (2, 2)])
    [0, 1, 3]
    """
    _check(points)
    first = {tuple(point): index for index, point in reversed(list(enumerate(points)))}
    return sorted(i for point, i in first.items() if not any(dominates(other, point) for other in first))


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the volume of what is dominated by some point and dominates `reference`; points below it add nothing.

    Raises DataError for points of different lengths or with numbers that are not finite.

    >>> hypervolume([(1, 3), (2, 2), (3, 0)], (0, 0))
    5.0
    """
    _check([*points, reference])
    if not all(math.isfinite(value) for point in [*points, reference] for value in point):
        raise DataError("hypervolume: expected finite numbers, found an infinity")
    above = [tuple(x - y for x, y in zip(point, reference, strict=True)) for point in points]
    return _volume([point for point in above if min(point) > 0])


def _volume(points: Sequence[tuple[float, ...]]) -> float:
    """Return the volume between the origin and the points: that of each which no later one covers, in sum."""
    front = sorted((points[index] for index in pareto_front(points)), reverse=True)
    if front and len(front[0]) == 2:
        heights = [0.0, *(y for _, y in front)]
        return math.fsum(x * (y - below) for (x, y), below in zip(front, heights, strict=False))
    parts = []
    for index, point in enumerate(front):
        covered = [tuple(min(pair) for pair in zip(point, other, strict=True)) for other in front[index + 1 :]]
        parts.append(math.prod(point) - _volume(covered))
    return math.fsum(parts)


def _check(points: Sequence[Point]) -> None:
    if len({len(point) for point in points}) > 1 or any(not len(point) for point in points):
        raise DataError(f"expected points of one length, found lengths {sorted({len(point) for point in points})}")
    if any(math.isnan(value) for point in points for value in point):
        raise DataError("expected points without NaN; drop what is not known first")
