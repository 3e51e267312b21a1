from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.proofs.kernel.formula import (
    FALSE,
    Formula,
    atom,
    atoms,
    conjunction,
    disjunction,
    implies,
    negation,
    parse,
    rename,
    size,
)
from surpass.errors import DataError
from tests.domains.proofs.kernel.formulas import FORMULAS

A, B, C = atom("A"), atom("B"), atom("C")


@given(FORMULAS)
def test_text_and_pickle_are_the_identity(formula: Formula) -> None:
    assert parse(formula.text) is formula
    assert parse(f" ( {formula.text.replace(' ', '  ')} ) ") is formula
    assert pickle.loads(pickle.dumps(formula)) is formula
    assert copy.deepcopy(formula) is formula


@pytest.mark.parametrize(
    ("text", "formula", "printed"),
    [
        ("A -> B -> C", implies(A, implies(B, C)), "A -> B -> C"),
        ("(A -> B) -> C", implies(implies(A, B), C), "(A -> B) -> C"),
        (r"A /\ B \/ C -> A", implies(disjunction(conjunction(A, B), C), A), r"A /\ B \/ C -> A"),
        (r"A /\ (B \/ C)", conjunction(A, disjunction(B, C)), r"A /\ (B \/ C)"),
        (r"(A /\ B) /\ C", conjunction(conjunction(A, B), C), r"(A /\ B) /\ C"),
        (r"A /\ (B /\ C)", conjunction(A, conjunction(B, C)), r"A /\ B /\ C"),
        (r"~A/\B", conjunction(negation(A), B), r"~ A /\ B"),
        (r"~(A/\B)", negation(conjunction(A, B)), r"~ (A /\ B)"),
        ("A -> False", negation(A), "~ A"),
        ("A -> B -> False", implies(A, negation(B)), "A -> ~ B"),
        ("~ ~ A -> A", implies(negation(negation(A)), A), "~ ~ A -> A"),
        ("False -> False", negation(FALSE), "~ False"),
    ],
)
def test_syntax_is_rocqs(text: str, formula: Formula, printed: str) -> None:
    assert parse(text) is formula
    assert formula.text == printed


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "A ->", "-> A", "(A", "A)", "A B", "a", "A <-> B", "A & B", "Prop", "A'", "A -> é", "()", "~"),
        *("A" * 40, "~ " * 400 + "A", "(" * 400 + "A" + ")" * 400),
    ],
)
def test_what_is_no_formula_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError, match="expected"):
        parse(text)


@given(st.text(alphabet=r"AB ->/\~()Tx", max_size=30))
def test_any_text_is_a_formula_or_a_data_error(text: str) -> None:
    try:
        formula = parse(text)
    except DataError:
        return
    assert parse(formula.text) is formula


def test_atoms_size_and_renaming() -> None:
    formula = parse(r"~ Q /\ P -> Q \/ True")
    assert atoms(formula) == ("Q", "P")
    assert size(formula) == 4
    assert rename(formula, {"Q": "P", "P": "Q"}).text == r"~ P /\ Q -> P \/ True"
