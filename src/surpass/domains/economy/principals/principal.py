"""Policymakers: from what came of earlier terms, and the context of the next one, to the rates of the next one.

    history, context -> rates

What a `Principal` answers is a function of its configuration, its seed, the history and the context, and of nothing
else: a run that was interrupted goes on exactly by handing its history over again. One that learns is written as a
`Learner`, which takes in one term after another; `Learning` makes it a principal that reads only what is new of a
history, and begins anew where it is given another one. Numbers go in and out. Text appears only where a language model
is the principal (`policies.py` joins the two worlds).

A new principal is one function and one line in `PRINCIPALS`. Not here: societies (`society.py`), the principals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Protocol, runtime_checkable

from surpass.domains.economy.society import Context, Society, Term
from surpass.errors import ConfigError, ModelError
from surpass.rollouts.seeds import derive_seed
from surpass.threads import one_thread

Rates = tuple[float, ...]

PRINCIPALS: dict[str, str] = {  # each `function(society, *, seed, ...) -> Principal`
    "fixed": "surpass.domains.economy.principals.simple:fixed",
    "random": "surpass.domains.economy.principals.simple:uniform",
    "climb": "surpass.domains.economy.principals.weak:climb",
    "coordinate": "surpass.domains.economy.principals.weak:coordinate",
    "evolve": "surpass.domains.economy.principals.weak:evolve",
    "stride": "surpass.domains.economy.principals.weak:stride",
    "in_context": "surpass.domains.economy.principals.in_context.principal:in_context",
    "oracle": "surpass.domains.economy.principals.oracle:oracle",
    "epsilon_greedy": "surpass.domains.economy.principals.bandits:epsilon_greedy",
    "ucb": "surpass.domains.economy.principals.bandits:ucb",
    "thompson": "surpass.domains.economy.principals.bandits:thompson",
    "bayesian": "surpass.domains.economy.principals.optimisers:bayesian",
    "tpe": "surpass.domains.economy.principals.optimisers:tpe",
    "cma_es": "surpass.domains.economy.principals.optimisers:cma_es",
    "ai_economist": "surpass.domains.economy.principals.ai_economist:ai_economist",
    "llm": "surpass.domains.economy.principals.language:llm",
    "evollm": "surpass.domains.economy.principals.language:evollm",
    "metagrad": "surpass.domains.economy.principals.metagrad:metagrad",
}


class PrincipalError(ModelError):
    """A principal that named no rates, whatever was done about it. Becomes UNKNOWN, never a zero."""


class Principal(Protocol):
    """A policymaker."""

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        """Return the rates of the next term, each within its range.

        `history` holds all earlier terms of the run, in order. Raises PrincipalError where none could be had.
        """


@runtime_checkable
class Simulating(Protocol):
    """A principal that simulates the society for itself, beside the terms it is told of."""

    @property
    def environment_steps(self) -> int:
        """How many environment steps it has simulated for the history as it was last told."""


class Learner(Protocol):
    """What a learning principal is made of. Equal terms with equal seeds leave it in equal states."""

    def learn(self, term: Term, *, seed: int) -> None:
        """Take in a term; `seed` is the one that `choose` had, or would have had, for it."""

    def choose(self, context: Context, *, seed: int) -> Rates:
        """Return the rates of the next term. Changes nothing on which a later answer depends."""


class Learning:
    """The principal of a learner: its answers are the same with any number of torch's threads."""

    def __init__(self, begin: Callable[[], Learner], *, seed: int) -> None:
        """`begin` returns a learner that has seen nothing."""
        self._begin, self._seed = begin, seed
        with one_thread():
            self._learner, self._seen = begin(), list[Term]()

    @one_thread()
    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        if self._seen != list(history[: len(self._seen)]):
            self._learner, self._seen = self._begin(), []
        for number in range(len(self._seen), len(history)):
            self._learner.learn(history[number], seed=derive_seed(self._seed, number))
            self._seen.append(history[number])
        return self._learner.choose(context, seed=derive_seed(self._seed, len(history)))


class ByContext:
    """A learner that keeps one learner for each context, which share nothing."""

    def __init__(self, begin: Callable[[Context], Learner]) -> None:
        self._begin, self._learners = begin, dict[Context, Learner]()

    def learn(self, term: Term, *, seed: int) -> None:
        self._of(term.context).learn(term, seed=seed)

    def choose(self, context: Context, *, seed: int) -> Rates:
        return self._of(context).choose(context, seed=seed)

    def _of(self, context: Context) -> Learner:
        if context not in self._learners:
            self._learners[context] = self._begin(context)
        return self._learners[context]


def principal_of(name: str, society: Society, *, seed: int, **options: object) -> Principal:
    """Return a principal by its name in `PRINCIPALS`, for a society; `options` are those of its function.

    Raises ConfigError for an unknown name, and for options that it does not have or cannot do without.

    >>> from surpass.domains.economy.society import Surface
    >>> principal_of("fixed", Surface(), seed=0, rates=(0.5, 1)).ask([], ())
    (0.5, 1.0)
    """
    if name not in PRINCIPALS:
        near = get_close_matches(name, PRINCIPALS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"principal: expected one of {', '.join(PRINCIPALS)}, found {name!r}{hint}")
    module, _, function = PRINCIPALS[name].partition(":")
    make: Callable[..., Principal] = getattr(import_module(module), function)
    try:
        signature(make).bind(society, seed=seed, **options)
    except TypeError as error:
        known = ", ".join([*signature(make).parameters][2:]) or "none"
        raise ConfigError(f"principal {name}: {error}; its options are: {known}") from error
    return make(society, seed=seed, **options)
