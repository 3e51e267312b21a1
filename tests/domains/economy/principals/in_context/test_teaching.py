"""Demonstrations: what was done, and what in hindsight should have been."""

import numpy as np
import pytest

from surpass.domains.economy.landscapes import landscape
from surpass.domains.economy.principals.history import parse_line
from surpass.domains.economy.principals.in_context.reading import TERMS, UNIT, Past, past_of
from surpass.domains.economy.principals.in_context.teaching import (
    TEACHERS,
    Demonstrations,
    example,
    lessons,
    play,
)
from surpass.domains.economy.principals.principal import principal_of
from surpass.domains.economy.society import read

PAST = Past(
    np.array([[0.1], [0.2], [0.3], [0.4], [0.5], [0.6]]),
    np.array([3.0, 1.0, 5.0, 9.0, 4.0, 2.0]),
    np.array([1, 2, 1, 2, 1, 1]),
)


def test_what_was_done_and_what_was_best_from_there_on() -> None:
    done, best = lessons("0", PAST, 0)
    assert done.actions == ("$0.10$", "$0.20$", "$0.30$", "$0.40$", "$0.50$", "$0.60$")
    # In context 1 the third term stays the best: from there on nothing is to be learned.
    assert best.actions == ("$0.30$", "$0.40$", "$0.30$", "$0.40$")
    assert [step.observation.text.endswith("[aim 1] ") for step in best.steps] == [True] * 4
    assert [step.observation.text.split("\n")[-1] for step in best.steps] == [
        "1. [context 1] [aim 1] ",
        "2. [context 2] [aim 1] ",
        "3. [context 1] [best 1 0.100] [aim 1] ",
        "4. [context 2] [best 1 0.200] [aim 1] ",
    ]


def test_hindsight_by_the_rule_on_histories_of_teachers() -> None:
    for seed in range(10):
        past = example(seed)
        _, best = lessons("0", past, seed)
        targets = {}
        for step in best.steps:
            number = int(step.observation.text.split("\n")[-1].partition(".")[0])
            targets[number - 1] = read(step.proposal.action, UNIT[past.shares.shape[1]])
        for index in range(TERMS):
            same = np.flatnonzero(past.kinds == past.kinds[index])
            top = same[past.welfare[same].argmax()]
            assert (index in targets) == (top >= index)
            if top >= index:
                assert targets[index] == tuple(past.shares[top])


def test_welfare_is_told_in_many_ways_and_in_order() -> None:
    told = []
    for seed in range(40):
        text = lessons("0", PAST, seed)[0].steps[-1].observation.text
        told.append([parse_line(line, UNIT[1]).welfare for line in text.split("\n")[1:-1]])
    for row in told:
        assert np.argsort(row).tolist() == np.argsort(PAST.welfare[:5]).tolist()
        assert all(1.9 <= welfare <= 98.1 for welfare in row)
        assert max(row) - min(row) > 8
    assert np.std([row[3] for row in told]) > 10


def test_a_history_is_that_of_its_seed() -> None:
    first, again, other = example(3), example(3), example(4)
    assert np.array_equal(first.shares, again.shares)
    assert np.array_equal(first.welfare, again.welfare)
    assert not np.array_equal(first.welfare, other.welfare)
    assert len(first.welfare) == TERMS


def test_teachers_take_turns_on_one_history() -> None:
    one = landscape(1, ["bowl"], rates=(3,))
    teachers = [principal_of(name, one, seed=2) for name in TEACHERS]
    history = play(one, teachers, 7)
    writers = [
        {
            name
            for name, teacher in zip(TEACHERS, teachers, strict=True)
            if teacher.ask(history[:n], t.context) == t.rates
        }
        for n, t in enumerate(history)
    ]
    assert all(writers)
    assert set.union(*writers[1:]) == set(TEACHERS)
    past, _ = past_of(history, (), one.rates)
    assert past.welfare.tolist() == [term.metrics.welfare for term in history]


def test_demonstrations_are_made_when_asked_for() -> None:
    some = Demonstrations([PAST, example(0)], 5)
    assert list(some) == ["0", "1"]
    assert some["1"] == some["1"]
    assert {trajectory.problem.key for trajectory in some["0"]} == {"0"}
    assert some.get("7", ()) == ()
    with pytest.raises(KeyError):
        some["7"]
