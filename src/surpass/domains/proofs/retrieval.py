"""Which premises suit a goal: ranking of accessible lemmas by their words (BM25), and what any ranking is worth.

    Rank: (problem, goals, accessible) -> a score for each premise, higher is better

`recent` and `chance` are the baselines; the dual encoder is `encoder.py`, and `fused` joins rankings. What is
accessible is decided elsewhere (`rocq/premises.py`): a ranking orders what it is given, and can add nothing to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from surpass.core import Problem
from surpass.rollouts.seeds import derive_seed

_WORD = re.compile(r"[^\W\d_][\w']*(?:\.[^\W\d_][\w']*)*|\d+|[^\w\s]+")
_PIECE = re.compile(r"[._]")
FUSION = 60.0  # of reciprocal ranks: Cormack, Clarke, Buettcher 2009


@dataclass(frozen=True, slots=True)
class Premise:
    """A lemma that can be named where a goal stands."""

    name: str  # as the prover prints it there
    statement: str

    @property
    def line(self) -> str:
        """The one line by which an observation offers it."""
        return f"{self.name} : {self.statement}"


@dataclass(frozen=True, slots=True)
class Demand:
    """A goal at which a human proof has used premises."""

    problem: Problem
    goals: str
    accessible: Sequence[Premise]
    used: frozenset[int]  # indices into `accessible`, at least one


Scores = NDArray[np.float32]
Rank = Callable[[Problem, str, Sequence[Premise]], Scores]


def words(text: str) -> Iterator[str]:
    """Yield the words of a goal or statement: names, also in pieces, numbers and symbols; one-letter names are none.

    >>> list(words("n : nat |- Nat.add_comm n"))
    [':', 'nat', '|-', 'Nat.add_comm', 'Nat', 'add', 'comm']
    """
    for token in _WORD.findall(text):
        if len(token) > 1 or not token.isalpha():
            yield token
        pieces = [piece for piece in _PIECE.split(token) if piece]
        if len(pieces) > 1:
            yield from pieces


class BM25:
    """Okapi BM25 over the statements and names of premises, by the library `bm25s`.

    One index over all premises of a corpus gives the words their weights; scores of the accessible ones are picked from
    it, so a premise that is not accessible is not even ranked.
    """

    def __init__(self, premises: Iterable[Premise]) -> None:
        import bm25s

        self._row = {one: row for row, one in enumerate(dict.fromkeys(premises))}
        self._index = bm25s.BM25()
        self._index.index([list(words(one.line)) for one in self._row], show_progress=False)
        self._scored = lru_cache(maxsize=256)(self._score)
        self._last: tuple[Sequence[Premise], NDArray[np.intp]] = ((), np.zeros(0, np.intp))

    def __call__(self, problem: Problem, goals: str, accessible: Sequence[Premise]) -> Scores:
        """Return the scores of the accessible premises, which must be among those of the index."""
        del problem
        if self._last[0] is not accessible:  # goals of one problem come together, and share what is accessible
            self._last = (accessible, np.array([self._row[one] for one in accessible], np.intp))
        return self._scored(focus(goals))[self._last[1]]

    def _score(self, goal: str) -> Scores:
        query = list(words(goal))
        if not query:  # the library answers no empty query
            return np.zeros(len(self._row), dtype=np.float32)
        return np.asarray(self._index.get_scores(query), dtype=np.float32)


def focus(goals: str) -> str:
    """Return the first of several goals: the one that the next tactic sees."""
    return goals.partition("\n\n")[0]


def recent(problem: Problem, goals: str, accessible: Sequence[Premise]) -> Scores:
    """Prefer what became accessible last: the lemmas just before this one, then the last files required."""
    del problem, goals
    return np.arange(len(accessible), dtype=np.float32)


def chance(problem: Problem, goals: str, accessible: Sequence[Premise]) -> Scores:
    """Prefer none: an order drawn by the problem and its goals."""
    rng = np.random.default_rng(derive_seed(problem.key, goals))
    return rng.random(len(accessible), dtype=np.float32)


def fused(*ranks: Rank) -> Rank:
    """Return the sum of reciprocal ranks, 1 / (60 + rank): what several rankings agree on comes first."""

    def rank(problem: Problem, goals: str, accessible: Sequence[Premise]) -> Scores:
        total = np.zeros(len(accessible), dtype=np.float32)
        for one in ranks:
            places = np.empty(len(accessible), dtype=np.float32)
            places[order(one(problem, goals, accessible))] = np.arange(len(accessible))
            total += 1 / (FUSION + 1 + places)
        return total

    return rank


def order(scores: Scores) -> NDArray[np.intp]:
    """Return the indices of scores, best first; ties go to what became accessible later."""
    return np.lexsort((-np.arange(len(scores)), -scores))


@dataclass(frozen=True, slots=True)
class Retriever:
    """What an observation offers: the `k` best accessible premises of a goal, one line each, the best last."""

    accessible: Callable[[Problem], Sequence[Premise]]
    rank: Rank
    k: int = 8
    statements: bool = True  # behind the names

    def __call__(self, problem: Problem, goals: str) -> tuple[str, ...]:
        found = self.accessible(problem)
        best = [found[at] for at in order(self.rank(problem, goals, found))[: self.k]]
        return tuple(one.line if self.statements else one.name for one in reversed(best))


def recall(scores: Scores, relevant: Iterable[int], ks: Sequence[int]) -> list[float]:
    """Return which share of the relevant premises is among the best k, for each k.

    >>> recall(np.array([0.3, 0.9, 0.1], dtype=np.float32), [1, 2], [1, 2, 3])
    [0.5, 0.5, 1.0]
    """
    wanted = set(relevant)
    best = order(scores)
    return [len(wanted.intersection(best[:k].tolist())) / len(wanted) for k in ks]
