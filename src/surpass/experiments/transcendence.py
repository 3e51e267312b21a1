"""Transcendence: does a model of weak players' games outplay the best of them, and is that wisdom or legality?

After Zhang et al., arXiv 2406.11741: experts of known kind play games, a network learns to continue transcripts, and is
drawn from at low temperatures. Every model plays twice: raw, where it forfeits after five illegal tries, and among the
legal moves alone; what low temperatures gain in the second is none of legality's. One fit of Elo rates models, experts
and all others. The question, the commands and the numbers: `transcendence.md`.

    experts ── games ── pack ──┬── seed: model ── matches at nine temperatures, raw and legal ──┐
                  │            └── seed: ...                                                    ├── one fit ── verdicts
                  └── majority vote ── matches                experts against experts ──────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from surpass import report
from surpass.experiments.records import begin
from surpass.experiments.transcendence_closer import look_closer
from surpass.experiments.transcendence_runs import check, make_games, play_matches, train_models
from surpass.experiments.transcendence_table import show, summarise
from surpass.store import Run
from surpass.web.curves import drawing

PAWNS = "4k3/8/ppp5/8/8/5PPP/8/4K3 w - - 0 1"  # a race of pawns: few pieces to keep track of, and games are decided
PAPER = (0.001, 0.01, 0.1, 0.3, 0.5, 0.75, 1.0, 1.5)  # its eight temperatures
# Fields that a run may go on under others of: they add models and matches, or change nothing of what is finished. The
# numbers of games are none of them: games that are added after a look at the results make these say what was hoped for.
ADDING = ("seeds", "temperatures", "modes", "favor_positions", "favor_nodes")
FREE = (*ADDING, "device", "compiled", "live", "jobs", "game_jobs", "patience")


@dataclass(frozen=True)
class Config:
    """Train models on games of weak experts, and rate them beside those experts at many temperatures."""

    sets: tuple[str, ...] = (
        "noisy: stockfish nodes=50 epsilon=0.4 resign=500; stockfish nodes=200 epsilon=0.4 resign=500",
        "clean: stockfish nodes=50 epsilon=0.1 resign=500",
    )  # game sets, each NAME [games=N]: EXPERT; EXPERT; ... as `surpass chess experts` reads experts
    games: int = 24_000  # of a set that does not say
    start: str = PAWNS  # the FEN that all games begin from; empty: the initial position
    model: str = "500k"  # the preset of the network, as `surpass chess train` knows them
    epochs: float = 6.0  # of training
    rows: int = 4  # of a step; 0: the preset's, as are the next two
    length: int = 0  # tokens of a row
    learning_rate: float = 0.0
    autocast: Literal["none", "bf16"] = "bf16"  # of matrix products in training
    device: str = "cpu"  # of training and of play
    compiled: bool = False  # compile networks for training: for a GPU
    seeds: tuple[int, ...] = (0, 1, 2)  # independent models of each set
    temperatures: tuple[float, ...] = (0.0, *PAPER)  # 0: the likeliest move
    modes: tuple[str, ...] = ("raw", "legal")  # five tries and then a forfeit; or legal moves alone
    match_games: int = 20  # of a model, at one temperature, with each opponent; even
    chosen: tuple[float, ...] = (0.001, 1.0)  # temperatures that play more: one for the verdict, one to compare it with
    chosen_times: int = 3  # as many games as the others
    others: tuple[str, ...] = ("stockfish nodes=50 epsilon=0.9 resign=500",)  # whom all models meet, beside their set
    pool_games: int = 100  # of each two experts; even
    majority_plies: int = 60  # of a game that vote for the majority's move; 0: no such player
    opening_plies: int = 4  # random half-moves that each match begins with, twice, colours reversed
    max_plies: int = 200  # a game that long is drawn by adjudication; 0: never
    live: int = 160  # games at once
    jobs: int = 2  # models and matches at once, a process each; 0: in this process
    game_jobs: int = 2  # processes that play experts' games
    favor_positions: int = 300  # judged for one model of each set; 0: none
    favor_nodes: int = 5000  # of Stockfish for each, all its moves together
    latent_positions: int = 300  # of the map of one model of each set; 0: none
    draws: int = 0  # the seed of all games and openings; a pilot takes another than what it prepares
    patience: float = 600.0  # seconds that an engine may take for an answer: it is limited by nodes, not by time


PRESETS: Mapping[str, Config] = {
    "tiny": Config(
        sets=("noisy: greedy epsilon=0.5; random",),
        start="",
        games=24,
        model="tiny",
        epochs=1.0,
        rows=0,
        autocast="none",
        seeds=(0, 1),
        others=("random",),
        temperatures=(0.0, 1.0),
        match_games=2,
        chosen=(0.0,),
        chosen_times=2,
        pool_games=2,
        majority_plies=10,
        favor_positions=0,
        latent_positions=0,
        max_plies=40,
        jobs=0,
        game_jobs=1,
    ),
    "small": Config(),
    "full": Config(
        sets=(
            "noisy: stockfish nodes=50 epsilon=0.8; stockfish nodes=200 epsilon=0.8",
            "milder: stockfish nodes=50 epsilon=0.4; stockfish nodes=200 epsilon=0.4",
            "clean: stockfish nodes=50 epsilon=0.1",
            "phases: stockfish nodes=50 phase=opening; stockfish nodes=50 phase=middlegame; "
            "stockfish nodes=50 phase=endgame",
            "chance games=20000: random",
        ),
        start="",
        max_plies=0,
        games=200_000,
        model="8m",
        rows=0,
        others=("random", "greedy epsilon=0.5"),
        seeds=(0, 1, 2, 3, 4),
        match_games=200,
        pool_games=1000,
        favor_positions=4000,
        latent_positions=4000,
        favor_nodes=20_000,
    ),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print tables, draw `ratings.svg` and `illegal.svg`, return the folder; `resume` goes on.

    Raises ConfigError for settings that do not fit together, and what games, training and matches raise.
    """
    check(config)
    folder = begin("transcendence", config, out=out, resume=resume, free=FREE).path
    console = Console(stderr=True)
    console.print(f"run folder: {folder}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        make_games(config, folder, progress)
        train_models(config, folder, progress)
        play_matches(config, folder, progress)
        closer = look_closer(config, folder, progress)
    summary = summarise(config, folder)
    summary["tables"] |= closer
    Run(folder).write_summary(summary)
    for name, figure in zip(("ratings.svg", "illegal.svg"), summary["figures"], strict=False):
        svg = drawing(figure["title"], figure["lines"], x_label=figure["x_label"])
        (folder / name).write_text(svg, encoding="utf-8")
    console.print(*show(summary))
    console.print(f"report: {report.write(folder)}")
    return folder
