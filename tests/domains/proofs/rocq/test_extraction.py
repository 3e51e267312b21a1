from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from surpass import cli
from surpass.core import Problem, Status, replay
from surpass.domains.proofs.rocq import extraction
from surpass.domains.proofs.rocq.corpus import load
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.extraction import (
    ExtractConfig,
    ExtractReport,
    FileReport,
    Replay,
    extract,
    is_complete,
    logical_name,
    project_options,
    sources,
)
from surpass.domains.proofs.rocq.protocol import Toplevel
from surpass.domains.proofs.rocq.sentences import Sentence
from surpass.domains.proofs.rocq.walk import is_statement
from surpass.errors import ConfigError, DataError, VerifierError

rocq = [
    pytest.mark.rocq,
    pytest.mark.skipif(shutil.which("coqidetop.opt") is None, reason="needs coqidetop.opt: apt-get install coq"),
]

FIRST = """
Axiom ax : 1 = 2.
Axiom unused : 1 = 3.
Lemma conj_comm (A B : Prop) : A /\\ B -> B /\\ A.
Proof.
  intros [a b]. split.
  - exact b.
  - exact
      a.
Qed.
Lemma with_auto : True /\\ 0 = 0. Proof with auto. split... Qed.
Lemma by_term : 2 = 2. Proof eq_refl.
Definition opaque : 3 = 3. Proof. reflexivity. Qed.
Definition content : nat. Proof. exact 0. Defined.
Class C := c : nat. #[global] Instance inst : C. Proof. exact 0. Qed.
Lemma commands : 4 = 4. Proof. Opaque plus. reflexivity. Qed.
Lemma given : 5 = 5. Admitted.
Goal 6 = 6. reflexivity. Qed.
Set Nested Proofs Allowed.
Lemma outer : 7 = 7. Proof. Lemma inner : 8 = 8. Proof. reflexivity. Qed. exact eq_refl. Qed.
Section s. Let local : 9 = 9. Proof. reflexivity. Qed. Variable v : nat.
  Lemma sectioned : v = v. Proof. reflexivity. Qed. End s.
Section t. Let local : 10 = 10. Proof. reflexivity. Qed. End t.
Module Type Sig. Parameter t : Set. Axiom inhabitant : t. End Sig.
Module Functor (S : Sig with Definition t := nat).
  Lemma there : exists n : nat, n = S.inhabitant. Proof. eexists. reflexivity. Qed.
End Functor.
Module Alias := Functor.
Lemma last : 2 = 1. Proof. symmetry. exact ax. Qed.
"""
BROKEN = "Lemma fine : True. Proof. exact I. Qed. Lemma broken : False. Proof. exact I. Qed."
KEPT = ["conj_comm", "with_auto", "by_term", "opaque", "local@", "sectioned", "local@", "Functor.there", "last"]
SKIPPED = {
    "transparent definition: Definition": 1,
    "no lemma: Instance": 1,
    "sentence that no policy may say: Opaque is a command, not a tactic": 1,
    "Admitted.": 1,
    "no lemma: Goal": 1,
    "nested proof": 1,
}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExtractConfig, ExtractReport]:
    root = tmp_path_factory.mktemp("library")
    root.joinpath("sub").mkdir()
    root.joinpath("sub", "First.v").write_text(FIRST, encoding="utf-8")
    root.joinpath("Broken.v").write_text(BROKEN, encoding="utf-8")
    config = ExtractConfig(path=str(root), name="Lib", out=str(root / "out"), jobs=2)
    return config, extract(config)


def lemmas(config: ExtractConfig) -> dict[str, Problem]:
    return {problem.key.removeprefix("Lib.sub.First."): problem for problem in load(config.out)}


