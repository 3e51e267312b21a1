"""The numeric principals on societies whose answers are known: each behaves as it must."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from surpass.domains.economy.bring import from_function
from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.principals import optimisers
from surpass.domains.economy.principals.ai_economist import PlannerOptions
from surpass.domains.economy.principals.bandits import Arms, pick_by_bound, pick_by_posterior
from surpass.domains.economy.principals.oracle import Search, contexts, find, kept
from surpass.domains.economy.principals.principal import principal_of
from surpass.domains.economy.society import Metrics, Rate, SettledRoom, Surface, Term, surface
from surpass.errors import ConfigError, DataError
from tests.domains.economy.principals.govern import govern

FLAT = Surface((0.25, 0.75), ((4.0, 1.0), (1.0, 2.0)), peak=10.0)


def regret(name: str, society: Surface, terms: int, seed: int, **options: object) -> float:
    """What is missing to the peak at the best of all terms, without noise."""
    history = govern(principal_of(name, society, seed=seed, **options), society, terms, seed=seed * 1000)
    exact = Surface(society.best, society.curvature, society.peak)
    return society.peak - max(exact.step(term.rates, seed=0).welfare for term in history)


def test_ucb_plays_every_arm_once_first_and_then_the_best() -> None:
    history = govern(principal_of("ucb", FLAT, seed=0, levels=5), FLAT, 60)
    assert set(Counter(term.rates for term in history[:25]).values()) == {1}
    assert {term.rates for term in history[:25]} == {(a / 4, b / 4) for a in range(5) for b in range(5)}
    later = Counter(term.rates for term in history[25:])
    assert later.most_common(1)[0][0] == (0.25, 0.75)
    other = govern(principal_of("ucb", FLAT, seed=1, levels=5), FLAT, 5)
    assert [term.rates for term in other] != [term.rates for term in history[:5]], "the first tour has no fixed order"


def test_the_bound_of_ucb_is_that_of_the_formula() -> None:
    arms = Arms((Rate("tax"),), 2)
    for rates, welfare in (((0.0,), 1.0), ((1.0,), 0.9), ((0.0,), 1.0), ((0.0,), 1.0)):
        arms.add(rates, welfare)
    bounds = [1 + c * np.sqrt(np.log(4) / 3) - 0.9 - c * np.sqrt(np.log(4)) for c in (0.1, 0.2, 0.3)]
    assert [pick_by_bound(arms, default_rng(0), coefficient=c) for c in (0.1, 0.2, 0.3)] == [
        int(bound < 0) for bound in bounds
    ]
    assert len({bound < 0 for bound in bounds}) == 2


def test_epsilon_greedy_explores_its_share() -> None:
    """After the best arm is known, all others are played with chance epsilon times (1 - 1 / arms)."""
    history = govern(principal_of("epsilon_greedy", FLAT, seed=0, levels=5, epsilon=0.2), FLAT, 1500)
    best = max(range(500), key=lambda at: history[at].metrics.welfare)
    strayed = [term.rates != history[best].rates for term in history[500:]]
    share = 0.2 * 24 / 25
    assert abs(np.mean(strayed) - share) < 4 * np.sqrt(share * (1 - share) / 1000)
    greedy = govern(principal_of("epsilon_greedy", FLAT, seed=0, levels=5, epsilon=0.0), FLAT, 20)
    assert len({term.rates for term in greedy}) == 1, "the first arm above 0 is played for ever"


def test_thompson_draws_from_the_posterior_of_the_specification() -> None:
    """For one arm with data and one without: moments of the Student distributions, by many draws."""
    arms = Arms((Rate("tax"),), 2)
    data = [3.0, 5.0, 4.0, 8.0]
    for welfare in data:
        arms.add((0.0,), welfare)
    mean, spread = np.mean(data), np.sum((np.array(data) - np.mean(data)) ** 2)
    count, shape = 0.05 + 4, 1.0 + 2
    centre = 4 * mean / count
    scale = 25 + spread / 2 + 0.05 * 4 * mean**2 / (2 * count)

    chance = default_rng(1)
    wins = np.mean([pick_by_posterior(arms, chance, mean=0, count=0.05, shape=1, scale=25) for _ in range(20_000)])
    first = centre + default_rng(2).standard_t(2 * shape, 200_000) * np.sqrt(scale / (shape * count))
    second = default_rng(3).standard_t(2, 200_000) * np.sqrt(25 / 0.05)
    expected = np.mean(second > first)
    assert abs(wins - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000) + 0.003


def test_bandits_keep_a_table_for_each_context() -> None:
    room = SettledRoom()
    history = govern(principal_of("ucb", room, seed=0, levels=2), room, 90)
    for lever in (1.0, 2.0, 3.0):
        own = [term.rates for term in history if term.context == (("live lever", lever),)]
        assert len(set(own[:32])) == min(32, len(own)), "every arm once, in each context"


@pytest.mark.parametrize("name", ["bayesian", "tpe", "cma_es"])
def test_optimisers_come_closer_than_chance(name: str) -> None:
    """On noisy surfaces of three rates, at equal terms: the regret of the best term, averaged over surfaces."""
    few = name == "bayesian"  # by far the slowest, and the best
    flats, terms = [surface(seed, noise=0.02) for seed in range(2 if few else 12)], 12 if few else 30
    chance = np.mean([regret("random", flat, terms, seed) for seed, flat in enumerate(flats)])
    found = np.mean([regret(name, flat, terms, seed) for seed, flat in enumerate(flats)])
    assert found < chance * (0.25 if few else 0.8)


def test_bayesian_optimisation_begins_with_its_design() -> None:
    history = govern(principal_of("bayesian", FLAT, seed=0, initial=8), FLAT, 8)
    drawn = np.array([term.rates for term in history])
    assert ((drawn < 0.5).sum(0) == 4).all(), "a Sobol sequence is balanced"


def test_cma_es_moves_its_mean_to_the_best_rates() -> None:
    history = govern(principal_of("cma_es", FLAT, seed=0), FLAT, 150)
    late = np.array([term.rates for term in history[-24:]])
    assert late.mean(0) == pytest.approx(FLAT.best, abs=0.05)
    line = from_function(lambda rates, seed: -((rates["tax"] - 0.2) ** 2), {"tax": (0, 1)})
    assert govern(principal_of("cma_es", line, seed=0), line, 60)[-1].rates[0] == pytest.approx(0.2, abs=0.05)


def test_the_ai_economist_learns_what_pays() -> None:
    """Two rates, five levels: with larger steps than the paper's it ends clearly better than it began, and chance."""
    steep = Surface((0.25, 1.0), ((3.0, 0.0), (0.0, 3.0)), peak=2.0)
    options = PlannerOptions(levels=5, lr=1e-3, entropy=0.01)
    history = govern(principal_of("ai_economist", steep, seed=0, options=options), steep, 250)
    welfare = [term.metrics.welfare for term in history]
    random = [term.metrics.welfare for term in govern(principal_of("random", steep, seed=0), steep, 300)]
    assert np.mean(welfare[-80:]) > np.mean(random) + 0.8
    assert np.mean(welfare[-80:]) > np.mean(welfare[:50]) + 0.4


