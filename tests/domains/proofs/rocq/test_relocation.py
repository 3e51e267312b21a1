"""Records find their sources after a move, and say so where they do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from surpass import cli
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.domains.proofs.rocq import relocation
from surpass.domains.proofs.rocq.corpus import load
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.relocation import relocated
from surpass.errors import DataError
from surpass.store import Run


def problem(file: str, top: str, *options: str) -> Problem:
    posed = {"statement": "Lemma a : True.", "position": 0, "name": f"{top}.a"}
    return Problem(top, file, {"file": file, "top": top, "noinit": False, "options": list(options), **posed})


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Where the sources of /old/home/lib are now."""
    (tmp_path / "new" / "lib" / "sub").mkdir(parents=True)
    (tmp_path / "new" / "lib" / "sub" / "A.v").write_text("")
    return tmp_path / "new"


@pytest.mark.parametrize("below", ["", "lib", "lib/sub"])
def test_the_longest_end_of_the_path_is_found_and_the_load_path_follows(moved: Path, below: str) -> None:
    old = problem("/old/home/lib/sub/A.v", "Lib.sub.A", "-R", "/old/home/lib", "Lib", "-Q", "/else", "")
    new = relocated(old, moved / below)
    assert new.data["file"] == str(moved / "lib" / "sub" / "A.v")
    there = "/old/home/lib" if below == "lib/sub" else str(moved / "lib")  # its root was not given
    assert new.data["options"] == ["-R", there, "Lib", "-Q", "/else", ""]
    assert (new.key, new.group, new.data["statement"]) == (old.key, old.group, old.data["statement"])


def test_what_has_not_moved_stays(moved: Path) -> None:
    here = problem(str(moved / "lib" / "sub" / "A.v"), "Lib.sub.A", "-R", str(moved / "lib"), "Lib")
    assert relocated(here) is here


def test_the_standard_library_is_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relocation, "library_root", lambda: tmp_path)
    assert relocated(problem("/opam/theories/Lists/List.v", "Coq.Lists.List")).data["file"] == str(
        tmp_path / "theories" / "Lists" / "List.v"
    )


def test_what_is_not_found_is_said(moved: Path) -> None:
    lost = problem("/old/B.v", "B", "-Q", "/old", "")
    with pytest.raises(DataError, match="say --sources FOLDER"):
        relocated(lost)
    with pytest.raises(DataError, match=r"expected B.v in .*, found no file there"):
        relocated(lost, moved)


@pytest.mark.rocq
def test_a_run_is_verified_where_its_sources_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records alone, as on another machine: corpus and sources are gone from where they were."""
    source, corpus = tmp_path / "first" / "project", tmp_path / "first" / "corpus"
    source.mkdir(parents=True)
    (source / "A.v").write_text("Lemma a : True /\\ True.\nProof. split; exact I. Qed.\nLemma b : 1 = 1. auto. Qed.\n")
    flags = ["--path", str(source), "--name", "Mine", "--jobs", "1", "--out", str(corpus)]
    assert cli.main(["proofs", "extract", *flags]) == 0
    run = Run.create(tmp_path / "run", {})
    with Rocq(load(corpus)) as domain:
        run.append(replay(domain, one, one.data["solution"]) for one in load(corpus))
    shutil.move(tmp_path / "first", tmp_path / "second")
    rows = run.trajectories_path.read_text().splitlines()
    forged = json.loads(rows[0])
    forged["steps"][-1]["action"] = "exact II."
    run.trajectories_path.write_text("\n".join([*rows, json.dumps(forged)]) + "\n")
    assert cli.main(["verify", str(run.path)]) == 2
    assert "say --sources FOLDER" in capsys.readouterr().err
    monkeypatch.setenv("SURPASS_VERDICTS", str(tmp_path / "known"))
    where = ["--sources", str(tmp_path / "second" / "project")]
    assert cli.main(["verify", str(run.path), *where, "--coqchk"]) == 1
    told = capsys.readouterr().out
    assert "II" in told
    assert told.splitlines()[-1] == "2 of 3 stored successes stand"
    assert cli.main(["verify", str(run.path), *where]) == 1
    assert "2 of 3 stored successes stand (3 known from before; --fresh asks again)" in capsys.readouterr().out
    assert cli.main(["verify", str(run.path), *where, "--fresh"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 3 stored successes stand"


WRONG: list[tuple[str, object]] = [
    *(
        (name, value)
        for name in ("file", "top", "statement", "name", "opening")
        for value in (None, 1, ["x"], "\ud800", "\0")
    ),
    *(
        (name, value)
        for name in ("options", "solution", "preamble", "assumptions")
        for value in (None, "x", [None], ["\0"])
    ),
    *(("position", value) for value in (None, "1", True, [1])),
    ("noinit", 0),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_damaged_record_is_one_message(
    name: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = problem(str(tmp_path / "A.v"), "A")
    damaged = Problem("key", data={**good.data, name: value})
    run = Run.create(tmp_path / "run", {})
    step = Step(Observation("|- True"), Proposal("exact I."))
    run.append([Trajectory(damaged, (step,), Verdict(Status.ACCEPTED, (1.0,), "rocq 8.16.1; T3"), {})])
    assert cli.main(["verify", str(run.path)]) == 2
    assert "the record is damaged" in " ".join(capsys.readouterr().err.split())


def test_a_record_without_a_source_is_told() -> None:
    whole = problem("/A.v", "A")
    for name in whole.data:
        with pytest.raises(DataError, match=f"'{name}'.*found none"):
            relocated(Problem("key", data={key: kept for key, kept in whole.data.items() if key != name}))
