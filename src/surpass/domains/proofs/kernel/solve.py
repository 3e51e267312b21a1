"""The shortest tactic proof of a goal: the known solutions of generated problems.

Iterative deepening over the length of the proof, goal by goal: goals share no unknowns, so the length of a proof is one
plus the sum of the lengths for its subgoals. The decision procedure prunes goals that have no proof. For long proofs
the time grows exponentially; this is a source of problems, not a prover to compare with.
"""

from __future__ import annotations

from collections.abc import Callable

from surpass.domains.proofs.kernel.decide import goal_provable
from surpass.domains.proofs.kernel.formula import Formula
from surpass.domains.proofs.kernel.rules import Goal, Goals, infer, legal

Sequent = tuple[frozenset[Formula], Formula]


def shortest(goal: Goal, limit: int, *, oracle: Callable[[Goal], bool] = goal_provable) -> tuple[str, ...] | None:
    """Return a shortest canonical proof of at most `limit` tactics, None where there is none.

    With an `oracle` that is always true the search is exhaustive and owes nothing to the decision procedure.
    """
    proofs: dict[Goal, tuple[str, ...]] = {}
    refuted: dict[Sequent, int] = {}  # no proof of at most that many tactics; names do not matter for that

    def prove(goal: Goal, budget: int) -> tuple[str, ...] | None:
        known = proofs.get(goal)
        if known is not None:
            return known if len(known) <= budget else None
        sequent = frozenset(formula for _, formula in goal.hypotheses), goal.conclusion
        for length in range(refuted.get(sequent, 0) + 1, budget + 1):
            found = attempt(goal, length)
            if found is not None:
                proofs[goal] = found
                return found
            refuted[sequent] = length
        return None

    def attempt(goal: Goal, length: int) -> tuple[str, ...] | None:
        for action in legal(goal):
            subgoals = infer(goal, action)
            if isinstance(subgoals, str) or len(subgoals) >= length or not all(map(oracle, subgoals)):
                continue
            if (rest := finish(subgoals, length - 1)) is not None:
                return (action, *rest)
        return None

    def finish(goals: Goals, budget: int) -> tuple[str, ...] | None:
        proof: tuple[str, ...] = ()
        for done, first in enumerate(goals):
            owed = len(goals) - done - 1  # every later goal takes a tactic at least
            part = prove(first, budget - len(proof) - owed)
            if part is None:
                return None
            proof += part
        return proof

    return prove(goal, limit) if oracle(goal) else None
