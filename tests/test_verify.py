"""Stored successes are believed only after another look: a record that lies is found out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import pytest

from surpass import cli
from surpass.core import Observation, Proposal, Status, Step, replay
from surpass.domains import DOMAINS
from surpass.domains.proofs.rocq.corpus import load
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.errors import DataError
from surpass.store import Run
from surpass.verify import judge_again, parts, verify_run
from tests.runs import make_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", problems=4, steps=1)


def spoil(folder: Path, change: dict[str, str]) -> None:
    """Change the first success of a run on disk."""
    path = folder / "arms" / "gfn-0" / "trajectories.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    row = next(row for row in rows if row["verdict"]["status"] == "accepted")
    row["problem"]["data"].update({key: value for key, value in change.items() if key == "statement"})
    row["steps"][-1].update({key: value for key, value in change.items() if key == "action"})
    row["verdict"].update({key: value for key, value in change.items() if key == "evidence"})
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


def test_true_records_stand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = {(play.problem.key, play.actions) for part in parts(folder) for play in part.trajectories() if play.solved}
    checks = verify_run(folder)
    assert {(check.problem, check.actions) for check in checks} == stored
    assert len(checks) == len(stored) >= 2
    assert all(check.stands for check in checks)
    assert cli.main(["verify", str(folder)]) == 0
    assert f"{len(checks)} of {len(checks)} stored successes stand" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"action": "exact h9"}, {"statement": "A"}, {"action": "admit"}])
def test_a_record_that_lies_falls(folder: Path, change: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    spoil(folder, change)
    checks = verify_run(folder)
    assert sum(not check.stands for check in checks) == 1
    assert cli.main(["verify", str(folder)]) == 1
    assert f"{len(checks) - 1} of {len(checks)}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["game24", "blocksworld", "prontoqa"])
def test_puzzles_are_judged_again_by_their_rules(name: str) -> None:
    domain = resolve_name(DOMAINS[name])(canonical=False)
    problem = next(iter(domain.problems("test")))
    solved = replay(domain, problem, problem.data["solution"])
    cut = replace(solved, steps=solved.steps[:-1])
    assert [verdict.status for verdict in judge_again([solved, cut])] == [Status.ACCEPTED, Status.REJECTED]


def test_a_checker_that_is_not_known_is_said(folder: Path) -> None:
    spoil(folder, {"evidence": "my word; T3"})
    with pytest.raises(DataError, match=r"expected evidence naming one of kernel, .*, rocq, found 'my word; T3'"):
        verify_run(folder)


def test_a_run_without_records_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder of a run"):
        verify_run(Run.create(tmp_path / "empty", {}).path)
    with pytest.raises(DataError):
        verify_run(tmp_path / "nowhere")


@pytest.mark.rocq
def test_rocq_judges_again_in_a_fresh_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus"
    flags = ["--subset", "Bool", "--limit", "1", "--jobs", "1", "--out", str(corpus)]
    assert cli.main(["proofs", "extract", *flags]) == 0
    problems = load(corpus)[:3]
    assert f"{len(load(corpus))} lemmas extracted" in capsys.readouterr().out
    with Rocq(problems) as domain:
        plays = [replay(domain, problem, problem.data["solution"]) for problem in problems]
    run = Run.create(tmp_path / "run", {})
    run.append(plays)
    assert [check.stands for check in verify_run(run.path)] == [True] * 3
    first = replace(plays[0], steps=(*plays[0].steps[:-1], Step(Observation(""), Proposal("admit."))))
    run.append([first])
    fallen = [check for check in verify_run(run.path) if not check.stands]
    assert [(check.problem, check.actions[-1]) for check in fallen] == [(problems[0].key, "admit.")]
    assert cli.main(["verify", str(run.path)]) == 1
