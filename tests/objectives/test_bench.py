from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from surpass.errors import ConfigError
from surpass.objectives.bench import BenchConfig, main


@pytest.mark.slow
def test_two_passes_are_exact_and_need_no_more_memory_for_a_larger_group(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    report = main(BenchConfig(groups=(4, 32), json=out))
    rows = json.loads(out.read_text())
    assert [row["group"] for row in rows] == [4, 32]
    assert all(0 <= row["max_relative_difference"] <= 1e-5 for row in rows)
    two, one = (rows[1][f"peak_mb_{passes}_pass"] - rows[0][f"peak_mb_{passes}_pass"] for passes in ("two", "one"))
    assert two < 40 < one  # MB; the graph of 28 more actions is over 100
    assert report.table().row_count == 3


@pytest.mark.parametrize(
    "change", [{"groups": ()}, {"groups": (4, 1)}, {"tokens": 1}, {"micro_batch": 0}, {"size": "huge"}]
)
def test_sizes_that_cannot_be_measured_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected 2 or more|expected 1 or more|Unknown model preset"):
        main(BenchConfig(**change))
