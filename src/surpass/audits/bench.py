"""Every objective against the exact target that theory names for it: total variation over the whole space, no samples.

For each task, objective and seed: make the policy, train it with `train` on its own samples (imitation: on
demonstrations), then sum over the space. A policy that is far from its target before and within 0.02 of it afterwards
has an objective that does what its docstring says. Results: `objectives/audits.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from surpass.audits.arms import ARMS, Arm
from surpass.audits.learning import learn
from surpass.audits.spaces import Measures, exact, measure
from surpass.audits.tasks import TASKS, WRITTEN, Task
from surpass.bounds import at_least
from surpass.errors import ConfigError
from surpass.evaluation.statistics import bootstrap
from surpass.objectives import OBJECTIVES
from surpass.recipe import TrainConfig
from surpass.rollouts.processes import process_pool

CLOSE = 0.02  # the total variation to stay below where an objective promises its target


@dataclass(frozen=True)
class BenchConfig:
    """What to audit. All of it takes two cores about an hour (estimated), most of it for `grpo`."""

    tasks: tuple[str, ...] = tuple(TASKS)  # bits, kernel, game24, blocksworld: tables; bit_words, integer: transformers
    objectives: tuple[str, ...] = tuple(OBJECTIVES)
    seeds: int = 3
    steps: int = 0  # of training; 0: as many as the task says
    workers: int = 2  # processes; 0: this one
    json: Path | None = None  # where to write the rows, too


@dataclass(frozen=True, slots=True)
class Row:
    """One task, space and objective: means over seeds. `ci95` is a bootstrap interval of the total variation, too
    narrow for few seeds."""

    task: str
    space: str
    objective: str
    arm: str
    converges: str
    total_variation: float
    ci95: tuple[float, float]
    total_variation_before: float
    log_z_error: float | None  # None where the objective learns no log Z, or promises nothing
    coverage: float  # of solutions, by 256 samples
    coverage_target: float
    correlation: float | None  # of log p (less log p_ref where the target is relative) with log R
    elsewhere: float  # the policy's mass on everything that is wrong
    elsewhere_target: float
    learns_from: Lesson
    seeds: int

    @property
    def promised(self) -> bool:
        """Whether theory names the target."""
        return ARMS[self.arm].promised


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured."""

    rows: tuple[Row, ...]

    def table(self) -> Table:
        """Return the figures as a table to print."""
        promised = [row for row in self.rows if row.promised]
        close = sum(row.total_variation < CLOSE for row in promised)
        table = Table(
            title="Objectives against their exact targets",
            caption=f"total variation below {CLOSE} in {close} of {len(promised)} rows where theory names the target; "
            "in brackets, where it names none; found and elsewhere: of the policy / of the target",
        )
        for column in ("task, space X", "objective"):
            table.add_column(column)
        for column in ("TV before", "after", "95 %", "log Z off", "found", "corr.", "elsewhere"):
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(
                f"{row.task}: {row.space}",
                row.arm,
                f"{row.total_variation_before:.2f}",
                f"{row.total_variation:.3f}" if row.promised else f"({row.total_variation:.3f})",
                "-".join(f"{end:.3f}" for end in row.ci95),
                "" if row.log_z_error is None else f"{row.log_z_error:.3f}",
                f"{row.coverage:.2f}/{row.coverage_target:.2f}",
                "" if row.correlation is None else f"{row.correlation:.2f}",
                f"{row.elsewhere:.3f}/{row.elsewhere_target:.3f}",
            )
        return table


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training: measures before and after, by name of the space."""

    before: dict[str, Measures]
    after: dict[str, Measures]
    log_z_error: float | None
    lesson: Lesson


Cell = tuple[str, str, int]  # task, arm, seed
Lesson = Literal["demonstrations", "samples", "the whole space"]


def audit(cell: Cell, steps: int = 0) -> Outcome:
    """Train once and measure. Everything is made from the cell, so it may run in any process."""
    name, chosen, seed = cell
    task, arm = TASKS[name](seed), ARMS[chosen]
    target = arm.target(task)

    def measured() -> dict[str, Measures]:
        against = partial(
            measure,
            task.space,
            exact(task.policy, task.space),
            target.log_q,
            relative=arm.relative,
            conditional=arm.conditional,
        )
        found = {task.space_name: against()}
        if task.classes is not None:
            label, same = task.classes
            found[label] = against(classes=[same(leaf) for leaf in task.leaves])
        return found

    before = measured()
    source = lesson(task, arm)
    whole = source != "samples" and not task.sampled  # a table without noise: longer steps
    numbers = TrainConfig(
        steps=steps or (task.steps if name in WRITTEN else (300 if whole else task.steps) * arm.effort),
        learning_rate=0.3 if whole else task.learning_rate,
        head_learning_rate=1.0 if whole else 0.1,
        schedule="cosine",
        clip=50.0 if whole else 5.0,
        seed=seed,
    )
    shown = {"demonstrations": task.demonstrations, "samples": (), "the whole space": task.leaves}[source]
    group = arm.samples * task.group
    last = learn(task, arm.function(), numbers, heads=arm.made_heads(task), group=group, demonstrations=shown)
    learned = last.get("log_z")
    error = None if learned is None or target.log_z is None else abs(learned - target.log_z)
    return Outcome(before, measured(), error, source)


def lesson(task: Task, arm: Arm) -> Lesson:
    """Return what a policy learns from: its samples, where nothing else would do, or where the task asks for them."""
    if arm.teacher == "demonstrations":
        return "demonstrations"
    return "samples" if task.sampled or arm.teacher == "policy" else "the whole space"


def main(config: BenchConfig) -> Report:
    """Measure everything and return it; after every training the rows so far are written to `config.json`.

    Raises ConfigError for unknown names, and where there is nothing to do.
    """
    _check(config)
    cells = [
        (task, arm, seed)
        for task in config.tasks
        for arm in ARMS
        if ARMS[arm].objective in config.objectives and (task in WRITTEN or not ARMS[arm].written)
        for seed in range(config.seeds)
    ]
    if not cells:
        raise ConfigError(f"bench objectives: {config.objectives} need a task of whole texts: {', '.join(WRITTEN)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: dict[Cell, Outcome] = {}
    rows: tuple[Row, ...] = ()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("audits", total=len(cells))
        for cell, outcome in _carried_out(cells, config):
            outcomes[cell] = outcome
            rows = _written(config, outcomes)
            progress.update(bar, advance=1, description=f"{cell[0]}: {cell[1]}")
    return Report(rows)


def _written(config: BenchConfig, outcomes: dict[Cell, Outcome]) -> tuple[Row, ...]:
    """Return the rows of all that is done, after writing them: who interrupts the rest loses nothing."""
    rows = tuple(row for task in config.tasks for arm in ARMS for row in _rows(task, arm, outcomes))
    if config.json is not None:
        config.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return rows


def _carried_out(cells: list[Cell], config: BenchConfig) -> Iterator[tuple[Cell, Outcome]]:
    if not config.workers:
        yield from ((cell, audit(cell, config.steps)) for cell in cells)
        return
    with process_pool(min(config.workers, len(cells))) as pool:
        asked: dict[Future[Outcome], Cell] = {pool.submit(audit, cell, config.steps): cell for cell in cells}
        yield from ((asked[done], done.result()) for done in as_completed(asked))


def _rows(task: str, arm: str, outcomes: dict[Cell, Outcome]) -> Iterator[Row]:
    found = [outcome for (name, chosen, _), outcome in outcomes.items() if (name, chosen) == (task, arm)]
    for space in found[0].after if found else ():
        after, before = ([getattr(one, when)[space] for one in found] for when in ("after", "before"))
        interval = bootstrap([one.total_variation for one in after])
        errors = [one.log_z_error for one in found if one.log_z_error is not None]
        related = [one.correlation for one in after if one.correlation is not None]
        promised = ARMS[arm].promised
        yield Row(
            task,
            space,
            ARMS[arm].objective,
            arm,
            ARMS[arm].converges,
            total_variation=interval.mean,
            ci95=(interval.low, interval.high),
            total_variation_before=fmean(one.total_variation for one in before),
            log_z_error=fmean(errors) if errors and promised else None,
            coverage=fmean(one.coverage for one in after),
            coverage_target=fmean(one.coverage_target for one in after),
            correlation=fmean(related) if related else None,
            elsewhere=fmean(one.elsewhere for one in after),
            elsewhere_target=fmean(one.elsewhere_target for one in after),
            learns_from=found[0].lesson,
            seeds=len(found),
        )


def _check(config: BenchConfig) -> None:
    for kind, names, known in (("task", config.tasks, TASKS), ("objective", config.objectives, OBJECTIVES)):
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ConfigError(f"bench objectives: expected {kind}s among {', '.join(known)}, found {unknown or 'none'}")
    if config.json is not None and not config.json.parent.is_dir():
        raise ConfigError(f"bench objectives: {config.json.parent} is no folder; make it first, or choose another")
    at_least(config, seeds=1, steps=0, workers=0)
