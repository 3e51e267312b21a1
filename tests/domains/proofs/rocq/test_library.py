"""The library against a real prover: what is kept, what is not, what adding again changes, and files that compile."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from surpass import cli
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.curriculum import Curriculum, learnable, success
from surpass.domains.proofs.rocq import library
from surpass.domains.proofs.rocq.library import Found, opened
from surpass.domains.proofs.rocq.session import sentences
from surpass.errors import DataError
from surpass.models.neighbours import features
from surpass.store import Run
from surpass.verify import Terms
from tests.domains.proofs.rocq.lemmas import needs_rocq

SOURCE = """Lemma one : 1 + 1 = 2.
Proof. simpl. reflexivity. Qed.
Section S.
Variable P : Prop.
Hypothesis p : P.
Lemma both : (P -> P) /\\ True.
Proof. split; [intros; exact p | exact I]. Qed.
End S.
Lemma uses : (False -> False) /\\ True.
Proof. split; auto. Qed.
Lemma after : forall P : Prop, P -> (P -> P) /\\ True.
Proof. exact both. Qed.
Lemma term : 3 = 3.
Proof eq_refl.
"""
HUMAN = {"one": ("simpl.", "reflexivity."), "both": ("split; [intros; exact p | exact I].",), "after": ("exact both.",)}
GOALS = {"one": "|- 1 + 1 = 2", "after": "|- forall P : Prop, P -> (P -> P) /\\ True", "term": "|- 3 = 3"}
T2 = "rocq 8.16.1; T2; sandbox=rlimit"
Claims = Iterable[tuple[str, Sequence[str], bool]]


def written(folder: Path) -> Path:
    """Write the development and return its one file."""
    folder.mkdir(parents=True)
    (folder / "Small.v").write_text(SOURCE)
    return folder / "Small.v"


def problem(file: Path, name: str) -> Problem:
    texts = sentences(str(file))
    position = next(index for index, text in enumerate(texts) if text.startswith(f"Lemma {name} "))
    opening = texts[position + 1] if texts[position + 1] == "Proof." else ""
    data = {"file": str(file), "top": "Mine.Small", "noinit": False, "options": ["-R", str(file.parent), "Mine"]}
    data |= {"position": position, "statement": texts[position], "opening": opening, "name": f"Mine.Small.{name}"}
    data |= {"goals": GOALS.get(name, "|- True"), "solution": HUMAN.get(name, ()), "assumptions": []}
    data |= {"closing": "Qed." if opening else texts[position + 1]}
    return Problem(f"Mine.Small.{name}", str(file), data)


def ran(folder: Path, parts: Mapping[str, Claims], file: Path) -> Path:
    """Write a run's folder: what each part tried, the tactics, and whether its record claims success."""
    whole = Run.create(folder, {"experiment": "made"})
    for part, claims in parts.items():
        run = Run.create(whole.path / part, {"arm": part})
        for number, (name, script, claimed) in enumerate(claims):
            steps = tuple(Step(Observation(""), Proposal(tactic)) for tactic in script)
            verdict = Verdict(Status.ACCEPTED, (1.0,), T2) if claimed else Verdict(Status.REJECTED, (0.0,), "budget")
            info = {"seconds": len(part) + 0.25 * number, "seed": 2**64 - 1}
            run.append([Trajectory(problem(file, name), steps, verdict, info)])
    return folder


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as base:
        return list(base.iterdump())


