"""Experts err as they say, their games follow from the seed, and an engine that misbehaves costs no game."""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import chess
import pytest

from surpass import cli
from surpass.core import replay
from surpass.domains.chess import expert_games
from surpass.domains.chess.domain import Chess, pose
from surpass.domains.chess.expert_games import ExpertOptions, Match, Progress, opening, pairing, play, run
from surpass.domains.chess.experts import MATE, Part, choose, evaluations, find_stockfish, parse, phase_of
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.errors import ConfigError, DataError, VerifierError

ANY = Filter()
EASY = ("greedy epsilon=0.2 rating=900", "random name=dice")
ENDGAME = "8/5k2/8/8/8/2R5/3K4/8 w - - 0 60"


def scores(part: Part, played: Sequence[str]) -> Mapping[str, float]:
    """Stands for an engine: e2e4 is best, d2d4 is 100 centipawns worse."""
    return {"e2e4": 30.0, "d2d4": -70.0}


def draws(spec: str, board: chess.Board, number: int = 4000) -> Counter[str]:
    expert, rng = parse(spec), random.Random(7)
    return Counter(str(choose(expert, board, [], rng=rng, think=scores)) for _ in range(number))


def near(found: int, share: float, number: int = 4000) -> bool:
    return abs(found - share * number) < 5 * math.sqrt(number * share * (1 - share)) + 1


