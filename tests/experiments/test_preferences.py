"""The experiment in its tiny preset: exact numbers that hang together, the same after an interruption."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from surpass.errors import ConfigError, DataError
from surpass.experiments import preferences
from surpass.experiments.preferences import PRESETS, main
from surpass.store import Run

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "run")


def test_a_run_ends_with_a_front_and_its_volume(finished: Path) -> None:
    summary = Run.open(finished).summary()
    rows, volume = summary["preferences"], summary["hypervolume"]
    assert [row["weights"] for row in rows] == [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    assert len({tuple(row["before"]) for row in rows}) == 1  # before, the weights say nothing to it
    assert [row["target"][0] for row in rows] == sorted(row["target"][0] for row in rows)
    assert all(0 <= row["total_variation"] <= 1 for row in rows)
    assert volume["before"] < volume["policy"] < volume["target"]
    assert volume["best_single"] <= volume["policy"]
    assert set(summary["front"]) <= {0, 1, 2}


def test_the_volume_is_that_of_the_front(finished: Path) -> None:
    """For two objectives by hand: strips of the staircase."""
    summary = Run.open(finished).summary()
    left = area = 0.0
    for x, y in sorted((row["target"][0], row["target"][1]) for row in summary["preferences"]):
        area += (x - left) * y
        left = x
    assert summary["hypervolume"]["target"] == pytest.approx(area)


def test_resuming_ends_in_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "summary.json").unlink()
    main(TINY, resume=copy)
    assert Run.open(copy).summary() == Run.open(finished).summary()


def test_wrong_settings_are_told(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "LISTED", 10)
    for wrong, message in (
        (replace(TINY, seeds=()), "a seed and a formula"),
        (replace(TINY, statements=("A ->",)), "A ->"),
        (replace(TINY, statements=("A -> ~ A -> B",)), "at most 10 trajectories"),
        (replace(TINY, parts=0), "parts >= 1"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            main(wrong, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="already holds a run"):
        main(TINY, out=finished)
