"""`surpass uci`: a UCI engine that plays a trained model, for any GUI, match runner or bot that speaks the protocol.

One thread reads lines and another thinks, so that `stop`, `isready` and `quit` are answered at once. `uci` is answered
before any weight is read; the first `isready` or `go` reads them. What the protocol says to ignore is ignored: unknown
lines, unknown options, words before a command. Standard output carries the protocol alone.

How a move is chosen: one draw from the model at `Temperature` and `TopP`. That takes milliseconds and more time would
give no better move, so limits of nodes, depth and time are kept by answering at once; under `go infinite` and
`go ponder` the move waits for `stop` or `ponderhit`. A model too slow for its clock gives way, `Move Overhead` before
the end of its time, to the first legal move, and says so.

The best moves are shown with the probability that the model gives them and, for `tokens.Moves`, a win estimate: what
result it would write behind the move, were the game to end there. Nothing has calibrated it; `cp` puts it on Elo's
curve, where 100 stands for 64 %.

A model that was trained with ratings (`surpass chess pack --strength`) also has `UCI_LimitStrength` and `UCI_Elo`: it
is told that both players have that rating. Without, it is told that ratings are unknown.

A move is always legal. With `LegalOnly` it is drawn among the legal moves; without, up to five raw draws are made, and
where all are illegal one legal draw, which an `info string` says.

A model of transcripts reads games from their first move. For `position fen` it is told the moves since the FEN alone,
as if the game had begun there: the moves are legal and the first ones mean little, which an `info string` says too.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import chess

from surpass import __version__
from surpass.core import Observation
from surpass.domains.chess.rules import legal
from surpass.errors import SurpassError
from surpass.evaluation.elo import elo_of_score
from surpass.rollouts.seeds import derive_seed

if TYPE_CHECKING:
    from surpass.domains.chess.character_player import CharacterPlayer
    from surpass.domains.chess.model_player import ModelPlayer

TRIES = 5  # raw draws before a legal one
DAY = 86_400.0  # seconds: no clock of a `go` is watched for longer
COMMANDS = {"uci", "isready", "setoption", "ucinewgame", "position", "go", "stop", "ponderhit", "quit"}
LIMITS = {
    "wtime",
    "btime",
    "winc",
    "binc",
    "movestogo",
    "depth",
    "nodes",
    "mate",
    "movetime",
    "infinite",
    "ponder",
    "searchmoves",
}
# what a model that does not fit, or a device, may raise: an engine that stays silent would lose and nobody know why
TROUBLE = (SurpassError, RuntimeError, OSError, ImportError, ValueError, LookupError)


@dataclass(frozen=True, slots=True)
class UciOptions:
    """Speak UCI on standard input and output."""

    run: Path  # the run, or a saved model inside one
    device: str = "cpu"  # where the model computes


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of the protocol."""

    temperature: int = 0  # percent: 100 draws as the model says; 0: the likeliest move
    top_p: int = 100  # percent
    legal_only: bool = True
    seed: int = 0
    multi_pv: int = 1
    overhead: int = 50  # milliseconds kept back from a clock
    limited: bool = False  # tell the model a rating
    elo: int = 1500  # that it is told


@dataclass(frozen=True, slots=True)
class Spin:
    """A whole number with bounds."""

    field: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Check:
    """True or false."""

    field: str


OPTIONS: dict[str, Spin | Check | None] = {  # None: declared because programs set it unasked; it changes nothing
    "Temperature": Spin("temperature", 0, 1000),
    "TopP": Spin("top_p", 1, 100),
    "LegalOnly": Check("legal_only"),
    "Seed": Spin("seed", 0, 2**31 - 1),
    "MultiPV": Spin("multi_pv", 1, 256),
    "Hash": None,
    "Threads": None,
    "Move Overhead": Spin("overhead", 0, 10_000),
    "Ponder": None,
    "UCI_LimitStrength": Check("limited"),
    "UCI_Elo": Spin("elo", 400, 3200),
}
RATED = {"UCI_LimitStrength", "UCI_Elo"}  # of models that were trained with ratings alone
DECLARED = {
    "Hash": "spin default 1 min 1 max 1048576",
    "Threads": "spin default 1 min 1 max 1024",
    "Ponder": "check default false",
}


