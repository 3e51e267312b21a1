"""The in-context policymaker as a principal: its prompt is the history, its answer the rates of the next term.

Nothing is fitted or learned while it governs, and nothing but the package is needed. Rates become shares of their
ranges and welfare is moved and stretched, so thousands and thousandths are alike to it. Of a history longer than it can
read it is shown the best terms and the last. Not here: how its weights were made (`pretraining.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from surpass.core import Observation
from surpass.domains.economy.principals.in_context.model import Policymaker
from surpass.domains.economy.principals.in_context.reading import MOST_RATES, TERMS, UNIT, asked, past_of, told
from surpass.domains.economy.principals.principal import Principal, PrincipalError, Rates
from surpass.domains.economy.society import Context, Rate, Society, Term, read
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed

SHIPPED = Path(str(files("surpass.domains.economy.principals.in_context") / "policymaker.safetensors"))


@dataclass(frozen=True, slots=True, eq=False)
class InContext:
    """A policymaker in office. Answers depend on seed, history and context alone."""

    model: Policymaker
    rates: tuple[Rate, ...]
    seed: int
    aim: bool  # whether rates are asked for that will have been best, or what the writer of the history would do next
    candidates: int  # answers that are drawn; the first that names rates counts

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        return ask_together([self], [history], [context])[0]


def ask_together(
    principals: Sequence[InContext], histories: Sequence[Sequence[Term]], contexts: Sequence[Context]
) -> list[Rates]:
    """Return what each principal answers to its history and context, in one batch: all are of the first one's model."""
    if not principals:
        return []
    observations, seeds = list[Observation](), list[int]()
    for one, history, context in zip(principals, histories, contexts, strict=True):
        past, kind = past_of(history, context, one.rates)
        short = past.shortened(TERMS - 1)
        before = told(short.lines(), len(one.rates))[-1]
        observations.append(Observation(asked(short, before, len(short.welfare), kind, aim=one.aim)))
        seeds.append(derive_seed(one.seed, len(history)))
    rows = principals[0].model.propose(observations, max(one.candidates for one in principals), seeds=seeds)
    return [
        _rates([proposal.action for proposal in row[: one.candidates]], one.rates)
        for one, row in zip(principals, rows, strict=True)
    ]


def _rates(actions: Sequence[str], rates: Sequence[Rate]) -> Rates:
    """Return the rates of the first action that names shares."""
    for action in actions:
        shares = read(action, UNIT[len(rates)])
        if not isinstance(shares, str):
            return tuple(
                min(rate.high, rate.low + share * (rate.high - rate.low))
                for share, rate in zip(shares, rates, strict=True)
            )
    raise PrincipalError(f"the policymaker named no rates in {len(actions)} answers; give a lower temperature")


def in_context(
    society: Society,
    *,
    seed: int,
    temperature: float = 1.0,
    aim: bool = True,
    candidates: int = 4,
    weights: Path | None = None,
) -> Principal:
    """Return the in-context policymaker, of the package's own weights by default. A temperature of 0 is greedy.

    Raises ConfigError for a society of more than 5 rates, ModelError where the weights are none.
    """
    if len(society.rates) > MOST_RATES:
        raise ConfigError(f"in_context: expected at most {MOST_RATES} rates, found {len(society.rates)}")
    if not 0 <= temperature < math.inf or candidates < 1:
        raise ConfigError(f"in_context: expected temperature >= 0, candidates >= 1, found {temperature}, {candidates}")
    model = _loaded(SHIPPED if weights is None else weights)
    return InContext(model.tempered(temperature), society.rates, seed, aim, candidates)


@lru_cache(maxsize=4)
def _loaded(path: Path) -> Policymaker:
    return Policymaker.load(path)
