"""Openings to begin games from, each to be played twice with colours reversed: books, and a generator of our own.

A book is a .pgn (its main lines, whole), an .epd (one position a line), or either in a .zip. An opening that ends the
game, is illegal, or repeats an earlier one is left out. Both colours play every opening, so an opening need not be
even, but a decided one measures nothing: the generator keeps positions where neither side can win material by captures.
"""

from __future__ import annotations

import logging
import random
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import chess

from surpass.domains.chess.pgn import scan, words
from surpass.domains.chess.rules import board_of
from surpass.errors import DataError
from surpass.rollouts.seeds import derive_seed

log = logging.getLogger(__name__)
VALUES = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9, chess.KING: 100}


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a game begins."""

    moves: tuple[str, ...] = ()  # UCI, from `fen`
    fen: str = ""  # empty: the initial position

    def board(self) -> chess.Board:
        """Return the board after the opening, its moves on the stack. Raises ValueError for an illegal one."""
        board = chess.Board(self.fen) if self.fen else chess.Board()
        for move in self.moves:
            board.push(board.parse_uci(move))
        return board


def read_openings(path: Path, *, limit: int | None = None) -> list[Opening]:
    """Return the openings of a book, in its order, each once. Raises DataError for a book that holds none."""
    kept: dict[Opening, None] = {}
    skipped = 0
    for opening in _book(path):
        if opening is None:
            skipped += 1
            continue
        kept[opening] = None
        if limit is not None and len(kept) == limit:
            break
    if not kept:
        raise DataError(f"{path} holds no opening that can be played ({skipped} skipped); expected PGN or EPD")
    if skipped:
        log.warning("%s: %d openings skipped, for they are illegal or over", path, skipped)
    return list(kept)


def random_openings(number: int, *, plies: int = 8, seed: int = 0, start: str = "") -> list[Opening]:
    """Return distinct openings of random legal moves after which no side can mate at once or win material by captures.

    They begin from the FEN `start`; empty: the initial position.
    Raises DataError where chance finds too few (there are 20 after one ply).
    """
    kept: dict[Opening, None] = {}
    for attempt in range(200 + 100 * number):
        if len(kept) == number:
            break
        rng, board = random.Random(derive_seed(seed, "opening", plies, attempt)), board_of(start)
        for _ in range(plies):
            legal = list(board.legal_moves)
            if not legal:
                break
            board.push(rng.choice(legal))
        if not board.is_game_over() and not board.is_check() and _quiet(board):
            kept[Opening(tuple(move.uci() for move in board.move_stack), start)] = None
    if len(kept) < number:
        raise DataError(f"expected {number} openings of {plies} plies, found {len(kept)}; ask for more plies or fewer")
    return list(kept)


def _quiet(board: chess.Board) -> bool:
    """Tell whether material is even, and stays so whatever captures either side begins with, and none can mate at once.

    One opening with a mate in it gives every pair of players a win each, and a fit takes the weakest for even.
    """
    if _material(board) != 0 or _captures(board, -1, 1) != 0 or _mates(board):
        return False
    board.push(chess.Move.null())  # what the other side could do if it were its turn
    calm = _captures(board, -1, 1) == 0 and not _mates(board)
    board.pop()
    return calm


def _mates(board: chess.Board) -> bool:
    """Tell whether the side to move has a mate in one."""
    for move in list(board.legal_moves):
        board.push(move)
        mate = board.is_checkmate()
        board.pop()
        if mate:
            return True
    return False


def _material(board: chess.Board) -> int:
    """Return pawns ahead, for the side to move."""
    return sum(
        value * (len(board.pieces(piece, board.turn)) - len(board.pieces(piece, not board.turn)))
        for piece, value in VALUES.items()
    )


def _captures(board: chess.Board, low: int, high: int) -> int:
    """Return the material that captures alone can reach, within (low, high): alpha-beta, standing pat allowed."""
    best = _material(board)
    for move in board.generate_legal_captures():
        if best >= high:
            break
        board.push(move)
        best = max(best, -_captures(board, -high, -max(low, best)))
        board.pop()
    return best


def _book(path: Path) -> Iterator[Opening | None]:
    """Yield the openings of a book, None for one that cannot be played."""
    for name, text in _texts(path):
        if name.lower().endswith((".epd", ".fen")):
            yield from (_opening(line, ()) for line in text.splitlines() if line.strip())
        elif name.lower().endswith(".pgn"):
            for tags, movetext in scan(text.splitlines(keepends=True)):
                yield _opening(tags.get("FEN", ""), movetext)


def _opening(epd: str, movetext: str | tuple[()]) -> Opening | None:
    try:
        board = chess.Board()
        if epd:
            board.set_epd(" ".join(epd.split()[:4]) if len(epd.split()) == 6 else epd)
        fen = board.fen() if epd else ""
        for word in words(movetext)[0] if movetext else ():
            board.push_san(word)
    except ValueError:
        return None
    moves = tuple(move.uci() for move in board.move_stack)
    return Opening(moves, fen) if board.is_valid() and not board.is_game_over() else None


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield name, archive.read(name).decode("utf-8", errors="replace")
        else:
            yield path.name, path.read_text(encoding="utf-8", errors="replace")
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # encrypted ones, too
        raise DataError(
            f"cannot read the openings in {path} ({error}); expected .pgn, .epd, or either in a .zip"
        ) from error
