"""Policymakers: at equal budgets, which principal finds good rates soonest, and how good are they?

Every principal governs every society for the same number of terms, once for each seed; terms of equal number meet equal
chance, whoever governs. `fixed` is no policy and `oracle` the best fixed rates, searched for beforehand; all others
begin knowing the ranges of the rates. The question, the commands, the numbers and what they do not show:
`policymakers.md`.

    society: oracle ── fixed, oracle, random, ... each governs all seeds in step ── table, curves, animation
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from surpass import report
from surpass.domains.economy.learning import LearningCommons
from surpass.domains.economy.principals.oracle import Oracle, kept
from surpass.domains.economy.principals.principal import PRINCIPALS, Principal, principal_of
from surpass.errors import ConfigError
from surpass.experiments.policymakers_film import film
from surpass.experiments.policymakers_language import LANGUAGE, available, conversation, spent
from surpass.experiments.policymakers_societies import SOCIETIES, Place
from surpass.experiments.policymakers_table import show, summarise
from surpass.experiments.policymakers_terms import Mandate, Row, govern
from surpass.experiments.proof_flow_data import machine
from surpass.experiments.records import begin
from surpass.models.chat import Chat
from surpass.recorded import run_at
from surpass.rollouts.seeds import derive_seed
from surpass.store import Run

BANDITS = ("epsilon_greedy", "ucb", "thompson")
OPTIMISERS = ("bayesian", "tpe", "cma_es")
LEAST = {  # what numbers may be, by field
    **dict.fromkeys(("settled_terms", "room_terms", "commons_terms", "last", "oracle_terms", "oracle_judged"), 1),
    **dict.fromkeys(("room_episodes", "commons_episodes", "cleanup_episodes", "commons_length"), 1),
    **{"room_values": 2, "commons_values": 2, "oracle_refinements": 0, "film_every": 0},
}
FREE = ("threads", "price_in", "price_out")  # fields that no term depends on: a run may go on under others
EVERY = ("random", *BANDITS, *OPTIMISERS, "ai_economist", "metagrad", "in_context")


@dataclass(frozen=True)
class Config:
    """Let principals govern societies at equal budgets, and compare them."""

    societies: tuple[str, ...] = ("settled_room", "room", "harvest")  # also cleanup
    room_principals: tuple[str, ...] = EVERY  # in both rooms, besides fixed and oracle; metagrad where agents learn
    commons_principals: tuple[str, ...] = ("random", "bayesian", "in_context")  # in a commons, likewise
    language: tuple[str, ...] = tuple(LANGUAGE)  # in all societies, where a chat model is configured or replayed
    replay: Path | None = None  # a run, or its exchanges.jsonl, to take a language model's answers from
    price_in: float | None = None  # of a million prompt tokens; None: costs are not told
    price_out: float | None = None  # of a million completion tokens
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # independent repetitions
    settled_terms: int = 40  # of each principal and seed, in settled_room
    room_terms: int = 24  # in room
    commons_terms: int = 10
    last: int = 5  # terms at the end whose mean is the final welfare
    room_episodes: int = 2000  # of learning in a term of room
    commons_episodes: int = 5  # of learning in a term of Harvest
    cleanup_episodes: int = 20  # in Clean Up
    commons_length: int = 1000  # steps of its episodes
    core: Path | None = None  # weights of what agents of a commons see with; by default the package's own
    room_values: int = 2  # of each rate in the oracle's grid
    commons_values: int = 3
    oracle_refinements: int = 2  # rounds in which the oracle moves one rate at a time
    oracle_terms: int = 2  # of each policy that it tries
    oracle_judged: int = 10  # of the best of them, with other seeds
    film_every: int = 10  # steps between pictures of the animation; 0: no animation
    threads: int | None = None  # of learning agents in room; by default all cores

    def __post_init__(self) -> None:
        spoken = {principal for principal, _ in LANGUAGE.values()}
        numeric = [name for name in PRINCIPALS if name not in spoken]
        tables: tuple[Collection[str], ...] = (SOCIETIES, numeric, numeric, LANGUAGE)
        for name, known in zip(("societies", "room_principals", "commons_principals", "language"), tables, strict=True):
            wrong = [one for one in getattr(self, name) if one not in known]
            if wrong:
                raise ConfigError(f"{name}: expected some of {', '.join(known)}, found {wrong[0]!r}")
        if not self.seeds or not self.societies or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds, societies: expected different ones, found {self.seeds} and {self.societies}")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: expected {least} or more, found {getattr(self, name)}")
        for name in ("price_in", "price_out"):
            if (price := getattr(self, name)) is not None and not 0 <= price < math.inf:
                raise ConfigError(f"{name}: expected a price of 0 or more, found {price}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads: expected 1 or more, found {self.threads}")


PRESETS: Mapping[str, Config] = {
    "tiny": Config(
        room_principals=("random", "ucb", "tpe"),
        commons_principals=("random", "cma_es"),
        seeds=(0, 1),
        settled_terms=4,
        room_terms=4,
        commons_terms=3,
        last=2,
        room_episodes=5,
        commons_episodes=1,
        cleanup_episodes=1,
        commons_length=20,
        commons_values=2,
        oracle_refinements=0,
        oracle_terms=1,
        oracle_judged=2,
    ),
    "small": Config(),
    "full": Config(
        societies=("settled_room", "room", "harvest", "cleanup"),
        commons_principals=EVERY,
        seeds=tuple(range(10)),
        settled_terms=1000,
        room_terms=1000,
        commons_terms=300,
        last=20,
        room_values=3,
        commons_values=5,
        oracle_terms=10,
        oracle_judged=40,
    ),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print a table for each society and return its folder; `resume` goes on where it was left.

    Raises ConfigError for numbers that do not fit or are not those of the run, DataError for records that cannot be
    read, ModelError for weights that are none.
    """
    console = Console(stderr=True)
    places = {name: SOCIETIES[name](config) for name in config.societies}  # before anything is written: they may refuse
    if config.replay is not None and not config.replay.exists():
        raise ConfigError(f"replay: expected a run folder or its exchanges.jsonl, found nothing at {config.replay}")
    run = begin("policymakers", config, out=out, resume=resume, free=FREE)
    console.print(f"run folder: {run.path}")
    if config.language and not available(run.path, config.replay):
        console.print("no rows of language models: no chat model is configured (docs/howto-chat.md)")
        config = replace(config, language=())
    found = {}
    with _chat(config, run.path) as chat:
        for name, place in places.items():
            part = run_at(run.path / name, {"society": name, **asdict(config)}, free=asdict(config))
            found[name] = summary = _society(config, place, part, chat, console)
            part.write_summary(summary)
            report.write(part.path)
            console.print(show(name, summary))
            console.print(f"report: {part.path / 'report.html'}")
        said = {} if chat is None else {"language": spent(chat)}
    run.write_summary({"societies": found, **said, "machine": machine()})
    return run.path


