from __future__ import annotations

import json
from pathlib import Path

from surpass.domains.proofs.rocq.bench import BRANCHING, FILES, LINEAR, BenchConfig, main
from surpass.domains.proofs.rocq.rules import check_action
from tests.domains.proofs.rocq.lemmas import needs_rocq

pytestmark = needs_rocq


def test_every_tactic_reaches_the_prover() -> None:
    assert [check_action(tactic) for tactic in (*LINEAR, *BRANCHING)] == [None] * (len(LINEAR) + len(BRANCHING))


def test_a_small_run_measures_everything(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    report = main(BenchConfig(tactics=FILES * 32, memory_tactics=40, workers=1, json=out))
    assert json.loads(out.read_text()) == report
    assert set(report["rates"]) == {"bare", "domain", "runner_1"}  # type: ignore[call-overload]
    ratio = report["ratio_to_bare_protocol"]
    assert isinstance(ratio, float)
    assert 0.02 < ratio < 2
    memory = report["memory"]
    assert isinstance(memory, dict)
    assert 0 < memory["prover_start"] <= memory["prover_peak"] < 2000
