"""Names of axioms, whatever hides or shortens them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from surpass.domains.proofs.rocq.assumptions import IMPREDICATIVE, full_name, known_axioms, rests_on
from surpass.domains.proofs.rocq.protocol import Toplevel
from tests.domains.proofs.rocq.lemmas import needs_rocq

pytestmark = needs_rocq

LIBRARY = """Axiom ax : True. | Module M. | Axiom ax : 5 = 6. | Axiom only : 6 = 7. | End M. | Module Alias := M.
Module Top. | Axiom ax : 7 = 8. | End Top.
Module Type T. | Axiom param : 0 = 1. | End T.
Module Functor (X : T). | Lemma inner : 0 = 1. | exact X.param. | Qed."""


@pytest.fixture(scope="module")
def top() -> Iterator[Toplevel]:
    with Toplevel("Top") as opened:
        for sentence in LIBRARY.replace("\n", " | ").split(" | "):
            opened.run(sentence)
        yield opened


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("M.ax", "Top.M.ax"),
        ("Top.M.ax", "Top.M.ax"),
        ("Top.ax", "Top.ax"),  # though `Top.Top.ax` hides it
        ("Top.Top.ax", "Top.Top.ax"),
        ("Alias.only", "Top.M.only"),
        ("Top.Alias.only", "Top.M.only"),
        ("X.param", "X.param"),
        ("nowhere.ax", "nowhere.ax"),
    ],
)
def test_a_name_is_made_full(top: Toplevel, name: str, full: str) -> None:
    assert full_name(top, name) == full


def test_axioms_are_told_apart_by_their_full_names(top: Toplevel) -> None:
    tip = top.tip
    for sentence in ("Lemma one : 5 = 6.", "exact Alias.ax.", "Qed."):
        top.run(sentence)
    for allowed in (["M.ax"], ["Alias.ax"], ["Top.M.ax"]):
        assert rests_on(top, "one", allowed).extra == ()
    for other in (["ax"], ["Top.ax"], ["Top.Top.ax"], ["x"], []):
        assert rests_on(top, "one", other).extra == ("Top.M.ax",)
    assert rests_on(top, "inner", ["X.param"]).extra == ()
    assert rests_on(top, "inner", ["T.param"]).extra == ("X.param",)
    top.run("Import M.")
    assert rests_on(top, "one", ["Top.M.ax"]).axioms == ("Top.M.ax",)
    top.edit_at(tip)


def test_the_axioms_known_have_full_names(top: Toplevel) -> None:
    assert {"Top.ax", "Top.M.ax", "Top.Top.ax", "X.param"} <= {*known_axioms(top)}


@pytest.mark.parametrize(
    ("option", "extra"),
    [
        ("-impredicative-set", ()),
        ("-type-in-type", ("a relies on an unsafe hierarchy.", "Type hierarchy is collapsed (logic is inconsistent)")),
    ],
)
def test_a_theory_is_permitted_where_the_whole_file_is_in_it_and_consistent(option: str, extra: tuple[str]) -> None:
    with Toplevel("Top", [option]) as opened:
        for sentence in ("Lemma a : 0 = 0.", "reflexivity.", "Qed."):
            opened.run(sentence)
        assert rests_on(opened, "a", [IMPREDICATIVE, *extra]).extra == extra
