from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.core import Observation, Problem
from surpass.domains.proofs.encoder import DualEncoder, fit
from surpass.domains.proofs.retrieval import (
    BM25,
    Demand,
    Premise,
    Rank,
    Retriever,
    chance,
    fused,
    order,
    recall,
    recent,
    words,
)
from surpass.domains.proofs.rocq.by_name import FORMS, ByName
from surpass.domains.proofs.text import offered, render
from surpass.errors import DataError

PREMISES = (
    Premise("Nat.add_comm", "forall n m : nat, n + m = m + n"),
    Premise("Nat.mul_comm", "forall n m : nat, n * m = m * n"),
    Premise("app_nil_r", "forall (A : Type) (l : list A), l ++ nil = l"),
    Premise("rev_involutive", "forall (A : Type) (l : list A), rev (rev l) = l"),
)
PROBLEM = Problem("p")


def first(rank: Rank, goal: str) -> str:
    return PREMISES[order(rank(PROBLEM, goal, PREMISES))[0]].name


def test_bm25_finds_what_shares_rare_words() -> None:
    rank = BM25(PREMISES)
    assert first(rank, "a, b : nat\n|- a * b = b * a") == "Nat.mul_comm"
    assert first(rank, "|- x ++ nil = x") == "app_nil_r"
    assert first(rank, "|- rev (rev y) = y\n\n|- a * b = 0") == "rev_involutive"  # the first goal alone


def test_bm25_gives_each_premise_the_score_of_the_whole_index() -> None:
    """What is accessible changes which scores are returned, never a score."""
    rank = BM25(PREMISES)
    goal = "|- a + b = b"
    whole = rank(PROBLEM, goal, PREMISES)
    assert rank(PROBLEM, goal, PREMISES[2:]) == pytest.approx(whole[2:])
    assert rank(PROBLEM, goal, PREMISES) == pytest.approx(whole)


WORDS, ENCODER = BM25(PREMISES), DualEncoder(PREMISES, width=4)


@settings(deadline=None)  # the first query of a process is slow
@given(st.text())
def test_any_text_has_words_and_scores(text: str) -> None:
    assert all(words(text))
    for rank in (WORDS, ENCODER.rank):
        scores = rank(PROBLEM, text, PREMISES)
        assert scores.shape == (len(PREMISES),)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("rank", [recent, chance, fused(recent, chance)])
def test_a_ranking_orders_what_it_is_given(rank: Rank) -> None:
    for count in range(len(PREMISES) + 1):
        scores = rank(PROBLEM, "|- x", PREMISES[:count])
        assert sorted(order(scores).tolist()) == list(range(count))


def test_recent_prefers_the_newest_and_chance_depends_on_the_goal() -> None:
    assert order(recent(PROBLEM, "g", PREMISES)).tolist() == [3, 2, 1, 0]
    orders = {tuple(order(chance(PROBLEM, f"g{i}", PREMISES)).tolist()) for i in range(20)}
    assert len(orders) > 5


def test_fusion_prefers_what_rankings_agree_on() -> None:
    def fixed(*scores: float) -> Rank:
        return lambda problem, goals, accessible: np.array(scores, dtype=np.float32)

    rank = fused(fixed(9, 8, 0, 1), fixed(0, 8, 9, 1))
    assert first(rank, "|- x") == PREMISES[1].name


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12), st.data())
def test_recall_grows_to_one(scores: list[float], data: st.DataObject) -> None:
    used = data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1))
    found = recall(np.array(scores, dtype=np.float32), used, range(1, len(scores) + 1))
    assert found == sorted(found)
    assert found[-1] == 1
    assert found[0] in (0, 1 / len(used))


def test_an_encoder_learns_what_words_do_not_say() -> None:
    """Each goal's premise shares no word with it: only training can tell."""
    goals = ["|- alpha beta", "|- gamma delta", "|- epsilon zeta", "|- eta theta"]
    demands = [Demand(PROBLEM, goal, PREMISES, frozenset([i])) for i, goal in enumerate(goals)]
    encoder = DualEncoder(PREMISES, width=32, seed=1)
    losses = fit(encoder, demands, epochs=30, rate=1e-2)
    assert losses[-1] < losses[0] / 3
    assert [first(encoder.rank, goal) for goal in goals] == [one.name for one in PREMISES]
    same = DualEncoder(PREMISES, width=32, seed=1)
    assert fit(same, demands, epochs=30, rate=1e-2) == losses
    with pytest.raises(DataError, match="found none"):
        fit(encoder, [])


def test_vectors_follow_the_weights() -> None:
    """Vectors kept from before a training must not be used after it."""
    encoder = DualEncoder(PREMISES, width=16)
    before = encoder.rank(PROBLEM, "|- alpha", PREMISES)
    fit(encoder, [Demand(PROBLEM, "|- alpha", PREMISES, frozenset([2]))], epochs=5, rate=1e-2)
    after = encoder.rank(PROBLEM, "|- alpha", PREMISES)
    fresh = DualEncoder(PREMISES, width=16)
    fresh.load_state_dict(encoder.state_dict())
    assert not np.allclose(before, after)
    assert fresh.rank(PROBLEM, "|- alpha", PREMISES) == pytest.approx(after, abs=1e-6)


def test_other_premises_of_a_goal_are_no_negatives() -> None:
    """With two used premises both rise above the unused ones, whichever was drawn."""
    demand = Demand(PROBLEM, "|- alpha", PREMISES, frozenset([0, 3]))
    encoder = DualEncoder(PREMISES, width=16)
    fit(encoder, [demand] * 4, epochs=30, rate=1e-2)
    assert set(order(encoder.rank(PROBLEM, "|- alpha", PREMISES))[:2].tolist()) == {0, 3}


def test_what_is_retrieved_is_offered_the_best_last_and_used_by_name() -> None:
    retriever = Retriever(lambda problem: PREMISES, BM25(PREMISES), k=2)
    lines = retriever(PROBLEM, "|- a * b = b * a")
    assert len(lines) == 2
    assert lines[-1] == PREMISES[1].line
    text = render("|- a * b = b * a", [], "|- a * b = b * a", lines)
    assert offered(text)[0] == "Nat.mul_comm"
    (row,) = ByName().propose([Observation(text)], 6, seeds=[0])
    assert row[0].action == "apply Nat.mul_comm."
    assert [one.logp for one in row] == sorted((one.logp for one in row if one.logp is not None), reverse=True)
    (every,) = ByName().propose([Observation(text)], 99, seeds=[0])
    assert len({one.action for one in every}) == 2 * len(FORMS)
    assert sum(math.exp(one.logp or 0.0) for one in every) == pytest.approx(1.0)
    assert ByName().propose([Observation("|- A")], 6, seeds=[0]) == [[]]


@given(st.text())
def test_nothing_is_offered_by_a_text_without_premises(text: str) -> None:
    assert offered(render(text, [], text)) == []
