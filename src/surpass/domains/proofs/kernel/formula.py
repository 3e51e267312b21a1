"""Propositional formulas as interned values, and their text.

One formula is one object: equality and hash are identity, so the rules compare in constant time. The text is the
identity across processes: `parse(str(f)) is f`. The syntax is Rocq's, from tight to loose: `~`, `/\\`, `\\/`, `->`, the
binary ones associating to the right; `~ A` is written for `A -> False` and is the same formula. No quantifiers, no iff.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from surpass.errors import DataError

AND, OR, IMPLIES = "/\\", "\\/", "->"
LEVEL = {IMPLIES: 1, OR: 2, AND: 3}  # the higher, the tighter; `~` is 4, names are 5
MAX_TOKENS = 300  # keeps the recursive parser within Python's stack
RESERVED = {"Prop", "Set", "Type", "SProp", "IF"}  # words Rocq would not take as the name of a proposition

TOKEN = re.compile(r"\s*(->|/\\|\\/|~|\(|\)|[A-Z][A-Za-z0-9_]{0,30}(?![\w']))")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Formula:
    """A formula; made only by `atom`, `conjunction`, `disjunction`, `implies`, `negation` and `parse`."""

    op: str  # AND, OR, IMPLIES, or "" for an atom, True and False
    parts: tuple[Formula, ...]  # the two sides, or ()
    text: str
    level: int  # how tightly the outermost connective of the text binds

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Callable[[str], Formula], tuple[str]]:
        return parse, (self.text,)

    def __repr__(self) -> str:
        return f"parse({self.text!r})"


_INTERNED: WeakValueDictionary[str, Formula] = WeakValueDictionary()


def _intern(op: str, parts: tuple[Formula, ...], text: str, level: int) -> Formula:
    known = _INTERNED.get(text)
    if known is None:
        known = _INTERNED[text] = Formula(op, parts, text, level)
    return known


def _wrap(formula: Formula, level: int) -> str:
    return formula.text if formula.level >= level else f"({formula.text})"


def _binary(op: str, left: Formula, right: Formula) -> Formula:
    level = LEVEL[op]
    return _intern(op, (left, right), f"{_wrap(left, level + 1)} {op} {_wrap(right, level)}", level)


def atom(name: str) -> Formula:
    """Return the atom of that name; `parse` checks the name, this does not."""
    return _intern("", (), name, 5)


TRUE, FALSE = atom("True"), atom("False")


def conjunction(left: Formula, right: Formula) -> Formula:
    """Return `left /\\ right`."""
    return _binary(AND, left, right)


def disjunction(left: Formula, right: Formula) -> Formula:
    """Return `left \\/ right`."""
    return _binary(OR, left, right)


def implies(left: Formula, right: Formula) -> Formula:
    """Return `left -> right`, which is `~ left` where `right` is False."""
    return negation(left) if right is FALSE else _binary(IMPLIES, left, right)


def negation(formula: Formula) -> Formula:
    """Return `~ formula`, that is `formula -> False`."""
    return _intern(IMPLIES, (formula, FALSE), f"~ {_wrap(formula, 4)}", 4)


JOIN = {AND: conjunction, OR: disjunction, IMPLIES: implies}


def parse(text: str) -> Formula:
    r"""Return the formula that a text denotes. Raises DataError where it denotes none.

    >>> print(parse(r"(A -> (B /\ C)) -> (A -> False)"))
    (A -> B /\ C) -> ~ A
    """
    known = _INTERNED.get(text)
    if known is not None:
        return known
    tokens = _tokens(text)
    if len(tokens) > MAX_TOKENS:
        raise DataError(
            f"expected a formula of at most {MAX_TOKENS} tokens, found {len(tokens)}: shorten {text[:60]!r}"
        )
    formula, rest = _parse(tokens, 0, 1)
    if rest != len(tokens):
        raise DataError(f"expected the end of the formula, found {tokens[rest]!r} in {text!r}: check its parentheses")
    return formula


def _tokens(text: str) -> list[str]:
    tokens, position = list[str](), 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = TOKEN.match(stripped, position)
        if match is None or match[1] in RESERVED:
            raise DataError(
                f"expected one of -> /\\ \\/ ~ ( ) or a capitalised name, found {stripped[position:].strip()[:20]!r} "
                f"in {text[:200]!r}: rewrite the formula"
            )
        tokens.append(match[1])
        position = match.end()
    return tokens


def _parse(tokens: list[str], position: int, level: int) -> tuple[Formula, int]:
    """Parse from `position` while connectives bind at least as tightly as `level` (precedence climbing)."""
    left, position = _parse_tight(tokens, position)
    while position < len(tokens) and LEVEL.get(tokens[position], 0) >= level:
        op = tokens[position]
        right, position = _parse(tokens, position + 1, LEVEL[op])  # the same level: associates to the right
        left = JOIN[op](left, right)
    return left, position


def _parse_tight(tokens: list[str], position: int) -> tuple[Formula, int]:
    token = tokens[position] if position < len(tokens) else "the end"
    if token == "~":
        inner, position = _parse_tight(tokens, position + 1)
        return negation(inner), position
    if token == "(":
        inner, position = _parse(tokens, position + 1, 1)
        if position >= len(tokens) or tokens[position] != ")":
            raise DataError(f"expected ')' after {inner.text!r}, found {' '.join(tokens[position:]) or 'the end'!r}")
        return inner, position + 1
    if not token[0].isupper():
        raise DataError(f"expected a name, ~ or '(', found {token!r} in {' '.join(tokens)!r}: complete the formula")
    return atom(token), position + 1


def atoms(formula: Formula) -> tuple[str, ...]:
    """Return the names of the atoms, in the order of their first occurrence."""
    names: dict[str, None] = {}
    stack = [formula]
    while stack:
        part = stack.pop()
        if not part.op and part is not TRUE and part is not FALSE:
            names[part.text] = None
        stack.extend(reversed(part.parts))
    return tuple(names)


def size(formula: Formula) -> int:
    """Return the number of connectives; a negation counts as one."""
    return (1 if formula.op else 0) + sum(map(size, formula.parts))


def rename(formula: Formula, names: dict[str, str]) -> Formula:
    """Return the formula with atoms renamed; names that are not listed stay."""
    if formula.op:
        left, right = formula.parts
        return JOIN[formula.op](rename(left, names), rename(right, names))
    return formula if formula is TRUE or formula is FALSE else atom(names.get(formula.text, formula.text))
