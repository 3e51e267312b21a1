"""The text of a history: one way to write it, read back exactly, and nothing else read."""

import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from surpass.domains.economy.principals.history import (
    Line,
    decimals,
    figure,
    history_text,
    line_text,
    opening,
    parse_history,
    parse_line,
    parse_opening,
    rates_text,
    rounded,
)
from surpass.domains.economy.society import Rate, SettledRoom, read
from surpass.errors import ConfigError, DataError

TWO = (Rate("tax"), Rate("fine", 0, 5))
finite = st.floats(-1e12, 1e12, allow_nan=False)
names = st.sampled_from(["lever", "live lever 2", "x", "ä$ ->"])
words = st.sampled_from(["", "two at the door", " ; 1. [a 2] $0.5$ ->\t3", "line\nends"])
bounds = st.tuples(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))


@st.composite
def histories(draw: st.DrawFn) -> tuple[tuple[Rate, ...], list[Line]]:
    expected = tuple(
        Rate(f"r{i}", low, low + width) for i, (low, width) in enumerate(draw(st.lists(bounds, max_size=5)))
    )
    expected = expected or TWO
    lines = []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        rates = tuple(draw(st.floats(rate.low, rate.high)) for rate in expected)
        context = tuple(draw(st.lists(st.tuples(names, finite), max_size=2)))
        lines.append(Line(number, context, rates, draw(finite), draw(words)))
    return expected, lines


@settings(suppress_health_check=[HealthCheck.too_slow])  # where others share the processor
@given(histories())
@example((TWO, [Line(1, (("lever", 0.99999),), (0.0, 0.0), 999.6)]))
def test_what_is_read_is_written_alike(history: tuple[tuple[Rate, ...], list[Line]]) -> None:
    expected, lines = history
    text = history_text(lines, expected)
    found = parse_history(text, expected)
    assert history_text(found, expected) == text
    for line, told in zip(lines, found, strict=True):
        assert told.number == line.number
        assert told.rates == rounded(line.rates, expected)
        assert told.welfare == pytest.approx(line.welfare, rel=0.0051)
        assert [name for name, _ in told.context] == [name for name, _ in line.context]
        assert told.words == " ".join(line.words.split())


@given(bounds, st.floats(0, 1))
def test_a_written_rate_is_within_its_range_and_near(bound: tuple[float, float], share: float) -> None:
    rate = Rate("tax", bound[0], bound[0] + bound[1])
    value = min(rate.high, rate.low + share * (rate.high - rate.low))
    told = read(rates_text((value,), (rate,)), (rate,))
    assert isinstance(told, tuple), told
    assert abs(told[0] - value) <= 1.01 * 10.0 ** -decimals(rate)
    assert 10.0 ** -decimals(rate) <= max(1.0, 0.01 * (rate.high - rate.low))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text("0123. [a1]$->;en+\n", max_size=60))
def test_any_other_text_is_refused_or_means_what_it_says(text: str) -> None:
    try:
        lines = parse_history(text, TWO)
    except DataError:
        return
    assert all(len(line.rates) == 2 and math.isfinite(line.welfare) for line in lines)


@given(finite)
def test_three_digits_are_their_own_text(value: float) -> None:
    assert figure(float(figure(value))) == figure(value)
    assert float(figure(value)) == pytest.approx(value, rel=0.0051, abs=1e-300)


def test_the_line_of_the_escape_room() -> None:
    room = SettledRoom()
    rates = room.best_rates(3)
    metrics = room.step(rates, seed=3)
    lever = int(room.context(3)[0][1])
    text = line_text(Line(3, room.context(3), rates, metrics.welfare, "two at the lever"), room.rates)
    paid = " ".join("2.00" if place == lever - 1 else "0.00" for place in range(5))
    assert text == f"3. [live lever {lever}] ${paid}$ -> 140; two at the lever"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected `3. "),
        ("0. $0.50 1.00$ -> 1", "expected `3. "),
        ("1. $0.50$ -> 1", "expected 2 numbers"),
        ("1. $0.50 5.01$ -> 1", "fine: expected a number from 0 to 5"),
        ("1. $0.50 nan$ -> 1", "expected 2 numbers"),
        ("1. $0.50 1.00$ -> nan", "expected a finite number"),
        ("1. $0.50 1.00$ -> 1e999", "expected a finite number"),
        ("1. [lever two] $0.50 1.00$ -> 1", "expected a finite number"),
        ("1. [2] $0.50 1.00$ -> 1", "expected contexts"),
        ("1. $0.50 1.00$ -> 1\n", "expected `3. "),
    ],
)
def test_a_bad_line_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason.replace("[", r"\[")):
        parse_line(text, TWO)


def test_a_bad_line_of_a_history_is_named() -> None:
    with pytest.raises(DataError, match="line 2: history"):
        parse_history("1. $0.50 1.00$ -> 1\n\n", TWO)


def test_the_beginning_of_a_line_is_read_back() -> None:
    context = (("live lever", 2.0), ("season", 0.25))
    assert opening(7, context) == "7. [live lever 2] [season 0.250] "
    assert parse_opening(opening(7, context)) == (7, context)
    for text in ("", "7.", "7. [lever 2]", "7. $0.50$", "07. "):
        with pytest.raises(DataError, match="expected `3"):
            parse_opening(text)


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigError, match="tax: expected"):
        rates_text((1.2, 0), TWO)
    for name in ("a]", "two\nlines", "", "tail "):
        with pytest.raises(DataError, match="expected the name of a context"):
            opening(1, ((name, 1.0),))
    with pytest.raises(DataError, match="finite"):
        figure(math.inf)
