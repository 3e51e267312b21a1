from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from surpass.errors import ConfigError
from surpass.rollouts.trace import Event
from surpass.search.bench import BATCHED, CACHED, ONE, BenchConfig, Way, _median, _merged, _ratio, main


def test_a_small_run_measures_every_way(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    report = main(BenchConfig(problems=4, width=4, expansions=3, size="tiny", steps=2, threads=1, json=out))
    assert json.loads(out.read_text()) == asdict(report)
    one, batched, cached = (report.ways[name] for name in (ONE, BATCHED, CACHED))
    assert one.model_batch == 1 < batched.model_batch == cached.model_batch <= 4
    assert one.expansions == batched.expansions == cached.expansions == 12
    assert one.reused == batched.reused == 0 < cached.reused < 1
    assert report.agreement == 1
    assert 0 <= report.merged < 1
    assert report.remembered is None
    assert all(0 <= share <= 1 for way in report.ways.values() for share in (way.model_share, way.verifier_utilisation))
    assert report.table().row_count == 3


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    def ways(*seconds: float) -> list[Way]:
        return [Way(taken, taken / 2, 12, 12 / taken, 24 / taken, 1.0, 0.8, 0.1, 0.0, 4) for taken in seconds]

    found = {ONE: ways(4.0, 9.0, 8.0), CACHED: ways(1.0, 3.0, 1.0)}
    assert _ratio(found, CACHED, ONE, lambda way: way.expansions_per_second) == 4
    assert _ratio(found, CACHED, ONE, lambda way: way.seconds) == 0.25
    assert _median(found[ONE]) == ways(8.0)[0]


def test_a_state_that_its_own_search_knew_is_merged() -> None:
    def node(key: str, status: str = "open") -> Event:
        return {"key": key, "status": status}

    def reached(problem: str, *pairs: Event) -> Event:
        return {"problem": problem, "kind": "apply", "pairs": list(pairs)}

    events = [
        {"problem": "p", "kind": "start", **node("a")},
        {"problem": "q", "kind": "start", **node("b")},
        {"problem": "p", "kind": "propose", "observations": [], "answers": []},
        reached("p", node("a"), node("b"), node("b"), node("a", "rejected"), node(""), node("")),  # two of these
        reached("q", node("a"), node("c", "accepted")),
    ]
    assert _merged(events) == 0.25
    assert _merged([]) == 0


def test_flags_that_do_not_fit_are_refused() -> None:
    for flags in ({"problems": 0}, {"workers": -1}, {"domain": "rocq"}, {"corpus": Path("x")}):
        with pytest.raises(ConfigError):
            BenchConfig(**flags)
