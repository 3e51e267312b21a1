"""Attempts at problems, recorded so that an interrupted run goes on, and checked once more when all are made.

A record is a run folder. `record_problems` fills it problem by problem, and tells apart what the attempts took;
`recheck` puts the verdict of a fresh checker on every success of a folder of records. Not here: what is attempted, by
whom, and what the records say.
"""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track

from surpass.core import Problem, Status, Trajectory, Verdict
from surpass.errors import ConfigError
from surpass.evaluation.diversity import actions_key
from surpass.rollouts.budget import bill
from surpass.store import Run
from surpass.verdicts import remembered
from surpass.verify import Terms, ask

Proof = tuple[str, Hashable]  # problem key; the actions up to white space, and what was loaded besides the file


def run_at(path: Path, config: Mapping[str, object], *, free: Collection[str] = ()) -> Run:
    """Open the run folder at a path, made with `config` where there is none yet: so begins what may be resumed.

    Raises ConfigError where it was made with other settings than these; `free` names those that may differ.
    """
    if not (path / "config.json").exists():
        return Run.create(path, config)
    run = Run.open(path)
    unchanged(run, config, free=free)
    return run


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


Attempts = Callable[[Sequence[Problem]], Iterable[Trajectory]]


def record_problems(
    path: Path, problems: Sequence[Problem], attempts: Attempts, *, console: Console | None = None
) -> None:
    """Record attempts at all problems, in order, and sum up what they took; finished problems are not tried again.

    Unlike `record` it goes on where it was interrupted: a checkpoint knows how many problems are finished. Raises
    ConfigError where the record is of other problems.
    """
    kept = run_at(path, {"problems": len(problems)}, free=("problems",))  # their keys are looked at below
    finished = (path / "summary.json").exists()  # its verdicts may be a fresh checker's: the checkpoint is older
    state: dict[str, Any] = {"finished": len(problems) if finished else 0}
    if not finished and kept.checkpoint_path.exists():
        state = kept.resume() or state
    elif not finished:
        kept.clear()  # interrupted at the first problem
    keys = list(dict.fromkeys(one.problem.key for one in kept.trajectories()))
    if keys != [one.key for one in problems[: state["finished"]]]:
        raise ConfigError(f"{path} holds the record of other problems than those asked for now; start a new run")
    if finished:
        return
    clock = _Clock(state.get("seconds", 0.0), state.get("prover_seconds", 0.0))
    rest = problems[state["finished"] :]
    groups = groupby(attempts(rest), key=lambda one: one.problem.key)
    shown = console or Console(stderr=True, quiet=True)
    for _, group in track(groups, path.name, total=len(rest), console=shown, disable=console is None):
        kept.append(list(group))
        state = {"finished": state["finished"] + 1, **clock.read()}
        kept.save(state)
    kept.write_summary({"problems": len(problems), **clock.read(), **bill(kept.trajectories())})


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


def recheck(checker: str, folder: Path) -> dict[str, int]:
    """Put the verdict of a fresh checker on every success of the searches and samples; return how many stand.

    A record keeps what was claimed first (`info["claim"]`, the evidence of its search), so a later call asks again
    about every claim: a proof about which the checker was not sure counts as not found until it is.
    """
    records = {
        run: list(run.trajectories()) for kind in ("search", "samples") for run in map(Run, _parts(folder / kind))
    }
    distinct = {_proof(t): t for trajectories in records.values() for t in trajectories if _claimed(t)}
    verdicts = dict(zip(distinct, ask(checker, list(distinct.values()), Terms(remembered())), strict=True))
    for run, trajectories in records.items():
        run.rewrite(_judged(t, verdicts[_proof(t)]) if _claimed(t) else t for t in trajectories)
    said = Counter(verdict.status for verdict in verdicts.values())
    return {"proofs": len(verdicts), "standing": said[Status.ACCEPTED], "unknown": said[Status.UNKNOWN]}


def _claimed(trajectory: Trajectory) -> bool:
    return trajectory.solved or "claim" in trajectory.info


def _judged(trajectory: Trajectory, verdict: Verdict) -> Trajectory:
    info = {"claim": trajectory.verdict.evidence, **trajectory.info}
    return replace(trajectory, verdict=verdict, info=info)


def _parts(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/summary.json"))


def _proof(trajectory: Trajectory) -> Proof:
    return trajectory.problem.key, (actions_key(trajectory), tuple(trajectory.problem.data.get("preamble", ())))