class TestAgainstTheProver:
    pytestmark = rocq

    def test_what_is_kept_and_why_the_rest_is_not(self, extracted: tuple[ExtractConfig, ExtractReport]) -> None:
        config, report = extracted
        assert [key.rstrip("0123456789") if "@" in key else key for key in lemmas(config)] == KEPT
        assert report.skipped == SKIPPED
        assert report.lemmas == len(KEPT)
        broken, first = report.files
        assert (broken.lemmas, broken.top, first.failed) == (0, "Lib.Broken", "")
        assert "expected sentence 6, 'exact I.', to run" in broken.failed
        manifest = json.loads(Path(config.out, "manifest.json").read_text(encoding="utf-8"))
        assert [file["lemmas"] for file in manifest["files"]] == [0, len(KEPT)]
        assert manifest["checker"].startswith("rocq ")

    def test_a_record_is_the_human_proof_with_the_goals_before_each_sentence(
        self, extracted: tuple[ExtractConfig, ExtractReport]
    ) -> None:
        data = lemmas(extracted[0])["conj_comm"].data
        assert data["solution"] == ["intros [a b].", "split.", "-", "exact b.", "-", "exact a."]
        assert data["goals"] == data["steps"][0] == "A, B : Prop\n|- A /\\ B -> B /\\ A"
        assert data["steps"][1] == "A, B : Prop\na : A\nb : B\n|- B /\\ A"
        assert len(data["steps"]) == len(data["solution"])
        assert (data["position"], data["opening"], data["closing"]) == (2, "Proof.", "Qed.")
        assert (data["top"], data["options"][2]) == ("Lib.sub.First", "Lib")
        assert lemmas(extracted[0])["by_term"].data["solution"] == ["exact (eq_refl)."]

    def test_assumptions_are_those_of_the_proofs_of_the_module(
        self, extracted: tuple[ExtractConfig, ExtractReport]
    ) -> None:
        found = {key: problem.data["assumptions"] for key, problem in lemmas(extracted[0]).items()}
        assert found.pop("Functor.there") == ["S.inhabitant"]
        assert all(names == ["Lib.sub.First.ax"] for names in found.values())

    def test_human_proofs_are_accepted_where_they_stand_and_cut_ones_are_not(
        self, extracted: tuple[ExtractConfig, ExtractReport]
    ) -> None:
        problems = load(extracted[0].out)
        with Rocq(problems) as domain:
            for problem in problems:
                solution = problem.data["solution"]
                assert replay(domain, problem, solution).solved, problem.key
                assert replay(domain, problem, solution[:-1]).verdict.status is Status.REJECTED

    def test_finished_files_are_not_replayed_until_they_change(
        self, extracted: tuple[ExtractConfig, ExtractReport], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config, report = extracted
        replayed = list[str]()

        def recorded(top: Toplevel, sentences: Sequence[Sentence], library: str, stop: threading.Event) -> Replay:
            replayed.append(library)
            return Replay([], [], None)

        monkeypatch.setattr(extraction, "replay_file", recorded)
        assert extract(config).files[1] == report.files[1]
        assert replayed == ["Lib.Broken"]
        file = Path(config.path, "sub", "First.v")
        record = Path(config.out, "files", "Lib.sub.First.jsonl").read_bytes()
        before = file.stat()
        try:
            os.utime(file, (0, 0))
            extract(config)
        finally:
            Path(config.out, "files", "Lib.sub.First.jsonl").write_bytes(record)
            Path(config.out, "files", "Lib.Broken.jsonl").unlink()
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert replayed == ["Lib.Broken", "Lib.sub.First"]

    def test_an_interrupt_leaves_finished_files_and_the_manifest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, lines in (("Long", 3), ("Short", 1)):
            tmp_path.joinpath(f"{name}.v").write_text(
                "Lemma l : True. Proof. exact I. Qed.\n" * lines, encoding="utf-8"
            )

        def interrupted(top: Toplevel, sentences: Sequence[Sentence], library: str, stop: threading.Event) -> Replay:
            if library.endswith("Short"):
                raise KeyboardInterrupt
            return Replay([], [], None)

        monkeypatch.setattr(extraction, "replay_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(ExtractConfig(path=str(tmp_path), name="Lib", out=str(tmp_path / "out"), jobs=1))
        assert [file.name for file in tmp_path.joinpath("out", "files").iterdir()] == ["Lib.Long.jsonl"]
        manifest = json.loads(tmp_path.joinpath("out", "manifest.json").read_text(encoding="utf-8"))
        assert [file["top"] for file in manifest["files"]] == ["Lib.Long"]
        assert not is_complete(tmp_path / "out")
        monkeypatch.undo()
        extract(ExtractConfig(path=str(tmp_path), name="Lib", out=str(tmp_path / "out"), jobs=1))
        assert is_complete(tmp_path / "out")

    def test_comments_hide_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "A.v").write_text(
            "Module (* x *) M. (* y *)\n#[local] (* z *) Lemma (* why *) odd (* := *) : 1 = 1.\n"
            "Proof (* . *) .\n  idtac; (* now *) reflexivity. Qed (* end *) . End (* x *) M.\n"
            "Definition (* opaque *) d : 2 = 2. Proof (* by *) eq_refl (* term *). Goal (* no *) True. exact I. Qed.",
            encoding="utf-8",
        )
        report = extract(ExtractConfig(path=str(tmp_path / "A.v"), out=str(tmp_path / "out"), jobs=1))
        found = {one.data["name"]: one.data["solution"] for one in load(tmp_path / "out")}
        assert found == {"A.M.odd": ["idtac; reflexivity."]}
        assert report.skipped == {"transparent definition: Definition": 1, "no lemma: Goal": 1}
        with Rocq(tmp_path / "out") as domain:
            [problem] = load(tmp_path / "out")
            assert replay(domain, problem, problem.data["solution"]).solved

    def test_where_every_file_fails_there_is_no_corpus(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        binary, out = tmp_path / "bin.v", tmp_path / "corpus"
        binary.write_bytes(b"\xff\xfe\x00")
        assert cli.main(["proofs", "extract", "--path", str(binary), "--out", str(out)]) == 2
        assert not is_complete(out)
        assert cli.main(["proofs", "coverage", str(binary)]) == 2
        assert capsys.readouterr().out.count("expected Rocq source in") == 2

    def test_the_installed_library_is_found(self) -> None:
        found = {source.top: source for source in sources(ExtractConfig())}
        if not found:
            pytest.skip("the sources of the standard library are not installed")
        assert found["Coq.Init.Logic"].noinit
        assert not found["Coq.Lists.List"].noinit
        folders = {source.top.split(".")[1] for source in sources(ExtractConfig(subset="basics"))}
        assert folders == {"Logic", "Bool", "Arith", "Lists"}
        with pytest.raises(ConfigError, match=r"basics or folders among .*Arith.*'Nonsense'"):
            sources(ExtractConfig(subset="Nonsense"))


def test_sources_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        sources(ExtractConfig(path=str(tmp_path)))
    for name in ("b/C", "A"):
        tmp_path.joinpath(f"{name}.v").parent.mkdir(exist_ok=True)
        tmp_path.joinpath(f"{name}.v").touch()
    assert [s.top for s in sources(ExtractConfig(path=str(tmp_path), name="L"))] == ["L.A", "L.b.C"]
    assert [s.top for s in sources(ExtractConfig(path=str(tmp_path), name="L", subset="b"))] == ["L.b.C"]
    assert len(sources(ExtractConfig(path=str(tmp_path), limit=1))) == 1
    with pytest.raises(ConfigError, match="--path"):
        sources(ExtractConfig(library="mathlib"))


def test_project_options_come_from_the_nearest_project(tmp_path: Path) -> None:
    tmp_path.joinpath("_CoqProject").write_text(
        '-Q "src" Lib # why\n-R . All\n-arg "-w none"\nsrc/A.v\n', encoding="utf-8"
    )
    deep = tmp_path / "src" / "deep"
    deep.mkdir(parents=True)
    options = project_options(deep)
    assert options == ("-Q", str(tmp_path / "src"), "Lib", "-R", str(tmp_path), "All", "-w", "none")
    assert logical_name(deep / "A.v", options) == "Lib.deep.A"
    assert logical_name(tmp_path / "B.v", options) == "All.B"
    assert logical_name(Path("/else/odd-name.v"), options) == "odd_name"


@pytest.mark.parametrize("text", [b'-Q "src Lib', b'-arg "-w \'none"', b"-R \xff Lib"])
def test_a_damaged_project_is_told(text: bytes, tmp_path: Path) -> None:
    tmp_path.joinpath("_CoqProject").write_bytes(text)
    with pytest.raises(DataError, match="_CoqProject"):
        project_options(tmp_path)


def test_a_corpus_cannot_be_where_a_file_is(tmp_path: Path) -> None:
    for name in ("A.v", "corpus"):
        tmp_path.joinpath(name).touch()
    with pytest.raises(ConfigError, match="--out"):
        extract(ExtractConfig(path=str(tmp_path), out=str(tmp_path / "corpus")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lemma a : True.", True),
        ("#[local] Theorem a@{u} (x : nat) : x = x.", True),
        ("Local Definition a : nat.", True),
        ("Definition a := 0.", False),
        ("Instance a : C.", False),
        ("Program Lemma a : True.", False),
        ("Proof.", False),
    ],
)
def test_statements(text: str, expected: bool) -> None:
    assert is_statement(text) is expected


def test_the_report_counts_by_folder() -> None:
    files = (FileReport("L.a.X", 3, {"r": 1}, 1.0), FileReport("L.a.Y", 2, {"r": 1, "s": 2}, 1.0, "why"))
    report = ExtractReport("out", files, 2.0)
    assert (report.lemmas, report.skipped) == (5, {"r": 2, "s": 2})
    assert list(report.table().columns[0].cells) == ["L.a", "skipped: r", "skipped: s", "L.a.Y: why"]


def test_without_a_prover_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(VerifierError, match="apt-get install coq"):
        sources(ExtractConfig())
