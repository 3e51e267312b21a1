"""`surpass chess entropy`: how varied the moves of game sets are, by cap on the ratings."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from surpass.domains.chess.entropy import LEAST, PLIES, Varied, Visits, compare
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.errors import ConfigError
from surpass.evaluation.statistics import Interval


@dataclass(frozen=True, slots=True)
class EntropyOptions:
    """Measure how varied the moves of game sets are in the positions that their games share."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]  # .pgn, .pgn.zst, .csv, .csv.zst, .parquet
    caps: tuple[int, ...] = ()  # sets by cap on the higher rating, as 1000 1300 1500; without: a set for each file
    bands: bool = False  # from each cap to the next, so that no game is in two sets
    plies: int = PLIES  # half-moves of a game that are looked at
    least: int = LEAST  # positions that occur more often count
    json: Path | None = None  # where to write the numbers, too

    def __post_init__(self) -> None:
        if not self.files or self.plies < 1 or self.least < 1 or sorted(set(self.caps)) != list(self.caps):
            raise ConfigError("expected files, --plies and --least of 1 or more, and --caps in ascending order")


def main(options: EntropyOptions) -> int:
    """Read, measure and print the table; 1 where a file could not be read to its end."""
    if options.json is not None and (options.json.exists() or not options.json.absolute().parent.is_dir()):
        raise ConfigError(f"expected a new file in a folder for --json, found {options.json}: nothing is overwritten")
    report = Report()
    found = compare(sets(options, report), least=options.least)
    Console().print(report.table())
    Console(soft_wrap=True).print(table(found, options))
    if options.json is not None:
        rows = {name: asdict(one) if one else None for name, one in found.items()}
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if report.trouble else 0


def sets(options: EntropyOptions, report: Report) -> dict[str, Visits]:
    """Return what was played, by set; one reading fills them all."""
    names = [f"up to {cap}" for cap in options.caps] or [path.name for path in options.files]
    if len(set(names)) < len(names):
        raise ConfigError(f"expected files of different names, found {', '.join(names)}; or give --caps")
    found = {name: Visits(options.plies) for name in names}
    keep = Filter(initial=True, max_rating=options.caps[-1] if options.caps else None)
    for path in options.files:
        for game in read([path], keep, report):
            if not options.caps:
                found[path.name].add(game.moves)
                continue
            higher = max(game.white_rating or 0, game.black_rating or 0)
            fitting = [name for name, cap in zip(names, options.caps, strict=True) if higher <= cap]
            for name in fitting[:1] if options.bands else fitting:
                found[name].add(game.moves)
    return found


def table(found: dict[str, Varied | None], options: EntropyOptions) -> Table:
    """Return the table for people."""
    caption = (
        f"positions of the first {options.plies} half-moves that occur more than {options.least} times. observed: over "
        f"log2 of the moves played, as in the paper. rarefied: of {options.least} visits, over log2 of the legal moves"
    )
    shown = Table(title="Normalised entropy of moves, 95 % intervals over positions", caption=caption)
    for column in ("set", "games", "positions", "observed", "rarefied", "on shared positions", "less the first"):
        shown.add_column(column, justify="left" if column == "set" else "right")
    for name, one in found.items():
        if one is None:
            shown.add_row(name, *["-"] * 6)
            continue
        values = [
            *map(_said, (one.observed, one.rarefied)),
            f"{_said(one.shared)} of {one.shared_positions}",
            _said(one.gap),
        ]
        shown.add_row(name, f"{one.games:,}", str(one.positions), *values)
    return shown


def _said(interval: Interval) -> str:
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
