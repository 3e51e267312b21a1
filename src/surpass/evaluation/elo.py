"""Elo ratings of a whole pool, fitted to all its games at once: maximum likelihood with draws, anchors and intervals.

Model (Davidson 1970), White i against Black j, in nats:
    s = theta_i - theta_j + eta
    P(win) : P(draw) : P(loss) = exp(s / 2) : nu : exp(-s / 2)
    Elo = theta / k,  k = ln 10 / 400 * (2 + nu) / 2

    eta  the advantage of the white pieces        nu / (2 + nu)  the share of draws between equals

A draw is exactly half a win and half a loss of evidence about theta, and the log-likelihood is concave. The factor
(2 + nu) / 2 gives the expected score the slope of Elo's curve between equals, so that 100 points mean 64 % whatever the
share of draws; without draws the model is Bradley and Terry's and the curve Elo's. Intervals hold k at its estimate.

Ratings are of what was played: openings and rules are part of them. Without an anchor they average to zero.
Not here: ratings that follow players who change (`glicko.py`), and tests that stop early (`sprt.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from surpass.errors import DataError

Array = NDArray[np.float64]
NATS = math.log(10) / 400  # of one point of Elo on Elo's own curve
WEAK_PRIOR = 0.5  # virtual games for each pair that met, where the games alone have no finite fit
_QUARTERS = np.array([0.25, 0.5, 0.25])  # a virtual game: even, and drawn as often as not
_DEAD = 1e-6  # information below which a direction counts as infinite: its deviation would be 1000 nats
_SINGULAR = 1e-14  # of the greatest information
_STRIDE = 4.0  # nats, of one step: far from the maximum the likelihood is flat and Newton's steps are wild


@dataclass(frozen=True, slots=True)
class Game:
    """One finished game."""

    white: str
    black: str
    score: float  # White's: 1, 0.5 or 0
    unit: str = ""  # games that share an opening share a unit: a bootstrap draws them together; empty: on its own


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two ratings, in Elo."""

    elo: float
    low: float
    high: float
    superiority: float  # the likelihood that it is above zero


