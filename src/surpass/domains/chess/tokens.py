"""Two ways to write games as tokens, each with a strict way back: the paper's characters, and one token per UCI move.

    Characters    32 symbols: blank # + - . 0-9 ; = B K N O Q R a-h x; a game is  ;1.e4 e5 2.Nf3 ... 40.Qh7# 1-0
    Moves         2004 tokens: padding, start, 4 ends, 30 strengths, and the 1968 moves that some piece can make on some
                  board: 1792 of queens and knights (all other pieces' moves are among them), 176 promotions

Every game begins with a start token and ends with what says its result, so no ending is lost: in Moves one token, in
Characters a word, ` 1-0`, ` 0-1` or ` =` (the 32 have no slash), nothing where the result is unknown, as in the paper
(arXiv 2406.11741), whose transcripts carry no results: `Characters(results=False)`. With `strength` both ratings come
before the first move, rounded up to hundreds as in the paper's bins: two tokens, or `;1200-0000 1.e4` (0000 unknown).

Nothing here knows which moves are legal; python-chess is not imported. Not here: blocks for training (`shards.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Protocol

from surpass.domains.chess.transcript import SAN, numbered, unnumbered
from surpass.errors import DataError

CHARACTERS = " #+-.0123456789;=BKNOQRabcdefghx"
ENDS = ("1-0", "0-1", "1/2-1/2", "*")
STRENGTHS = (None, *range(400, 3300, 100))  # upper ends of the bins; what lies outside is moved to the nearest
SPECIALS = ("<pad>", "<game>", *ENDS, *(f"<{one or 'unknown'}>" for one in STRENGTHS))
PAD, GAME = 0, 1

_WORDS = {" 1-0": "1-0", " 0-1": "0-1", " =": "1/2-1/2", "": "*"}  # how Characters write a result
_STRENGTH = re.compile(r"(\d{4})-(\d{4}) ")


@dataclass(frozen=True, slots=True)
class Play:
    """What a row of tokens says of a game, and all of it."""

    moves: tuple[str, ...]  # as the vocabulary writes them: SAN for Characters, UCI for Moves
    result: str = "*"
    strengths: tuple[int | None, int | None] = (None, None)  # White's and Black's bins; None: unknown, or not written


class Vocabulary(Protocol):
    """What packing, training and playing ask of a tokenisation."""

    @property
    def notation(self) -> str:
        """Return how moves are written: "san" or "uci"."""

    @property
    def size(self) -> int:
        """Return the number of tokens, at most 65536."""

    @property
    def start(self) -> int:
        """Return the token that begins every game, and that no game holds elsewhere."""

    @property
    def pad(self) -> int:
        """Return the token that fills blocks behind their games, where the mask is False."""

    @property
    def given(self) -> int:
        """Return how many tokens of a game come before its first move: conditions, not to be learned."""

    def encode(self, play: Play) -> list[int]:
        """Return the tokens of a game. Raises DataError for what the vocabulary cannot write."""

    def decode(self, tokens: Sequence[int]) -> Play:
        """Return the game. Strict: `encode` of it gives the tokens again, or DataError is raised."""


@dataclass(frozen=True)
class Characters:
    """The paper's 32 characters."""

    results: bool = True  # write the result at the end; without, a game ends where the next begins
    strength: bool = False  # write both ratings at the beginning

    notation = "san"
    size = len(CHARACTERS)
    start = CHARACTERS.index(";")
    pad = CHARACTERS.index(" ")  # no character is free

    @property
    def given(self) -> int:
        return 11 if self.strength else 1

    def encode(self, play: Play) -> list[int]:
        if odd := [move for move in play.moves if not SAN.fullmatch(move)]:
            raise DataError(f"expected moves in SAN such as e4 or Nxf3+, found {odd[0][:20]!r}")
        bins = (f"{strength or 0:04}" for strength in map(binned, play.strengths))
        head = "-".join(bins) + " " if self.strength else ""
        tail = next(word for word, result in _WORDS.items() if result == _checked(play.result)) if self.results else ""
        return self.tokens(f";{head}{numbered(play.moves)}{tail}")

    def decode(self, tokens: Sequence[int]) -> Play:
        text, result = self.text(tokens), "*"
        body, strengths = text[1:], Play(()).strengths
        if self.strength and (match := _STRENGTH.match(body)):
            strengths, body = (int(match[1]) or None, int(match[2]) or None), body[match.end() :]
        if self.results:
            tail = next(word for word in _WORDS if body.endswith(word))
            result, body = _WORDS[tail], body[: len(body) - len(tail)]
        play = Play(unnumbered(body), result, strengths)
        return _strict(play, self.encode(play), tokens, text)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of any text in the 32 characters. Raises DataError for another character.

        >>> Characters().tokens(";1.e4")
        [15, 6, 4, 27, 9]
        """
        try:
            return [_PLACE[character] for character in text]
        except KeyError as error:
            raise DataError(
                f"expected characters among {CHARACTERS!r}, found {error.args[0]!r} in {text[:60]!r}"
            ) from error

    def text(self, tokens: Iterable[int]) -> str:
        """Return the characters of tokens. Raises DataError for a number that is no token."""
        found = list(tokens)
        if any(not 0 <= token < self.size for token in found):
            raise DataError(f"expected tokens from 0 to {self.size - 1}, found {min(found)} to {max(found)}")
        return "".join(CHARACTERS[token] for token in found)


@dataclass(frozen=True)
class Moves:
    """One token for each move in UCI."""

    strength: bool = False  # two tokens for both ratings at the beginning

    notation = "uci"
    start = GAME
    pad = PAD

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The text of each token: specials, then moves in ascending order."""
        return (*SPECIALS, *geometric_moves())

    @cached_property
    def place(self) -> dict[str, int]:
        """The token of each text."""
        return {name: token for token, name in enumerate(self.names)}

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def given(self) -> int:
        return 3 if self.strength else 1

    def encode(self, play: Play) -> list[int]:
        bins = [self.place[f"<{one or 'unknown'}>"] for one in map(binned, play.strengths)] if self.strength else []
        try:
            moves = [self.place[move] for move in play.moves]
        except KeyError as error:
            raise DataError(f"expected moves in UCI such as e2e4 or e7e8q, found {error.args[0]!r}") from error
        if moves and min(moves) < len(SPECIALS):
            raise DataError(f"expected moves in UCI, found {self.names[min(moves)]!r}")
        return [GAME, *bins, *moves, self.place[_checked(play.result)]]

    def decode(self, tokens: Sequence[int]) -> Play:
        if any(not 0 <= token < self.size for token in tokens):
            raise DataError(f"expected tokens from 0 to {self.size - 1}, found {min(tokens)} to {max(tokens)}")
        names = [self.names[token] for token in tokens]
        shown = " ".join(names)
        if len(tokens) <= self.given or names[-1] not in ENDS:
            raise DataError(f"expected a game from <game> to its result, found {shown[:80]!r}")
        if any(token < len(SPECIALS) for token in tokens[self.given : -1]):
            raise DataError(f"expected moves between <game> and the result, found {shown[:80]!r}")
        bins = dict(zip(SPECIALS[-len(STRENGTHS) :], STRENGTHS, strict=True))
        strengths = (bins.get(names[1]), bins.get(names[2])) if self.strength else (None, None)
        play = Play(tuple(names[self.given : -1]), names[-1], strengths)
        return _strict(play, self.encode(play), tokens, shown)


