"""Principals as policies of the core, and policies as principals: where numbers become text, and text numbers.

    Written(make, societies)      principals as one `core.Policy` over the domain `Policymaking`
    Spoken(policy, rates, ...)    a `core.Policy` whose actions are texts that name rates, as a principal

Not here: prompts, and talking to a server; those are the policy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from surpass.core import Observation, Policy, Proposal
from surpass.domains.economy.domain import recall
from surpass.domains.economy.principals.principal import Principal, PrincipalError, Rates
from surpass.domains.economy.society import Context, Rate, Society, Term, read, write
from surpass.errors import DataError
from surpass.rollouts.seeds import derive_seed


class Written:
    """Principals as a policy: it reads the history in the text of an observation, and answers with rates as text.

    `make(society, seed)` returns a principal, one for each observation and proposal. Numbers have the digits of the
    text, six, so answers can differ from those to exact ones.
    """

    def __init__(self, make: Callable[[Society, int], Principal], societies: Mapping[str, Society]) -> None:
        self._make, self._societies = make, societies

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return [self._row(one.text, n, seed) for one, seed in zip(observations, seeds, strict=True)]

    def _row(self, text: str, n: int, seed: int) -> list[Proposal]:
        name = text.partition("\n")[0].removeprefix("society: ")
        if name not in self._societies:
            raise DataError(f"expected an observation of {', '.join(self._societies)}, found {text[:80]!r}")
        history, context = recall(text)
        makers = (self._make(self._societies[name], derive_seed(seed, index)) for index in range(n))
        return [Proposal(write(maker.ask(history, context))) for maker in makers]


class Spoken:
    """A policy as a principal: `describe(history, context)` is what it reads, a text that names rates its answer.

    An answer that names none is sent back with the reason, up to `tries` answers in all; then PrincipalError is raised.
    """

    def __init__(
        self,
        policy: Policy,
        rates: Sequence[Rate],
        describe: Callable[[Sequence[Term], Context], str],
        *,
        seed: int,
        tries: int = 3,
    ) -> None:
        self._policy, self._rates, self._describe = policy, tuple(rates), describe
        self._seed, self._tries = seed, tries

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        text, wrong = self._describe(history, context), ""
        for attempt in range(self._tries):
            seed = derive_seed(self._seed, len(history), attempt)
            rows = self._policy.propose([Observation(text + wrong)], 1, seeds=[seed])
            found = read(rows[0][0].action, self._rates) if rows[0] else "expected an answer, found none"
            if not isinstance(found, str):
                return found
            wrong = f"\nYour last answer could not be used: {found}.\n"
        raise PrincipalError(f"term {len(history) + 1}: no rates in {self._tries} answers; the last: {found}")
