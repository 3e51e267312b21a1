from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Observation, Problem, Proposal, Step, Trajectory
from surpass.errors import DataError
from surpass.evaluation.diversity import (
    ORDERS,
    creativity,
    distinct_per_solved,
    edit_distance,
    entropy,
    ngram_kernel,
    self_distance,
    solutions,
    vendi,
    vendi_per_solved,
)
from tests.learning import ACCEPTED, REJECTED


def play(key: str, *actions: str, solved: bool = True) -> Trajectory:
    steps = tuple(Step(Observation(""), Proposal(action)) for action in actions)
    return Trajectory(Problem(key), steps, ACCEPTED if solved else REJECTED)


PLAYS = [
    play("p", "intros.", "auto."),
    play("p", "intros. ", "auto."),  # the same but for white space
    play("p", "lia."),
    play("q", "lia."),
    play("r", "omega.", solved=False),
    play("q", "fail.", solved=False),
]


def test_distinct_solutions_of_solved_problems() -> None:
    assert solutions(PLAYS) == {"p": Counter({("intros.", "auto."): 2, ("lia.",): 1}), "q": Counter({("lia.",): 1})}
    assert distinct_per_solved(PLAYS) == 1.5
    assert distinct_per_solved(PLAYS, key=lambda trajectory: trajectory.actions) == 2.0
    assert distinct_per_solved(PLAYS[4:]) == 0.0


def test_entropy() -> None:
    assert entropy([1, 1, 1, 1]) == pytest.approx(math.log(4))
    assert entropy([1, 1, 1, 1], normalised=True) == pytest.approx(1.0)
    assert entropy([3, 1, 0]) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert entropy([7]) == entropy([7], normalised=True) == entropy([]) == 0.0


