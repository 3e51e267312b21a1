"""Every objective against the exact target that theory names for it: total variation over the whole space, no samples.

For each task, objective and seed: make the policy, train it with `train` on its own samples (imitation: on
demonstrations), then sum over the space. A policy that is far from its target before and within 0.02 of it afterwards
has an objective that does what its docstring says. Results: `objectives/audits.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from surpass.audits.arms import ARMS, Arm
from surpass.audits.learning import learn
from surpass.audits.rows import Cell, Lesson, Outcome, Report, rows
from surpass.audits.spaces import Measures, exact, measure
from surpass.audits.tasks import TASKS, WHOLE, Task
from surpass.bounds import at_least
from surpass.errors import ConfigError
from surpass.models.hf import LanguageModel
from surpass.objectives import OBJECTIVES
from surpass.recipe import TrainConfig
from surpass.recorded import run_at
from surpass.rollouts.processes import process_pool
from surpass.store import Run


@dataclass(frozen=True)
class BenchConfig:
    """What to audit."""

    tasks: tuple[str, ...] = tuple(TASKS)  # bits, kernel, game24, blocksworld: tables; the rest: transformers
    objectives: tuple[str, ...] = tuple(OBJECTIVES)
    seeds: int = 3
    steps: int = 0  # of training; 0: as many as the task says
    workers: int = 2  # processes; 0: this one
    run: Path | None = None  # a folder that keeps what is done: made where there is none, else gone on with
    json: Path | None = None  # where to write the rows, too
    markdown: Path | None = None  # the same, as a table


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
    learns_from = lesson(task, arm)
    shown = {
        "demonstrations": task.demonstrations,
        "the whole space": task.leaves,
        "samples": (),
        "samples and solutions": tuple(leaf for leaf in task.leaves if leaf.solved),
    }[learns_from]
    last = learn(
        task,
        arm.function(),
        numbers(task, arm, seed=seed, steps=steps),
        heads=arm.made_heads(task),
        group=task.group * arm.breadth.get(name, arm.samples) if "samples" in learns_from else 0,
        demonstrations=shown,
        reference=task.reference if arm.relative else None,
    )
    learned = last.get("log_z")
    error = None if learned is None or target.log_z is None else abs(learned - target.log_z)
    return Outcome(before, measured(), error, learns_from)


def lesson(task: Task, arm: Arm) -> Lesson:
    """Return what a policy learns from: its samples, where nothing else would do, or where the task asks for them."""
    if arm.teacher == "demonstrations":
        return "demonstrations"
    if arm.shown and isinstance(task.policy, LanguageModel):
        return "samples and solutions"
    return "samples" if task.sampled or arm.teacher == "policy" else "the whole space"


def numbers(task: Task, arm: Arm, *, seed: int, steps: int = 0) -> TrainConfig:
    """Return the numbers of a training, with as many steps as the task and the objective need unless told."""
    if isinstance(task.policy, LanguageModel):
        # the first gradients, of what is all wrong, are many times the last: a short memory of their size
        usual = TrainConfig(
            steps=task.steps * arm.patience * (2 if arm.calm else 1),
            learning_rate=1e-3 if arm.calm else 2e-3,
            head_learning_rate=0.1,
            betas=(0.9, 0.99),
            clip=5.0,
        )
    elif "samples" in lesson(task, arm):
        usual = TrainConfig(steps=task.steps * arm.effort, learning_rate=0.1, head_learning_rate=0.1, clip=5.0)
    else:  # without noise: longer steps
        usual = TrainConfig(steps=200 * arm.effort, learning_rate=0.3, head_learning_rate=1.0, clip=50.0)
    return replace(usual, steps=steps or usual.steps, schedule="cosine", seed=seed)


def cells(config: BenchConfig) -> list[Cell]:
    """Return all trainings that a configuration asks for, seed by seed. Raises ConfigError where there are none."""
    found = [
        (task, arm, seed)
        for seed in range(config.seeds)
        for task in config.tasks
        for arm in ARMS
        if ARMS[arm].objective in config.objectives and not (ARMS[arm].stepwise if task in WHOLE else ARMS[arm].written)
    ]
    if not found:
        raise ConfigError(
            f"bench objectives: nothing to do for {', '.join(config.objectives)} in {', '.join(config.tasks)}: "
            f"modified_subtb needs whole texts ({', '.join(WHOLE)}), where flows over steps have nothing to learn"
        )
    return found


def main(config: BenchConfig) -> Report:
    """Measure everything and return it; after every training the rows so far are written, and kept in `config.run`.

    Raises ConfigError for unknown names, where there is nothing to do, and for a run of other steps.
    """
    _check(config)
    asked = cells(config)
    run = None if config.run is None else run_at(config.run, {"steps": config.steps})
    outcomes = _known(run)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("audits", total=len(asked), completed=sum(cell in outcomes for cell in asked))
        for cell, outcome in _carried_out([cell for cell in asked if cell not in outcomes], config):
            outcomes[cell] = outcome
            if run is not None:
                run.save({"outcomes": [(cell, asdict(one)) for cell, one in outcomes.items()]})
            _write(config, _report(asked, outcomes))
            progress.update(bar, advance=1, description=f"{cell[0]}: {cell[1]}")
    report = _report(asked, outcomes)
    _write(config, report)
    return report


def _known(run: Run | None) -> dict[Cell, Outcome]:
    saved = None if run is None else run.load()
    return {(task, arm, seed): Outcome.read(one) for (task, arm, seed), one in (saved or {"outcomes": ()})["outcomes"]}


def _report(asked: Sequence[Cell], outcomes: Mapping[Cell, Outcome]) -> Report:
    done = {cell: outcomes[cell] for cell in asked if cell in outcomes}
    pairs = dict.fromkeys((task, arm) for task, arm, _ in asked)
    return Report(tuple(row for pair in pairs for row in rows(*pair, done)))


def _write(config: BenchConfig, report: Report) -> None:
    """Write the rows: who interrupts the rest loses nothing."""
    if config.json is not None:
        config.json.write_text(json.dumps([asdict(row) for row in report.rows], indent=2) + "\n")
    if config.markdown is not None:
        config.markdown.write_text(report.markdown())


def _carried_out(todo: list[Cell], config: BenchConfig) -> Iterator[tuple[Cell, Outcome]]:
    if not config.workers or not todo:
        yield from ((cell, audit(cell, config.steps)) for cell in todo)
        return
    with process_pool(min(config.workers, len(todo))) as pool:
        asked: dict[Future[Outcome], Cell] = {pool.submit(audit, cell, config.steps): cell for cell in todo}
        yield from ((asked[done], done.result()) for done in as_completed(asked))


def _check(config: BenchConfig) -> None:
    for kind, names, known in (("task", config.tasks, TASKS), ("objective", config.objectives, OBJECTIVES)):
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ConfigError(f"bench objectives: expected {kind}s among {', '.join(known)}, found {unknown or 'none'}")
    for path in (config.json, config.markdown):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"bench objectives: {path.parent} is no folder; make it first, or choose another")
    at_least(config, seeds=1, steps=0, workers=0)
