"""How different the solutions of a policy are: distinct proofs, distances among them, entropy of its choices.

Sources: distinct solutions per solved problem as in Flow of Reasoning (Yu et al., arXiv 2406.05673); normalised entropy
of moves as in Transcendence (Zhang et al., arXiv 2406.11741); the bit-parallel distance is Myers 1999 in the form of
Hyyrö 2003. Not here: what counts as the same proof; the caller says so with a key.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations

from surpass.core import Trajectory


def actions_key(trajectory: Trajectory) -> Hashable:
    """Return the actions with runs of white space made one space: the default meaning of "the same proof"."""
    return tuple(" ".join(action.split()) for action in trajectory.actions)


def solutions(
    trajectories: Iterable[Trajectory], *, key: Callable[[Trajectory], Hashable] = actions_key
) -> dict[str, Counter[Hashable]]:
    """Map each solved problem's key to how often each distinct solution was found; unsolved problems are absent."""
    found: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for trajectory in trajectories:
        if trajectory.solved:
            found[trajectory.problem.key][key(trajectory)] += 1
    return dict(found)


def distinct_per_solved(
    trajectories: Iterable[Trajectory], *, key: Callable[[Trajectory], Hashable] = actions_key
) -> float:
    """Return the mean number of distinct solutions of the problems that were solved; 0 when none was.

    It grows with the number of samples: compare policies at equal numbers only.
    """
    found = solutions(trajectories, key=key)
    return sum(map(len, found.values())) / len(found) if found else 0.0


def entropy(counts: Iterable[int], *, normalised: bool = False) -> float:
    """Return the entropy of observed counts in nats; `normalised`: over the log of the distinct outcomes, in [0, 1].

    The plug-in estimate: biased down by about (outcomes - 1) / (2 samples).
    """
    positive = [count for count in counts if count]
    total = sum(positive)
    nats = -sum(count / total * math.log(count / total) for count in positive)
    if normalised:
        return nats / math.log(len(positive)) if len(positive) > 1 else 0.0
    return max(0.0, nats)


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Return the Levenshtein distance of two sequences (characters, tokens, actions).

    >>> edit_distance("kitten", "sitting")
    3

    Python's integers hold a whole column of the table in their bits, so each element of `b` costs a dozen operations.
    """
    if not a:
        return len(b)
    where: dict[Hashable, int] = defaultdict(int)
    for i, element in enumerate(a):
        where[element] |= 1 << i
    everything, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    # `up`, `down`: the rows of the current column where the table rises, falls; `distance`: its last entry
    up, down, distance = everything, 0, len(a)
    for element in b:
        equal = where.get(element, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        rises, falls = down | ~(diagonal | up) & everything, up & diagonal
        distance += bool(rises & last) - bool(falls & last)
        rises = (rises << 1 | 1) & everything
        up = (falls << 1 | ~(diagonal | rises)) & everything
        down = rises & diagonal
    return distance


def self_distance(sequences: Sequence[Sequence[Hashable]]) -> float:
    """Return the mean edit distance among all pairs, each over the longer length: 0 all equal, 1 nothing shared."""
    pairs = [(a, b) for a, b in combinations(sequences, 2)]
    if not pairs:
        return 0.0
    return sum(edit_distance(a, b) / max(1, len(a), len(b)) for a, b in pairs) / len(pairs)
