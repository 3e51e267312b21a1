"""The benchmark, tiny: that it counts what it says it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from surpass.domains.economy.bench import BenchConfig, main
from surpass.errors import ConfigError


def test_the_benchmark_measures_simulators_and_learners_against_baselines(tmp_path: Path) -> None:
    config = BenchConfig(
        games=8, steps=4, reference_steps=4, rounds=1, json=tmp_path / "economy.json", seeds=2, harvest_steps=5
    )
    config = replace(config, room_episodes=3)
    report = main(config)
    assert report.table().row_count == 4
    told = json.loads((tmp_path / "economy.json").read_text())
    assert set(told["steps_per_second"]) == {"harvest", "cleanup"}
    for name, rate in told["steps_per_second"].items():
        assert rate > 0
        assert told["ratio"][name] == pytest.approx(rate / told["reference_steps_per_second"][name], rel=0.1, abs=0.1)
    assert set(told["principal_step_seconds"]) == {"harvest", "escape_room"}
    for name, seconds in told["principal_step_seconds"].items():
        ratio = told["alone_principal_step_seconds"][name] / seconds
        assert told["principal_step_ratio"][name] == pytest.approx(ratio, rel=0.01, abs=0.01)


def test_nothing_to_measure_is_refused_by_name() -> None:
    for field in ("games", "seeds", "room_episodes"):
        with pytest.raises(ConfigError, match=field):
            BenchConfig(**{field: 0})  # type: ignore[arg-type]
