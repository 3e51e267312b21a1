"""How different the solutions of a policy are: distinct and new ones, their effective number, distances, entropy.

Flow of Reasoning (Yu et al., arXiv 2406.05673) reports three numbers of n samples for each problem: accuracy, the share
of problems with a correct one, which is pass@n (`passk.mean_pass_at_k`); diversity, `distinct_per_solved`; creativity,
which compares methods. The Vendi score of order q of n items with similarities K [n, n], ones on its diagonal, is

    VS_q = exp(H_q(eigenvalues of K / n))        H_q(p) = log(sum_i p_i^q) / (1 - q), its limit at q = 1 and infinity

an effective number of items, from 1 (all alike) to n (nothing shared). Low orders listen to rare items, high ones to
common items. Sources: Friedman and Dieng (arXiv 2210.02410); all orders, Pasarkar and Dieng (arXiv 2310.12952).
Normalised entropy of moves as in Transcendence (Zhang et al., arXiv 2406.11741); the bit-parallel distance is Myers
1999 in the form of Hyyrö 2003. Not here: what counts as the same proof; the caller says so with a key.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.core import Trajectory
from surpass.errors import DataError

ORDERS = (0.5, 1.0, 2.0, math.inf)


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


def creativity(
    methods: Mapping[str, Iterable[Trajectory]], *, key: Callable[[Trajectory], Hashable] = actions_key
) -> dict[str, float]:
    """Map each method to the share of all distinct solutions found that it found and no other method did.

    "All" are those of any method on any problem; the shares add up to at most 1, and are 0 where nothing was found.
    Compare methods at equal numbers of samples only: who draws more finds more.
    """
    found = {
        name: {(problem, one) for problem, those in solutions(plays, key=key).items() for one in those}
        for name, plays in methods.items()
    }
    finders = Counter(one for those in found.values() for one in those)
    return {
        name: sum(finders[one] == 1 for one in those) / len(finders) if finders else 0.0
        for name, those in found.items()
    }


def ngram_kernel(sequences: Sequence[Sequence[Hashable]], *, n: int = 2) -> NDArray[np.float64]:
    """Return the similarities [B, B] of sequences: cosines of their counts of all 1-grams to n-grams.

    Positive semi-definite with ones on its diagonal, as a Vendi score needs; a kernel made of edit distances need not
    be. Equal sequences have similarity 1, those without a common element 0; an empty one is like empty ones alone.
    Raises DataError for n < 1.
    """
    if n < 1:
        raise DataError(f"expected n-grams of 1 or more elements, found n = {n}")
    columns: dict[Hashable, int] = {}
    counts = [
        Counter(tuple(one[i : i + size]) for size in range(1, n + 1) for i in range(len(one) - size + 1))
        or Counter([()])
        for one in sequences
    ]
    for count in counts:
        for gram in count:
            columns.setdefault(gram, len(columns))
    table = np.zeros((len(sequences), len(columns)))
    for row, count in enumerate(counts):
        for gram, times in count.items():
            table[row, columns[gram]] = times
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(table @ table.T, dtype=np.float64)


def vendi(kernel: ArrayLike, orders: Sequence[float] = ORDERS) -> dict[float, float]:
    """Map each order q > 0 to the Vendi score of similarities [n, n]; `math.inf` is an order too.

    >>> vendi([[1, 0], [0, 1]], [1, 2])
    {1: 2.0, 2: 2.0}

    Raises DataError for a kernel that is empty, not symmetric, without ones on its diagonal or not positive
    semi-definite (up to 1e-6), and for an order that is not positive.
    """
    table = np.asarray(kernel, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.size:
        raise DataError(f"expected similarities [n, n] of at least one item, found shape {table.shape}")
    ones = np.allclose(np.diagonal(table), 1.0, atol=1e-6)
    if not np.isfinite(table).all() or not np.allclose(table, table.T, atol=1e-6) or not ones:
        raise DataError("expected finite, symmetric similarities with ones on the diagonal, found others")
    values = np.linalg.eigvalsh(table / len(table))
    if values[0] < -1e-6:
        raise DataError(f"expected a positive semi-definite kernel, found the eigenvalue {values[0]}: use ngram_kernel")
    shares = values[values > 1e-12]  # what rounding leaves of 0 would count at low orders
    shares = shares / shares.sum()
    return {q: _effective(shares, q) for q in orders}


def _effective(shares: NDArray[np.float64], q: float) -> float:
    """Return the Hill number of order q: the exponential of the Renyi entropy."""
    if not q > 0:
        raise DataError(f"expected an order above 0, found {q}")
    if q == math.inf:
        return float(1.0 / shares.max())
    if abs(q - 1.0) < 1e-6:  # the limit: the quotient below would be one of rounding errors
        return float(np.exp(-(shares * np.log(shares)).sum()))
    return float(np.exp(np.logaddexp.reduce(q * np.log(shares)) / (1.0 - q)))  # shares ** q underflows


def vendi_per_solved(
    trajectories: Iterable[Trajectory],
    orders: Sequence[float] = ORDERS,
    *,
    kernel: Callable[[Sequence[tuple[str, ...]]], ArrayLike] = ngram_kernel,
) -> dict[float, float]:
    """Map each order to the mean Vendi score of the correct samples of each problem that was solved; 0 when none was.

    `kernel` compares the actions of trajectories. Repeated samples count: many copies of one solution and a single
    other are hardly more than one. It grows with the number of correct samples: compare at equal numbers.
    """
    correct: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for trajectory in trajectories:
        if trajectory.solved:
            correct[trajectory.problem.key].append(trajectory.actions)
    scores = [vendi(kernel(plays), orders) for plays in correct.values()]
    return {q: sum(score[q] for score in scores) / len(scores) if scores else 0.0 for q in orders}


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
