from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import replay
from surpass.domains.proofs.kernel.decide import provable
from surpass.domains.proofs.kernel.domain import Kernel
from surpass.domains.proofs.kernel.enumeration import count_proofs
from surpass.domains.proofs.kernel.formula import AND, JOIN, OR, Formula, atoms, parse, rename, size
from surpass.domains.proofs.kernel.generate import SPLITS, Recipe, draw, generate, signature, split_of
from surpass.domains.proofs.kernel.rules import Goal
from surpass.errors import ConfigError
from tests.domains.proofs.kernel.formulas import FORMULAS

RECIPE = Recipe(connectives=(2, 8), length=(3, 9), train=120, held_out=30)


def shuffled(formula: Formula, rng: random.Random) -> Formula:
    """Return the formula with the sides of its conjunctions and disjunctions exchanged at random."""
    if not formula.op:
        return formula
    parts = [shuffled(part, rng) for part in formula.parts]
    if formula.op in (AND, OR) and rng.random() < 0.5:
        parts.reverse()
    return JOIN[formula.op](*parts)


@given(FORMULAS, st.permutations("ABCXY"), st.integers())
def test_the_signature_forgets_names_and_order(formula: Formula, names: list[str], seed: int) -> None:
    other = rename(shuffled(formula, random.Random(seed)), dict(zip("ABC", names, strict=False)))
    assert signature(other) == signature(formula)
    assert split_of(other) == split_of(formula)


@pytest.mark.parametrize(
    ("one", "other"), [("A -> B", "A -> A"), ("A -> B -> A", "A -> B -> B"), (r"A /\ B", r"A \/ B"), ("~ A", "A")]
)
def test_the_signature_keeps_the_rest(one: str, other: str) -> None:
    assert signature(parse(one)) != signature(parse(other))


def test_problems_are_different_theorems_with_shortest_proofs_that_replay() -> None:
    splits = generate(RECIPE)
    problems = [problem for split in SPLITS for problem in splits[split]]
    assert [len(splits[split]) for split in SPLITS] == [120, 30, 30]
    assert len({problem.key for problem in problems}) == len(problems)
    assert len({signature(parse(problem.data["statement"])) for problem in problems}) == len(problems)
    for split in SPLITS:
        for problem in splits[split]:
            formula, solution = parse(problem.data["statement"]), problem.data["solution"]
            assert split_of(formula) == split
            assert provable(formula)
            assert list(atoms(formula)) == sorted(atoms(formula))
            assert len(atoms(formula)) <= 3
            assert 2 <= size(formula) <= 8
            assert 3 <= len(solution) <= 9
            for domain in (Kernel(), Kernel(canonical=False)):
                assert replay(domain, problem, solution).solved
                assert not replay(domain, problem, solution[:-1]).solved
            assert json.loads(json.dumps(dict(problem.data))) == problem.data


def test_no_proof_is_shorter_than_the_solution() -> None:
    for problem in generate(RECIPE)["valid"]:
        length = len(problem.data["solution"])
        counts = count_proofs(Goal((), parse(problem.data["statement"])), length)
        assert counts[:length] == (0,) * length
        assert counts[length] > 0


def test_generation_is_deterministic_and_splits_hold_across_recipes() -> None:
    again = generate.__wrapped__(RECIPE)
    assert {s: [p.data for p in again[s]] for s in SPLITS} == {s: [p.data for p in generate(RECIPE)[s]] for s in SPLITS}
    other = generate(replace(RECIPE, seed=1, atoms=2))
    marks = {s: {signature(parse(p.data["statement"])) for p in (*other[s], *again[s])} for s in SPLITS}
    assert not marks["train"] & (marks["valid"] | marks["test"])
    assert not marks["valid"] & marks["test"]
    assert [p.key for p in other["train"]] != [p.key for p in again["train"]]


def test_drawn_formulas_have_the_size_asked_for() -> None:
    rng = random.Random(0)
    for connectives in range(9):
        assert size(draw(rng, connectives, "AB")) == connectives


def test_a_recipe_too_narrow_is_said_to_be() -> None:
    with pytest.raises(ConfigError, match="widen Recipe"):
        generate(Recipe(connectives=(1, 2), atoms=1, length=(3, 4), train=5, held_out=1))
    with pytest.raises(ConfigError, match="atoms"):
        generate(Recipe(atoms=0))