@dataclass(frozen=True, slots=True)
class Position:
    """What `position` has said."""

    fen: str = ""  # empty: the initial position
    moves: tuple[str, ...] = ()

    def board(self) -> chess.Board:
        board = chess.Board(self.fen) if self.fen else chess.Board()
        for move in self.moves:
            board.push_uci(move)
        return board

    def observe(self, board: chess.Board) -> Observation:
        text = " ".join(self.moves)
        seat = int(board.turn == chess.BLACK)
        return Observation(f"[FEN {self.fen}]\n{text}" if self.fen else text, tuple(legal(board)), seat)


@dataclass(frozen=True, slots=True)
class Go:
    """What `go` has said, as far as it matters."""

    searchmoves: tuple[str, ...] = ()  # the moves that may be played; empty: any
    waits: bool = False  # infinite, or ponder: for `stop` or `ponderhit`
    movetime: int | None = None  # milliseconds
    clocks: tuple[int | None, int | None] = (None, None)  # milliseconds left to White and to Black


def read_position(words: Sequence[str]) -> Position | None:
    """Return the position that the words behind `position` say, None where they say none.

    Moves are read up to the first that is not legal there, as GUIs may append what an engine does not know.
    """
    if words[:1] == ["startpos"]:
        fen, rest = "", list(words[1:])
    elif words[:1] == ["fen"]:
        end = words.index("moves") if "moves" in words else len(words)
        fen, rest = " ".join(words[1:end]), list(words[end:])
    else:
        return None
    try:
        board = chess.Board(fen) if fen else chess.Board()
    except ValueError:
        return None
    if not board.is_valid():
        return None
    fen = "" if board.fen() == chess.STARTING_FEN else board.fen() if fen else ""
    moves = list[str]()
    for word in rest[1:] if rest[:1] == ["moves"] else ():
        try:
            move = board.push_uci(word)
        except ValueError:
            break
        if move:
            moves.append(move.uci())
        elif board.is_valid():
            fen, moves = board.fen(), []  # the null move of an analysis: no transcript holds one
        else:
            board.pop()
            break
    return Position(fen, tuple(moves))


def read_go(words: Sequence[str]) -> Go:
    """Return what the words behind `go` ask; what they do not, or not well, is left out."""
    searchmoves, numbers, word = list[str](), dict[str, int](), ""
    for piece in words:
        if piece in LIMITS:
            word = piece
        elif word == "searchmoves":
            searchmoves.append(piece)
        elif re.fullmatch(r"-?[0-9]{1,12}", piece) and word not in numbers:
            numbers[word] = int(piece)
    clocks = numbers.get("wtime"), numbers.get("btime")
    return Go(tuple(searchmoves), "infinite" in words or "ponder" in words, numbers.get("movetime"), clocks)


def read_option(words: Sequence[str]) -> tuple[str, str] | None:
    """Return the name, spelt as we do, and the value of `setoption`; None for an option that is not ours."""
    if words[:1] != ["name"]:
        return None
    end = words.index("value") if "value" in words else len(words)
    asked = " ".join(words[1:end]).casefold()
    name = next((one for one in OPTIONS if one.casefold() == asked), None)
    return None if name is None else (name, " ".join(words[end + 1 :]))


def changed(settings: Settings, name: str, value: str) -> Settings:
    """Return the settings with an option changed; unchanged where the value is none of its values."""
    option = OPTIONS[name]
    if isinstance(option, Spin):
        try:
            number = int(value)
        except ValueError:
            return settings
        return _with(settings, option.field, number) if option.low <= number <= option.high else settings
    if isinstance(option, Check) and value.casefold() in ("true", "false"):
        return _with(settings, option.field, value.casefold() == "true")
    return settings


def _with(settings: Settings, place: str, value: int | bool) -> Settings:
    return Settings(**{**asdict(settings), place: value})


