"""Rules of thumb: each does what its name says, and better than chance."""

import numpy as np
import pytest

from surpass.domains.economy.landscapes import landscape
from surpass.domains.economy.principals.principal import principal_of
from surpass.domains.economy.principals.weak import climb, coordinate, evolve, stride
from surpass.domains.economy.society import Metrics, Rate, SettledRoom, Surface, Term
from tests.domains.economy.principals.govern import govern

RULES = ("climb", "coordinate", "evolve", "stride")
SURFACE = Surface(best=(0.3, 0.7), noise=0.0)


def term(*rates: float, welfare: float, kind: float | None = None) -> Term:
    return Term(rates, Metrics(welfare), () if kind is None else (("kind", kind),))


@pytest.mark.parametrize("name", RULES)
def test_each_is_better_than_chance(name: str) -> None:
    def mean(which: str) -> float:
        rows = []
        for seed in range(25):
            one = landscape(seed, ["bowl"])
            history = govern(principal_of(which, one, seed=seed), one, 24)
            rows += [one.reached(past.rates, number) for number, past in enumerate(history)]
        return float(np.mean(rows))

    assert mean(name) > mean("random") + 0.1


@pytest.mark.parametrize("name", RULES)
def test_answers_are_in_range_and_depend_on_the_history_alone(name: str) -> None:
    room = SettledRoom()
    history = govern(principal_of(name, room, seed=3), room, 12)
    again = principal_of(name, room, seed=3)
    for number, past in enumerate(history):
        assert again.ask(history[:number], past.context) == past.rates
        assert all(rate.low <= value <= rate.high for rate, value in zip(room.rates, past.rates, strict=True))
    assert principal_of(name, room, seed=4).ask([], ()) != history[0].rates


@pytest.mark.parametrize("name", RULES)
def test_contexts_have_nothing_to_do_with_each_other(name: str) -> None:
    principal = principal_of(name, SURFACE, seed=1)
    mine, other = term(0.5, 0.5, welfare=1, kind=1.0), term(0.1, 0.9, welfare=5, kind=2.0)
    changed = term(0.2, 0.1, welfare=-5, kind=2.0)
    kind = (("kind", 1.0),)
    assert principal.ask([mine, other], kind) == principal.ask([mine, changed], kind)
    assert principal.ask([other], kind) == principal.ask([changed], kind)


def test_coordinate_search_changes_one_rate_of_the_best() -> None:
    principal = coordinate(SURFACE, seed=0)
    past = [term(0.2, 0.4, welfare=3), term(0.9, 0.1, welfare=1)]
    first = principal.ask(past, ())
    assert first[1] == 0.4
    assert first[0] != 0.2
    second = principal.ask([*past, term(0.5, 0.5, welfare=0)], ())
    assert second[0] == 0.2
    assert second[1] != 0.4


def test_climbing_stays_near_the_best_but_for_epsilon() -> None:
    past = [term(0.5, 0.5, welfare=3), term(0.9, 0.1, welfare=1)]
    near = [climb(SURFACE, seed=seed, step=0.01, epsilon=0.0).ask(past, ()) for seed in range(50)]
    assert np.abs(np.array(near) - 0.5).max() < 0.05
    far = [climb(SURFACE, seed=seed, step=0.01, epsilon=1.0).ask(past, ()) for seed in range(50)]
    assert np.abs(np.array(far) - 0.5).mean() > 0.15


def test_the_step_of_evolution_grows_with_success() -> None:
    rising = [term(0.5, 0.5, welfare=float(number)) for number in range(6)]
    falling = [term(0.5, 0.5, welfare=-float(number)) for number in range(6)]
    steps = [
        np.abs(np.array([evolve(SURFACE, seed=seed, step=0.02).ask(past, ()) for seed in range(60)]) - 0.5).mean()
        for past in (rising, falling)
    ]
    assert steps[0] / steps[1] == pytest.approx(1.5**6.25, rel=0.4)


def test_a_stride_goes_on_from_the_second_best_through_the_best() -> None:
    past = [term(0.2, 0.5, welfare=1), term(0.4, 0.5, welfare=2), term(0.9, 0.9, welfare=0)]
    found = np.array([stride(SURFACE, seed=seed, noise=0.001).ask(past, ()) for seed in range(40)])
    assert found[:, 0].min() > 0.39
    assert found[:, 0].max() < 0.61
    assert np.abs(found[:, 1] - 0.5).max() < 0.01


def test_rates_of_any_range() -> None:
    society = Surface()
    odd = (Rate("fine", -3.3, 1e6), Rate("tax", 1e-7, 2e-7))
    principal = climb(society, seed=0, step=2.0)
    shifted = type(principal)(principal.rule, odd, 0)  # type: ignore[attr-defined, call-arg]
    for number in range(30):
        past = [Term((1e6, 2e-7), Metrics(1.0))] * (1 + number)
        rates = shifted.ask(past, ())
        assert all(rate.low <= value <= rate.high for rate, value in zip(odd, rates, strict=True))
