"""Every search of the name table, held to its contract on automata."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import import_module

import pytest

from surpass.conformance import check_search
from surpass.core import Search
from surpass.errors import ConfigError
from surpass.models.scripted import Place, Scripted, Uniform
from surpass.rollouts.runner import run
from surpass.search import SEARCHES
from tests.automata import ACTIONS, by_seed, diamond, forest


@pytest.fixture(params=SEARCHES)
def search(request: pytest.FixtureRequest) -> Search[Place]:
    module, _, name = SEARCHES[request.param].partition(":")
    found: Search[Place] = getattr(import_module(module), name)
    return found


def test_contract_where_actions_fail(search: Search[Place]) -> None:
    domain = forest()
    check_search(search, domain, domain.problems("train"), Uniform(ACTIONS))


def test_contract_where_legal_actions_are_known(search: Search[Place]) -> None:
    domain, policy = by_seed(forest())
    check_search(search, domain, domain.problems("train"), policy)


def test_contract_where_verdicts_are_unknown(search: Search[Place]) -> None:
    domain = replace(forest(), faults={"r": "unknown"})
    check_search(search, domain, domain.problems("train"), Uniform(ACTIONS))


def test_contract_where_the_policy_says_little(search: Search[Place]) -> None:
    domain = diamond()
    check_search(search, domain, domain.problems("train"), Scripted({"a": ["up"], "b": ["join"]}))
    check_search(search, domain, domain.problems("train"), Scripted({}))


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name, options in {
            "best_first": ("width", "expansions", "nodes_per_ask", "max_depth", "solutions"),
            "beam": ("width", "beam", "max_depth", "solutions"),
            "mcts": ("simulations", "leaves", "max_depth", "solutions"),
            "whole": ("n", "rounds", "max_depth"),
            "refine": ("n", "rounds", "max_depth"),
            "diverse": ("width", "expansions", "nodes_per_ask", "max_depth", "solutions"),
        }.items()
        for option in options
    ],
)
def test_a_count_below_one_is_refused(name: str, option: str) -> None:
    module, _, function = SEARCHES[name].partition(":")
    search = getattr(import_module(module), function)
    domain = diamond()
    with pytest.raises(ConfigError, match=f"{option}=0"):
        list(run(partial(search, **{option: 0}), domain.problems("train"), domain, Uniform(ACTIONS)))
