"""Every search finds the same whatever the schedule: alone, sixteen at once, here or in worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

from surpass.core import Search, Trajectory
from surpass.domains.proofs.kernel.domain import Kernel, State, pose
from surpass.models.scripted import Uniform
from surpass.rollouts.runner import RunOptions, run
from surpass.rollouts.workers import Workers
from surpass.search import SEARCHES

PROBLEMS = [
    pose(statement)
    for statement in (
        r"A /\ B -> B /\ A",
        "(A -> B) -> (B -> C) -> A -> C",
        r"A \/ B -> B \/ A",
        "A -> B -> A",
        "A -> B",
    )
]


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers[State]]:
    with Workers(Kernel(history=False), 2) as workers:
        yield workers


@pytest.mark.parametrize("name", SEARCHES)
def test_schedules(name: str, pool: Workers[State]) -> None:
    module, _, function = SEARCHES[name].partition(":")
    search: Search[State] = getattr(import_module(module), function)
    domain, policy = Kernel(history=False), Uniform()

    def found(options: RunOptions, seed: int = 7) -> list[Trajectory]:
        return list(run(search, PROBLEMS, domain, policy, seed=seed, options=options))

    def content(trajectories: list[Trajectory]) -> list[tuple[object, ...]]:
        clock = ("seconds", "verifier_seconds", "total_seconds", "total_verifier_seconds")
        infos = [{key: value for key, value in one.info.items() if key not in clock} for one in trajectories]
        return [(one, info) for one, info in zip(trajectories, infos, strict=True)]

    alone = content(found(RunOptions(live=1)))
    assert content(found(RunOptions(live=16))) == alone
    assert content(found(RunOptions(live=16, pool=pool))) == alone
    assert content(found(RunOptions(live=16), seed=8)) != alone
