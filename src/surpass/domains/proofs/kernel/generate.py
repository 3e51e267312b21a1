"""Problems: random theorems with a known shortest proof, in splits that share none up to the names of the atoms.

A formula's split is a hash of its `signature`, which forgets the names of atoms and the order and nesting of `/\\` and
`\\/`: it is the same under every recipe, so the test problems of one run never are the training problems of another.
Random formulas of a size, filtered by the decision procedure and by the length of the shortest proof; no corpus.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import permutations

from surpass.core import Problem
from surpass.domains.proofs.kernel.decide import provable, tautology
from surpass.domains.proofs.kernel.formula import AND, IMPLIES, JOIN, OR, Formula, atom, atoms, negation, rename
from surpass.domains.proofs.kernel.rules import Goal
from surpass.domains.proofs.kernel.solve import shortest
from surpass.errors import ConfigError

SPLITS = ("train", "valid", "test")
NAMES = "ABCDEFGH"
DRAWS = 2_000  # draws per wanted problem before a recipe is called too narrow


@dataclass(frozen=True, slots=True)
class Recipe:
    """What problems to generate."""

    connectives: tuple[int, int] = (3, 8)  # least and most, a negation counts as one
    atoms: int = 3  # at most that many different ones
    length: tuple[int, int] = (3, 10)  # least and most tactics in the shortest proof
    train: int = 400  # problems in the split
    held_out: int = 100  # problems in valid, and in test
    seed: int = 0


def signature(formula: Formula) -> str:
    r"""Return a text that two formulas share exactly if they differ by names of atoms and by the order of /\ and \/.

    >>> from surpass.domains.proofs.kernel.formula import parse
    >>> signature(parse(r"P -> Q /\ P")) == signature(parse(r"B -> B /\ A"))
    True
    """
    names = atoms(formula)
    return min(_sorted(formula, dict(zip(names, order, strict=True))) for order in permutations(NAMES[: len(names)]))


def _sorted(formula: Formula, names: Mapping[str, str]) -> str:
    if not formula.op:
        return names.get(formula.text, formula.text)
    if formula.op == IMPLIES:
        return "({}->{})".format(*(_sorted(part, names) for part in formula.parts))
    parts, pending = list[str](), list(formula.parts)
    while pending:
        part = pending.pop()
        if part.op == formula.op:
            pending.extend(part.parts)
        else:
            parts.append(_sorted(part, names))
    return f"({formula.op.join(sorted(parts))})"


def split_of(formula: Formula) -> str:
    """Return the split of a formula: eight of ten in train, one each in valid and test."""
    bucket = blake2b(signature(formula).encode(), digest_size=8).digest()[0] % 10
    return SPLITS[max(0, bucket - 7)]


def draw(rng: random.Random, connectives: int, names: str) -> Formula:
    """Return a random formula with exactly that many connectives."""
    if connectives == 0:
        return atom(rng.choice(names))
    op = rng.choices((IMPLIES, AND, OR, "~"), (5, 2, 2, 1))[0]
    if op == "~":
        return negation(draw(rng, connectives - 1, names))
    left = rng.randrange(connectives)
    return JOIN[op](draw(rng, left, names), draw(rng, connectives - 1 - left, names))


@lru_cache(maxsize=8)
def generate(recipe: Recipe) -> Mapping[str, tuple[Problem, ...]]:
    """Return the problems of each split. Raises ConfigError where the recipe yields too few different theorems."""
    if not 1 <= recipe.atoms <= len(NAMES):
        raise ConfigError(f"expected 1 to {len(NAMES)} atoms, found {recipe.atoms}: change Recipe.atoms")
    rng = random.Random(recipe.seed)
    wanted = {"train": recipe.train, "valid": recipe.held_out, "test": recipe.held_out}
    found: dict[str, list[Problem]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for _ in range(DRAWS * sum(wanted.values())):
        if all(len(found[split]) == wanted[split] for split in SPLITS):
            break
        formula = draw(rng, rng.randint(*recipe.connectives), NAMES[: rng.randint(1, recipe.atoms)])
        if not tautology(formula) or (mark := signature(formula)) in seen:
            continue
        seen.add(mark)
        split = split_of(formula)
        if len(found[split]) < wanted[split] and provable(formula) and (posed := _pose(formula, recipe)) is not None:
            found[split].append(posed)
    if any(len(found[split]) < wanted[split] for split in SPLITS):
        counts = {split: len(found[split]) for split in SPLITS}
        raise ConfigError(f"expected {wanted} different theorems, found {counts}: widen Recipe or ask for fewer")
    return {split: tuple(found[split]) for split in SPLITS}


def _pose(formula: Formula, recipe: Recipe) -> Problem | None:
    """Return the problem with its shortest proof, None where that is shorter or longer than the recipe allows."""
    formula = rename(formula, dict(zip(atoms(formula), NAMES, strict=False)))
    goal = Goal((), formula)
    least, most = recipe.length
    proof = shortest(goal, most)
    if proof is None or len(proof) < least:
        return None
    key = f"kernel-{blake2b(formula.text.encode(), digest_size=6).hexdigest()}"
    data = {"statement": formula.text, "file": "", "name": key, "goals": goal.text, "solution": list(proof)}
    return Problem(key, "kernel", data | {"assumptions": []})
