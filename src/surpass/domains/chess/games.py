"""Game sets: records as files state them, played through by the rules, every game kept or counted with its reason.

    read(paths, filter)  =  readers.records  ->  filters.refusal  ->  play  ->  duplicates  ->  Game

A bad game never ends a reading: it is counted by reason, the first of each reason are named in the report, and so is a
file that ends too soon; what was read of it before stays. Not here: how files are read (`readers.py`), which games
are wanted (`filters.py`), tokens (`tokens.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import chess
from rich.table import Table

from surpass.domains.chess.filters import Filter, rating
from surpass.domains.chess.pgn import RESULTS, words
from surpass.domains.chess.readers import Record, records
from surpass.domains.chess.rules import board_of
from surpass.errors import DataError

EXAMPLES = 3  # bad games named for each reason
_UCI = re.compile(r"[a-h][1-8][a-h][1-8][qrbn]?")
_STANDARD = {"", "standard", "chess", "normal", "from position"}  # of the tag Variant


@dataclass(frozen=True, slots=True)
class Game:
    """A game of standard chess whose moves are legal and whose result does not contradict the board."""

    moves: tuple[str, ...]  # UCI
    result: str = "*"  # 1-0, 0-1, 1/2-1/2, or * where unknown
    white_rating: int | None = None
    black_rating: int | None = None
    fen: str = ""  # of the start; empty: the initial position
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)
    source: str = field(default="", compare=False)

    @property
    def moves_key(self) -> int:
        """64 bits of start and moves alone: games with equal moves fall on the same side of a split."""
        return _digest(self.fen, *self.moves)

    @property
    def record_key(self) -> int:
        """64 bits of moves, result, ratings and players: equal for a game that is recorded twice."""
        players = (self.tags.get("White", ""), self.tags.get("Black", ""))
        return _digest(self.fen, *self.moves, self.result, str(self.white_rating), str(self.black_rating), *players)


class BadGame(ValueError):  # noqa: N818 - a game that is counted, not an error of ours
    """A record that is no game: `reason` is what it is counted under, the message says where and what."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


@dataclass(slots=True)
class Report:
    """What became of every game of a reading, in numbers that add up: read = kept + dropped + bad."""

    read: int = 0
    kept: int = 0
    plies: int = 0  # of the kept games
    dropped: Counter[str] = field(default_factory=Counter)  # by filter
    bad: Counter[str] = field(default_factory=Counter)  # by reason
    examples: dict[str, list[str]] = field(default_factory=dict)  # of bad games, by reason
    trouble: list[str] = field(default_factory=list)  # files that could not be read to their end

    def table(self) -> Table:
        """Return the report as a table for people."""
        table = Table("games", "number", "examples", box=None, header_style="dim")
        table.add_row("read", f"{self.read:,}", "")
        table.add_row("kept", f"{self.kept:,}", f"{self.plies:,} half-moves")
        for reason, count in self.dropped.most_common():
            table.add_row(f"left out: {reason}", f"{count:,}", "")
        for reason, count in self.bad.most_common():
            table.add_row(f"bad: {reason}", f"{count:,}", "\n".join(self.examples.get(reason, [])))
        for trouble in self.trouble:
            table.add_row("trouble", "", trouble)
        return table

    def refuse(self, bad: BadGame) -> None:
        """Count a bad game."""
        self.bad[bad.reason] += 1
        examples = self.examples.setdefault(bad.reason, [])
        if len(examples) < EXAMPLES:
            examples.append(str(bad))


def read(
    paths: Iterable[Path], keep: Filter, report: Report, *, skip: int = 0, known: set[int] | None = None
) -> Iterator[Game]:
    """Yield the games of files that pass the filter, in the order of the files; fill `report` meanwhile.

    `skip` records are passed over unplayed and uncounted, and `known` holds the keys of games read before: so a reading
    that was interrupted goes on. Raises DataError for a file that cannot be opened or lacks a column that the filter
    needs; one that breaks later is noted in `report.trouble`.
    """
    seen = set[int]() if known is None else known
    begin = _start(board_of(keep.start))
    for path in paths:
        stream, first = records(path, needs_ratings=keep.needs_ratings), True
        while True:
            try:
                record = next(stream)
            except StopIteration:
                break
            except DataError as error:
                if first:
                    raise
                report.trouble.append(str(error))
                break
            first = False
            if skip:
                skip -= 1
                continue
            report.read += 1
            game = _judged(record, keep, report, seen, begin)
            if game is not None:
                report.kept += 1
                report.plies += len(game.moves)
                yield game


