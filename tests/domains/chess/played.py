"""Games for tests: random legal moves by seed, and their PGN."""

from __future__ import annotations

import random

import chess

from surpass.domains.chess.games import Game
from surpass.domains.chess.pgn import movetext, write
from surpass.domains.chess.rules import ending, legal, sans


def random_game(seed: int, plies: int = 40, ratings: tuple[int | None, int | None] = (None, None)) -> Game:
    """A game of at most so many half-moves, its result the board's or `*`."""
    rng, board, moves = random.Random(seed), chess.Board(), list[str]()
    end = None
    while len(moves) < plies and end is None:
        move = rng.choice(list(legal(board).values()))
        moves.append(move.uci())
        board.push(move)
        end = ending(board, repeated=board.is_repetition(3))
    result = rng.choice(("1-0", "0-1", "1/2-1/2", "*")) if end is None else end[1]
    tags = {"White": f"w{seed}", "Black": "b"} | {
        name: str(rating) for name, rating in zip(("WhiteElo", "BlackElo"), ratings, strict=True) if rating is not None
    }
    return Game(tuple(moves), result, *ratings, tags=tags)


def pgn_of(game: Game) -> str:
    """The game in PGN."""
    return write({**game.tags, "Result": game.result}, movetext(list(sans(game.moves)), game.result))
