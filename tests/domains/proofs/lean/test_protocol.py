"""The protocol against lean-interact's own models of it, and through its process handling, with a replay for Lean."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from surpass.core import Problem, Status, replay
from surpass.domains.proofs.lean.domain import Lean
from surpass.domains.proofs.lean.protocol import (
    DeadlinePassedError,
    LeanInteract,
    ProcessDiedError,
    Repl,
    command,
    pickle,
    tactic,
    unpickle,
)
from surpass.domains.proofs.lean.replay import Recorded, load, serve
from surpass.domains.proofs.lean.session import SessionOptions
from surpass.domains.proofs.lean.trust import recheck
from surpass.errors import DataError, VerifierError
from tests.domains.proofs.lean import recordings
from tests.domains.proofs.lean.recordings import CONTEXT, GOAL, LEFT, RIGHT, SWAP, exchanges, message, ran


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Repl]:
    yield (started := simulated(tmp_path)(""))
    started.close()


def simulated(folder: Path, *extra: tuple[dict[str, object], dict[str, object]]) -> LeanInteract:
    """The real driver over lean-interact, with a `lake` that runs a replay instead of the REPL."""
    pytest.importorskip("lean_interact")
    recording = recordings.write(folder / "recording.jsonl", [*exchanges(), *extra])
    repl = folder / "repl"
    repl.mkdir()
    (repl / "lean-toolchain").write_text("leanprover/lean4:v4.0.0-replay\n")
    lake = folder / "lake"
    lake.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m surpass.domains.proofs.lean.replay "{recording}"\n')
    lake.chmod(0o755)
    return LeanInteract(repl=str(repl), lake=str(lake), memory=8 << 30)


def test_requests_and_answers_are_those_of_lean_interact() -> None:
    interface = pytest.importorskip("lean_interact.interface")
    models = {"cmd": ("Command", "CommandResponse"), "tactic": ("ProofStep", "ProofStepResponse")}
    for request, response in exchanges():
        asks, answers = models["cmd" if "cmd" in request else "tactic"]
        assert getattr(interface, asks).model_validate(request).model_dump(exclude_none=True, by_alias=True) == request
        model = interface.LeanError if set(response) == {"message"} else getattr(interface, answers)
        read = model.model_validate(response)
        assert not read.model_extra, "no field that the REPL does not have"
    for kind, fields in {
        "PickleEnvironment": {"env": 1, "pickleTo": "a"},
        "UnpickleEnvironment": {"unpickleEnvFrom": "a"},
    }.items():
        assert getattr(interface, kind).model_validate(fields).model_dump(exclude_none=True, by_alias=True) == fields


def test_a_proof_through_a_process(process: Repl, tmp_path: Path) -> None:
    context = command(process, CONTEXT, None, 10)
    hole = command(process, SWAP.open, context.env, 10)
    assert (hole.goals, hole.holes, hole.message) == ((GOAL,), 1, "")
    split = tactic(process, "constructor", hole.state, 10)
    assert (split.goals, split.status) == ((LEFT, RIGHT), "Incomplete: open goals remain")
    assert "unknown tactic" in tactic(process, "nonsense ∀", split.state, 10).message
    assert tactic(process, "constructor", 99, 10).message == "Unknown proof state."
    pickle(process, context.env, tmp_path / "env.olean", 10)
    again = unpickle(process, tmp_path / "env.olean", 10)
    assert again != context.env
    assert command(process, SWAP.open, again, 10).goals == (GOAL,)


def test_a_domain_through_processes(tmp_path: Path) -> None:
    problems = recordings.records(tmp_path / "problems.jsonl")
    with Lean(problems, simulated(tmp_path)) as domain:
        for problem in domain.problems("all"):
            verdict = replay(domain, problem, problem.data["solution"]).verdict
            assert verdict.evidence.startswith("lean v4.0.0-replay; T2;")
            assert verdict.returns == (1.0,)


def test_a_process_in_a_project(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "lean-toolchain").write_text("leanprover/lean4:v4.0.0-replay\n")
    process = simulated(tmp_path)(str(tmp_path / "project"))
    assert command(process, CONTEXT, None, 10).env == 0
    assert (process.name, process.version) == ("lean", "v4.0.0-replay")
    assert process.memory() > 0
    process.close()


def test_a_process_that_dies_or_does_not_answer(tmp_path: Path) -> None:
    opener = simulated(
        tmp_path,
        ({"tactic": "die", "proofState": 0}, {"died": "stack overflow"}),
        ({"tactic": "hang", "proofState": 0}, {"timeout": True}),
    )
    for action, error in (("die", ProcessDiedError), ("hang", DeadlinePassedError)):
        process = opener("")
        state = command(process, SWAP.open, command(process, CONTEXT, None, 10).env, 10).state
        with pytest.raises(error):
            tactic(process, action, state, 1.0)
        process.close()
    with Lean(recordings.records(tmp_path / "p.jsonl"), opener, options=SessionOptions(timeout=1.0)) as domain:
        problem = next(iter(domain.problems("test")))
        assert replay(domain, problem, ["die"]).verdict.status == "unknown"
        assert replay(domain, problem, problem.data["solution"]).solved


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerifierError, match="install elan"):
        LeanInteract(lake=str(tmp_path / "lake"))("")
    with pytest.raises(VerifierError, match="expected Lean's REPL to start"):
        LeanInteract(repl=str(tmp_path / "none"), lake=sys.executable)("")
    monkeypatch.setitem(sys.modules, "lean_interact", None)
    with pytest.raises(VerifierError, match=r"pip install -e '\.\[lean\]'"):
        LeanInteract()("")


def test_errors_of_a_tactic_that_goes_on_are_errors() -> None:
    failed = {**ran(1, status="Incomplete: contains sorry"), "messages": [message("error", "Unknown identifier `h`")]}
    repl = Recorded([({"cmd": "x"}, recordings.stated("⊢ p", 0, 0)), ({"tactic": "exact h", "proofState": 0}, failed)])
    assert command(repl, "x", None, 1).state == 0
    assert tactic(repl, "exact h", 0, 1).message == "Unknown identifier `h`"


def test_a_tactic_that_leaves_a_hole_is_refused_though_goals_remain() -> None:
    left = {**ran(1, RIGHT), "sorries": [{"proofState": 2, "goal": LEFT}]}
    repl = Recorded([({"cmd": "x"}, recordings.stated("⊢ p", 0, 0)), ({"tactic": "t", "proofState": 0}, left)])
    assert tactic(repl, "t", command(repl, "x", None, 1).state, 1).message == "the tactic leaves a sorry"


@pytest.mark.parametrize("answer", [{}, {"env": "x"}, {"env": 0, "messages": [{}]}, {"env": 0, "sorries": [1]}])
def test_answers_that_are_not_as_documented(answer: dict[str, object]) -> None:
    class Odd(Recorded):
        def ask(self, request: object, timeout: float) -> dict[str, object]:
            return answer

    with pytest.raises(VerifierError, match="expected an answer of Lean's REPL"):
        command(Odd([]), "x", None, 1)


def test_a_replay_on_streams() -> None:
    sink = io.StringIO()
    serve(Recorded(exchanges()), io.StringIO(f"{json.dumps({'cmd': CONTEXT})}\n\n{{\n\n"), sink)
    first, second = (json.loads(block) for block in sink.getvalue().split("\n\n") if block)
    assert first == {"env": 0}
    assert second["message"].startswith("Could not parse JSON")


def test_a_recording_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"request": 1}\n')
    with pytest.raises(DataError, match=r"found TypeError|found ValueError"):
        load(tmp_path / "a.jsonl")
    with pytest.raises(VerifierError, match="was recorded"):
        Recorded([]).ask({"cmd": "theorem"}, 1.0)


@pytest.mark.lean
def test_live() -> None:
    """With Lean itself: builds the REPL where lean-interact has none yet."""
    pytest.importorskip("lean_interact")
    record = {"before": SWAP.before, "after": "", "context": "", "name": "swap"}
    problem = Problem("swap", "", record)
    with Lean([problem], LeanInteract()) as domain:
        for solution in (["constructor", "exact h.2", "exact h.1"], ["exact ⟨h.2, h.1⟩"], ["simp_all"]):
            played = replay(domain, problem, solution)
            assert played.verdict.status is Status.ACCEPTED, played.verdict
            assert recheck([played])[0].status is Status.ACCEPTED
        for wrong in (["exact h"], ["constructor; simp"], ["exact h.2 h.1"], ["no such tactic"]):
            assert replay(domain, problem, wrong).verdict.status is Status.REJECTED