@dataclass(frozen=True, eq=False)
class Fit:
    """What the games say of everybody, in Elo."""

    players: tuple[str, ...]
    elo: Array  # [N]
    covariance: Array  # [N, N]; anchored players have none
    white_advantage: float
    draw_rate: float  # between equals
    log_likelihood: float
    prior: float  # virtual games for each pair that met

    @cached_property
    def row(self) -> Mapping[str, int]:
        return {name: index for index, name in enumerate(self.players)}

    def interval(self, player: str, level: float = 0.95) -> tuple[float, float]:
        """Return the normal interval of a rating; relative to the average where nobody is anchored."""
        at = self.row[player]
        half = _quantile(level) * math.sqrt(max(0.0, self.covariance[at, at]))
        return float(self.elo[at] - half), float(self.elo[at] + half)

    def difference(self, first: str, second: str, level: float = 0.95) -> Difference:
        """Return how far `first` is above `second`, with the normal interval and the likelihood of superiority."""
        return self.contrast({first: 1.0, second: -1.0}, level)

    def contrast(self, weights: Mapping[str, float], level: float = 0.95) -> Difference:
        """Return the weighted sum of ratings, such as the mean of some players less another; weights sum to zero."""
        contrast = np.zeros(len(self.players))
        for name, weight in weights.items():
            contrast[self.row[name]] += weight
        elo = float(contrast @ self.elo)
        deviation = math.sqrt(max(0.0, float(contrast @ self.covariance @ contrast)))
        half = _quantile(level) * deviation
        sure = NormalDist().cdf(elo / deviation) if deviation else 0.5 + 0.5 * float(np.sign(elo))
        return Difference(elo, elo - half, elo + half, sure)


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Ratings of resampled games."""

    players: tuple[str, ...]
    elo: Array  # [R, N]
    weakened: int  # resamples that had a finite fit with `WEAK_PRIOR` only

    def difference(self, first: str, second: str, level: float = 0.95) -> tuple[float, float]:
        """Return the percentile interval of how far `first` is above `second`."""
        gaps = self.elo[:, self.players.index(first)] - self.elo[:, self.players.index(second)]
        low, high = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def fit(
    games: Iterable[Game], *, anchors: Mapping[str, float] | None = None, prior: float = 0.0, colours: bool = True
) -> Fit:
    """Return the ratings that make the games likeliest, with `anchors` held at the Elo given.

    `prior` adds so many virtual even games for each pair that met: a finite answer for players who won or lost all.
    Without `colours` the white pieces are held to be worth nothing. Raises DataError for no games, a score that is
    none, players whom no chain of games joins, and, without a prior, games whose likelihood grows without bound.
    """
    return _fit(_table(games), anchors or {}, prior=prior, colours=colours)


def rate(games: Iterable[Game], *, anchors: Mapping[str, float] | None = None) -> Fit:
    """Return the ratings that make the games likeliest, under `WEAK_PRIOR` where no finite ones do; see `Fit.prior`."""
    table = _table(games)
    try:
        return _fit(table, anchors or {})
    except Unbounded:
        return _fit(table, anchors or {}, prior=WEAK_PRIOR)


def bootstrap(
    games: Iterable[Game],
    *,
    anchors: Mapping[str, float] | None = None,
    prior: float = 0.0,
    resamples: int = 1000,
    seed: int = 0,
) -> Resamples:
    """Return the ratings of games resampled by unit, each pair of players keeping its number of units.

    Where a resample has no finite fit it is fitted under `WEAK_PRIOR` and counted. Raises DataError as `fit` does.
    """
    table = _table(games)
    strata: dict[int, list[int]] = {}
    for unit, pair in enumerate(table.pair_of_unit):
        strata.setdefault(pair, []).append(unit)
    rng, rows, weakened = np.random.default_rng(seed), list[Array](), 0
    for _ in range(resamples):
        weights = np.zeros(len(table.units))
        for members in strata.values():
            weights[members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)))
        drawn = replace(table, counts=np.tensordot(weights, table.units, 1))
        try:
            rows.append(_fit(drawn, anchors or {}, prior=prior).elo)
        except Unbounded:
            weakened += 1
            rows.append(_fit(drawn, anchors or {}, prior=WEAK_PRIOR).elo)
    return Resamples(table.players, np.array(rows), weakened)


def profile(
    games: Iterable[Game],
    first: str,
    second: str,
    *,
    anchors: Mapping[str, float] | None = None,
    prior: float = 0.0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the profile-likelihood interval of how far `first` is above `second`; an end may be infinite.

    It holds the differences that a likelihood-ratio test at `level` does not reject, everything else fitted anew.
    Raises DataError as `fit` does, and where both players are anchored.
    """
    anchors = anchors or {}
    if {first, second} <= anchors.keys():
        raise DataError(f"{first!r} and {second!r} are both anchored: their difference is given, not estimated")
    table = _table(games)
    best = _fit(table, anchors, prior=prior)
    at, allowed = best.difference(first, second), _quantile(level) ** 2 / 2
    k = NATS / (1 - best.draw_rate)

    def beyond(elo: float) -> bool:
        worse = _fit(table, anchors, prior=prior, held=(first, second, elo), k=k)
        return best.log_likelihood - worse.log_likelihood > allowed

    def edge(sign: float) -> float:
        inside, step = at.elo, max(1.0, at.high - at.elo)
        while not beyond(inside + sign * step):
            inside, step = inside + sign * step, 2 * step
            if abs(inside) > 20_000:
                return sign * math.inf
        outside = inside + sign * step
        while abs(outside - inside) > 1e-3:
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
        return inside

    return edge(-1.0), edge(1.0)


def superiority(wins: float, losses: float) -> float:
    """Return the likelihood of superiority from decisive games alone, Phi((wins - losses) / sqrt(wins + losses)).

    >>> round(superiority(60, 40), 4), superiority(0, 0)
    (0.9772, 0.5)
    """
    return NormalDist().cdf((wins - losses) / math.sqrt(wins + losses)) if wins + losses else 0.5


def expected_score(elo: float) -> float:
    """Return the score that Elo's curve expects of a difference.

    >>> round(expected_score(100), 3)
    0.64
    """
    return 1 / (1 + math.exp(-NATS * elo)) if elo > -30_000 else 0.0


def elo_of_score(score: float) -> float:
    """Return the difference at which Elo's curve expects a score; infinite for 0 and 1."""
    if score <= 0 or score >= 1:
        return math.copysign(math.inf, score - 0.5)
    return math.log(score / (1 - score)) / NATS


class Unbounded(DataError):  # noqa: N818 - it says what the likelihood is
    """Games whose likelihood grows for ever as some ratings, or the worth of White, go to infinity."""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Games, counted. A cell is (White, Black); the three counts are White's wins, draws and losses."""

    players: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]  # both colours of every pair that met
    counts: Array  # [C, 3]
    units: Array  # [U, C, 3]
    pair_of_unit: tuple[int, ...]