def test_a_spec_says_everything() -> None:
    expert = parse("  stockfish nodes=200  softmax=80 hash=2 name=soft | random weight=0.5 rating=1200")
    assert (expert.name, expert.rating, len(expert.parts)) == ("soft", 1200, 2)
    assert expert.parts[0] == Part("stockfish", nodes=200, softmax=80.0, hash=2)
    assert expert.parts[0].options == {"Threads": 1, "Hash": 2, "MultiPV": 500}
    assert expert.parts[1] == Part("random", weight=0.5)
    assert parse("stockfish skill=3").parts[0].options["Skill Level"] == 3
    assert parse("stockfish uci_elo=1500").parts[0].options["UCI_Elo"] == 1500
    assert parse("stockfish nodes=9").name == "stockfish nodes=9"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "begin with stockfish"),
        ("deep-blue", "begin with stockfish"),
        ("stockfish nodes", "expected key=value, found 'nodes'"),
        ("stockfish nodes=", "expected key=value"),
        ("stockfish nodes=many", "a number for nodes"),
        ("stockfish nodes=0", "nodes to be at least 1"),
        ("stockfish nodes=5 nodes=6", "given twice"),
        ("stockfish epsilon=1.5", "epsilon to be a probability"),
        ("stockfish epsilon=nan", "epsilon to be a probability"),
        ("stockfish phase=late", "phase to be one of"),
        ("stockfish resign=-5", "resign to be a number of centipawns"),
        ("greedy resign=500", "greedy has no 'resign'"),
        ("stockfish softmax=50", "softmax needs nodes"),
        ("stockfish skill=21", "0 to 20"),
        ("stockfish skill=1 uci_elo=1500", "give one of them"),
        ("random nodes=5", "random has no 'nodes'"),
        ("greedy | ", "begin with stockfish"),
        ("greedy rating=high", "rating from 1 to 9999"),
        ("greedy weight=0", "weight to be a number above 0"),
        ("greedy softmax=inf", "softmax to be a number"),
    ],
)
def test_a_spec_that_makes_no_sense_names_the_word(spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(spec)


def test_epsilon_is_the_probability_of_a_uniform_move() -> None:
    found = draws("stockfish epsilon=0.4", chess.Board())
    assert len(found) == 20
    assert near(found["e2e4"], 0.6 + 0.4 / 20)
    assert near(found["a2a3"], 0.4 / 20)
    assert draws("stockfish", chess.Board()) == Counter(e2e4=4000)
    assert near(draws("random", chess.Board())["e2e4"], 1 / 20)


def test_softmax_weighs_by_centipawns() -> None:
    found = draws("stockfish nodes=1000 softmax=100", chess.Board())
    assert set(found) == {"e2e4", "d2d4"}
    assert near(found["e2e4"], 1 / (1 + math.exp(-1)))
    cold = draws("stockfish nodes=1000 softmax=0.001", chess.Board())
    assert cold == Counter(e2e4=4000)


def test_a_mixture_is_the_mean_of_its_parts_at_every_position() -> None:
    found = draws("stockfish | random weight=3", chess.Board())
    assert near(found["e2e4"], 1 / 4 + 3 / 4 / 20)
    assert near(found["h2h4"], 3 / 4 / 20)


def test_an_expert_of_one_phase_errs_in_the_others() -> None:
    assert draws("stockfish phase=opening", chess.Board()) == Counter(e2e4=4000)
    assert near(draws("stockfish phase=endgame", chess.Board())["e2e4"], 1 / 20)
    assert near(draws("stockfish phase=endgame epsilon=0.5", chess.Board())["e2e4"], 0.5 + 0.5 / 20)
    late = chess.Board()
    late.fullmove_number = 11
    assert [phase_of(board) for board in (chess.Board(), late, chess.Board(ENDGAME))] == [
        "opening",
        "middlegame",
        "endgame",
    ]


def test_an_expert_resigns_where_its_own_search_sees_it_lost() -> None:
    board = chess.Board()
    (expert,) = (parse("stockfish nodes=50 resign=500"),)
    for behind, resigns in ((-499.0, False), (-500.0, True), (-MATE, True), (800.0, False)):
        seen = {"e2e4": behind, "d2d4": 900.0}  # the first one is what it would play; others may be of an earlier depth
        move = choose(expert, board, (), rng=random.Random(0), think=lambda *_, seen=seen: seen)
        assert (move is None) is resigns
    wild = parse("stockfish nodes=50 epsilon=1 resign=500")
    assert choose(wild, board, (), rng=random.Random(0), think=lambda *_: {"e2e4": -900.0}) is not None  # unseen


def test_greedy_takes_what_is_worth_most_and_mates_before_all() -> None:
    board = chess.Board("4k3/8/8/3q1r2/4P3/8/8/4K3 w - - 0 1")
    assert draws("greedy", board, 50) == Counter(e4d5=50)
    mate = chess.Board("6k1/5ppp/8/8/8/1q6/P7/4R2K w - - 0 1")
    assert draws("greedy", mate, 50) == Counter(e1e8=50)
    assert len(draws("greedy", chess.Board(), 400)) == 20  # ties are drawn
    promotion = chess.Board("8/P6k/8/8/8/8/7K/8 w - - 0 1")
    assert draws("greedy", promotion, 50) == Counter(a7a8q=50)


def test_an_engines_scores_are_on_one_scale_and_its_move_comes_first() -> None:
    found = evaluations("a2a3", {"e2e4": (50, None), "a2a3": (20, None), "b2b3": (None, 3), "c2c3": (None, -2)})
    assert list(found) == ["a2a3", "e2e4", "b2b3", "c2c3"]
    assert sorted(found, key=lambda move: found[move]) == ["c2c3", "a2a3", "e2e4", "b2b3"]
    assert evaluations("e2e4", {}) == {"e2e4": 0.0}


@pytest.mark.parametrize("bad", ["e2e5", "", "resign", "0000"])
def test_an_engines_illegal_move_is_trouble_and_not_played(bad: str) -> None:
    with pytest.raises(VerifierError, match="no legal move"):
        choose(parse("stockfish"), chess.Board(), [], rng=random.Random(0), think=lambda part, played: {bad: 0.0})


def test_colours_and_openings_are_even() -> None:
    pairs = [pairing(number, 3) for number in range(18)]
    assert Counter(pairs) == Counter({(one, two): 2 for one in range(3) for two in range(3)})
    line = opening(5, 0, 8)
    assert len(line) == 8
    assert line == opening(5, 0, 8) != opening(5, 1, 8)
    match = Match(tuple(map(parse, EASY)), 5, 8, 1.0, "")
    first = [play(match, number, scores).pgn for number in range(8)]
    begins = [" ".join(game.split("\n\n")[1].split()[:12]) for game in first]
    assert begins[0] == begins[1] == begins[2] == begins[3] != begins[4]


# Files of games


def options(folder: Path, games: int = 6, **others: object) -> ExpertOptions:
    return replace(ExpertOptions(folder / "games.pgn", EASY, games, jobs=1), **others)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bytes_whoever_plays(tmp_path: Path) -> None:
    texts = []
    for name, jobs, seed in (("a", 1, 0), ("b", 2, 0), ("c", 1, 1)):
        run(options(tmp_path, out=tmp_path / f"{name}.pgn", jobs=jobs, seed=seed))
        texts.append((tmp_path / f"{name}.pgn").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_the_games_read_back_with_their_tags(tmp_path: Path) -> None:
    progress = run(options(tmp_path, opening_plies=3))
    report = Report()
    games = list(read([tmp_path / "games.pgn"], ANY, report))
    assert report.kept == progress.games == 6
    assert not report.bad
    assert report.plies == progress.plies
    assert Counter((game.tags["White"], game.tags["Black"]) for game in games)["dice", "dice"] == 1
    assert {game.white_rating for game in games if game.tags["White"] != "dice"} == {900}
    assert {game.white_rating for game in games if game.tags["White"] == "dice"} == {None}
    assert [game.tags["Round"] for game in games] == [str(number) for number in range(1, 7)]
    assert (
        sum(progress.score(0))
        == sum(progress.score(1))
        == sum(game.tags["White"] != game.tags["Black"] for game in games)
    )
    won = sum(
        game.result == ("1-0" if game.tags["White"] == "dice" else "0-1")
        for game in games
        if (game.tags["White"] == "dice") != (game.tags["Black"] == "dice")
    )
    assert progress.score(1)[0] == won


def test_games_end_where_the_domain_says_and_not_before(tmp_path: Path) -> None:
    run(options(tmp_path, expert=("random",), games=4))
    ends = set()
    for game in read([tmp_path / "games.pgn"], ANY, Report()):
        verdict = replay(Chess(), pose(), game.moves).verdict
        assert verdict.evidence.endswith(f"{game.result} by {game.tags['Ending']}")
        ends.add(game.tags["Ending"])
    shuffle = Match((parse("stockfish"),), 0, 0, 1.0, "")  # knights go out and come back until the position repeats
    line = ["g1f3", "g8f6", "f3g1", "f6g8"]
    played = play(shuffle, 0, lambda part, moves: {line[len(moves) % 4]: 0.0})
    assert (played.plies, played.result) == (8, "1/2-1/2")
    assert '[Ending "threefold repetition"]' in played.pgn
    assert ends


def test_games_begin_from_the_position_asked_for(tmp_path: Path) -> None:
    """An ending with Black to move: the games replay from it, go on from it, and never mix with others."""
    start = "4k3/ppp5/8/8/8/8/5PPP/4K3 b - - 3 20"
    run(options(tmp_path, start=start, opening_plies=2))
    report = Report()
    games = list(read([tmp_path / "games.pgn"], ANY, report))
    assert report.kept == 6
    assert not report.bad
    for game in games:
        assert game.fen == start
        board = chess.Board(start)
        for move in game.moves:
            board.push_uci(move)
        assert board.is_game_over(claim_draw=True)
    before = (tmp_path / "games.pgn").read_bytes()
    run(options(tmp_path, games=8, start=start, opening_plies=2))
    assert (tmp_path / "games.pgn").read_bytes().startswith(before)
    with pytest.raises(DataError, match="start"):
        run(options(tmp_path, opening_plies=2))
    for wrong in ("nonsense", "4k3/8/8/8/8/8/8/8 w - - 0 1", "7k/6Q1/6K1/8/8/8/8/8 b - - 0 1"):
        with pytest.raises((ConfigError, DataError), match=r"FEN|position"):
            run(options(tmp_path, out=tmp_path / "other.pgn", start=wrong))


@pytest.mark.parametrize("killed", [1, 4])
def test_a_killed_run_goes_on_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int) -> None:
    whole = tmp_path / "whole.pgn"
    run(options(tmp_path, out=whole))
    save, calls = expert_games._save, 0

    def failing(path: Path, progress: Progress) -> None:
        nonlocal calls
        calls += 1
        if calls > killed:  # the game is in the file, what stands beside it does not know
            raise KeyboardInterrupt
        save(path, progress)

    monkeypatch.setattr(expert_games, "_save", failing)
    with pytest.raises(KeyboardInterrupt):
        run(options(tmp_path))
    monkeypatch.setattr(expert_games, "_save", save)
    with (tmp_path / "games.pgn").open("ab") as file:
        file.write(b'[Event "torn')
    assert run(options(tmp_path, games=5)).games == 5
    assert run(options(tmp_path)).games == 6  # and more games can be asked for
    assert (tmp_path / "games.pgn").read_bytes() == whole.read_bytes()


def test_nothing_is_overwritten_and_nothing_mixed(tmp_path: Path) -> None:
    run(options(tmp_path, games=2))
    path = tmp_path / "games.pgn"
    before = path.read_bytes()
    for other in ({"seed": 1}, {"opening_plies": 2}, {"expert": EASY[:1]}):
        with pytest.raises(DataError, match="was made with"):
            run(options(tmp_path, **other))
    (tmp_path / "mine.pgn").write_text("precious")
    with pytest.raises(DataError, match="nothing is overwritten"):
        run(options(tmp_path, out=tmp_path / "mine.pgn"))
    assert (tmp_path / "mine.pgn").read_text() == "precious"
    assert path.read_bytes() == before
    path.write_bytes(before[:-100])
    with pytest.raises(DataError, match="games are missing"):
        run(options(tmp_path))
    (tmp_path / "games.pgn.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        run(options(tmp_path))


def test_experts_without_chance_or_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leaves nothing to chance"):
        run(options(tmp_path, expert=("stockfish nodes=50", "random")))
    with pytest.raises(ConfigError, match="same name"):
        run(options(tmp_path, expert=("random", "random")))
    with pytest.raises(ConfigError, match="at least one expert"):
        run(options(tmp_path, expert=()))
    for wrong in (
        {"out": tmp_path / "games.txt"},
        {"games": -1},
        {"jobs": 0},
        {"seconds": 0.0},
        {"opening_plies": 101},
    ):
        with pytest.raises(ConfigError, match="expected"):
            options(tmp_path, **wrong)


def test_the_command_plays_and_says_who_won(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "games.pgn"
    words = ["chess", "experts", "--out", str(out), "--games", "4", "--jobs", "1"]
    assert cli.main([*words, "--expert", EASY[0], "--expert", EASY[1]]) == 0
    said = capsys.readouterr().out
    assert "greedy epsilon=0.2" in said
    assert f"4 games, {json.loads((tmp_path / 'new' / 'games.pgn.json').read_text())['plies']:,} half-moves" in said
    assert cli.main(words) == 2
    assert "--expert 'stockfish nodes=50 epsilon=0.3'" in capsys.readouterr().err


# Engines

FAKE = """#!{python}
import os, sys, time
import chess

board, fault, mark = chess.Board(), {fault!r}, {mark!r}
thought = 0
for line in sys.stdin:
    words = line.split()
    if words[0] == "uci":
        print("id name fake\\noption name Threads type spin\\noption name Hash type spin\\nuciok", flush=True)
    if words[0] == "isready":
        print("readyok", flush=True)
    if words[0] == "quit":
        break
    if words[0] == "position":
        board = chess.Board()
        for move in words[3:]:
            board.push_uci(move)
    if words[0] == "go":
        thought += 1
        if thought == 4 and fault and not (mark and os.path.exists(mark)):
            mark and open(mark, "w").close()
            if fault == "dies":
                sys.exit(3)
            if fault == "hangs":
                time.sleep(60)
            print("bestmove e1e5", flush=True)
            continue
        captures = sorted(move.uci() for move in board.legal_moves if board.is_capture(move))
        print("bestmove", (captures or sorted(move.uci() for move in board.legal_moves))[0], flush=True)
"""


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str, mark: str = "") -> None:
    """Put a program in Stockfish's place; with `mark` it has its fault once, otherwise in every process."""
    path = folder / f"fake-{fault}-{bool(mark)}"
    path.write_text(FAKE.format(python=sys.executable, fault=fault, mark=mark))
    path.chmod(0o755)
    monkeypatch.setattr(expert_games, "find_stockfish", lambda: str(path))


@pytest.mark.parametrize("fault", ["dies", "hangs", "cheats"])
def test_an_engine_that_fails_once_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    experts = ("stockfish epsilon=0.5", "random")
    fake(tmp_path, monkeypatch, "")
    run(options(tmp_path, out=tmp_path / "healthy.pgn", games=2, expert=experts))
    fake(tmp_path, monkeypatch, fault, str(tmp_path / "mark"))
    progress = run(options(tmp_path, games=2, expert=experts, seconds=3.0))
    assert (tmp_path / "mark").exists()
    assert not progress.lost
    assert (tmp_path / "games.pgn").read_bytes() == (tmp_path / "healthy.pgn").read_bytes()


def test_an_engine_that_always_fails_stops_the_run_and_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = ("random", "stockfish epsilon=0.2")
    fake(tmp_path, monkeypatch, "dies")
    with pytest.raises(VerifierError, match=r"3 games in a row were lost, the last to: .*died"):
        run(options(tmp_path, games=20, expert=experts))
    games = list(read([tmp_path / "games.pgn"], ANY, Report()))
    assert [game.tags["Round"] for game in games] == ["1"]  # of the two random players
    fake(tmp_path, monkeypatch, "")  # it works again: nothing is lost after all
    assert not run(options(tmp_path, games=4, expert=experts)).lost
    run(options(tmp_path, games=4, expert=experts, out=tmp_path / "healthy.pgn"))
    assert (tmp_path / "games.pgn").read_bytes() == (tmp_path / "healthy.pgn").read_bytes()


def test_single_games_that_are_lost_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two experts fails: of four games in turn the first succeeds, and of the rest no three come in a row."""
    fake(tmp_path, monkeypatch, "dies")
    progress = run(options(tmp_path, games=3, expert=("random", "stockfish epsilon=0.2")))
    assert [trouble.split(":")[0] for trouble in progress.lost] == ["game 2", "game 3"]
    assert (progress.games, progress.results.total()) == (3, 1)
    assert json.loads((tmp_path / "games.pgn.json").read_text())["games"] == 3


def test_without_stockfish_one_line_says_what_still_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(VerifierError, match="random and greedy do without"):
        run(options(tmp_path, expert=("stockfish epsilon=0.1",)))
    assert run(options(tmp_path, games=1)).games == 1


@pytest.mark.stockfish
def test_stockfish_experts_play_the_same_games_again(tmp_path: Path) -> None:
    experts = (
        "stockfish nodes=50 epsilon=0.3",
        "stockfish nodes=50 phase=opening epsilon=0.4 | greedy weight=0.2",
        "stockfish nodes=300 softmax=60",
    )
    for name, jobs in (("a", 1), ("b", 2)):
        run(options(tmp_path, out=tmp_path / f"{name}.pgn", jobs=jobs, expert=experts, games=6))
    assert (tmp_path / "a.pgn").read_bytes() == (tmp_path / "b.pgn").read_bytes()
    report = Report()
    assert len(list(read([tmp_path / "a.pgn"], ANY, report))) == 6
    assert not report.bad
    # one game alone is the same game: nothing of an earlier one is remembered
    match = Match(tuple(map(parse, experts)), 0, 0, 10.0, find_stockfish())
    seats = expert_games.Seats(match)
    try:
        assert seats.play(5).pgn in (tmp_path / "a.pgn").read_text()
    finally:
        seats.close()


@pytest.mark.stockfish
def test_stockfishs_own_levels_are_played_and_said_not_to_come_again(tmp_path: Path) -> None:
    progress = run(options(tmp_path, expert=("stockfish nodes=50 skill=0", "stockfish nodes=50 uci_elo=1400"), games=2))
    assert progress.games == 2
    assert not progress.made["reproducible"]
    assert progress.made["engine"].startswith("Stockfish")


@pytest.mark.stockfish
@pytest.mark.parametrize("limit", ["uci_elo=100", "hash=40000000 skill=2"])
def test_a_limit_that_stockfish_would_ignore_is_refused(tmp_path: Path, limit: str) -> None:
    with pytest.raises(ConfigError, match=r"(takes UCI_Elo from|1 to 65536)"):
        run(options(tmp_path, expert=(f"stockfish nodes=50 {limit}",)))
    assert not list(tmp_path.iterdir())


@pytest.mark.stockfish
def test_full_strength_beats_a_blunderer(tmp_path: Path) -> None:
    run(options(tmp_path, expert=("stockfish nodes=50 epsilon=0.01 name=good", "random name=bad"), games=8))
    games = list(read([tmp_path / "games.pgn"], ANY, Report()))
    between = [game for game in games if game.tags["White"] != game.tags["Black"]]
    assert all(game.result == ("1-0" if game.tags["White"] == "good" else "0-1") for game in between)
