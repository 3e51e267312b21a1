"""Tokenisations: the vocabularies are what they say, and every game comes back from its tokens, or nothing does."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import chess
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.domains.chess.rules import sans
from surpass.domains.chess.tokens import (
    CHARACTERS,
    ENDS,
    SPECIALS,
    STRENGTHS,
    Characters,
    Moves,
    Play,
    Vocabulary,
    binned,
    geometric_moves,
)
from surpass.domains.chess.transcript import numbered, unnumbered
from surpass.errors import DataError
from tests.domains.chess.played import random_game

KINDS: list[Vocabulary] = [
    Moves(),
    Moves(strength=True),
    Characters(),
    Characters(strength=True),
    Characters(results=False),
    Characters(results=False, strength=True),
]
RATINGS = st.one_of(st.none(), st.sampled_from(STRENGTHS[1:]))


def play_of(seed: int, plies: int, notation: str) -> Play:
    game = random_game(seed, plies)
    return Play(game.moves if notation == "uci" else tuple(sans(game.moves)), game.result)


def kept(vocabulary: Vocabulary, play: Play) -> Play:
    """What this vocabulary writes of a play."""
    if isinstance(vocabulary, Characters) and not vocabulary.results:
        play = replace(play, result="*")
    strength = isinstance(vocabulary, Characters | Moves) and vocabulary.strength
    return play if strength else replace(play, strengths=(None, None))


def test_there_are_32_characters() -> None:
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 32
    assert set(CHARACTERS) == set(" #+-.0123456789;=BKNOQRabcdefghx")


def test_moves_are_all_that_a_piece_can_make_on_an_empty_board() -> None:
    """Counted another way: python-chess generates the moves of a queen, a knight and pawns alone on the board."""
    found = set[str]()
    for square in chess.SQUARES:
        for symbol in "QNPp":
            board = chess.Board(None)
            board.set_piece_at(square, chess.Piece.from_symbol(symbol))
            board.turn = symbol != "p"
            if symbol in "Pp":
                board.occupied_co[not board.turn] |= chess.BB_RANK_8 if board.turn else chess.BB_RANK_1  # to capture
                board.occupied |= board.occupied_co[not board.turn] & ~chess.BB_FILES[chess.square_file(square)]
            found |= {move.uci() for move in board.generate_pseudo_legal_moves()}
    assert found == set(geometric_moves())
    assert len(geometric_moves()) == 64 * 28 - 64 * 28 + 1792 + 176 == 1968
    assert Moves().size == 1968 + 36 == len(set(Moves().names))


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@given(seed=st.integers(0, 10**6), plies=st.integers(1, 120), white=RATINGS, black=RATINGS)
@settings(max_examples=15, deadline=None)
def test_every_game_comes_back(kind: Vocabulary, seed: int, plies: int, white: int | None, black: int | None) -> None:
    play = replace(play_of(seed, plies, kind.notation), strengths=(white, black))
    tokens = kind.encode(play)
    assert kind.decode(tokens) == kept(kind, play)
    assert tokens[0] == kind.start
    assert kind.start not in tokens[1:]  # a row of games can be taken apart
    assert all(0 <= token < kind.size for token in tokens)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_decoded_encodes_to_the_same_tokens(kind: Vocabulary, data: st.DataObject) -> None:
    """Strict: any row of tokens either is exactly what some game encodes to, or is refused."""
    tokens = kind.encode(play_of(data.draw(st.integers(0, 50)), 12, kind.notation))
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(tokens) - 1))
        tokens[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.lists(st.integers(0, kind.size - 1), max_size=2)
        )
    try:
        play = kind.decode(tokens)
    except DataError:
        return
    assert kind.encode(play) == tokens


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [
        (Moves(), []),
        (Moves(), [1]),
        (Moves(), [1, 40]),  # no result
        (Moves(), [1, 40, 0, 41, 2]),  # padding within
        (Moves(), [1, 40, 2, 1, 41, 2]),  # two games
        (Moves(), [40, 2]),
        (Moves(), [1, 5000, 2]),
        (Moves(strength=True), [1, 40, 41, 42, 2]),  # moves where ratings belong
        (Characters(), [99]),
        (Characters(), Characters().tokens("1.e4 e5")),
        (Characters(), Characters().tokens(";1.e4  e5")),
        (Characters(), Characters().tokens(";1.e4 1-0 1-0")),
        (Characters(), Characters().tokens(";1.e4;1.d4")),
        (Characters(strength=True), Characters().tokens(";1.e4 e5")),
        (Characters(strength=True), Characters().tokens(";1234-0000 1.e4")),
    ],
)
def test_what_is_no_game_is_refused(kind: Vocabulary, tokens: list[int]) -> None:
    with pytest.raises(DataError):
        kind.decode(tokens)


def test_what_cannot_be_written_is_refused() -> None:
    cases: list[tuple[Vocabulary, Play]] = [
        (Moves(), Play(("e2e9",))),
        (Moves(), Play(("<game>",))),
        (Moves(), Play(("e2e4",), "won")),
        (Characters(), Play(("é4",))),
        (Characters(), Play(("e4",), "1:0")),
    ]
    for kind, play in cases:
        with pytest.raises(DataError):
            kind.encode(play)


def test_every_ending_is_written() -> None:
    for kind in (Moves(), Characters()):
        moves = ("e2e4",) if kind.notation == "uci" else ("e4",)
        rows = [tuple(kind.encode(Play(moves, result))) for result in ENDS]
        assert len(set(rows)) == 4
    assert Characters().text(Characters().encode(Play(("e4", "e5"), "1/2-1/2"))) == ";1.e4 e5 ="
    assert len(SPECIALS) == 36


@pytest.mark.parametrize(("rating", "name"), [(1000, 1000), (1001, 1100), (399, 400), (3999, 3200), (None, None)])
def test_bins_are_those_of_the_paper(rating: int | None, name: int | None) -> None:
    assert binned(rating) == name
    assert binned(name) == name


WORDS = st.sampled_from(["e4", "Nf3", "O-O", "O-O-O+", "exd8=Q#", "Nb1d2", "Qh4xe1", "Rxa8+"])
ODD = st.sampled_from(["", "1.e4", "1-0", "e4;", "e4 e5", "Nf9", "e4!", "0-0", "e8Q", "="])


@given(st.lists(WORDS, max_size=30), st.integers(0, 9), st.integers(0, 29), st.none() | ODD)
@settings(max_examples=100)
def test_transcripts_come_back(words: list[str], first: int, place: int, odd: str | None) -> None:
    if odd is None:
        assert unnumbered(numbered(words, first=first), first=first) == tuple(words)
        return
    words.insert(place, odd)
    with pytest.raises(DataError):
        Characters().encode(Play(tuple(words)))
    with contextlib.suppress(DataError):  # `e4 e5` in place of one move makes another transcript, with other numbers
        assert unnumbered(numbered(words, first=first), first=first) != tuple(words)
