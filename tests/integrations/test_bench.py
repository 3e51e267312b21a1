from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra [trl]: pip install 'surpass[trl]'")

from surpass.conformance import check_domain
from surpass.errors import ConfigError
from surpass.integrations.bench import BenchConfig, Sums, main

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
SMALL = BenchConfig(sft_steps=4, steps=2, prompts=2, completions=4, max_new=6, rounds=1)


def test_the_sums_keep_the_contracts_of_a_domain() -> None:
    check_domain(Sums(), "train")


def test_losses_agree_with_those_of_trl_and_all_arms_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")  # TRL counts its users, but not in tests
    path = tmp_path / "numbers.json"
    report = main(BenchConfig(**{**SMALL.__dict__, "json": path}))
    assert report.sft_max_loss_difference < 1e-5
    found = json.loads(path.read_text())
    assert set(found["samples_per_second"]) == {"trl", "surpass", "gflownet"}
    assert all(speed > 0 for speed in found["samples_per_second"].values())
    assert all(1 <= length <= 6 for length in found["tokens_per_sample"].values())
    assert found["ratio"] == pytest.approx(found["samples_per_second"]["surpass"] / found["samples_per_second"]["trl"])
    assert report.table().row_count == 3


def test_numbers_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ConfigError, match="prompts: expected fewer than 64, found 64"):
        main(BenchConfig(prompts=64))
