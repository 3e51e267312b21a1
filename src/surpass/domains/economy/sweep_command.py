"""`surpass economy sweep`: play a grid of fixed policies in a society of learning agents, and keep what came of each.

    surpass economy sweep --society harvest --values 4 --seeds 4 --out grid.jsonl
    surpass economy sweep --policies "0 0.5 1; 0 0 0" --seeds 8 --first-seed 100 --out again.jsonl

One line of JSON for each policy, after a first one that says what was asked; a sweep that was interrupted goes on where
it stopped if asked the same again. The best of a grid is judged with a second sweep, on other seeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from surpass.bounds import at_least
from surpass.domains.economy.societies import society_of
from surpass.domains.economy.society import Metrics, Rate, read
from surpass.domains.economy.sweep import Point, Rates, grid, lattice
from surpass.errors import ConfigError, DataError


@dataclass(frozen=True)
class SweepOptions:
    """Which policies, in which society, with how many seeds."""

    society: str = "harvest"
    values: int = 4  # of each rate, equally spaced, ends included
    policies: str = ""  # instead of a grid: rates, apart by semicolons
    seeds: int = 4  # the same for every policy
    first_seed: int = 0
    batch: int = 16  # terms at once
    out: Path = Path("sweep.jsonl")
    top: int = 10  # policies to print

    def __post_init__(self) -> None:
        at_least(self, values=2, seeds=1, batch=1, top=1, first_seed=0)


def sweep(options: SweepOptions) -> tuple[Point, ...]:
    """Play what is not yet in the file and return all points, in order.

    Raises ConfigError for policies that cannot be, and DataError for a file of another sweep.
    """
    society = society_of(options.society)
    wanted = policies(options.policies, society.rates) if options.policies else lattice(society.rates, options.values)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    asked = {name: value for name, value in asdict(options).items() if name not in ("out", "top")}
    done = _started(options.out, asked, wanted)
    with options.out.open("a", encoding="utf-8") as file, Progress(transient=True) as progress:
        task = progress.add_task(f"{options.society}: policies", total=len(wanted), completed=len(done))

        def tell(point: Point) -> None:
            file.write(json.dumps(_line(point)) + "\n")
            file.flush()
            progress.advance(task)

        rest = wanted[len(done) :]
        return (*done, *(grid(society, rest, seeds, batch=options.batch, tell=tell) if rest else ()))


def sweep_command(options: SweepOptions) -> int:
    """Sweep, and print the best policies and the lowest rates."""
    try:
        table = sweep(options)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    ranked = sorted(table, key=lambda point: -point.welfare)[: options.top]
    lowest = min(table, key=lambda point: point.rates)
    if lowest not in ranked:
        ranked.append(lowest)
    shown = Table(title=f"{options.society}: {options.seeds} seeds, mean ± standard error")
    for name in ("rates", "welfare", "cost"):
        shown.add_column(name, justify="right")
    for point in ranked:
        cost = fmean(dict(one.values).get("cost", 0.0) for one in point.metrics)
        rates = ", ".join(f"{rate:.3g}" for rate in point.rates)
        shown.add_row(rates, f"{point.welfare:.2f} ± {point.error:.2f}", f"{cost:.2f}")
    Console().print(shown)
    return 0


def policies(text: str, rates: Sequence[Rate]) -> list[Rates]:
    """Return the policies that a text names, apart by semicolons. Raises ConfigError that says what is wrong with one.

    >>> policies("0.5; 1", [Rate("tax")])
    [(0.5,), (1.0,)]
    """
    found = list[Rates]()
    for one in text.split(";"):
        chosen = read(one, rates)
        if isinstance(chosen, str):
            raise ConfigError(f"policies: {chosen}")
        found.append(chosen)
    return found


def _line(point: Point) -> dict[str, Any]:
    terms = [{"welfare": one.welfare, **dict(one.values)} for one in point.metrics]
    return {"rates": point.rates, "seeds": point.seeds, "terms": terms}


def _started(path: Path, asked: dict[str, Any], wanted: Sequence[Rates]) -> list[Point]:
    """Return the points of a file that was begun, without a torn last line; begin it where there is none."""
    try:
        first = json.dumps(asked) + "\n"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if len(text) < len(first) and first.startswith(text):  # new, or torn in its first line
            path.write_text(first, encoding="utf-8")
            return []
        whole = text[: text.rfind("\n") + 1]
        lines = whole.splitlines() or [text]
        if json.loads(lines[0]) != asked:
            raise DataError(f"{path} holds another sweep, {lines[0][:200]}; name another file with --out")
        done = [_point(json.loads(line)) for line in lines[1:]]
        os.truncate(path, len(whole.encode()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot go on with the sweep {path}: {error}; name another file with --out") from error
    if [point.rates for point in done] != list(wanted[: len(done)]):
        raise DataError(f"{path} holds other policies than were asked; name another file with --out")
    return done


def _point(told: dict[str, Any]) -> Point:
    metrics = []
    for term in told["terms"]:
        values = {name: float(value) for name, value in term.items()}
        metrics.append(Metrics(values.pop("welfare"), tuple(values.items())))
    return Point(tuple(map(float, told["rates"])), tuple(map(int, told["seeds"])), tuple(metrics))
