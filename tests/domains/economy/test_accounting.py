"""Taxes and incentives against the paper's arithmetic, and what an account must satisfy whatever the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from surpass.domains.economy.accounting import (
    ATE,
    CLEANED,
    NEITHER,
    Brackets,
    account,
    equality,
    gini,
    incomes,
    pay_by_deed,
    pay_by_state,
    tax,
)
from surpass.errors import ConfigError

NOBODY = np.zeros(7)


def test_one_apple_under_the_papers_tax() -> None:
    """Brackets [0, 3), [3, 5), [5, inf); four times the rate; everybody gets a seventh."""
    raw = np.zeros(7)
    raw[2] = 1
    for income, rate in ((0, 0.1), (1, 0.1), (2, 0.1), (3, 0.2), (4, 0.2), (5, 1.0), (10, 1.0)):
        found = tax(raw, np.full(7, income), [0.1, 0.2, 1.0])
        assert found.reward[2] == pytest.approx(1 - 24 * rate / 7, abs=1e-8)
        assert found.reward[0] == pytest.approx(4 * rate / 7, abs=1e-8)
    assert tax(raw, raw, [7 / 24, 0, 0]).reward[2] == pytest.approx(0, abs=1e-8)


def test_income_is_that_of_this_step_and_ten_before() -> None:
    raw = np.ones((15, 2))
    assert incomes(raw, 10)[:, 0].tolist() == [*range(1, 12), 11, 11, 11, 11]
    assert incomes(raw, 0)[:, 0].tolist() == [1] * 15
    assert incomes(raw[:3], 10)[:, 1].tolist() == [1, 2, 3]


@given(
    arrays(np.int8, st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(2, 7)), elements=st.integers(0, 2)),
    st.data(),
)
def test_taxes_sum_to_zero_exactly(raw: NDArray[np.int8], data: st.DataObject) -> None:
    rates = data.draw(arrays(np.float64, (raw.shape[1], 3), elements=st.floats(0, 1)))
    found = tax(raw, incomes(raw, 10), rates)
    assert ((found.received - found.paid).sum(-1) == 0).all()
    assert (found.reward.sum(-1) == raw.sum(-1)).all()
    assert (np.ptp(found.received, axis=-1) <= 2**-32).all(), "equal shares"
    summed = account(found)
    assert (summed.cost == 0).all()
    assert np.allclose(summed.welfare, raw.sum(0).mean(-1))
    assert (found.paid[np.asarray(raw) == 0] == 0).all()


def test_deeds_of_clean_up() -> None:
    found = pay_by_deed([1, 0, 0, 0, 1, 2], [0, 1, 3, 0, 1, 0], [3.0, 2.0, 1.0])
    assert found.deed.tolist() == [ATE, CLEANED, CLEANED, NEITHER, ATE, ATE]
    assert found.raw.tolist() == [0.1, -1, -1, 0, 0.1, 0.2]
    assert found.received.tolist() == [3, 2, 2, 1, 3, 3]
    assert found.reward.tolist() == [3.1, 1, 1, 1, 3.1, 3.2]
    authors = pay_by_deed([1, 0, 0], [0, 1, 3], [3.0, 2.0, 1.0], one_cell=True)
    assert authors.deed.tolist() == [ATE, CLEANED, NEITHER]
    assert account(pay_by_deed([[1, 0], [0, 0]], [[0, 1], [0, 0]], [1, 2, 0])).cost == 3


def test_rates_may_differ_by_game() -> None:
    raw = np.eye(2, 7)
    found = tax(raw, raw, [[0.5, 0, 0], [0.25, 0, 0]])
    assert [found.paid[0, 0], found.paid[1, 1]] == [2, 1]
    paid = pay_by_state(np.zeros((2, 3)), [[0, 1, 1], [1, 1, 0]], [[1.0, 2.0], [3.0, 4.0]]).received
    assert paid.tolist() == [[1, 2, 2], [4, 4, 3]]


@pytest.mark.parametrize(
    ("rates", "names"),
    [
        ([0.1, 1.5, 0], r"rates\[1\]: expected a number from 0 to 1, found 1.5"),
        ([-0.1, 0, 0], r"rates\[0\]"),
        ([0, 0, math.nan], r"rates\[2\].*found nan"),
        ([0, 0, math.inf], r"rates\[2\]"),
        ([[0, 0, 0], [0, 2, 0]], r"rates\[1, 1\]"),
        ([0, 0], "expected 3 numbers"),
        (0.5, "expected 3 numbers"),
        (["a", "b", "c"], "expected 3 numbers"),
        ([[0, 0], [0]], "expected 3 numbers"),
    ],
)
def test_rates_that_cannot_be(rates: object, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        tax(NOBODY, NOBODY, rates)  # type: ignore[arg-type]


def test_a_population_of_one_and_numbers_that_are_none() -> None:
    with pytest.raises(ConfigError, match="2 or more agents"):
        tax([1], [1], [0, 0, 0])
    with pytest.raises(ConfigError, match="cleaned: expected finite"):
        pay_by_deed([0, 0], [0, math.nan], [0, 0, 0])
    with pytest.raises(ConfigError, match="one for each place"):
        pay_by_state([0, 0], [0, 3], [1, 1, 1])
    with pytest.raises(ConfigError, match="places: expected whole numbers from 0, found -1"):
        pay_by_state([0, 0], [0, -1], [1, 1, 1])
    for few in ([1], [], 1):
        with pytest.raises(ConfigError, match="values: expected 2 or more agents"):
            equality(few)
    windows = ({"window": -1}, {"window": 1.5}, {"window": math.nan})
    for wrong in ({"edges": (5.0, 3.0)}, {"edges": (math.nan,)}, *windows, {"scale": math.inf}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Brackets(**wrong)


def test_gini_and_equality() -> None:
    assert gini([1, 2, 3, 4]) == pytest.approx(0.25)
    assert equality([0, 0, 0, 8]) == 0
    assert equality([2, 2]) == 1
    assert np.isnan(gini([0, 0, 0]))
    assert np.isnan(gini([-1, 2, 3]))
    assert gini([[1, 1], [0, 1]]).tolist() == [0, 0.5]
