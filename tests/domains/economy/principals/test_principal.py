"""One interface: what every principal promises, learners that resume, and the way to and from policies of the core."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surpass.conformance import check_policy
from surpass.core import Observation
from surpass.domains.economy.domain import Policymaking, recall, told
from surpass.domains.economy.principals.policies import Spoken, Written
from surpass.domains.economy.principals.principal import (
    PRINCIPALS,
    ByContext,
    Learner,
    Learning,
    PrincipalError,
    Rates,
    principal_of,
)
from surpass.domains.economy.society import (
    Context,
    Metrics,
    Rate,
    SettledRoom,
    Society,
    Surface,
    Term,
    surface,
)
from surpass.errors import ConfigError, DataError
from surpass.models.scripted import Scripted
from surpass.rollouts.runner import Budget, run
from surpass.search.sampling import sample
from tests.domains.economy.principals.govern import govern

ELSEWHERE = {"llm", "evollm", "metagrad"}  # they need a server, weights or a simulation, and have tests of their own
NUMERIC = [name for name in PRINCIPALS if name not in {"oracle", *ELSEWHERE}]
SOCIETIES: dict[str, Society] = {"surface": surface(1), "room": SettledRoom()}


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("society", SOCIETIES)
def test_answers_are_a_function_of_history_and_seed(name: str, society: str) -> None:
    """Whoever hands over the history of an interrupted run hears the same; another history is no matter either."""
    place = SOCIETIES[society]
    terms = 7 if name == "bayesian" else 12  # it takes a second for each answer
    history = govern(principal_of(name, place, seed=3), place, terms)
    again = principal_of(name, place, seed=3)
    for number in (terms, 5, 0, 6):
        context = history[number].context if number < terms else place.context(terms)
        fresh = principal_of(name, place, seed=3).ask(history[:number], context)
        assert again.ask(history[:number], context) == fresh
        assert number == terms or fresh == history[number].rates
    for term in history:
        assert all(rate.low <= found <= rate.high for found, rate in zip(term.rates, place.rates, strict=True))


class Counting:
    """Learns how many terms there were."""

    def __init__(self) -> None:
        self.terms = 0

    def learn(self, term: Term, *, seed: int) -> None:
        self.terms += 1

    def choose(self, context: Context, *, seed: int) -> Rates:
        return (float(self.terms),)


def test_a_learner_reads_only_what_is_new() -> None:
    begun = list[Counting]()

    def begin() -> Learner:
        begun.append(Counting())
        return begun[-1]

    principal, term = Learning(begin, seed=0), Term((0.0,), Metrics(1.0))
    assert [principal.ask((term,) * number, ()) for number in range(4)] == [(0.0,), (1.0,), (2.0,), (3.0,)]
    assert len(begun) == 1
    assert principal.ask((term,), ()) == (1.0,), "a shorter history is another one"
    assert principal.ask((Term((1.0,), Metrics(1.0)), term), ()) == (2.0,)
    assert len(begun) == 3


def test_it_thinks_in_one_thread_of_torch() -> None:
    """In two, products are rounded otherwise, and a run on another machine would take other turns."""
    threads, before = list[int](), torch.get_num_threads()

    class Noting(Counting):
        def __init__(self) -> None:
            super().__init__()
            threads.append(torch.get_num_threads())

        def learn(self, term: Term, *, seed: int) -> None:
            threads.append(torch.get_num_threads())

        def choose(self, context: Context, *, seed: int) -> Rates:
            threads.append(torch.get_num_threads())
            return (0.0,)

    try:
        torch.set_num_threads(2)
        Learning(Noting, seed=0).ask([Term((0.0,), Metrics(1.0))], ())
        assert (threads, torch.get_num_threads()) == ([1, 1, 1], 2)
    finally:
        torch.set_num_threads(before)


def test_contexts_share_nothing() -> None:
    one, two = (("lever", 1.0),), (("lever", 2.0),)
    principal = Learning(lambda: ByContext(lambda context: Counting()), seed=0)
    history = [Term((0.0,), Metrics(1.0), one)] * 3 + [Term((0.0,), Metrics(1.0), two)]
    assert (principal.ask(history, one), principal.ask(history, two)) == ((3.0,), (1.0,))


def test_what_is_no_principal_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        principal_of("randon", Surface(), seed=0)
    with pytest.raises(ConfigError, match=r"principal llm: missing .*'chat'; its options are: chat, without"):
        principal_of("llm", Surface(), seed=0)
    with pytest.raises(ConfigError, match=r"principal ucb: .*'level'; its options are: levels, coefficient"):
        principal_of("ucb", Surface(), seed=0, level=3)
    with pytest.raises(ConfigError, match="rate 1: expected a number from 0 to 1, found 2"):
        principal_of("fixed", Surface(), seed=0, rates=(2, 0))
    with pytest.raises(ConfigError, match="found nan"):
        principal_of("fixed", Surface(), seed=0, rates=(float("nan"), 0))


def test_random_rates_are_uniform() -> None:
    room = SettledRoom()
    drawn = np.array([term.rates for term in govern(principal_of("random", room, seed=1), room, 300)])
    assert drawn.shape == (300, 5)
    assert abs(drawn.mean() - 2.5) < 4 * 5 / np.sqrt(12 * 1500)
    assert np.quantile(drawn, [0.1, 0.9]) == pytest.approx([0.5, 4.5], abs=0.25)


words = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)
numbers = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.6g}"))
pairs = st.lists(st.tuples(words, numbers), max_size=3).map(tuple)


@given(st.lists(numbers, min_size=1, max_size=4), numbers, pairs, words, pairs)
def test_what_is_told_is_recalled(
    rates: list[float], welfare: float, values: Context, said: str, context: Context
) -> None:
    term = Term(tuple(rates), Metrics(welfare, values, said), context)
    known = "".join(f" [{name} {value:g}]" for name, value in context)
    assert recall(f"society: a\nrates: b\n1. {told(term)}\nterm 2 of 5{known}:\n") == ((term,), context)


@pytest.mark.parametrize("text", ["", "term 1 of 5", "society: a\nrates: b\nnothing\nterm 2 of 5:"])
def test_what_was_not_told_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="expected"):
        recall(text)


def test_a_principal_plays_the_domain_as_a_policy() -> None:
    domain = Policymaking(SOCIETIES, terms=3, problems=1)
    policy = Written(lambda society, seed: principal_of("random", society, seed=seed), SOCIETIES)
    problems = list(domain.problems("train"))
    check_policy(policy, [domain.observe(domain.start(problem)) for problem in problems])
    for found in run(partial(sample, n=1), problems, domain, policy, budget=Budget(proposals=9), seed=0):
        assert len(found.steps) == 3
        assert len(set(found.actions)) == 3
    with pytest.raises(DataError, match="surface, room"):
        policy.propose([Observation("society: another\n")], 1, seeds=[0])


def test_a_policy_that_speaks_is_a_principal() -> None:
    def describe(history: Sequence[Term], context: Context) -> str:
        return f"{len(history)} terms"

    rates, term = [Rate("tax")], Term((0.0,), Metrics(1.0))
    wrong = "0 terms\nYour last answer could not be used: tax: expected a number from 0 to 1, found 2.\n"
    policy = Scripted({"0 terms": ["2"], wrong: ["0.5"], "1 terms": ["much"]})
    principal = Spoken(policy, rates, describe, seed=0)
    assert principal.ask([], ()) == (0.5,)
    with pytest.raises(PrincipalError, match="term 2: no rates in 3 answers; the last: expected an answer"):
        principal.ask([term], ())
