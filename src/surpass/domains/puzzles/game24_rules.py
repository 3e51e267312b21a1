"""Game of 24, the rules: exact rational numbers, moves `a op b = c`, and how their text is read.

A number is (numerator, denominator) in lowest terms with a positive denominator, written `8/3`, or `8` where the
denominator is 1. Spaces part an operator from its numbers, so `8 / 3 = 8/3` reads in one way. Canonical moves write the
larger number first and take the smaller from it: negative numbers never appear, and every solution with them is
one without them too (`game24_solutions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import gcd
from typing import NamedTuple

Number = tuple[int, int]
OPERATORS = "+-*/"

NUMBER = r"-?\d{1,15}(?:/\d{1,15})?"  # longer ones are no number here, and int() stays fast
MOVE = re.compile(
    rf"\s*({NUMBER})\s+([-+*/])\s+({NUMBER})\s*=\s*({NUMBER})\s*(?:\(\s*left:\s*({NUMBER}(?:\s+{NUMBER})*)\s*\)\s*)?",
    re.ASCII,
)


class Move(NamedTuple):
    """`left op right = result`."""

    op: str
    left: Number
    right: Number
    result: Number

    @property
    def text(self) -> str:
        """The one spelling of the move."""
        return f"{show(self.left)} {self.op} {show(self.right)} = {show(self.result)}"


def show(number: Number) -> str:
    """Return the text of a number: `8/3`, or `8`."""
    return str(number[0]) if number[1] == 1 else f"{number[0]}/{number[1]}"


def ascending(numbers: Iterable[Number]) -> tuple[Number, ...]:
    """Return some numbers in ascending order; what double precision cannot tell apart has one order too."""
    return tuple(sorted(numbers, key=lambda number: (number[0] / number[1], number)))


def show_all(numbers: Iterable[Number]) -> str:
    """Return the texts of some numbers in ascending order of value."""
    return " ".join(map(show, ascending(numbers)))


def reduce(numerator: int, denominator: int) -> Number:
    """Return a fraction in lowest terms; the denominator is not 0."""
    common = gcd(numerator, denominator) if denominator > 0 else -gcd(numerator, denominator)
    return numerator // common, denominator // common


def compute(op: str, x: Number, y: Number) -> Number | None:
    """Return `x op y`, None where that divides by zero."""
    (a, b), (c, d) = x, y
    if op == "+":
        return reduce(a * d + c * b, b * d)
    if op == "-":
        return reduce(a * d - c * b, b * d)
    if op == "*":
        return reduce(a * c, b * d)
    return reduce(a * d, b * c) if c else None


@lru_cache(maxsize=1 << 17)
def combine(x: Number, y: Number) -> tuple[Move, ...]:
    """Return the canonical moves with two numbers, neither negative: each result of each operator once."""
    if x[0] * y[1] < y[0] * x[1]:
        x, y = y, x
    moves = [Move(op, x, y, result) for op in OPERATORS if (result := compute(op, x, y)) is not None]
    if x != y and (result := compute("/", y, x)) is not None:
        moves.append(Move("/", y, x, result))
    return tuple(moves)


def pairs(numbers: tuple[Number, ...]) -> list[tuple[Number, Number, tuple[Number, ...]]]:
    """Return each different pair of some sorted numbers with what it leaves."""
    found: dict[tuple[Number, Number], tuple[Number, ...]] = {}
    for j in range(1, len(numbers)):
        for i in range(j):  # equal numbers are neighbours: equal pairs leave the same
            found[numbers[i], numbers[j]] = (*numbers[:i], *numbers[i + 1 : j], *numbers[j + 1 :])
    return [(*pair, rest) for pair, rest in found.items()]


@lru_cache(maxsize=1 << 12)
def moves(numbers: tuple[Number, ...]) -> Mapping[str, Move]:
    """Return all canonical moves on a table of numbers, none of them negative, by text; none where one is left."""
    return {move.text: move for x, y, _ in pairs(numbers) for move in combine(x, y)}


def play(numbers: tuple[Number, ...], move: Move) -> tuple[Number, ...] | None:
    """Return what a move leaves, in ascending order of value; None where its numbers are not on the table."""
    rest = list(numbers)
    for number in (move.left, move.right):
        if number not in rest:
            return None
        rest.remove(number)
    return ascending((*rest, move.result))


def read(action: str, numbers: tuple[Number, ...]) -> Move | str:
    """Return the move that an action names on a table of numbers, or, as a string, why it is none.

    Spaces around the whole and around numbers are free, numbers need not be in lowest terms, and what the move leaves
    may follow, as in `13 - 9 = 4 (left: 4 4 10)`: then it must be right.
    """
    match = MOVE.fullmatch(action)
    if match is None:
        return f"expected 'a op b = c' with an operator among + - * / between spaces, found {action[:80]!r}"
    texts = [match[1], match[3], match[4], *(match[5] or "").split()]
    known = [_number(text) for text in texts]
    values = [number for number in known if number is not None]
    if len(values) < len(known):
        return f"expected no denominator of 0, found {action[:80]!r}"
    (x, y, claimed, *left), op = values, match[2]
    result = compute(op, x, y)
    if result is None:
        return f"expected a divisor other than 0, found {action[:80]!r}"
    move = Move(op, x, y, result)
    after = play(numbers, move)
    if after is None:
        return f"expected two of the numbers {show_all(numbers)}, found {show(x)} and {show(y)}"
    if result != claimed:
        return f"expected {move.text!r}, found {action[:80]!r}"
    if match[5] is not None and sorted(left) != sorted(after):
        return f"expected '(left: {show_all(after)})', found {action[:80]!r}"
    return move


def _number(text: str) -> Number | None:
    numerator, _, denominator = text.partition("/")
    below = int(denominator or 1)
    return reduce(int(numerator), below) if below else None
