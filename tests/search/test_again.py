from __future__ import annotations

from functools import partial

import pytest

from surpass.conformance import check_search
from surpass.core import Search, Status
from surpass.errors import ConfigError
from surpass.models.scripted import Automaton, Place, Scripted, Uniform
from surpass.rollouts.runner import Budget, run
from surpass.search.again import again
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from tests.automata import ACTIONS, diamond, forest

SHORT = partial(sample, n=2, max_steps=1)  # never long enough for the diamond


@pytest.mark.parametrize("search", [partial(sample, n=2, max_steps=3), partial(best_first, width=2, solutions=9)])
def test_it_keeps_the_contract_of_a_search(search: Search[Place]) -> None:
    domain = forest()
    check_search(partial(again, search=search, rounds=3), domain, domain.problems("train"), Uniform(ACTIONS))


def test_the_budget_is_used_up_and_no_more() -> None:
    domain = diamond()
    search = partial(again, search=SHORT)
    (found,) = run(search, domain.problems("train"), domain, Uniform(("up", "down")), budget=Budget(steps=9))
    assert found.info["steps"] == 8  # rounds of two calls; a fifth would need ten
    assert found.info["round"] == 4
    assert (found.verdict.status, found.info["end"]) == (Status.UNKNOWN, "budget")


def test_rounds_end_it_without_a_budget() -> None:
    domain = diamond()
    (found,) = run(partial(again, search=SHORT, rounds=3), domain.problems("train"), domain, Uniform(("up", "down")))
    assert (found.info["steps"], found.info["round"], found.info["end"]) == (6, 2, "depth")


def test_proofs_differ_and_come_as_they_are_found() -> None:
    """Two ways lead to the goal: each is yielded once, with what had been spent by then, however often it is met."""
    domain = Automaton({"a": {"x": "g", "y": "g"}}, frozenset({"g"}), {"train": ("a",)})
    one = partial(sample, n=1, max_steps=1)
    found = list(run(partial(again, search=one, solutions=5), domain.problems("train"), domain, Uniform(("x", "y"))))
    assert sorted(record.actions for record in found) == [("x",), ("y",)]
    assert [record.info["steps"] for record in found] == [record.info["round"] + 1 for record in found]
    assert found[0].info["steps"] == 1


def test_enough_is_enough() -> None:
    domain = diamond()
    policy = Scripted({"a": ["up"], "b": ["join"], "d": ["finish"]})
    (found,) = run(partial(again, search=best_first), domain.problems("train"), domain, policy)
    assert found.solved
    assert found.info["round"] == 0


def test_a_search_that_does_not_hear_of_the_budget_ends_it() -> None:
    def deaf(domain, problem, state):  # type: ignore[no-untyped-def]
        from surpass.core import apply

        while True:
            yield from apply([(state, "up")])

    domain = diamond()
    (found,) = run(
        partial(again, search=deaf), domain.problems("train"), domain, Uniform(ACTIONS), budget=Budget(steps=3)
    )
    assert found.verdict.status is Status.UNKNOWN


def test_counts_below_one_are_refused() -> None:
    domain = diamond()
    for search, option in ((partial(again, rounds=0), "rounds"), (partial(again, solutions=0), "solutions")):
        with pytest.raises(ConfigError, match=f"{option}=0"):
            list(run(partial(search, search=SHORT), domain.problems("train"), domain, Uniform(ACTIONS)))
