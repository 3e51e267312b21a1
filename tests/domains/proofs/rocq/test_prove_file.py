from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.domains.proofs.rewrite import ProveReport
from surpass.domains.proofs.rocq import prove_file as module
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.prove_file import open_problems, prove_file
from surpass.domains.proofs.rocq.sentences import commented, split
from surpass.domains.proofs.rocq.session import Source
from surpass.errors import DataError
from surpass.models.scripted import Scripted
from surpass.rollouts.runner import Budget
from surpass.search.best_first import best_first

rocq = [
    pytest.mark.rocq,
    pytest.mark.skipif(shutil.which("coqidetop.opt") is None, reason="needs coqidetop.opt: apt-get install coq"),
]

SOURCE = """(* Kept: as it is. *)
Axiom ax : 1 = 2.
Lemma empty : forall n : nat, n = n.
Proof. Qed.
Section s.
  Variable A : Prop.
  Lemma admitted : A -> A /\\ True.
  Admitted.
End s.
Lemma aborted : 2 = 1.
Proof. intros. admit.
Abort. (* kept too *)
Definition content : nat. Admitted.
Lemma proved : 2 = 1. Proof. symmetry. exact ax. Qed.
Lemma earlier : 5 = 6. Proof. Admitted.
Lemma later : 6 = 5. Proof. Admitted.
Lemma unended : exists n : nat, n = 3.
Proof.
"""
PROVED = (
    SOURCE.replace("Proof. Qed.", "Proof.\n  reflexivity.\nQed.")
    .replace("True.\n  Admitted.", "True.\nProof.\n  split.\n  assumption.\n  exact I.\nQed.")
    .replace("Proof. intros. admit.\nAbort.", "Proof. (* intros. *) (* admit. *)\n  symmetry.\n  exact ax.\nQed.")
    .replace("6 = 5. Proof. Admitted.", "6 = 5. Proof.\n  symmetry.\n  exact earlier.\nQed.")
    .replace("n = 3.\nProof.\n", "n = 3.\nProof.\n  eexists.\n  reflexivity.\nQed.\n")
)
ANSWERS = {
    "|- forall n : nat, n = n": ["reflexivity."],
    "A : Prop\n|- A -> A /\\ True": ["split."],
    "|- 2 = 1": ["exact proved.", "symmetry."],
    "|- 1 = 2": ["exact ax."],
    "|- 6 = 5": ["symmetry."],
    "|- 5 = 6": ["exact earlier."],
    "|- exists n : nat, n = 3": ["eexists."],
}
OTHERWISE = ["assumption.", "exact I.", "reflexivity.", "-", "intro."]


def attempt(file: Path, answers: dict[str, Sequence[str]] | None = None, *, write: bool = False) -> ProveReport:
    policy = Scripted(ANSWERS if answers is None else answers, otherwise=OTHERWISE)
    search = partial(best_first, width=5, expansions=40)
    return prove_file(file, policy, search, budget=Budget(proposals=400), write=write)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Open.v"
    path.write_bytes(SOURCE.encode())
    return path


