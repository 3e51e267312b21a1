from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Observation, Problem, Proposal, Step, Trajectory
from surpass.evaluation.diversity import distinct_per_solved, edit_distance, entropy, self_distance, solutions
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
