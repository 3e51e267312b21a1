"""Fixed lists, neighbours and mixtures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Observation
from surpass.errors import DataError
from surpass.models.fixed import Fixed
from surpass.models.mixture import Mixture, shares
from surpass.models.neighbours import Neighbours

EXAMPLES = [
    ("n, m : nat\n|- n + m = m + n", "apply plus_comm."),
    ("n, m : nat\n|- n * m = m * n", "apply mult_comm."),
    ("A, B : Prop\nH : A /\\ B\n|- B /\\ A", "split."),
    ("A, B : Prop\nH : A /\\ B\n|- B", "apply H."),
]


def seen(goal: str) -> list[Observation]:
    return [Observation("history that must not matter", key=goal)]


def test_neighbours_find_the_most_similar_goal() -> None:
    policy = Neighbours(EXAMPLES, k=2)
    assert policy.propose(seen("a, b : nat\n|- a + b = b + a"), 4, seeds=[0])[0][0].action == "apply plus_comm."
    assert policy.propose(seen("P, Q : Prop\nH : P /\\ Q\n|- Q /\\ P"), 4, seeds=[0])[0][0].action == "split."


def test_neighbours_are_normalised_and_distinct() -> None:
    row = Neighbours([*EXAMPLES, ("A, B : Prop\n|- B", "apply H.")], k=5).propose(seen("x : nat\n|- B"), 9, seeds=[0])[
        0
    ]
    assert sum(math.exp(p.logp or 0.0) for p in row) == pytest.approx(1.0)
    assert len({p.action for p in row}) == len(row) == 4


def test_neighbours_answer_a_goal_without_known_features() -> None:
    assert Neighbours(EXAMPLES).propose(seen("%%%"), 2, seeds=[0])[0]


def test_neighbours_need_examples() -> None:
    with pytest.raises(DataError, match="at least one"):
        Neighbours([])


def test_what_is_learned_later_counts_as_if_known_before() -> None:
    online = Neighbours(k=3)
    assert online.propose(seen("|- x"), 2, seeds=[0]) == [[]]  # nothing known yet
    for example in (*EXAMPLES, EXAMPLES[0]):
        online.learn([example])
    assert len(online) == len(EXAMPLES)
    goal = seen("a, b : nat\n|- a + b * a = b + a")
    (now,), (before,) = (policy.propose(goal, 9, seeds=[0]) for policy in (online, Neighbours(EXAMPLES, k=3)))
    assert [one.action for one in now] == [one.action for one in before]
    assert [one.logp for one in now] == pytest.approx([one.logp for one in before])
    online.learn([("a, b : nat\n|- a + b * a = b + a", "ring.")])
    assert online.propose(goal, 1, seeds=[0])[0][0].action == "ring."


def test_a_rare_feature_decides() -> None:
    """With equal counts of shared features the rarer one makes the neighbour: weights are inverse frequencies."""
    common = [(f"|- p a{i}", f"common {i}.") for i in range(8)]
    policy = Neighbours([*common, ("|- q b", "rare.")], k=1)
    assert policy.propose(seen("|- p q"), 1, seeds=[0])[0][0].action == "rare."


def test_mixture_adds_probabilities_of_equal_actions() -> None:
    mixture = Mixture([(Fixed(["auto.", "lia."]), 1.0), (Fixed(["auto."]), 3.0)])
    row = mixture.propose([Observation("g")], 8, seeds=[0])[0]
    assert [p.action for p in row] == ["auto.", "lia."]
    assert [math.exp(p.logp or 0.0) for p in row] == pytest.approx([0.25 * 0.5 + 0.75, 0.25 * 0.5])


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6), st.integers(0, 40))
def test_shares_are_whole_and_fair(weights: list[float], n: int) -> None:
    given_out = shares(weights, n)
    assert sum(given_out) == n
    if n >= len(weights):
        assert min(given_out) >= 1


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_mixture_refuses_weights_that_are_not_positive(weight: float) -> None:
    with pytest.raises(ValueError, match="positive weight"):
        Mixture([(Fixed(["auto."]), weight)])
