"""A decision procedure for intuitionistic propositional logic: the oracle behind problem generation.

The contraction-free sequent calculus G4ip (LJT) of R. Dyckhoff, "Contraction-free sequent calculi for intuitionistic
logic", Journal of Symbolic Logic 57(3), 1992: every rule makes the sequent smaller, so the search ends without loop
checks. It shares nothing with the tactic rules but the formulas. It gives no proof: see `solve.py`. `tautology` is the
classical truth table.
"""

from __future__ import annotations

from functools import lru_cache

from surpass.domains.proofs.kernel.formula import AND, FALSE, IMPLIES, OR, TRUE, Formula, atoms, implies
from surpass.domains.proofs.kernel.rules import Goal

Context = frozenset[Formula]


def provable(formula: Formula) -> bool:
    r"""Say whether a formula is an intuitionistic theorem.

    >>> from surpass.domains.proofs.kernel.formula import parse
    >>> provable(parse(r"A \/ ~ A")), provable(parse(r"~ ~ (A \/ ~ A)"))
    (False, True)
    """
    return derivable(frozenset(), formula)


def goal_provable(goal: Goal) -> bool:
    """Say whether the conclusion of a goal follows from its hypotheses."""
    return derivable(frozenset(formula for _, formula in goal.hypotheses), goal.conclusion)


@lru_cache(maxsize=1 << 17)
def derivable(context: Context, conclusion: Formula) -> bool:
    """Say whether `conclusion` follows from `context`: the rules of G4ip, the invertible ones first."""
    if conclusion is TRUE or FALSE in context or conclusion in context:
        return True
    if conclusion.op == IMPLIES:
        return derivable(context | {conclusion.parts[0]}, conclusion.parts[1])
    if conclusion.op == AND:
        return all(derivable(context, part) for part in conclusion.parts)
    for formula in context:
        replacements = _invertible(formula, context)
        if replacements is not None:
            rest = context - {formula}
            return all(derivable(rest | new, conclusion) for new in replacements)
    if conclusion.op == OR and any(derivable(context, part) for part in conclusion.parts):
        return True
    return any(_left_implication(formula, context, conclusion) for formula in context if formula.op == IMPLIES)


def _invertible(formula: Formula, context: Context) -> list[Context] | None:
    """Return what replaces a formula on the left, one set for each premise, where that loses nothing; else None."""
    if formula is TRUE:
        return [frozenset()]
    if formula.op == AND:
        return [frozenset(formula.parts)]
    if formula.op == OR:
        return [frozenset([part]) for part in formula.parts]
    if formula.op != IMPLIES:
        return None
    left, right = formula.parts
    if left is FALSE:
        return [frozenset()]
    if left is TRUE or (not left.op and left in context):
        return [frozenset([right])]
    if left.op == AND:
        return [frozenset([implies(left.parts[0], implies(left.parts[1], right))])]
    if left.op == OR:
        return [frozenset(implies(part, right) for part in left.parts)]
    return None


def _left_implication(formula: Formula, context: Context, conclusion: Formula) -> bool:
    """The one rule with a choice: `(A -> B) -> C` on the left needs `B -> C |- A -> B` and `C |- conclusion`."""
    left, right = formula.parts
    if left.op != IMPLIES:
        return False
    rest = context - {formula}
    return derivable(rest | {right}, conclusion) and derivable(rest | {implies(left.parts[1], right)}, left)


def tautology(formula: Formula) -> bool:
    """Say whether a formula is true in every row of its classical truth table (rows are the bits of one integer)."""
    names = atoms(formula)
    rows = 1 << len(names)
    full = (1 << rows) - 1
    columns = {name: sum(1 << row for row in range(rows) if row >> place & 1) for place, name in enumerate(names)}

    def column(part: Formula) -> int:
        if not part.op:
            return full if part is TRUE else 0 if part is FALSE else columns[part.text]
        left, right = map(column, part.parts)
        return left & right if part.op == AND else left | right if part.op == OR else (full & ~left) | right

    return column(formula) == full