def _table(games: Iterable[Game]) -> _Table:
    games = list(games)
    if not games:
        raise DataError("expected games to rate, found none")
    for game in games:
        if game.score not in (0.0, 0.5, 1.0) or game.white == game.black:
            raise DataError(f"expected two players and a score of 0, 0.5 or 1, found {game}")
    players = tuple(dict.fromkeys(name for game in games for name in (game.white, game.black)))
    row = {name: index for index, name in enumerate(players)}
    pairs = list(dict.fromkeys(tuple(sorted((row[game.white], row[game.black]))) for game in games))
    pair_of = {pair: index for index, pair in enumerate(pairs)}
    cells = tuple(cell for low, high in pairs for cell in ((low, high), (high, low)))
    cell_of = {cell: index for index, cell in enumerate(cells)}
    keys: dict[tuple[int, str], int] = {}
    entries = list[tuple[int, int, int]]()
    for number, game in enumerate(games):
        cell = (row[game.white], row[game.black])
        key = (pair_of[min(cell), max(cell)], f"u{game.unit}" if game.unit else f"g{number}")
        entries.append((keys.setdefault(key, len(keys)), cell_of[cell], round(2 - 2 * game.score)))
    units = np.zeros((len(keys), len(cells), 3))
    np.add.at(units, tuple(np.array(entries).T), 1.0)
    return _Table(players, cells, units.sum(0), units, tuple(pair for pair, _ in keys))


@dataclass(frozen=True, slots=True, eq=False)
class _Maximum:
    """Where the likelihood of some cells is greatest."""

    beta: Array  # [P]
    covariance: Array  # [P, P]
    nu: float
    log_likelihood: float


def _fit(
    table: _Table,
    anchors: Mapping[str, float],
    *,
    prior: float = 0.0,
    colours: bool = True,
    held: tuple[str, str, float] | None = None,
    k: float | None = None,
) -> Fit:
    """Fit a table; `held` keeps its first player so many points above its second, `k` the nats of a point."""
    if prior < 0 or not all(map(math.isfinite, anchors.values())):
        raise DataError(f"expected a prior of at least 0 and finite anchors, found {prior} and {dict(anchors)}")
    _check_joined(table, anchors, bounded=prior > 0)
    counts = table.counts + prior / 2 * _QUARTERS  # half for each colour
    cells, number = np.array(table.cells), len(table.players)
    versus = np.eye(number)[cells[:, 0]] - np.eye(number)[cells[:, 1]]  # [C, N]
    origin = next((anchors[name] for name in table.players if name in anchors), 0.0)
    spread, given = _free(table.players, anchors, origin, held)
    design = np.hstack([versus @ spread, np.ones((len(cells), int(colours)))])
    scale = k or NATS
    for _ in range(100):  # the scale depends on nu, and what is given, in nats, on the scale: a few rounds settle both
        found = _maximise(design, scale * versus @ given, counts)
        before, scale = scale, k or NATS * (2 + found.nu) / 2
        if not given.any() or abs(scale - before) <= 1e-12 * scale:
            break
    else:
        raise DataError("anchors and games contradict each other too much for a fit; give fewer anchors, or others")
    size = spread.shape[1]
    elo = spread @ found.beta[:size] / scale + given
    covariance = spread @ found.covariance[:size, :size] @ spread.T / scale**2
    if not anchors:
        centre = np.eye(number) - 1 / number
        elo, covariance = centre @ elo, centre @ covariance @ centre.T
    advantage = float(found.beta[size] / scale) if colours else 0.0
    rate = found.nu / (2 + found.nu)
    return Fit(table.players, elo + origin, covariance, advantage, rate, found.log_likelihood, prior)


def _free(
    players: Sequence[str], anchors: Mapping[str, float], origin: float, held: tuple[str, str, float] | None
) -> tuple[Array, Array]:
    """Return spread [N, F] and given [N]: theta = spread @ gamma + scale * given, gamma being free."""
    free = np.array([name not in anchors for name in players])
    given = np.array([anchors.get(name, origin) - origin for name in players])
    if free.all():
        free[-1] = False  # ratings are known up to a shift: hold one, and centre afterwards
    spread = np.eye(len(players))
    if held is not None:
        above, below, gap = players.index(held[0]), players.index(held[1]), held[2]
        if not free[above]:
            above, below, gap = below, above, -gap
        spread[above], given[above] = spread[below], given[below] + gap
        free[above] = False
    return spread[:, free], given


