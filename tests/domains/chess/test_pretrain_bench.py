"""The benchmark of training: all three learn the same, and what it prints is what it measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from surpass.domains.chess.blocks import Blocks
from surpass.domains.chess.pretrain_bench import (
    BenchConfig,
    Round,
    by_plain_loop,
    by_surpass,
    by_trainer,
    games,
    main,
    reported,
)
from surpass.domains.chess.shards import Pack
from surpass.errors import ConfigError


def measured(way: Callable[..., list[float]], config: BenchConfig, pack: Pack) -> tuple[list[float], list[float]]:
    """Return the seconds of each step but the first, here and not in a process of its own, and the losses."""
    times = [time.perf_counter()]
    losses = way(config, pack, lambda: times.append(time.perf_counter()))
    return np.diff(times)[1:].tolist(), losses


def test_all_ways_learn_the_same_tokens_to_the_same_loss() -> None:
    config = BenchConfig("tiny", rows=2, steps=3)
    pack = games(2 * 3 * 64)
    ways: dict[str, Callable[..., list[float]]] = {
        "surpass": partial(by_surpass, boundaries="stream"),
        "plain loop": by_plain_loop,
        "Trainer": by_trainer,
        "surpass, games": partial(by_surpass, boundaries="games"),
    }
    found = {name: measured(way, config, pack) for name, way in ways.items()}
    assert {len(seconds) for seconds, _ in found.values()} == {2}
    losses = {name: losses for name, (_, losses) in found.items()}
    assert losses["surpass"] == pytest.approx(losses["plain loop"], abs=1e-4)
    assert losses["plain loop"][0] == pytest.approx(losses["Trainer"][0], abs=1e-3)  # before any decay
    assert losses["plain loop"] == pytest.approx(losses["Trainer"], abs=0.05)


def test_the_ratio_is_to_the_faster_of_the_others() -> None:
    config, losses = BenchConfig("tiny", rows=2, steps=3), {"surpass": [2.0, 1.0, 1.0], "plain loop": [2.0, 1.0, 0.5]}
    rounds: list[Round] = []
    for slower in (1.0, 1.21):
        seconds = {"surpass": 1.0, "plain loop": 1.5, "Trainer": slower * 1.25, "surpass, games": 1.0}
        rounds.append(({name: np.full(2, value) for name, value in seconds.items()}, losses))
    report = reported(config, games(2 * 3 * 64), rounds)
    assert report.better == "Trainer"
    assert report.ratio == pytest.approx(1.25 * 1.1)
    assert report.ratio_interval == pytest.approx((1.25, 1.25 * 1.21))
    assert report.tokens_per_second["surpass"] > report.tokens_per_second["Trainer"] > 0
    assert report.largest_loss_difference == 0.5
    assert "1.375 (1.250 to 1.512)" in [str(cell) for cell in report.table().columns[2].cells]


@pytest.mark.slow
def test_the_whole_measurement_in_processes(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    report = main(BenchConfig("tiny", rows=2, steps=3, rounds=1, json=path))
    assert report.largest_loss_difference < 1e-4
    assert json.loads(path.read_text())["ratio"] == report.ratio > 0


def test_games_are_made_for_a_pack() -> None:
    pack = games(1000)
    assert pack.game(0).moves
    assert Blocks(pack, 64, "stream", "all").targets >= 1000


def test_a_preset_of_characters_is_refused() -> None:
    for config in (BenchConfig("50m"), BenchConfig("nothing")):
        with pytest.raises(ConfigError, match="reads moves"):
            main(config)
    with pytest.raises(ConfigError, match="steps: expected 2 or more, found 1"):
        main(BenchConfig(steps=1))