def _judged(record: Record, keep: Filter, report: Report, seen: set[int], begin: str) -> Game | None:
    """Return the game of a record, or None after counting why there is none; `begin` is a `Game.fen`."""
    if reason := keep.refusal(record.tags):
        report.dropped[reason] += 1
        return None
    try:
        game = play(record)
    except BadGame as bad:
        report.refuse(bad)
        return None
    if len(game.moves) < keep.min_plies:
        report.dropped[f"under {keep.min_plies} half-moves"] += 1
        return None
    if keep.outcomes and game.result not in keep.outcomes:
        report.dropped[f"result {game.result}"] += 1
        return None
    if (keep.initial or keep.start) and game.fen != begin:
        report.dropped["from another position"] += 1
        return None
    if keep.duplicates:
        key = game.record_key
        if key in seen:
            report.dropped["duplicate"] += 1
            return None
        seen.add(key)
    return game


def play(record: Record) -> Game:
    """Return the game of a record, its moves played through. Raises BadGame.

    Moves may be SAN or UCI. Bad are: another variant, no moves, an illegal or unreadable move, a start that is no
    position, fewer moves than the record says there are, a result other than the one on the board (mate, stalemate) or
    in the tags, a mate that is claimed and not there, and a game that its file was cut in.
    """
    tags = record.tags
    if tags.get("Variant", "").strip().casefold() not in _STANDARD:
        raise BadGame("another variant", f"{record.source}: {tags['Variant']}")
    try:
        written, closing = words(record.movetext)
        board = board_of(tags.get("FEN", ""))
    except ValueError as error:
        raise BadGame("unreadable", f"{record.source}: {error}") from error
    if not record.closed and not closing:
        raise BadGame("cut off", f"{record.source}: the file ends within the game, after {len(written)} moves")
    if not written:
        raise BadGame("no moves", record.source)
    fen = _start(board)
    moves = _played(board, written, record.source)
    claimed = tags.get("PlyCount", "")
    if claimed.isdecimal() and (len(claimed) > 9 or int(claimed) != len(moves)):
        raise BadGame("number of moves differs", f"{record.source}: {claimed[:20]} stated, {len(moves)} found")
    result = _result(board, tags, closing, record.source)
    ratings = rating(tags.get("WhiteElo", "")), rating(tags.get("BlackElo", ""))
    return Game(moves, result, *ratings, fen, dict(tags), record.source)


def _start(board: chess.Board) -> str:
    """Return the FEN of a position, empty for the initial one."""
    fen = board.fen()
    return "" if fen == chess.STARTING_FEN else fen


def _played(board: chess.Board, written: list[str], source: str) -> tuple[str, ...]:
    """Push the moves on the board; return them in UCI."""
    parse = board.parse_uci if all(map(_UCI.fullmatch, written)) else board.parse_san
    moves = []
    for number, word in enumerate(written):
        try:
            move = parse(word)
            if not move:
                raise chess.IllegalMoveError("a null move")
        except ValueError as error:
            raise BadGame("illegal move", f"{source}: move {number + 1}, {word[:12]!r}: {error}") from error
        board.push(move)
        moves.append(move.uci())
    return tuple(moves)


def _result(board: chess.Board, tags: Mapping[str, str], closing: str, source: str) -> str:
    """Return the result that the tags, the movetext and the board agree on."""
    stated = tags.get("Result", "") or closing or "*"
    if stated not in RESULTS:
        raise BadGame("result unreadable", f"{source}: {stated[:20]!r}")
    if closing not in ("", "*", stated) and stated != "*":
        raise BadGame("two results", f"{source}: {stated} in the tags, {closing} after the moves")
    result = closing if stated == "*" and closing else stated
    mate = board.is_checkmate()
    if not mate and tags.get("Termination", "").casefold() == "mate":
        raise BadGame("no mate where one is claimed", f"{source}: {board.fen()}")
    if not mate and not board.is_stalemate():
        return result
    true = "1/2-1/2" if not mate else "0-1" if board.turn == chess.WHITE else "1-0"
    if result not in ("*", true):
        raise BadGame("result contradicts the board", f"{source}: {result}, but the board says {true}")
    return true


def _digest(*parts: str) -> int:
    return int.from_bytes(blake2b(" ".join(parts).encode(), digest_size=8).digest(), "little")
