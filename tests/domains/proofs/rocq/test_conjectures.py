"""Conjectures on a small development of our own: what each kind makes, what is left out, what stands, what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass import cli
from surpass.core import Problem
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq import library
from surpass.domains.proofs.rocq.conjectures import (
    KINDS,
    Conjecture,
    Mutated,
    MutationOptions,
    canonical,
    mutate,
    novel,
    pose,
    seeds_of,
)
from surpass.domains.proofs.rocq.conjecturing import Known, Trying, conjecture
from surpass.domains.proofs.rocq.session import Source
from surpass.errors import DataError
from surpass.models.fixed import Fixed
from surpass.verify import verify_run
from tests.domains.proofs.rocq.developments import numbers
from tests.domains.proofs.rocq.lemmas import needs_rocq

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9']{0,4}", fullmatch=True), min_size=3, max_size=3, unique=True)


@given(NAMES, NAMES)
def test_statements_are_compared_up_to_names_of_bound_variables(ours: list[str], theirs: list[str]) -> None:
    def written(names: list[str], free: str = "plus") -> str:
        a, b, c = (f"{name}_" for name in names)  # no name of a constant
        return f"forall ({a} {b} : nat) ({c} : Prop), {free} {a} {b} = {b} -> (exists {a} : nat, {a} = {b}) /\\ {c}"

    assert canonical(written(ours)) == canonical(written(theirs))
    assert canonical(written(ours)) != canonical(written(theirs, free="mult"))


def test_which_variable_stands_where_is_no_matter_of_names() -> None:
    assert canonical("forall n m : nat, n = m") != canonical("forall n m : nat, n = n")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Problem]:
    corpus = numbers(tmp_path_factory.mktemp("numbers"), tmp_path_factory.mktemp("corpus"), more=2)
    return {str(one.data["name"]).rpartition(".")[2]: one for one in corpora.load(corpus)}


@pytest.fixture(scope="module")
def mutants(known: Mapping[str, Problem]) -> Mutated:
    """All of the file but `zero_zero`, which is held out."""
    seeds = [one for name, one in known.items() if name != "zero_zero"]
    data = seeds[0].data
    source = Source(data["file"], data["top"], data["noinit"], tuple(data["options"]))
    options = MutationOptions(each=40)
    return novel([mutate(source, list(known.values()), seeds, partners=seeds, options=options)])[0]


@pytest.mark.usefixtures("known")
class TestWithRocq:
    pytestmark = needs_rocq

    def test_every_kind_of_mutation_is_made(self, mutants: Mutated) -> None:
        found = {(one.mutation, one.statement) for one in mutants.conjectures}
        assert {kind for kind, _ in found} == set(KINDS)
        for wanted in (
            ("specialise", "forall P : Prop, P /\\ True -> P"),
            ("generalise", "forall n n0 : nat, n * n0 = n0"),
            ("swap", "forall n : nat, n = 0 + 0 -> S n = 1"),
            ("compose", "forall P Q : Prop, P /\\ Q -> Q"),  # `weaken` behind `swap_and`
            ("compose", "forall P Q : Prop, Q /\\ P -> P"),  # `swap_and` before `weaken`
        ):
            assert wanted in found

    def test_no_lemma_is_stated_again_held_out_or_not(self, mutants: Mutated, known: Mapping[str, Problem]) -> None:
        forms = {canonical(one.statement) for one in mutants.conjectures}
        assert canonical("0 + 0 = 0") in mutants.stated  # what `add_zero` is at 0, and held out
        assert not forms & mutants.stated
        assert len(forms) == len(mutants.conjectures)
        assert mutants.dropped["trivial"] > 0

    def test_what_is_posed_says_what_was_made_and_names_no_other(
        self, mutants: Mutated, known: Mapping[str, Problem], tmp_path: Path
    ) -> None:
        problems = pose(mutants, tmp_path, list(known.values()))
        assert [one.data["goals"] for one in problems] == [f"|- {one.statement}" for one in mutants.conjectures]
        parents = [one.data["conjecture"]["parents"] for one in problems]
        assert parents == [list(one.parents) for one in mutants.conjectures]
        assert all(one.data["assumptions"] == [] for one in problems)
        text = Path(problems[0].data["file"]).read_text(encoding="utf-8")
        assert text.count("Abort.") == len(problems)
        assert "Admitted" not in text

    def test_proofs_stand_anew_and_enter_the_library_with_their_origin(
        self, known: Mapping[str, Problem], tmp_path: Path
    ) -> None:
        lemmas = list(known.values())
        seeds = [one for name, one in known.items() if name in ("add_zero", "weaken")]
        what = Known(lemmas, [one for one in lemmas if one.data["name"] != "N.Num.zero_zero"], seeds)
        trying = Trying(calls=32, samples=2, max_steps=3)
        policy = Fixed(["intros.", "auto."])
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "config.json").write_text('{"experiment": "conjectures"}')
        found = conjecture(folder, what, policy, mutation=MutationOptions(each=3), trying=trying)
        proved = [one for one in found if one.proofs]
        assert 0 < len(proved) < len(found)  # some of what is made is false
        assert all(one.rate is not None and one.barely(0.0, 1.0) for one in proved)
        assert not any(one.barely(0.9, 1.0) for one in proved if not one.rate)
        checks = verify_run(folder)
        assert checks
        assert all(check.stands for check in checks)
        for one in proved:
            for proof in one.proofs:
                assert proof.problem.data["conjecture"] == one.problem.data["conjecture"]
                assert not any("premises:" in step.observation.text for step in proof.steps)
        library.add(tmp_path / "proofs.sqlite", folder)
        with library.opened(tmp_path / "proofs.sqlite") as base:
            kept = {one.problem.key: one.problem.data["conjecture"] for one in library.proofs(base)}
        assert kept == {one.problem.key: one.problem.data["conjecture"] for one in proved}
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json*")}
        again = conjecture(folder, what, policy, mutation=MutationOptions(each=3), trying=trying)
        assert [(one.problem.key, one.rate) for one in again] == [(one.problem.key, one.rate) for one in found]
        assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.json*")}

    def test_the_command_says_what_came_of_it(
        self, known: Mapping[str, Problem], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        corpus = numbers(tmp_path, tmp_path / "corpus", more=8)
        words = ["proofs", "conjecture", str(corpus), "--lemmas", "3", "--each", "1", "--calls", "16"]
        words += ["--out", str(tmp_path / "run"), "--library", str(tmp_path / "proofs.sqlite")]
        assert cli.main(words) == 0
        printed = capsys.readouterr().out
        assert "proved (T3)" in printed
        assert "new proofs, 0 known before" in printed
        assert cli.main(["proofs", "library", "show", "--library", str(tmp_path / "proofs.sqlite"), "--scripts"]) == 0
        assert "conjecture: specialise of N.Num." in capsys.readouterr().out
        assert cli.main(words) == 0
        assert "0 new proofs" in capsys.readouterr().out
        assert cli.main([*words, "--seed", "1"]) == 2  # another question in the same folder

    def test_a_header_that_rocq_does_not_take_is_told(self, mutants: Mutated, tmp_path: Path) -> None:
        broken = Mutated(mutants.source, ("Require Import Nowhere.",), mutants.conjectures[:1], frozenset())
        with pytest.raises(DataError, match="expected 1 open lemmas"):
            pose(broken, tmp_path, [])


def test_what_any_file_states_is_left_out_everywhere() -> None:
    source = Source("A.v", "A")
    same = Conjecture("forall n : nat, n = n", "swap", ("A.x",), "rewrite x.")
    other = Conjecture("forall m : nat, m + 0 = m", "swap", ("A.x",), "rewrite x.")
    first = Mutated(source, (), (same, other), frozenset())
    second = Mutated(source, (), (same,), frozenset([canonical("forall k : nat, k + 0 = k")]))
    assert [one.conjectures for one in novel([first, second])] == [(same,), ()]
    assert first.dropped["stated elsewhere"] == 1


def test_seeds_are_drawn_by_their_seed_and_keep_their_order() -> None:
    lemmas = [Problem(str(i), data={"name": f"A.l{i}", "file": "A.v", "top": "A"}) for i in range(30)]
    drawn = seeds_of(lemmas, 10, 3)
    assert drawn == seeds_of(lemmas, 10, 3) != seeds_of(lemmas, 10, 4)
    assert [int(one.key) for one in drawn] == sorted(int(one.key) for one in drawn)
    assert seeds_of(lemmas, 0, 3) == lemmas
    with pytest.raises(Exception, match="expected problems of a Rocq corpus"):
        seeds_of([Problem("x")], 0, 0)


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    assert cli.main(["proofs", "conjecture", str(tmp_path), "--low", "0.9", "--high", "0.1"]) == 2
    assert cli.main(["proofs", "conjecture", str(tmp_path)]) == 2  # no corpus
