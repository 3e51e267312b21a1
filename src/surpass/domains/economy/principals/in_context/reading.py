"""What the in-context policymaker reads and writes: a history in terms of its own, as text and as tokens.

    rates: 2
    1. [context 2] $0.50 0.35$ -> 80.0; best
    2. [context 1] $0.91 0.02$ -> 20.0; best
    3. [context 2] [best 1 0.500] [best 2 0.350] [aim 1]           its answer: $0.48 0.40$

The text is that of `history.py`. Rates are shares of their ranges, contexts are numbered, welfare is moved and
stretched to lie between 0 and 100; `best` says that a term was better than all before it in its context. The last line
reminds of the best shares so far in its own. With `[aim 1]` what is asked for is rates that will have been best;
without, the history is to go on as it would have. A token is one number of the text, or one of its words; the
punctuation between follows from their kinds. That of a share says of which rate it is; those of an answer are moves
from the best shares so far, or from the middle where there is none. Not here: the network (`model.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from surpass.domains.economy.accounting import Reals
from surpass.domains.economy.principals.history import (
    Line,
    line_text,
    opening,
    parse_line,
    parse_opening,
    rates_text,
)
from surpass.domains.economy.society import Context, Rate, Term, read
from surpass.errors import ModelError
from surpass.models.packing import Tokens

MOST_RATES, TERMS, CONTEXTS = 5, 20, 9
LOW, HIGH = 20.0, 80.0  # what the worst and the best welfare of a history are told as

PAD = 0
COUNT = 1  # how many rates there are: COUNT + rates - 1; alike below
NUMBER = COUNT + MOST_RATES
CONTEXT = NUMBER + TERMS
AIM = CONTEXT + CONTEXTS
BEST = AIM + 1
SHARE = BEST + 1  # hundredths, from 0 to 100, of the first rate; then of the second
LEVELS = 101
WELFARE = SHARE + LEVELS * MOST_RATES  # tenths, from 0 to 999
MOVE = WELFARE + 1000  # hundredths from the best share so far, from -100 to 100
FARTHEST = 100
SIZE = MOVE + 2 * FARTHEST + 1

HEADER = re.compile(r"rates: ([1-5])\n")
UNIT = tuple(tuple(Rate(f"share {index + 1}") for index in range(count)) for count in range(MOST_RATES + 1))


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Terms in the policymaker's own terms."""

    shares: Reals  # [t, rates] places in their ranges, in hundredths
    welfare: Reals  # [t]
    kinds: NDArray[np.int64]  # [t] contexts by number, from 1; 0 where there is none

    def lines(self, low: float = LOW, high: float = HIGH) -> list[Line]:
        """Return the lines, the worst welfare told as `low` and the best as `high`; where all are alike, the middle."""
        bottom, width = self.welfare.min(initial=np.inf), np.ptp(self.welfare) if len(self.welfare) else 0.0
        told = low + (high - low) * ((self.welfare - bottom) / width if width else np.full(len(self.welfare), 0.5))
        found = list[Line]()
        for index, (welfare, kind) in enumerate(zip(self.welfare.tolist(), self.kinds.tolist(), strict=True)):
            leading = self.leading(index, kind)
            words = "best" if leading is None or welfare > self.welfare[leading] else ""
            found.append(Line(index + 1, _context(kind), tuple(self.shares[index]), float(told[index]), words))
        return found

    def leading(self, terms: int, kind: int) -> int | None:
        """Return which of the first terms was best in a context, the first of equals; None where there was none."""
        same = np.flatnonzero(self.kinds[:terms] == kind)
        return int(same[self.welfare[same].argmax()]) if len(same) else None

    def reminder(self, terms: int, kind: int) -> Context:
        """Return what the asked line after the first terms says: its context, and the best shares so far there."""
        leading = self.leading(terms, kind)
        shares = () if leading is None else self.shares[leading].tolist()
        best = ((f"best {number}", share) for number, share in enumerate(shares, start=1))
        return (*_context(kind), *best)

    def shortened(self, most: int) -> Past:
        """Return at most that many terms, in their order: the best ones as one half, the last of the others."""
        if len(self.welfare) <= most:
            return self
        ranked = np.argsort(-self.welfare, kind="stable")
        kept = np.sort([*ranked[: most // 2], *np.sort(ranked[most // 2 :])[-(most - most // 2) :]])
        return Past(self.shares[kept], self.welfare[kept], self.kinds[kept])


def past_of(history: Sequence[Term], context: Context, rates: Sequence[Rate]) -> tuple[Past, int]:
    """Return a history in the policymaker's own terms, and the number of the context that comes next.

    A context of one whole number from 1 to 9 is that number. Others are numbered as they appear, those after the eighth
    all as 9.
    """
    low, high = (np.array([getattr(rate, end) for rate in rates]) for end in ("low", "high"))
    shares = (np.array([term.rates for term in history]).reshape(-1, len(rates)) - low) / (high - low)
    seen = [*(term.context for term in history), context]
    values = [one[0][1] if len(one) == 1 else 0.0 for one in seen]
    if all(value in range(1, CONTEXTS + 1) for value in values):
        kinds = [int(value) for value in values]
    else:
        order = {one: min(index, CONTEXTS) for index, one in enumerate(dict.fromkeys(seen), start=1)}
        kinds = [order[one] if any(seen) else 0 for one in seen]
    welfare = np.array([term.metrics.welfare for term in history], dtype=np.float64)
    return Past(shares.clip(0, 1).round(2), welfare, np.array(kinds[:-1], dtype=np.int64)), kinds[-1]


def asked(past: Past, before: str, terms: int, kind: int, *, aim: bool) -> str:
    """Return what the policymaker reads before a term in a context: what is `told` of those before it, an opening."""
    context = past.reminder(terms, kind)
    return f"{before}{opening(terms + 1, (*context, ('aim', 1.0)) if aim else context)}"


def told(lines: Sequence[Line], count: int) -> list[str]:
    """Return the text of the first 0, 1, 2, ... lines of a history of so many rates."""
    texts = [f"{line_text(line, UNIT[count])}\n" for line in lines]
    return list(accumulate(texts, initial=f"rates: {count}\n"))


def prompt_tokens(text: str) -> Tokens:
    """Return the tokens of what the policymaker reads. Raises ModelError or DataError for any other text."""
    found = HEADER.match(text)
    if not found:
        raise ModelError(f"policymaker: expected a text that begins with `rates: 3`, found {text[:80]!r}")
    count = int(found[1])
    *lines, last = text[found.end() :].split("\n")
    read = [token for line in lines for token in _line_tokens(line, count)]
    return (COUNT + count - 1, *read, *_opening_tokens(*parse_opening(last), count))


def start(prompt: Tokens) -> tuple[int, ...]:
    """Return the shares, in hundredths, that moves begin at: those of a prompt's reminder, or the middle."""
    count = prompt[0] - COUNT + 1
    last = prompt[:-1] if prompt[-1] == AIM else prompt
    reminder = [token - SHARE - LEVELS * place for place, token in enumerate(last[-count:])]
    return tuple(reminder) if all(0 <= share < LEVELS for share in reminder) else (LEVELS // 2,) * count


def answer_tokens(text: str, begin: Sequence[int]) -> Tokens:
    """Return the tokens of an answer, `$0.50 0.35$`, as moves. Raises ModelError for what is no share of each rate."""
    shares = read(text, UNIT[len(begin)])
    if isinstance(shares, str):
        raise ModelError(f"policymaker: expected shares between `$`: {shares}")
    return tuple(MOVE + FARTHEST + round(100 * share) - old for share, old in zip(shares, begin, strict=True))


def answer_text(tokens: Sequence[int], begin: Sequence[int]) -> str:
    """Return an answer as text; moves beyond a bound end there. Empty where a token is no move: it names no rates."""
    if len(tokens) != len(begin) or not all(MOVE <= token < SIZE for token in tokens):
        return ""
    shares = (old + token - MOVE - FARTHEST for old, token in zip(begin, tokens, strict=True))
    return rates_text([min(max(share, 0), 100) / 100 for share in shares], UNIT[len(begin)])


def _context(kind: int) -> Context:
    return (("context", float(kind)),) if kind else ()


@lru_cache(maxsize=1 << 16)  # a training step reads the same lines again and again
def _line_tokens(text: str, count: int) -> Tokens:
    line = parse_line(text, UNIT[count])
    if line.words not in ("", "best"):
        raise ModelError(f"policymaker: expected no words but `best`, found {line.words[:80]!r}")
    welfare = WELFARE + min(999, max(0, round(10 * line.welfare)))
    best = [BEST] if line.words else []
    return (*_opening_tokens(line.number, line.context, count), *_share_tokens(line.rates), welfare, *best)


def _opening_tokens(number: int, context: Context, count: int) -> Tokens:
    kinds = dict(context)
    kind, aim = kinds.pop("context", None), kinds.pop("aim", None)
    best = [kinds.pop(f"best {rate}", math.nan) for rate in range(1, count + 1)] if kinds else []
    wrong = kinds or (kind is not None and kind not in range(1, CONTEXTS + 1)) or aim not in (None, 1)
    if wrong or number > TERMS or not all(0 <= share <= 1 for share in best):
        expected = (
            f"at most {TERMS} terms, `[context 1]` to `[context {CONTEXTS}]`, the best share of each rate, `[aim 1]`"
        )
        raise ModelError(f"policymaker: expected {expected}, found term {number} with {context}")
    tokens = [NUMBER + number - 1]
    tokens += [] if kind is None else [CONTEXT + int(kind) - 1]
    return (*tokens, *_share_tokens(best), *([] if aim is None else [AIM]))


def _share_tokens(shares: Sequence[float]) -> Tokens:
    return tuple(SHARE + LEVELS * place + round(100 * share) for place, share in enumerate(shares))