class Answer:
    """The one `bestmove` of a `go`: given when a move is known and nothing says to wait, or when time is up."""

    def __init__(self, say: Callable[[str], None], legal_moves: Sequence[str], *, waits: bool) -> None:
        self._say, self._legal = say, legal_moves
        self._lock = threading.Lock()
        self._waits, self.given = waits, False
        self._move: str | None = None

    def settle(self, move: str) -> None:
        """Note the move; it is given now, or when it need not wait any more."""
        with self._lock:
            self._move = move
            self._give()

    def release(self) -> bool:
        """Wait no more, for `stop` or `ponderhit`, and return whether this has waited."""
        with self._lock:
            waited, self._waits = self._waits, False
            self._give()
        return waited

    def expire(self) -> None:
        """Give a legal move, for time is up."""
        with self._lock:
            if self._move is None and not self.given and not self._waits:
                self._say("info string time is up before the model has answered: this move is the first legal one")
                self._move = self._legal[0] if self._legal else ""
                self._give()

    def _give(self) -> None:
        if self._move is not None and not self._waits and not self.given:
            self.given = True
            self._say(f"bestmove {self._move or '(none)'}")


class Engine:
    """The engine's side of a conversation in UCI: `hear` takes a line, `say` gives one, from any thread.

    `load` reads the model; it is called once. `rated` says that it was trained with ratings.
    """

    def __init__(
        self, load: Callable[[], ModelPlayer | CharacterPlayer], say: Callable[[str], None], *, rated: bool = False
    ) -> None:
        self._load, self._say, self._rated = load, say, rated
        self.settings, self.position = Settings(), Position()
        self._game = 0  # counted by ucinewgame: equal positions of other games are drawn anew
        self._player: ModelPlayer | CharacterPlayer | None = None
        self._thinks: threading.Thread | None = None
        self._answer: Answer | None = None
        self._timer: threading.Timer | None = None
        self._clock: int | None = None  # milliseconds that the answer may take

    def hear(self, line: str) -> bool:
        """Take in one line; return False when the conversation is over."""
        words = line.split()
        while words and words[0] not in COMMANDS:  # the protocol: skip what is unknown, and read the rest
            words.pop(0)
        command, rest = (words[0], words[1:]) if words else ("", [])
        match command:
            case "uci":
                self._introduce()
            case "isready":
                self._ready()
            case "setoption":
                if (found := read_option(rest)) is not None:
                    self.settings = changed(self.settings, *found)
            case "ucinewgame":
                self._game += 1
            case "position":
                self.position = read_position(rest) or self.position
            case "go":
                self._go(read_go(rest))
            case "stop" | "ponderhit":
                if self._answer is not None and self._answer.release() and command == "ponderhit":
                    self._watch()  # pondering cost no time: the clock begins to run now
            case "quit":
                self.close()
                return False
        return True

    def close(self) -> None:
        """Let what is thinking answer, and wait for it."""
        if self._answer is not None and self._thinks is not None:
            self._answer.release()
            self._thinks.join()
        if self._timer is not None:
            self._timer.cancel()

    def _introduce(self) -> None:
        self._say(f"id name Surpass {__version__}")
        self._say("id author the authors of Surpass")
        start = asdict(Settings())
        for name, option in OPTIONS.items():
            if name in RATED and not self._rated:
                continue
            match option:
                case Spin(place, low, high):
                    kind = f"spin default {start[place]} min {low} max {high}"
                case Check(place):
                    kind = f"check default {str(start[place]).lower()}"
                case None:
                    kind = DECLARED[name]
            self._say(f"option name {name} type {kind}")
        self._say("uciok")

    def _ready(self) -> None:
        """Answer at once while thinking; otherwise read the weights first, so that no clock pays for them."""
        if self._player is None and (self._thinks is None or not self._thinks.is_alive()):
            try:
                self._player = self._load()
            except TROUBLE as error:  # a `go` will say it again
                self._say(_told(error))
        self._say("readyok")

    def _go(self, go: Go) -> None:
        self.close()  # a second `go` before the first has answered: the first answers now
        board = self.position.board()
        seen = self.position.observe(board)
        if wanted := tuple(move for move in seen.legal or () if move in go.searchmoves):
            seen = replace(seen, legal=wanted)
        self._answer = answer = Answer(self._say, seen.legal or (), waits=go.waits)
        self._clock = go.movetime if go.movetime is not None else go.clocks[seen.seat]
        self._watch()
        work = (
            seen,
            answer,
            self.settings,
            derive_seed(self.settings.seed, "uci", self._game, len(self.position.moves)),
        )
        self._thinks = threading.Thread(target=self._think, args=work, name="thinks", daemon=True)
        self._thinks.start()

    def _watch(self) -> None:
        """Let the answer that is due be given when its clock, if any, has run down from now."""
        if self._timer is not None:
            self._timer.cancel()
        if self._clock is not None and self._answer is not None:
            seconds = min(max(10, self._clock - self.settings.overhead) / 1000, DAY)
            self._timer = threading.Timer(seconds, self._answer.expire)
            self._timer.daemon = True
            self._timer.start()

    def _think(self, seen: Observation, answer: Answer, settings: Settings, seed: int) -> None:
        moves = seen.legal or ()
        if not moves:
            self._say("info string the game is over in this position")
            answer.settle("")
            return
        try:
            answer.settle(self._choose(seen, answer, settings, seed))
        except TROUBLE as error:
            self._say(_told(error))
            self._say("info string the model gave no move: this one is the first legal one")
            answer.settle(moves[0])

    def _choose(self, seen: Observation, answer: Answer, settings: Settings, seed: int) -> str:
        from surpass.domains.chess.model_player import Choice, ModelPlayer

        if self._player is None:
            self._player = self._load()
        told = (settings.elo, settings.elo) if self._rated and settings.limited else (None, None)
        if self._player.strengths != told:
            self._player = self._player.with_strengths(told)
        player, moves = self._player, seen.legal or ()
        if seen.text.startswith("[FEN"):
            self._say(
                "info string the model knows no history of a FEN: it reads the moves since as those of a new game"
            )
        choice = Choice(settings.temperature / 100, settings.top_p / 100, legal_only=settings.legal_only)
        draws = TRIES if not settings.legal_only else 1
        move = ""
        for attempt in range(draws + 1):
            player.choice = replace(choice, legal_only=True) if attempt == draws else choice
            if attempt == draws:
                self._say(f"info string {draws} draws were illegal, the last {move[:20]!r}: drawing a legal one")
            move = player.propose([seen], 1, seeds=[derive_seed(seed, attempt)])[0][0].action
            if move in moves:
                break
        if isinstance(player, ModelPlayer) and not answer.given:  # what comes later would be taken for the next move's
            for line in shown(player, seen, move, settings.multi_pv):
                self._say(line)
        return move


