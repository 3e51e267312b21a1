"""What the in-context policymaker learns from: histories of weak policymakers on synthetic surfaces, as demonstrations.

Half of the histories are of one teacher; in the others each term is that of a teacher drawn anew, all of whom read the
same history: experts who share their problems, as in Transcendence (arXiv 2406.11741, section 2). Like Algorithm
Distillation (arXiv 2210.14215), it sees them learn. A history gives two trajectories:

    next   what was done
    best   before each term, the rates that from there on were best in its context, where they were better than all
           before: hindsight about what teachers found, not about what there was to find

Nothing is known of an optimum. Not here: the loop (`pretraining.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.domains.economy.landscapes import LEARNED, landscape
from surpass.domains.economy.principals.history import rates_text
from surpass.domains.economy.principals.in_context.reading import (
    TERMS,
    UNIT,
    Past,
    answer_tokens,
    asked,
    past_of,
    prompt_tokens,
    start,
    told,
)
from surpass.domains.economy.principals.principal import Principal, principal_of
from surpass.domains.economy.society import Society, Term
from surpass.rollouts.seeds import derive_seed

TEACHERS = ("random", "climb", "coordinate", "evolve", "stride")  # in `PRINCIPALS`
TOLD = (2.0, 98.0)  # the worst and the best welfare of a history are told as numbers between these,
APART = 10.0  # so far apart at least


def play(society: Society, principals: Sequence[Principal], seed: int, *, terms: int = TERMS) -> list[Term]:
    """Return the terms of a run, each that of a principal drawn from all."""
    chance, history = np.random.default_rng(derive_seed(seed, "turns")), list[Term]()
    for number in range(terms):
        own = derive_seed(seed, number)
        context = society.context(own)
        rates = principals[int(chance.integers(len(principals)))].ask(history, context)
        history.append(Term(rates, society.step(rates, seed=own), context))
    return history


def example(seed: int, families: Sequence[str] = LEARNED) -> Past:
    """Return a history of teachers on a surface of these families."""
    chance = np.random.default_rng(derive_seed(seed, "teachers"))
    society = landscape(seed, families)
    names = TEACHERS if chance.random() < 0.5 else (TEACHERS[chance.integers(len(TEACHERS))],)
    teachers = [principal_of(name, society, seed=derive_seed(seed, name)) for name in names]
    return past_of(play(society, teachers, seed), (), society.rates)[0]


def lessons(key: str, past: Past, seed: int) -> tuple[Trajectory, Trajectory]:
    """Return what a history teaches, `next` and `best`; how its welfare is told is drawn from the seed."""
    low, high = np.sort(np.random.default_rng(seed).uniform(*TOLD, 2)).tolist()
    low = min(low, TOLD[1] - APART)
    lines, count = past.lines(low, max(high, low + APART)), past.shares.shape[1]
    before = told(lines, count)
    done, best = list[Step](), list[Step]()
    for index, line in enumerate(lines):
        kind = int(past.kinds[index])
        same = past.kinds == kind
        done.append(_step(asked(past, before[index], index, kind, aim=False), line.rates))
        later = index + np.flatnonzero(same[index:])
        target = int(later[past.welfare[later].argmax()])
        if past.welfare[target] > past.welfare[:index][same[:index]].max(initial=-np.inf):
            best.append(_step(asked(past, before[index], index, kind, aim=True), lines[target].rates))
    verdict = Verdict(Status.ACCEPTED, (1.0,), "a history of teachers")
    return tuple(Trajectory(Problem(key), tuple(steps), verdict, {}) for steps in (done, best))  # type: ignore[return-value]


class Demonstrations(Mapping[str, Sequence[Trajectory]]):
    """What histories teach, by the key of their problem, made when asked for: all at once would fill the memory."""

    def __init__(self, pasts: Sequence[Past], seed: int) -> None:
        self._pasts, self._seed = {str(number): past for number, past in enumerate(pasts)}, seed

    def __getitem__(self, key: str) -> Sequence[Trajectory]:
        return lessons(key, self._pasts[key], derive_seed(self._seed, key))

    def __iter__(self) -> Iterator[str]:
        return iter(self._pasts)

    def __len__(self) -> int:
        return len(self._pasts)


def _step(text: str, shares: Sequence[float]) -> Step:
    answer = rates_text(shares, UNIT[len(shares)])
    return Step(Observation(text), Proposal(answer, tokens=answer_tokens(answer, start(prompt_tokens(text)))))
