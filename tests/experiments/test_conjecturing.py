"""The experiment on a small development of our own: whole, gone on with, and with wrong settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from surpass.errors import ConfigError
from surpass.experiments.conjecturing import PRESETS, main
from surpass.store import Run
from surpass.verify import verify_run
from tests.domains.proofs.rocq.developments import numbers

TINY = PRESETS["tiny"]


@pytest.mark.rocq
def test_every_arm_learns_from_as_many_tokens_and_is_measured_on_the_same_lemmas(tmp_path: Path) -> None:
    config = replace(TINY, corpus=numbers(tmp_path, tmp_path / "corpus"), high=1.0)
    folder = main(config, out=tmp_path / "run")
    summary = Run.open(folder).summary()
    assert set(summary["arms"]) == {"human", "proved", "barely"}
    assert set(summary["comparisons"]) == {"proved - human", "barely - human", "barely - proved"}
    made = summary["conjectures"]
    assert 0 < summary["barely"] <= made["proved"] <= made["conjectures"]
    ends = {arm: Run.open(folder / "train" / f"{arm}-0").summary() for arm in summary["arms"]}
    least = ends["human"]["gradient_tokens"]
    for end in ends.values():
        assert least <= end["gradient_tokens"] < 2 * least
    for row in summary["arms"].values():
        assert row["problems"] == len({one.problem.key for one in Run(folder / "search" / "human-0").trajectories()})
        assert row["steps"] <= config.test_calls
    checks = verify_run(folder / "conjectures")
    assert checks
    assert all(check.stands for check in checks)
    stated = {one.problem.data["goals"] for one in Run(folder / "search" / "human-0").trajectories()}
    found = [one.problem.data["goals"] for one in Run(folder / "conjectures" / "search" / "provers-0").trajectories()]
    assert not stated & set(found)  # nothing that is held out is learned from
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("state.pt")}
    main(config, resume=folder)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("state.pt")}
    assert Run.open(folder).summary()["arms"] == summary["arms"]


WRONG: list[dict[str, object]] = [
    {"arms": ()},
    {"arms": ("barely",)},
    {"arms": ("human", "other")},
    {"steps": 0},
    {"calls": 15},
    {"batch": 1},
    {"low": 0.9},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_settings_are_told(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        main(replace(TINY, **wrong), out=tmp_path / "run")  # type: ignore[arg-type]
