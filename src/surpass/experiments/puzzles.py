"""Puzzles: which share of Lichess's tactical puzzles does a player solve, by their rating and by its temperature?

Any player that `surpass chess match` knows, and a trained model at several temperatures. Puzzles, and how they are
scored, are in `domains/chess/puzzles.py`; what a model of transcripts can make of a bare position, too.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from surpass.domains.chess.arena import Player
from surpass.domains.chess.players import player
from surpass.domains.chess.puzzles import Attempt, Puzzle, Rows, read_puzzles, solve
from surpass.errors import ConfigError, DataError
from surpass.evaluation.statistics import wilson
from surpass.experiments.records import begin
from surpass.rollouts.seeds import derive_seed
from surpass.web.curves import Points, drawing

AT_ONCE = 256  # puzzles; what an interruption costs at most


@dataclass(frozen=True)
class Config:
    """Solve tactical puzzles of a Lichess CSV with a model at several temperatures, or with any players."""

    path: Path | None = None  # the puzzles: .csv or .csv.zst with PuzzleId, FEN, Moves, Rating; PGN where there is one
    model: Path | None = None  # a run with a trained model
    temperatures: tuple[float, ...] = (0.001, 0.1, 0.5, 1.0)  # of the model
    legal: bool = False  # the model draws among legal moves only; otherwise it has five tries
    players: tuple[str, ...] = ()  # others, as chess match names them: 'sf=engine:stockfish,nodes=1000'
    puzzles: int = 1000  # the first so many
    samples: int = 1  # attempts at each puzzle
    band: int = 400  # width of a band of ratings
    seed: int = 0  # of all that is drawn

    def __post_init__(self) -> None:
        if min(self.puzzles, self.samples, self.band) < 1 or not all(0 <= one < math.inf for one in self.temperatures):
            raise ConfigError("expected puzzles, samples and band of 1 or more, and temperatures of 0 or more")

    @property
    def specs(self) -> tuple[str, ...]:
        """All players, as `players.player` reads them."""
        legal = ",legal=yes" if self.legal else ""
        temperatures = self.temperatures if self.model is not None else ()
        return (*(f"T {one:g}=model:{self.model},temperature={one}{legal}" for one in temperatures), *self.players)


PRESETS: Mapping[str, Config] = {
    "tiny": Config(temperatures=(0.001, 1.0), puzzles=40, samples=2),
    "small": Config(),
    "full": Config(temperatures=(0.001, 0.01, 0.1, 0.3, 0.5, 0.75, 1.0, 1.5), puzzles=10_000, samples=4, band=200),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Solve, print the table, draw `figure.svg` and return the folder; `resume` goes on with one.

    Raises ConfigError where nobody is to solve or nothing to be solved, and what reading and players raise.
    """
    if config.path is None or not config.specs:
        raise ConfigError("expected --path FILE.csv with puzzles, and --model RUN or --players SPEC to solve them")
    report = Rows()
    puzzles = list(read_puzzles(config.path, report, limit=config.puzzles))
    if not puzzles:
        raise DataError(
            f"{config.path} holds no puzzle that can be played: {report.read} rows read, {dict(report.bad)}"
        )
    with ExitStack() as stack:
        players = [player(spec, stack) for spec in config.specs]
        run = begin(
            "puzzles", config, out=out, resume=resume, free=asdict(config)
        )  # attempts are kept by what they depend on
        attempts = _solved(config, run.path, players, puzzles)
    arms = {name: _arm(config, puzzles, some) for name, some in attempts.items()}
    lines = curves(arms)
    figure = {"title": "puzzles solved", "x_label": "rating", "lines": lines}
    summary = {"arms": arms, "rows": report.as_json(), "figures": [figure]}
    run.metrics_path.touch()  # a record without rows: nothing was learned step by step
    run.write_summary(summary)
    (run.path / "figure.svg").write_text(drawing("puzzles solved", lines, x_label="rating"), encoding="utf-8")
    Console().print(show(arms, report))
    return run.path


