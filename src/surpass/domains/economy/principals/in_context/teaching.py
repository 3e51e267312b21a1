"""What the in-context policymaker learns from: histories of weak policymakers on synthetic surfaces, as demonstrations.

Half of the histories are of one teacher; in the others each term is that of a teacher drawn anew, all of whom read the
same history: experts who share their problems, as in Transcendence (arXiv 2406.11741, section 2). Like Algorithm
Distillation (arXiv 2210.14215), it sees them learn. A history is cut in several places, told as a principal in office
would be told it (its worst and best welfare so far are 20 and 80), and gives two trajectories for each:

    next   what was done
    best   the best rates that teachers came to in this context in the end, where they are better than all before

For the second, all teachers go on together, each term one of them, for `LATER` terms in the context that is asked
about. So it is hindsight about what teachers found with more time, not about what there was to find: nothing is known
of an optimum. Which rate is called the first, and which end of a rate is called 0, is drawn for each cut: surfaces know
neither. Not here: the loop (`pretraining.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.domains.economy.accounting import Reals
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
from surpass.domains.economy.society import Context, Society, Term
from surpass.rollouts.seeds import derive_seed

TEACHERS = ("random", "climb", "coordinate", "evolve", "stride")  # in `PRINCIPALS`
LONGEST = 2 * TERMS  # terms of a history
LATER = 80  # terms that teachers have to find something better
CUTS = 6  # of a history, at most


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A history of teachers, and what they came to later in one of its contexts."""

    past: Past
    kind: int  # the context, by number
    best: Reals  # [rates] the best shares of all its terms, later ones included
    top: float  # what they came to


def play(
    society: Society,
    principals: Sequence[Principal],
    seed: int,
    *,
    terms: int = TERMS,
    before: Sequence[Term] = (),
    within: Context | None = None,
) -> list[Term]:
    """Return a run that goes on for so many terms, each that of a principal drawn from all; of one context if given."""
    chance, history = np.random.default_rng(derive_seed(seed, "turns")), list(before)
    seeds = (derive_seed(seed, number) for number in count())
    for own in islice((one for one in seeds if within is None or society.context(one) == within), terms):
        context = society.context(own)
        rates = principals[int(chance.integers(len(principals)))].ask(history, context)
        history.append(Term(rates, society.step(rates, seed=own), context))
    return history


def example(seed: int, families: Sequence[str] = LEARNED) -> Example:
    """Return a history of teachers on a surface of these families."""
    chance = np.random.default_rng(derive_seed(seed, "teachers"))
    society = landscape(seed, families)
    teachers = {name: principal_of(name, society, seed=derive_seed(seed, name)) for name in TEACHERS}
    some = list(teachers.values())
    own = some if chance.random() < 0.5 else [some[chance.integers(len(some))]]
    history = play(society, own, seed, terms=LONGEST)
    within = history[int(chance.integers(LONGEST))].context
    past, kind = past_of(history, within, society.rates)
    here = [term for term in history if term.context == within]
    here = play(society, some, derive_seed(seed, "later"), terms=LATER, before=here, within=within)
    later, _ = past_of(here, within, society.rates)
    top = int(later.welfare.argmax())
    return Example(past, kind, later.shares[top], float(later.welfare[top]))


def lessons(key: str, told_of: Example, seed: int) -> list[Trajectory]:
    """Return what an example teaches, `next` and `best` of each cut; where it is cut is drawn from the seed."""
    chance = np.random.default_rng(seed)
    past = told_of.past
    places = np.flatnonzero(past.kinds == told_of.kind)
    often = 1 / (TERMS / 2 + places)  # early terms more often: most runs are short
    chosen = chance.choice(places, min(CUTS, len(places)), replace=False, p=often / often.sum())
    found = list[Trajectory]()
    for place in chosen.tolist():
        order, flipped = chance.permutation(len(told_of.best)), chance.random(len(told_of.best)) < 0.5
        shares, best = (
            np.where(flipped, 1 - one, one)[..., order].round(2) for one in (past.shares[: place + 1], told_of.best)
        )
        seen = Past(shares[:place], past.welfare[:place], past.kinds[:place])
        answers = {False: shares[place]}
        if told_of.top > seen.welfare[seen.kinds == told_of.kind].max(initial=-np.inf):
            answers[True] = best
        found += [_trajectory(f"{key}/{place}", seen, told_of.kind, aim, answer) for aim, answer in answers.items()]
    return found


class Demonstrations(Mapping[str, Sequence[Trajectory]]):
    """What so many histories teach, by number, made when asked for: all at once would take long and fill the memory."""

    def __init__(self, histories: int, seed: int) -> None:
        self._histories, self._seed = histories, seed

    def __getitem__(self, key: str) -> Sequence[Trajectory]:
        if not (key.isdecimal() and int(key) < self._histories):
            raise KeyError(key)
        return lessons(key, example(derive_seed(self._seed, "history", int(key))), derive_seed(self._seed, key))

    def __iter__(self) -> Iterator[str]:
        return map(str, range(self._histories))

    def __len__(self) -> int:
        return self._histories


def _trajectory(key: str, seen: Past, kind: int, aim: bool, answer: Reals) -> Trajectory:
    """Return one answer to a history, as its principal is told of it."""
    short = seen.shortened(TERMS - 1)
    before = told(short.lines(), len(answer))[-1]
    text = asked(short, before, len(short.welfare), kind, aim=aim)
    rates = rates_text(answer.tolist(), UNIT[len(answer)])
    proposal = Proposal(rates, tokens=answer_tokens(rates, start(prompt_tokens(text))))
    verdict = Verdict(Status.ACCEPTED, (1.0,), "a history of teachers")
    return Trajectory(Problem(key), (Step(Observation(text), proposal),), verdict, {"aim": aim})
