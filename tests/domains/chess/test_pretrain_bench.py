"""The benchmark of training: all three learn the same, and what it prints is what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surpass.domains.chess.blocks import Blocks
from surpass.domains.chess.pretrain_bench import BenchConfig, by_plain_loop, by_trainer, games, main
from surpass.errors import ConfigError


def test_all_ways_learn_the_same_tokens_to_the_same_loss(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    config = BenchConfig("tiny", rows=2, steps=3, rounds=1, json=path)
    report = main(config)
    assert report.largest_loss_difference < 1e-4
    assert set(report.tokens_per_second) == {"surpass", "plain loop", "Trainer", "surpass, games"}
    assert all(speed > 0 for speed in report.tokens_per_second.values())
    ours, *others = (report.tokens_per_second[name] for name in ("surpass", "plain loop", "Trainer"))
    assert report.ratio == pytest.approx(ours / max(others))
    assert json.loads(path.read_text())["ratio"] == report.ratio
    assert f"{report.ratio:.2f}" in "".join(str(cell) for cell in report.table().columns[2].cells)
    pack = games(2 * 3 * 64)
    plain, trainer = by_plain_loop(config, pack), by_trainer(config, pack)
    assert plain.losses[0] == pytest.approx(trainer.losses[0], abs=1e-3)  # before any decay
    assert plain.losses == pytest.approx(trainer.losses, abs=0.05)


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
