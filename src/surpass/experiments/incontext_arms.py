"""The arms of the experiment `incontext` and the cases that they govern: who answers, and how well it went.

Every arm meets the same cases with the same seeds, so contexts and noise are the same. A height is 1 at the best rates
and 0 where uniform rates are on average; in Escape Room, the share of the best return, 140.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surpass.domains.economy.accounting import Reals
from surpass.domains.economy.escape_room import best_return
from surpass.domains.economy.landscapes import Landscape, landscape
from surpass.domains.economy.principals.in_context.principal import InContext, ask_together
from surpass.domains.economy.principals.principal import Principal, Rates, principal_of
from surpass.domains.economy.society import Context, SettledRoom, Society, Term
from surpass.rollouts.seeds import derive_seed

AIMS = {"best": True, "next": False}


@dataclass(frozen=True, slots=True)
class Case:
    """A society to govern, with the seed of its terms."""

    society: Landscape | SettledRoom
    seed: int

    def height(self, term: Term, seed: int) -> float:
        """Return how good the rates of a term were, without its noise."""
        if isinstance(self.society, Landscape):
            return self.society.reached(term.rates, seed)
        return term.metrics.welfare / best_return(self.society.rules)


@dataclass(frozen=True, slots=True)
class Arm:
    """Who governs: a principal for a society and a seed."""

    name: str
    kind: str  # model, teacher, mixture, other
    make: Callable[[Society, int], Principal]


@dataclass(frozen=True, slots=True)
class Played:
    """What an arm came to."""

    heights: Reals  # [cases, terms]
    best: Reals  # [cases, terms] of the best term so far, by height, meaned over the contexts that were met

    @staticmethod
    def read(told: Mapping[str, Any]) -> Played:
        return Played(np.array(told["heights"]), np.array(told["best"]))

    def told(self) -> dict[str, Any]:
        return {"heights": self.heights.tolist(), "best": self.best.tolist()}


@dataclass(frozen=True, slots=True)
class Mixture:
    """Principals that take turns as chance has it, on one history: what a model at temperature 1 imitates."""

    principals: Sequence[Principal]
    seed: int

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        turn = derive_seed(self.seed, "turn", len(history)) % len(self.principals)
        return self.principals[turn].ask(history, context)


def cases(seed: int, wanted: Mapping[str, tuple[Sequence[str], int]]) -> dict[str, list[Case]]:
    """Return so many cases of each group: surfaces of the families named, or, of none, Escape Room."""
    found = dict[str, list[Case]]()
    for group, (families, count) in wanted.items():
        seeds = [derive_seed(seed, "case", group, number) for number in range(count)]
        found[group] = [Case(landscape(one, families) if families else SettledRoom(), one) for one in seeds]
    return found


def arms(
    temperatures: Sequence[float], teachers: Sequence[str], others: Sequence[str], weights: Path | None
) -> list[Arm]:
    """Return all arms. Raises ConfigError for a principal that is not there, ModelError for weights that are none."""
    found = [Arm(name, "teacher", _named(name)) for name in teachers]
    found += [Arm("mixture", "mixture", lambda one, seed: Mixture([_named(n)(one, seed) for n in teachers], seed))]
    found += [Arm(name, "other", _named(name)) for name in others]
    for aim, told in AIMS.items():
        for temperature in temperatures:
            make = _named("in_context", temperature=temperature, aim=told, weights=weights)
            found.append(Arm(f"{aim} {temperature:g}", "model", make))
    for arm in found:
        arm.make(SettledRoom(), 0)  # what cannot be made is told before anything is played
    return found


def _named(name: str, **options: object) -> Callable[[Society, int], Principal]:
    return lambda society, seed: principal_of(name, society, seed=derive_seed(seed, name), **options)


def govern(arm: Arm, some: Sequence[Case], terms: int) -> Played:
    """Let an arm govern all cases, side by side."""
    principals = [arm.make(case.society, case.seed) for case in some]
    histories = [list[Term]() for _ in some]
    heights, best = (np.zeros((len(some), terms)) for _ in range(2))
    tops = [dict[Context, float]() for _ in some]
    for number in range(terms):
        seeds = [derive_seed(case.seed, "term", number) for case in some]
        contexts = [case.society.context(seed) for case, seed in zip(some, seeds, strict=True)]
        answers = _answers(principals, histories, contexts)
        for row, (case, seed) in enumerate(zip(some, seeds, strict=True)):
            metrics = case.society.step(answers[row], seed=seed)
            histories[row].append(Term(answers[row], metrics, contexts[row]))
            heights[row, number] = height = case.height(histories[row][-1], seed)
            tops[row][contexts[row]] = max(height, tops[row].get(contexts[row], height))
            best[row, number] = np.mean(list(tops[row].values()))
    return Played(heights, best)


def _answers(
    principals: Sequence[Principal], histories: Sequence[Sequence[Term]], contexts: Sequence[Context]
) -> list[Rates]:
    models = [one for one in principals if isinstance(one, InContext)]
    if len(models) == len(principals):
        return ask_together(models, histories, contexts)
    asked = zip(principals, histories, contexts, strict=True)
    return [one.ask(history, context) for one, history, context in asked]
