from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from surpass.core import Problem, Trajectory
from surpass.errors import DataError
from surpass.evaluation.passk import counts, mean_pass_at_k, pass_at_k
from tests.learning import ACCEPTED, REJECTED, UNKNOWN


def test_it_is_the_share_of_subsets_with_a_correct_one() -> None:
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(combinations([True] * c + [False] * (n - c), k))
                assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


def test_large_counts_are_exact() -> None:
    expected = 1 - math.comb(9000, 500) / math.comb(10000, 500)
    assert pass_at_k(10000, 1000, 500) == pytest.approx(expected, rel=1e-12)


def test_it_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    p, n, k = 0.3, 6, 4
    correct = rng.binomial(n, p, size=200_000)
    assert pass_at_k(n, correct, k).mean() == pytest.approx(1 - (1 - p) ** k, abs=0.002)


def test_counts_leave_unknown_out() -> None:
    problems = [Problem("p"), Problem("q"), Problem("r")]
    verdicts = [(0, ACCEPTED), (0, REJECTED), (1, REJECTED), (0, UNKNOWN), (1, REJECTED), (2, UNKNOWN)]
    plays = [Trajectory(problems[i], (), verdict) for i, verdict in verdicts]
    assert counts(plays) == {"p": (2, 1), "q": (2, 0), "r": (0, 0)}
    assert mean_pass_at_k(plays[:5], [1, 2]) == {1: 0.25, 2: 0.5}
    with pytest.raises(DataError, match="draw more samples"):
        mean_pass_at_k(plays, [1])
    with pytest.raises(DataError, match="no trajectories"):
        mean_pass_at_k([], [1])
    assert mean_pass_at_k([replace(plays[0])], [1]) == {1: 1.0}


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 1, 0), (3, 4, 1), (3, -1, 1)])
def test_impossible_counts_raise(n: int, c: int, k: int) -> None:
    with pytest.raises(DataError, match="needs 1 <= k"):
        pass_at_k(n, c, k)
