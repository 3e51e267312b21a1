"""What experiments with several arms share: attempts recorded once, checked once more, and counted by seed and problem.

A record is a run folder named ARM-SEED: `record` fills it, whole or not at all, and `recheck` puts the verdict of a
fresh checker on its successes. `solved`, `correct` and `passes` lay the records of an arm out for
`evaluation.statistics`: one row for each seed, one column for each problem, the same ones for every arm. Not here: what
an arm is, and what is searched or sampled; that is each experiment's own.
"""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from surpass.core import Problem, Status, Trajectory
from surpass.errors import ConfigError, DataError
from surpass.evaluation.diversity import actions_key
from surpass.evaluation.passk import pass_at_k
from surpass.store import Run
from surpass.verdicts import remembered
from surpass.verify import CHECKERS, Terms

T = TypeVar("T")
COSTS = ("proposals", "steps", "tokens", "verifier_seconds")  # of a bill that `record_problems` adds up
Proof = tuple[str, Hashable]  # problem key; the actions up to white space, and what was loaded besides the file


@dataclass(frozen=True, slots=True)
class Unit:
    """What one arm did with one seed."""

    seed: int
    search: list[Trajectory]
    samples: list[Trajectory]
    cost: Mapping[str, float]  # of the search: proposals, steps, tokens, seconds, problems


def sampled(items: Sequence[T], n: int) -> list[T]:
    """Return `n` of the items, always the same ones, in their order; all where there are no more."""
    if n >= len(items):
        return list(items)
    chosen = set(random.Random(0).sample(range(len(items)), n))
    return [item for i, item in enumerate(items) if i in chosen]


def run_at(path: Path, config: Mapping[str, object]) -> Run:
    """Open the run folder at a path, made with `config` where there is none yet."""
    return Run.open(path) if (path / "config.json").exists() else Run.create(path, config)


def unchanged(run: Run, config: Mapping[str, object], *, free: Collection[str] = ()) -> None:
    """Raise ConfigError where a run would go on under other settings than those of its finished parts.

    `free` names the settings that parts do not depend on.
    """
    known, asked = run.config(), json.loads(json.dumps(dict(config), default=str))
    if different := sorted(name for name in asked if name not in free and known.get(name) != asked[name]):
        raise ConfigError(
            f"{run.path} has parts of other settings: {', '.join(different)} differ; go on without these flags, or "
            "start a new run"
        )


def record(path: Path, attempts: Callable[[], Iterable[Trajectory]], problems: int) -> Iterator[Trajectory]:
    """Carry out attempts, record and yield them, and sum up what they took; nothing where that was finished before.

    `seconds` is wall-clock time of all attempts together: problems share batches, so it cannot be told apart.
    """
    if (path / "summary.json").exists():
        return
    run = run_at(path, {"problems": problems})
    run.resume()  # an unfinished record starts again
    began, bills = time.monotonic(), dict[str, Mapping[str, int]]()
    for trajectory in attempts():
        run.append([trajectory])
        bills[trajectory.problem.key] = trajectory.info  # costs add up within a problem: the last counts
        yield trajectory
    totals = {name: sum(bill[name] for bill in bills.values()) for name in ("proposals", "steps", "tokens")}
    run.write_summary({"problems": problems, "seconds": time.monotonic() - began, **totals})


Attempts = Callable[[Sequence[Problem]], Iterable[Trajectory]]


def record_problems(
    path: Path, problems: Sequence[Problem], attempts: Attempts, *, console: Console | None = None
) -> None:
    """Record attempts at all problems, in order, and sum up what they took; finished problems are not tried again.

    Unlike `record` it goes on where it was interrupted: a checkpoint knows how many problems are finished. Raises
    ConfigError where the record is of other problems.
    """
    kept = run_at(path, {"problems": len(problems)})
    finished = (path / "summary.json").exists()  # its verdicts may be a fresh checker's: the checkpoint is older
    state: dict[str, Any] = {"finished": len(problems)} if finished else kept.resume() or {"finished": 0}
    keys = list(dict.fromkeys(one.problem.key for one in kept.trajectories()))
    if keys != [one.key for one in problems[: state["finished"]]]:
        raise ConfigError(f"{path} holds the record of other problems than those asked for now; start a new run")
    if finished:
        return
    clock = _Clock(state.get("seconds", 0.0), state.get("prover_seconds", 0.0))
    bills: list[Mapping[str, float]] = []
    rest = problems[state["finished"] :]
    groups = groupby(attempts(rest), key=lambda one: one.problem.key)
    shown = console or Console(stderr=True, quiet=True)
    for _, group in track(groups, path.name, total=len(rest), console=shown, disable=console is None):
        kept.append(list(group))
        state = {"finished": state["finished"] + 1, **clock.read()}
        kept.save(state)
    for _, group in groupby(kept.trajectories(), key=lambda one: one.problem.key):
        bills.append(list(group)[-1].info)  # costs add up within a problem: the last counts
    totals = {name: sum(bill[name] for bill in bills) for name in COSTS}
    kept.write_summary({"problems": len(problems), **clock.read(), **totals})


