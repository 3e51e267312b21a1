"""Favor: scripted policies whose gains are known, the split into legality and choice, real evaluations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import chess
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.cli import main as command_line
from surpass.core import Observation
from surpass.domains.chess.favor import Moves, frequencies, half, measure, rows, visits
from surpass.domains.chess.favor_command import refuse_other
from surpass.domains.chess.favor_page import drawn, write
from surpass.domains.chess.games import Game
from surpass.domains.chess.judge import Judge
from surpass.domains.chess.rules import legal
from surpass.errors import ConfigError, DataError, VerifierError
from surpass.models.scripted import Scripted, Uniform
from tests.domains.chess.played import pgn_of, random_game
from tests.domains.chess.test_engine import FAKE
from tests.domains.chess.tiny import CHARACTERS, run_folder

MATE_IN_ONE = ("f2f3", "e7e5", "g2g4")  # d8h4 mates


def by_rank(fens: Sequence[str]) -> list[dict[str, float]]:
    """Judges by the place of a move in the list of legal moves: the last one scores 1, the first 0."""
    return [{move: at / max(1, len(moves) - 1) for at, move in enumerate(moves)} for moves in map(moves_of, fens)]


def moves_of(fen: str) -> list[str]:
    return list(legal(chess.Board(fen)))


def games(number: int = 6, plies: int = 30) -> list[Game]:
    return [random_game(seed, plies) for seed in range(number)]


def uniform(observations: Sequence[Observation], share: float = 1.0) -> list[Moves]:
    return [{move: share / len(one.legal or ()) for move in one.legal or ()} for one in observations]


def both(observations: Sequence[Observation]) -> list[list[Moves]]:
    """The best move for sure; any move, and a quarter illegal."""
    best = [{(one.legal or ("",))[-1]: 1.0} for one in observations]
    return [list(row) for row in zip(best, uniform(observations, 0.75), strict=True)]


def test_positions_are_those_of_the_player_without_the_book() -> None:
    game = Game(("e2e4", "e7e5", "g1f3", "b8c6", "f1b5"), tags={"White": "w", "Black": "b", "OpeningPlies": "2"})
    assert [len(one.observation.text.split()) for one in visits([game], "w")] == [2, 4]
    assert [len(one.observation.text.split()) for one in visits([game], "b")] == [3]
    assert [len(one.observation.text.split()) for one in visits([game])] == [2, 3, 4]
    assert visits([game], "somebody") == []
    assert len(visits([Game(game.moves, tags={"OpeningPlies": 5000 * "9"})])) == 5  # no number that anybody wrote
    (one,) = visits([game], "b")
    assert one.observation.seat == 1
    assert set(one.observation.legal or ()) == {move.uci() for move in chess.Board(one.fen).legal_moves}
    start = Game(("e1d1",), fen="4k3/8/8/8/8/8/4P3/4K3 w - - 0 1")
    assert visits([start])[0].observation.text == "[FEN 4k3/8/8/8/8/8/4P3/4K3 w - - 0 1]\n"


def test_the_favor_of_the_best_move_over_a_random_one_that_is_often_illegal() -> None:
    places = visits(games())
    found = measure(places, ("best", "random"), both, by_rank, batch=7)
    assert found.expected[0] == pytest.approx(np.ones(len(places)))
    several = np.array([len(one.observation.legal or ()) > 1 for one in places])
    assert found.favor("best", "random")[several] == pytest.approx(1 - 0.75 / 2)
    assert found.legal.mean(1) == pytest.approx([1, 0.75])
    best, random = rows(found, "random")
    assert best.favor.low <= best.favor.mean <= best.favor.high
    assert best.favor.mean == pytest.approx(best.legality.mean + best.choice.mean)
    assert best.legality.mean == pytest.approx(0.25 * 0.75, abs=0.02)  # (1 - 0.75) * (1 + 0.5) / 2
    assert random.favor == random.choice
    assert random.favor.mean == 0
    assert best.tops == (1.0, 1.0, 1.0)
    assert list(random.tops) == sorted(random.tops)
    assert sum(found.top(500)[1]) == pytest.approx(0.75 * len(places))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_the_parts_of_a_favor_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    place = visits([Game(MATE_IN_ONE)])[-1]
    moves = place.observation.legal or ()

    def chances(observations: Sequence[Observation]) -> list[list[Moves]]:
        masses = rng.choice([0.0, 0.3, 1.0], 2)
        drawn = masses[:, None] * rng.dirichlet(np.ones(len(moves)), 2)
        return [[dict(zip(moves, row.tolist(), strict=True)) for row in drawn] for _ in observations]

    found = measure([place], ("a", "b"), chances, by_rank)
    legality, choice = found.parts("a", "b")
    assert legality + choice == pytest.approx(found.favor("a", "b"))
    assert np.array(found.parts("b", "a")) == pytest.approx(-np.array([legality, choice]))
    if found.legal[0] == found.legal[1]:
        assert legality == 0
    if 0.0 in found.legal:
        assert choice == pytest.approx(0)


def test_draws_stand_for_chances() -> None:
    places = visits(games(2))
    seen = [one.observation for one in places]
    scripted = Scripted({}, otherwise=["a1a1", "e2e4"])
    found = frequencies([Uniform(), scripted], draws=400, seed=1)(seen)
    for row, one in zip(found, seen, strict=True):
        assert sum(row[0].values()) == pytest.approx(1)
        share = 1 / len(one.legal or ())
        assert max(row[0].values()) < share + 6 * np.sqrt(share / 400)
        assert row[1] == ({"e2e4": 0.5} if "e2e4" in (one.legal or ()) else {})
    assert frequencies([Uniform()], draws=400, seed=1)(seen) == [row[:1] for row in found]
    settled = Scripted({}, otherwise=["e2e4"])  # gives one proposal, as an engine does
    assert frequencies([settled])(seen[:1]) == [[{"e2e4": 1.0}]]


def test_the_largest_gains_are_distinct_positions() -> None:
    repeated = [random_game(3, 20)] * 4
    found = measure(visits(repeated), ("best", "random"), both, by_rank)
    order = found.largest(found.favor("best", "random"), 5)
    assert len({found.visits[index].fen for index in order}) == 5
    favors = found.favor("best", "random")[order].tolist()
    assert favors == sorted(favors, reverse=True)
    assert favors[0] == found.favor("best", "random").max()


def test_concentration() -> None:
    assert half(np.array([0.0, -1.0])) == 0
    assert half(np.ones(10)) == 0.5
    assert half(np.array([100.0, *np.ones(9)])) == 0.1


def test_what_makes_no_sense_is_told() -> None:
    places = visits(games(1))
    with pytest.raises(DataError, match="found none"):
        measure([], ("a",), lambda seen: [], by_rank)
    for wrong in ({"e2e5": 1.0}, {places[0].observation.legal[0]: 1.5}):  # type: ignore[index]
        with pytest.raises(ConfigError, match="sum to at most 1"):
            measure(places[:1], ("a",), lambda seen, wrong=wrong: [[wrong]], by_rank)  # type: ignore[misc]
    with pytest.raises(ConfigError, match="expected a policy among"):
        measure(places, ("best", "random"), both, by_rank).favor("best", "worst")


def test_a_page_without_script_that_escapes_names(tmp_path: Path) -> None:
    name = "<b>best</b>"
    found = measure(visits(games()), (name, "random"), both, by_rank)
    page = write(tmp_path / "favor.html", found, rows(found, "random"), reference="random", boards=3).read_text()
    assert "<script" not in page
    assert "&lt;b&gt;best" in page
    assert name not in page
    assert page.count("favor +") == 6  # three by favor, three by choice
    assert "illegal 25%" in page
    svg = ElementTree.fromstring(drawn(found.visits[0].fen, {"e2e4": 1.0}, {"d2d4": 0.5, "a2a3": 0.01}))
    lines = [one for one in svg.iter() if "arrow" in one.attrib.get("class", "")]
    assert len(lines) >= 2  # of two moves; the third is too rare


@pytest.mark.stockfish
def test_evaluations_are_kept_and_are_the_same_again(tmp_path: Path) -> None:
    fens = [one.fen for one in visits([Game((*MATE_IN_ONE, "d8h4")), random_game(1, 12)])]
    with Judge(tmp_path / "e.sqlite", nodes=300) as judge:  # too few for all moves: completed to depth 1
        first = judge.scores(fens)
        assert judge.scores(fens) == first
    assert [set(row) for row in first] == [set(moves_of(fen)) for fen in fens]
    assert first[3]["d8h4"] == max(first[3].values()) > 0.99
    assert max(score for move, score in first[3].items() if move != "d8h4") < 0.9
    with Judge(nodes=300, threads=2) as judge:
        assert judge.scores(fens) == first
    with Judge(tmp_path / "e.sqlite", nodes=300, model="sf15.1") as judge:
        other = judge.scores(fens)
    assert other != first
    assert other[3]["d8h4"] == 1.0


@pytest.mark.stockfish
def test_what_was_judged_before_asks_no_engine(tmp_path: Path) -> None:
    fens = [chess.STARTING_FEN, chess.STARTING_FEN]
    with Judge(tmp_path / "e.sqlite", nodes=100) as judge:
        found = judge.scores(fens)
        while not judge._idle.empty():
            judge._idle.get().close()
        assert judge.scores(fens) == found  # would wait for ever for an engine


def test_a_judge_that_fails_is_started_anew_once(tmp_path: Path) -> None:
    with Judge(command=f"{FAKE} judge-dies-once {tmp_path / 'mark'}", nodes=1, deadline=20) as judge:
        (found,) = judge.scores([chess.STARTING_FEN])
    assert sorted(found, key=lambda move: found[move]) == moves_of(chess.STARTING_FEN)
    with Judge(command=f"{FAKE} judge-dies", nodes=1, deadline=20) as judge, pytest.raises(VerifierError, match="died"):
        judge.scores([chess.STARTING_FEN])


def test_what_cannot_judge(tmp_path: Path) -> None:
    (tmp_path / "e.sqlite").write_bytes(b"no database at all, but a text of some length" * 100)
    with pytest.raises(DataError, match="choose another file"):
        Judge(tmp_path / "e.sqlite", command=f"{FAKE} judge")
    with pytest.raises(ConfigError, match="a model among"):
        Judge(nodes=0)
    with Judge(command=f"{FAKE} judge") as judge, pytest.raises(DataError, match="a position in FEN"):
        judge.scores(["nonsense"])


@pytest.mark.stockfish
@pytest.mark.parametrize("vocabulary", ["moves", "characters"])
def test_the_command(tmp_path: Path, vocabulary: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run", CHARACTERS) if vocabulary == "characters" else run_folder(tmp_path / "run")
    (tmp_path / "games.pgn").write_text("".join(map(pgn_of, games(3, 8))))
    words = ["chess", "favor", str(tmp_path / "games.pgn"), "--run", str(run), "--temperatures", "0", "1.5"]
    words += ["--positions", "6", "--nodes", "200", "--draws", "5", "--out", str(tmp_path / "f")]
    assert command_line(words) == 0
    stored = json.loads((tmp_path / "f" / "favor.json").read_text())
    assert [row["name"] for row in stored["rows"]] == ["T 0", "T 1.5", "T 1"]
    assert stored["positions"] == 6
    assert "T 1.5" in capsys.readouterr().out
    before = (tmp_path / "f" / "favor.json").read_text()
    assert command_line(words) == 0
    assert (tmp_path / "f" / "favor.json").read_text() == before
    assert command_line([*words, "--player", "nobody"]) == 2
    assert "holds another result, player differ" in capsys.readouterr().err
    assert (tmp_path / "f" / "favor.json").read_text() == before
    assert command_line([*words, "--player", "nobody", "--out", str(tmp_path / "nobody")]) == 2
    assert "found none" in capsys.readouterr().err


def test_results_of_something_else_are_not_replaced(tmp_path: Path) -> None:
    path, wanted = tmp_path / "favor.json", {"seed": 0}
    refuse_other(path, wanted)
    for text, told in (("[1]", "no result"), ("{", "no result"), ('{"asked": {"seed": 1}}', "another result, seed")):
        path.write_text(text)
        with pytest.raises(DataError, match=told):
            refuse_other(path, wanted)
    path.write_text('{"asked": {"seed": 0}}')
    refuse_other(path, wanted)
    with pytest.raises(DataError, match="is a file; choose another folder"):
        refuse_other(path / "favor.json", wanted)
