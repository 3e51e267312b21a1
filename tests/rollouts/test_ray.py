"""On Ray as on this machine: the same trajectories, seed for seed, whoever is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from typing import Any

import psutil
import pytest

from surpass.core import Observation, Policy, Trajectory
from surpass.errors import ConfigError
from surpass.models.scripted import Automaton, Scripted, Uniform
from surpass.rollouts import runner
from surpass.rollouts.budget import Budget
from surpass.rollouts.runner import RunOptions
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from tests.automata import ACTIONS, forest

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own pipes and sockets
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
UNIFORM = Uniform(ACTIONS)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def found(run: object, options: RunOptions, policy: Policy = UNIFORM, seed: int = 3) -> list[Trajectory]:
    search = partial(sample, n=3, max_steps=6)
    domain = forest(6)
    assert callable(run)
    return list(run(search, domain.problems("train"), domain, policy, budget=Budget(), seed=seed, options=options))


def test_the_results_are_those_of_the_local_runner() -> None:
    from surpass.rollouts.ray import Replicas, run

    replicas = Replicas(UNIFORM, 2, num_cpus=0)
    for seed in (3, 4):
        expected = found(runner.run, RunOptions(), seed=seed)
        assert found(run, RunOptions(workers=2), seed=seed) == expected
    assert found(run, RunOptions(workers=1), replicas, seed=4) == expected
    observations = [Observation(str(index)) for index in range(5)]
    alone = UNIFORM.propose(observations, 2, seeds=range(5))
    assert replicas.propose(observations, 2, seeds=range(5)) == alone
    os.kill(pid_of(replicas.actors[0]), signal.SIGKILL)
    assert replicas.propose(observations, 2, seeds=range(5)) == alone
    replicas.close()


def pid_of(actor: Any) -> int:
    import ray

    asked: Any = actor.__ray_call__.remote(lambda self: os.getpid())
    told: Any = ray.get(asked)
    return int(told)


def test_an_actor_killed_in_mid_run_loses_nothing() -> None:
    from surpass.rollouts.ray import RayWorkers

    domain = forest(12)
    search = partial(sample, n=3, max_steps=6)
    expected = list(runner.run(search, domain.problems("train"), domain, UNIFORM))
    with RayWorkers(domain, 2) as pool:
        running = runner.run(search, domain.problems("train"), domain, UNIFORM, options=RunOptions(live=2, pool=pool))
        got = [next(running)]
        with pytest.raises(ConfigError, match="no other run"), pool.borrow():
            pass
        for worker in pool._workers:
            os.kill(pid_of(worker.actor), signal.SIGKILL)
        assert [*got, *running] == expected


@pytest.mark.slow  # six actors start, one after the other
def test_what_kills_twice_is_lost_and_what_hangs_is_killed() -> None:
    from surpass.rollouts.ray import run

    domain = forest(3, faults={"boom": "crash", "doze": "hang"})
    policy = Scripted({"n1": ["boom", "l"], "n2": ["doze", "l"]}, otherwise=["l", "r"])
    search = partial(best_first, width=2, max_depth=9)
    expected = list(runner.run(search, domain.problems("train"), forest(3), policy))
    options = RunOptions(workers=1, deadline=5.0)
    got = list(run(search, domain.problems("train"), domain, policy, options=options))
    assert sum(one.info["lost"] for one in got) >= 2
    assert [one.actions for one in got] == [one.actions for one in expected]


class Stuck(Automaton):
    """A domain that does not close."""

    def __enter__(self) -> Stuck:
        return self

    def __exit__(self, *_: object) -> None:
        raise ValueError("it does not close")


def test_a_domain_that_does_not_close_keeps_no_actor_alive() -> None:
    from surpass.rollouts.ray import RayWorkers

    plain = forest(4)
    domain = Stuck(**{one.name: getattr(plain, one.name) for one in fields(plain) if one.init})
    with RayWorkers(domain, 2) as pool:
        options = RunOptions(pool=pool)
        assert list(runner.run(sample, domain.problems("train"), domain, UNIFORM, options=options))
        pids = [pid_of(worker.actor) for worker in pool._workers]
    until = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_too_few_is_said() -> None:
    from surpass.rollouts.ray import RayWorkers, Replicas

    with pytest.raises(ConfigError, match="at least 1 actor"):
        RayWorkers(forest(1), 0)
    with pytest.raises(ConfigError, match="at least 1 replica"):
        Replicas(UNIFORM, 0)
