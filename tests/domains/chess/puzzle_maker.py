"""Puzzles for tests, of our own making: mates found by trying every move in random games, and two mates in two."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import chess

from surpass.domains.chess.rules import sans
from tests.domains.chess.played import random_game

HEADER = ["PuzzleId", "FEN", "Moves", "Rating", "RatingDeviation", "Popularity", "NbPlays", "Themes", "GameUrl", "PGN"]
LADDERS = (  # the opponent's move, then a mate in two by two rooks; b1b7 and a2a8 would do as well
    ("8/7k/8/8/8/8/R7/1R5K b - - 0 1", "h7h8 a2a7 h8g8 b1b8"),
    ("1r5k/r7/8/8/8/8/7K/8 w - - 0 1", "h2h1 a7a2 h1g1 b8b1"),
)
Row = dict[str, str]


def mates(board: chess.Board) -> list[str]:
    """All moves that mate at once."""
    found = []
    for move in board.legal_moves:
        board.push(move)
        if board.is_checkmate():
            found.append(move.uci())
        board.pop()
    return found


@cache
def mates_in_one(number: int) -> tuple[Row, ...]:
    """Positions of random games with one mate in one or several, the history beside them."""
    return tuple(_first(number))


def _first(number: int) -> Iterator[Row]:
    seed = 0
    while number:
        game = random_game(seed, 120)
        board = chess.Board()
        for ply, move in enumerate(game.moves):
            fen = board.fen()
            board.push_uci(move)
            if found := mates(board):
                pgn = " ".join(sans(game.moves[:ply]))
                yield row(f"m{seed}", fen, f"{move} {found[0]}", 600 + 100 * (seed % 3), pgn)
                number -= 1
                break
        seed += 1


def row(key: str, fen: str, moves: str, rating: int, pgn: str = "") -> Row:
    cells = {"PuzzleId": key, "FEN": fen, "Moves": moves, "Rating": str(rating), "Themes": "mate", "PGN": pgn}
    return dict.fromkeys(HEADER, "") | cells


def ladders() -> list[Row]:
    return [row(f"l{index}", fen, moves, 1100) for index, (fen, moves) in enumerate(LADDERS)]


def write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        writer.writerows(rows)
    return path
