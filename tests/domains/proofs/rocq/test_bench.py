from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from surpass.domains.proofs.rocq.bench import BRANCHING, LINEAR, LIVE, SHAPES, BenchConfig, main
from surpass.domains.proofs.rocq.rules import refusal
from tests.domains.proofs.rocq.lemmas import needs_rocq

pytestmark = needs_rocq


def test_every_tactic_reaches_the_prover() -> None:
    assert [refusal(tactic) for tactic in (*LINEAR, *BRANCHING)] == [None] * (len(LINEAR) + len(BRANCHING))


def test_a_small_run_measures_everything(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    report = main(BenchConfig(tactics=LIVE * 32, rounds=1, memory_tactics=40, workers=1, json=out))
    assert json.loads(out.read_text()) == asdict(report)
    assert set(report.rates) == {"bare_1", "domain", "runner_1"}
    assert set(report.ratios) == {"domain", "runner_1"}
    assert report.ratio_to_bare_protocol == min(one.per_second for one in report.ratios["runner_1"].values())
    assert 0.02 < report.ratio_to_bare_protocol < 50  # one short round on a machine that others use says little more
    for shape in SHAPES:
        expected = report.rates["domain"][shape].per_second / report.rates["bare_1"][shape].per_second
        assert report.ratios["domain"][shape].per_second == pytest.approx(expected, rel=0.01)
    assert 0 < report.memory["prover_start"] <= report.memory["prover_peak"] < 2000
    assert report.table().row_count == 6
