"""The benchmark, tiny: that it counts what it says it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surpass.domains.economy.bench import BenchConfig, main
from surpass.errors import ConfigError


def test_the_benchmark_measures_both_commons_against_the_reference(tmp_path: Path) -> None:
    config = BenchConfig(games=8, steps=4, reference_steps=4, rounds=1, json=tmp_path / "economy.json")
    report = main(config)
    assert report.table().row_count == 2
    told = json.loads((tmp_path / "economy.json").read_text())
    assert set(told["steps_per_second"]) == {"harvest", "cleanup"}
    for name, rate in told["steps_per_second"].items():
        assert rate > 0
        assert told["ratio"][name] == pytest.approx(rate / told["reference_steps_per_second"][name], rel=0.1, abs=0.1)


def test_nothing_to_measure_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="games"):
        BenchConfig(games=0)
