from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.errors import DataError
from surpass.evaluation.pareto import dominates, hypervolume, pareto_front

WHOLE = st.integers(0, 5)


def cells(points: list[tuple[int, ...]], size: int = 5) -> int:
    """The volume by counting unit cells: a cell is dominated where some point reaches beyond it everywhere."""
    dimensions = len(points[0])
    return sum(
        any(all(x > corner for x, corner in zip(point, cell, strict=True)) for point in points)
        for cell in itertools.product(range(size), repeat=dimensions)
    )


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_the_volume_is_that_of_the_dominated_cells(dimensions: int) -> None:
    @given(st.lists(st.tuples(*[WHOLE] * dimensions), min_size=1, max_size=6))
    def check(points: list[tuple[int, ...]]) -> None:
        assert hypervolume(points, (0,) * dimensions) == cells(points)
        moved = [tuple(2.0 * x - 7 for x in point) for point in points]
        assert hypervolume(moved, (-7.0,) * dimensions) == pytest.approx(2**dimensions * cells(points))

    check()


@given(st.lists(st.tuples(WHOLE, WHOLE, WHOLE), max_size=8))
def test_the_front_is_what_nothing_dominates_and_all_else_is_dominated(points: list[tuple[int, ...]]) -> None:
    front = pareto_front(points)
    assert front == sorted(set(front))
    for index, point in enumerate(points):
        beaten = any(dominates(points[other], point) for other in front)
        assert beaten or tuple(point) in {tuple(points[other]) for other in front}
        assert not (beaten and index in front)
    assert len({points[index] for index in front}) == len(front)  # of equal points one


def test_edges() -> None:
    assert pareto_front([]) == []
    assert hypervolume([], (0, 0)) == 0
    assert hypervolume([(1, -1), (-1, 5)], (0, 0)) == 0  # below the reference somewhere
    assert hypervolume([(2,)], (0.5,)) == 1.5
    assert pareto_front([(math.inf, 0), (0, 1)]) == [0, 1]
    assert not dominates((1, 2), (1, 2))
    with pytest.raises(DataError, match="lengths \\[1, 2\\]"):
        hypervolume([(1,)], (0, 0))
    with pytest.raises(DataError, match="NaN"):
        pareto_front([(math.nan, 1)])
    with pytest.raises(DataError, match="infinity"):
        hypervolume([(math.inf, 1)], (0, 0))