def _told(error: Exception) -> str:
    return f"info string {type(error).__name__}: {' '.join(str(error).split())[:500]}"


def shown(player: ModelPlayer, seen: Observation, move: str, lines: int) -> Iterator[str]:
    """Yield an `info` line for the move and the likeliest others, each with its probability and win estimate."""
    (scored,) = player.score([seen])
    moves = seen.legal or ()
    order = sorted(range(len(moves)), key=lambda index: (moves[index] != move, -scored.prior[index]))[:lines]
    gap = "" if not seen.text or seen.text.endswith("\n") else " "
    behind = [replace(seen, text=f"{seen.text}{gap}{moves[index]}", legal=None, seat=1 - seen.seat) for index in order]
    for number, (index, ends) in enumerate(zip(order, player.results(behind), strict=True), 1):
        win, draw, loss = ends if seen.seat == 0 else ends[::-1]
        centipawns = round(elo_of_score(min(max(win + draw / 2, 1e-4), 1 - 1e-4)))
        parts = round(1000 * win), round(1000 * loss)
        yield (
            f"info depth 1 multipv {number} score cp {centipawns} wdl {parts[0]} {1000 - sum(parts)} {parts[1]} "
            f"nodes 1 pv {moves[index]} string probability {scored.prior[index]:.3f}"
        )


def main(options: UciOptions) -> int:
    """Speak UCI until `quit` or the end of the input; return 0."""
    from surpass.domains.chess.saved import find, spoken

    rated = spoken(find(options.run)).strength  # a wrong folder is said at once, without reading weights
    logging.disable(logging.CRITICAL)
    lock = threading.Lock()

    def say(line: str) -> None:
        with lock:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    engine = Engine(lambda: _load(options), say, rated=rated)
    try:
        for line in sys.stdin.buffer:  # bytes, for what is no UTF-8 is garbage like any other
            if not engine.hear(line.decode(errors="replace")):
                return 0
    finally:
        engine.close()
    return 0


def _load(options: UciOptions) -> ModelPlayer | CharacterPlayer:
    from surpass.domains.chess.players import model_policy

    policy, _ = model_policy(options.run, {"device": options.device})
    player: ModelPlayer | CharacterPlayer = policy
    return player
