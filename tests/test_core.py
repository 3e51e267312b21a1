from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest

from surpass.core import (
    Apply,
    BudgetSpent,
    Conversation,
    Lost,
    Observation,
    Problem,
    Proposal,
    Propose,
    Score,
    Scored,
    Status,
    Trajectory,
    Verdict,
    apply,
    inside,
    propose,
    replay,
    score,
)
from tests.automata import diamond, forest

SEEN = Observation("a", key="a")


def record(name: str) -> Trajectory:
    return Trajectory(Problem(name), (), Verdict(Status.REJECTED, (0.0,)))


def test_problem_equality_ignores_data_but_pickling_keeps_it() -> None:
    problem = Problem("p", data={"solution": ["x"]})
    copy = pickle.loads(pickle.dumps(problem))
    assert problem == Problem("p")
    assert hash(problem) == hash(Problem("p"))
    assert copy == problem
    assert copy.data == {"solution": ["x"]}
    assert Problem("p", group="f") != problem


def test_trajectory_equality_ignores_info() -> None:
    assert record("p") == Trajectory(Problem("p"), (), Verdict(Status.REJECTED, (0.0,)), {"seconds": 3.0})
    assert record("p") != record("q")


def test_asks_carry_what_was_given_and_return_what_is_sent() -> None:
    asking = propose([SEEN, SEEN], 3)
    assert next(asking) == Propose((SEEN, SEEN), 3)
    with pytest.raises(StopIteration) as proposed:
        asking.send([[Proposal("x")], []])
    assert proposed.value.value == [[Proposal("x")], []]
    scoring = score([SEEN])
    assert next(scoring) == Score((SEEN,))
    with pytest.raises(StopIteration) as scored:
        scoring.send([Scored((1.0,))])
    assert scored.value.value == [Scored((1.0,))]
    applying = apply([(1, "x"), (2, "y")])
    assert next(applying) == Apply(((1, "x"), (2, "y")))
    with pytest.raises(StopIteration) as applied:
        applying.send([3, Lost("gone")])
    assert applied.value.value == [3, Lost("gone")]


def inner(names: Sequence[str], closed: list[str]) -> Conversation[None]:
    try:
        for name in names:
            rows = yield from propose([SEEN], 1)
            yield record(name + rows[0][0].action)
    except BudgetSpent:
        yield record("spent")
    finally:
        closed.append("closed")


def test_inside_forwards_asks_and_stops_when_there_is_enough() -> None:
    closed: list[str] = []
    outer = inside(inner("abc", closed), lambda found: len(found) == 2)
    assert next(outer) == Propose((SEEN,), 1)
    assert outer.send([[Proposal("1")]]) == Propose((SEEN,), 1)
    assert not closed
    with pytest.raises(StopIteration) as end:
        outer.send([[Proposal("2")]])
    assert end.value.value == [record("a1"), record("b2")]
    assert closed == ["closed"]


def test_inside_passes_a_spent_budget_on() -> None:
    closed: list[str] = []
    outer = inside(inner("abc", closed), lambda found: False)
    next(outer)
    outer.send([[Proposal("1")]])
    with pytest.raises(StopIteration) as end:
        outer.throw(BudgetSpent("proposals"))
    assert end.value.value == [record("a1"), record("spent")]


def test_inside_lets_a_spent_budget_out_where_the_search_does_not_catch_it() -> None:
    outer = inside(propose_once(), lambda found: True)
    next(outer)
    with pytest.raises(BudgetSpent):
        outer.throw(BudgetSpent("proposals"))


def propose_once() -> Conversation[None]:
    yield from propose([SEEN], 1)


def test_inside_returns_what_there_is_when_the_search_ends() -> None:
    outer = inside(inner("", []), lambda found: True)
    with pytest.raises(StopIteration) as end:
        next(outer)
    assert end.value.value == []


@pytest.mark.parametrize(
    ("actions", "status", "end", "length"),
    [
        (["up", "join", "finish"], Status.ACCEPTED, "verdict", 3),
        (["up", "join", "finish", "more"], Status.ACCEPTED, "verdict", 3),  # stops at the verdict
        (["up", "nonsense", "finish"], Status.REJECTED, "verdict", 2),
        (["up"], Status.REJECTED, "depth", 1),
        ([], Status.REJECTED, "depth", 0),
    ],
)
def test_replay(actions: list[str], status: Status, end: str, length: int) -> None:
    played = replay(diamond(), Problem("a"), actions)
    assert (played.verdict.status, played.info["end"], len(played.steps)) == (status, end, length)
    assert list(played.actions) == actions[:length]
    assert played.solved == (status is Status.ACCEPTED)
    if played.steps:
        assert played.steps[0].observation.text == "a"


def test_replay_of_a_problem_that_is_over_at_once() -> None:
    played = replay(forest(), Problem("n31"), ["l"])
    assert played.solved
    assert played.steps == ()
