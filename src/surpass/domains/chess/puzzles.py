"""Tactical puzzles as Lichess publishes them: read from CSV, and solved by any player, many at once.

    PuzzleId,FEN,Moves,Rating,...      `.csv` or `.csv.zst`; FEN is the position *before* the first of Moves

The first move is the opponent's and is made for the player; then the player and the opponent take turns, and the player
must find every one of its moves. A move that mates solves the puzzle at once, whichever it is: there are often several.
An illegal move is tried again as often as the player has tries, then the attempt has failed.

A column PGN (the moves of the game up to the FEN in SAN, as in the file of searchless_chess) gives the history of the
position. A model of transcripts needs it: without, it is told the moves since the FEN alone, as if a game had begun
there, which means little to it. Results are counted apart by that. Lichess's own file has no such column.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chess

from surpass.core import Observation
from surpass.domains.chess.arena import Player
from surpass.domains.chess.filters import rating
from surpass.domains.chess.pgn import words
from surpass.domains.chess.readers import lines
from surpass.domains.chess.rules import board_of, legal, named, place
from surpass.errors import DataError
from surpass.rollouts.seeds import derive_seed

NEEDED = ("puzzleid", "fen", "moves", "rating")
EXAMPLES = 3  # bad rows named for each reason


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One puzzle that can be played through."""

    key: str
    fen: str  # before the opponent's first move
    moves: tuple[str, ...]  # UCI: the opponent's, the player's, in turn; the last is the player's
    rating: int
    history: tuple[str, ...] = ()  # UCI, from the initial position to `fen`; empty where unknown


@dataclass(slots=True)
class Rows:
    """What became of every row: read = kept + bad."""

    read: int = 0
    kept: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    trouble: str = ""  # why the file could not be read to its end

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON holds them."""
        return {"read": self.read, "kept": self.kept, "bad": dict(self.bad), "trouble": self.trouble}

    def refuse(self, reason: str, detail: str) -> None:
        """Count a bad row."""
        self.bad[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(detail)


def read_puzzles(path: Path, report: Rows, *, limit: int | None = None) -> Iterator[Puzzle]:
    """Yield the puzzles of a file, in order, at most `limit`; bad rows are counted in `report`.

    Raises DataError for a file that cannot be opened or lacks a column.
    """
    if not path.name.lower().endswith((".csv", ".csv.zst")):
        raise DataError(f"{path}: expected puzzles in a file that ends in .csv or .csv.zst")
    text = (f"{line}\n" for line in lines(path))
    table = csv.reader(text)
    try:
        header = [name.strip().casefold() for name in next(table, [])]
    except csv.Error as error:
        raise DataError(f"{path}: the first line is not CSV ({error})") from error
    if missing := [name for name in NEEDED if name not in header]:
        raise DataError(f"{path}: expected the columns {', '.join(NEEDED)}, found no {missing[0]} in {header}")
    seen = set[str]()
    while limit is None or report.kept < limit:
        try:
            cells = next(table, None)
        except (csv.Error, DataError) as error:
            report.trouble = f"{path.name}, after {report.read} rows: {error}"
            return
        if cells is None:
            return
        if not cells:
            continue
        report.read += 1
        try:
            puzzle = _puzzle(dict(zip(header, cells, strict=False)), seen)
        except _BadRow as bad:
            report.refuse(bad.args[0], f"row {report.read}: {bad.args[1]}")
            continue
        seen.add(puzzle.key)
        report.kept += 1
        yield puzzle


class _BadRow(ValueError):  # noqa: N818 - a row that is counted
    """A reason and a detail."""


def _puzzle(row: Mapping[str, str], seen: set[str]) -> Puzzle:
    """Return the puzzle of a row. Raises _BadRow."""
    key, moves = row.get("puzzleid", "").strip(), tuple(row.get("moves", "").split())
    if not key or key in seen:
        raise _BadRow("no id of its own", repr(key))
    level = rating(row.get("rating", ""))
    if level is None:
        raise _BadRow("no rating", f"{key}: {row.get('rating', '')[:20]!r}")
    if len(moves) < 2 or len(moves) % 2:
        raise _BadRow("moves that do not end with the player's", f"{key}: {len(moves)} moves")
    try:
        board = board_of(row.get("fen", "").strip() or "missing")
    except DataError as error:
        raise _BadRow("no position", f"{key}: {error}") from error
    fen = board.fen()
    for number, uci in enumerate(moves, 1):
        move = named(board, uci)
        if move is None:
            raise _BadRow("illegal move", f"{key}: move {number}, {uci[:12]!r}")
        board.push(move)
        if board.is_game_over() and number < len(moves):
            raise _BadRow("moves after the end of the game", f"{key}: move {number + 1}")
    return Puzzle(key, fen, moves, level, _history(key, row.get("pgn", "").strip(), fen))


def _history(key: str, text: str, fen: str) -> tuple[str, ...]:
    """Return the moves of a game that leads to a position; nothing for no text."""
    if not text:
        return ()
    board = board_of()
    try:
        for word in words(text)[0]:
            board.push_san(word)
    except ValueError as error:
        raise _BadRow("a game that cannot be read", f"{key}: {error}") from error
    if place(board) != place(board_of(fen)):
        raise _BadRow("a game that leads elsewhere", f"{key}: {board.fen()}")
    return tuple(move.uci() for move in board.move_stack)


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt at one puzzle went."""

    puzzle: str
    sample: int
    solved: bool
    found: int  # of the player's moves, before it failed or the puzzle ended
    illegal: int  # moves proposed
    failed: bool = False  # the player had no answer (its engine died): neither solved nor not