class TestTheFile:
    """What needs no prover."""

    def test_what_is_no_library_is_left_alone(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="found none"), opened(tmp_path / "none.sqlite"):
            pass
        with pytest.raises(DataError, match="found a folder"), opened(tmp_path, make=True):
            pass
        text, foreign, empty = tmp_path / "text", tmp_path / "foreign", tmp_path / "empty"
        empty.touch()
        text.write_text("something else, and long enough to be no database" * 10)
        with closing(sqlite3.connect(foreign)) as base:
            base.execute("CREATE TABLE theirs (a)")
        for path in (text, foreign, empty):
            before = path.read_bytes()
            for make in (False, True):
                with pytest.raises(DataError, match="expected a proof library"), opened(path, make=make):
                    pass
            assert path.read_bytes() == before

    def test_what_raises_inside_leaves_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "library"
        with opened(path, make=True):
            pass
        before = dump(path)

        def interrupted() -> None:
            with opened(path, make=True) as base:
                base.execute("INSERT INTO tries VALUES ('a', 'b', 1, 1)")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert dump(path) == before

    def test_records_of_other_domains_are_passed_over(self, tmp_path: Path) -> None:
        run = Run.create(tmp_path / "run", {})
        run.append([Trajectory(Problem("k", data={"goal": "A"}), (), Verdict(Status.ACCEPTED, (1.0,), "kernel"), {})])
        assert library.add(tmp_path / "library", run.path) == library.Added(other=1)

    def test_a_run_that_cannot_be_read_makes_no_library(self, tmp_path: Path) -> None:
        run = Run.create(tmp_path / "run", {})
        run.trajectories_path.write_bytes(b"\xff\xfe\n\x00\n")
        with pytest.raises(DataError):
            library.add(tmp_path / "library", run.path)
        assert [*tmp_path.iterdir()] == [run.path]

    def test_bad_input_is_one_message(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        place = ["--library", str(tmp_path / "library")]
        assert cli.main(["proofs", "library", "add", *place]) == 2
        assert cli.main(["proofs", "library", "add", str(tmp_path / "nowhere"), *place]) == 2
        assert cli.main(["proofs", "library", "export", "--out", str(tmp_path), *place]) == 2
        assert cli.main(["proofs", "library", "sho"]) == 2
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert "internal error" not in told


@needs_rocq[0]
@needs_rocq[1]
class TestAgainstTheProver:
    @pytest.fixture(autouse=True)
    def verdicts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SURPASS_VERDICTS", str(tmp_path / "verdicts.sqlite"))

    def test_from_runs_to_files_that_compile(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = written(tmp_path / "sources")
        base, out = tmp_path / "library.sqlite", tmp_path / "out"
        place = ["--library", str(base)]
        parts = {
            "gfn": [
                ("one", ["auto."], True),
                ("one", ["simpl.", "auto."], True),
                ("one", ["auto."], True),
                ("one", ["lia."], False),
                ("both", ["split; auto."], True),  # uses no variable of the section: `after` breaks
                ("uses", ["lia."], False),
                ("after", ["auto."], True),
            ],
            "base": [("one", ["auto."], True), ("term", ["auto."], True), ("after", ["exact both2."], True)],
        }
        run = ran(tmp_path / "run", parts, file)
        assert cli.main(["proofs", "library", "add", str(run), *place]) == 0
        assert "5 new proofs, 0 known before, 1 no longer stand" in capsys.readouterr().out

        before = dump(base)
        shutil.move(run, tmp_path / "moved")
        assert cli.main(["proofs", "library", "add", str(tmp_path / "moved"), *place]) == 0
        assert "0 new proofs, 5 known before" in capsys.readouterr().out
        assert dump(base) == before

        with opened(base) as reading:
            kept = {(one.problem.key.rpartition(".")[2], one.script): one for one in library.proofs(reading)}
            hard = library.difficulty(reading)
        assert {proof.trust for proof in kept.values()} == {"T3"}
        assert all("; T3; " in proof.evidence for proof in kept.values())
        shortest = kept["one", ("auto.",)]
        assert shortest.features == features("|- 1 + 1 = 2")
        assert [(one.part, one.policy, one.seed, one.seconds) for one in shortest.found] == [
            ("base", "base", str(2**64 - 1), 4.0),
            ("gfn", "gfn", str(2**64 - 1), 3.0),
        ]
        assert isinstance(shortest.found[0], Found)
        told = {key.rpartition(".")[2]: (d.shortest, d.human, d.proofs, d.tried, d.solved) for key, d in hard.items()}
        assert list(told.items()) == [
            ("both", (1, 1, 1, 1, 1)),
            ("term", (1, None, 1, 1, 1)),
            ("one", (1, 2, 2, 5, 4)),
            ("after", (1, 1, 1, 2, 1)),
            ("uses", (None, None, 0, 1, 0)),
        ]
        curriculum = Curriculum(success, learnable)
        curriculum.estimates |= {key: one.rate for key, one in hard.items()}
        problems = [problem(file, name) for name in told]
        drawn = [curriculum.draw(problems, 1, rng=random.Random(seed))[0].key for seed in range(60)]
        assert max(set(drawn), key=drawn.count) == "Mine.Small.after"  # solved half of the time

        assert cli.main(["proofs", "library", "show", "--unsolved", "--scripts", *place]) == 0
        told_lines = capsys.readouterr().out
        assert "5 lemmas, 5 proofs" in told_lines
        assert "simpl. auto." in told_lines

        self.export(file, out, place, capsys)

    def export(self, file: Path, out: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """`both` fits as long as `after` has our proof too, which does not mention it: all four proofs go in."""
        assert cli.main(["proofs", "library", "export", "--out", str(out), *place]) == 0
        assert "4 proofs in 1 files that compile" in capsys.readouterr().out
        text = (out / "Mine" / "Small.v").read_text()
        assert "Proof.\n  auto.\nQed.\nSection S." in text
        assert "Proof eq_refl." not in text
        assert text.index("Lemma uses") < text.index("Lemma after")
        told = json.loads((out / "manifest.json").read_text())["files"][0]
        assert told["file"] == "Mine/Small.v"
        subprocess.run(told["command"], cwd=out / "Mine", check=True, timeout=60)
        assert (out / "Mine" / "Small.vo").exists()
        assert cli.main(["proofs", "library", "export", "--out", str(out), *place]) == 2  # nothing is overwritten

        rows = out.with_name("rows")
        assert cli.main(["proofs", "library", "export", "--out", str(rows), "--format", "jsonl", *place]) == 0
        found = [json.loads(line) for line in (rows / "proofs.jsonl").read_text().splitlines()]
        assert [(one["name"], one["script"]) for one in found] == [
            ("Mine.Small.after", ["auto."]),
            ("Mine.Small.both", ["split; auto."]),
            ("Mine.Small.one", ["auto."]),
            ("Mine.Small.one", ["simpl.", "auto."]),
            ("Mine.Small.term", ["auto."]),
        ]

    def test_a_proof_that_breaks_what_follows_is_left_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, base, out = written(tmp_path / "sources"), tmp_path / "library", tmp_path / "out"
        claims = [("both", ["split; auto."], True), ("one", ["auto."], True), ("term", ["auto."], True)]
        library.add(base, ran(tmp_path / "run", {"a": claims}, file))
        assert cli.main(["proofs", "library", "export", "--out", str(out), "--library", str(base)]) == 1
        told = capsys.readouterr().out
        assert "Mine.Small.both left out: the file does not compile with it" in told
        assert "2 proofs in 1 files that compile" in told
        assert "split; [intros; exact p | exact I]." in (out / "Mine" / "Small.v").read_text()

        file.write_text(file.read_text().replace("Variable P : Prop.", "Variables P : Prop."))
        sentences.cache_clear()
        assert cli.main(["proofs", "library", "export", "--out", f"{out}2", "--library", str(base)]) == 1
        told = capsys.readouterr().out
        assert "Mine.Small.term left out: the file has changed" in told
        assert "1 proofs in 1 files that compile" in told  # the one before the change

    def test_a_second_checker_raises_the_trust(self, tmp_path: Path) -> None:
        run = ran(tmp_path / "run", {"a": [("one", ["auto."], True)]}, written(tmp_path / "sources"))
        levels = list[str]()
        for coqchk in (False, True, False):
            library.add(tmp_path / "library", run, terms=Terms(coqchk=coqchk))
            with opened(tmp_path / "library") as base:
                levels += [proof.trust for proof in library.proofs(base)]
        assert levels == ["T3", "T4", "T4"]

    def test_a_source_that_is_gone_is_reported(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = written(tmp_path / "sources")
        run = ran(tmp_path / "run", {"a": [("one", ["auto."], True)]}, file)
        shutil.move(file.parent, tmp_path / "elsewhere")
        words = ["proofs", "library", "add", str(run), "--library", str(tmp_path / "library")]
        assert cli.main(words) == 1
        assert "--sources" in capsys.readouterr().out
        assert cli.main([*words, "--sources", str(tmp_path / "elsewhere")]) == 0
        assert "1 new proofs" in capsys.readouterr().out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A library with one proof."""
    posed = problem(written(tmp_path / "sources"), "one")
    with opened(tmp_path / "library", make=True) as base:
        base.execute("INSERT INTO lemmas VALUES (?, ?, ?, ?, ?, ?, ?, ?)", library._row("id", posed, "context"))
        base.execute("INSERT INTO proofs VALUES ('p', 'id', '[\"auto.\"]', 1, 'T3', 'rocq; T3')")
        base.execute("INSERT INTO found VALUES ('p', 'o', 'run', 'part', 'gfn', '7', '2026', 0.5)")
        base.execute("INSERT INTO tries VALUES ('id', 'o', 2, 1)")
    return tmp_path / "library"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE lemmas SET problem = '{}'",
        "UPDATE lemmas SET problem = replace(problem, 'statement', 'statemenu')",
        "UPDATE lemmas SET key = NULL",
        "UPDATE proofs SET script = x'ff'",
        "UPDATE proofs SET trust = NULL",
        "UPDATE found SET seconds = 'long'",
        "UPDATE lemmas SET features = '[]'",
        "UPDATE tries SET tried = 'x'",
    ],
)
def test_a_damaged_row_is_one_message(damage: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(path, make=True) as base:
        base.execute(damage)
    assert cli.main(["proofs", "library", "show", "--scripts", "--library", str(path)]) == 2
    assert "damaged" in " ".join(capsys.readouterr().err.split())


def test_damaged_bytes_are_no_internal_error(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, rng, codes = path.read_bytes(), random.Random(0), set[int]()
    for _ in range(30):
        damaged = bytearray(whole)
        for place in rng.choices(range(100, len(whole)), k=rng.choice((1, 20, 400))):
            damaged[place] = rng.randrange(256)
        path.write_bytes(damaged)
        codes.add(cli.main(["proofs", "library", "show", "--scripts", "--library", str(path)]))
    assert codes == {0, 2}
    assert "internal error" not in capsys.readouterr().err


def test_rows_go_into_a_data_set(path: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    words = ["--format", "datasets", "--out", str(tmp_path / "out"), "--library", str(path)]
    assert cli.main(["proofs", "library", "export", *words]) == 0
    (row,) = datasets.load_from_disk(str(tmp_path / "out"))
    assert (row["name"], row["script"], row["found"][0]["seed"]) == ("Mine.Small.one", ["auto."], "7")
    assert dict(zip(row["features"]["names"], row["features"]["counts"], strict=True)) == features("|- 1 + 1 = 2")
