"""In context: does a model of weak policymakers' histories govern better than all of them?

The in-context policymaker at several temperatures, each of its teachers, and optimisers that model what they see; all
on the same surfaces with the same seeds. Temperature and aim are chosen on new surfaces of families that it learned
from; what counts is measured on families and on a society that it never saw. The question and the numbers:
`incontext.md`. What an arm is and how it is played: `incontext_arms.py`; the figures: `incontext_table.py`.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from surpass.bounds import at_least
from surpass.domains.economy.landscapes import FAMILIES, HELD_OUT, LEARNED
from surpass.domains.economy.principals.in_context.teaching import TEACHERS
from surpass.errors import ConfigError
from surpass.experiments.incontext_arms import Arm, Case, Played, arms, cases, govern
from surpass.experiments.incontext_table import show, summary
from surpass.experiments.records import begin
from surpass.recorded import run_at
from surpass.store import Run


@dataclass(frozen=True)
class Config:
    """Measure the in-context policymaker against its teachers, on surfaces and a society that it never saw."""

    seen: int = 20  # new surfaces of families that it learned from: they choose temperature and aim
    unseen: int = 100  # surfaces of families that it did not learn from
    rooms: int = 20  # runs of Escape Room with settled agents
    terms: int = 20  # of a run
    temperatures: tuple[float, ...] = (0.0, 0.3, 0.6, 1.0)
    teachers: tuple[str, ...] = TEACHERS
    others: tuple[str, ...] = ("tpe", "cma_es")  # principals that it did not learn from
    learned: tuple[str, ...] = LEARNED  # families of surfaces
    held_out: tuple[str, ...] = HELD_OUT
    weights: Path | None = None  # of the policymaker; None: those of the package
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, seen=1, unseen=1, rooms=1, terms=1)
        if not all(0 <= one < math.inf for one in self.temperatures):
            raise ConfigError(f"temperatures: expected 0 or more, found {self.temperatures}")
        for name in ("temperatures", "teachers"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected at least one, found none")
        for name in ("learned", "held_out"):
            if not (own := getattr(self, name)) or not set(own) <= set(FAMILIES):
                raise ConfigError(f"{name}: expected some of {', '.join(FAMILIES)}, found {', '.join(own) or 'none'}")


PRESETS: Mapping[str, Config] = {
    "tiny": Config(seen=3, unseen=3, rooms=2, terms=5, temperatures=(0.0, 1.0), others=()),
    "small": Config(),
    "full": Config(seen=200, unseen=1000, rooms=300, others=("tpe", "cma_es", "bayesian")),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; arms that an interrupted run had finished are kept.

    Raises ConfigError for a family or principal that is not there, ModelError for weights that are none.
    """
    groups = cases(config.seed, {"seen": (config.learned, config.seen), "unseen": (config.held_out, config.unseen)})
    groups |= cases(config.seed, {"room": ((), config.rooms)})
    entries = arms(config.temperatures, config.teachers, config.others, config.weights)
    run = begin("incontext", config, out=out, resume=resume)
    console = Console(stderr=True)
    console.print(f"run folder: {run.path}")
    found = dict[str, Mapping[str, Played]]()
    for arm in track(entries, "arms", console=console, transient=True):
        found[arm.name] = _arm(run.path / "arms" / f"{arm.name}-0", arm, groups, config)
    machine = {"machine": {"python": platform.python_version(), "torch": torch.__version__, "cpu": platform.machine()}}
    run.write_summary(summary(found, entries) | machine)
    console.print(show(run.summary()))
    return run.path


def _arm(path: Path, arm: Arm, groups: Mapping[str, Sequence[Case]], config: Config) -> dict[str, Played]:
    """Let an arm govern all groups, or read how it did; one line of metrics a term, of the families never seen."""
    if (path / "summary.json").exists():
        return {group: Played.read(told) for group, told in Run.open(path).summary()["groups"].items()}
    run = run_at(path, {"arm": arm.name, "seed": config.seed})
    run.clear()  # an unfinished arm starts again
    began = time.monotonic()
    found = {group: govern(arm, some, config.terms) for group, some in groups.items()}
    for number in range(config.terms):
        row: dict[str, float] = {"step": number + 1}
        for group, played in found.items():
            row |= {f"regret, {group}": 100 * (1 - float(played.heights[:, number].mean()))}
            row |= {f"best so far, {group}": 100 * (1 - float(played.best[:, number].mean()))}
        run.log(row)
    run.write_summary(
        {"seconds": time.monotonic() - began, "groups": {name: one.told() for name, one in found.items()}}
    )
    return found
