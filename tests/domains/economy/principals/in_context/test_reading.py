"""What the policymaker reads: the text of a history in its own terms, and nothing of scales and offsets."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surpass.domains.economy.principals.history import parse_line
from surpass.domains.economy.principals.in_context.reading import (
    AIM,
    BEST,
    CONTEXT,
    CONTEXTS,
    COUNT,
    FARTHEST,
    LEVELS,
    MOST_RATES,
    MOVE,
    NUMBER,
    SHARE,
    SIZE,
    UNIT,
    WELFARE,
    Past,
    answer_text,
    answer_tokens,
    asked,
    past_of,
    prompt_tokens,
    start,
    told,
)
from surpass.domains.economy.society import Context, Metrics, Rate, Term
from surpass.errors import DataError, ModelError

RATES = (Rate("tax", 0, 1), Rate("fine", -2, 8))
relaxed = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def term(rates: tuple[float, ...], welfare: float, context: Context = ()) -> Term:
    return Term(rates, Metrics(welfare), context)


def lever(value: float) -> Context:
    return (("live lever", value),)


HISTORY = [
    term((0.5, 3.0), 10, lever(2)),
    term((0.25, -2.0), 30, lever(1)),
    term((1.0, 8.0), 20, lever(2)),
    term((0.124, 0.0), 0, lever(2)),
]
TEXT = """rates: 2
1. [context 2] $0.50 0.50$ -> 40.0; best
2. [context 1] $0.25 0.00$ -> 80.0; best
3. [context 2] $1.00 1.00$ -> 60.0; best
4. [context 2] $0.12 0.20$ -> 20.0
5. [context 1] [best 1 0.250] [best 2 0] [aim 1] """
SECOND = SHARE + LEVELS  # of the second rate


def text_of(history: list[Term], context: Context, rates: tuple[Rate, ...] = RATES, aim: bool = True) -> str:
    past, kind = past_of(history, context, rates)
    return asked(past, told(past.lines(), len(rates))[-1], len(history), kind, aim=aim)


def test_the_text_of_a_history() -> None:
    assert text_of(HISTORY, lever(1)) == TEXT
    assert text_of([], (), aim=False) == "rates: 2\n1. "


def test_the_tokens_of_a_history() -> None:
    lines = [
        [NUMBER, CONTEXT + 1, SHARE + 50, SECOND + 50, WELFARE + 400, BEST],
        [NUMBER + 1, CONTEXT, SHARE + 25, SECOND, WELFARE + 800, BEST],
        [NUMBER + 2, CONTEXT + 1, SHARE + 100, SECOND + 100, WELFARE + 600, BEST],
        [NUMBER + 3, CONTEXT + 1, SHARE + 12, SECOND + 20, WELFARE + 200],
        [NUMBER + 4, CONTEXT, SHARE + 25, SECOND, AIM],
    ]
    assert prompt_tokens(TEXT) == (COUNT + 1, *(token for line in lines for token in line))
    assert max(prompt_tokens(TEXT)) < SIZE


@relaxed
@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6), st.floats(-100, 100), st.floats(0.1, 100))
def test_scales_and_offsets_are_not_to_be_seen(scale: float, offset: float, low: float, width: float) -> None:
    other = (Rate("a", low, low + width), Rate("b", low, low + width))
    moved = [
        term(
            tuple(
                min(new.high, new.low + (value - old.low) / (old.high - old.low) * (new.high - new.low))
                for value, old, new in zip(one.rates, RATES, other, strict=True)
            ),
            offset + scale * one.metrics.welfare,
            one.context,
        )
        for one in HISTORY
    ]
    spread = scale * 30 / max(1.0, abs(offset))
    if spread > 1e-9:  # otherwise the welfare of floats does not tell the terms apart
        assert text_of(moved, lever(1), other) == TEXT


@relaxed
@given(st.lists(st.integers(0, 100), min_size=1, max_size=MOST_RATES), st.integers(0, 100))
def test_answers_and_their_tokens(shares: list[int], first: int) -> None:
    begin = [(37 * place + first) % LEVELS for place in range(len(shares))]
    tokens = tuple(MOVE + FARTHEST + share - old for share, old in zip(shares, begin, strict=True))
    text = answer_text(tokens, begin)
    assert answer_tokens(text, begin) == tokens
    assert parse_line(f"1. {text} -> 0", UNIT[len(shares)]).rates == tuple(share / 100 for share in shares)


def test_what_is_no_answer() -> None:
    for tokens in ([MOVE, WELFARE], [MOVE], [], [MOVE, SIZE], [MOVE, MOVE, MOVE]):
        assert answer_text(tokens, (50, 50)) == ""
    for text in ("", "$$", "$0.5 1.2$", "$0 0 0$", "$high$"):
        with pytest.raises(ModelError, match="expected shares between"):
            answer_tokens(text, (50, 50))


def test_moves_begin_at_the_reminder_and_end_at_the_bounds() -> None:
    assert start(prompt_tokens(TEXT)) == (25, 0)
    assert start(prompt_tokens(TEXT.removesuffix("[aim 1] "))) == (25, 0)
    assert start(prompt_tokens("rates: 3\n1. [context 1] ")) == (50, 50, 50)
    assert answer_text([MOVE, SIZE - 1], (25, 0)) == "$0.00 1.00$"
    assert answer_text([MOVE + FARTHEST + 3, MOVE + FARTHEST], (25, 0)) == "$0.28 0.00$"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begins with `rates: 3`"),
        ("rates: 6\n1. ", "begins with `rates: 3`"),
        ("rates: 2\n1. $0.5$ -> 3\n2. ", "expected 2 numbers"),
        ("rates: 2\n1. $0.50 0.10$ -> 3; a crowd\n2. ", "no words but `best`"),
        ("rates: 2\n21. ", "at most 20 terms"),
        ("rates: 2\n1. [context 10] ", r"`\[context 9\]`"),
        ("rates: 2\n1. [context 1.50] ", r"`\[context 9\]`"),
        ("rates: 2\n1. [aim 2] ", "`.aim 1.`"),
        ("rates: 2\n1. [lever 2] ", "expected at most"),
        ("rates: 2\n1. [best 1 0.5] ", "best share of each rate"),
        ("rates: 2\n1. [best 1 0.5] [best 2 1.5] ", "best share of each rate"),
        ("rates: 2\n1. [best 1 0.5] [best 2 1] [best 3 1] ", "best share of each rate"),
        ("rates: 2\n1. $0.50 0.10$ -> 3", "expected `3. .context 1. `"),
    ],
)
def test_other_texts_are_refused(text: str, reason: str) -> None:
    with pytest.raises((ModelError, DataError), match=reason):
        prompt_tokens(text)


def test_contexts_are_numbered() -> None:
    def kinds(contexts: list[Context]) -> list[int]:
        past, kind = past_of([term((0.5, 0.5), 1, one) for one in contexts[:-1]], contexts[-1], RATES)
        return [*past.kinds.tolist(), kind]

    assert kinds([(), (), ()]) == [0, 0, 0]
    assert kinds([lever(3), lever(1), lever(3)]) == [3, 1, 3]
    assert kinds([lever(0.5), lever(0.25), lever(0.5)]) == [1, 2, 1]
    assert kinds([(*lever(2), *lever(1)), (*lever(1), *lever(1)), (*lever(2), *lever(1))]) == [1, 2, 1]
    assert kinds([lever(10.0 * number) for number in range(12)]) == [*range(1, 10), 9, 9, 9]
    assert CONTEXTS == 9


def test_of_a_long_history_the_best_and_the_last_are_shown() -> None:
    welfare = np.array([5.0, 9.0, 1.0, 2.0, 8.0, 3.0, 4.0, 0.0])
    past = Past(np.arange(8.0)[:, None] / 10, welfare, np.zeros(8, dtype=np.int64))
    short = past.shortened(5)
    assert short.welfare.tolist() == [9.0, 8.0, 3.0, 4.0, 0.0]
    assert short.shares[:, 0].tolist() == [0.1, 0.4, 0.5, 0.6, 0.7]
    assert past.shortened(8) is past


def test_terms_that_are_all_alike_are_told_in_the_middle() -> None:
    past = Past(np.zeros((3, 1)), np.full(3, 7.0), np.zeros(3, dtype=np.int64))
    assert [line.welfare for line in past.lines()] == [50.0] * 3
    assert [line.words for line in past.lines()] == ["best", "", ""]
