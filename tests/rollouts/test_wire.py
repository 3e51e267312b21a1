"""Problems travel once, whatever carries them, and what comes back is the problem that was sent."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import Pipe
from typing import cast

import pytest

from surpass.core import Problem
from surpass.rollouts import wire
from surpass.rollouts.wire import Wire, heard

Ends = tuple[Wire, Wire]
Message = list[tuple[Problem, str]]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = Pipe()
    with ours, theirs:
        yield Wire(ours, teaches=True), Wire(theirs, teaches=False)


def large(key: str) -> Problem:
    return Problem(key, data={"solution": [f"{key} {line}" for line in range(500)]})


def sent(end: Wire, message: object, other: Wire) -> Message:
    end.send(message)
    return cast(Message, other.receive())


def size(end: Wire, message: object, other: Wire) -> int:
    end.send(message)
    return len(other.pipe.recv_bytes())


def test_a_problem_travels_once_and_comes_back_itself(ends: Ends) -> None:
    parent, child = ends
    one, two = large("one"), large("two")
    (arrived, _), _ = sent(parent, [(one, "a"), (two, "b")], child)
    assert arrived == one
    assert arrived is not one
    assert arrived.data == one.data
    (again, word), (same, _) = sent(child, [(arrived, "c"), (arrived, "d")], parent)
    assert again is one
    assert same is one
    assert word == "c"
    assert sent(parent, [(one, "e")], child)[0][0] is arrived
    assert size(parent, [(one, "e"), (two, "f")], child) < 200
    assert size(parent, [(large("one"), "g")], child) > 3000


def test_a_problem_that_the_worker_made_arrives_whole(ends: Ends) -> None:
    parent, child = ends
    made = large("made")
    for _ in range(2):
        ((found, _),) = sent(child, [(made, "a")], parent)
        assert found.data == made.data
    assert sent(child, sent(parent, [(found, "b")], child), parent)[0][0] is found


def test_nothing_is_learned_from_what_cannot_be_sent(ends: Ends) -> None:
    parent, child = ends
    one = large("one")
    with pytest.raises((AttributeError, TypeError)):
        parent.send([(one, lambda: None)])
    assert sent(parent, [(one, "a")], child)[0][0].data == one.data


def test_only_so_many_are_kept(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "KEPT", 3)
    parent, child = ends
    problems = [large(f"{index}") for index in range(9)]
    for start in (0, 1, 4, 2, 0, 5, 6, 7, 0):
        wanted = [(problem, "x") for problem in problems[start : start + 2]]
        arrived = sent(parent, wanted, child)
        assert [one.data for one, _ in arrived] == [one.data for one, _ in wanted]
        assert all(back is one for (back, _), (one, _) in zip(sent(child, arrived, parent), wanted, strict=True))
        parent.send([])  # an interruption teaches nothing and forgets nothing
        assert all(back is one for (back, _), (one, _) in zip(sent(child, arrived, parent), wanted, strict=True))
        assert child.receive() == []
        assert len(child._known) <= 3


def test_what_has_no_room_is_not_sent_and_not_learned(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, child = ends
    one, two = large("one"), large("two")
    assert parent.offer([(one, "a")], 100) is None
    assert not child.waiting()
    written = parent.offer([(one, "a")], 1 << 16)
    assert written is not None
    assert child.waiting()
    ((arrived, _),) = cast(Message, child.receive())
    assert arrived.data == one.data
    monkeypatch.setattr(wire, "KEPT", 1)
    assert parent.offer([(two, "b")], 1 << 16) is None  # `one` would lose its number while an answer may name it
    assert sent(child, [(arrived, "c")], parent)[0][0] is one
    assert sent(parent, [(two, "b")], child)[0][0].data == two.data


def test_who_has_something_to_say_is_heard(ends: Ends) -> None:
    parent, child = ends
    assert heard(ends, 0.0) == []
    parent.send([])
    assert heard(ends, 1.0) == [child]
    child.receive()
    child.pipe.close()
    assert heard([parent], 1.0) == [parent]
    with pytest.raises(EOFError):
        parent.receive()
