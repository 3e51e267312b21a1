"""Synthetic surfaces: their best rates are best, heights are what they are said to be, contexts turn the parts."""

import numpy as np
import pytest

from surpass.domains.economy.landscapes import FAMILIES, HELD_OUT, LEARNED, Landscape, landscape
from surpass.errors import ConfigError


def of_seeds(family: str, count: int = 25) -> list[Landscape]:
    return [landscape(seed, [family]) for seed in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_higher_than_the_best(family: str) -> None:
    chance = np.random.default_rng(0)
    for one in of_seeds(family):
        tried = chance.random((2000, len(one.best)))
        near = np.clip(np.array(one.best) + 0.02 * chance.standard_normal(tried.shape), 0, 1)
        heights = one.height(np.concatenate([tried, near]))
        assert heights.max() <= 1 + 1e-6
        assert one.height(np.array([one.best]))[0] == pytest.approx(1)
        assert heights[: len(tried)].mean() == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_best_rates_are_so_in_every_context(family: str) -> None:
    several = [one for one in of_seeds(family) if len(one.parts) > 1]
    assert several
    for one in several[:5]:
        seen = {one.context(seed): seed for seed in range(40)}
        assert len(seen) == len(one.parts)
        assert {value for ((_, value),) in seen} == set(range(1, len(one.parts) + 1))
        for seed in seen.values():
            assert one.reached(one.best_rates(seed), seed) == pytest.approx(1)


def test_welfare_is_height_moved_stretched_and_shaken() -> None:
    quiet = next(one for one in of_seeds("bowl") if not one.noise)
    rates = [0.5 * quiet.high] * len(quiet.best)
    expected = quiet.offset + quiet.scale * quiet.reached(rates, 7)
    assert quiet.step(rates, seed=7).welfare == pytest.approx(expected)
    noisy = next(one for one in of_seeds("bowl") if one.noise > 0.02 and len(one.parts) == 1)
    rates = [0.5 * noisy.high] * len(noisy.best)
    found = np.array([noisy.step(rates, seed=seed).welfare for seed in range(400)])
    assert found.mean() == pytest.approx(noisy.offset + noisy.scale * noisy.reached(rates, 0), abs=noisy.scale * 0.02)
    assert found.std() == pytest.approx(noisy.noise * noisy.scale, rel=0.15)
    assert noisy.step(rates, seed=3) == noisy.step(rates, seed=3)


def test_families_are_all_drawn_and_no_others() -> None:
    drawn = {landscape(seed, LEARNED).family for seed in range(60)}
    assert drawn == set(LEARNED)
    assert not set(LEARNED) & set(HELD_OUT)
    assert set(FAMILIES) == {*LEARNED, *HELD_OUT}
    for families in ((), ("bowl", "bowls")):
        with pytest.raises(ConfigError, match="families: expected some of bowl"):
            landscape(0, families)