def test_a_no_op_keeps_the_last_rates() -> None:
    """With two levels, fresh heads choose the no-op a third of the time: the rate stays as it was two thirds of it."""
    history = govern(principal_of("ai_economist", FLAT, seed=0, options=PlannerOptions(levels=2)), FLAT, 150)
    rates = np.array([(0.0, 0.0), *(term.rates for term in history)])
    stayed = (rates[1:] == rates[:-1]).mean()
    assert abs(stayed - 2 / 3) < 4 * np.sqrt(2 / 9 / 300)


def test_what_somebody_else_chose_is_learned_from() -> None:
    principal = principal_of("ai_economist", FLAT, seed=0)
    other = [Term((0.123, 0.456), Metrics(1.0), (("lever", 1.0),))] * 3
    assert principal.ask(other, ()) == principal_of("ai_economist", FLAT, seed=0).ask(other, ())


def test_the_oracle_finds_the_best_of_each_context() -> None:
    found = find(FLAT, Search(values=3, refinements=5, terms=1, judged=2), seed=0)
    assert found.ask([], ()) == pytest.approx(FLAT.best, abs=0.04)
    room = SettledRoom(RoomRules(levers=2))
    search = Search(values=3, refinements=1, terms=2, judged=8)
    oracle = find(room, search, seed=0)
    assert contexts(room, 0) == [(("live lever", lever),) for lever in (1.0, 2.0)]
    for lever, one in enumerate(oracle.best):
        assert (one.searched, one.welfare, one.error) == (140.0, 140.0, 0.0)
        assert one.rates[lever] > 1, "it pays for standing at the live lever"
        assert one.terms >= 3**4 * 2 + 8
    with pytest.raises(DataError, match="live lever"):
        oracle.ask([], ())


