"""Measures of keeping and gaining: against their definitions on small tables, and what they must do at the extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from surpass.errors import DataError
from surpass.evaluation.lifelong import lifelong

SHARES = st.floats(0.01, 1.0)


@st.composite
def squares(draw: st.DrawFn) -> NDArray[np.float64]:
    k = draw(st.integers(2, 5))
    return np.array(draw(st.lists(st.lists(SHARES, min_size=k, max_size=k), min_size=k, max_size=k)))


def test_three_tasks_by_hand() -> None:
    table = [[0.6, 0.1, 0.0], [0.4, 0.5, 0.1], [0.5, 0.2, 0.7]]
    found = lifelong(table, window=2)
    assert math.isclose(found["forgetting"], ((0.6 - 0.5) + (0.5 - 0.2)) / 2)
    assert math.isclose(found["backward"], ((0.4 - 0.6) + (0.5 - 0.6) + (0.2 - 0.5)) / 3)
    assert math.isclose(found["plasticity"], ((0.5 - 0.1) + (0.7 - 0.1)) / 2)
    assert math.isclose(found["incremental"], ((0.5 - 0.6) + (0.7 - 0.5)) / 2)
    seen = [0.6, 0.45, 1.4 / 3]
    assert math.isclose(found["windowed_forgetting"], 0.15)
    assert math.isclose(found["windowed_plasticity"], seen[2] - seen[1])
    assert math.isclose(found["resilience"], 0.45 / 0.6)
    assert math.isclose(found["final"], 1.4 / 3)
    assert math.isclose(lifelong(table, window=3)["windowed_forgetting"], 0.15)


@given(squares())
def test_with_two_tasks_forgetting_is_negative_backward_transfer(table: NDArray[np.float64]) -> None:
    found = lifelong(table[:2, :2])
    assert math.isclose(found["forgetting"], -found["backward"], abs_tol=1e-9)


@given(squares())
def test_whoever_keeps_all_forgets_nothing(table: NDArray[np.float64]) -> None:
    kept = np.maximum.accumulate(table, axis=0)  # no task ever gets worse
    found = lifelong(kept)
    assert found["forgetting"] <= 1e-12
    assert found["backward"] >= -1e-12
    assert lifelong(np.tile(table[0], (len(table), 1)))["plasticity"] == 0


@given(squares(), st.floats(0.0, 0.009))
def test_a_loss_on_an_earlier_task_shows_in_all_measures_of_stability(table: NDArray[np.float64], drop: float) -> None:
    worse = table.copy()
    worse[-1, 0] -= drop
    before, after = lifelong(table), lifelong(worse)
    assert math.isclose(after["forgetting"] - before["forgetting"], drop / (len(table) - 1), abs_tol=1e-9)
    assert after["backward"] <= before["backward"]
    assert after["windowed_forgetting"] >= before["windowed_forgetting"] - 1e-12


@pytest.mark.parametrize("table", [[[0.5]], [[0.5, 0.1]], [[0.5, math.nan], [0.1, 0.2]], 0.5])
def test_what_is_no_table_is_refused(table: object) -> None:
    with pytest.raises(DataError, match="expected finite R"):
        lifelong(table)  # type: ignore[arg-type]
