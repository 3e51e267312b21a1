"""pass@k: the chance that at least one of k samples solves a problem, without bias from few samples.

Source: Chen et al. 2021 (arXiv 2107.03374), equation 1. Not here: drawing the samples; they must be independent and of
the same policy, which trajectories of a tree search are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.core import Status, Trajectory
from surpass.errors import DataError


def pass_at_k(samples: ArrayLike, correct: ArrayLike, k: int) -> NDArray[np.float64]:
    """Return the unbiased estimate  1 - C(n-c, k) / C(n, k)  for each problem with n samples, c of them correct.

    >>> pass_at_k([4, 4], [1, 0], 2).tolist()
    [0.5, 0.0]

    Raises DataError unless 1 <= k <= n and 0 <= c <= n: an estimate from fewer than k samples would be biased.
    """
    n, c = np.broadcast_arrays(np.asarray(samples, dtype=np.int64), np.asarray(correct, dtype=np.int64))
    if k < 1 or (n < k).any() or (c < 0).any() or (c > n).any():
        raise DataError(
            f"pass@{k} needs 1 <= k <= samples and 0 <= correct <= samples; found samples from {n.min()} to {n.max()}, "
            f"correct from {c.min()} to {c.max()}; lower k or draw more samples"
        )
    drawn = np.arange(k)  # the i-th draw finds only wrong ones: (n - c - i) / (n - i), never below zero
    wrong = np.clip((n - c)[..., None] - drawn, 0, None) / (n[..., None] - drawn)
    return np.asarray(1.0 - wrong.prod(axis=-1), dtype=np.float64)


def counts(trajectories: Iterable[Trajectory]) -> dict[str, tuple[int, int]]:
    """Map each problem key to (samples, correct) in order of appearance; UNKNOWN ones are not samples.

    A problem with nothing but UNKNOWN stays, as (0, 0).
    """
    samples, correct = Counter[str](), Counter[str]()
    for trajectory in trajectories:
        samples[trajectory.problem.key] += trajectory.verdict.status is not Status.UNKNOWN
        correct[trajectory.problem.key] += trajectory.solved
    return {key: (samples[key], correct[key]) for key in samples}


def mean_pass_at_k(trajectories: Iterable[Trajectory], ks: Sequence[int]) -> dict[int, float]:
    """Return the mean of pass@k over problems for each k. Raises DataError where a problem has fewer than k samples."""
    found = counts(trajectories)
    if not found:
        raise DataError("pass@k of no trajectories; expected at least one problem")
    samples, correct = np.array(list(found.values())).T
    return {k: float(pass_at_k(samples, correct, k).mean()) for k in ks}
