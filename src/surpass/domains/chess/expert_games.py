"""Games between experts, by seed: `surpass chess experts` writes them as PGN, in order, and goes on where it stopped.

Game number i depends on the seed, i and the experts alone: not on the machine, its load, or what else is played. Every
ordered pair of experts takes its turn, and each round of all pairs begins with the same random opening, if any, so that
colours are even. Experts `skill` and `uci_elo` are the exception: their engine draws from the clock.

Beside games.pgn stands games.pgn.json: how it was made, how many games it holds and how many bytes they take, what was
lost. It is written after each game, and a file that goes on is cut back to what it says: a kill at any moment costs the
games at play, no more.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, fields
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Annotated, Any

import chess
import tyro
from rich.table import Table

from surpass.domains.chess.arena import LOST, RESIGNATION
from surpass.domains.chess.engine import Engine
from surpass.domains.chess.experts import Expert, Part, Think, choose, evaluations, find_stockfish, parse
from surpass.domains.chess.held import held
from surpass.domains.chess.pgn import movetext, write
from surpass.domains.chess.rules import board_of, ending, identity, legal
from surpass.errors import ConfigError, DataError, VerifierError
from surpass.rollouts.seeds import derive_seed

LOST_IN_A_ROW = 3  # games after which an engine is taken for broken


@dataclass(frozen=True, slots=True)
class ExpertOptions:
    """Play games between experts and write them as PGN."""

    out: Path = Path("games.pgn")  # the file to write, or to go on with
    expert: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction
    ] = ()  # 'stockfish nodes=50 epsilon=0.3'; repeat the flag
    games: int = 1000  # all together, those already written included
    seed: int = 0  # of everything random
    opening_plies: int = 0  # random legal half-moves before the experts begin
    start: str = ""  # the FEN that all games begin from; empty: the initial position
    jobs: int | None = None  # processes; by default one for each core
    seconds: float = 10.0  # for each answer of an engine; a game that needs more is played again, then lost

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("out", self.out.suffix == ".pgn", "a file that ends in .pgn"),
            ("games", self.games >= 0, "0 or more"),
            ("opening_plies", 0 <= self.opening_plies <= 100, "0 to 100"),
            ("jobs", self.jobs is None or self.jobs > 0, "at least 1"),
            ("seconds", self.seconds > 0, "more than 0"),
        ):
            if not right:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: expected {expected}, found {str(getattr(self, name))!r}"
                )


@dataclass(frozen=True, slots=True)
class Match:
    """All that a game depends on, beside its number."""

    experts: tuple[Expert, ...]
    seed: int
    opening_plies: int
    seconds: float
    program: str  # the engine, empty where no expert has one
    start: str = ""  # FEN, empty: the initial position


@dataclass(frozen=True, slots=True)
class Played:
    """One game that came to its end, or was lost by our machinery: then `trouble` says how."""

    number: int
    white: int
    black: int
    pgn: str = ""
    result: str = ""
    plies: int = 0
    trouble: str = ""


@dataclass(slots=True)
class Progress:
    """What stands beside the games."""

    made: dict[str, Any]  # how: experts, seed, opening, engine; a file made otherwise is not continued
    games: int = 0  # played, the lost ones included: the number of the next game
    bytes: int = 0  # of the PGN
    plies: int = 0
    results: Counter[str] = field(default_factory=Counter)  # "white,black,result" by number of the expert -> games
    lost: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Return each expert's score."""
        table = Table("expert", "games", "+", "=", "-", "score", box=None, header_style="dim")
        for number, spec in enumerate(self.made["experts"]):
            won, drawn, lost = self.score(number)
            games = won + drawn + lost
            share = f"{(won + drawn / 2) / games:.3f}" if games else ""
            table.add_row(spec, *map(str, (games, won, drawn, lost)), share)
        return table

    def score(self, number: int) -> tuple[int, int, int]:
        """Return an expert's wins, draws and losses against others; a game against itself is a draw of no interest."""
        counts = [0, 0, 0]
        for key, games in self.results.items():
            white, black, result = key.split(",")
            if white != black and str(number) in (white, black):
                won = "1-0" if str(number) == white else "0-1"
                counts[1 if result == "1/2-1/2" else 0 if result == won else 2] += games
        return counts[0], counts[1], counts[2]


class Seats:
    """The engines of one process: one for each way they are set up and each colour, started when first asked."""

    def __init__(self, match: Match) -> None:
        self._match = match
        self._engines: dict[tuple[str, bool], Engine] = {}
        self._fresh: set[tuple[str, bool]] = set()  # those that know that a new game has begun

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    def play(self, number: int) -> Played:
        """Play one game; an engine that fails is replaced once, then the game is lost."""
        for final in (False, True):
            self._fresh.clear()
            try:
                return play(self._match, number, self._think)
            except VerifierError as error:
                self.close()
                if final:
                    white, black = pairing(number, len(self._match.experts))
                    return Played(number, white, black, trouble=str(error))
        raise AssertionError("unreachable")

    def _think(self, part: Part, played: Sequence[str]) -> Mapping[str, float]:
        key = (json.dumps(part.options), len(played) % 2 == 0)
        engine = self._engines.get(key)
        if engine is None:
            engine = Engine([self._match.program], part.options, deadline=self._match.seconds)
            self._engines[key] = engine
        if key not in self._fresh:
            engine.new_game()
            self._fresh.add(key)
        start = f"fen {self._match.start}" if self._match.start else "startpos"
        position = f"{start} moves {' '.join(played)}" if played else start
        found = engine.think(position, f"nodes {part.nodes}")
        return evaluations(found.move, found.scores)


