"""The experiment in its tiny preset, on the kernel and on Rocq: whole, resumed, and with wrong settings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from surpass.core import Observation, Proposal, Status, Step, Verdict
from surpass.errors import ConfigError, DataError
from surpass.experiments.proof_flow import PRESETS, Config, main
from surpass.experiments.proof_flow_arms import demonstrations
from surpass.experiments.proof_flow_data import opened, prover
from surpass.store import Run
from surpass.verify import verify_run

KERNEL = replace(PRESETS["tiny"], prover="kernel", arms=("base", "sft", "gfn", "sft_continued", "gfn_paper"))
FIELDS = {"problems", "solved", "solve_rate", "ci95", "distinct_proofs", "pass_at_k"}
COSTS = {"proposals", "steps", "seconds", "seeds"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(KERNEL, out=tmp_path_factory.mktemp("runs") / "kernel")


def test_a_run_ends_with_every_arm_its_costs_and_a_page(finished: Path) -> None:
    summary = Run.open(finished).summary()
    assert set(summary["arms"]) == {*KERNEL.arms, *KERNEL.sources} - {"hammer"}
    for arm in summary["arms"].values():
        assert arm.keys() >= FIELDS | COSTS
        assert arm["problems"] == KERNEL.test_problems
        assert arm["ci95"][0] <= arm["solve_rate"] <= arm["ci95"][1]
        assert arm["proposals"] <= KERNEL.width * KERNEL.expansions
    assert summary["checked"]["proofs"] == summary["checked"]["standing"]
    assert "gfn - sft" in summary["comparisons"]
    assert "<table" in (finished / "report.html").read_text(encoding="utf-8")


def test_compute_is_matched_and_recorded(finished: Path) -> None:
    compute = Run.open(finished).summary()["compute"]
    assert compute["gfn"]["sampled_tokens"] > 0 == compute["sft"]["sampled_tokens"]
    steps = Run.open(finished / "train" / "sft_continued-0").summary()["step"]
    expected = KERNEL.sft_steps * compute["gfn"]["gradient_tokens"] / compute["sft"]["gradient_tokens"]
    assert steps == max(1, round(expected))


def test_the_buffer_asks_a_fresh_checker(finished: Path) -> None:
    rows = Run.open(finished / "train" / "gfn-0").metrics()
    assert all(row["replay_waiting"] == row["replay_refused"] == 0 for row in rows)
    found = {(t.problem.key, t.actions) for t in Run.open(finished / "train" / "gfn-0").trajectories() if t.solved}
    assert rows[-1]["replay_admitted"] == len(found)


def test_stored_successes_stand(finished: Path) -> None:
    checks = verify_run(finished)
    assert checks
    assert all(check.stands for check in checks)


def test_held_out_problems_are_never_learned_from(finished: Path) -> None:
    with opened(KERNEL) as data:
        learned = {problem.key for problem in data.train}
        known = demonstrations(data, finished)
        assert not learned & {problem.key for problem in (*data.test, *data.valid)}
        assert known.keys() <= learned
        assert all(t.verdict.status is Status.ACCEPTED for found in known.values() for t in found)


def test_resuming_repeats_only_what_is_missing(finished: Path, tmp_path: Path) -> None:
    """A copy that lost the last arm, and half of a record, ends as the whole run did."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    before = Run.open(finished).summary()
    for path in (copy / "summary.json", copy / "search" / "gfn-0" / "summary.json", copy / "samples" / "base-0"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    kept = (copy / "train" / "gfn-0" / "trajectories.jsonl").stat().st_mtime_ns
    main(KERNEL, resume=copy)
    after = Run.open(copy).summary()
    for arm, row in before["arms"].items():
        assert {name: row[name] for name in FIELDS} == {name: after["arms"][arm][name] for name in FIELDS}
    assert (copy / "train" / "gfn-0" / "trajectories.jsonl").stat().st_mtime_ns == kept


def test_a_success_that_a_fresh_checker_refuses_does_not_count(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    record = Run(copy / "search" / "base-0")
    first, *rest = record.trajectories()
    lie = Step(Observation("a goal"), Proposal("exact nothing"))
    forged = replace(first, steps=(lie,), verdict=Verdict(Status.ACCEPTED, (1.0,), "kernel 1; T3"))
    record.rewrite([forged, *rest])
    before = Run.open(copy).summary()
    (copy / "summary.json").unlink()
    main(KERNEL, resume=copy)
    after = Run.open(copy).summary()
    assert after["checked"]["proofs"] == before["checked"]["proofs"] + 1
    assert after["checked"]["standing"] == before["checked"]["standing"]
    assert after["arms"]["base"]["solved"] == before["arms"]["base"]["solved"]
    assert next(record.trajectories()).verdict.status is Status.REJECTED


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arms": ("base", "gfn")}, "sft before gfn"),
        ({"arms": ("gfn",)}, "sft before gfn"),
        ({"arms": ("sft", "base")}, "base first"),
        ({"arms": ("gfn", "sft")}, "sft before gfn"),
        ({"arms": ("sft", "sft_continued")}, "gfn before sft_continued"),
        ({"arms": ("sfd",)}, "found sfd"),
        ({"sources": ("hammmer",)}, "found hammmer"),
        ({"seeds": ()}, "at least one seed"),
        ({"model": "no/such/model/here"}, "no/such/model/here"),
    ],
)
def test_wrong_settings_are_told(wrong: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError, RuntimeError), match=message):
        main(replace(KERNEL, **wrong), out=tmp_path / "run")  # type: ignore[arg-type]


def test_without_rocq_the_kernel_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert prover(Config()) == "kernel"
    assert prover(replace(Config(), prover="rocq")) == "rocq"  # asked for by name, it is not replaced
    with opened(replace(PRESETS["tiny"], prover="auto")) as data:
        assert data.prover == "kernel"


def test_a_run_is_not_overwritten(finished: Path) -> None:
    with pytest.raises(DataError, match="already holds a run"):
        main(KERNEL, out=finished)


@pytest.mark.rocq
def test_the_tiny_preset_proves_with_rocq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = replace(PRESETS["tiny"], prover="rocq", arms=("base", "sft", "gfn"))
    folder = main(config, out=tmp_path / "run")
    summary = Run.open(folder).summary()
    assert summary["prover"] == "rocq"
    assert summary["arms"]["neighbours"]["solved"] > 0
    assert summary["checked"]["proofs"] == summary["checked"]["standing"] > 0
    rows = [json.loads(line) for line in (folder / "train" / "gfn-0" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == config.gfn_steps
    assert isinstance(Config().corpus, Path)
