"""Ratings: closed forms, simulation with known strengths, games that have no finite fit, and intervals that cover."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.errors import DataError
from surpass.evaluation.elo import (
    NATS,
    Game,
    Unbounded,
    bootstrap,
    elo_of_score,
    expected_score,
    fit,
    profile,
    rate,
    superiority,
)


def games(first: str, second: str, wins: int, draws: int, losses: int) -> list[Game]:
    """Games whose results do not depend on colours: each half is played with either."""
    found = []
    for score, number in ((1.0, wins), (0.5, draws), (0.0, losses)):
        for index in range(number):
            white = index % 2 == 0
            found.append(Game(first, second, score) if white else Game(second, first, 1 - score))
    return found


def simulated(strengths: dict[str, float], rounds: int, *, eta: float, draws: float, seed: int) -> list[Game]:
    """A round robin under the model itself; `strengths` in Elo, `eta` in Elo, `draws` between equals."""
    rng, nu = np.random.default_rng(seed), 2 * draws / (1 - draws)
    k, found = NATS * (2 + nu) / 2, []
    for number in range(rounds):
        for white, black in itertools.permutations(strengths, 2):
            s = k * (strengths[white] - strengths[black] + eta)
            weights = np.array([math.exp(s / 2), nu, math.exp(-s / 2)])
            found.append(Game(white, black, float(rng.choice([1.0, 0.5, 0.0], p=weights / weights.sum())), f"{number}"))
    return found


def test_two_players_without_draws_have_the_closed_form() -> None:
    found = fit(games("a", "b", 60, 0, 20), anchors={"b": 1000.0}, colours=False)
    assert found.elo[found.row["a"]] == pytest.approx(1000 + 400 * math.log10(3))
    deviation = math.sqrt(found.covariance[found.row["a"], found.row["a"]])
    assert deviation == pytest.approx(1 / math.sqrt(80 * 0.75 * 0.25) / NATS)  # 1 / sqrt(n p (1 - p)), in points
    assert found.log_likelihood == pytest.approx(60 * math.log(0.75) + 20 * math.log(0.25))


def test_draws_leave_odds_alone_and_scale_the_points() -> None:
    found = fit(games("a", "b", 60, 40, 20), colours=False)
    nu = 40 / math.sqrt(60 * 20)  # the closed form of Davidson's model for two players
    assert found.draw_rate == pytest.approx(nu / (2 + nu))
    assert found.difference("a", "b").elo == pytest.approx(400 * math.log10(3) * 2 / (2 + nu))
    assert found.elo.mean() == pytest.approx(0)


def test_a_hundred_points_are_64_percent_whatever_the_draws() -> None:
    for draws in (0, 200, 1600):
        wins, losses = (round((2000 - draws) / 2 + sign * 0.03 * 1000) for sign in (1, -1))
        found = fit(games("a", "b", wins, draws, losses), colours=False)
        score = (wins + draws / 2) / 2000
        assert found.difference("a", "b").elo == pytest.approx(elo_of_score(score), abs=1.0)


def test_known_strengths_come_back_and_intervals_cover_them() -> None:
    strengths = {"a": -400.0, "b": -100.0, "c": 150.0, "d": 350.0}
    inside = 0
    for seed in range(20):
        found = fit(simulated(strengths, 20, eta=40, draws=0.3, seed=seed))
        low, high = (found.interval("d")[end] for end in (0, 1))
        inside += low <= 350 <= high
    assert inside >= 16  # of 20; below that in 0.3 % of cases under 95 % intervals
    found = fit(simulated(strengths, 400, eta=40, draws=0.3, seed=1))
    assert found.elo == pytest.approx(list(strengths.values()), abs=25)
    assert found.white_advantage == pytest.approx(40, abs=8)
    assert found.draw_rate == pytest.approx(0.3, abs=0.02)


def test_the_three_intervals_agree_where_games_are_many() -> None:
    played = simulated({"a": 0.0, "b": 60.0, "c": 200.0}, 60, eta=30, draws=0.4, seed=3)
    wald = fit(played).difference("c", "a")
    low, high = profile(played, "c", "a")
    assert (low, high) == pytest.approx((wald.low, wald.high), abs=3)
    drawn = bootstrap(played, resamples=200, seed=1)
    assert drawn.weakened == 0
    assert drawn.difference("c", "a") == pytest.approx((wald.low, wald.high), abs=15)
    assert wald.superiority > 0.999


def test_a_bootstrap_by_opening_sees_that_paired_games_are_not_independent() -> None:
    """Openings that decide the game for White: pairs always score 1 of 2, so nothing varies between units."""
    played = [Game(w, b, 1.0 if n % 2 else 0.0, f"{n}") for n in range(40) for w, b in (("a", "b"), ("b", "a"))]
    low, high = bootstrap(played, resamples=100).difference("a", "b")
    assert abs(low) < 1e-6 > abs(high)
    wald = fit(played).difference("a", "b")
    assert wald.high > 50  # the independent view cannot know


def test_anchors_stay_where_they_are_and_carry_the_others() -> None:
    strengths = {"a": 1320.0, "b": 1468.0, "c": 1608.0, "m": 1500.0}
    played = simulated(strengths, 300, eta=20, draws=0.25, seed=5)
    found = fit(played, anchors={"a": 1320.0, "b": 1468.0, "c": 1608.0})
    assert found.elo[found.row["a"]] == 1320.0
    assert found.interval("b") == (1468.0, 1468.0)
    assert found.elo[found.row["m"]] == pytest.approx(1500, abs=15)
    everybody = fit(played, anchors=strengths)
    assert everybody.elo[everybody.row["m"]] == 1500.0


def test_a_player_who_won_all_has_no_finite_maximum_and_a_finite_answer_under_the_prior() -> None:
    played = games("a", "b", 5, 0, 0) + games("b", "c", 4, 3, 4)
    with pytest.raises(Unbounded, match=r"'a' won every game"):
        fit(played)
    found = rate(played)
    assert found.prior == 0.5
    assert 100 < found.difference("a", "b").elo < 1000
    assert rate(games("b", "c", 4, 3, 4)).prior == 0.0
    assert bootstrap(games("a", "b", 9, 0, 1), resamples=50).weakened > 0


def test_what_cannot_be_compared_is_an_error() -> None:
    apart = games("a", "b", 3, 1, 3) + games("c", "d", 3, 1, 3)
    with pytest.raises(DataError, match="no chain of games joins 'a' and 'c', 'd'"):
        rate(apart)
    assert fit(apart, anchors={"a": 0.0, "c": 500.0}).elo[2] == 500.0  # a player of each group is anchored
    with pytest.raises(Unbounded, match="colours=False"):
        fit([Game("a", "b", 1.0), Game("a", "b", 0.0)])  # strength and the worth of White are one
    assert fit([Game("a", "b", 1.0), Game("a", "b", 0.0)], colours=False).elo == pytest.approx([0, 0])
    with pytest.raises(Unbounded, match="drawn"):
        fit(games("a", "b", 0, 6, 0))
    assert rate(games("a", "b", 0, 6, 0)).elo == pytest.approx([0, 0])
    for bad in ([], [Game("a", "b", 0.7)], [Game("a", "a", 1.0)], [Game("a", "b", math.nan)]):
        with pytest.raises(DataError):
            rate(bad)
    with pytest.raises(DataError, match="finite anchors"):
        fit(games("a", "b", 1, 1, 1), anchors={"a": math.inf})


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from([0.0, 0.5, 1.0])), max_size=25)
)
def test_any_games_give_finite_ratings_or_a_data_error(rows: list[tuple[str, str, float]]) -> None:
    try:
        found = rate([Game(*row) for row in rows])
    except DataError:
        return
    assert np.isfinite(found.elo).all()
    assert np.isfinite(found.covariance).all()


def test_curves() -> None:
    assert expected_score(0) == 0.5
    assert expected_score(-1e9) == 0.0
    assert elo_of_score(expected_score(123.0)) == pytest.approx(123.0)
    assert elo_of_score(1.0) == math.inf
    assert superiority(0, 10) < 0.001


def test_a_contrast_is_the_sum_of_differences_and_its_variance_that_of_the_sum() -> None:
    """Two players against one: the mean of both less the third, by hand from ratings and covariance."""
    found = fit([*games("a", "c", 30, 10, 20), *games("b", "c", 25, 20, 15), *games("a", "b", 10, 10, 10)])
    mean = found.contrast({"a": 0.5, "b": 0.5, "c": -1.0})
    apart = [found.difference(name, "c") for name in "ab"]
    assert mean.elo == pytest.approx(sum(one.elo for one in apart) / 2)
    weights = np.array([{"a": 0.5, "b": 0.5, "c": -1.0}[name] for name in found.players])
    deviation = math.sqrt(weights @ found.covariance @ weights)
    assert mean.high - mean.elo == pytest.approx(1.959964 * deviation, rel=1e-5)
    assert mean.high - mean.low < max(one.high - one.low for one in apart)
    assert found.contrast({"a": 1.0, "c": -1.0}) == found.difference("a", "c")
