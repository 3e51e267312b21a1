"""The experiment in its tiny preset: whole, resumed, equal cost, wrong settings."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from surpass import cli
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import ConfigError
from surpass.experiments.search_training import ARMS, MEASURES, PRESETS, main
from surpass.store import Run

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "run")


def test_all_arms_use_the_same_number_of_calls(finished: Path) -> None:
    summary = Run.open(finished).summary()
    assert set(summary["arms"]) == set(ARMS)
    for row in summary["arms"].values():
        assert TINY.calls <= row["verifier_steps"] < TINY.calls + 120  # the step that reaches the cap is finished
        assert 0 <= row["success"] <= 1
        assert 0 <= row["total_variation"] <= 1
    assert set(summary["comparisons"]["gfn_search - gfn"]) == set(MEASURES)


def test_what_is_learned_from_search_shows(finished: Path) -> None:
    """Every arm proves more often than the uniform policy that it started from."""
    leaves = trajectories(Kernel(), pose(TINY.statements[0]), TINY.horizon)
    start = sum(math.exp(sum(step.proposal.logp or 0.0 for step in leaf.steps)) for leaf in leaves if leaf.solved)
    rows = Run.open(finished).summary()["arms"]
    for arm in ARMS:
        assert rows[arm]["success"] > start + 0.1, arm


def test_replay_holds_what_search_has_found(finished: Path) -> None:
    found = [one for one in Run.open(finished / "train" / "gfn_search-0").trajectories() if one.solved]
    assert any("expansions" in one.info for one in found)
    assert Run.open(finished / "train" / "gfn_search-0").metrics()[-1]["replay_size"] > 0
    assert not any("expansions" in one.info for one in Run.open(finished / "train" / "gfn-0").trajectories())


def test_resuming_trains_only_what_is_missing(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    before = Run.open(copy).summary()
    shutil.rmtree(copy / "train" / "visits-0")
    kept = (copy / "train" / "gfn-0" / "metrics.jsonl").stat().st_mtime_ns
    main(TINY, resume=copy)
    assert Run.open(copy).summary() == before
    assert (copy / "train" / "gfn-0" / "metrics.jsonl").stat().st_mtime_ns == kept


def test_other_settings_do_not_go_on(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "search_training", "--resume", str(finished), "--beta", "2"]) == 2
    assert "other settings: beta differ" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"arms": ("dfs",)}, {"arms": ()}, {"calls": 0}, {"samples": 1}, {"seeds": ()}])
def test_wrong_settings_are_told(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        main(replace(TINY, **wrong), out=tmp_path / "run")  # type: ignore[arg-type]
