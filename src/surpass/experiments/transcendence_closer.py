"""A closer look at a run of `transcendence` whose matches are played: entropy of its game sets, favor of its models.

Entropy is that of the experts' moves in positions that a set's games share (`chess/entropy.py`). Favor judges, for one
model of each set, what it gains at each temperature over temperature 1 in the positions that it met among legal moves
at the lowest temperature above 0 (`chess/favor.py`), and writes favor/SET/favor.html with boards; its evaluations are
kept, so an interruption costs little.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress, TaskID

from surpass.domains.chess.entropy import LEAST, PLIES, Visits, compare
from surpass.domains.chess.favor_command import FavorOptions, analyse
from surpass.domains.chess.favor_page import said
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.domains.chess.pretrain import MODEL
from surpass.evaluation.statistics import Interval
from surpass.experiments.transcendence_runs import Entry, game_sets

if TYPE_CHECKING:
    from surpass.experiments.transcendence import Config


def look_closer(config: Config, folder: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Return tables for the page, by title."""
    return _entropy(config, folder) | _favor(config, folder, progress)


def _entropy(config: Config, folder: Path) -> dict[str, dict[str, Any]]:
    sets = {}
    for one in game_sets(config):
        sets[one.name] = Visits(PLIES)
        for game in read([folder / "sets" / one.name / "games.pgn"], Filter(), Report()):
            sets[one.name].add(game.moves, game.fen)
    found = compare(sets)
    rows = [
        [name, f"{one.games:,}", one.positions, _share(one.observed), _share(one.rarefied), _share(one.gap)]
        for name, one in found.items()
        if one is not None
    ]
    note = f"Positions of the first {PLIES} half-moves that occur more than {LEAST} times; intervals over positions."
    columns = ["set", "games", "positions", "observed", "rarefied", "less the first, on shared positions"]
    return (
        {"Normalised entropy of the experts' moves": {"columns": columns, "rows": rows, "note": note}} if rows else {}
    )


def _favor(config: Config, folder: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    lowest = min((one for one in config.temperatures if one > 0), default=0.0)
    if not config.favor_positions or 1.0 not in config.temperatures or not lowest or "legal" not in config.modes:
        return {}
    tables = {}
    for one in game_sets(config):
        entry = Entry(one.name, config.seeds[0], "legal", lowest)
        options = FavorOptions(
            (folder / "matches" / entry.folder / "games.pgn",),
            folder / "models" / f"{one.name}-{entry.seed}" / MODEL,
            player=entry.name,
            temperatures=tuple(sorted(config.temperatures)),
            positions=config.favor_positions,
            nodes=config.favor_nodes,
            out=folder / "favor" / one.name,
            device=config.device,
        )
        task = progress.add_task(f"favor of {one.name}", total=config.favor_positions)
        rows, about = analyse(options, partial(_tell, progress, task))
        progress.remove_task(task)
        tables[f"Favor of {one.name}"] = {
            "columns": ["policy", "expected score", "favor", "of it legality", "of it choice", "legal", "skewness"],
            "rows": [
                [
                    row.name,
                    *map(said, (row.expected, row.favor, row.legality, row.choice)),
                    f"{row.legal:.1%}",
                    f"{row.skewness:.1f}",
                ]
                for row in rows
            ],
            "note": f"Points of a hundred, {about['positions']} positions of {entry.name}, judged by {about['engine']} "
            f"at {options.nodes:,} nodes; boards in favor/{one.name}/favor.html.",
        }
    return tables


def _tell(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


def _share(interval: Interval) -> str:
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
