"""The experiment in its tiny preset: figures that hang together, the same after an interruption, and a page."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surpass import report
from surpass.errors import ConfigError, ModelError
from surpass.experiments.incontext import PRESETS, main
from surpass.experiments.incontext_arms import Arm, Played
from surpass.experiments.incontext_table import final, regret, summary, terms_to_good
from surpass.store import Run

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "run")


def test_every_arm_has_its_figures(finished: Path) -> None:
    told = Run.open(finished).summary()
    kinds = [row["kind"] for row in told["arms"].values()]
    assert kinds.count("teacher") == 5
    assert kinds.count("model") == 4
    assert told["chosen"] in told["arms"]
    for row in told["arms"].values():
        assert row["final, unseen"] <= 100 * (1 - row["solve_rate"] * 0.9) + 1e-9 or row["solve_rate"] < 1
        assert 1 <= row["terms to 90, room"] <= TINY.terms + 1
    for group in ("seen", "unseen", "room"):
        rows = told["tables"][f"Against the best teacher, {group}"]["rows"]
        assert len(rows) == 4 * 3
        for _, _, teacher, gain, low, high, _ in rows:
            assert low <= gain <= high
            assert told["arms"][teacher]["kind"] == "teacher"


def test_the_same_cases_for_all_and_the_same_again(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "summary.json").unlink()
    shutil.rmtree(copy / "arms" / "climb-0")
    shutil.rmtree(copy / "arms" / "next 0-0")
    main(TINY, resume=copy)
    assert Run.open(copy).summary() == Run.open(finished).summary()


def test_the_page(finished: Path) -> None:
    page = report.write(finished).read_text()
    assert "best so far, unseen" in page
    assert "next 1" in page
    assert "Against the best teacher, unseen" in page


def played(*rows: tuple[float, ...]) -> Played:
    heights = np.array(rows)
    return Played(heights, np.maximum.accumulate(heights, axis=1))


def test_measures_by_hand() -> None:
    one = played((0.0, 0.95, 0.5), (0.2, 0.4, 0.3))
    assert regret(one) == pytest.approx([100 * (1 - 1.45 / 3), 70])
    assert final(one) == pytest.approx([5, 60])
    assert terms_to_good(one).tolist() == [2, 4]


def test_transcendence_is_told_from_its_absence_and_from_not_knowing() -> None:
    bad, good = played(*[(0.1, 0.2)] * 12), played(*[(0.8, 0.95)] * 12)
    mixed = played(*[(0.1, 0.2)] * 6, *[(0.8, 0.95)] * 6)
    entries = [Arm("teacher", "teacher", None), Arm("best 0", "model", None)]  # type: ignore[arg-type]

    def answer(teacher: Played, model: Played) -> str:
        groups = {
            name: dict.fromkeys(("seen", "unseen", "room"), one)
            for name, one in (("teacher", teacher), ("best 0", model))
        }
        rows = summary(groups, entries)["tables"]["Against the best teacher, unseen"]["rows"]
        assert rows[0][:3] == ["best 0", "regret", "teacher"]
        return str(rows[0][-1])

    assert answer(bad, good) == "transcends"
    assert answer(good, bad) == "falls short"
    assert answer(mixed, played(*[(0.8, 0.95)] * 6, *[(0.1, 0.2)] * 6)) == "undecided"


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    for wrong, error, message in (
        (replace(TINY, teachers=("climbs",)), ConfigError, "did you mean 'climb'"),
        (replace(TINY, weights=tmp_path / "none"), ModelError, "surpass economy policymaker"),
    ):
        with pytest.raises(error, match=message):
            main(wrong, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="temperatures: expected 0 or more"):
        replace(TINY, temperatures=(0.0, float("nan")))
    with pytest.raises(ConfigError, match="terms: expected 1 or more"):
        replace(TINY, terms=0)
    for field in ("held_out", "learned", "teachers", "temperatures"):
        with pytest.raises(ConfigError, match=f"{field}: expected .* found none"):
            replace(TINY, **{field: ()})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"held_out: expected some of bowl.* found waves, hills"):
        replace(TINY, held_out=("waves", "hills"))