@dataclass(slots=True)
class _Board:
    """An attempt in the making."""

    puzzle: Puzzle
    sample: int
    board: chess.Board
    played: list[str]  # since the FEN, or since the initial position where the history is known
    at: int = 1  # the player's next move among the puzzle's
    illegal: int = 0
    end: Attempt | None = None

    def observe(self, player: Player) -> Observation:
        text, start = " ".join(self.played), "" if self.puzzle.history else self.puzzle.fen
        moves = tuple(legal(self.board)) if player.wants_legal else None
        key = f"{place(self.board)} {self.board.halfmove_clock}" if player.wants_key else ""
        return Observation(f"[FEN {start}]\n{text}" if start else text, moves, int(self.board.turn == chess.BLACK), key)

    def push(self, move: chess.Move) -> None:
        self.board.push(move)
        self.played.append(move.uci())

    def answer(self, move: chess.Move) -> None:
        """Take the player's legal move, and make the opponent's reply where the puzzle goes on."""
        right = move.uci() == self.puzzle.moves[self.at]
        self.push(move)
        if self.board.is_checkmate() or (right and self.at == len(self.puzzle.moves) - 1):
            self.finish(solved=True)
        elif not right:
            self.finish()
        else:
            self.push(chess.Move.from_uci(self.puzzle.moves[self.at + 1]))
            self.at += 2

    def finish(self, *, solved: bool = False, failed: bool = False) -> None:
        found = (self.at - 1) // 2 + solved
        self.end = Attempt(self.puzzle.key, self.sample, solved, found, self.illegal, failed)


def solve(puzzles: Sequence[Puzzle], player: Player, *, samples: int = 1, seed: int = 0) -> list[Attempt]:
    """Return how a player fares, `samples` attempts at each puzzle, in order; all are played at once.

    A row's seed depends on the seed, the puzzle, the sample, the move and the try alone. Raises what the player's
    policy raises.
    """
    boards = [_begun(puzzle, sample) for puzzle in puzzles for sample in range(samples)]
    while waiting := [one for one in boards if one.end is None]:
        _move(player, waiting, seed)
    return [one.end for one in boards if one.end is not None]


def _begun(puzzle: Puzzle, sample: int) -> _Board:
    found = _Board(puzzle, sample, chess.Board(puzzle.fen), list(puzzle.history))
    found.push(chess.Move.from_uci(puzzle.moves[0]))
    return found


def _move(player: Player, boards: Sequence[_Board], seed: int) -> None:
    """Let a player move in all boards, or end the attempts in which it cannot."""
    for attempt in range(player.tries):
        seeds = [derive_seed(seed, "puzzle", one.puzzle.key, one.sample, one.at, attempt) for one in boards]
        again = list[_Board]()
        for one, row in zip(boards, player.policy.propose(_seen(player, boards), 1, seeds=seeds), strict=True):
            if not row:
                one.finish(failed=True)
            elif (move := named(one.board, row[0].action)) is not None:
                one.answer(move)
            else:
                one.illegal += 1
                again.append(one)
        if not again:
            return
        boards = again
    for one in boards:
        one.finish()


def _seen(player: Player, boards: Sequence[_Board]) -> list[Observation]:
    return [one.observe(player) for one in boards]