def pairing(number: int, experts: int) -> tuple[int, int]:
    """Return who has White and who Black in a game: all ordered pairs in turn, each expert against itself too."""
    return divmod(number % (experts * experts), experts)


def play(match: Match, number: int, think: Think) -> Played:
    """Play one game to the end that the rules give it. Raises VerifierError where an engine cannot be driven."""
    rng = random.Random(derive_seed(match.seed, "game", number))
    experts = len(match.experts)
    white, black = pairing(number, experts)
    board, played, sans = board_of(match.start), list[str](), list[str]()
    first = board.ply()
    seen: Counter[Hashable] = Counter()

    def push(move: chess.Move) -> tuple[str, str] | None:
        played.append(move.uci())
        sans.append(board.san_and_push(move))
        if not board.halfmove_clock:
            seen.clear()
        here = identity(board)
        seen[here] += 1
        return ending(board, repeated=seen[here] >= 3)

    seen[identity(board)] += 1
    end = None
    for move in opening(match.seed, number // (experts * experts), match.opening_plies, start=match.start):
        end = push(move)
    while end is None:
        seat = match.experts[white if board.turn == chess.WHITE else black]
        chosen = choose(seat, board, played, rng=rng, think=think)
        end = push(chosen) if chosen else (RESIGNATION, LOST[int(board.turn == chess.BLACK)])
    why, result = end
    tags = {
        "Event": f"surpass chess experts, seed {match.seed}",
        "Round": str(number + 1),
        "White": match.experts[white].name,
        "Black": match.experts[black].name,
        "Result": result,
        **({"SetUp": "1", "FEN": match.start} if match.start else {}),
        "PlyCount": str(len(played)),
        "Termination": "normal",
        "Ending": why,
    }
    for tag, expert in (("WhiteElo", match.experts[white]), ("BlackElo", match.experts[black])):
        if expert.rating is not None:
            tags[tag] = str(expert.rating)
    return Played(number, white, black, write(tags, movetext(sans, result, first=first)), result, len(played))


def opening(seed: int, number: int, plies: int, *, start: str = "") -> list[chess.Move]:
    """Return random legal moves after which the game goes on; the first attempt nearly always does."""
    for attempt in range(1000):
        rng = random.Random(derive_seed(seed, "opening", number, attempt))
        board, moves = board_of(start), list[chess.Move]()
        while len(moves) < plies and ending(board, repeated=False) is None:
            possible = list(legal(board).values())
            moves.append(possible[int(rng.random() * len(possible))])
            board.push(moves[-1])
        if len(moves) == plies and ending(board, repeated=board.is_repetition(3)) is None:
            return moves
    raise ConfigError(f"found no opening of {plies} random half-moves after which the game goes on; use fewer")


def run(options: ExpertOptions, tell: Callable[[Progress], None] = lambda progress: None) -> Progress:
    """Play the games that are not yet in the file and write them; return the progress of all.

    Raises ConfigError for experts that would play one game over and over or a file made otherwise, VerifierError where
    the engine cannot be started or fails in several games in a row; those are not counted, but played when it works
    again. What is written stays, and the same call goes on; ConfigError too where another process is writing.
    """
    match, title = _match(options)
    with held(options.out):
        return _run(options, match, title, tell)


def _run(options: ExpertOptions, match: Match, title: str, tell: Callable[[Progress], None]) -> Progress:
    progress = resume(options.out, _made(match, title))
    tell(progress)
    lost: list[Played] = []  # in a row, until a game succeeds
    with options.out.open("ab") as file:
        for played in _games(match, range(progress.games, options.games), options.jobs or len(os.sched_getaffinity(0))):
            if played.trouble:
                lost.append(played)
                if len(lost) == LOST_IN_A_ROW:
                    raise VerifierError(f"{len(lost)} games in a row were lost, the last to: {played.trouble}")
                continue
            for one in (*lost, played):
                _note(progress, one)
            lost.clear()
            file.write(played.pgn.encode())
            file.flush()
            progress.bytes = file.tell()
            _save(options.out, progress)
            tell(progress)
    for one in lost:
        _note(progress, one)
    _save(options.out, progress)
    return progress


def resume(path: Path, made: Mapping[str, Any]) -> Progress:
    """Return how far a file has come, cut back to its last whole game; an empty one where there is no file.

    Raises DataError for a file that this program did not write, that was made otherwise, or that is shorter than known.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        progress = Progress(dict(made))
        _save(path, progress)
        path.touch()
        return progress
    beside = _beside(path)
    try:
        stored = json.loads(beside.read_text(encoding="utf-8"))
        progress = Progress(**{**stored, "results": Counter(stored["results"])})
    except FileNotFoundError as error:
        raise DataError(f"{path} exists without {beside.name}: choose another --out; nothing is overwritten") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{beside} cannot be read: {error!r}; choose another --out") from error
    for name, value in made.items():
        if progress.made.get(name, "") != value:
            raise DataError(
                f"{path} was made with {name} {progress.made.get(name)!r}, not {value!r}: choose another --out"
            )
    size = path.stat().st_size
    if size < progress.bytes:
        raise DataError(f"{path} holds {size:,} bytes, {beside.name} says {progress.bytes:,}: games are missing")
    os.truncate(path, progress.bytes)
    return progress


def main(options: ExpertOptions) -> int:
    """`surpass chess experts`: play, and say what came of it; 1 where games were lost."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("games"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("games", total=options.games)
            progress = run(options, lambda now: bar.update(task, completed=now.games))
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    Console().print(progress.table())
    print(f"{progress.games - len(progress.lost)} games, {progress.plies:,} half-moves, in {options.out}")
    if not progress.made["reproducible"]:
        print("an expert draws from the clock: keep these games, the same seed will not make them again")
    for trouble in progress.lost:
        print(f"lost: {trouble}")
    return 1 if progress.lost else 0


def _match(options: ExpertOptions) -> tuple[Match, str]:
    """Return what the options ask for and the engine's name, having tried each way that it is to be set up."""
    if not options.expert:
        raise ConfigError("expected at least one expert, such as --expert 'stockfish nodes=50 epsilon=0.3'")
    experts = tuple(parse(spec) for spec in options.expert)
    if options.start and not _valid(options.start):
        raise ConfigError(f"--start: expected the FEN of a position that can be played on, found {options.start!r}")
    if len({expert.name for expert in experts}) < len(experts):
        raise ConfigError("two experts have the same name: give one of them another with name=")
    if not options.opening_plies and not all(expert.chance for expert in experts):
        settled = next(expert for expert in experts if not expert.chance)
        raise ConfigError(
            f"{settled.spec!r} leaves nothing to chance and would play the same games over and over: give it epsilon, "
            "or all games a random opening with --opening-plies"
        )
    parts = [part for expert in experts for part in expert.parts if part.kind == "stockfish"]
    program, title = find_stockfish() if parts else "", ""
    for options_of_engine in {json.dumps(part.options): part.options for part in parts}.values():
        with Engine([program], options_of_engine, deadline=options.seconds) as engine:
            title = engine.title
    return Match(experts, options.seed, options.opening_plies, options.seconds, program, options.start), title


def _valid(fen: str) -> bool:
    try:
        return board_of(fen).is_valid() and ending(board_of(fen), repeated=False) is None
    except ValueError:
        return False


def _made(match: Match, title: str) -> dict[str, Any]:
    """Return what decides the games, as it is written beside them."""
    return {
        "experts": [expert.spec for expert in match.experts],
        "seed": match.seed,
        "opening_plies": match.opening_plies,
        "start": match.start,
        "engine": title,
        "reproducible": not any(expert.drifts for expert in match.experts),
    }


def _note(progress: Progress, played: Played) -> None:
    progress.games = played.number + 1
    progress.plies += played.plies
    if played.trouble:
        progress.lost.append(f"game {played.number + 1}: {played.trouble}")
    else:
        progress.results[f"{played.white},{played.black},{played.result}"] += 1


def _games(match: Match, numbers: range, jobs: int) -> Iterator[Played]:
    """Yield games in order, played by some processes; one job plays here."""
    if jobs == 1:
        seats = Seats(match)
        try:
            yield from map(seats.play, numbers)
        finally:
            seats.close()
        return
    waiting: list[Future[Played]] = []
    todo = iter(numbers)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _open, (match,)) as pool:
        try:
            waiting.extend(pool.submit(_play, number) for number in islice(todo, 4 * jobs))
            while waiting:
                yield waiting.pop(0).result()
                waiting.extend(pool.submit(_play, number) for number in islice(todo, 1))
        except BrokenProcessPool as error:
            raise VerifierError("a process that played games died; the same command goes on") from error
        finally:
            pool.shutdown(cancel_futures=True)


_seats: list[Seats] = []  # of this process, where it is one of several


def _open(match: Match) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the parent's to handle
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _seats.append(Seats(match))


def _leave_with_parent() -> None:
    """End this process when its parent is killed, which no pool notices; the engines see their pipes close and end."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _play(number: int) -> Played:
    return _seats[0].play(number)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _save(path: Path, progress: Progress) -> None:
    """Replace the file beside the games in one step."""
    fresh = path.with_name(path.name + ".json.new")
    fresh.write_text(
        json.dumps({one.name: getattr(progress, one.name) for one in fields(progress)}, indent=1), encoding="utf-8"
    )
    fresh.replace(_beside(path))