def by_table(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
    return row[-1]


@given(st.text("abc", max_size=80), st.text("abc", max_size=80))
def test_edit_distance_is_that_of_the_table(a: str, b: str) -> None:
    assert edit_distance(a, b) == by_table(a, b)


def test_edit_distance_of_long_texts_and_of_tokens() -> None:
    a = "the quick brown fox jumps over the lazy dog " * 5
    assert edit_distance(a, a) == 0
    assert edit_distance(a, a[7:]) == 7
    assert edit_distance(a, a.replace("fox", "cat")) == 15 == by_table(a, a.replace("fox", "cat"))
    assert edit_distance((1, 2, 3), (2, 3, 4)) == 2
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3


def test_self_distance() -> None:
    assert self_distance(["abc", "abc", "abc"]) == 0.0
    assert self_distance(["aaa", "bbb"]) == 1.0
    assert self_distance(["ab", "ac", "xyz!"]) == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert self_distance(["alone"]) == self_distance([]) == self_distance(["", ""]) == 0.0


def test_creativity_is_the_share_found_by_one_method_alone() -> None:
    """Four solutions in all: ours alone finds ("p", a) and ("q", a), theirs alone ("q", b); ("p", b) is common."""
    ours = [play("p", "a"), play("p", "a"), play("p", "b"), play("q", "a")]
    theirs = [play("p", "b "), play("q", "b"), play("q", "c", solved=False)]
    assert creativity({"ours": ours, "theirs": theirs}) == {"ours": 0.5, "theirs": 0.25}
    assert creativity({"ours": ours, "again": iter(ours)}) == {"ours": 0.0, "again": 0.0}
    assert creativity({"ours": ours}) == {"ours": 1.0}
    assert creativity({"ours": theirs[2:], "theirs": []}) == {"ours": 0.0, "theirs": 0.0}
    assert creativity({"ours": ours, "theirs": theirs}, key=lambda trajectory: "same")["ours"] == 0.0


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_vendi_scores_of_all_different_and_of_all_equal_items(n: int) -> None:
    assert vendi(np.eye(n)) == pytest.approx(dict.fromkeys(ORDERS, n))
    assert vendi(np.ones((n, n))) == pytest.approx(dict.fromkeys(ORDERS, 1.0))


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1), (5, 2, 1), (4, 4, 4)])
def test_vendi_scores_of_clusters_are_the_hill_numbers_of_their_shares(sizes: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shares = [size / sum(sizes) for size in sizes]
    assert vendi(labels[:, None] == labels, [0.5, 1, 2, 3, math.inf]) == pytest.approx(
        {
            0.5: sum(p**0.5 for p in shares) ** 2,
            1: math.exp(-sum(p * math.log(p) for p in shares)),
            2: 1 / sum(p**2 for p in shares),
            3: sum(p**3 for p in shares) ** -0.5,
            math.inf: 1 / max(shares),
        }
    )


@given(st.floats(0.0, 0.999) | st.just(1.0), st.floats(0.05, 50.0))
def test_vendi_scores_of_two_items_in_closed_form(similarity: float, q: float) -> None:
    """The eigenvalues of [[1, s], [s, 1]] / 2 are (1 + s) / 2 and (1 - s) / 2."""
    shares = [share for share in ((1 + similarity) / 2, (1 - similarity) / 2) if share > 1e-12]
    expected = (
        math.exp(-sum(p * math.log(p) for p in shares))
        if abs(q - 1) < 1e-4
        else sum(p**q for p in shares) ** (1 / (1 - q))
    )
    found = vendi([[1.0, similarity], [similarity, 1.0]], [q])[q]
    assert found == pytest.approx(expected, rel=2e-3 if abs(q - 1) < 1e-4 else 1e-6)
    assert 1.0 - 1e-9 <= found <= 2.0 + 1e-9


@given(st.lists(st.text("abc", max_size=6), min_size=1, max_size=8), st.integers(1, 3))
def test_vendi_scores_of_texts_lie_between_one_and_their_distinct_number_and_fall_with_the_order(
    texts: list[str], n: int
) -> None:
    kernel = ngram_kernel(texts, n=n)
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(np.diagonal(kernel), 1.0)
    scores = vendi(kernel, [0.25, 0.5, 1.0, 2.0, 1e3, math.inf])
    values = list(scores.values())
    assert all(high >= low - 1e-6 for high, low in pairwise(values))
    assert min(values) >= 1.0 - 1e-6
    assert max(values) <= len(set(texts)) + 1e-3


def test_the_ngram_kernel_by_hand() -> None:
    """ab: a, b, ab; ba: a, b, ba: two of three grams in common. aa: twice a, once aa."""
    kernel = ngram_kernel(["ab", "ba", "aa", "c", "", ""])
    assert kernel[0, 1] == pytest.approx(2 / 3)
    assert kernel[0, 2] == pytest.approx(2 / math.sqrt(3 * 5))
    assert kernel[0, 3] == kernel[3, 4] == 0.0
    assert kernel[4, 5] == 1.0
    assert ngram_kernel(["ab", "ba"], n=1)[0, 1] == pytest.approx(1.0)
    assert ngram_kernel([("go left", "go up"), ("go left",)], n=1)[0, 1] == pytest.approx(1 / math.sqrt(2))


@pytest.mark.parametrize(
    "kernel",
    [
        np.zeros((0, 0)),
        np.ones((2, 3)),
        np.ones(3),
        [[1.0, 0.5], [0.4, 1.0]],
        [[1.0, 0.0], [0.0, 0.9]],
        [[1.0, math.nan], [math.nan, 1.0]],
        [[1.0, 2.0], [2.0, 1.0]],  # symmetric, ones on the diagonal, an eigenvalue below zero
    ],
)
def test_what_is_no_kernel_is_refused(kernel: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    with pytest.raises(DataError, match="expected"):
        vendi(kernel)


def test_orders_and_grams_must_be_positive() -> None:
    for q in (0.0, -1.0, math.nan):
        with pytest.raises(DataError, match="order"):
            vendi(np.eye(2), [q])
    with pytest.raises(DataError, match="n-grams"):
        ngram_kernel(["a"], n=0)


def test_vendi_per_solved_is_a_mean_over_solved_problems() -> None:
    """p: a and lia share nothing, a comes twice: shares 2/3 and 1/3. q: one solution. r: none."""
    plays = [play("p", "a"), play("p", "a"), play("p", "lia"), play("q", "a"), play("r", "a", solved=False)]
    two = 1 / ((2 / 3) ** 2 + (1 / 3) ** 2)
    assert vendi_per_solved(plays, [2.0, math.inf]) == pytest.approx({2.0: (two + 1) / 2, math.inf: (1.5 + 1) / 2})
    assert vendi_per_solved(plays[-1:]) == dict.fromkeys(ORDERS, 0.0)
    everything_alike = vendi_per_solved(plays, [1.0], kernel=lambda all_actions: np.ones((len(all_actions),) * 2))
    assert everything_alike == pytest.approx({1.0: 1.0})
