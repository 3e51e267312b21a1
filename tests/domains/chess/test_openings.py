"""Openings: books in every form they come in, what is left out of them, and random ones."""

import zipfile
from contextlib import suppress
from pathlib import Path

import chess
import pytest

from surpass.domains.chess.openings import Opening, _quiet, random_openings, read_openings
from surpass.errors import DataError

PGN = """[Event "?"]
[Result "*"]

1. f4 e6 2. b4 Be7 *

[Event "same moves"]

1. f4 e6 2. b4 Be7 *

[Event "over"]

1. f3 e5 2. g4 Qh4# 0-1

[Event "illegal"]

1. e4 Ke3 *

[SetUp "1"]
[FEN "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"]

1. e4 *

"""


def test_a_pgn_plain_and_zipped(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "book.pgn", tmp_path / "book.pgn.zip"
    plain.write_text(PGN)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("book.pgn", PGN)
    expected = [
        Opening(("f2f4", "e7e6", "b2b4", "f8e7")),
        Opening(("e2e4",), "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"),
    ]
    assert read_openings(plain) == read_openings(zipped) == expected
    assert read_openings(plain, limit=1) == expected[:1]
    assert expected[1].board().fen() == "4k3/8/8/8/4P3/8/8/4K3 b - - 0 1"


def test_an_epd(tmp_path: Path) -> None:
    book = tmp_path / "book.epd"
    book.write_text(
        '4k3/8/8/8/8/8/4P3/4K3 w - - hmvc 0; id "one";\n\nrnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1\n'
        "nonsense\n8/8/8/8/8/8/8/8 w - -\n7k/6Q1/6K1/8/8/8/8/8 b - - 0 1\n"
    )
    found = read_openings(book)
    assert [one.fen for one in found] == ["4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", chess.STARTING_FEN]


def test_a_damaged_archive_is_a_data_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pgn", "1. e4 e5 *\n\n" * 200)
    data = (tmp_path / "a.zip").read_bytes()
    for at in range(30, len(data) - 22, 7):
        (tmp_path / "b.zip").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        with suppress(DataError):
            assert len(read_openings(tmp_path / "b.zip")) == 1


@pytest.mark.parametrize(
    ("name", "content"), [("a.pgn", ""), ("a.epd", "x\n"), ("a.zip", "not a zip"), ("none.pgn", None)]
)
def test_what_holds_no_opening_is_a_data_error(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError):
        read_openings(tmp_path / name)


def test_random_openings_are_distinct_even_and_repeatable() -> None:
    found = random_openings(40, plies=6, seed=2)
    assert found == random_openings(40, plies=6, seed=2)
    assert found[:10] != random_openings(10, plies=6, seed=3)
    assert len(set(found)) == 40
    for opening in found:
        board = opening.board()
        assert len(opening.moves) == 6
        assert not board.is_check()
        assert all(len(board.pieces(piece, True)) == len(board.pieces(piece, False)) for piece in range(1, 7)) or (
            sum(len(board.pieces(piece, True)) for piece in range(1, 7)) < 16  # even trades of unlike pieces
        )


def test_no_captures_win_material_in_a_random_opening() -> None:
    """By plain search, where the generator cuts: whoever begins, the best captures leave material even."""

    def best(board: chess.Board) -> int:
        standing = sum(
            (1 if piece.color == board.turn else -1) * (0, 1, 3, 3, 5, 9, 100)[piece.piece_type]
            for piece in board.piece_map().values()
        )
        found = [standing]
        for move in list(board.generate_legal_captures()):
            board.push(move)
            found.append(-best(board))
            board.pop()
        return max(found)

    for opening in random_openings(8, plies=4, seed=1):
        board = opening.board()
        assert best(board) == 0
        board.push(chess.Move.null())
        assert best(board) == 0


@pytest.mark.parametrize(
    ("fen", "quiet"),
    [
        pytest.param(chess.STARTING_FEN, True, id="initial"),
        pytest.param("rnb1kbnr/pppp1ppp/8/4p1q1/3P4/8/PPP1PPPP/RNBQKBNR w KQkq - 0 3", False, id="a queen for nothing"),
        pytest.param("rnbqkbnr/ppp2ppp/3p4/4p3/6P1/8/PPPPPP1P/RNBQKBNR w KQkq - 0 3", False, id="a pawn threatened"),
        pytest.param("rnbqkbnr/ppp2ppp/4p3/3p4/4P3/3P4/PPP2PPP/RNBQKBNR w KQkq - 0 3", True, id="an even exchange"),
        pytest.param("rnbqkb1r/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1", False, id="a knight less"),
        pytest.param("r1bqkbnr/pp1pp2p/2n2p2/2p3p1/2P5/4P3/PP1P1PPP/RNBQKBNR w KQkq - 0 5", False, id="a mate in one"),
    ],
)
def test_quiet_positions(fen: str, quiet: bool) -> None:
    assert _quiet(chess.Board(fen)) is quiet


def test_too_few_openings_are_a_data_error() -> None:
    with pytest.raises(DataError, match="found 20"):
        random_openings(21, plies=1)


def test_random_openings_begin_where_they_are_told() -> None:
    start = "4k3/ppp5/8/8/8/8/5PPP/4K3 w - - 0 1"
    found = random_openings(20, plies=3, seed=1, start=start)
    assert len({one.moves for one in found}) == 20
    assert {one.fen for one in found} == {start}
    assert all(one.board().turn == chess.BLACK and len(one.moves) == 3 for one in found)
