from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from surpass.domains.proofs.rocq.protocol import (
    CommandFailed,
    DeadlinePassed,
    DiedBefore,
    Exhausted,
    Goal,
    Goals,
    Limits,
    ProcessDied,
    Toplevel,
    version,
)
from surpass.errors import VerifierError
from tests.domains.proofs.rocq.lemmas import needs_rocq

pytestmark = needs_rocq


@pytest.fixture
def top() -> Iterator[Toplevel]:
    with Toplevel() as live:
        live.run("Lemma a : forall n m : nat, n = n /\\ (True /\\ m = m).")
        yield live


def test_goals_are_read_with_their_hypotheses(top: Toplevel) -> None:
    goals = top.run("intros n m; split.")
    assert goals is not None
    assert goals.focused == (Goal(("n, m : nat",), "n = n"), Goal(("n, m : nat",), "True /\\ m = m"))
    assert goals.text == "n, m : nat\n|- n = n\n\nn, m : nat\n|- True /\\ m = m"


def test_goals_out_of_focus_are_counted_in_the_text_and_spelt_out_in_the_key(top: Toplevel) -> None:
    top.run("intros n m; split.")
    goals = top.run("-")
    assert goals is not None
    assert len(goals.focused) == len(goals.background) == 1
    assert goals.text.endswith("\n\n(unfocused: 1)")
    assert "m = m" in goals.key
    assert "m = m" not in goals.text
    goals = top.run("reflexivity.")
    assert goals is not None
    assert not goals.done
    assert goals.text.startswith("no goal in focus")


@pytest.mark.parametrize(("tactic", "part"), [("admit.", "given_up"), ("shelve.", "shelved")])
def test_a_proof_with_holes_is_not_done(top: Toplevel, tactic: str, part: str) -> None:
    goals = top.run(tactic)
    assert goals is not None
    assert not goals.done
    assert len({"given_up": goals.given_up, "shelved": goals.shelved}[part]) == 1
    assert Goals(()).done


@pytest.mark.parametrize("sentence", ["rewrite nothing.", "rewrite )", "no such tactic.", "Lemma"])
def test_a_refused_sentence_leaves_the_tip(top: Toplevel, sentence: str) -> None:
    tip, before = top.tip, top.goals()
    with pytest.raises(CommandFailed):
        top.run(sentence)
    assert top.tip == tip
    assert top.goals() == before


def test_posted_siblings_are_answered_in_order_as_if_each_were_alone(top: Toplevel) -> None:
    tip, tactics = top.tip, ["intros a b.", "rewrite nothing.", "split.", "rewrite )", "intros n m; split."]
    alone = list[object]()
    for tactic in tactics:
        alone.append(answer(top, tactic))
        top.edit_at(tip)
    for tactic in tactics:
        top.post(tactic)
    assert top.owes == len(tactics)
    together = list[object]()
    for tactic in tactics:
        together.append(answer(top, tactic))
        assert top.tip == tip or not top.owes
    assert together == alone
    assert top.run("split.") is not None  # goes on from what the last one led to


def answer(top: Toplevel, sentence: str) -> object:
    try:
        return top.run(sentence)
    except CommandFailed as failed:
        return str(failed)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_what_was_posted_and_is_not_asked_for_leaves_no_trace(top: Toplevel, taken: int) -> None:
    tip, before = top.tip, top.goals()
    posted = ["intros a b.", "rewrite nothing.", "intros x."]
    for tactic in posted:
        top.post(tactic)
    for tactic in posted[:taken]:
        answer(top, tactic)
    assert (top.tip, top.owes) == (tip, 3 - taken)
    assert top.goals() == before
    assert (top.tip, top.owes) == (tip, 0)
    for tactic in posted:
        top.post(tactic)
    found = top.run("intros u.")
    assert found is not None
    assert found.focused[0].hyps == ("u : nat",)


def test_a_posted_sentence_that_never_ends_costs_its_own_answer_only(top: Toplevel) -> None:
    top.post("intros a b.")
    top.post("do 1000000000 idtac.")
    assert top.run("intros a b.") is not None
    top.patience = 0.5
    with pytest.raises(DeadlinePassed):
        top.run("do 1000000000 idtac.")
    assert (top.alive, top.owes) == (False, 0)


