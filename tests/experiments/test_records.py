"""Where every experiment begins: a run goes on under the settings that it was made with, or is refused."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from surpass.errors import ConfigError, DataError
from surpass.experiments import EXPERIMENTS
from surpass.experiments.records import begin, units
from surpass.experiments.stored import restored, stored_config
from surpass.recorded import run_at


@dataclass(frozen=True)
class Config:
    """Settings of no experiment."""

    beta: float = 1.0
    corpus: Path = Path("corpora/basics")
    seeds: tuple[int, ...] = (0, 1)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (["a", "b"], tuple[Path, ...], (Path("a"), Path("b"))),
        ([[0.5, 1], []], tuple[tuple[float, ...], ...], ((0.5, 1), ())),
        ([1, 2.5], tuple[float, float] | None, (1, 2.5)),
        (None, tuple[float, float] | None, None),
    ],
)
def test_a_setting_is_read_back_as_it_was(value: object, hint: object, expected: object) -> None:
    assert restored(value, hint) == expected


def test_a_setting_of_another_kind_is_none() -> None:
    for value, hint in ((["x"], tuple[int, ...]), ([1.0], tuple[float, float]), (None, int)):
        with pytest.raises(TypeError, match="expected"):
            restored(value, hint)


def test_a_run_goes_on_under_its_own_settings(tmp_path: Path) -> None:
    out = tmp_path / "run"
    begin("toy", Config(), out=out, resume=None)
    with pytest.raises(DataError, match="already holds a run"):
        begin("toy", Config(), out=out, resume=None)
    before = (out / "config.json").read_bytes()
    with pytest.raises(ConfigError, match="other settings: beta differ"):
        begin("toy", Config(beta=2.0), out=None, resume=out, free=("seeds",))
    with pytest.raises(ConfigError, match="other settings: seeds differ"):
        begin("toy", Config(seeds=(0,)), out=None, resume=out)
    with pytest.raises(ConfigError, match="other settings: experiment differ"):
        begin("game", Config(), out=None, resume=out)
    assert begin("toy", Config(), out=None, resume=out).path == out
    assert (out / "config.json").read_bytes() == before
    more = replace(Config(), seeds=(0, 1, 2))
    begin("toy", more, out=None, resume=out, free=("seeds",))
    assert stored_config("toy", Config, out) == more  # and so whoever reads the folder knows of them


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_begins_there(name: str) -> None:
    assert vars(importlib.import_module(EXPERIMENTS[name]))["begin"] is begin


def test_a_part_is_opened_or_made(tmp_path: Path) -> None:
    run = run_at(tmp_path / "part", {"arm": "gfn", "seed": 0})
    assert run_at(tmp_path / "part", {"arm": "gfn", "seed": 0}) == run
    with pytest.raises(ConfigError, match="seed differ"):
        run_at(tmp_path / "part", {"arm": "gfn", "seed": 1})
    assert run_at(tmp_path / "part", {"arm": "gfn", "seed": 1}, free=("seed",)) == run


def test_a_seed_that_was_not_finished_is_no_unit(tmp_path: Path) -> None:
    for seed in (0, 1):
        kept = run_at(tmp_path / "search" / f"arm-{seed}", {"problems": 0})
        kept.append([])
        if seed == 0:
            kept.write_summary({"problems": 0})
    assert [one.seed for one in units(tmp_path, "arm")] == [0]
    assert [one.seed for one in units(tmp_path, "other")] == []