class TestAgainstTheProver:
    pytestmark = rocq

    def test_open_lemmas_become_problems_where_they_stand(self, file: Path, tmp_path: Path) -> None:
        problems, skipped = open_problems(file, tmp_path)
        names = ["empty", "admitted", "aborted", "earlier", "later", "unended"]
        assert [problem.key for problem in problems] == [f"Open.{name}" for name in names]
        assert [problem.data["goals"] for problem in problems][:2] == list(ANSWERS)[:2]
        assert [(one.name, one.line, one.reason) for one in skipped] == [
            ("content", 13, "transparent definition: Definition")
        ]
        assert "Open.ax" in problems[0].data["assumptions"]
        assert "Open.earlier" in problems[4].data["assumptions"]
        assert "Open.later" not in problems[3].data["assumptions"]

    def test_two_lemmas_of_one_name_are_two_problems(self, tmp_path: Path) -> None:
        file = tmp_path / "Dup.v"
        file.write_text("Lemma a : 0 = 0.\nAbort.\nLemma a : 0 = 1.\nAbort.\n", encoding="utf-8")
        problems, _ = open_problems(file, tmp_path)
        assert [problem.key for problem in problems] == ["Dup.a@0", "Dup.a@2"]
        with Rocq(problems) as domain:
            assert [replay(domain, one, ["reflexivity."]).solved for one in problems] == [True, False]
        report = attempt(file, {"|- 0 = 0": ["reflexivity."], "|- 0 = 1": ["reflexivity."]})
        assert [*report.proofs] == ["Dup.a@0"]
        assert [one.solved for one in report.trajectories] == [True, False]

    def test_lemmas_stated_where_a_check_is_off_are_named_and_left(self, tmp_path: Path) -> None:
        file = tmp_path / "Off.v"
        flags = ("Guard Checking", "Positivity Checking", "Universe Checking")
        parts = [f"Unset {flag}.\nLemma a{i} : 0 = 0.\nAdmitted.\nSet {flag}.\n" for i, flag in enumerate(flags)]
        text = "".join([*parts, "Set Definitional UIP.\nLemma b : 0 = 0.\nAdmitted.\nUnset Definitional UIP.\n"])
        file.write_text(f"{text}Lemma c : 0 = 0.\nAdmitted.\n", encoding="utf-8")
        problems, skipped = open_problems(file, tmp_path)
        assert [problem.key for problem in problems] == ["Off.c"]
        off = ("check_guarded: false", "check_positive: false", "check_universes: false", "definitional uip: true")
        assert [one.reason for one in skipped] == [f"stated where a check of the kernel is off ({one})" for one in off]

    def test_proofs_are_checked_reported_and_written(self, file: Path) -> None:
        file.chmod(0o640)
        report = attempt(file, write=True)
        assert report.proofs["Open.later"] == "Proof.\n  symmetry.\n  exact earlier.\nQed."
        assert sorted(report.proofs) == [f"Open.{n}" for n in ("aborted", "admitted", "empty", "later", "unended")]
        assert [t.solved for t in report.trajectories] == [True, True, True, False, True, True]
        assert (report.written, report.refusal) == (True, "")
        written = file.read_text(encoding="utf-8")
        assert written == PROVED
        assert file.stat().st_mode & 0o777 == 0o640
        assert [path.name for path in file.parent.iterdir()] == ["Open.v"]
        console = Console(width=200)
        with console.capture() as shown:
            console.print(report)
        assert "5 of 6 open lemmas proved" in shown.get()

    def test_a_file_that_would_not_compile_is_left_alone(self, file: Path) -> None:
        report = attempt(file, {"|- forall n : nat, n = n": ["reflexivity."]}, write=True)
        assert "Open.empty" in report.proofs
        assert "Open.unended" not in report.proofs
        assert not report.written
        assert "nothing was written" in report.refusal
        assert file.read_text(encoding="utf-8") == SOURCE

    def test_a_file_that_changed_meanwhile_is_left_alone(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def meddling(text: str, source: Source, folder: Path) -> str:
            file.write_text("(* edited *)", encoding="utf-8")
            return ""

        monkeypatch.setattr(module, "compile_text", meddling)
        report = attempt(file, write=True)
        assert "changed meanwhile" in report.refusal
        assert file.read_text(encoding="utf-8") == "(* edited *)"

    def test_nothing_that_a_person_wrote_is_lost(self, tmp_path: Path) -> None:
        attempted = """Theorem t : forall n m : nat, m = m.
Proof.
  (* important note: try induction *)
  intros n m; (simpl in *). (* half done *)
  destruct n.
  - (* base *) simpl; (* why? *) reflexivity.
  - admit.
Abort. (* trailing *)
"""
        file = tmp_path / "A.v"
        file.write_text(attempted, encoding="utf-8")
        report = attempt(file, {"|- forall n m : nat, m = m": ["reflexivity."]}, write=True)
        assert (report.refusal, report.left_out) == ("", {})
        assert (
            file.read_text(encoding="utf-8")
            == """Theorem t : forall n m : nat, m = m.
Proof.
  (* important note: try induction *)
  (* intros n m; (simpl in * ). *) (* half done *)
  (* destruct n. *)
  (* - *) (* base *) (* simpl; (* why? *) reflexivity. *)
  (* - *) (* admit. *)
  reflexivity.
Qed. (* trailing *)
"""
        )
        assert "-Abort. (* trailing *)" in report.diff.splitlines()
        assert "+  reflexivity." in report.diff.splitlines()

    def test_a_proof_that_does_not_fit_keeps_no_other_out(self, tmp_path: Path) -> None:
        file = tmp_path / "A.v"
        file.write_text(
            "Section S.\nVariable A : Prop.\nLemma a : True.\nAdmitted.\nEnd S.\n"
            "Lemma b : True.\nProof. exact (a True). Qed.\nLemma c : 1 = 1.\nAdmitted.\n",
            encoding="utf-8",
        )
        report = attempt(file, {"A : Prop\n|- True": ["exact I."], "|- 1 = 1": ["reflexivity."]}, write=True)
        assert sorted(report.proofs) == ["A.a", "A.c"]
        assert (report.written, report.refusal, [*report.left_out]) == (True, "", ["A.a"])
        assert report.left_out["A.a"].startswith('File "A.v", line ')
        assert "Illegal application" in report.left_out["A.a"]
        told = file.read_text(encoding="utf-8")
        assert "True.\nAdmitted." in told
        assert "1 = 1.\nProof.\n  reflexivity.\nQed." in told
        console = Console(width=200)
        with console.capture() as shown:
            console.print(report)
        assert "does not compile: " in shown.get()
        assert "written, 1 of the proofs left out" in shown.get()

    def test_line_ends_and_a_byte_order_mark_stay(self, tmp_path: Path) -> None:
        file = tmp_path / "A.v"
        before = b"\xef\xbb\xbfLemma a :\r\n  0 = 0.\r\nProof. (* n\r\nm *)\r\nAdmitted.\r\n"
        file.write_bytes(before)
        assert attempt(file, {"|- 0 = 0": ["reflexivity."]}, write=True).refusal == ""
        assert file.read_bytes() == before.replace(b"Admitted.", b"  reflexivity.\r\nQed.")

    def test_an_axiom_that_is_not_known_at_the_place_does_not_help(self, tmp_path: Path) -> None:
        file = tmp_path / "A.v"
        file.write_text("Lemma early : 1 = 2.\nAdmitted.\nAxiom ax : 1 = 2.\n", encoding="utf-8")
        problems, _ = open_problems(file, tmp_path)
        assert "ax" not in problems[0].data["assumptions"]
        assert not attempt(file, {"|- 1 = 2": ["exact ax."]}).proofs

    @pytest.mark.parametrize(
        ("source", "open_lemmas", "line", "reason"),
        [
            ("Lemma a : True. Admitted.\nRequire Import Nowhere.\n", ["A.a"], 2, "Nowhere"),
            ("Lemma a : True. Proof.\nexact 0. Qed.", [], 2, "expected sentence 2, 'exact 0.', to run"),
            ("Lemma a : True.\n(* open", [], 1, "end of the comment"),
            ("Lemma a : True. Proof.\nLemma b : True. Proof. Qed.", [], 2, "nested proofs"),
            ("\0", [], 1, "end of the sentence"),
            ("", [], 0, ""),
        ],
    )
    def test_what_cannot_be_loaded_is_reported(
        self, source: str, open_lemmas: list[str], line: int, reason: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "A.v"
        file.write_text(source, encoding="utf-8")
        problems, skipped = open_problems(file, tmp_path)
        assert [problem.key for problem in problems] == open_lemmas
        assert [one.line for one in skipped] == [line] * bool(line)
        assert all(reason in one.reason for one in skipped)

    def test_load_paths_come_from_the_project(self, tmp_path: Path) -> None:
        tmp_path.joinpath("_CoqProject").write_text("-Q . Lib\n", encoding="utf-8")
        file = tmp_path / "A.v"
        file.write_text("Lemma a : True. Admitted.\n", encoding="utf-8")
        problems, skipped = open_problems(file, tmp_path)
        assert (problems[0].key, skipped) == ("Lib.A.a", [])
        assert attempt(file, {"|- True": ["exact I."]}, write=True).written


def test_marks_share_a_line_with_what_they_mark() -> None:
    actions = ["split.", "-", "+", "auto.", "2:{", "auto.", "}", "-"]
    steps = tuple(Step(Observation(""), Proposal(action)) for action in actions)
    trajectory = Trajectory(Problem("p", data={"opening": ""}), steps, Verdict(Status.ACCEPTED, (1.0,)))
    assert module._script(trajectory).splitlines() == [
        "Proof.",
        "  split.",
        "  - + auto.",
        "  2:{ auto.",
        "  }",
        "  -",
        "Qed.",
    ]


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.v.*give the path"):
        open_problems(tmp_path / "none.v", tmp_path)


@pytest.mark.parametrize("tactic", ["*", "{", "intros *.", "f (*).", "a (* b *) c.", 'idtac "(*".', "x *)."])
def test_a_sentence_becomes_one_comment(tactic: str) -> None:
    assert split(f"{commented(tactic)} exact I.")[0].text == "exact I."
