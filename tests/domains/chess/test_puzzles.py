"""Puzzles: what is a good row, what solves, what a player is shown, and every bad row counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import chess
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.core import Observation, Proposal
from surpass.domains.chess.arena import Player
from surpass.domains.chess.engine_player import split
from surpass.domains.chess.puzzles import Attempt, Puzzle, Rows, read_puzzles, solve
from surpass.domains.chess.rules import board_of
from surpass.errors import DataError
from surpass.models.scripted import Uniform
from tests.domains.chess.puzzle_maker import ladders, mates, mates_in_one, row, write


@dataclass(slots=True)
class Knows:
    """Answers by a table from position to move; remembers what it was shown."""

    answers: dict[str, str]
    seen: list[Observation] = field(default_factory=list)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        self.seen += observations
        return [[Proposal(self.answers.get(_fen(one), "a1a1"))] for one in observations]


def _fen(observation: Observation) -> str:
    fen, moves = split(observation.text)
    board = board_of(fen)
    for move in moves:
        board.push_uci(move)
    return board.fen()


def solutions(puzzles: Sequence[Puzzle]) -> dict[str, str]:
    found = {}
    for puzzle in puzzles:
        board = chess.Board(puzzle.fen)
        for number, move in enumerate(puzzle.moves):
            if number % 2:
                found[board.fen()] = move
            board.push_uci(move)
    return found


def load(path: Path) -> tuple[list[Puzzle], Rows]:
    report = Rows()
    return list(read_puzzles(path, report)), report


@pytest.fixture
def puzzles(tmp_path: Path) -> list[Puzzle]:
    found, report = load(write(tmp_path / "p.csv", [*mates_in_one(6), *ladders()]))
    assert (report.read, report.kept, report.bad.total()) == (8, 8, 0)
    return found


def test_whoever_knows_the_solutions_solves_all(puzzles: list[Puzzle]) -> None:
    policy = Knows(solutions(puzzles))
    found = solve(puzzles, Player("knows", policy), samples=2)
    assert len(found) == 16
    assert all(one.solved and one.illegal == 0 for one in found)
    assert [one.found for one in found] == [1] * 12 + [2] * 4
    assert {one.sample for one in found} == {0, 1}


def test_the_first_move_is_the_opponents_and_the_history_is_told(puzzles: list[Puzzle]) -> None:
    policy = Knows({})
    solve(puzzles, Player("knows", policy))
    for puzzle, seen in zip(puzzles, policy.seen, strict=True):
        fen, moves = split(seen.text)
        assert moves[-1] == puzzle.moves[0]
        assert fen == ("" if puzzle.history else puzzle.fen)
        assert tuple(moves[:-1]) == puzzle.history
        assert seen.seat == int(board_of(_fen(seen)).turn == chess.BLACK)
        assert seen.legal is None


def test_any_mate_in_one_counts_and_another_good_move_does_not(puzzles: list[Puzzle]) -> None:
    answers = solutions(puzzles)
    several = 0
    for fen, move in answers.items():
        others = [other for other in mates(chess.Board(fen)) if other != move]
        several += bool(others)
        if others:
            answers[fen] = others[-1]
    ladder = puzzles[-2]
    board = chess.Board(ladder.fen)
    board.push_uci(ladder.moves[0])
    answers[board.fen()] = "b1b7"  # mates in two as well, but is not the puzzle's
    found = solve(puzzles, Player("knows", Knows(answers)))
    assert several
    assert [one.solved for one in found] == [True] * 6 + [False, True]
    assert (found[-2].found, found[-1].found) == (0, 2)


def test_half_a_solution_is_none(puzzles: list[Puzzle]) -> None:
    ladder = puzzles[-1]
    answers = solutions([ladder])
    answers[list(answers)[1]] = "b8b7"
    (found,) = solve([ladder], Player("knows", Knows(answers)))
    assert found == Attempt("l1", 0, False, 1, 0)


def test_tries_and_failures_are_counted(puzzles: list[Puzzle]) -> None:
    found = solve(puzzles, Player("lost", Knows({}), tries=5))
    assert all((one.solved, one.illegal) == (False, 5) for one in found)

    class Silent:
        def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
            return [[] for _ in observations]

    assert all(one.failed and not one.solved for one in solve(puzzles, Player("silent", Silent())))


def test_chance_depends_on_the_seed_alone(puzzles: list[Puzzle]) -> None:
    player = Player("random", Uniform(), wants_legal=True, wants_key=True)
    found = solve(puzzles, player, samples=20, seed=1)
    assert solve(puzzles[2:4], player, samples=20, seed=1) == found[40:80]
    assert solve(puzzles, player, samples=20, seed=2) != found
    assert 0 < sum(one.solved for one in found) < len(found)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"FEN": "nonsense"}, "no position"),
        ({"FEN": ""}, "no position"),
        ({"FEN": "8/8/8/8/8/8/8/8 w - - 0 1"}, "no position"),
        ({"Moves": "h7h8 a2a9"}, "illegal move"),
        ({"Moves": "h7h8 a2a7 h8g8 b1b8 g8f8 b8a8"}, "moves after the end of the game"),
        ({"Moves": "h7h8 a2a7 h8g8"}, "moves that do not end with the player's"),
        ({"Moves": ""}, "moves that do not end with the player's"),
        ({"Rating": "strong"}, "no rating"),
        ({"Rating": "-5"}, "no rating"),
        ({"Rating": 5000 * "9"}, "no rating"),
        ({"PuzzleId": ""}, "no id of its own"),
        ({"PuzzleId": "l0"}, "no id of its own"),
        ({"PGN": "1. e4 e5"}, "a game that leads elsewhere"),
        ({"PGN": "1. e5"}, "a game that cannot be read"),
        ({"PGN": "1. e4 { never closed"}, "a game that cannot be read"),
    ],
)
def test_bad_rows_are_counted_and_the_others_stay(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    first, last = ladders()
    middle = {**first, "PuzzleId": "x", **changes}
    found, report = load(write(tmp_path / "p.csv", [first, middle, last]))
    assert [one.key for one in found] == ["l0", "l1"]
    assert (report.read, report.kept, dict(report.bad)) == (3, 2, {reason: 1})
    assert report.examples[reason][0].startswith("row 2: ")


def test_compressed_cut_and_missing(tmp_path: Path) -> None:
    plain = write(tmp_path / "p.csv", [row(f"p{n}", *_ladder(), 1000) for n in range(3000)])
    packed = zstandard.ZstdCompressor().compress(plain.read_bytes())
    (tmp_path / "p.csv.zst").write_bytes(packed)
    assert len(load(tmp_path / "p.csv.zst")[0]) == 3000
    assert len(list(read_puzzles(tmp_path / "p.csv.zst", Rows(), limit=7))) == 7
    (tmp_path / "cut.csv.zst").write_bytes(packed[:-20])
    _, report = load(tmp_path / "cut.csv.zst")
    assert "cut off" in report.trouble or "damaged" in report.trouble
    (tmp_path / "few.csv").write_text("PuzzleId,FEN,Moves\n")
    (tmp_path / "odd.csv").write_bytes(b"PuzzleId,FEN,\rMoves,Rating\n")
    for name, said in (
        ("few.csv", "no rating"),
        ("odd.csv", "first line is not CSV"),
        ("none.csv", "cannot read"),
        ("p.pgn", "ends in .csv"),
    ):
        with pytest.raises(DataError, match=said):
            load(tmp_path / name)


def _ladder() -> tuple[str, str]:
    first = ladders()[0]
    return first["FEN"], first["Moves"]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_counted(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("p") / "p.csv"
    path.write_text("PuzzleId,FEN,Moves,Rating,PGN\n" + text, encoding="utf-8", errors="replace")
    found, report = load(path)
    assert report.read == report.kept + report.bad.total()
    assert not found
