"""What is accessible, on a small library of our own: nothing from behind, nothing that is not required, real names."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Problem
from surpass.domains.proofs.retrieval import BM25, Retriever
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.extraction import ExtractConfig, extract
from surpass.domains.proofs.rocq.premises import Library, collect, demands, used
from surpass.domains.proofs.rocq.protocol import CommandFailed, Toplevel
from surpass.domains.proofs.rocq.requires import requires
from surpass.domains.proofs.rocq.sentences import split
from surpass.errors import DataError
from surpass.models.scripted import Scripted
from surpass.rollouts.runner import run
from surpass.search.sampling import sample

BASE = """
Lemma base_one : 1 = 1. Proof. reflexivity. Qed.
Module Inner.
  Lemma hidden : 2 = 2. Proof. reflexivity. Qed.
  Lemma uses_hidden : 2 = 2 \\/ False. Proof. left. exact hidden. Qed.
End Inner.
Lemma base_last : 3 = 3. Proof. reflexivity. Qed.
"""
OTHER = "Lemma other_one : 4 = 4. Proof. reflexivity. Qed.\n"
MAIN = """
Lemma early : 5 = 5. Proof. reflexivity. Qed.
From P Require Import Base.
Definition five := 5.
Lemma middle : five = 5. Proof. reflexivity. Qed.
Section S.
  Variable n : nat.
  Let local : n = n. Proof. reflexivity. Qed.
  Lemma sectioned : n = n. Proof. exact local. Qed.
