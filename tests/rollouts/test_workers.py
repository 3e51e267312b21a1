"""Workers that crash, hang, raise and are killed: real processes, all of them gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import psutil
import pytest

from surpass.core import Conversation, Domain, Lost, Observation, Policy, Problem, Status, Trajectory, Verdict, apply
from surpass.errors import ConfigError, VerifierError
from surpass.models.scripted import Automaton, Place, Scripted, Uniform
from surpass.rollouts import workers
from surpass.rollouts.runner import RunOptions, run
from surpass.rollouts.workers import Workers
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from tests.automata import ACTIONS, forest

UNIFORM = Uniform(ACTIONS)
SEARCH = partial(sample, n=3, max_steps=6)


def gone(pids: set[int], seconds: float = 10.0) -> bool:
    """Wait until none of the processes runs any more."""
    until = time.monotonic() + seconds
    while alive := [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]:
        if time.monotonic() > until:
            return not alive
        time.sleep(0.02)
    return True


def found_by(domain: Domain[Place], options: RunOptions, policy: Policy = UNIFORM) -> list[Trajectory]:
    return list(run(SEARCH, domain.problems("train"), domain, policy, options=options))


def test_a_crash_is_tried_again_and_changes_nothing(tmp_path: Path) -> None:
    expected = found_by(forest(8), RunOptions())
    assert any("l" in one.actions for one in expected)
    crashing = forest(8, faults={"l": "crash"}, once=str(tmp_path))
    assert found_by(crashing, RunOptions(workers=2)) == expected
    assert [mark.name for mark in tmp_path.iterdir()] == [b"l".hex()]


def test_a_second_crash_is_lost_and_hurts_nobody_else() -> None:
    domain = forest(4, faults={"boom": "crash"})
    policy = Scripted({"n1": ["boom", "l"]}, otherwise=["l", "r"])
    search = partial(best_first, width=2, max_depth=9)
    expected = list(run(search, domain.problems("train"), forest(4), policy))
    found = list(run(search, domain.problems("train"), domain, policy, options=RunOptions(workers=1)))
    assert [one.info["lost"] for one in found] == [1, 1, 0, 0]
    assert [one.actions for one in found] == [one.actions for one in expected]
    rollouts = list(run(SEARCH, domain.problems("train"), domain, policy, options=RunOptions(workers=1)))
    lost = [one for one in rollouts if one.info["end"] == "lost"]
    assert lost
    for one in lost:
        assert one.verdict.status is Status.UNKNOWN
        assert one.verdict.evidence == "sample: lost, worker died (exit code -9), twice"


def test_a_hanging_step_is_killed_at_its_deadline() -> None:
    domain = forest(2, faults={"boom": "hang"})
    policy = Scripted({"n0": ["boom"]}, otherwise=["l", "r", "l"])
    began = time.monotonic()
    found = found_by(domain, RunOptions(workers=1, deadline=0.3), policy)
    assert time.monotonic() - began < 20
    assert [one.info["end"] for one in found[:3]].count("lost") == 1
    assert "exceeded 0.3 s" in next(one.verdict.evidence for one in found if one.info["end"] == "lost")
    assert all(one.info["end"] != "lost" for one in found if one.problem.key == "n1")


def test_a_lost_start_is_unknown() -> None:
    domain = Fragile(forest(3), "n1")
    found = found_by(domain, RunOptions(workers=1))
    lost = [one for one in found if one.problem.key == "n1"]
    assert [(one.verdict.status, one.info["end"], one.info["steps"]) for one in lost] == [(Status.UNKNOWN, "lost", 0)]
    assert len(found) == 7


def test_a_worker_killed_from_outside_changes_nothing() -> None:
    domain = forest(20)
    expected = found_by(domain, RunOptions())
    with Workers(domain, 2) as pool:
        before = set(pool.pids)
        running = run(SEARCH, domain.problems("train"), domain, UNIFORM, options=RunOptions(live=2, pool=pool))
        found = [next(running)]
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        found += running
        after = set(pool.pids)
    assert found == expected
    assert not before & after
    assert gone(before | after)


def test_closing_early_leaves_no_process_and_an_open_pool_usable() -> None:
    domain = forest(20)
    expected = found_by(domain, RunOptions())
    before = set(psutil.Process().children(recursive=True))
    running = run(SEARCH, domain.problems("train"), domain, UNIFORM, options=RunOptions(workers=2))
    next(running)
    running.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    started = set(psutil.Process().children(recursive=True)) - before
    assert not [one for one in started if "resource_tracker" not in " ".join(one.cmdline())]
    with Workers(domain, 1) as pool:
        options = RunOptions(pool=pool)
        for _ in range(2):
            running = run(SEARCH, domain.problems("train"), domain, UNIFORM, options=options)
            assert next(running) == expected[0]
            with pytest.raises(ConfigError, match="another run still uses this pool"):
                found_by(domain, options)
            running.close()  # type: ignore[attr-defined]
            assert found_by(domain, options) == expected
    with pytest.raises(ConfigError, match="not open"):
        found_by(domain, options)
    with pytest.raises(ConfigError, match="at least 1 process"):
        Workers(domain, 0)


SCRIPT = """
import sys
from surpass.models.scripted import Automaton, Scripted
from surpass.core import Problem
from surpass.rollouts.workers import Workers
if __name__ == "__main__":
    domain = Automaton({}, frozenset(), {}, faults={"x": "hang"})
    with Workers(domain, 2) as pool:
        pool.submit(Problem("a"), "")
        (_, (state, _)), = pool.collect(wait=True)
        pool.submit((state, "x"), "")
        list(pool.collect(wait=False))
        print(*pool.pids, flush=True)
        sys.stdin.read()
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = {int(pid) for pid in parent.stdout.readline().split()}
        assert len(pids) == 2
        assert all(map(psutil.pid_exists, pids))
        parent.kill()
    assert gone(pids)


