"""Each part of what a verdict depends on changes its key; where files lie does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.domains.proofs.rocq import protocol, remembered, trust
from surpass.domains.proofs.rocq.remembered import recheck
from surpass.errors import DataError
from surpass.verdicts import Verdicts
from tests.domains.proofs.rocq.lemmas import needs_rocq

SOURCE = (
    "Lemma a : 0 = 0.\nProof. auto. Qed.\nLemma b : 1 = 1.\nProof. auto. Qed.\nLemma c : 2 = 2. Proof. auto. Qed.\n"
)
NO_ROCQ = Verdict(Status.ACCEPTED, (1.0,), "asked")


def claim(file: Path, script: Sequence[str] = ("auto.",), **changes: Any) -> Trajectory:
    """A trajectory that says it proves the lemma b of the source."""
    data = {"file": str(file), "top": "Mine.Small", "noinit": False, "options": ["-R", str(file.parent), "Mine"]}
    data |= {"position": 4, "statement": "Lemma b : 1 = 1.", "opening": "Proof.", "name": "Mine.Small.b"}
    problem = Problem("b", str(file), {**data, "goals": "|- 1 = 1", "assumptions": ["x"], **changes})
    return Trajectory(problem, tuple(Step(Observation(""), Proposal(tactic)) for tactic in script), NO_ROCQ)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "one")


def written(folder: Path, source: str = SOURCE) -> Path:
    folder.mkdir()
    file = folder / "Small.v"
    file.write_text(source)
    (folder / "Other.vo").write_text("compiled")
    return file


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Trajectory]:
    """What reaches the prover, which accepts everything here."""
    reached = list[Trajectory]()

    def accept(trajectories: Sequence[Trajectory]) -> list[Verdict]:
        reached.extend(trajectories)
        return [NO_ROCQ] * len(trajectories)

    monkeypatch.setattr(trust, "recheck", accept)
    monkeypatch.setattr(protocol, "version", lambda: "8.16.1")
    monkeypatch.setattr(remembered, "library_root", lambda: Path("/nowhere"))
    remembered._judge.cache_clear()
    return reached


def test_the_same_is_asked_once(file: Path, tmp_path: Path, asked: list[Trajectory]) -> None:
    known = Verdicts(tmp_path / "known")
    for _ in range(3):
        assert recheck([claim(file), claim(file, ["easy."]), claim(file)], known) == [NO_ROCQ] * 3
    assert [one.actions for one in asked] == [("auto.",), ("easy.",)]
    assert (known.asked, known.hits) == (9, 6)
    assert recheck([claim(file)], None) == [NO_ROCQ]
    assert recheck([], known) == []
    assert len(asked) == 3


CHANGES: Mapping[str, Mapping[str, Any]] = {
    "assumptions": {"assumptions": ["x", "y"]},
    "name": {"name": "Mine.Small.bb"},
    "solution": {"solution": ["exact x."]},
    "top": {"top": "Mine.Smaller"},
    "opening": {"opening": ""},
    "preamble": {"preamble": ["Require Import Lia."]},
    "noinit": {"noinit": True},
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_problem_is_asked_anew(change: str, file: Path, tmp_path: Path, asked: list[Trajectory]) -> None:
    known = Verdicts(tmp_path / "known")
    recheck([claim(file)], known)
    recheck([claim(file, **CHANGES[change])], known)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("source", "times"),
    [(SOURCE.replace("a : 0 = 0", "a : 0 = 0 + 0"), 2), (SOURCE.replace("2 = 2", "3 = 3"), 1), (SOURCE, 1)],
)
def test_what_stands_before_the_statement_counts_and_nothing_else_of_the_file(
    source: str, times: int, file: Path, tmp_path: Path, asked: list[Trajectory]
) -> None:
    known, other = Verdicts(tmp_path / "known"), written(tmp_path / "two", source)
    shutil.copystat(file.parent / "Other.vo", other.parent / "Other.vo")
    recheck([claim(file)], known)
    recheck([claim(other)], known)
    assert len(asked) == times


@pytest.mark.parametrize("name", ["Other.vo", "linked/Far.vo", "plugin.cmxs"])
def test_a_library_of_equal_size_and_time_a_linked_one_and_a_plugin_count(
    name: str, file: Path, tmp_path: Path, asked: list[Trajectory]
) -> None:
    (tmp_path / "far").mkdir()
    (file.parent / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "round").symlink_to(tmp_path / "far")
    (file.parent / "Nowhere.vo").symlink_to(tmp_path / "nowhere")
    known, library = Verdicts(tmp_path / "known"), file.parent / name
    for text, times in (("one", 1), ("two", 2), ("one", 2)):
        library.write_text(text)
        os.utime(library, (1, 1))
        recheck([claim(file)], known)
        assert len(asked) == times


def test_another_version_library_or_rule_is_asked_anew(
    file: Path, tmp_path: Path, asked: list[Trajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Verdicts(tmp_path / "known")
    recheck([claim(file)], known)
    (file.parent / "Other.vo").write_text("compiled anew")
    recheck([claim(file)], known)
    assert len(asked) == 2
    installed = tmp_path / "installed"
    (installed / "user-contrib").mkdir(parents=True)
    (installed / "user-contrib" / "Hammer.vo").write_text("")
    for where, name, value in (
        (protocol, "version", lambda: "9.0"),
        (trust, "__file__", str(file)),
        (remembered, "library_root", lambda: installed),
    ):
        before = len(asked)
        monkeypatch.setattr(where, name, value)
        remembered._judge.cache_clear()
        recheck([claim(file)], known)
        recheck([claim(file)], known)
        assert len(asked) == before + 1


@pytest.mark.parametrize("load", ["Load other.", 'Time Load Verbose "other".', "Timeout 5 Load other."])
def test_what_reads_another_file_is_asked_about_every_time(load: str, tmp_path: Path, asked: list[Trajectory]) -> None:
    """What `Load` reads is no part of the key: nothing is remembered behind it, all is before it."""
    file = written(tmp_path / "loads", SOURCE.replace("Lemma b", f"{load}\nLemma b"))
    known = Verdicts(tmp_path / "verdicts.sqlite")
    behind = claim(file, position=5)
    before = claim(file, position=0, statement="Lemma a : 0 = 0.", name="Mine.Small.a")
    for _ in range(2):
        assert recheck([before, behind], known) == [NO_ROCQ, NO_ROCQ]
    assert asked == [before, behind, behind]
    mentioned = written(tmp_path / "names", SOURCE.replace("Lemma b", "Definition Load := 0.\nLemma b"))
    for _ in range(2):
        recheck([claim(mentioned, position=5)], known)
    assert len(asked) == 4


def test_a_file_that_says_something_else_is_no_hit(file: Path, tmp_path: Path, asked: list[Trajectory]) -> None:
    known = Verdicts(tmp_path / "known")
    recheck([claim(file)], known)
    other = written(tmp_path / "two", SOURCE.replace("1 = 1", "1 = 2"))
    with pytest.raises(DataError, match="the file has changed"):
        recheck([claim(other)], known)


def test_an_unknown_is_asked_again(
    file: Path, tmp_path: Path, asked: list[Trajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = list[int]()

    def unsure(trajectories: Sequence[Trajectory]) -> list[Verdict]:
        times.append(len(trajectories))
        return [Verdict(Status.UNKNOWN, (), "Timeout!")] * len(trajectories)

    monkeypatch.setattr(trust, "recheck", unsure)
    known = Verdicts(tmp_path / "known")
    for _ in range(2):
        assert recheck([claim(file)], known)[0].status is Status.UNKNOWN
    assert times == [1, 1]


@needs_rocq[0]
@needs_rocq[1]
def test_real_verdicts_are_remembered_as_they_were(tmp_path: Path) -> None:
    file = written(tmp_path / "one")
    claims = [claim(file), claim(file, ["exact I."])]
    known = Verdicts(tmp_path / "known")
    first = recheck(claims, known)
    assert [one.status for one in first] == [Status.ACCEPTED, Status.REJECTED]
    assert recheck(claims, known) == first == trust.recheck(claims)
    assert known.hits == 2