End S.
Lemma late : 1 = 1 /\\ 2 = 2. Proof. split. apply base_one. apply Inner.hidden. Qed.
"""


def build(root: Path, out: Path) -> Path:
    """Three files, compiled, extracted, their premises collected."""
    for name, text in {"Base": BASE, "Other": OTHER, "Main": MAIN}.items():
        (root / f"{name}.v").write_text(text, encoding="utf-8")
        subprocess.run(["coqc", "-q", "-R", str(root), "P", str(root / f"{name}.v")], check=True, capture_output=True)
    extract(ExtractConfig(path=str(root), name="P", out=str(out), jobs=1))
    counts, failed = collect(out, jobs=1)
    assert set(counts) == {"P.Base", "P.Main", "P.Other"}
    assert not failed
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"), tmp_path_factory.mktemp("corpus"))


def lemmas(corpus: Path) -> dict[str, Problem]:
    return {one.data["name"].rpartition(".")[2]: one for one in corpora.load(corpus)}


def names(corpus: Path, lemma: str) -> set[str]:
    return {one.name for one in Library(corpus)(lemmas(corpus)[lemma])}


OURS = {
    "base_one",
    "base_last",
    "Inner.hidden",
    "Inner.uses_hidden",
    "other_one",
    "early",
    "middle",
    "sectioned",
    "late",
}


@pytest.mark.rocq
def test_what_precedes_is_accessible_under_its_name_there(corpus: Path) -> None:
    expected = {
        "base_one": set[str](),
        "hidden": {"base_one"},
        "uses_hidden": {"base_one", "hidden"},
        "base_last": {"base_one", "Inner.hidden", "Inner.uses_hidden"},
        "other_one": set[str](),
        "early": set[str](),
        "middle": {"early", "base_one", "base_last", "Inner.hidden", "Inner.uses_hidden"},
    }
    ours = OURS | {"hidden", "uses_hidden"}
    for lemma, found in expected.items():
        assert names(corpus, lemma) & ours == found, lemma
    late = expected["middle"] | {"middle", "sectioned"}
    assert names(corpus, "late") & (ours | {"local"}) == late  # `local` has ended with its section
    assert "le_n_S" in names(corpus, "base_one")  # the prelude
    assert "five" not in names(corpus, "late")  # a definition is no premise


@pytest.mark.rocq
def test_every_premise_can_be_named_where_it_is_offered(corpus: Path) -> None:
    """The property that matters, asked of the prover itself at every lemma: every name it offers means something."""
    library = Library(corpus)
    for problem in lemmas(corpus).values():
        sentences = [one.text for one in split(Path(problem.data["file"]).read_text(encoding="utf-8"))]
        with Toplevel(problem.data["top"], problem.data["options"]) as top:
            for sentence in sentences[: problem.data["position"]]:
                top.run(sentence)
            offered = [one.name for one in library(problem)]
            assert offered
            for name in offered:
                try:
                    top.query(f"Check {name}.")
                except CommandFailed as error:
                    pytest.fail(f"{problem.key}: {name} is offered and cannot be named: {error}")


@pytest.mark.rocq
def test_no_lemma_is_offered_to_itself_or_to_what_comes_before_it(corpus: Path) -> None:
    found = corpora.load(corpus)
    built_on = requires(found)
    library = Library(corpus)
    for problem in found:
        offered = {one.name for one in library(problem)}
        for other in found:
            short = other.data["name"].removeprefix(f"{other.data['top']}.")
            inside = problem.data["name"].rpartition(".")[0] == other.data["name"].rpartition(".")[0]
            name = short.rpartition(".")[2] if inside else short
            before = other.group == problem.group and other.data["position"] < problem.data["position"]
            if other.group != problem.group and other.group not in built_on[problem.group]:
                assert name not in offered, (problem.key, other.key)
            if other.group == problem.group and not before:
                assert name not in offered, (problem.key, other.key)


@pytest.mark.rocq
def test_the_require_graph_is_that_of_the_compiler(corpus: Path) -> None:
    found = lemmas(corpus)
    graph = {
        Path(file).stem: {Path(one).stem for one in built} for file, built in requires(list(found.values())).items()
    }
    assert "Base" in graph["Main"]
    assert "Other" not in graph["Main"]
    assert not {"Base", "Main", "Other"} & graph["Base"]
    assert {"Prelude", "Logic", "Peano"} <= graph["Other"]


@pytest.mark.rocq
def test_demands_are_what_human_proofs_name(corpus: Path) -> None:
    found = {
        (one.problem.data["name"], one.goals.partition("\n\n")[0]): {one.accessible[i].name for i in one.used}
        for one in demands(corpora.load(corpus), Library(corpus))
    }
    assert found[("P.Main.late", "|- 2 = 2")] == {"Inner.hidden"}
    assert found[("P.Main.late", "|- 1 = 1")] == {"base_one"}
    assert found[("P.Base.Inner.uses_hidden", "|- 2 = 2")] == {"hidden"}


@pytest.mark.rocq
def test_a_view_offers_premises_of_the_state_and_shares_the_provers(corpus: Path) -> None:
    library = Library(corpus)
    late = lemmas(corpus)["late"]
    with Rocq([late], history=True) as domain:
        view = domain.offering(Retriever(library, BM25(library(late)), 4))
        assert view.pool is domain.pool
        text = view.observe(view.start(late)).text
        assert text.startswith("premises:\n")
        assert "premises:" not in domain.observe(domain.start(late)).text
        policy = Scripted({}, otherwise=["split; apply eq_refl."])
        (found,) = run(partial(sample, n=1), [late], view, policy)
        assert found.solved
        assert "premises:" in found.steps[0].observation.text


@pytest.mark.rocq
def test_what_was_collected_is_kept_and_what_is_torn_is_told(corpus: Path) -> None:
    path = corpus / "premises" / "P.Other.json.gz"
    before = path.stat().st_mtime_ns
    collect(corpus, jobs=1)
    assert path.stat().st_mtime_ns == before
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    try:
        with pytest.raises(DataError, match="delete the file"):
            names(corpus, "other_one")
    finally:
        path.write_bytes(whole)


def test_a_corpus_without_premises_says_how_to_collect_them(tmp_path: Path) -> None:
    problem = Problem("p", data={"top": "No", "position": 3})
    with pytest.raises(DataError, match="surpass proofs premises"):
        Library(tmp_path)(problem)
    with pytest.raises(DataError, match="expected a corpus"):
        collect(tmp_path)
    (tmp_path / "files").mkdir()
    for header in ("", "{}", "[]", '"top"', '{"file": "A.v"}'):
        (tmp_path / "files" / "A.jsonl").write_text(header + "\n")
        with pytest.raises(DataError, match="expected a header"):
            collect(tmp_path)


@pytest.mark.parametrize(
    ("goals", "tactic", "expected"),
    [
        ("|- x", "apply le_n.", ["le_n"]),
        ("le_n : nat\n|- x", "apply le_n.", []),  # a hypothesis
        ("|- x", "left.", []),  # a tactic, whatever else has that name
        ("|- x", "split; [left | right]; auto using left.", ["left"]),
        ("|- x", "rewrite <- (Nat.add_comm n), Foo.le_n; exact (Nat.add_comm _ _).", ["Nat.add_comm", "le_n"]),
        ("|- x", "rewrite Nat.add_comm_more.", []),
        ("a, le_n, b : nat\n|- x", "destruct (le_n a) as [left|].", []),
    ],
)
def test_names_are_found_in_tactics(goals: str, tactic: str, expected: list[str]) -> None:
    assert used(goals, tactic, {"le_n": 0, "left": 0, "Nat.add_comm": 0}) == expected


@given(st.text(), st.text())
def test_any_tactic_can_be_read(goals: str, tactic: str) -> None:
    assert set(used(goals, tactic, {"le_n": 0})) <= {"le_n"}
