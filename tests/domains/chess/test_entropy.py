"""Entropy of moves: by hand, by enumeration of all samples, and sets of unequal size that play alike."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import combinations
from pathlib import Path

import chess
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.cli import main as command_line
from surpass.domains.chess.entropy import Visits, choices, compare, entropy, rarefied
from surpass.domains.chess.rules import board_of, place
from surpass.errors import ConfigError
from tests.domains.chess.played import pgn_of, random_game

START = place(board_of())


def played(first: dict[str, int], seed: int = 0) -> Visits:
    """Games of one move each."""
    moves = [move for move, count in first.items() for _ in range(count)]
    random.Random(seed).shuffle(moves)
    found = Visits()
    for move in moves:
        found.add([move])
    return found


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_the_rarefied_entropy_is_the_mean_over_all_samples(counts: list[int], data: st.DataObject) -> None:
    draws = data.draw(st.integers(1, sum(counts)))
    visits = [move for move, count in enumerate(counts) for _ in range(count)]
    samples = [entropy(Counter(sample).values()) for sample in combinations(visits, draws)]
    assert rarefied(counts, draws) == pytest.approx(np.mean(samples), abs=1e-9)
    assert rarefied(counts, sum(counts)) == pytest.approx(entropy(counts))
    with pytest.raises(ConfigError, match="expected to draw"):
        rarefied(counts, sum(counts) + 1)


def test_the_papers_measure_by_hand() -> None:
    found = compare({"a": played({"e2e4": 60, "d2d4": 60}), "b": played({"e2e4": 90, "d2d4": 20, "c2c4": 10})})
    a, b = found["a"], found["b"]
    assert a is not None
    assert b is not None
    assert (a.games, a.positions, a.shared_positions) == (120, 1, 1)
    assert a.observed.mean == pytest.approx(1)
    assert b.observed.mean == pytest.approx(entropy([9, 2, 1]) / np.log2(3))
    assert a.rarefied.mean == pytest.approx(rarefied([60, 60], 100) / np.log2(20))
    assert a.shared == a.rarefied
    assert a.gap.mean == a.gap.high == 0
    assert b.gap.mean == pytest.approx(b.shared.mean - a.shared.mean)


def test_a_larger_set_of_the_same_players_is_as_varied_when_rarefied() -> None:
    """Moves drawn from one distribution with rare ones: the observed measure moves with the size, the rarefied not."""
    names = sorted(move.uci() for move in chess.Board().legal_moves)
    weights = 0.5 ** np.arange(1, 1 + len(names)) + 1e-3
    rng = np.random.default_rng(0)
    means = []
    for size in (150, 20_000):
        drawn = rng.multinomial(size, weights / weights.sum(), size=40).tolist()
        sets = {
            str(n): Visits(
                games=size, moves={START: Counter({move: k for move, k in zip(names, row, strict=True) if k})}
            )
            for n, row in enumerate(drawn)
        }
        found = [one for one in compare(sets).values() if one is not None]
        means.append([np.mean([one.rarefied.mean for one in found]), np.mean([one.observed.mean for one in found])])
    (small, small_observed), (large, large_observed) = means
    assert abs(small - large) < 0.01
    assert abs(small_observed - large_observed) > 0.05


def test_which_positions_count() -> None:
    visits = played({"e2e4": 101})
    assert list(visits.often(100)) == [START]
    assert visits.often(101) == {}
    assert compare({"a": visits, "b": Visits()}, least=101) == {"a": None, "b": None}
    fen = "k7/8/8/8/8/8/r7/6rK w - - 0 1"  # the rook must be taken
    forced = Visits()
    for _ in range(5):
        forced.add(["h1g1"], fen)
    assert choices(" ".join(fen.split()[:4])) == 1
    assert forced.often(1) == {}


def test_transpositions_are_one_position() -> None:
    visits = Visits()
    for moves in (["g1f3", "g8f6", "b1c3", "d7d5"], ["b1c3", "g8f6", "g1f3", "e7e5"]):
        visits.add(moves)
    board = chess.Board()
    for move in ("g1f3", "g8f6", "b1c3"):
        board.push_uci(move)
    assert visits.moves[place(board)] == {"d7d5": 1, "e7e5": 1}
    assert sum(moves.total() for moves in visits.moves.values()) == 8


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    games = [random_game(seed, 20, ratings=(900 + 10 * seed, 950)) for seed in range(60)]
    (tmp_path / "g.pgn").write_text("".join(map(pgn_of, games)))
    words = ["chess", "entropy", str(tmp_path / "g.pgn"), "--least", "3", "--json", str(tmp_path / "e.json")]
    bands, whole = tmp_path / "bands.json", tmp_path / "whole.json"
    assert command_line([*words, "--caps", "1000", "1200", "2000"]) == 0
    stored = json.loads((tmp_path / "e.json").read_text())
    assert [one["games"] for one in stored.values()] == [11, 31, 60]
    assert command_line([*words, "--caps", "1000", "1200", "2000", "--bands", "--json", str(bands)]) == 0
    assert [one["games"] for one in json.loads(bands.read_text()).values()] == [11, 20, 29]
    assert command_line([*words, "--json", str(whole)]) == 0
    assert json.loads(whole.read_text())["g.pgn"]["games"] == 60
    assert "Normalised entropy" in capsys.readouterr().out
    for taken in (tmp_path / "e.json", tmp_path / "missing" / "e.json"):
        assert command_line([*words, "--json", str(taken)]) == 2
        assert "expected a new file in a folder for --json" in capsys.readouterr().err
    assert json.loads((tmp_path / "e.json").read_text()) == stored
    for wrong in (["--caps", "1200", "1000"], ["--least", "0"]):
        with pytest.raises(SystemExit) as stopped:
            command_line([*words, *wrong])
        assert stopped.value.code == 2
