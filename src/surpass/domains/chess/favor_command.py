"""`surpass chess favor`: what a model gains at low temperature, judged move by move by a strong engine."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from surpass.domains.chess.favor import Chances, Row, Visit, as_json, frequencies, measure, rows, visits
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.domains.chess.judge import NODES, Judge
from surpass.errors import ConfigError, DataError

if TYPE_CHECKING:
    from surpass.domains.chess.latent import LatentOptions

PAPER = (0.001, 0.01, 0.1, 0.3, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class FavorOptions:
    """Judge a model's moves at several temperatures, in the positions that a player of games has met."""

    games: Annotated[tuple[Path, ...], tyro.conf.Positional]  # of `chess match`, or any others
    run: Path  # the model
    player: str | None = None  # whose positions, by its name in the games; without: both sides'
    temperatures: tuple[float, ...] = PAPER  # the first one's gains are shown on boards
    reference: float = 1.0  # the temperature that the others are compared with
    positions: int = 2000  # drawn from those of the games, at most
    nodes: int = NODES  # of the engine for one position, all moves together
    draws: int = 100  # of a model of characters; one of moves gives its probabilities exactly
    out: Path = Path("favor")  # the folder to make, or to go on with: evaluations are kept in it
    threads: int = 1  # engines that work at once
    device: str = "cpu"  # where the model computes
    seed: int = 0  # of what is drawn

    def __post_init__(self) -> None:
        if not self.games or not self.temperatures:
            raise ConfigError("expected files of games and at least one temperature")
        if self.positions < 1 or self.draws < 2 or min(*self.temperatures, self.reference) < 0:
            raise ConfigError("expected --positions of 1 or more, --draws of 2 or more, temperatures of 0 or more")


def main(options: FavorOptions) -> int:
    """Judge, write favor.json and favor.html, and print the table; return 0."""
    from rich.console import Console
    from rich.progress import Progress

    from surpass.domains.chess.favor_page import rich_table

    refuse_other(options.out / "favor.json", asked(options))
    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("positions", total=None)
            found, about = analyse(options, lambda done, total: bar.update(task, completed=done, total=total))
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    caption = f"{about['positions']} positions, {about['engine']}, {options.nodes:,} nodes"
    Console(soft_wrap=True).print(rich_table(found, caption))
    print(options.out / "favor.html")
    return 0


def analyse(
    options: FavorOptions, tell: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Row], dict[str, Any]]:
    """Judge what is not judged yet, write favor.json and favor.html, and return the rows and what they are of.

    `tell` hears how many of how many positions are judged.
    """
    from surpass.domains.chess.favor_page import write

    temperatures = tuple(dict.fromkeys((*options.temperatures, options.reference)))
    names, chances = of_model(options, temperatures)
    report = Report()
    games = read(options.games, Filter(duplicates=False), report)
    places = thinned(visits(games, options.player), options.positions, seed=options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    with Judge(options.out / "evaluations.sqlite", nodes=options.nodes, threads=options.threads) as judge:
        measured = measure(places, names, chances, judge.scores, tell=lambda done: tell(done, len(places)))
        title = judge.title
    reference = named(options.reference)
    found = rows(measured, reference, seed=options.seed)
    about = {"engine": title, "nodes": options.nodes, "positions": len(places), "reference": reference}
    about |= {"games": len({one.game for one in places}), "read": report.read, "bad": sum(report.bad.values())}
    (options.out / "favor.json").write_text(
        json.dumps({**about, "rows": as_json(found), "asked": asked(options)}, indent=1) + "\n", encoding="utf-8"
    )
    judged = f"{title} at {options.nodes:,} nodes a position"
    write(options.out / "favor.html", measured, found, reference=reference, judge=judged)
    return found, about


def of_model(options: FavorOptions, temperatures: tuple[float, ...]) -> tuple[tuple[str, ...], Chances]:
    """Return the names and the chances of one model at some temperatures; exact for a model of moves."""
    from surpass.domains.chess.model_player import Choice, ModelPlayer
    from surpass.domains.chess.players import model_policy

    player, _ = model_policy(options.run, {"device": options.device}, cached=False)
    choices = [Choice(temperature) for temperature in temperatures]
    if isinstance(player, ModelPlayer):
        return tuple(map(named, temperatures)), partial(player.chances, choices=choices)
    players = [player.with_choice(choice) for choice in choices]
    return tuple(map(named, temperatures)), frequencies(players, draws=options.draws, seed=options.seed)


def asked(options: FavorOptions | LatentOptions) -> dict[str, Any]:
    """Return what a result is of, as JSON holds it; where and how it is worked out does not count."""
    told: dict[str, Any] = json.loads(json.dumps(asdict(options), default=str))
    return {name: value for name, value in told.items() if name not in ("out", "threads", "device")}


def refuse_other(path: Path, wanted: dict[str, Any]) -> None:
    """Raise DataError where a result is there that is not of what is wanted now; evaluations may be anyone's."""
    if path.parent.exists() and not path.parent.is_dir():
        raise DataError(f"{path.parent} is a file; choose another folder with --out")
    if not path.exists():
        return
    try:
        known = dict(json.loads(path.read_text(encoding="utf-8"))["asked"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no result of this command ({error!r}); choose another folder with --out") from error
    if different := sorted(name for name in known | wanted if known.get(name) != wanted.get(name)):
        raise DataError(
            f"{path} holds another result, {', '.join(different)} differ, and nothing is overwritten: choose another "
            "folder with --out"
        )


def named(temperature: float) -> str:
    """Return how a temperature is called in tables."""
    return f"T {temperature:g}"


def thinned(places: list[Visit], most: int, *, seed: int = 0) -> list[Visit]:
    """Return at most so many positions, drawn by seed, in their order."""
    if len(places) <= most:
        return places
    return [places[index] for index in sorted(random.Random(seed).sample(range(len(places)), most))]