def _maximise(design: Array, offset: Array, counts: Array) -> _Maximum:
    """Maximise the likelihood of counts [C, 3] where s = design @ beta + offset, by Newton's method with halving.

    Raises Unbounded where there is no finite maximum. Without a draw nu is zero, and no parameter.
    """
    drawn = bool(counts[:, 1].any())
    if drawn and not counts[:, [0, 2]].any():
        raise Unbounded(f"all {counts.sum():.0f} games are drawn: no finite share of draws fits them; give a prior")
    shown, size = counts.sum(1), design.shape[1]
    jacobian = np.zeros((2, len(counts), size + drawn))  # of s and of log nu
    jacobian[0, :, :size] = design
    jacobian[1, :, size:] = 1.0

    def outcome(x: Array) -> tuple[Array, float]:
        s = design @ x[:size] + offset
        logits = np.stack([s / 2, np.full_like(s, x[-1] if drawn else -np.inf), -s / 2], axis=1)
        logp = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return np.exp(logp), float(np.sum(counts * np.where(counts > 0, logp, 0.0)))

    x = np.zeros(size + drawn)
    p, value = outcome(x)
    for _ in range(200):
        lead = (p[:, 0] - p[:, 2]) / 2
        slope = np.stack([(counts[:, 0] - counts[:, 2]) / 2 - shown * lead, counts[:, 1] - shown * p[:, 1]])
        spread = np.array(
            [[(p[:, 0] + p[:, 2]) / 4 - lead**2, -p[:, 1] * lead], [-p[:, 1] * lead, p[:, 1] - p[:, 1] ** 2]]
        )
        gradient = np.einsum("acp,ac->p", jacobian, slope)
        information = np.einsum("acp,abc,bcq->pq", jacobian, spread * shown, jacobian, optimize=True)
        _check_known(information, relative=_SINGULAR)
        step = np.linalg.solve(information, gradient)
        step = step * min(1.0, _STRIDE / max(_STRIDE, float(np.abs(step).max(initial=0.0))))
        if gradient @ step <= 1e-14:
            break
        while (tried := outcome(x + step))[1] < value and np.abs(step).max() > 1e-12:
            step = step / 2
        x, (p, value) = x + step, tried
    _check_known(information, least=_DEAD)
    covariance = np.linalg.inv(information)[:size, :size]
    return _Maximum(x[:size], covariance, float(np.exp(x[-1])) if drawn else 0.0, value)


def _check_known(information: Array, *, relative: float = 0.0, least: float = 0.0) -> None:
    """Raise Unbounded where the games say nothing in some direction."""
    values = np.linalg.eigvalsh(information) if information.size else np.ones(1)
    if values[0] <= max(relative * values[-1], least):
        raise Unbounded(
            "the games have no finite fit: some ratings, or the worth of the white pieces, could be anything or grow "
            "for ever; give a prior, more games, or colours=False where each pair met with one colour only"
        )


def _check_joined(table: _Table, anchors: Mapping[str, float], *, bounded: bool) -> None:
    """Raise DataError where ratings cannot be compared, Unbounded where some group won or lost all against the rest."""
    number = len(table.players)
    scored = np.eye(number, dtype=bool)  # [i, j]: i took points from j
    for (white, black), (wins, draws, losses) in zip(table.cells, table.counts, strict=True):
        scored[white, black] |= bool(wins or draws)
        scored[black, white] |= bool(losses or draws)
    fixed = np.array([name in anchors for name in table.players])
    scored |= np.outer(fixed, fixed)  # the distance between anchors is given
    apart = ~_reach(scored | scored.T)[0]
    if apart.any():
        raise DataError(
            f"no chain of games joins {table.players[0]!r} and {_names(table, apart)}: play some, rate them apart, or "
            "anchor a player of each group"
        )
    reach = _reach(scored)
    for at in range(number):
        if not bounded and not reach[at].all():
            raise Unbounded(
                f"{_names(table, ~reach[at])} won every game against the others: no finite rating is likeliest; "
                "give a prior, or more games"
            )


def _reach(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which place leads to which along the edges."""
    while True:
        further = (edges.astype(np.int64) @ edges.astype(np.int64)) > 0
        if (further == edges).all():
            return edges
        edges = further


def _names(table: _Table, chosen: NDArray[np.bool_]) -> str:
    names = [repr(name) for name, taken in zip(table.players, chosen, strict=True) if taken]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
