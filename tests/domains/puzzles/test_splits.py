from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.puzzles.splits import SPLITS, require, signature, split_of
from surpass.errors import DataError

PATH: list[tuple[str, ...]] = [("P", low, high) for low, high in pairwise("abcde")]
RELATIONS = st.lists(
    st.tuples(st.sampled_from("PQ"), st.sampled_from("abcd"), st.sampled_from("abcd"))
    | st.tuples(st.just("S"), st.sampled_from("abcd")),
    min_size=1,
    max_size=8,
)


@given(RELATIONS, st.permutations("abcd"), st.integers(0, 99))
def test_the_signature_forgets_names_and_order(relations: list[tuple[str, ...]], names: list[str], seed: int) -> None:
    mixed = dict(zip("abcd", names, strict=True))
    renamed = [(name, *(mixed[one] for one in objects)) for name, *objects in relations]
    random.Random(seed).shuffle(renamed)
    assert signature(renamed + renamed[:1]) == signature(relations)


def test_the_signature_tells_what_differs() -> None:
    different: list[list[tuple[str, ...]]] = [
        [("P", "a", "b")],
        [("P", "b", "b")],
        [("Q", "a", "b")],
        [("P", "a", "b"), ("P", "b", "a")],
        [("P", "a", "b"), ("P", "b", "c")],
        [("P", "a", "b"), ("P", "c", "b")],
        [("P", "b", "a"), ("P", "b", "c")],
        [("P", "a", "b"), ("P", "b", "c"), ("P", "c", "d")],
        [("P", "a", "b"), ("P", "c", "d")],
        [("P", "a", "b"), ("S", "a")],
        [("P", "a", "b"), ("S", "b")],
        [("P", "a", "b"), ("Q", "b", "c"), ("S", "a")],
        [("P", "a", "b"), ("Q", "b", "c"), ("S", "c")],
        [*PATH, ("S", "b")],  # these two differ only in what stands two steps away
        [*PATH, ("S", "c")],
        [],
        [("N",)],
        [("P", "a", "b"), ("N",)],
    ]
    assert len({signature(one) for one in different}) == len(different)


def test_eight_of_ten_are_for_training() -> None:
    found = [split_of(str(number)) for number in range(2000)]
    shares = [found.count(split) / 2000 for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    require("valid", "x")
    with pytest.raises(DataError, match="train, valid, test"):
        require("dev", "x")
