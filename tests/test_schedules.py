from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.errors import ConfigError
from surpass.schedules import Constant, Cosine, Linear

NUMBERS = st.floats(-1e6, 1e6)


@given(NUMBERS, NUMBERS, st.integers(1, 10_000), st.integers(0, 20_000))
def test_ramps_meet_both_ends_and_never_leave_them(start: float, end: float, steps: int, step: int) -> None:
    for ramp in (Linear(start, end, steps), Cosine(start, end, steps)):
        assert ramp(0) == pytest.approx(start)
        assert ramp(steps) == ramp(steps + step) == end
        slack = 1e-9 * (abs(start) + abs(end))
        assert min(start, end) - slack <= ramp(step) <= max(start, end) + slack
        middle = (ramp(step) - ramp(step + 1)) * (start - end)
        assert middle >= -slack * (abs(start) + abs(end))  # it goes one way
        assert pickle.loads(pickle.dumps(ramp)) == ramp


def test_a_cosine_is_slow_at_both_ends() -> None:
    straight, round_ = Linear(0.0, 1.0, 100), Cosine(0.0, 1.0, 100)
    assert round_(10) < straight(10) / 2
    assert 1 - round_(90) < (1 - straight(90)) / 2
    assert round_(50) == pytest.approx(straight(50))
    assert Constant(0.3)(0) == Constant(0.3)(10**9) == 0.3


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_a_ramp_needs_a_step(kind: type[Linear] | type[Cosine]) -> None:
    with pytest.raises(ConfigError, match="at least one step, found 0"):
        kind(0.0, 1.0, 0)
