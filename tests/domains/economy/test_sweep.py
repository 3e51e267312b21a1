"""Sweeps of fixed policies: the table is what playing one by one gives, and it finds a known optimum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from surpass.domains.economy.learning import LearningCommons, load_core
from surpass.domains.economy.rules import rules_of
from surpass.domains.economy.society import Many, Rate, Surface, surface, terms
from surpass.domains.economy.sweep import Point, around, best, grid, lattice
from surpass.errors import ConfigError


def test_a_grid_is_one_term_after_another() -> None:
    flat, points, told = surface(3, rates=2, noise=0.3), [(0.1, 0.2), (0.5, 0.5), (1.0, 0.0)], list[Point]()
    table = grid(flat, points, [4, 5], batch=3, tell=told.append)
    assert [point.rates for point in table] == points
    assert list(table) == told
    for point in table:
        alone = [flat.step(point.rates, seed=seed).welfare for seed in (4, 5)]
        assert [one.welfare for one in point.metrics] == alone
        assert point.welfare == pytest.approx(np.mean(alone))
        assert point.error == pytest.approx(abs(alone[0] - alone[1]) / 2)


def test_coarse_then_fine_finds_the_best_of_a_known_surface() -> None:
    flat = Surface((0.3, 0.7), ((4.0, 1.0), (1.0, 2.0)))
    table, step = grid(flat, lattice(flat.rates, 3), [0]), 0.25
    assert len(table) == 9
    while step > 0.01:
        table += grid(flat, around(best(table).rates, flat.rates, step), [0])
        step /= 2
    assert best(table).rates == pytest.approx(flat.best, abs=0.02)
    assert np.isnan(best(table).error)


def test_societies_of_learners_play_a_grid_in_one_batch() -> None:
    society = LearningCommons(replace(rules_of("harvest"), length=10), load_core(), episodes=1)
    assert isinstance(society, Many)
    assert not isinstance(surface(0), Many)
    table = grid(society, [(0, 0, 0), (0, 0.5, 1)], range(2), batch=4)
    expected = society.steps([(0, 0, 0)] * 2 + [(0, 0.5, 1)] * 2, [0, 1, 0, 1]).metrics
    assert [one for point in table for one in point.metrics] == list(expected)
    assert terms(society, [(0, 0, 0)], [0]) == society.steps([(0, 0, 0)], [0]).metrics


def test_what_cannot_be_swept_is_refused_by_name() -> None:
    flat = surface(0, rates=2)
    with pytest.raises(ConfigError, match="rate 2: expected a number from 0 to 1, found nan"):
        grid(flat, [(0.5, float("nan"))], [0])
    for points, seeds, batch in (([], [0], 1), ([(0, 0)], [], 1), ([(0, 0)], [0], 0)):
        with pytest.raises(ConfigError, match="points, seeds, batch"):
            grid(flat, points, seeds, batch=batch)
    with pytest.raises(ConfigError, match="values"):
        lattice([Rate("tax")], 1)
    with pytest.raises(ConfigError, match="step"):
        around((0.5,), [Rate("tax")], 0.0)
