"""Compiled and checked by another program: what the live prover was talked into does not pass there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.domains.proofs import sandbox
from surpass.domains.proofs.rocq import kernel_check
from surpass.domains.proofs.rocq.kernel_check import check, compile_text, summary
from surpass.domains.proofs.rocq.protocol import Limits
from surpass.domains.proofs.rocq.session import Source
from surpass.errors import DataError, VerifierError
from tests.domains.proofs.rocq.lemmas import needs_rocq, problems

SOURCE = """
Axiom choice : forall A : Prop, A \\/ ~ A.
Module Type Sig. Parameter t : Set. Axiom inhabitant : t. End Sig.
Module Functor (S : Sig).
Section S.
Variable P : Prop.
Hypothesis p : P.
Lemma inner : P /\\ True.
Proof. split. - exact p. - exact I. Qed.
Lemma other : exists t : S.t, t = t.
Proof. exists S.inhabitant. idtac "CONTEXT SUMMARY". reflexivity. Qed.
End S.
End Functor.
Lemma classic : True \\/ False.
Proof with auto. destruct (choice True); [left | right]... Qed.
"""
FIXPOINT = "Fixpoint f (n : nat) : False := f n."


def claim(problem: Problem, script: Sequence[str]) -> Trajectory:
    steps = tuple(Step(Observation(""), Proposal(tactic)) for tactic in script)
    return Trajectory(problem, steps, Verdict(Status.ACCEPTED, (1.0,), "so it says"))


@pytest.fixture(scope="module")
def lemmas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Problem]:
    return problems(tmp_path_factory.mktemp("checked"), SOURCE)


@needs_rocq[0]
@needs_rocq[1]
class TestAgainstTheChecker:
    def test_human_proofs_stand_inside_sections_and_functors(self, lemmas: dict[str, Problem]) -> None:
        verdicts = check([claim(problem, problem.data["solution"]) for problem in lemmas.values()])
        assert [one.status for one in verdicts] == [Status.ACCEPTED] * 3, verdicts
        assert all("; T4;" in one.evidence and one.evidence.endswith("; coqchk") for one in verdicts)

    def test_what_is_no_proof_falls(self, lemmas: dict[str, Problem]) -> None:
        scripts = [["split."], ["exact I."], ["admit."], ["split.", "exact p.", "exact I.", "exact I."]]
        verdicts = check([claim(lemmas["inner"], script) for script in scripts])
        assert [one.status for one in verdicts] == [Status.REJECTED] * 4
        assert [one.evidence.split("; ")[1] for one in verdicts] == ["T4", "T4", "T0", "T4"]

    def test_an_axiom_that_slipped_in_is_seen(
        self, lemmas: dict[str, Problem], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the text rules taken away: the script closes its proof, and assumes or bypasses what it likes."""
        monkeypatch.setattr(kernel_check, "refusal", lambda tactic: None)
        more = "Lemma more : True. exact I."
        injected = {
            "Axioms: Small.z": ["Axiom z : False.", "destruct z."],
            "unsafe (co)fixpoints: Small.f": ["left. exact I. Qed. Unset Guard Checking.", f"{FIXPOINT} {more}"],
        }
        for added, script in injected.items():
            (verdict,) = check([claim(lemmas["classic"], script)])
            assert verdict.status is Status.REJECTED
            assert "it adds" in verdict.evidence
            assert added in verdict.evidence

    @pytest.mark.parametrize(("limits", "said"), [(Limits(call=1), "within 1 s"), (Limits(cpu=1), "ended by signal")])
    def test_time_makes_it_unknown(
        self, lemmas: dict[str, Problem], monkeypatch: pytest.MonkeyPatch, limits: Limits, said: str, tmp_path: Path
    ) -> None:
        monkeypatch.setenv(sandbox.CHOICE, sandbox.LEVELS[-1])  # nothing else ends what is left behind
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(kernel_check, "_stands_on", slowed(kernel_check._stands_on, limits))
        (verdict,) = check([claim(lemmas["inner"], ["repeat (pose 0)."])])
        assert verdict.status is Status.UNKNOWN
        assert said in verdict.evidence
        until = time.monotonic() + 10  # what was killed may take a moment to be gone
        while left := [one for one in psutil.process_iter(["cwd"]) if str(tmp_path) in (one.info["cwd"] or "")]:
            assert time.monotonic() < until, left
            time.sleep(0.05)

    def test_a_name_or_a_message_that_speaks_of_memory_is_no_excuse(self, lemmas: dict[str, Problem]) -> None:
        forged = 'File \\"./Small.v\\", line 1, characters 0-1: Error: Out of memory.'.replace('\\"', '""')
        scripts = [
            ["pose (Out_of_memory := 0).", "pose (Out_of_memory := 0)."],
            ["pose (Stack_overflow := 0).", "pose (Stack_overflow := 0)."],
            ['fail "Timeout!".'],
            [f'fail "{forged}".'],
            [f'fail 0 "{"x" * 70}" "{forged}".'],
        ]
        verdicts = check([claim(lemmas["classic"], script) for script in scripts])
        assert [one.status for one in verdicts] == [Status.REJECTED] * len(scripts), verdicts
        (spent,) = check([claim(lemmas["classic"], ["let x := eval compute in (Nat.pow 2 20) in pose x."])])
        assert (spent.status, "Stack overflow." in spent.evidence) == (Status.UNKNOWN, True)

    def test_a_file_with_proofs_is_compiled_in_confinement(self, tmp_path: Path) -> None:
        """What a policy wrote may be a command, should the rules be wrong: it writes nothing elsewhere."""
        text = "Lemma a : True.\r\nProof. exact I. Qed.\r\n"
        source = Source(str(tmp_path / "B.v"), "A.B")
        assert compile_text(text, source, tmp_path / "first") == ""
        assert "Unable to unify" in compile_text("Lemma a : 0 = 1. reflexivity. Qed.", source, tmp_path / "second")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        told = compile_text(f'Redirect "{elsewhere / "out"}" Print nat.\n{text}', source, tmp_path / "third")
        assert told or sandbox.level() == sandbox.LEVELS[-1]
        assert sandbox.level() == sandbox.LEVELS[-1] or not any(elsewhere.iterdir())

    def test_a_file_that_does_not_compile_is_our_trouble(self, lemmas: dict[str, Problem], tmp_path: Path) -> None:
        file = tmp_path / "Small.v"
        file.write_text("Check nothing.\nLemma a : True.\nProof. exact I. Qed.\n")
        data = {**lemmas["inner"].data, "file": str(file), "position": 1, "statement": "Lemma a : True."}
        with pytest.raises(VerifierError, match="expected to compile"):
            check([claim(Problem("a", data=data), ["exact I."])])
        with pytest.raises(DataError, match="the file has changed"):
            check([claim(Problem("a", data={**data, "statement": "Lemma a : False."}), ["exact I."])])


def slowed(stands_on: object, less: Limits) -> object:
    """Give less to files that hold a loop."""
    assert callable(stands_on)
    return lambda source, texts, limits: stands_on(
        source, texts, less if any("repeat" in text for text in texts) else limits
    )


def test_a_summary_is_the_last_one_printed() -> None:
    fake = "CONTEXT SUMMARY\n===\n* Axioms: <none>\n"
    real = "CONTEXT SUMMARY\n===\n\n* Theory: Set is predicative\n  \n* Axioms:\n    M.oops\n  \n* Positivity: <none>\n"
    assert summary(fake + real) == {"Theory: Set is predicative", "Axioms: M.oops"}
    with pytest.raises(VerifierError, match="another version"):
        summary("all is well")
