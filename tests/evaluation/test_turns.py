"""Ways that take turns: all of them step, nobody at once, and failures are told."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from surpass.errors import SurpassError
from surpass.evaluation.turns import in_turns


def stepping(log: Path, name: str, steps: int, ended: Callable[[], None]) -> tuple[str, int]:
    for number in range(steps):
        with log.open("a") as file:
            file.write(f"{name}{number} ")
        time.sleep(0.02)
        with log.open("a") as file:
            file.write(f"{name}{number}\n")
        ended()
    return name, os.getpid()


def failing(ended: Callable[[], None]) -> tuple[str, int]:
    ended()
    raise ValueError("no more")


def dying(ended: Callable[[], None]) -> tuple[str, int]:
    ended()
    os._exit(3)


class Unborn:
    """A way whose process ends as it is read there."""

    def __call__(self, ended: Callable[[], None]) -> tuple[str, int]:
        raise AssertionError

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (3,)


def test_each_turn_holds_a_step_of_each_and_nobody_steps_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    seconds, found = in_turns({name: partial(stepping, log, name, 3) for name in "ab"}, 3)
    lines = log.read_text().splitlines()
    assert all(line.split()[0] == line.split()[1] for line in lines)
    assert [{line.split()[0] for line in lines[i : i + 2]} for i in (0, 2, 4)] == [{f"a{i}", f"b{i}"} for i in range(3)]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    assert all(time >= 0.02 for times in seconds.values() for time in times)
    assert {name: said for name, (said, _) in found.items()} == {"a": "a", "b": "b"}
    assert len({os.getpid(), *(process for _, process in found.values())}) == 3


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (failing, "bad: (?s:.*)ValueError: no more"),
        (dying, "bad: its process has died"),
        (Unborn(), "bad: its process has died"),
        (partial(stepping, Path(os.devnull), "b", 1), "bad: expected its step, found its end"),
        (partial(stepping, Path(os.devnull), "b", 9), "bad: expected its end, found its step"),
    ],
)
def test_a_way_that_fails_or_takes_another_number_of_steps_is_told_by_name(
    way: Callable[[Callable[[], None]], tuple[str, int]], said: str
) -> None:
    good: Callable[[Callable[[], None]], tuple[str, int]] = partial(stepping, Path(os.devnull), "a", 3)
    before = set(multiprocessing.active_children())
    with pytest.raises(SurpassError, match=said):
        in_turns({"good": good, "bad": way}, 3)
    assert set(multiprocessing.active_children()) <= before