def test_a_posted_sentence_that_is_not_asked_for_and_never_ends_is_not_blamed_on_the_next(top: Toplevel) -> None:
    top.post("do 1000000000 idtac.")
    top.patience = 0.5
    with pytest.raises(DiedBefore, match="begun ahead"):
        top.run("intros a b.")
    assert (top.alive, top.owes) == (False, 0)


def test_a_sentence_too_deep_for_the_parser_costs_its_own_answer_only(top: Toplevel) -> None:
    before = top.goals()
    with pytest.raises(Exhausted, match="Stack overflow"):
        top.run(f"exact {'(' * 100_000}I{')' * 100_000}.")
    assert top.goals() == before
    assert top.run("intros a b.") is not None


def test_posting_to_a_prover_that_ended_says_so(top: Toplevel) -> None:
    os.kill(top.pid, signal.SIGKILL)
    psutil.Process(top.pid).wait(10)
    with pytest.raises(ProcessDied):
        top.post("idtac.")


def test_branches_from_one_state_do_not_see_each_other(top: Toplevel) -> None:
    root = top.tip
    first = top.run("intros a b.")
    top.edit_at(root)
    top.run("intros c d.")
    top.edit_at(root)
    assert top.run("intros a b.") == first


def test_time_is_exhausted_and_the_process_lives(top: Toplevel) -> None:
    with pytest.raises(Exhausted, match="Timeout"):
        top.run("Timeout 1 repeat (pose 0).")
    assert top.alive
    assert top.run("intros n m.") is not None


def test_memory_is_exhausted_at_the_limit() -> None:
    with Toplevel(limits=Limits(memory=900 << 20)) as top, pytest.raises((Exhausted, ProcessDied)):
        top.run("Timeout 60 Eval vm_compute in (Nat.pow 10 12).")


def test_a_process_that_does_not_answer_is_killed(top: Toplevel) -> None:
    top.patience = 0.3
    with pytest.raises(DeadlinePassed):
        top.run("repeat (pose 0).")
    assert not psutil.pid_exists(top.pid)
    with pytest.raises(ProcessDied):
        top.run("idtac.")


def test_a_killed_process_is_noticed(top: Toplevel) -> None:
    os.kill(top.pid, signal.SIGKILL)
    with pytest.raises(ProcessDied):
        top.run("intros n m.")


def test_queries_answer_on_their_own_channel(top: Toplevel) -> None:
    top.run('idtac "Closed under the global context".')
    assert top.goals() is not None
    assert [" ".join(message.split()) for message in top.query("Check 0.")] == ["0 : nat"]
    with pytest.raises(CommandFailed):
        top.query("Print Assumptions nothing.")


def test_what_cannot_stand_in_xml_is_replaced() -> None:
    with Toplevel() as top:
        top.run("Require Import String.")
        top.run('Goal String (Ascii.ascii_of_nat 7) "<&" = ""%string.')
        goals = top.run("compute.")
        assert goals is not None
        assert "?<&" in goals.text


def test_the_scratch_folder_goes_with_the_process() -> None:
    with Toplevel() as top:
        scratch = Path(f"/proc/{top.pid}/cwd").resolve()
        assert scratch.is_dir()
        assert scratch != Path.cwd()
    assert not scratch.exists()
    assert not psutil.pid_exists(top.pid)


def test_a_prover_that_does_not_start_says_so() -> None:
    with pytest.raises(VerifierError, match="run the command by hand"):
        Toplevel(options=["-no-such-option"])


def test_the_version_is_read() -> None:
    assert version().split(".")[0].isdecimal()


def test_a_busy_process_ends_with_a_killed_parent() -> None:
    script = (
        "from surpass.domains.proofs.rocq.protocol import Toplevel\n"
        "top = Toplevel(); print(top.pid, flush=True); top.run('Goal True.'); top.run('repeat (pose 0).')"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.3)
        parent.kill()
    child.wait(timeout=10)
