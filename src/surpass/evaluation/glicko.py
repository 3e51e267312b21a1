"""Glicko-2: ratings that follow players over rating periods, with a deviation and a volatility.

All games of a period are taken at once, each against the opponent's rating *before* the period. A period should hold
some ten games of each player: rating after every game, as is often done, keeps the deviation from ever growing small,
and what is printed beside the rating is then no interval.

Legend: rating r and deviation RD on Glicko's scale; mu = (r - 1500) / 173.7178 and phi = RD / 173.7178; sigma the
volatility; tau how freely sigma may change, 0.3 to 1.2.
Source: Glickman, "Example of the Glicko-2 system" (2013), steps 1 to 8. Not here: a joint fit of a fixed pool, which
serves better where nobody changes (`elo.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from surpass.errors import DataError
from surpass.evaluation.elo import Game

SCALE = 173.7178
CENTRE = 1500.0


@dataclass(frozen=True, slots=True)
class Rating:
    """What is known of a player; the values of a newcomer by default."""

    rating: float = 1500.0
    deviation: float = 350.0
    volatility: float = 0.06

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rating) and 0 <= self.deviation < math.inf and 0 < self.volatility < math.inf):
            raise DataError(
                f"expected a finite rating, a deviation of at least 0 and a volatility above 0, found {self}"
            )

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval, 1.96 deviations to either side."""
        return self.rating - 1.96 * self.deviation, self.rating + 1.96 * self.deviation


def after(player: Rating, results: Sequence[tuple[Rating, float]], *, tau: float = 0.5) -> Rating:
    """Return a player's rating after one period of results, (opponent before the period, score) each.

    Without a result only the deviation grows. Raises DataError for a score outside [0, 1] or a tau that is not above 0.
    """
    if not tau > 0 or any(not 0 <= score <= 1 for _, score in results):
        raise DataError(f"expected tau > 0 and scores in [0, 1], found tau {tau} and {[score for _, score in results]}")
    phi, mu = player.deviation / SCALE, (player.rating - CENTRE) / SCALE
    if not results:
        return Rating(player.rating, SCALE * math.hypot(phi, player.volatility), player.volatility)
    information = advantage = 0.0
    for opponent, score in results:
        weight = 1 / math.sqrt(1 + 3 * (opponent.deviation / SCALE / math.pi) ** 2)  # g(phi_j)
        expected = 1 / (1 + math.exp(-weight * (mu - (opponent.rating - CENTRE) / SCALE)))
        information += weight**2 * expected * (1 - expected)
        advantage += weight * (score - expected)
    variance = 1 / information
    sigma = _volatility(phi, player.volatility, variance, variance * advantage, tau)
    phi = 1 / math.sqrt(1 / (phi**2 + sigma**2) + information)
    return Rating(CENTRE + SCALE * (mu + phi**2 * advantage), SCALE * phi, sigma)


def period(
    ratings: Mapping[str, Rating], games: Iterable[Game], *, tau: float = 0.5, fixed: Iterable[str] = ()
) -> dict[str, Rating]:
    """Return everybody's rating after one period of games; newcomers enter it, who is `fixed` keeps theirs."""
    results: dict[str, list[tuple[Rating, float]]] = {name: [] for name in ratings}
    for game in games:
        for name, other, score in ((game.white, game.black, game.score), (game.black, game.white, 1 - game.score)):
            results.setdefault(name, []).append((ratings.get(other, Rating()), score))
    kept = set(fixed)
    before = {name: ratings.get(name, Rating()) for name in results}
    return {name: before[name] if name in kept else after(before[name], results[name], tau=tau) for name in results}


def _volatility(phi: float, sigma: float, variance: float, delta: float, tau: float) -> float:
    """Return the new volatility: step 5, the root of f by the Illinois method."""
    start = math.log(sigma**2)

    def f(x: float) -> float:
        grown = phi**2 + variance + math.exp(x)
        return math.exp(x) * (delta**2 - grown) / (2 * grown**2) - (x - start) / tau**2

    left = start
    if delta**2 > phi**2 + variance:
        right = math.log(delta**2 - phi**2 - variance)
    else:
        right = start - tau
        while f(right) < 0:
            right -= tau
    at_left, at_right = f(left), f(right)
    while abs(right - left) > 1e-9:
        middle = left + (left - right) * at_left / (at_right - at_left)
        at_middle = f(middle)
        if at_middle * at_right <= 0:
            left, at_left = right, at_right
        else:
            at_left /= 2
        right, at_right = middle, at_middle
    return math.exp(left / 2)
