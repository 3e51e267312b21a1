"""`surpass chess generation`: a model's games against itself at a low temperature, as the training set of the next one.

The weak-to-strong step: if a model outplays its teachers at a low temperature, its games there are those of a better
teacher. Three steps, each of which goes on where it stopped:

    OUT/openings.pgn    first moves, drawn by the model itself at temperature 1 among the legal ones, all different: at
                        a low temperature it would play one game over and over, and random moves would be learned
    OUT/match           the games, both sides the same model (`match.py`)
    OUT/pack            those that pass the filter, in the tokens of the model (`shards.py`)

By default drawn games are left out, and so are games that a forfeit or adjudication ended: what is learned has been won
on the board. Not here: training, and whether the next generation is stronger, which the arena measures.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import chess

from surpass.core import Observation, Policy
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report
from surpass.domains.chess.match import Match, MatchOptions
from surpass.domains.chess.openings import read_openings
from surpass.domains.chess.pgn import movetext, write
from surpass.domains.chess.players import model_policy, player
from surpass.domains.chess.rules import board_of, ending, legal, named, sans
from surpass.domains.chess.saved import load
from surpass.domains.chess.shards import Pack, write_pack
from surpass.errors import ConfigError, DataError
from surpass.rollouts.seeds import derive_seed

AT_ONCE = 256  # openings drawn in one batch
ROUNDS = 20  # batches without a new opening after which a model has no more


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """Let a model play against itself and pack its games for the next one."""

    run: Path  # the model
    out: Path = Path("generation")  # the folder to make, or to go on with
    games: int = 1000  # to play; even
    temperature: float = 0.1  # at which they are played
    opening_plies: int = 8  # half-moves drawn at temperature 1 to begin with
    start: str = ""  # FEN where all games begin, as the model's training games did; empty: the initial position
    legal: bool = False  # draw among legal moves only; otherwise five tries, then a forfeit
    resign: bool = False  # with --legal: give up as often as raw; for a model of games that end by resignation
    results: tuple[str, ...] = ("1-0", "0-1")  # of the games to keep
    max_plies: int = 400  # a game that long is adjudicated a draw, and not kept
    live: int = 64  # games at once
    device: str = "cpu"  # where the model computes
    seed: int = 0  # of all that is drawn

    def __post_init__(self) -> None:
        if self.games < 2 or self.games % 2 or self.opening_plies < 0 or not 0 <= self.temperature < math.inf:
            raise ConfigError("expected an even number of games, --opening-plies and --temperature of 0 or more")
        if self.live < 1 or self.max_plies < 0:
            raise ConfigError(
                f"expected --live of 1 or more and --max-plies of 0 or more, found {self.live}, {self.max_plies}"
            )
        if self.resign and not self.legal:
            raise ConfigError("--resign goes with --legal: raw, a model resigns by itself")
        _ = self.keep, board_of(self.start)  # say what is wrong with them before anything is played

    @property
    def keep(self) -> Filter:
        """Return which games are packed."""
        return Filter(initial=True, start=self.start, outcomes=self.results, normal=True)


def main(options: GenerationOptions) -> int:
    """Play, pack and say what was kept; 1 where no game was."""
    from rich.console import Console

    try:
        pack, report = generate(options)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    Console().print(report.table())
    print(f"{len(pack):,} games to learn from, in {options.out / 'pack'}")
    return 0 if len(pack) else 1


def generate(options: GenerationOptions) -> tuple[Pack, Report]:
    """Return the pack of a model's own games and what became of each of them.

    Raises what playing and packing raise; the same options go on where that was.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    book = options.out / "openings.pgn"
    if not book.exists():
        fresh = book.with_suffix(".new")
        fresh.write_text("".join(_pgn(moves, options.start) for moves in openings(options)), encoding="utf-8")
        fresh.replace(book)
    else:
        drawn, begun = read_openings(book), board_of(options.start).fen()
        if any(len(one.moves) != options.opening_plies or one.board().root().fen() != begun for one in drawn):
            raise ConfigError(
                f"{book} holds openings of another --start or other --opening-plies: choose another --out, or give the "
                "same options to go on with it"
            )
    rest = f"temperature={options.temperature},device={options.device}"
    rest += (",legal=yes" if options.legal else "") + (",resign=yes" if options.resign else "")
    wanted = MatchOptions(
        player=tuple(f"{name}=model:{options.run},{rest}" for name in ("one", "other")),
        games=options.games,
        out=options.out / "match",
        openings=book,
        live=options.live,
        max_plies=options.max_plies,
        seed=options.seed,
    )
    with ExitStack() as stack:
        players = [player(spec, stack) for spec in wanted.player]
        Match.open(wanted, [one.name for one in players]).play(players)
    _, vocabulary = load(options.run)
    return write_pack([options.out / "match" / "games.pgn"], options.out / "pack", vocabulary, keep=options.keep)


def openings(options: GenerationOptions) -> list[tuple[str, ...]]:
    """Return different openings that the model draws at temperature 1, one for every two games if it has so many.

    Raises DataError for a model that always begins alike.
    """
    if options.opening_plies == 0:
        return [()]
    policy, _ = model_policy(options.run, {"legal": "yes", "temperature": "1", "device": options.device})
    found: dict[tuple[str, ...], None] = {}
    wanted, idle, number = options.games // 2, 0, 0
    while len(found) < wanted and idle < ROUNDS:
        before = len(found)
        seeds = [derive_seed(options.seed, "own opening", number + row) for row in range(AT_ONCE)]
        number += AT_ONCE
        for moves in _drawn(policy, options, seeds):
            if len(found) < wanted:
                found[moves] = None
        idle = 0 if len(found) > before else idle + 1
    if len(found) < min(2, wanted):
        raise DataError(f"the model in {options.run} knows {len(found)} openings: it would play one game over and over")
    return list(found)


def _drawn(policy: Policy, options: GenerationOptions, seeds: list[int]) -> list[tuple[str, ...]]:
    """Return openings of legal moves after which the game goes on, drawn by seed."""
    boards, plies = [board_of(options.start) for _ in seeds], options.opening_plies
    for ply in range(plies):
        going = [row for row, board in enumerate(boards) if ending(board, repeated=False) is None]
        seen = [_seen(boards[row], options.start) for row in going]
        rows = policy.propose(seen, 1, seeds=[derive_seed(seeds[row], ply) for row in going])
        for row, proposals in zip(going, rows, strict=True):
            if (move := named(boards[row], proposals[0].action)) is not None:  # a resignation is none
                boards[row].push(move)
    whole = [board for board in boards if len(board.move_stack) == plies and ending(board, repeated=False) is None]
    return [tuple(move.uci() for move in board.move_stack) for board in whole]


def _seen(board: chess.Board, start: str) -> Observation:
    text = " ".join(move.uci() for move in board.move_stack)
    return Observation(f"[FEN {start}]\n{text}" if start else text, tuple(legal(board)), int(board.turn == chess.BLACK))


def _pgn(moves: tuple[str, ...], start: str) -> str:
    tags = {"Event": "openings of a model"} | ({"SetUp": "1", "FEN": start} if start else {})
    return write(tags, movetext(list(sans(moves, start)), "*", first=board_of(start).ply()))
