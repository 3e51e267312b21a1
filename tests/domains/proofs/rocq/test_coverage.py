"""A small development with one of each: whole files, files that stop, that cannot be read, that are copies."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from surpass import cli
from surpass.domains.proofs.rocq import coverage
from surpass.domains.proofs.rocq.coverage import Coverage, CoverageConfig, FileCoverage, ProofCoverage, cover
from surpass.errors import DataError
from tests.domains.proofs.rocq.lemmas import needs_rocq

FILES = {
    "A.v": """Axiom ax : 1 = 2.
Lemma a : True /\\ True.
Proof. split; exact I. Qed.
Lemma b : 2 = 1. Proof. symmetry. exact ax. Qed.
Definition d : nat. Proof. exact 1. Defined.
Lemma c : 4 = 4. Admitted.
Lemma e : 4 = 4. Proof. Opaque plus. reflexivity. Qed.
Tactic Notation "only" "bare" := exact I.
Ltac pick := match goal with |- _ = _ => reflexivity end.
Lemma f : 5 = 5. Proof. pick. Qed.
""",
    "sub/B.v": """Require Import Mine.A.
Lemma a2 : True. Proof. exact I. Qed.
Lemma bad : 1 = 3.
Proof.
  reflexivity.
Qed.
Lemma later : True. Proof. exact I. Qed.
""",
    "sub/C.v": "Lemma x : True. Proof. exact I. Qed.\n(* no end",
    "E.v": "Require Import Nowhere.\nLemma n : True. Proof. exact I. Qed.\n",
    "_build/default/A.v": "Lemma copied : True. Proof. exact I. Qed.\n",
    "_CoqProject": "-R . Mine\n-arg -w -arg none\nA.v\nsub/B.v\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("development")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "sub" / "D.v").write_bytes(b"\xff\xfe")
    return root


@needs_rocq[0]
@needs_rocq[1]
class TestAgainstTheProver:
    def test_every_file_and_proof_is_accounted_for(
        self, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        subprocess.run(["coqc", "-R", ".", "Mine", "A.v"], cwd=project, check=True, timeout=60)
        out = tmp_path / "coverage.json"
        assert cli.main(["proofs", "coverage", str(project), "--jobs", "1", "--json", str(out)]) == 0
        told = json.loads(out.read_text())
        fates = {
            file["top"]: [(one["name"], one["line"], one["fate"]) for one in file["proofs"]] for file in told["files"]
        }
        assert fates == {
            "Mine.A": [
                ("a", 2, "replays"),
                ("b", 4, "replays"),
                ("d", 5, "skipped"),
                ("c", 6, "skipped"),
                ("e", 7, "skipped"),
                ("f", 10, "replays"),
            ],
            "Mine.E": [("n", 2, "unreached")],
            "Mine.sub.B": [("a2", 2, "replays"), ("bad", 3, "unreached"), ("later", 7, "unreached")],
            "Mine.sub.C": [],
            "Mine.sub.D": [],
        }
        stops = {file["top"]: file["stops"] for file in told["files"]}
        assert stops["Mine.A"] == ""
        assert stops["Mine.E"].startswith("line 1, 'Require Import Nowhere.")
        assert "Cannot find a physical path" in stops["Mine.E"]
        assert stops["Mine.sub.B"].startswith("line 5, 'reflexivity.")
        assert "the comment that begins on line 2" in stops["Mine.sub.C"]
        assert "utf-8" in stops["Mine.sub.D"]
        assert told["totals"] == {
            "files": 5,
            "whole files": 1,
            "replays": 4,
            "differs": 0,
            "skipped": 3,
            "unreached": 3,
        }
        shown = " ".join(capsys.readouterr().out.split())
        assert "1 of 5 files run to their end; 10 proofs: replays 4, differs 0, skipped 3, unreached 3" in shown
        assert "skipped 1: sentence that no policy may say: Opaque is a command, not a tactic; first e" in shown

    def test_one_file(self, tmp_path: Path) -> None:
        file = tmp_path / "One.v"
        file.write_text("Lemma a : True.\nProof. exact I. Qed.\nLemma b : 1 = 1.\nProof. all:reflexivity. Qed.\n")
        found = cover(CoverageConfig(str(file), jobs=1, timeout=2))
        assert [one.top for one in found.files] == ["One"]
        assert [one.fate for one in found.files[0].proofs] == ["replays", "replays"]

    def test_a_proof_that_differs_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "One.v"
        file.write_text("Lemma a : True.\nProof. exact I. Qed.\n")
        monkeypatch.setattr("surpass.domains.proofs.rocq.domain.as_sentence", lambda action: "fail.")
        (proof,) = cover(CoverageConfig(str(file), jobs=1)).files[0].proofs
        assert (proof.name, proof.fate) == ("a", "differs")
        assert "failure" in proof.reason

    def test_an_interrupt_leaves_what_there_is(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(futures: object) -> object:
            raise KeyboardInterrupt

        monkeypatch.setattr(coverage, "as_completed", interrupted)
        found = cover(CoverageConfig(str(project), jobs=1))
        assert not found.complete
        assert found.files == ()


def test_a_path_without_sources_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected .v files"):
        cover(CoverageConfig(str(tmp_path)))


def test_many_files_are_added_up_by_folder() -> None:
    proofs = (ProofCoverage("a", 1, "replays"), ProofCoverage("b", 2, "skipped", "Admitted."))
    files = tuple(
        FileCoverage(f"{index}.v", f"Lib.f{index % 3}.F{index}", 4, 4 - index % 2, "line 3" * (index % 2), proofs, 1.0)
        for index in range(60)
    )
    found = Coverage("rocq 8", "lib", True, files)
    assert found.table().row_count == 3
    assert Coverage("rocq 8", "lib", True, files[:5]).table().row_count == 5
    assert found.totals == {"files": 60, "whole files": 30, "replays": 60, "differs": 0, "skipped": 60, "unreached": 0}
    assert len(found.reasons()) == 31
    assert found.reasons()[-1] == "skipped 60: Admitted.; first b (Lib.f0.F0:2)"
