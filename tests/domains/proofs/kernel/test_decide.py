from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings

from surpass.domains.proofs.kernel.decide import provable, tautology
from surpass.domains.proofs.kernel.formula import AND, FALSE, OR, TRUE, Formula, atoms, conjunction, negation, parse
from surpass.domains.proofs.kernel.generate import draw
from surpass.domains.proofs.kernel.rules import Goal, infer
from surpass.domains.proofs.kernel.solve import shortest
from tests.domains.proofs.kernel.formulas import FORMULAS, NON_THEOREMS, THEOREMS


@pytest.mark.parametrize("text", THEOREMS)
def test_theorems(text: str) -> None:
    assert provable(parse(text))


@pytest.mark.parametrize("text", NON_THEOREMS)
def test_non_theorems(text: str) -> None:
    assert not provable(parse(text))


@given(FORMULAS)
def test_glivenko_classical_truth_is_double_negated_provability(formula: Formula) -> None:
    assert provable(negation(negation(formula))) == tautology(formula)
    assert tautology(formula) or not provable(formula)


def test_truth_tables() -> None:
    assert all(tautology(parse(text)) for text in THEOREMS)
    classical = {text for text in NON_THEOREMS if tautology(parse(text))}
    assert set(NON_THEOREMS) - classical == {"False", "A", "A -> B", r"A \/ B -> A"}


@given(FORMULAS, FORMULAS)
@settings(max_examples=50)
def test_disjunction_property_and_conjunction(left: Formula, right: Formula) -> None:
    either = parse(f"({left}) \\/ ({right})")
    assert provable(either) == (provable(left) or provable(right))
    assert provable(conjunction(left, right)) == (provable(left) and provable(right))


def trees(most: int) -> list[tuple[int, ...]]:
    """Return every rooted tree of at most that many worlds as the parents of worlds 1, 2, ... (root 0)."""
    return [parents for n in range(most) for parents in itertools.product(*(range(i + 1) for i in range(n)))]


def refuted(formula: Formula, parents: tuple[int, ...]) -> bool:
    """Say whether some valuation on a Kripke tree does not force the formula at the root; sets of worlds are bits."""
    above = [1 << world for world in range(len(parents) + 1)]  # the worlds reachable from each
    for world in range(len(parents), 0, -1):
        above[parents[world - 1]] |= above[world]
    everywhere = above[0]
    upward = [s for s in range(everywhere + 1) if all(up & s == up for w, up in enumerate(above) if s >> w & 1)]

    def forced(part: Formula, valuation: dict[str, int]) -> int:
        if not part.op:
            return everywhere if part is TRUE else 0 if part is FALSE else valuation[part.text]
        left, right = (forced(side, valuation) for side in part.parts)
        if part.op in (AND, OR):
            return left & right if part.op == AND else left | right
        return sum(1 << world for world, up in enumerate(above) if up & left & ~right == 0)

    names = atoms(formula)
    valuations = itertools.product(upward, repeat=len(names))
    return any(not forced(formula, dict(zip(names, v, strict=True))) & 1 for v in valuations)


def test_agrees_with_kripke_models() -> None:
    """No finite model refutes a theorem, and small trees refute each of these non-theorems."""
    rng = random.Random(0)
    models = trees(4)
    verdicts = {False: 0, True: 0}
    seen: set[Formula] = set()
    while len(seen) < 400:
        formula = draw(rng, rng.randint(2, 7), "AB")
        if formula in seen or not tautology(formula):  # a formula that is classically false is too easy
            continue
        seen.add(formula)
        verdict = provable(formula)
        assert verdict != any(refuted(formula, model) for model in models), formula
        verdicts[verdict] += 1
    assert min(verdicts.values()) > 30, verdicts


def test_agrees_with_exhaustive_proof_search() -> None:
    """The kernel proves, without the oracle's help, what the oracle calls provable; and nothing else."""
    rng = random.Random(1)
    proved = 0
    for _ in range(400):
        formula = draw(rng, rng.randint(1, 5), "AB")
        if tautology(formula):
            found = shortest(Goal((), formula), 9, oracle=lambda _: True)
            assert (found is not None) == provable(formula), formula
            proved += found is not None
    assert proved > 50


@pytest.mark.parametrize("text", NON_THEOREMS)
def test_no_non_theorem_has_a_short_proof(text: str) -> None:
    assert shortest(Goal((), parse(text)), 7, oracle=lambda _: True) is None


@pytest.mark.parametrize("text", THEOREMS)
def test_every_theorem_has_a_proof_in_the_kernel(text: str) -> None:
    proof = shortest(Goal((), parse(text)), 16)
    assert proof is not None
    goals: tuple[Goal, ...] = (Goal((), parse(text)),)
    for action in proof:
        found = infer(goals[0], action)
        assert not isinstance(found, str)
        goals = (*found, *goals[1:])
    assert not goals
