"""Policymaking as a domain, the societies that answer at once, and reading rates out of text."""

from __future__ import annotations

import math
import pickle
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.conformance import check_domain
from surpass.core import Status, replay
from surpass.domains.economy.bring import from_function
from surpass.domains.economy.domain import Case, Policymaking
from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.society import (
    Metrics,
    Rate,
    SettledRoom,
    Surface,
    Term,
    checked,
    read,
    surface,
    write,
)
from surpass.errors import ConfigError, DataError

TWO = [Rate("tax"), Rate("fine", 0.0, 3.0)]


@pytest.mark.parametrize(
    "text",
    ["0.5 2", " 0.5,2 ", "[0.5; 2]", "$0.5, 2$", "I propose $[0.5, 2]$ again.", '{"fine": 2, "tax": 0.5}', "5e-1 +2.0"],
)
def test_rates_are_read(text: str) -> None:
    assert read(text, TWO) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected 2 numbers (tax, fine), found ''"),
        ("0.5", "expected 2 numbers"),
        ("0.5 2 1", "expected 2 numbers"),
        ("half 2", "expected 2 numbers"),
        ("nan 2", "expected 2 numbers"),
        ("1_0 2", "expected 2 numbers"),
        ("1e999 2", "tax: expected a number from 0 to 1, found inf"),
        ("1e99 2", "tax: expected a number from 0 to 1"),
        ("0.5 -1", "fine: expected a number from 0 to 3, found -1"),
        ("$0.5 2", "expected 2 numbers"),
        ('{"tax": 0.5}', "expected a JSON object of tax, fine"),
        ('{"tax": 0.5, "fine": NaN}', "expected 2 numbers"),
        ('{"tax": 0.5, "fine": [1]}', "expected 2 numbers"),
        ('{"tax": true, "fine": 1}', "expected 2 numbers"),
        ("{", "expected JSON"),
        ("[" * 5000, "expected 2 numbers"),
        ('{"a":' * 100_000, "expected JSON"),
        ("0.5 ２", "expected 2 numbers"),
    ],
)
def test_what_is_no_rates_says_why(text: str, says: str) -> None:
    found = read(text, TWO)
    assert isinstance(found, str)
    assert says in found
    assert len(found) < 300


@given(st.text())
def test_reading_never_raises(text: str) -> None:
    assert isinstance(read(text, TWO), tuple | str)


@given(st.tuples(st.floats(0, 1), st.floats(0, 3)))
def test_what_is_written_is_read_exactly(rates: tuple[float, float]) -> None:
    assert read(write(rates), TWO) == rates
    assert checked(rates, TWO) == rates


def test_a_play_by_hand() -> None:
    asked: list[tuple[float, int]] = []

    def society(rates: dict[str, float], seed: int) -> dict[str, float]:
        asked.append((rates["tax"], seed))
        return {"welfare": rates["tax"], "cost": 1.0}

    domain = Policymaking({"mine": Case(from_function(society, {"tax": (0, 1)}), target=0.5)}, terms=2)
    problem = next(iter(domain.problems("train")))
    state = domain.start(problem)
    assert domain.verify(state) is None
    first = domain.step(state, "0.25")
    assert first.history == (Term((0.25,), Metrics(0.25, (("cost", 1.0),))),)
    text = domain.observe(first).text
    assert text == "society: mine\nrates: tax (0 to 1)\n1. 0.25 -> welfare 0.25; cost 1\nterm 2 of 2:\n"
    poor, rich = domain.verify(domain.step(first, "0.5")), domain.verify(domain.step(first, "1"))
    assert poor is not None
    assert rich is not None
    assert (poor.status, poor.returns) == (Status.REJECTED, (0.375,))
    assert (rich.status, rich.returns) == (Status.ACCEPTED, (0.625,))
    wrong = domain.verify(domain.step(first, "2"))
    assert wrong is not None
    assert "tax: expected a number from 0 to 1" in wrong.evidence
    assert len(asked) == 3, "a replay asks no society twice"
    domain.step(first, "1.0")
    assert len(asked) == 3
    assert len({seed for _, seed in asked}) == 2, "each term has a seed of its own"


def test_splits_hold_different_seeds() -> None:
    domain = Policymaking()
    seeds = [{problem.data["seed"] for problem in domain.problems(split)} for split in ("train", "validation", "test")]
    assert not set.intersection(*seeds)
    with pytest.raises(DataError, match="train, validation, test"):
        list(domain.problems("none"))
    other = Policymaking({"flat": surface(1)})
    with pytest.raises(DataError, match="expected one of the societies flat"):
        other.start(next(iter(domain.problems("train"))))


def test_contract_with_other_terms() -> None:
    check_domain(Policymaking({"room": Case(SettledRoom(), 140.0, SettledRoom().best_rates)}, terms=2), "validation")


def test_it_pickles_as_its_configuration() -> None:
    domain = Policymaking(terms=2, problems=3)
    copy = pickle.loads(pickle.dumps(domain))
    assert [problem.key for problem in copy.problems("test")] == [problem.key for problem in domain.problems("test")]


def test_no_terms_and_no_problems_are_refused() -> None:
    with pytest.raises(ConfigError, match="terms"):
        Policymaking(terms=0)
    with pytest.raises(ConfigError, match="problems"):
        Policymaking(problems=0)
    with pytest.raises(ConfigError, match="societies"):
        Policymaking({})


def test_a_surface_is_best_at_its_best() -> None:
    flat, chance = surface(3, rates=4, noise=0.0), np.random.default_rng(0)
    best = flat.step(flat.best, seed=0).welfare
    assert best == flat.peak
    for _ in range(50):
        assert flat.step(chance.random(4).tolist(), seed=0).welfare < best
    noisy = Surface(noise=0.5)
    drawn = [noisy.step((0.5, 0.5), seed=seed).welfare for seed in range(2000)]
    assert abs(np.std(drawn) - 0.5) < 0.05
    assert drawn[0] == noisy.step((0.5, 0.5), seed=0).welfare


def test_settled_agents_open_the_door_only_where_it_pays() -> None:
    room = SettledRoom(RoomRules(live=1))
    for pay, welfare in ((0.0, 0.0), (0.9, -1.0), (1.5, 140.0)):
        for seed in range(5):
            assert room.step([0, pay, 0, 0, 0], seed=seed).welfare == welfare
    assert room.step([1.5, 0, 0, 0, 0], seed=0).welfare < 0, "paying for a dead lever"
    assert dict(room.step([0, 1.5, 0, 0, 0], seed=0).values)["cost"] == 2 * 5 * 1.5
    assert room.context(0) == (("live lever", 2.0),)


def test_the_default_societies_are_solved_as_said() -> None:
    domain = Policymaking()
    for problem in islice(domain.problems("train"), 8):
        assert replay(domain, problem, problem.data["solution"]).solved
        lazy = replay(domain, problem, ["0 0 0 0 0" if "room" in problem.key else "0 0 0"] * 5)
        assert lazy.verdict.status is Status.REJECTED
        assert math.isfinite(lazy.verdict.returns[0])
