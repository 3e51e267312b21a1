"""Nearest-neighbour prediction of actions: what was done where the goal looked most like this one.

The idea is Tactician's (Blaauwbroek, Urban, Geuvers, 2020): bag-of-features similarity between proof states is a strong
and very cheap predictor of tactics. Features are the identifiers and symbols of a goal and their neighbouring pairs,
weighted by inverse document frequency; similarity is the cosine; an action's score sums over its nearest examples.
`learn` takes in more examples between two proposals, as a file is read: weights of all examples follow at once. The
features of all examples are one sparse matrix that grows by rows; an answer touches only the columns of its goal.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from surpass.core import Observation, Proposal
from surpass.errors import DataError

_TOKEN = re.compile(r"[\w.']+|[^\w\s]+")


def features(goal: str) -> Counter[str]:
    """Return the features of the first goal of a state, its conclusion counted apart from its hypotheses.

    >>> sorted(features("n : nat\\n|- n = n"))
    [':', ': nat', 'n', 'n :', 'nat', '|-', '|- =', '|- = n', '|- n', '|- n =']
    """
    found: Counter[str] = Counter()
    for line in goal.partition("\n\n")[0].splitlines():
        mark = "|- " if line.startswith("|-") else ""
        tokens: list[str] = _TOKEN.findall(line.removeprefix("|-"))
        found.update(mark + token for token in tokens)
        found.update(f"{mark}{a} {b}" for a, b in pairwise(tokens))
        if mark:
            found["|-"] += 1
    return found


class Neighbours:
    """Propose the actions of the `k` most similar examples, most probable first; deterministic, seeds are not used.

    An observation's `key` (the goals without the history) is what is compared; its text where the key is empty.
    """

    def __init__(
        self, examples: Iterable[tuple[str, str]] | None = None, *, k: int = 64, temperature: float = 0.1
    ) -> None:
        """Learn (goals, action) pairs; None: begin without any. Raises DataError for pairs that are none."""
        self.k, self.temperature = k, temperature
        self._actions: list[str] = []
        self._known: set[tuple[str, str]] = set()
        self._feature: dict[str, int] = {}  # name -> column
        # The matrix, entry by entry: its example, its feature, 1 + log(count). And by column: which entries.
        self._rows, self._columns, self._weights = array("q"), array("q"), array("d")
        self._entries: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
        self._idf, self._example, self._share = np.zeros(0), np.zeros(0, np.int64), np.zeros(0)
        if examples is not None:
            self.learn(examples)
            if not self._actions:
                raise DataError("expected at least one (goals, action) example to search among, got none")

    def __len__(self) -> int:
        return len(self._actions)

    def learn(self, examples: Iterable[tuple[str, str]]) -> None:
        """Take in (goals, action) pairs that are not known yet."""
        for pair in examples:
            if pair in self._known:
                continue
            self._known.add(pair)
            for name, n in features(pair[0]).items():
                column = self._feature.setdefault(name, len(self._feature))
                self._entries[column].append(len(self._rows))
                self._rows.append(len(self._actions))
                self._columns.append(column)
                self._weights.append(1 + math.log(n))
            self._actions.append(pair[1])
        rows, columns = np.array(self._rows), np.array(self._columns)
        frequency = np.bincount(columns, minlength=len(self._feature))
        self._idf = np.log((1 + len(self._actions)) / np.maximum(1, frequency))
        weights = np.array(self._weights) * self._idf[columns]
        norms = np.sqrt(np.bincount(rows, weights=weights * weights, minlength=len(self._actions)))
        self._example, self._share = rows, weights / np.maximum(1e-12, norms[rows])

    def _similarity(self, goal: str) -> npt.NDArray[np.float64]:
        """Return the cosine to each example; features that no example has are left out."""
        total, square = np.zeros(len(self._actions)), 0.0
        for name, n in features(goal).items():
            if (column := self._feature.get(name)) is not None:
                weight = (1 + math.log(n)) * self._idf[column]
                square += weight * weight
                entries = np.frombuffer(self._entries[column], np.int64)
                total[self._example[entries]] += weight * self._share[entries]
        return total / math.sqrt(square) if square else total

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return up to `n` distinct actions each; log-probabilities are normalised over the `k` neighbours' actions."""
        return [self._ranked(observation.key or observation.text)[:n] for observation in observations]

    def _ranked(self, goal: str) -> list[Proposal]:
        if not self._actions:
            return []
        similarity = self._similarity(goal)
        k = min(self.k, len(similarity))
        nearest = np.argpartition(-similarity, k - 1)[:k]
        nearest = nearest[np.lexsort((nearest, -similarity[nearest]))]  # ties by index: the same order everywhere
        weights = np.exp((similarity[nearest] - similarity[nearest[0]]) / self.temperature)
        mass: dict[str, float] = {}
        for row, weight in zip(nearest, weights, strict=True):
            mass[self._actions[row]] = mass.get(self._actions[row], 0.0) + float(weight)
        total = sum(mass.values())
        ranked = sorted(mass.items(), key=lambda item: -item[1])
        return [Proposal(action, float(np.log(weight / total))) for action, weight in ranked]
