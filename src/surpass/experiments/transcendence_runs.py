"""What `transcendence` makes, in order, each part finished, resumed or absent: games, models, matches.

    sets/SET/games.pgn       the experts' games, and sets/SET/pack/ what is learned of them
    models/SET-SEED/         the training run of a model
    matches/pool/            every expert against every other
    matches/SET-SEED-MODE-T/ a model at one temperature against the experts of its set and the others
    matches/SET-majority/    the majority vote over the set's games against the same

All games of a match are paired by openings, of which a longer match has those of a shorter one and more, and stand in
its `games.pgn`. A match that was interrupted goes on with the games that it lacks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from surpass.domains.chess import expert_games
from surpass.domains.chess.arena import Player
from surpass.domains.chess.experts import parse
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.domains.chess.match import Match, MatchOptions
from surpass.domains.chess.players import Majority, player
from surpass.domains.chess.pretrain import MODEL, PretrainOptions, pretrain
from surpass.domains.chess.rules import board_of
from surpass.domains.chess.shapes import SHAPES
from surpass.domains.chess.shards import write_pack
from surpass.domains.chess.tokens import Characters, Moves
from surpass.errors import ConfigError
from surpass.models.checkpoint import usable
from surpass.rollouts.processes import process_pool

if TYPE_CHECKING:
    from surpass.experiments.transcendence import Config

MODES = ("raw", "legal")
_COUNTS = (
    *("rows", "length", "majority_plies", "opening_plies", "max_plies", "jobs"),
    *("favor_positions", "favor_nodes", "latent_positions"),
)
_SET = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(?:\s+games=(?P<games>[1-9][0-9]*))?\s*:(?P<experts>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GameSet:
    """Games that models are trained on."""

    name: str
    games: int
    experts: tuple[str, ...]  # as they are typed, which is their name in all matches


@dataclass(frozen=True, slots=True)
class Entry:
    """A player under test, with a match of its own."""

    game_set: str
    seed: int | None  # None: the majority vote
    mode: str = ""
    temperature: float = 0.0

    @property
    def name(self) -> str:
        """Return its name in tables and games."""
        if self.seed is None:
            return f"{self.game_set} majority"
        return f"{self.game_set} {self.seed} {self.mode} {self.temperature:g}"

    @property
    def folder(self) -> str:
        """Return the folder of its match."""
        return self.name.replace(" ", "-")


def check(config: Config) -> None:
    """Raise ConfigError for settings that do not fit together."""
    sets = game_sets(config)
    for one in {spec for each in sets for spec in each.experts} | set(config.others):
        parse(one)
    if not sets or len({one.name for one in sets}) < len(sets):
        raise ConfigError(f"expected game sets with names of their own, found {[one.name for one in sets]}")
    if config.model not in SHAPES:
        raise ConfigError(f"expected --model among {', '.join(SHAPES)}, found {config.model!r}")
    if not config.seeds or not config.temperatures or not config.modes or set(config.modes) - set(MODES):
        found = f"{config.seeds}, {config.temperatures} and {config.modes}"
        raise ConfigError(f"expected seeds, temperatures and modes among {', '.join(MODES)}, found {found}")
    if not all(0 <= one < math.inf for one in config.temperatures):
        raise ConfigError(f"expected temperatures of at least 0, found {config.temperatures}")
    if set(config.chosen) - set(config.temperatures):
        raise ConfigError(
            f"expected --chosen among --temperatures {config.temperatures}, found {config.chosen}: give those that are "
            "to play more games, or none"
        )
    for names, least in ((_COUNTS, 0), (("games", "live", "game_jobs", "chosen_times"), 1)):
        for name in names:
            if getattr(config, name) < least:
                raise ConfigError(f"{name}: expected {least} or more, found {getattr(config, name)}")
    if not 0 < config.epochs < math.inf or not 0 <= config.learning_rate < math.inf or not config.patience > 0:
        raise ConfigError("expected epochs and patience above 0, and a learning_rate of 0 or more")
    _ = board_of(config.start), usable(config.device)  # say what is wrong with them before games are played
    for name, games in (("match-games", config.match_games), ("pool-games", config.pool_games)):
        if games < 2 or games % 2:
            raise ConfigError(f"expected an even number of --{name}, for openings are played twice; found {games}")
    if len(experts(config)) < 2:
        raise ConfigError("expected two experts or more among --sets and --others: ratings are differences")


def game_sets(config: Config) -> list[GameSet]:
    """Return the game sets. Raises ConfigError for a text that names none."""
    found = []
    for text in config.sets:
        match = _SET.fullmatch(text.strip())
        specs = tuple(" ".join(spec.split()) for spec in (match["experts"] if match else "").split(";") if spec.strip())
        if match is None or not specs:
            raise ConfigError(f"expected a game set as 'NAME [games=N]: EXPERT; EXPERT', found {text!r}")
        found.append(GameSet(match["name"], int(match["games"] or config.games), specs))
    return found


def experts(config: Config) -> list[str]:
    """Return all experts that play, those of the sets first."""
    typed = [spec for one in game_sets(config) for spec in one.experts] + [
        " ".join(one.split()) for one in config.others
    ]
    return list(dict.fromkeys(typed))


def entries(config: Config) -> Iterator[Entry]:
    """Yield all players under test."""
    for one in game_sets(config):
        for seed, mode, temperature in product(config.seeds, config.modes, config.temperatures):
            yield Entry(one.name, seed, mode, temperature)
        if config.majority_plies:
            yield Entry(one.name, None)


def opponents(config: Config, entry: Entry) -> list[str]:
    """Return the experts that a player meets: those of its set, and the others."""
    own = next(one.experts for one in game_sets(config) if one.name == entry.game_set)
    return list(dict.fromkeys([*own, *(" ".join(one.split()) for one in config.others)]))


def games_of(config: Config, entry: Entry) -> int:
    """Return how many games a player under test plays with each opponent."""
    chosen = entry.seed is not None and entry.temperature in config.chosen
    return config.match_games * (config.chosen_times if chosen else 1)


def make_games(config: Config, folder: Path, progress: Progress) -> None:
    """Let the experts play what is missing of each set, and pack it."""
    for one in game_sets(config):
        path = folder / "sets" / one.name / "games.pgn"
        task = progress.add_task(f"games of {one.name}", total=one.games)
        made = expert_games.run(
            expert_games.ExpertOptions(
                path,
                one.experts,
                one.games,
                seed=config.draws,
                start=config.start,
                jobs=config.game_jobs,
                seconds=config.patience,
            ),
            lambda now, task=task: progress.update(task, completed=now.games),  # type: ignore[misc]
        )
        summary = {"games": made.games, "half_moves": made.plies, "lost": made.lost, "made": made.made}
        (path.parent / "experts.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        moves = SHAPES[config.model].tokens == "moves"
        vocabulary = Moves() if moves else Characters(results=False)  # the paper's transcripts have no results
        write_pack([path], path.parent / "pack", vocabulary, keep=Filter(initial=True, start=config.start))
        progress.remove_task(task)


def train_models(config: Config, folder: Path, progress: Progress) -> None:
    """Train the models that are not finished."""
    units = [(one.name, seed) for one in game_sets(config) for seed in config.seeds]
    _carry_out(config, progress, "models", [(train_model, (config, folder, *unit)) for unit in units])


def train_model(config: Config, folder: Path, game_set: str, seed: int) -> None:
    """Train one model on the pack of its set."""
    pretrain(
        PretrainOptions(
            pack=folder / "sets" / game_set / "pack",
            out=folder / "models" / f"{game_set}-{seed}",
            preset=config.model,
            epochs=config.epochs,
            rows=config.rows or None,
            length=config.length or None,
            learning_rate=config.learning_rate or None,
            seed=seed,
            valid_share=0.02,
            evaluate_every=100,
            checkpoint_every=25,
            device=config.device,
            autocast=config.autocast,
            compiled=config.compiled,
        )
    )


def play_matches(config: Config, folder: Path, progress: Progress) -> None:
    """Play all games that are missing."""
    work: list[tuple[Callable[..., None], tuple[object, ...]]] = [(play_pool, (config, folder))]
    work += [(play_entry, (config, folder, entry)) for entry in entries(config)]
    _carry_out(config, progress, "matches", work)


def play_pool(config: Config, folder: Path) -> None:
    """Play every expert against every other."""
    with ExitStack() as stack:
        names = experts(config)
        players = [_expert(config, name, stack) for name in names]
        pool_match(config, folder).play(players)


def play_entry(config: Config, folder: Path, entry: Entry) -> None:
    """Play the match of one player under test."""
    match = entry_match(config, folder, entry)
    if len(match.record) == len(match.pairings):
        return
    with ExitStack() as stack:
        rivals = [_expert(config, name, stack) for name in opponents(config, entry)]
        match.play([_under_test(config, folder, entry, stack), *rivals])


def pool_match(config: Config, folder: Path) -> Match:
    """Return the match of the experts, with what has been played of it."""
    names = experts(config)
    return Match.open(_options(config, folder / "matches" / "pool", names, config.pool_games), names)


def entry_match(config: Config, folder: Path, entry: Entry) -> Match:
    """Return the match of a player under test, with what has been played of it."""
    names = [entry.name, *opponents(config, entry)]
    options = _options(config, folder / "matches" / entry.folder, names, games_of(config, entry), gauntlet=True)
    return Match.open(options, names)


def _options(config: Config, out: Path, names: list[str], games: int, *, gauntlet: bool = False) -> MatchOptions:
    return MatchOptions(
        player=tuple(names),  # as they are named here: a run folder may move
        games=games,
        out=out,
        opening_plies=config.opening_plies,
        start=config.start,
        gauntlet=gauntlet,
        live=config.live,
        max_plies=config.max_plies,
        seed=config.draws,
    )


def _expert(config: Config, spec: str, stack: ExitStack) -> Player:
    return player(f"expert:{spec}", stack, deadline=config.patience)


def _under_test(config: Config, folder: Path, entry: Entry, stack: ExitStack) -> Player:
    if entry.seed is None:
        games = read([folder / "sets" / entry.game_set / "games.pgn"], Filter(), Report())
        votes = Majority.of((game.fen, game.moves[: config.majority_plies]) for game in games)
        return Player(entry.name, votes, wants_legal=True, wants_key=True)
    path = folder / "models" / f"{entry.game_set}-{entry.seed}" / MODEL
    rest = f"temperature={entry.temperature},device={config.device}"
    if entry.mode == "legal":
        own = [parse(spec) for one in game_sets(config) if one.name == entry.game_set for spec in one.experts]
        moves = SHAPES[config.model].tokens == "moves"  # characters are packed without results: such a model knows none
        resigns = moves and any(part.resign for expert in own for part in expert.parts)
        rest += ",legal=yes" + (",resign=yes" if resigns else "")
    return player(f"model:{path},{rest}", stack)


def _carry_out(
    config: Config, progress: Progress, name: str, work: list[tuple[Callable[..., None], tuple[object, ...]]]
) -> None:
    """Call functions, `config.jobs` at once in processes of their own; 0: one after the other in this one."""
    task = progress.add_task(name, total=len(work))
    if config.jobs == 0:
        for function, arguments in work:
            progress.stop()  # training shows its own
            function(*arguments)
            progress.update(task, advance=1)
        return
    with process_pool(config.jobs) as pool:
        running = {pool.submit(_alone, config.jobs, function, arguments) for function, arguments in work}
        while running:
            finished, running = wait(running, timeout=0.5)
            for future in finished:
                future.result()
                progress.update(task, advance=1)


def _alone(jobs: int, function: Callable[..., None], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    function(*arguments)