def _chat(config: Config, folder: Path) -> AbstractContextManager[Chat | None]:
    if not config.language:
        return nullcontext()
    return conversation(folder, config.replay, price_in=config.price_in, price_out=config.price_out)


def _society(config: Config, place: Place, run: Run, chat: Chat | None, console: Console) -> dict[str, Any]:
    """Let all principals govern one society, and return its summary."""
    began = time.monotonic()
    with console.status(f"{place.name}: searching for the best fixed rates"):
        oracle = kept(place.society, place.search, run.path / "oracle.json", seed=0, name=place.name)
    makers: dict[str, Callable[[int, int], Principal]] = {
        name: partial(_principal, place, name, name, place.options.get(name, {})) for name in place.principals
    }
    makers["oracle"] = lambda seed, silent: oracle
    for arm in config.language:
        name, options = LANGUAGE[arm]
        makers[arm] = partial(_principal, place, arm, name, {**options, "chat": chat})
    rows = dict[str, list[Row]]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for arm, make in makers.items():
            task = progress.add_task(f"{place.name}: {arm}", total=place.terms)
            own = {seed: partial(make, seed) for seed in config.seeds}
            mandate = Mandate(place.society, place.name, own, place.terms, place.steps)
            part = run_at(run.path / "arms" / arm, {"society": place.name, "principal": arm})
            rows[arm] = govern(mandate, part, partial(_tell, progress, task))
    summary = summarise(place, rows, config.seeds, config.last)
    summary["oracle"] = [asdict(one) for one in oracle.best]
    if config.film_every and isinstance(place.society, LearningCommons):
        summary |= _film(config, place.society, oracle, run)
    return {**summary, "seconds": time.monotonic() - began, "machine": machine()}


def _tell(progress: Progress, task: Any, done: int) -> None:
    progress.update(task, completed=done)


def _principal(place: Place, arm: str, name: str, options: Mapping[str, object], seed: int, silent: int) -> Principal:
    """Return a principal; its chance is its own arm's, and other chance after each of `silent` terms without rates."""
    again = (silent,) if silent else ()
    return principal_of(name, place.society, seed=derive_seed("principal", arm, seed, *again), **options)


def _film(config: Config, society: LearningCommons, oracle: Oracle, run: Run) -> dict[str, Any]:
    rates = oracle.best[0].rates
    path = run.path / "before_and_after.gif"
    free, ruled = film(society, rates, path, seed=derive_seed("film", run.path.name), every=config.film_every)
    told = ", ".join(f"{rate.name} {value:g}" for rate, value in zip(society.rates, rates, strict=True))
    caption = f"One episode after learning. Left: no policy, welfare {free:.1f}. Right: {told}, welfare {ruled:.1f}."
    return {"pictures": {path.name: caption}}
