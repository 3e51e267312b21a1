from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Apply, Observation, Problem, Proposal, Propose, Score, Status, Trajectory, Verdict
from surpass.rollouts.budget import COSTS, Ask, Budget, Cost, bill, generated, price
from surpass.rollouts.seeds import derive_seed

SEEN = Observation("a")
PROPOSE, SCORE, APPLY = Propose((SEEN,) * 3, 4), Score((SEEN,) * 5), Apply(((0, "x"), (1, "y")))


@pytest.mark.parametrize(
    ("ask", "cost"), [(PROPOSE, Cost(proposals=12)), (SCORE, Cost(proposals=5)), (APPLY, Cost(steps=2))]
)
def test_price(ask: Ask, cost: Cost) -> None:
    assert price(ask) == cost


def test_tokens_are_counted_when_they_come_back() -> None:
    rows = [[Proposal("x", None, (1, 2)), Proposal("y", None, (3,))], [], [Proposal("z")]]
    assert Cost(1, 2, 3) + generated(rows) == Cost(1, 2, 6)


@pytest.mark.parametrize(
    ("budget", "spent", "ask", "refused"),
    [
        (Budget(), Cost(10**9, 10**9, 10**9), PROPOSE, ""),
        (Budget(proposals=12), Cost(), PROPOSE, ""),
        (Budget(proposals=12), Cost(proposals=1), PROPOSE, "proposals"),
        (Budget(proposals=12), Cost(proposals=8), SCORE, "proposals"),
        (Budget(proposals=0), Cost(), APPLY, ""),
        (Budget(steps=2), Cost(), APPLY, ""),
        (Budget(steps=2), Cost(steps=1), APPLY, "steps"),
        (Budget(tokens=5), Cost(tokens=4), PROPOSE, ""),
        (Budget(tokens=5), Cost(tokens=5), PROPOSE, "tokens"),
        (Budget(tokens=5), Cost(tokens=9), APPLY, ""),  # what was generated may still be tried
        (Budget(seconds=2.0), Cost(), APPLY, "seconds"),
        (Budget(seconds=2.1), Cost(), APPLY, ""),
    ],
)
def test_an_ask_that_would_exceed_a_limit_is_refused(budget: Budget, spent: Cost, ask: Ask, refused: str) -> None:
    reason = budget.refusal(spent, ask, 2.0)
    assert reason.startswith(refused) if refused else reason == ""


def test_seeds_are_fixed_for_ever() -> None:
    assert derive_seed(0, 1, "and_comm", 2, 3, 4) == 5583659806034130097


def test_seeds_differ_by_every_part() -> None:
    parts = list(product(range(3), range(3), ["p", "q", "1"], range(2), range(5), range(8)))
    assert len({derive_seed(*part) for part in parts}) == len(parts)
    assert derive_seed("a", "bc") != derive_seed("ab", "c")
    assert derive_seed(1) != derive_seed("1")


@given(st.lists(st.integers() | st.text(), max_size=4))
def test_seeds_fit_in_63_bits(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63
    assert derive_seed(*parts) == derive_seed(*json.loads(json.dumps(parts)))


def test_a_bill_counts_each_conversation_once() -> None:
    def record(key: str, cost: int, **info: int) -> Trajectory:
        return Trajectory(Problem(key), (), Verdict(Status.REJECTED, (0.0,)), {**dict.fromkeys(COSTS, cost), **info})

    total = {f"total_{name}": 5 for name in COSTS}
    found = [
        record("a", 1, replica=0, **total),
        record("a", 3, replica=0, **total),
        record("a", 4, replica=1),
        record("b", 2),
        record("b", 7),  # of an older version: costs add up, so the last counts
    ]
    assert bill(found) == dict.fromkeys(COSTS, 5 + 4 + 7)
    assert bill([]) == dict.fromkeys(COSTS, 0)
