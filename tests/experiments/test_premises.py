"""The experiment on three files of our own: whole, resumed, and with wrong settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from surpass.errors import ConfigError, DataError
from surpass.experiments import premises, proof_flow
from surpass.experiments.premises import PRESETS, RANKS, main
from surpass.store import Run
from tests.domains.proofs.rocq.test_premises import build

TINY = replace(PRESETS["tiny"], ks=(1, 5))


@pytest.mark.rocq
def test_every_goal_is_held_out_once_and_a_finished_fold_is_kept(tmp_path: Path) -> None:
    for name in ("library", "corpus"):
        (tmp_path / name).mkdir()
    config = replace(TINY, corpus=build(tmp_path / "library", tmp_path / "corpus"))
    folder = main(config, out=tmp_path / "run")
    summary = Run.open(folder).summary()
    assert summary["goals"] == 3  # one of `uses_hidden`, two of `late`
    assert set(summary["recalls"]) == set(RANKS)
    for row in summary["recalls"].values():
        assert 0 <= row["recall@1"]["mean"] <= row["recall@5"]["mean"] <= 1
        assert row["recall@1"]["ci95"][0] <= row["recall@1"]["mean"] <= row["recall@1"]["ci95"][1]
    assert set(summary["differences"]["fused - bm25"]) == {"recall@1", "recall@5"}
    kept = (folder / "fold-0.json").stat().st_mtime_ns
    (folder / "fold-1.json").unlink()
    main(config, resume=folder)
    assert (folder / "fold-0.json").stat().st_mtime_ns == kept
    assert Run.open(folder).summary()["recalls"] == summary["recalls"]


def test_a_misspelt_corpus_is_not_extracted(tmp_path: Path) -> None:
    nowhere = tmp_path / "nothere"
    for experiment, config in ((premises, TINY), (proof_flow, replace(proof_flow.PRESETS["tiny"], prover="rocq"))):
        with pytest.raises(DataError, match=r"expected a whole corpus in .*nothere, found none"):
            experiment.main(replace(config, corpus=nowhere), out=tmp_path / "run" / experiment.__name__)
    assert not nowhere.exists()


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"goals": 0}, {"ks": ()}, {"ks": (0,)}])
def test_wrong_settings_are_told(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(folds|goals|ks): expected"):
        main(replace(TINY, **wrong), out=tmp_path / "run")  # type: ignore[arg-type]
