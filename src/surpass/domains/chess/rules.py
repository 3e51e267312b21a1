"""The rules as values: positions, legal moves, ends of games. No game set, no engine, no chance.

Moves are written in UCI (`e2e4`, `e1g1` for castling, `e7e8q`). A finished game has one return for each seat, White
first, on the scale 1 win, 0.5 draw, 0 loss. What ends a game at once, in this order: checkmate, stalemate, a position
in which neither side can ever mate (`Board.is_insufficient_material`), the fiftieth move of both sides without capture
or pawn move, and the third occurrence of a position. FIDE lets a player claim the last two; match programs take the
claim for granted, and so does this module. Not detected: other dead positions (blocked pawns).

Move generation is python-chess (GPL-3.0-or-later), held to published perft counts by the tests.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import chess

from surpass.errors import DataError

RETURNS = {"1-0": (1.0, 0.0), "0-1": (0.0, 1.0), "1/2-1/2": (0.5, 0.5)}  # per seat: White, Black
CHECKMATE, STALEMATE, MATERIAL = "checkmate", "stalemate", "insufficient material"
FIFTY, REPETITION = "fifty moves", "threefold repetition"


def board_of(fen: str = "") -> chess.Board:
    """Return the position of a FEN, the initial one where it is empty.

    Raises DataError where the FEN cannot be read or names a position that no game reaches (a king missing, the side to
    move giving check to a king that could be taken, ...).
    """
    try:
        board = chess.Board(fen) if fen else chess.Board()
    except ValueError as error:
        raise DataError(f"expected a position in FEN, found {fen[:100]!r}: {error}") from error
    if fen and not board.is_valid():
        raise DataError(f"expected a position that a game can reach, found {fen!r}: {board.status()!r}")
    return board


def legal(board: chess.Board) -> dict[str, chess.Move]:
    """Return the legal moves by their UCI names, in ascending order of these.

    >>> len(legal(board_of()))
    20
    """
    return dict(sorted((move.uci(), move) for move in board.legal_moves))


def named(board: chess.Board, uci: str) -> chess.Move | None:
    """Return the legal move of this UCI name, None where there is none: `legal(board).get(uci)`, ten times faster."""
    try:
        move = board.parse_uci(uci)
    except ValueError:
        return None
    return move if move and move.uci() == uci else None  # python-chess also takes the null move, and e1h1 for castling


def place(board: chess.Board) -> str:
    """Return the first four fields of the FEN: positions are the same for repetition exactly where these are.

    An en-passant square is named only where the capture is legal, a castling right only while it stands.
    """
    return board.epd(en_passant="legal")


def identity(board: chess.Board) -> Hashable:
    """Return what `place` says, as a value that is made fifty times faster; equal for equal places alone."""
    sides = (board.occupied_co[chess.WHITE], board.occupied_co[chess.BLACK], board.turn)
    pieces = (board.pawns, board.knights, board.bishops, board.rooks, board.queens, board.kings)
    return *sides, *pieces, board.clean_castling_rights(), board.ep_square if board.has_legal_en_passant() else None


def ending(board: chess.Board, *, repeated: bool) -> tuple[str, str] | None:
    """Return why and how (result) a game is over in this position, None while it goes on.

    `repeated` says that the position occurs for the third time, which a board without its history cannot know.
    """
    if not any(board.generate_legal_moves()):
        if board.is_check():
            return CHECKMATE, "0-1" if board.turn == chess.WHITE else "1-0"
        return STALEMATE, "1/2-1/2"
    if board.is_insufficient_material():
        return MATERIAL, "1/2-1/2"
    if board.halfmove_clock >= 100:
        return FIFTY, "1/2-1/2"
    return (REPETITION, "1/2-1/2") if repeated else None


def sans(moves: Iterable[str], fen: str = "") -> Iterator[str]:
    """Yield the moves in SAN, with check marks and no more disambiguation than needed.

    Raises DataError at the first move that is not legal.

    >>> list(sans(["g1f3", "e7e5", "f3e5"]))
    ['Nf3', 'e5', 'Nxe5']
    """
    board = board_of(fen)
    for number, uci in enumerate(moves):
        move = named(board, uci)
        if move is None:
            raise DataError(f"expected a legal move in UCI as move {number + 1}, found {uci[:20]!r} in {board.fen()}")
        yield board.san_and_push(move)
