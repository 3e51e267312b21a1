"""The benchmark of the arena, small: that it counts what it plays and writes what it shows."""

import json
from pathlib import Path

from surpass.domains.chess.bench import BenchConfig, main


def test_a_small_measurement(tmp_path: Path) -> None:
    config = BenchConfig(
        games=4, batched_games=2, single_games=1, plies=20, width=40, layers=1, rounds=2, json=tmp_path / "b.json"
    )
    found = main(config)
    assert {name: row.moves for name, row in found.rows.items()} == {"cached": 48, "batched": 24, "one by one": 12}
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["ratio_to_one_by_one"] == found.rows["cached"].ratio > 0
    assert found.rows["one by one"].ratio == 1.0
    assert found.table().row_count == 3
