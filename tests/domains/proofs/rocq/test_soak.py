"""A short storm: killed provers and workers, hogs, and not one answer that differs; and the storm can see one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from surpass.domains.proofs import sandbox
from surpass.domains.proofs.rocq import soak
from surpass.domains.proofs.rocq.domain import ProofState, Rocq
from surpass.domains.proofs.rocq.soak import BenchConfig, main
from surpass.errors import ConfigError
from tests.domains.proofs.rocq.lemmas import needs_rocq

SHORT = BenchConfig(tactics=128, lemmas=2, workers=2, hogs=0.01, kills=0.04, timeout=1)


@needs_rocq[0]
@needs_rocq[1]
class TestAgainstTheProver:
    def test_a_short_storm_changes_no_answer_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(soak, "STATES", 3)
        monkeypatch.setattr(soak, "WORKER", 0.3)
        monkeypatch.setattr(soak, "ROUNDS", 1)
        out = tmp_path / "soak"
        monkeypatch.setattr(soak, "track", partial(interrupted, after=1))
        begun = main(replace(SHORT, out=out))
        monkeypatch.setattr(soak, "track", lambda steps, *_, **__: steps)
        found = main(replace(SHORT, out=out, json=tmp_path / "soak.json"))
        assert sum(begun.answers.values()) + sum(begun.hogs.values()) == SHORT.tactics / 2
        assert (begun.sittings, found.sittings) == (1, 2)
        again = main(replace(SHORT, out=out))
        assert again == found  # nothing was left to do
        with pytest.raises(ConfigError, match="kills differ"):
            main(replace(SHORT, out=out, kills=0.0))
        assert found.differ == 0, found.differing
        assert found.differing == ()
        assert (found.processes_left, found.folders_left) == (0, 0)
        assert sum(found.answers.values()) + sum(found.hogs.values()) == SHORT.tactics
        assert {"open", "rejected"} <= set(found.answers)
        assert set(found.hogs) <= {"unknown", "lost"}
        assert sum(found.kills.values()) >= 3
        assert 0 < found.peak_memory < 2000
        assert json.loads((tmp_path / "soak.json").read_text()) == json.loads(json.dumps(asdict(found)))
        assert found.table().row_count == 7

    def test_an_answer_that_differs_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(soak, "STATES", 2)
        ask = soak._ask

        def forgetful(domain: Rocq, problem: object) -> dict[soak.Question, ProofState]:
            answers = ask(domain, problem)  # type: ignore[arg-type]
            return {question: replace(answer, goals="something else") for question, answer in answers.items()}

        monkeypatch.setattr(soak, "_ask", forgetful)
        found = main(BenchConfig(tactics=64, lemmas=1, workers=1, hogs=0.0, kills=0.0))
        assert found.differ == 64
        assert len(found.differing) == 10
        assert "something else" in found.differing[0]


def interrupted(steps: Iterable[int], *_: object, after: int, **__: object) -> Iterator[int]:
    yield from islice(steps, after)
    raise KeyboardInterrupt


def test_folders_of_the_killed_go_with_the_next_prover() -> None:
    script = "import os; from surpass.domains.proofs.sandbox import scratch; print(scratch(), flush=True); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    assert left in sandbox.abandoned()
    mine = Path(sandbox.scratch())
    other = Path(sandbox.scratch())
    assert not left.exists()
    assert mine.is_dir()
    for folder in (mine, other):
        assert f"-{os.getpid()}-" in folder.name
        folder.rmdir()
