"""A history as text, one line a term: what policymakers that read and write text are shown, and its parser.

    3. [live lever 2] $0.50 0.35 1.00$ -> 47.2; 2 agents at the door

The number of the term, its context, the rates between `$`, the welfare that came of them, and in words what else was
seen. Numbers have one way to be written, so equal histories are equal texts. A rate has as many decimals as tell apart
hundredths of its range (0 to 1 and 0 to 5: two; 0 to 200: none). Welfare and contexts have three significant digits,
but a context that is a whole number has no decimals.
Not here: what else stands in a prompt, and who reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from surpass.domains.economy.society import NUMBER, Context, Rate, checked, read
from surpass.errors import DataError

PLAIN = (1e-4, 1e7)  # sizes that are written without an exponent
ITEM = re.compile(r"\[([^\[\]\n]*[^\[\]\s]) ([^\[\] \n]+)\] ")
OPENING = re.compile(r"([1-9][0-9]{0,8})\. ((?:\[[^\[\]\n]*\] )*)")
ANSWER = re.compile(r"(\$[^$\n]*\$) -> ([^ ;\n]+)(?:; ([^\n]+))?")


@dataclass(frozen=True, slots=True)
class Line:
    """One term, as its text tells it."""

    number: int  # from 1
    context: Context
    rates: tuple[float, ...]
    welfare: float
    words: str = ""  # what else was seen


def figure(value: float) -> str:
    """Return a number to three significant digits.

    >>> [figure(value) for value in (47.19, 140, 0.5, -0.0312, 12345, 0, 3e9)]
    ['47.2', '140', '0.500', '-0.0312', '12300', '0', '3.00e+09']
    """
    if not math.isfinite(value):
        raise DataError(f"history: expected a finite number, found {value}")
    short = f"{value:.2e}"
    rounded = float(short)
    if rounded == 0:
        return "0"
    if not PLAIN[0] <= abs(rounded) < PLAIN[1]:
        return short
    return f"{rounded:.{max(0, 2 - int(short.partition('e')[2]))}f}"


def decimals(rate: Rate) -> int:
    """Return how many decimals tell apart hundredths of a rate's range."""
    return max(0, 2 - math.floor(math.log10(rate.high - rate.low)))


def rounded(rates: Sequence[float], expected: Sequence[Rate]) -> tuple[float, ...]:
    """Return rates as their text says them, within their ranges. Raises ConfigError for rates out of range.

    >>> rounded((0.123, 2.5), (Rate("tax"), Rate("fine", 0, 400)))
    (0.12, 2.0)
    """
    return tuple(map(_rounded, checked(rates, expected), expected))


def rates_text(rates: Sequence[float], expected: Sequence[Rate]) -> str:
    """Return rates between `$`, as `society.read` takes them. Raises ConfigError for rates out of range.

    >>> rates_text((0.5, 1), (Rate("tax"), Rate("fine", 0, 5)))
    '$0.50 1.00$'
    """
    written = (f"{value:.{decimals(rate)}f}" for value, rate in zip(rounded(rates, expected), expected, strict=True))
    return f"${' '.join(written)}$"


def opening(number: int, context: Context) -> str:
    """Return how the line of a term begins before its rates are chosen.

    >>> opening(3, (("live lever", 2.0),))
    '3. [live lever 2] '
    """
    items = [f"[{name} {_value(value)}] " for name, value in context]
    for item, (name, _) in zip(items, context, strict=True):
        if not ITEM.fullmatch(item):
            raise DataError(f"history: expected the name of a context without brackets or line ends, found {name!r}")
    return f"{number}. {''.join(items)}"


def line_text(line: Line, expected: Sequence[Rate]) -> str:
    """Return the text of a term, without an end of line; runs of white space in its words become one blank."""
    words = " ".join(line.words.split())
    chosen = f"{opening(line.number, line.context)}{rates_text(line.rates, expected)} -> {figure(line.welfare)}"
    return f"{chosen}; {words}" if words else chosen


def history_text(lines: Iterable[Line], expected: Sequence[Rate]) -> str:
    """Return the text of a history; each line ends in an end of line."""
    return "".join(f"{line_text(line, expected)}\n" for line in lines)


def parse_opening(text: str) -> tuple[int, Context]:
    """Return the number of a term and its context. Raises DataError for any other text."""
    found = OPENING.fullmatch(text)
    if not found:
        raise DataError(f"history: expected `3. [context 1] `, found {text[:80]!r}")
    items = ITEM.findall(found[2])
    if "".join(f"[{name} {value}] " for name, value in items) != found[2]:
        raise DataError(f"history: expected contexts `[name number]`, found {found[2][:80]!r}")
    return int(found[1]), tuple((name, _number(value)) for name, value in items)


def parse_line(text: str, expected: Sequence[Rate]) -> Line:
    """Return the term that a line tells. Raises DataError for any other text, and for rates out of range."""
    begin = OPENING.match(text)
    answer = ANSWER.fullmatch(text, begin.end()) if begin else None
    if not begin or not answer:
        raise DataError(f"history: expected `3. [context 1] $0.50 0.35$ -> 47.2`, found {text[:80]!r}")
    number, context = parse_opening(begin[0])
    chosen, welfare, words = answer.groups(default="")
    rates = read(chosen, expected)
    if isinstance(rates, str):
        raise DataError(f"history: {rates}")
    return Line(number, context, rates, _number(welfare), words)


def parse_history(text: str, expected: Sequence[Rate]) -> tuple[Line, ...]:
    """Return the terms of a text. Raises DataError that names the first line which is none."""
    lines = []
    for number, row in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        try:
            lines.append(parse_line(row, expected))
        except DataError as error:
            raise DataError(f"line {number}: {error}") from error
    return tuple(lines)


def _rounded(value: float, rate: Rate) -> float:
    places = decimals(rate)
    near = round(value, places)
    unit = 10.0**-places
    if near < rate.low:  # a bound that is no round number
        near = round(near + unit, places)
    if near > rate.high:
        near = round(near - unit, places)
    return near + 0.0  # no negative zero


def _value(value: float) -> str:
    told = float(figure(value))  # 0.99999 is told, and read back, as 1
    return f"{told:.0f}" if told == round(told) and abs(told) < 1000 else figure(value)


def _number(text: str) -> float:
    if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise DataError(f"history: expected a finite number, found {text[:80]!r}")
    return float(text)
