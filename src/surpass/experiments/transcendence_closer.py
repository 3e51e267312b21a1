"""A closer look at a run of `transcendence` whose matches are played: entropy of its game sets, favor of its models.

Entropy is that of the experts' moves in positions that a set's games share (`chess/entropy.py`). Favor judges, for one
model of each set, what it gains at each temperature over temperature 1 in the positions that it met among legal moves
at the lowest temperature above 0 (`chess/favor.py`), and writes favor/SET/favor.html with the distribution and boards.
The latent map places positions of the same games by what that model makes of them, coloured by who is winning
(`chess/latent.py`), in latent/SET/latent.html. Evaluations are kept, so an interruption costs little.
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
from surpass.domains.chess.latent import LatentOptions
from surpass.domains.chess.latent import analyse as analyse_latent
from surpass.domains.chess.pretrain import MODEL
from surpass.evaluation.statistics import Interval
from surpass.experiments.transcendence_runs import Entry, GameSet, game_sets

if TYPE_CHECKING:
    from surpass.experiments.transcendence import Config


def look_closer(config: Config, folder: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Return tables for the page, by title."""
    return _entropy(config, folder) | _favor(config, folder, progress) | _latent(config, folder)


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
    if not config.favor_positions or 1.0 not in config.temperatures:
        return {}
    tables = {}
    for one, entry in _looked_at(config):
        options = FavorOptions(
            (folder / "matches" / entry.folder / "games.pgn",),
            folder / "models" / f"{one.name}-{entry.seed}" / MODEL,
            player=entry.name,
            temperatures=tuple(dict.fromkeys((entry.temperature, *sorted(config.temperatures)))),
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
            f"at {options.nodes:,} nodes; distributions and boards in favor/{one.name}/favor.html.",
        }
    return tables


def _latent(config: Config, folder: Path) -> dict[str, dict[str, Any]]:
    if not config.latent_positions:
        return {}
    rows = []
    for one, entry in _looked_at(config):
        options = LatentOptions(
            (folder / "matches" / entry.folder / "games.pgn",),
            folder / "models" / f"{one.name}-{entry.seed}" / MODEL,
            positions=config.latent_positions,
            nodes=config.favor_nodes,
            out=folder / "latent" / one.name,
            device=config.device,
        )
        found, number = analyse_latent(options)
        rows.append([one.name, number, *(f"{share:.1%}" for share in (found.linear, found.neighbours, found.shuffled))])
    columns = ["set", "positions", "linear", "ten nearest", "shuffled scores"]
    note = (
        "Share of the variance of White's expected score that a model's states of other games tell; maps in latent/SET."
    )
    return {"What a model's states tell of who is winning": {"columns": columns, "rows": rows, "note": note}}


def _looked_at(config: Config) -> list[tuple[GameSet, Entry]]:
    """Return the model of each set that is looked at: the first seed's, at the lowest temperature above 0, legal."""
    lowest = min((one for one in config.temperatures if one > 0), default=0.0)
    if not lowest or "legal" not in config.modes:
        return []
    return [(one, Entry(one.name, config.seeds[0], "legal", lowest)) for one in game_sets(config)]


def _tell(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


def _share(interval: Interval) -> str:
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
