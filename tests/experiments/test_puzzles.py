"""`surpass run puzzles` in its tiny preset: a model and others, by band; the same after an interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from surpass.cli import main as command_line
from surpass.store import Run
from tests.domains.chess.puzzle_maker import ladders, mates_in_one, write
from tests.domains.chess.tiny import run_folder

OTHERS = ("--players", "chance=random", "greedy=expert:greedy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("puzzles")
    path = write(folder / "p.csv", [*mates_in_one(6), {**ladders()[0], "Rating": "?"}, *ladders()])
    words = ["run", "puzzles", "--preset", "tiny", "--path", str(path), "--model", str(run_folder(folder / "model"))]
    assert command_line([*words, *OTHERS, "--out", str(folder / "run")]) == 0
    return folder / "run", words


def test_rates_by_band_and_player(finished: tuple[Path, list[str]]) -> None:
    summary = Run.open(finished[0]).summary()
    assert list(summary["arms"]) == ["T 0.001", "T 1", "chance", "greedy"]
    assert summary["rows"]["read"] == 9
    assert summary["rows"]["bad"] == {"no rating": 1}
    greedy = summary["arms"]["greedy"]
    assert greedy["kinds"]["history"]["solve_rate"] == 1.0  # mates before all
    assert greedy["kinds"]["no history"]["problems"] == 2
    assert greedy["solve_rate"] == pytest.approx(
        sum(one["solve_rate"] * one["problems"] for one in greedy["bands"].values()) / 8
    )
    for arm in summary["arms"].values():
        assert arm["ci95"][0] <= arm["solve_rate"] <= arm["ci95"][1]
        assert sum(one["problems"] for one in arm["bands"].values()) == arm["problems"] == 8
        assert arm["failures"] == 0
    assert summary["arms"]["T 1"]["illegal_moves"] > 0  # an untrained model, raw, with five tries
    assert summary["arms"]["chance"]["illegal_moves"] == 0
    assert "greedy" in (finished[0] / "figure.svg").read_text()


def test_resuming_plays_what_is_missing(finished: tuple[Path, list[str]], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    first, second = sorted((copy / "attempts").iterdir())[:2]
    kept = first.stat().st_mtime_ns
    for gone in (copy / "summary.json", second):
        gone.unlink()
    assert command_line(["run", "puzzles", "--resume", str(copy)]) == 0
    assert Run.open(copy).summary() == Run.open(finished[0]).summary()
    assert first.stat().st_mtime_ns == kept
    assert second.exists()


def test_the_report_shows_it(finished: tuple[Path, list[str]]) -> None:
    assert command_line(["report", str(finished[0])]) == 0
    page = (finished[0] / "report.html").read_text()
    assert "T 0.001" in page
    assert "puzzles solved" in page


def test_what_is_wrong_is_one_message(
    finished: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "bad.csv", [{**ladders()[0], "FEN": "x"}])
    for words, said in (
        (["--players", "random"], "--path FILE.csv"),
        (["--path", str(path)], "to solve them"),
        (["--path", str(path), "--players", "random"], "holds no puzzle"),
        (["--path", str(tmp_path / "no.csv"), "--players", "random"], "cannot read"),
        (["--path", finished[1][5], "--players", "somebody"], "expected a player"),
        (["--puzzles", "0"], "1 or more"),
    ):
        assert command_line(["run", "puzzles", *words, "--out", str(tmp_path / "run")]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    damaged = min((copy / "attempts").iterdir())
    damaged.write_text("{")
    assert command_line(["run", "puzzles", "--resume", str(copy)]) == 2
    assert "is damaged" in capsys.readouterr().err
    shutil.copy(finished[0] / "attempts" / damaged.name, damaged)
    stored = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**stored, "puzzles": 3}))
    assert command_line(["run", "puzzles", "--resume", str(copy)]) == 2
    assert "other puzzles" in capsys.readouterr().err
