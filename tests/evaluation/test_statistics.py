from __future__ import annotations

import itertools

import numpy as np
import pytest

from surpass.errors import DataError
from surpass.evaluation.statistics import bootstrap, clustered, hierarchical, paired_bootstrap, wilson


def test_exact_distribution_of_two_values() -> None:
    # resampled means are 0, 1/2, 1 with chances 1/4, 1/2, 1/4
    found = bootstrap([0.0, 1.0], resamples=100_000)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert found.share_at_most_zero == pytest.approx(0.25, abs=0.01)


def test_exact_distribution_of_two_seeds_and_two_problems() -> None:
    table = np.array([[-1.0, 2.0], [0.5, 3.0]])
    draws = list(itertools.product(range(2), repeat=2))
    means = [table[np.ix_(seeds, problems)].mean() for seeds in draws for problems in draws]
    found = hierarchical(table, resamples=200_000)
    assert found.mean == pytest.approx(np.mean(means)) == 1.125
    assert found.share_at_most_zero == pytest.approx(np.mean(np.array(means) <= 0), abs=0.005)
    assert (found.low, found.high) == (min(means), max(means))


@pytest.mark.parametrize("n", [40])
def test_the_interval_covers_the_mean_of_normal_data(n: int) -> None:
    rng = np.random.default_rng(1)
    trials = 400
    intervals = [bootstrap(rng.normal(3.0, 2.0, size=n), resamples=1000, seed=i) for i in range(trials)]
    covered = sum(found.low <= 3.0 <= found.high for found in intervals) / trials
    assert 0.90 <= covered <= 0.975
    width = np.mean([found.high - found.low for found in intervals])
    assert width == pytest.approx(2 * 1.96 * 2.0 / np.sqrt(n), rel=0.06)


def test_variance_is_that_of_seeds_and_problems_together() -> None:
    """For crossed effects the variance of a resampled mean is about var(seeds)/S + var(problems)/P."""
    rng = np.random.default_rng(2)
    table = rng.normal(0, 1.0, size=(30, 1)) + rng.normal(0, 2.0, size=(1, 50)) + 1.0
    found = hierarchical(table, resamples=40_000)
    sigma = np.sqrt(table.mean(1).var() / 30 + table.mean(0).var() / 50)
    assert found.high - found.low == pytest.approx(2 * 1.96 * sigma, rel=0.04)


def test_pairs_stay_together() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 10, size=(1, 60)) + rng.normal(0, 5, size=(4, 1))
    ours, theirs = hard + 1.0, hard + rng.normal(0, 0.1, size=(4, 60))
    found = paired_bootstrap(ours, theirs)
    assert 0.9 < found.low < found.mean < found.high < 1.1
    assert found.share_at_most_zero == 0.0
    assert paired_bootstrap(theirs, ours).mean == pytest.approx(-found.mean)


def test_same_seed_same_interval_and_chunks_do_not_matter_much() -> None:
    values = np.random.default_rng(4).normal(size=20_000)
    assert bootstrap(values, resamples=220) == bootstrap(values, resamples=220)  # several chunks of resamples
    assert bootstrap(values, resamples=220).low != bootstrap(values, resamples=220, seed=1).low
    assert bootstrap([2.0]) == bootstrap([2.0, 2.0])


def test_what_cannot_be_resampled_raises() -> None:
    for wrong in ([], [1.0, float("nan")]):
        with pytest.raises(DataError, match="finite values"):
            bootstrap(wrong)
    with pytest.raises(DataError, match="equal shapes"):
        paired_bootstrap([[1.0, 2.0]], [[1.0]])
    with pytest.raises(DataError, match="finite values"):
        paired_bootstrap([1.0], [2.0])


def test_groups_are_drawn_whole() -> None:
    """Two groups, 0 0 0 and 3: a resample is 0, 3/4 or 3, with chances 1/4, 1/2, 1/4."""
    found = clustered([0.0, 0.0, 3.0, 0.0], ["a", "a", "b", "a"], resamples=100_000)
    assert (found.mean, found.low, found.high) == (0.75, 0.0, 3.0)
    assert found.share_at_most_zero == pytest.approx(0.25, abs=0.01)
    assert clustered([1.0, 2.0], ["a", "a"]).high == 1.5  # one group: nothing to resample


def test_groups_of_one_are_a_bootstrap_and_equal_values_within_groups_are_not() -> None:
    values = np.random.default_rng(5).normal(1.0, 1.0, size=60)
    plain = bootstrap(values)
    alone = clustered(values, list(range(60)))
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high), abs=0.03)
    copied = clustered(np.repeat(values, 25), np.repeat(np.arange(60), 25).tolist())
    assert copied.high - copied.low == pytest.approx(plain.high - plain.low, rel=0.1)  # copies are no evidence


def test_groups_that_do_not_fit_are_data_errors() -> None:
    for values, groups in (([], []), ([1.0], []), ([float("nan")], ["a"]), ([[1.0]], ["a"])):
        with pytest.raises(DataError, match="a group for each"):
            clustered(values, groups)


def test_the_interval_of_a_share_covers_it_and_is_no_point_at_its_ends() -> None:
    rng = np.random.default_rng(6)
    for share in (0.02, 0.3, 0.9):
        found = [wilson(hits / 40, 40) for hits in rng.binomial(40, share, size=2000).tolist()]
        assert sum(low <= share <= high for low, high in found) / 2000 >= 0.92
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # as in tables
    assert wilson(1.0, 41) == pytest.approx((0.9143, 1.0), abs=1e-4)
    for bad in ((0.5, 0), (1.5, 3), (float("nan"), 3)):
        with pytest.raises(DataError, match="at least one trial"):
            wilson(*bad)
