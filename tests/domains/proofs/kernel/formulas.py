"""Formulas and goals to test with: hypothesis strategies and classic examples."""

from __future__ import annotations

from hypothesis import strategies as st

from surpass.domains.proofs.kernel.formula import (
    FALSE,
    TRUE,
    Formula,
    atom,
    conjunction,
    disjunction,
    implies,
    negation,
    parse,
)
from surpass.domains.proofs.kernel.rules import Goal

LEAVES = st.sampled_from([atom("A"), atom("B"), atom("C"), FALSE, TRUE])


def _grow(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    return st.one_of(
        st.builds(implies, inner, inner),
        st.builds(conjunction, inner, inner),
        st.builds(disjunction, inner, inner),
        st.builds(negation, inner),
    )


FORMULAS = st.recursive(LEAVES, _grow, max_leaves=6)

THEOREMS = [
    "True",
    "A -> A",
    "False -> A",
    r"A /\ B -> B /\ A",
    r"A \/ B -> B \/ A",
    r"(A -> B -> C) -> (A /\ B -> C)",
    r"(A /\ B -> C) -> A -> B -> C",
    r"(A -> C) -> (B -> C) -> A \/ B -> C",
    "(A -> B -> C) -> (A -> B) -> A -> C",
    r"~ ~ (A \/ ~ A)",
    "~ ~ ~ A -> ~ A",
    "A -> ~ ~ A",
    "~ ~ (~ ~ A -> A)",
    "~ ~ (((A -> B) -> A) -> A)",
    "(A -> B) -> ~ B -> ~ A",
    r"~ (A \/ B) -> ~ A /\ ~ B",
    r"~ A /\ ~ B -> ~ (A \/ B)",
    r"~ A \/ ~ B -> ~ (A /\ B)",
    r"A /\ (B \/ C) -> A /\ B \/ A /\ C",
    r"(A \/ B) /\ (A \/ C) -> A \/ B /\ C",
    r"A -> (A -> B /\ C) -> B",
    r"(((A -> B) -> A) -> A) -> ((A -> B) -> A) -> A",
    r"(A \/ ~ A) -> ((A -> B) -> A) -> A",
    r"((A -> B) -> C) -> (A -> B) -> C",
    r"~ ~ (A /\ B) -> ~ ~ A /\ ~ ~ B",
    r"((A \/ (A -> B)) -> B) -> B",
]
NON_THEOREMS = [
    "False",
    "A",
    "A -> B",
    r"A \/ ~ A",
    "~ ~ A -> A",
    "((A -> B) -> A) -> A",
    r"~ (A /\ B) -> ~ A \/ ~ B",
    r"(A -> B) \/ (B -> A)",
    r"~ A \/ ~ ~ A",
    "(~ B -> ~ A) -> A -> B",
    r"(A -> B \/ C) -> (A -> B) \/ (A -> C)",
    r"(~ A -> B \/ C) -> (~ A -> B) \/ (~ A -> C)",
    r"((~ ~ A -> A) -> A \/ ~ A) -> ~ A \/ ~ ~ A",
    r"(A -> B) -> ~ A \/ B",
    r"A \/ B -> A",
]


def goal(conclusion: str, **hypotheses: str) -> Goal:
    return Goal(tuple((name, parse(text)) for name, text in hypotheses.items()), parse(conclusion))
