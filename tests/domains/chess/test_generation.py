"""The next generation's games: openings of the model's own, what is kept, and going on after an interruption."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import chess
import pytest

from surpass.cli import main as command_line
from surpass.domains.chess.arena import Player
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.domains.chess.generation import GenerationOptions, generate, openings
from surpass.domains.chess.model_player import ModelPlayer
from surpass.domains.chess.openings import read_openings
from surpass.domains.chess.players import player
from surpass.domains.chess.shards import open_pack
from surpass.errors import ConfigError, DataError
from tests.domains.chess.tiny import CHARACTERS, run_folder


def options(folder: Path, **changes: object) -> GenerationOptions:
    run = folder / "run"
    if not run.exists():
        run_folder(run)
    asked = {"run": run, "out": folder / "g", "games": 8, "legal": True, "max_plies": 60, "temperature": 1.0}
    return GenerationOptions(**{**asked, "results": ("1/2-1/2", "1-0", "0-1"), **changes})  # type: ignore[arg-type]


def test_openings_are_the_models_own_and_different(tmp_path: Path) -> None:
    found = openings(options(tmp_path, games=40, opening_plies=5))
    assert len(found) == len(set(found)) == 20
    for moves in found:
        board = chess.Board()
        for move in moves:
            board.push_uci(move)
        assert len(moves) == 5
    assert openings(options(tmp_path, games=40, opening_plies=5)) == found
    assert openings(options(tmp_path, games=40, opening_plies=5, seed=1)) != found
    assert openings(options(tmp_path, opening_plies=0)) == [()]
    assert len(openings(options(tmp_path, games=100, opening_plies=1))) == 20  # there are no more


def test_games_are_played_from_them_and_kept_by_how_they_end(tmp_path: Path) -> None:
    asked = options(tmp_path, games=6, max_plies=400)
    pack, report = generate(asked)
    book = {one.moves for one in read_openings(asked.out / "openings.pgn")}
    games = list(read([asked.out / "match" / "games.pgn"], Filter(duplicates=False), Report()))
    assert len(games) == 6
    assert all(game.moves[:8] in book for game in games)
    kept = [game for game in games if game.tags["Termination"] == "normal"]
    assert kept
    assert len(pack) == report.kept == len(kept)
    assert {pack.game(number).moves for number in range(len(pack))} == {game.moves for game in kept}
    again, _ = generate(asked)
    assert again.index == pack.index
    for changed in ({"opening_plies": 6}, {"start": "4k3/ppp5/8/8/8/8/5PPP/4K3 w - - 0 1"}):
        with pytest.raises(ConfigError, match="openings of another"):
            generate(replace(asked, **changed))


def test_draws_adjudications_and_forfeits_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["chess", "generation", "--run", str(options(tmp_path).run), "--games", "4", "--opening-plies", "2"]
    assert command_line([*words, "--out", str(tmp_path / "short"), "--max-plies", "12", "--legal"]) == 1
    assert "ended by adjudication" in capsys.readouterr().out
    assert command_line([*words, "--out", str(tmp_path / "raw"), "--temperature", "1"]) == 1  # untrained: all illegal
    assert "ended by rules infraction" in capsys.readouterr().out
    assert len(open_pack(tmp_path / "raw" / "pack")) == 0


def test_a_model_resigns_where_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = options(tmp_path, games=2, opening_plies=2, max_plies=8)
    seen = list[bool]()

    def noted(spec: str, stack: ExitStack) -> Player:
        found = player(spec, stack)
        assert isinstance(found.policy, ModelPlayer)
        seen.append(found.policy.choice.resigns)
        return found

    monkeypatch.setattr("surpass.domains.chess.generation.player", noted)
    for resigns in (False, True):
        generate(replace(asked, resign=resigns, out=tmp_path / f"resign-{resigns}"))
    assert seen == [False, False, True, True]


def test_a_model_of_characters_packs_characters(tmp_path: Path) -> None:
    run_folder(tmp_path / "run", CHARACTERS)
    pack, _ = generate(options(tmp_path, games=2, opening_plies=2, max_plies=400))
    assert pack.vocabulary == CHARACTERS


def test_games_from_another_position_begin_there(tmp_path: Path) -> None:
    start = "4k3/ppp5/8/8/8/8/5PPP/4K3 b - - 0 1"
    asked = options(tmp_path, games=4, opening_plies=3, start=start, max_plies=400)
    pack, report = generate(asked)
    assert all(one.fen == start and len(one.moves) == 3 for one in read_openings(asked.out / "openings.pgn"))
    games = list(read([asked.out / "match" / "games.pgn"], Filter(duplicates=False), Report()))
    assert {game.fen for game in games} == {start}
    assert report.kept == len(pack) == sum(game.tags["Termination"] == "normal" for game in games) > 0
    with pytest.raises(DataError, match="a position in FEN"):
        options(tmp_path, start="nowhere")


def test_what_makes_no_sense_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ({"games": 3}, {"games": 0}, {"temperature": -1.0}, {"opening_plies": -1}):
        with pytest.raises(ConfigError, match="expected an even number"):
            options(tmp_path, **wrong)
    with pytest.raises(ConfigError, match="expected an even number"):
        options(tmp_path, temperature=math.nan)
    with pytest.raises(ConfigError, match="--resign goes with --legal"):
        options(tmp_path, legal=False, resign=True)
    with pytest.raises(ConfigError, match="--live of 1 or more"):
        options(tmp_path, live=0)
    with pytest.raises(ConfigError, match="expected outcomes among"):
        options(tmp_path, results=("2-0",))
    monkeypatch.setattr("surpass.domains.chess.generation._drawn", lambda *_: [("e2e4",)])
    with pytest.raises(DataError, match="knows 1 openings"):
        openings(options(tmp_path))
