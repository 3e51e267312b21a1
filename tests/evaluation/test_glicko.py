"""Glicko-2 against the published worked example, and what a rating period means."""

import pytest

from surpass.errors import DataError
from surpass.evaluation.elo import Game
from surpass.evaluation.glicko import Rating, after, period

EXAMPLE = [(Rating(1400, 30), 1.0), (Rating(1550, 100), 0.0), (Rating(1700, 300), 0.0)]


def test_the_published_example() -> None:
    found = after(Rating(1500, 200, 0.06), EXAMPLE, tau=0.5)
    assert found.rating == pytest.approx(1464.06, abs=0.02)  # the text rounds on its way
    assert found.deviation == pytest.approx(151.52, abs=0.01)
    assert found.volatility == pytest.approx(0.05999, abs=1e-5)


def test_games_of_a_period_are_taken_at_once() -> None:
    at_once = after(Rating(1500, 200), EXAMPLE)
    one_by_one = Rating(1500, 200)
    for result in EXAMPLE:
        one_by_one = after(one_by_one, [result])
    assert after(Rating(1500, 200), EXAMPLE[::-1]).rating == pytest.approx(at_once.rating)  # order does not matter
    assert abs(one_by_one.rating - at_once.rating) > 0.2  # and this is another scheme


def test_a_period_without_games_only_widens() -> None:
    found = after(Rating(1500, 50, 0.06), [])
    assert found.rating == 1500
    assert found.deviation == pytest.approx((50**2 + (173.7178 * 0.06) ** 2) ** 0.5)


def test_a_period_moves_all_players_from_their_ratings_before_it() -> None:
    before = {"a": Rating(1600, 80), "b": Rating(1500, 80), "idle": Rating(1400, 60)}
    found = period(before, [Game("a", "b", 0.0), Game("b", "new", 0.5)], fixed=["b"])
    assert found["b"] == before["b"]
    assert found["a"] == after(before["a"], [(before["b"], 0.0)])
    assert found["new"] == after(Rating(), [(before["b"], 0.5)])
    assert found["idle"].deviation > 60


def test_a_great_surprise_raises_volatility() -> None:
    assert after(Rating(1500, 30), [(Rating(2500, 30), 1.0)] * 5).volatility > 0.06
    assert after(Rating(1500, 350), [(Rating(1500, 30), 1.0)] * 50).deviation < 60


@pytest.mark.parametrize("bad", [{"tau": 0.0}, {"results": [(Rating(), 1.5)]}])
def test_bad_input_is_a_data_error(bad: dict[str, object]) -> None:
    with pytest.raises(DataError):
        after(Rating(), **{"results": [], **bad})  # type: ignore[arg-type]
    with pytest.raises(DataError):
        Rating(float("nan"))
