"""What experiments share: where a run begins, attempts recorded once and checked once more, counts by seed and problem.

A record is a run folder named ARM-SEED: `record` fills it, whole or not at all; `surpass.recorded` fills one problem
by problem, and puts the verdict of a fresh checker on its successes. `solved`, `correct` and `passes` lay the records
of an arm out for `evaluation.statistics`: one row for each seed, one column for each problem, the same ones for every
arm. Not here: what an arm is, and what is searched or sampled; that is each experiment's own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from surpass.core import Trajectory
from surpass.errors import DataError
from surpass.evaluation.passk import pass_at_k
from surpass.recorded import run_at, unchanged
from surpass.rollouts.budget import bill
from surpass.store import Run, reserve

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


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


def begin(
    name: str, config: DataclassInstance, *, out: Path | None, resume: Path | None, free: Collection[str] = ()
) -> Run:
    """Make the run folder of an experiment, or open the one to go on with: every experiment begins here.

    Raises ConfigError where that one was made with other settings. `free` names those that may differ, as what is
    finished does not depend on them or as they only add to it; the folder's configuration takes them over.
    """
    settings = {"experiment": name, **asdict(config)}
    if resume is None:
        return Run.create(out or reserve(name), settings)
    run = Run.open(resume)
    unchanged(run, settings, free=free)
    run.write_config(settings)
    return run


def record(path: Path, attempts: Callable[[], Iterable[Trajectory]], problems: int) -> Iterator[Trajectory]:
    """Carry out attempts, record and yield them, and sum up what they took; nothing where that was finished before.

    `seconds` is wall-clock time of all attempts together: problems share batches, so it cannot be told apart.
    """
    if (path / "summary.json").exists():
        return
    run = run_at(path, {"problems": problems})
    run.clear()  # an unfinished record starts again
    began = time.monotonic()
    for trajectory in attempts():
        run.append([trajectory])
        yield trajectory
    run.write_summary({"problems": problems, "seconds": time.monotonic() - began, **bill(run.trajectories())})


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the last weights of a training run. Raises DataError where it has none."""
    state = Run.open(path).load()
    if state is None:
        raise DataError(
            f"expected a checkpoint in {path}, found none; arms other than base and sft need `sft` before them"
        )
    found: dict[str, torch.Tensor] = state["policy"]
    return found


def units(folder: Path, arm: str) -> Iterator[Unit]:
    """Yield what an arm did with each seed that it has finished: a run may go on with fewer than it began with."""
    for path in sorted(one.parent for one in (folder / "search").glob(f"{arm}-*/summary.json")):
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