VOCABULARIES = {"characters": Characters, "moves": Moves}
_PLACE = {character: token for token, character in enumerate(CHARACTERS)}


def geometric_moves() -> tuple[str, ...]:
    """Return the 1968 moves in UCI that a queen, a knight or a promoting pawn can make on some board, in order.

    >>> len(geometric_moves()), geometric_moves()[:3]
    (1968, ('a1a2', 'a1a3', 'a1a4'))
    """
    squares = [(file, rank) for file in range(8) for rank in range(8)]
    moves = set[str]()
    for file, rank in squares:
        for to, up in squares:
            across, along = abs(to - file), abs(up - rank)
            if max(across, along) and (across == along or not across * along or {across, along} == {1, 2}):
                move = _square(file, rank) + _square(to, up)
                moves.add(move)
                if across <= 1 and (rank, up) in ((6, 7), (1, 0)):
                    moves.update(move + piece for piece in "bnqr")
    return tuple(sorted(moves))


def binned(rating: int | None) -> int | None:
    """Return the upper end of a rating's bin of one hundred, between 400 and 3200.

    >>> binned(1201), binned(1300), binned(90), binned(None)
    (1300, 1300, 400, None)
    """
    return None if rating is None else min(max(100 * ceil(rating / 100), 400), 3200)


def _square(file: int, rank: int) -> str:
    return f"{'abcdefgh'[file]}{rank + 1}"


def _checked(result: str) -> str:
    if result not in ENDS:
        raise DataError(f"expected a result among {', '.join(ENDS)}, found {result!r}")
    return result


def _strict(play: Play, again: list[int], tokens: Sequence[int], shown: str) -> Play:
    """Return `play` if it encodes to the tokens it was read from."""
    if again != list(tokens):
        raise DataError(f"expected one game from its start to its end, found {shown[:80]!r}")
    return play
