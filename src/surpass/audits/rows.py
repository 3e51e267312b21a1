"""What an audit reports: one row for each task, space and objective, as JSON, as a table to print and as Markdown.

Not here: what is measured (`spaces.py`) and who measures (`bench.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from rich.table import Table

from surpass.audits.arms import ARMS
from surpass.audits.spaces import Measures
from surpass.evaluation.statistics import bootstrap

CLOSE = 0.02  # the total variation to stay below where an objective promises its target

Cell = tuple[str, str, int]  # task, arm, seed
Lesson = Literal["demonstrations", "samples", "samples and solutions", "the whole space"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training: measures before and after, by name of the space."""

    before: Mapping[str, Measures]
    after: Mapping[str, Measures]
    log_z_error: float | None
    lesson: Lesson

    @staticmethod
    def read(saved: Mapping[str, Any]) -> Outcome:
        """Return what `dataclasses.asdict` made of one."""
        before, after = ({name: Measures(**one) for name, one in saved[when].items()} for when in ("before", "after"))
        return Outcome(before, after, saved["log_z_error"], saved["lesson"])


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

    def cells(self, digits: int) -> tuple[str, ...]:
        """Return what a table says of it, under `COLUMNS`: total variation with so many digits."""
        after = f"{self.total_variation:.{digits}f}"
        return (
            f"{self.task}, {self.space}",
            self.arm,
            self.learns_from,
            f"{self.total_variation_before:.2f}",
            after if self.promised else f"({after})",
            " to ".join(f"{end:.{digits}f}" for end in self.ci95),
            "" if self.log_z_error is None else f"{self.log_z_error:.{digits}f}",
            f"{self.coverage:.2f} / {self.coverage_target:.2f}",
            "" if self.correlation is None else f"{self.correlation:.2f}",
            f"{self.elsewhere:.3f} / {self.elsewhere_target:.3f}",
            str(self.seeds),
        )


COLUMNS = (
    "task, X",
    "objective",
    "learns from",
    "TV before",
    "TV after",
    "95 %",
    "log Z off",
    "found",
    "corr.",
    "elsewhere",
    "seeds",
)
PRINTED = ("task, X", "objective", "TV after", "95 %", "seeds")  # what a terminal of 80 columns holds


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
            "in brackets, where it names none. --json and --markdown write the other columns, too",
        )
        for column in PRINTED:
            left = COLUMNS.index(column) < 3
            table.add_column(column, justify="left" if left else "right", no_wrap=column != PRINTED[0])
        for row in self.rows:
            cells = dict(zip(COLUMNS, row.cells(3), strict=True))
            table.add_row(*(cells[column] for column in PRINTED))
        return table

    def markdown(self) -> str:
        """Return the same as a table of Markdown: that of `objectives/audits.md`."""
        lines = [f"| {' | '.join(line)} |" for line in (COLUMNS, *(row.cells(4) for row in self.rows))]
        return "\n".join([lines[0], "|---" * len(COLUMNS) + "|", *lines[1:]]) + "\n"


def rows(task: str, arm: str, outcomes: Mapping[Cell, Outcome]) -> Iterator[Row]:
    """Yield one row for each space of a task, of all that has been trained of an arm."""
    found = [outcome for (name, chosen, _), outcome in sorted(outcomes.items()) if (name, chosen) == (task, arm)]
    for space in found[0].after if found else ():
        after = [one.after[space] for one in found]
        before = [one.before[space] for one in found]
        interval = bootstrap([one.total_variation for one in after])
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
            log_z_error=_mean([one.log_z_error for one in found]) if promised else None,
            coverage=fmean(one.coverage for one in after),
            coverage_target=fmean(one.coverage_target for one in after),
            correlation=_mean([one.correlation for one in after]),
            elsewhere=fmean(one.elsewhere for one in after),
            elsewhere_target=fmean(one.elsewhere_target for one in after),
            learns_from=found[0].lesson,
            seeds=len(found),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
