from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from surpass.cli import main
from surpass.domains.proofs.lean.place import Place
from surpass.domains.proofs.lean.protocol import Repl
from surpass.domains.proofs.lean.prove_file import prove_file
from surpass.domains.proofs.lean.replay import Replay
from surpass.domains.proofs.rewrite import ProveReport
from surpass.errors import VerifierError
from surpass.models.fixed import Fixed
from surpass.rollouts.runner import Budget
from surpass.search.best_first import best_first
from tests.domains.proofs.lean import recordings
from tests.domains.proofs.lean.recordings import finished, message, ran, stated

HEAD = "import Init\n\naxiom chosen : True\n\n"
FIRST = "theorem first (n : Nat) : n = n := by\n  sorry"
SECOND = "theorem second : True ∧ True := sorry"
OPEN = "def number : Nat := sorry"
SOURCE = f"{HEAD}{FIRST}\n\n{SECOND}\n\n{OPEN}\n"
PROVED = SOURCE.replace("  sorry", "  rfl", 1)
ONE = Place("", HEAD, "theorem first (n : Nat) : n = n := by", "", "first", axioms=("chosen",))
TWO = Place("", f"{HEAD}{FIRST}\n\n", "theorem second : True ∧ True := by", "", "second", axioms=("chosen",))


def holes(number: int, env: int) -> dict[str, Any]:
    one = stated("⊢ True", env, 90)["sorries"]
    return {"env": env, "sorries": one * number} if number else {"env": env}


def recording(folder: Path, changed: Mapping[str, Any] | None = None) -> Replay:
    """What is answered where `first` has a proof by rfl and `second` has none that is tried."""
    return Replay(
        recordings.write(
            folder / "recording.jsonl",
            [
                ({"cmd": HEAD}, {"env": 0}),
                ({"cmd": ONE.open, "env": 0}, stated("n : Nat\n⊢ n = n", 1, 0)),
                ({"tactic": "rfl", "proofState": 0}, ran(1)),
                *finished(ONE, ["rfl"], 0, 1, 20),
                (
                    {"cmd": f"{FIRST}\n\n", "env": 0},
                    {"env": 2, "messages": [message("warning", "declaration uses `sorry`")]},
                ),
                ({"cmd": TWO.open, "env": 2}, stated("⊢ True ∧ True", 3, 5)),
                ({"cmd": SOURCE}, holes(3, 50)),
                ({"cmd": PROVED}, changed or holes(2, 51)),
            ],
        )
    )


def prove(file: Path, opener: Replay, *, write: bool = True) -> ProveReport:
    search = partial(best_first, width=4, expansions=8)
    policy = Fixed(["simp", "rfl", "exact sorry"])
    return prove_file(file, policy, search, opener=opener, budget=Budget(steps=20), write=write)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "A.lean").write_text(SOURCE)
    return tmp_path / "A.lean"


def test_what_is_proved_is_written_and_nothing_else_changes(file: Path, tmp_path: Path) -> None:
    report = prove(file, recording(tmp_path))
    assert report.written
    assert file.read_text() == PROVED
    assert report.proofs == {"A:first": "theorem first (n : Nat) : n = n := by\n  rfl"}
    assert [one.problem.key for one in report.trajectories] == ["A:first", "A:second"]
    assert [(one.name, one.line) for one in report.skipped] == [("number", 10)]
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(report)
    assert "1 of 2 open theorems proved" in console.export_text()


def test_nothing_is_written_unless_asked(file: Path, tmp_path: Path) -> None:
    report = prove(file, recording(tmp_path), write=False)
    assert report.proofs
    assert file.read_text() == SOURCE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"env": 9, "messages": [message("error", "unknown identifier 'first'")]}, "unknown identifier"),
        (holes(3, 9), "found 3 left"),
        ({"died": "out of memory"}, "out of memory"),
    ],
)
def test_nothing_is_written_where_the_whole_file_does_not_elaborate(
    answer: dict[str, Any], reason: str, file: Path, tmp_path: Path
) -> None:
    report = prove(file, recording(tmp_path, answer))
    assert reason in report.refusal
    assert file.read_text() == SOURCE
    assert not report.written


def test_a_file_that_changes_meanwhile_is_left_alone(file: Path, tmp_path: Path) -> None:
    replayed = recording(tmp_path)

    class Meddling:
        def __call__(self, project: str) -> Repl:
            if file.read_text() == SOURCE and started:
                file.write_text(SOURCE + "-- edited\n")
            started.append(project)
            return replayed(project)

    started = list[str]()
    search = partial(best_first, width=4, expansions=8)
    report = prove_file(file, Fixed(["rfl"]), search, opener=Meddling(), write=True)
    assert "changed meanwhile" in report.refusal
    assert file.read_text() == SOURCE + "-- edited\n"


def test_theorems_that_lean_does_not_state_are_named(file: Path, tmp_path: Path) -> None:
    file.write_text(f"{HEAD}{FIRST}\n")
    refused = {"env": 1, "messages": [message("error", "unknown identifier 'Nat'")]}
    opener = Replay(
        recordings.write(tmp_path / "r.jsonl", [({"cmd": HEAD}, {"env": 0}), ({"cmd": ONE.open, "env": 0}, refused)])
    )
    report = prove(file, opener)
    assert not report.trajectories
    assert "unknown identifier 'Nat'" in report.skipped[0].reason


def test_without_lean_the_command_says_so(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: object, project: str) -> Repl:
        raise VerifierError("expected Lean's REPL to start, found none")

    monkeypatch.setattr("surpass.domains.proofs.lean.protocol.LeanInteract.__call__", missing)
    assert main(["prove", str(file)]) == 2
    assert "expected Lean's REPL to start" in capsys.readouterr().err
    assert main(["prove", str(file.parent / "None.lean")]) == 2
    assert "expected Lean source" in capsys.readouterr().err
