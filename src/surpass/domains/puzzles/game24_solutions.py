"""Game of 24, what is known about it: the solvable instances, how hard they are, and when two solutions are the same.

Normal form. A play is read as one expression; where equal numbers are on the table the newest is meant: what was just
made is what is used. Then sums within sums and products within products are flattened, `x - (y - z)` into `x + z - y`,
`x / (y / z)` into `x * z / y`, signs are moved out of products, and terms and factors are sorted, larger first. So two
plays are the same solution exactly if what they mean differs by the order of independent moves, commutativity,
associativity (of `-` and `/` as inverses too) and pairs of signs. `x * 1` and `x / 1` stay different, as do `2 + 2` and
`2 * 2`. An expression that needs the older of two equal numbers may have no canonical play: 4 of the 4,070 that make 24
of the solvable hands, such as (10 - 4) * (6 - 2), whose plays read as (10 + 2 - 6) * 4 or 6 * (10 - 4 - 2).

Difficulty is the chance that uniformly random canonical moves make 24, exactly. Tree of Thoughts (arXiv 2305.10601)
ranks instances by how often people solve them, which cannot be computed and is not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Literal

from surpass.domains.puzzles.game24_rules import Move, Number, combine, moves, pairs, play

TARGET: Number = (24, 1)
HANDS = tuple(combinations_with_replacement(range(1, 14), 4))  # four cards, in ascending order


@lru_cache(maxsize=1 << 17)
def chance(numbers: tuple[Number, ...]) -> float:
    """Return the chance that uniformly random canonical moves make 24 of some numbers, in plain ascending order."""
    if len(numbers) == 1:
        return float(numbers[0] == TARGET)
    if len(numbers) == 2:
        return _last(*numbers)
    total, count = 0.0, 0
    for x, y, rest in pairs(numbers):
        found = combine(x, y)
        count += len(found)
        for move in found:
            total += chance(tuple(sorted((*rest, move.result))))
    return total / count


@lru_cache(maxsize=1 << 17)
def _last(x: Number, y: Number) -> float:
    """Return `chance((x, y))`: the share of `combine(x, y)` that is 24, by cross-multiplication alone."""
    (a, b), (c, d) = x, y
    left, right, whole = a * d, b * c, TARGET[0] * b * d
    hits = (left + right == whole) + (abs(left - right) == whole) + (a * c == whole)
    hits += (c != 0 and left == TARGET[0] * right) + (x != y and a != 0 and right == TARGET[0] * left)
    return hits / (3 + (c != 0 or a != 0) + (x != y and a != 0 and c != 0))


def solve(numbers: tuple[Number, ...]) -> list[Move] | None:
    """Return canonical moves that make 24, at each step the one with the best chance after it; None if none do."""
    if not chance(tuple(sorted(numbers))):
        return None
    found: list[Move] = []
    while len(numbers) > 1:
        after = [(move, left) for move in moves(numbers).values() if (left := play(numbers, move)) is not None]
        move, numbers = max(after, key=lambda one: chance(tuple(sorted(one[1]))))
        found.append(move)
    return found


def solvable() -> list[tuple[int, ...]]:
    """Return the 1,362 of the 1,820 `HANDS` of which 24 can be made, in ascending order."""
    return [hand for hand in HANDS if chance(tuple((card, 1) for card in hand))]


@dataclass(frozen=True, slots=True)
class Expression:
    """A normal form of value >= 0: a number, a sum `more - less`, or a product `more / less`."""

    kind: Literal["number", "sum", "product"]
    value: Fraction
    more: tuple[Expression, ...] = ()
    less: tuple[Expression, ...] = ()

    @property
    def text(self) -> str:
        """The expression as arithmetic, with no more parentheses than it needs."""
        if self.kind == "number":
            return str(self.value)
        joints = (" + ", " - ") if self.kind == "sum" else (" * ", " / ")
        more, less = ([self._part(part) for part in parts] for parts in (self.more, self.less))
        return joints[0].join(more) + "".join(joints[1] + part for part in less)

    def _part(self, part: Expression) -> str:
        fraction = part.kind == "number" and part.value.denominator > 1
        wrapped = fraction or (self.kind == "product" and part.kind == "sum")
        return f"({part.text})" if wrapped else part.text


Signed = tuple[bool, Expression]  # whether it is negative, and its magnitude


def normal(numbers: Iterable[int], plays: Sequence[Move]) -> str:
    """Return the normal form of what some legal moves make of some given numbers: the text of one expression.

    >>> normal([4, 9, 10, 13], [Move("-", (10, 1), (13, 1), (-3, 1)), Move("+", (9, 1), (-3, 1), (6, 1)),
    ...                         Move("*", (4, 1), (6, 1), (24, 1))])
    '(10 + 9 - 13) * 4'

    Raises ValueError where a move's numbers are not there, or where more than one number is left.
    """
    table: list[tuple[Number, Signed]] = [((n, 1), (n < 0, Expression("number", abs(Fraction(n))))) for n in numbers]
    for move in plays:
        operands: list[Signed] = []
        for wanted in (move.left, move.right):
            index = [number for number, _ in table].index(wanted)
            operands.append(table.pop(index)[1])
        table.insert(0, (move.result, _join(move.op, *operands)))  # the newest first
    ((_, (negative, expression)),) = table
    return f"-({expression.text})" if negative else expression.text


def _join(op: str, left: Signed, right: Signed) -> Signed:
    (minus, x), (flip, y) = left, right
    if op in "*/":
        return (minus != flip) and bool(x.value) and bool(y.value), _product(x, y, divide=op == "/")
    if minus == (flip != (op == "-")):
        return minus, _sum(x, y)
    if x.value != y.value:
        return (minus, _difference(x, y)) if x.value > y.value else (not minus, _difference(y, x))
    return False, min(_difference(x, y), _difference(y, x), key=lambda zero: zero.text)


def _terms(x: Expression, kind: str) -> tuple[tuple[Expression, ...], tuple[Expression, ...]]:
    return (x.more, x.less) if x.kind == kind else ((x,), ())


def _sorted(parts: Iterable[Expression]) -> tuple[Expression, ...]:
    return tuple(sorted(parts, key=lambda part: (-part.value, part.text)))


def _sum(x: Expression, y: Expression) -> Expression:
    (a, b), (c, d) = _terms(x, "sum"), _terms(y, "sum")
    return Expression("sum", x.value + y.value, _sorted(a + c), _sorted(b + d))


def _difference(x: Expression, y: Expression) -> Expression:
    (a, b), (c, d) = _terms(x, "sum"), _terms(y, "sum")
    return Expression("sum", x.value - y.value, _sorted(a + d), _sorted(b + c))


def _product(x: Expression, y: Expression, *, divide: bool) -> Expression:
    (a, b), (c, d) = _terms(x, "product"), _terms(y, "product")
    if divide:
        c, d = d, c
    value = x.value / y.value if divide else x.value * y.value
    return Expression("product", value, _sorted(a + c), _sorted(b + d))
