"""Matches on disk: what is written, what a resumed one plays, and what its table says."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.resources import files
from pathlib import Path

import pytest

from surpass.cli import main as command_line
from surpass.domains.chess import match as match_module
from surpass.domains.chess.anchors import known, measured
from surpass.domains.chess.arena import play
from surpass.domains.chess.expert_games import ExpertOptions
from surpass.domains.chess.expert_games import run as experts
from surpass.domains.chess.held import held
from surpass.domains.chess.match import Match, MatchOptions, main, schedule
from surpass.domains.chess.openings import random_openings
from surpass.domains.chess.players import player
from surpass.errors import ConfigError, DataError, VerifierError
from tests.domains.chess.test_engine import FAKE

PLAYERS = ("a=random", "b=random")


def options(folder: Path, **changes: object) -> MatchOptions:
    return MatchOptions(**{"player": PLAYERS, "games": 6, "out": folder, "max_plies": 40, **changes})  # type: ignore[arg-type]


def rounds(folder: Path) -> list[str]:
    return [line.split('"')[1] for line in (folder / "games.pgn").read_text().splitlines() if line.startswith("[Round")]


def games(folder: Path) -> set[str]:
    return set((folder / "games.pgn").read_text().split("[Event")[1:])


def played(wanted: MatchOptions) -> Match:
    with ExitStack() as stack:
        players = [player(spec, stack, deadline=20) for spec in wanted.player]
        found = Match.open(wanted, [one.name for one in players])
        found.play(players)
    return found


def test_a_match_is_paired_recorded_and_rated(tmp_path: Path) -> None:
    assert main(options(tmp_path / "m")) == 0
    assert sorted(map(int, rounds(tmp_path / "m"))) == list(range(1, 7))
    table = json.loads((tmp_path / "m" / "table.json").read_text())
    assert [one["name"] for one in table["lines"]] in (["a", "b"], ["b", "a"])
    assert table["games"] == 6
    assert sum(one["score"] for one in table["lines"]) == pytest.approx(1)
    assert "pairs of a" in table["notes"][0]


def test_an_interrupted_match_ends_as_it_would_have(tmp_path: Path) -> None:
    played(options(tmp_path / "whole"))
    whole = games(tmp_path / "whole")
    for kept in (0, 1, 700, 1500, len((tmp_path / "whole" / "games.pgn").read_bytes()) - 1):
        folder = tmp_path / f"cut{kept}"
        folder.mkdir()
        (folder / "match.json").write_bytes((tmp_path / "whole" / "match.json").read_bytes())
        (folder / "games.pgn").write_bytes((tmp_path / "whole" / "games.pgn").read_bytes()[:kept])
        played(options(folder, live=2))
        assert games(folder) == whole
        assert len(rounds(folder)) == 6  # none twice
    before = (tmp_path / "whole" / "games.pgn").read_bytes()
    played(options(tmp_path / "whole"))
    assert (tmp_path / "whole" / "games.pgn").read_bytes() == before


def test_every_game_is_on_disk_before_the_next_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[int]()
    original, fsync = play, os.fsync
    synced = list[int]()

    def watched(*args: object, **keywords: object) -> Iterator[object]:
        for game in original(*args, **keywords):  # type: ignore[arg-type]
            path = tmp_path / "m" / "games.pgn"
            seen.append(len(rounds(tmp_path / "m")) if path.exists() else 0)
            yield game

    def sync(handle: int) -> None:
        synced.append(handle)
        fsync(handle)

    monkeypatch.setattr(match_module, "play", watched)
    monkeypatch.setattr(os, "fsync", sync)
    played(options(tmp_path / "m", live=3))
    assert seen == list(range(6))
    assert len(synced) == 6


def test_a_failing_engine_stops_the_match_and_loses_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "died"
    broken = options(tmp_path / "m", player=("a=random", f"b=engine:{FAKE} dies-once {mark},nodes=1"), live=1)
    mark.touch()
    played(broken)
    whole = games(tmp_path / "m")
    always = options(tmp_path / "n", player=("a=random", f"b=engine:{FAKE} dies,nodes=1"), live=1)
    with pytest.raises(VerifierError, match="in a row"):
        played(always)
    record = (tmp_path / "n" / "games.pgn").read_text()
    assert record.count('[Termination "abandoned"]') == 2
    with suppress(VerifierError):
        main(always)
    table = json.loads((tmp_path / "n" / "table.json").read_text())
    assert (table["games"], table["failures"]) == (0, 2)
    assert "no ratings yet" in table["notes"][0]
    # the same match with an engine that works: what had no result is played, and counts once
    path = tmp_path / "n" / "match.json"
    path.write_text(path.read_text().replace(f"{FAKE} dies,", f"{FAKE} dies-once {mark},"))
    again = played(options(tmp_path / "n", player=broken.player, live=1))
    assert again.standing().games == 6
    assert again.standing().failures == 0
    assert games(tmp_path / "n") > whole


def test_a_match_may_grow_and_not_shrink(tmp_path: Path) -> None:
    played(options(tmp_path / "whole"))
    played(options(tmp_path / "grown", games=2))
    assert games(tmp_path / "grown") < games(tmp_path / "whole")
    played(options(tmp_path / "grown"))
    assert games(tmp_path / "grown") == games(tmp_path / "whole")
    assert (tmp_path / "grown" / "match.json").read_bytes() == (tmp_path / "whole" / "match.json").read_bytes()
    for other in ({"games": 4}, {"games": 8, "seed": 1}, {"games": 8, "opening_plies": 4}):
        with pytest.raises(ConfigError, match="holds another match"):
            Match.open(options(tmp_path / "grown", **other), ["a", "b"])


def test_two_processes_do_not_write_one_match(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    Match.open(options(folder), ["a", "b"])
    with held(folder / "games.pgn"), pytest.raises(ConfigError, match="another process is writing"):
        played(options(folder))
    played(options(folder))
    assert len(games(folder)) == 6
    with pytest.raises(ConfigError, match="another process is writing"), held(tmp_path / "e.pgn"):
        experts(ExpertOptions(tmp_path / "e.pgn", ("random",), 2, jobs=1))
    assert not (tmp_path / "e.pgn").exists()


def test_what_is_no_match_of_ours_is_refused(tmp_path: Path) -> None:
    played(options(tmp_path / "m"))
    with pytest.raises(ConfigError, match="seed differ"):
        played(options(tmp_path / "m", seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="something else"):
        played(options(tmp_path / "other"))
    record = tmp_path / "m" / "games.pgn"
    record.write_text('[Event "mine"]\n\n1. e4 *\n\n' + record.read_text())
    with pytest.raises(DataError, match="no match has written"):
        played(options(tmp_path / "m"))
    (tmp_path / "m" / "match.json").write_text("[1, 2")
    with pytest.raises(DataError, match="not JSON"):
        played(options(tmp_path / "m"))


@pytest.mark.parametrize(
    "changes",
    [
        {"player": ("random",)},
        {"player": ("random", "random")},
        {"games": 3},
        {"games": 0},
        {"live": 0},
        {"opening_plies": -1},
        {"deadline": float("nan")},
        {"start": "4k3/ppp5/8/8/8/8/5PPP/4K3 w - - 0 1", "openings": Path("book.pgn")},
        {"anchor": ("c=1000",)},
        {"anchor": ("a=nan",)},
        {"anchor": ("a",)},
        {"sprt": (5.0, 0.0)},
        {"sprt": (0.0, 5.0), "sprt_elo": "bayesian"},
        {"sprt": (0.0, 5.0), "player": ("a=random", "b=random", "c=random")},
    ],
)
def test_bad_options_are_config_errors(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        main(options(tmp_path / "m", **changes))
    assert not (tmp_path / "m").exists()


def test_measured_players_are_held_at_their_ratings(tmp_path: Path) -> None:
    wanted = options(tmp_path / "m", player=("r=random", "g=expert:greedy epsilon=0.5"), measured=True, max_plies=0)
    held_at = {one.name: one.elo for one in played(wanted).standing().lines}
    assert held_at["r"] == measured()["random"] < held_at["g"]
    page = files("surpass.domains.chess").joinpath("README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | {elo:.0f} |" in page for name, elo in measured().items())
    typed = ["x=random", "expert: greedy,threads=2", "expert:greedy epsilon=0.1"]
    assert known(typed, ["x", "g", "e"]) == {"x": measured()["random"], "g": measured()["greedy"]}
    assert set(known(["engine:stockfish,nodes=50", "model:random", "no player"], ["e", "m", "n"])) == set()
    with pytest.raises(ConfigError, match="found \\['a', 'c'\\]"):
        Match.open(options(tmp_path / "n", player=("a=model:RUN", "c=model:RUN"), measured=True), ["a", "c"])


@pytest.mark.parametrize(("gauntlet", "pairs"), [(False, 3), (True, 2)])
def test_schedules_play_each_opening_with_both_colours(tmp_path: Path, gauntlet: bool, pairs: int) -> None:
    wanted = options(tmp_path, player=("a", "b", "c"), games=4, gauntlet=gauntlet)
    found = schedule(wanted, random_openings(2))
    assert len(found) == 4 * pairs
    assert [one.round for one in found] == list(range(1, 4 * pairs + 1))
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert (first.white, first.black) == (second.black, second.white)
        assert (first.opening, first.unit) == (second.opening, second.unit)
    assert all(0 in (one.white, one.black) for one in found) == gauntlet


def test_a_sequential_test_stops_a_clear_match(tmp_path: Path) -> None:
    (tmp_path / "book.epd").write_text("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1\n")
    strong = f"s=engine:{FAKE},nodes=1"
    lost = f"w=engine:{FAKE} illegal,nodes=1"
    found = played(
        options(
            tmp_path / "m",
            player=(strong, lost),
            games=200,
            sprt=(0.0, 200.0),
            sprt_elo="logistic",
            live=2,
            openings=tmp_path / "book.epd",
        )
    )
    assert 10 < len(found.record) < 60
    assert "H1" in found.standing().notes[1]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["chess", "match", "--player", "a=random", "--player", "b=random", "--games", "2", "--max-plies", "20"]
    assert command_line([*words, "--out", str(tmp_path / "m"), "--anchor", "a=1000"]) == 0
    assert "1000" in capsys.readouterr().out
    assert command_line([*words, "--out", str(tmp_path / "m"), "--seed", "3"]) == 2
    assert "another match" in capsys.readouterr().err
