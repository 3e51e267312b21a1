"""What tests of principals share: a principal in office."""

from __future__ import annotations

from surpass.domains.economy.principals.principal import Principal
from surpass.domains.economy.society import Society, Term


def govern(principal: Principal, society: Society, terms: int, *, seed: int = 0) -> list[Term]:
    """Let a principal govern and return the history."""
    history = list[Term]()
    for number in range(terms):
        context = society.context(seed + number)
        rates = principal.ask(tuple(history), context)
        history.append(Term(rates, society.step(rates, seed=seed + number), context))
    return history
