"""The experiment on files of our own: what loads, what is solved, what a resumed run repeats."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from surpass.errors import ConfigError, DataError
from surpass.experiments.minif2f import PRESETS, Config, main
from surpass.store import Run
from surpass.verify import verify_run

FILES = {
    "easy": "Theorem easy : forall A : Prop, A -> A.\nProof.\nAdmitted.\n",
    "arithmetic": "Theorem arithmetic : forall n : nat, n + 2 > 1.\nProof.\nQed.\n",
    "hard": "Theorem hard : forall A B : Prop, A -> B.\nAdmitted.\n",
    "broken": "Require Import No.Such.Library.\nTheorem broken : True.\nAdmitted.\n",
    "two": "Lemma one : True /\\ True.\nAdmitted.\nLemma two : 1 = 2.\nAdmitted.\n",
}


def benchmark(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / f"{name}.v").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.rocq
def test_files_are_loaded_attempted_and_told_apart(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    config = replace(Config(), path=benchmark(tmp_path / "files"), tactics=("auto.", "intros; Lia.lia."), jobs=1)
    config = replace(config, tactic_seconds=60)  # no verdict may depend on how busy the machine is
    folder = main(config, out=tmp_path / "run")
    summary = Run.open(folder).summary()
    rows = summary["by_file"]
    assert {file: (row["loaded"], row["automation"]) for file, row in rows.items()} == {
        "arithmetic.v": (1, 1),
        "broken.v": (0, 0),
        "easy.v": (1, 1),
        "hard.v": (1, 0),
        "two.v": (2, 1),
    }
    assert "No.Such.Library" in rows["broken.v"]["not_loaded"][0]
    assert (summary["files"], summary["files_loaded"]) == (5, 4)
    assert summary["arms"]["automation"]["solved"] == 3
    assert summary["automation_by_tactic"] == {"auto.": 2, "intros; Lia.lia.": 1}
    assert summary["checked"] == {"proofs": 3, "standing": 3, "unknown": 0}
    assert [one.stands for one in verify_run(folder)] == [True] * 3
    kept = [path.stat().st_mtime_ns for path in (folder / "search" / "automation-0" / "checkpoint").iterdir()]
    main(config, resume=folder)
    assert kept == [path.stat().st_mtime_ns for path in (folder / "search" / "automation-0" / "checkpoint").iterdir()]
    assert Run.open(folder).summary()["by_file"] == rows
    record = folder / "files" / "hard.v.json"  # the lemma as it was loaded is not the lemma that Rocq states now
    record.write_text(record.read_text(encoding="utf-8").replace("A -> B", "B -> A"), encoding="utf-8")
    shutil.rmtree(folder / "search")
    main(config, resume=folder)
    summary = Run.open(folder).summary()
    assert summary["arms"]["automation"]["solved"] == 3  # one file does not end the run
    assert summary["arms"]["automation"]["unknown"] == 1


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--path DIR"):
        main(replace(PRESETS["tiny"], path=tmp_path), out=tmp_path / "run")
    with pytest.raises(ConfigError, match="--tactics"):
        main(replace(PRESETS["tiny"], path=tmp_path, tactics=()), out=tmp_path / "run")