@dataclass
class Fragile:
    """An automaton in worker processes that crashes, raises or gives odd things where told."""

    inner: Automaton
    crashes: str = ""  # the problem whose start kills the process

    def problems(self, split: str) -> Iterator[Problem]:
        return iter(self.inner.problems(split))

    def start(self, problem: Problem) -> Place:
        if problem.key == self.crashes:
            os._exit(3)
        return self.inner.start(problem)

    def observe(self, state: Place) -> Observation:
        return self.inner.observe(state)

    def step(self, state: Place, action: str) -> Place:
        if action == "odd":
            raise Odd(1, 2)
        if action == "pid":
            return replace(state, path=(str(os.getpid()),))
        if action == "slow":
            time.sleep(0.005)
        return replace(state, path=(lambda: None,)) if action == "local" else self.inner.step(state, action)  # type: ignore[arg-type]

    def verify(self, state: Place) -> Verdict | None:
        return self.inner.verify(state)


class Odd(Exception):  # noqa: N818
    """Pickles, but does not come back."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"odd {one} {two}")


@dataclass
class Opened(Fragile):
    """Holds a process of its own while it is open, and leaves marks."""

    folder: str = ""
    fails: str = ""
    child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        if self.fails == "raise":
            raise VerifierError("no such prover")
        if self.fails == "die":
            os._exit(5)
        self.child = subprocess.Popen(["sleep", "600"])
        Path(self.folder, f"{self.child.pid}.open").touch()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.wait()
        Path(self.folder, f"{self.child.pid}.closed").touch()


def test_a_domain_is_opened_and_closed_in_each_worker(tmp_path: Path) -> None:
    domain = Opened(forest(3), folder=str(tmp_path))
    with Workers(domain, 2) as pool:
        found_by(domain, RunOptions(pool=pool))
        until = time.monotonic() + 10
        while len(list(tmp_path.glob("*.open"))) < 2 and time.monotonic() < until:
            time.sleep(0.02)  # one worker may have done all
    opened, closed = ({int(one.stem) for one in tmp_path.glob(end)} for end in ("*.open", "*.closed"))
    assert len(opened) == 2
    assert opened == closed


def test_a_hung_worker_takes_its_children_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 0.1)
    domain = Opened(forest(1, faults={"x": "hang"}), folder=str(tmp_path))
    search, options = partial(sample, n=1), RunOptions(workers=1, deadline=0.2)
    running = run(search, domain.problems("train"), domain, Scripted({}, {}, "x"), options=options)
    assert next(running).info["end"] == "lost"
    running.close()  # type: ignore[attr-defined]
    opened = {int(one.stem) for one in tmp_path.glob("*.open")}
    assert len(opened) >= 2  # the first try and the second; perhaps the worker that came after
    assert gone(opened)


def test_a_domain_that_cannot_be_opened_is_our_trouble(tmp_path: Path) -> None:
    with pytest.raises(VerifierError, match="no such prover"):
        found_by(Opened(forest(1), folder=str(tmp_path), fails="raise"), RunOptions(workers=1))
    with pytest.raises(VerifierError, match=r"died \(exit code 5\), twice in a row"):
        found_by(Opened(forest(1), folder=str(tmp_path), fails="die"), RunOptions(workers=1))


def test_what_cannot_travel_is_our_trouble() -> None:
    domain = Fragile(forest(1))
    with Workers(domain, 1) as pool:
        for action, said in (("odd", "Odd: odd 1 2"), ("local", "local object|lambda")):
            with pytest.raises(VerifierError, match=said) as raised:
                found_by(domain, RunOptions(pool=pool), Scripted({}, {}, [action]))
            assert "In a worker" in "\n".join(raised.value.__notes__)


def pids(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    found: list[str] = []
    for size in (4, 4, 100):
        states = yield from apply([(state, "slow" if size == 100 and one % 4 else "pid") for one in range(size)])
        found += [one.path[0] for one in states if not isinstance(one, Lost) and one.path[0].isdigit()]
    yield Trajectory(problem, (), Verdict(Status.REJECTED, (0.0,)), {"small": set(found[:8]), "large": set(found[8:])})


def test_a_group_stays_on_its_worker_until_much_waits_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STALE", 0.1)
    domain = Fragile(forest(2))
    problems = [Problem(f"n{index}", group="ab"[index % 2]) for index in range(4)]
    with Workers(domain, 2) as pool:
        options = RunOptions(live=1, pool=pool)
        found = list(run(pids, problems, domain, UNIFORM, options=options))
        mine = set(map(str, pool.pids))
    small = [one.info["small"] for one in found]
    assert all(len(one) == 1 for one in small)
    assert small[0] == small[2] != small[1] == small[3]
    assert any(one.info["large"] == mine for one in found)


@dataclass(frozen=True)
class Heavy:
    """States of a quarter of a megabyte: more than a pipe takes in unless the other end reads."""

    def problems(self, split: str) -> list[Problem]:
        return [Problem(f"{index}", data={"size": 1 << 18}) for index in range(3)]

    def start(self, problem: Problem) -> Place:
        return Place(problem.key, (), "0" * problem.data["size"])

    def observe(self, state: Place) -> Observation:
        return Observation("heavy")

    def step(self, state: Place, action: str) -> Place:
        time.sleep(0.02)  # long enough to be sent more meanwhile, which it does not read before it has answered
        return replace(state, node=state.node[:-1] + action)

    def verify(self, state: Place) -> Verdict | None:
        return None


def fan(domain: Domain[Place], problem: Problem, state: Place, /) -> Conversation[None]:
    for _ in range(2):
        states = yield from apply([(state, "1") for _ in range(5)])
        assert all(isinstance(one, Place) and one.node.endswith("01") for one in states)
    yield Trajectory(problem, (), Verdict(Status.REJECTED, (0.0,)))


def test_large_states_do_not_make_both_ends_wait_to_be_read() -> None:
    done = list(run(fan, Heavy().problems("train"), Heavy(), UNIFORM, options=RunOptions(workers=1)))
    assert len(done) == 3


@dataclass(frozen=True)
class Eager:
    """An automaton that can begin with steps, except with those that need patience; `said` is a file, for workers."""

    inner: Automaton
    said: str

    def problems(self, split: str) -> Iterable[Problem]:
        return self.inner.problems(split)

    def start(self, problem: Problem) -> Place:
        return self.inner.start(problem)

    def observe(self, state: Place) -> Observation:
        return self.inner.observe(state)

    def verify(self, state: Place) -> Verdict | None:
        return self.inner.verify(state)

    def ahead(self, state: Place, action: str) -> bool:
        self._note(f"begin {action}")
        return action != "patience"

    def step(self, state: Place, action: str) -> Place:
        self._note(f"step {action}")
        return self.inner.step(state, action)

    def _note(self, line: str) -> None:
        with Path(self.said).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


@pytest.mark.parametrize("processes", [0, 1])
def test_the_next_step_has_begun_when_one_is_waited_for(tmp_path: Path, processes: int) -> None:
    said = tmp_path / "said"
    domain = Eager(forest(1), str(said))
    (problem,) = domain.problems("train")
    start = domain.start(problem)
    actions = ["l", "r", "patience", "l"]

    def all_at_once(_: object, problem: Problem, state: Place, /) -> Conversation[None]:
        yield from apply([(start, action) for action in actions])
        yield Trajectory(problem, (), Verdict(Status.REJECTED, (0.0,)))

    (found,) = run(all_at_once, [problem], domain, UNIFORM, options=RunOptions(workers=processes))
    assert found.info["steps"] == 4
    told = said.read_text(encoding="utf-8").split("\n")[:-1]
    begun_twice = ["begin patience", "step r", "begin patience", "step patience"]  # the domain said: not yet
    assert told == ["begin l", "begin r", "step l", *begun_twice, "begin l", "step l"]


def test_what_was_begun_for_a_run_that_is_over_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    domain = forest(20)
    eager = Eager(domain, str(tmp_path / "said"))
    expected = found_by(domain, RunOptions())
    with Workers(eager, 1) as pool:
        running = run(SEARCH, domain.problems("train"), eager, UNIFORM, options=RunOptions(pool=pool))
        next(running)
        running.close()  # type: ignore[attr-defined]
        assert found_by(eager, RunOptions(pool=pool)) == expected


def test_a_busy_worker_is_sent_more() -> None:
    domain = forest(1)
    (problem,) = domain.problems("train")
    with Workers(domain, 1) as pool, pool.borrow():
        for _ in range(200):
            pool.submit((domain.start(problem), "l"), "")
        answers = 0
        while pool.busy:
            answers += len(list(pool.collect(wait=True)))
            (worker,) = pool._workers
            assert len(worker.sent) == (workers.CHUNK if worker.queue else 200 - answers)
        assert answers == 200
