"""Several searches, one after the other, as one: what the first samples, and what the next ones find besides.

A balance objective accepts trajectories from anywhere, so rollouts of the policy and proofs that a search has found may
stand in one batch, and in one replay buffer (the off-policy route of GFlowNet training). The searches share a budget.
"""

from __future__ import annotations

from collections.abc import Sequence

from surpass.core import Conversation, Domain, Problem, Search, State
from surpass.errors import ConfigError


def in_turn(
    domain: Domain[State], problem: Problem, state: State, *, searches: Sequence[Search[State]]
) -> Conversation[None]:
    """Run each search from the start and yield all that they yield. Raises ConfigError without searches.

    The end of the budget is heard by the search that is at work; the runner answers no ask of those behind it.
    """
    if not searches:
        raise ConfigError("in_turn: expected at least one search, found none")
    for search in searches:
        yield from search(domain, problem, state)
