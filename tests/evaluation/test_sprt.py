"""Sequential tests: values published by match runners, a constrained optimum by brute force, rates of error."""

import math

import numpy as np
import pytest

from surpass.errors import ConfigError, DataError
from surpass.evaluation.elo import Game, expected_score
from surpass.evaluation.sprt import Decision, Llr, Sprt, llr_logistic, llr_normalised, match_elo, pentanomial

# counts worst first, (elo0, elo1) and the ratio that fastchess's own tests expect, to 1 %
PUBLISHED = [
    (llr_normalised, (365, 16618, 36229, 16974, 390), (0, 2), 2.25),
    (llr_normalised, (127, 4883, 10712, 5150, 104), (-1.75, 0.25), 3.01),
    (llr_normalised, (36027, 68692, 36433), (0, 2), 0.92),
    (llr_normalised, (10650, 20431, 10871), (-1.75, 0.25), 2.30),
    (llr_logistic, (223, 9863, 21279, 10037, 246), (0.5, 2.5), -3.07),
    (llr_logistic, (871, 26175, 55983, 26678, 821), (0, 2), -4.98),
    (llr_logistic, (21184, 40708, 21404), (0.5, 2.5), -1.57),
    (llr_logistic, (57030, 106593, 57433), (0, 2), -2.59),
]


@pytest.mark.parametrize(("llr", "counts", "elos", "expected"), PUBLISHED)
def test_published_values(llr: Llr, counts: tuple[int, ...], elos: tuple[float, float], expected: float) -> None:
    assert llr(counts, *elos) == pytest.approx(expected, rel=0.01)


def test_the_ratio_is_that_of_the_best_distributions() -> None:
    """For three outcomes a mean of 1/2 + d leaves one free number: search it."""
    counts, elos = (30, 40, 50), (0.0, 40.0)
    heights = []
    for elo in elos:
        mean, best = expected_score(elo), -math.inf
        for drawn in np.linspace(1e-4, 1 - 1e-4, 20_001):
            win = mean - drawn / 2
            loss = 1 - drawn - win
            if win > 0 and loss > 0:
                best = max(best, 30 * math.log(loss) + 40 * math.log(drawn) + 50 * math.log(win))
        heights.append(best)
    assert llr_logistic(counts, *elos) == pytest.approx(heights[1] - heights[0], abs=1e-5)


def test_hypotheses_of_normalised_elo_are_met() -> None:
    """Half and half of 0 and 1 deviate by 1/2: a shift of t deviations is t / 2, as logistic Elo sees it."""
    counts = (50, 0, 50)
    shift = 20 / (800 / math.log(10)) / 2
    logistic = 400 * math.log10((0.5 + shift) / (0.5 - shift))
    assert llr_normalised(counts, 0, 20) == pytest.approx(llr_logistic(counts, 0, logistic), rel=0.01)


def test_bounds_and_decisions() -> None:
    test = Sprt(0, 5)
    assert test.bounds == pytest.approx((-2.944, 2.944), abs=1e-3)
    assert [test.decide(x) for x in (-3, 0, 3)] == [Decision.H0, Decision.GO_ON, Decision.H1]
    assert llr_normalised((0,) * 5, 0, 5) == 0.0
    for bad in ({"elo0": 5, "elo1": 5}, {"elo0": 0, "elo1": 5, "alpha": 0.0}):
        with pytest.raises(ConfigError):
            Sprt(**bad)
    for counts in ((1, 2), (1, 2, -1), (1, math.nan, 1)):
        with pytest.raises(DataError):
            llr_logistic(counts, 0, 5)


@pytest.mark.parametrize(("truth", "wrong"), [(0.0, Decision.H1), (60.0, Decision.H0)])
def test_the_rates_of_error_are_about_as_promised(truth: float, wrong: Decision) -> None:
    test, rng = Sprt(0, 60, alpha=0.1, beta=0.1), np.random.default_rng(1)
    mean, errors, runs = expected_score(truth), 0, 100
    for _ in range(runs):
        counts, decision = np.zeros(5), Decision.GO_ON
        while decision is Decision.GO_ON:
            scores = rng.choice(3, (20, 2), p=(1 - mean - 0.15, 0.3, mean - 0.15))  # a look every 20 pairs
            counts += np.bincount(scores.sum(1), minlength=5)
            decision = test.decide(llr_logistic(counts.tolist(), 0, 60))
        errors += decision is wrong
    assert errors / runs <= 0.19  # 0.1 promised; three deviations above


def test_pairs_are_counted_by_opening_and_opponent() -> None:
    games = [
        *(Game("a", "b", 1.0, "1"), Game("b", "a", 0.0, "1")),  # two wins
        *(Game("a", "b", 0.5, "2"), Game("b", "a", 1.0, "2")),  # half a point
        *(Game("a", "c", 1.0, "2"), Game("c", "a", 1.0, "2")),  # another opponent: one point
        Game("a", "b", 1.0, "3"),  # no pair yet
        Game("a", "b", 1.0),  # no opening
    ]
    assert pentanomial(games, "a") == (0, 1, 1, 0, 1)
    assert pentanomial(games, "c") == (0, 0, 1, 0, 0)


def test_the_difference_of_a_match_uses_the_pairs() -> None:
    found = match_elo((0, 0, 100, 0, 0))  # every opening split: even, but the pairs did not vary at all
    assert (found.elo, found.low, found.high) == (0.0, -math.inf, math.inf)
    found = match_elo((10, 20, 40, 20, 30))
    assert found.low < found.elo < found.high
    assert found.elo == pytest.approx(400 * math.log10(0.5833333 / 0.4166667), abs=0.01)
    assert math.isnan(match_elo((0,) * 5).elo)