class _Clock:
    """Wall-clock seconds, and CPU seconds of the processes below this one: those of the provers."""

    def __init__(self, seconds: float, prover_seconds: float) -> None:
        self._wall, self._cpu = time.monotonic() - seconds, _children() - prover_seconds

    def read(self) -> dict[str, float]:
        return {"seconds": time.monotonic() - self._wall, "prover_seconds": _children() - self._cpu}


def _children() -> float:
    """Return the CPU seconds of all processes below this one, those that have ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the last weights of a training run. Raises DataError where it has none."""
    state = Run.open(path).load()
    if state is None:
        raise DataError(
            f"expected a checkpoint in {path}, found none; arms other than base and sft need `sft` before them"
        )
    found: dict[str, torch.Tensor] = state["policy"]
    return found


def recheck(checker: str, folder: Path) -> dict[str, int]:
    """Put the verdict of a fresh checker on every success of the searches and samples; return how many stand."""
    records = {
        run: list(run.trajectories()) for kind in ("search", "samples") for run in map(Run, _parts(folder / kind))
    }
    distinct = {_proof(t): t for trajectories in records.values() for t in trajectories if t.solved}
    verdicts = dict(zip(distinct, CHECKERS[checker](list(distinct.values()), Terms(remembered())), strict=True))
    for run, trajectories in records.items():
        run.rewrite(replace(t, verdict=verdicts[_proof(t)]) if t.solved else t for t in trajectories)
    standing = sum(verdict.status is Status.ACCEPTED for verdict in verdicts.values())
    return {"proofs": len(verdicts), "standing": standing}


def _parts(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/summary.json"))


def _proof(trajectory: Trajectory) -> Proof:
    return trajectory.problem.key, (actions_key(trajectory), tuple(trajectory.problem.data.get("preamble", ())))


def units(folder: Path, arm: str) -> Iterator[Unit]:
    """Yield what an arm did with each seed."""
    for path in sorted((folder / "search").glob(f"{arm}-*")):
        samples = folder / "samples" / path.name
        yield Unit(
            int(path.name.rpartition("-")[2]),
            list(Run.open(path).trajectories()),
            list(Run.open(samples).trajectories()) if samples.exists() else [],
            Run.open(path).summary(),
        )


def solved(found: Iterable[Unit], problems: Sequence[str]) -> NDArray[np.float64]:
    """Return whether best-first search solved each problem [seeds, problems]."""
    rows = []
    for unit in found:
        proved = {t.problem.key for t in unit.search if t.solved}
        rows.append([float(key in proved) for key in problems])
    return np.array(rows)


def correct(found: Sequence[Unit], problems: Sequence[str]) -> NDArray[np.int64]:
    """Return how many samples solved each problem [seeds, problems]."""
    table = np.zeros((len(found), len(problems)), dtype=np.int64)
    column = {key: i for i, key in enumerate(problems)}
    for row, unit in zip(table, found, strict=True):
        for trajectory in unit.samples:
            row[column[trajectory.problem.key]] += trajectory.solved
    return table


def passes(found: Sequence[Unit], problems: Sequence[str]) -> dict[str, float]:
    """Return pass@k for powers of two up to the number of samples, averaged over seeds and problems.

    Every problem was sampled equally often; an UNKNOWN sample counts as one that failed.
    """
    if not all(unit.samples for unit in found):
        return {}
    drawn, table = len(found[0].samples) // len(problems), correct(found, problems)
    return {str(2**i): float(pass_at_k(drawn, table, 2**i).mean()) for i in range(drawn.bit_length())}