def _solved(
    config: Config, folder: Path, players: Sequence[Player], puzzles: Sequence[Puzzle]
) -> dict[str, list[Attempt]]:
    """Return all attempts by player, those of earlier runs read back."""
    found: dict[str, list[Attempt]] = {one.name: [] for one in players}
    folder = folder / "attempts"
    folder.mkdir(exist_ok=True)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("puzzles", total=len(players) * len(puzzles))
        for spec, one in zip(config.specs, players, strict=True):
            mark = derive_seed(spec, config.samples, config.seed)  # what the attempts depend on, beside the puzzles
            for chunk in range(-(-len(puzzles) // AT_ONCE)):
                some = puzzles[chunk * AT_ONCE : (chunk + 1) * AT_ONCE]
                path = folder / f"{mark:016x}-{chunk}.json"
                if not path.exists():
                    rows = [asdict(attempt) for attempt in solve(some, one, samples=config.samples, seed=config.seed)]
                    fresh = path.with_suffix(".new")
                    fresh.write_text(json.dumps(rows), encoding="utf-8")
                    os.replace(fresh, path)
                found[one.name] += _read(path, some)
                bar.update(task, advance=len(some))
    return found


def _read(path: Path, puzzles: Sequence[Puzzle]) -> list[Attempt]:
    """Return attempts from disk. Raises DataError where they are of other puzzles."""
    try:
        found = [Attempt(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it, and it is made again") from error
    if {one.puzzle for one in found} != {one.key for one in puzzles}:
        raise DataError(f"{path} holds attempts at other puzzles: --path has changed; start a new run")
    return found


def _arm(config: Config, puzzles: Sequence[Puzzle], attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Return what a player came to: over all puzzles, by band, with and without a history."""
    by_puzzle: dict[str, list[Attempt]] = defaultdict(list)
    for one in attempts:
        by_puzzle[one.puzzle].append(one)
    bands: dict[int, list[Puzzle]] = defaultdict(list)
    for puzzle in puzzles:
        bands[puzzle.rating // config.band * config.band].append(puzzle)
    kinds = {
        "history": [one for one in puzzles if one.history],
        "no history": [one for one in puzzles if not one.history],
    }
    return {
        **_rate(puzzles, by_puzzle),
        "bands": {f"{low}-{low + config.band - 1}": _rate(some, by_puzzle) for low, some in sorted(bands.items())},
        "kinds": {name: _rate(some, by_puzzle) for name, some in kinds.items() if some},
    }


def _rate(puzzles: Sequence[Puzzle], by_puzzle: Mapping[str, Sequence[Attempt]]) -> dict[str, Any]:
    """Return the solve rate with its interval over puzzles, and what else was counted; failures are left out.

    Attempts at one puzzle are averaged and count as one trial.
    """
    tried = [[one for one in by_puzzle[puzzle.key] if not one.failed] for puzzle in puzzles]
    shares = [sum(one.solved for one in some) / len(some) for some in tried if some]
    every = [one for some in tried for one in some]
    rate = math.fsum(shares) / len(shares) if shares else None
    return {
        "problems": len(shares),
        "solve_rate": rate,
        "ci95": None if rate is None else list(wilson(rate, len(shares))),
        "first_move": sum(one.found > 0 for one in every) / len(every) if every else None,
        "illegal_moves": sum(one.illegal for one in every),
        "failures": sum(one.failed for puzzle in puzzles for one in by_puzzle[puzzle.key]),
    }


def show(arms: Mapping[str, Mapping[str, Any]], report: Rows) -> Table:
    """Return solve rates by player and band."""
    caption = f"{report.read} rows read, {report.kept} kept"
    caption += "".join(f"; {count} bad: {reason}" for reason, count in report.bad.items())
    caption += f"; {report.trouble}" if report.trouble else ""
    table = Table(title="Puzzles solved, 95 % intervals over puzzles", caption=caption)
    for column in ("player", "puzzles", "number", "solved", "interval", "first move", "illegal"):
        table.add_column(column, justify="left" if column in ("player", "puzzles") else "right")
    for name, arm in arms.items():
        for what, rate in {"all": arm, **arm["bands"], **arm["kinds"]}.items():
            table.add_row(name if rate is arm else "", what, str(rate["problems"]), *_said(rate))
        table.add_section()
    return table


def _said(rate: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the numbers of one line; of a player that had no answer at all, none."""
    if rate["solve_rate"] is None:
        return "-", "-", "-", "-"
    low, high = rate["ci95"]
    solved, first = f"{100 * rate['solve_rate']:.1f} %", f"{100 * rate['first_move']:.1f} %"
    return solved, f"{100 * low:.1f} to {100 * high:.1f}", first, str(rate["illegal_moves"])


def curves(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Return the solve rate by rating, for each player."""
    lines: dict[str, dict[str, Points]] = {}
    for name, arm in arms.items():
        middles = [(sum(map(int, band.split("-"))) / 2, rate["solve_rate"]) for band, rate in arm["bands"].items()]
        lines[name] = {"": [(x, y) for x, y in middles if y is not None]}
    return lines