def test_the_best_of_noise_is_judged_again() -> None:
    """Where nothing matters, the search thinks it has found something; fresh seeds say that it has not."""
    noise = from_function(lambda rates, seed: default_rng(seed + int(1e6 * rates["tax"])).normal(), {"tax": (0, 1)})
    (best,) = find(noise, Search(values=60, refinements=0, terms=1, judged=50), seed=0).best
    assert best.searched > 1.5
    assert abs(best.welfare) < 4 * best.error


def test_an_oracle_is_kept_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, path = Search(values=2, refinements=0, terms=1, judged=2), tmp_path / "oracles" / "room.json"
    room, asked = SettledRoom(), list[int]()
    monkeypatch.setattr("sys.argv", ["surpass", "run", "a name"])
    found = kept(room, search, path, seed=0, name="room")
    assert "surpass run 'a name'" in path.read_text()

    def society(rates: dict[str, float], seed: int) -> float:
        asked.append(seed)
        return 0.0

    assert kept(room, search, path, seed=0, name="room") == found
    other = from_function(society, {rate.name: (0.0, 5.0) for rate in room.rates})
    kept(other, search, path, seed=0, name="room")
    assert not asked, "it is not searched for again"
    with pytest.raises(DataError, match="another oracle"):
        kept(room, search, path, seed=1, name="room")
    path.write_text("{}")
    with pytest.raises(DataError, match="delete it"):
        kept(room, search, path, seed=0, name="room")


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("epsilon_greedy", {"epsilon": 1.5}, "epsilon"),
        ("epsilon_greedy", {"levels": 1}, "levels"),
        ("ucb", {"levels": 1000}, "levels"),
        ("ucb", {"coefficient": float("nan")}, "coefficient"),
        ("thompson", {"scale": 0}, "scale"),
        ("bayesian", {"initial": 1}, "initial"),
        ("tpe", {"startup": 0}, "startup"),
        ("cma_es", {"sigma": float("nan")}, "sigma"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(name: str, options: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        principal_of(name, SettledRoom(), seed=0, **options)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimisers, "find_spec", lambda name: None)
    for name, package in (("bayesian", "botorch"), ("tpe", "optuna"), ("cma_es", "cmaes")):
        with pytest.raises(ConfigError, match=f"needs {package}; pip install"):
            principal_of(name, FLAT, seed=0)


@pytest.mark.parametrize("field", ["levels", "batch", "lr", "entropy"])
def test_planner_options_are_refused_by_name(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        PlannerOptions(**{field: -1})


@pytest.mark.parametrize("field", ["values", "terms", "judged", "batch", "refinements"])
def test_searches_are_refused_by_name(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        Search(**{field: -1})
