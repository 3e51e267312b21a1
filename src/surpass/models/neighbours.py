"""Nearest-neighbour prediction of actions: what was done where the goal looked most like this one.

The idea is Tactician's (Blaauwbroek, Urban, Geuvers, 2020): bag-of-features similarity between proof states is a strong
and very cheap predictor of tactics. Features are the identifiers and symbols of a goal and their neighbouring pairs,
weighted by inverse document frequency; similarity is the cosine; an action's score sums over its nearest examples.
The examples are given once: nothing here learns online.
"""

from __future__ import annotations

import re
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

    def __init__(self, examples: Iterable[tuple[str, str]], *, k: int = 64, temperature: float = 0.1) -> None:
        """Index (goals, action) pairs. Raises DataError when there are none."""
        pairs = list(dict.fromkeys(examples))
        if not pairs:
            raise DataError("expected at least one (goals, action) example to search among, got none")
        self.k, self.temperature = k, temperature
        self._actions = [action for _, action in pairs]
        counts = [features(goal) for goal, _ in pairs]
        frequency = Counter(name for count in counts for name in count)
        self._idf = {name: float(np.log((1 + len(pairs)) / n)) for name, n in frequency.items()}
        rows: defaultdict[str, list[int]] = defaultdict(list)
        weights: defaultdict[str, list[float]] = defaultdict(list)
        for row, count in enumerate(counts):
            vector = self._vector(count)
            for name, weight in vector.items():
                rows[name].append(row)
                weights[name].append(weight)
        self._postings = {
            name: (np.asarray(rows[name], np.int64), np.asarray(weights[name], np.float32)) for name in rows
        }

    def _vector(self, count: Counter[str]) -> dict[str, float]:
        """Return the unit vector of a goal: tf is damped, features never indexed are left out."""
        raw = {name: (1 + np.log(n)) * self._idf[name] for name, n in count.items() if name in self._idf}
        norm = float(np.sqrt(sum(weight * weight for weight in raw.values()))) or 1.0
        return {name: float(weight) / norm for name, weight in raw.items()}

    def _similarity(self, goal: str) -> npt.NDArray[np.float64]:
        total = np.zeros(len(self._actions))
        for name, weight in self._vector(features(goal)).items():
            rows, weights = self._postings[name]
            total[rows] += weight * weights
        return total

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return up to `n` distinct actions each; log-probabilities are normalised over the `k` neighbours' actions."""
        return [self._ranked(observation.key or observation.text)[:n] for observation in observations]

    def _ranked(self, goal: str) -> list[Proposal]:
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
