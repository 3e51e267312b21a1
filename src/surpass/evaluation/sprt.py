"""Sequential tests of "is it stronger?", and the rating difference of a match, from pairs of games.

A pair is one opening played twice with colours reversed. Its score, 0, 1/2, 1, 3/2 or 2, is one observation: the two
games share what the opening was worth, and counting pairs (five counts, *pentanomial*) keeps that out of the variance.
Counts of single games (three: losses, draws, wins) are taken too.

Generalised SPRT: LLR = N * sum_i p_i log(q1_i / q0_i), p the observed shares and qh the likeliest distribution under
hypothesis h: a mean score (logistic Elo), or a ratio t = (mean - 1/2) / deviation (normalised Elo, which a share of
draws does not change: 800 / ln 10 points to one deviation of a single game). Accept H1 above log((1 - beta) / alpha)
and H0 below log(beta / (1 - alpha)); alpha and beta are the two rates of error, met approximately.

Sources: Van den Bergh, "A practical introduction to the GSPRT" and "Normalized Elo" (2020). A zero count stands for
1/1000, as in Fishtest. Not here: a pool of players (`elo.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from surpass.errors import ConfigError, DataError
from surpass.evaluation.elo import Game, elo_of_score, expected_score

Array = NDArray[np.float64]
Llr = Callable[[Sequence[float], float, float], float]  # of counts, elo0 and elo1
NORMALISED = 800 / math.log(10)  # points of normalised Elo to one deviation of a single game
_NOTHING = 1e-3  # stands for a count of zero


class Decision(StrEnum):
    """What a test says so far."""

    GO_ON = "go on"
    H0 = "H0"
    H1 = "H1"


@dataclass(frozen=True, slots=True)
class Sprt:
    """A test of H0: the difference is `elo0`, against H1: it is `elo1`, in the Elo of its log-likelihood ratio."""

    elo0: float
    elo1: float
    alpha: float = 0.05  # how often H1 is accepted though H0 holds
    beta: float = 0.05  # how often H0 is accepted though H1 holds

    def __post_init__(self) -> None:
        if not (self.elo0 < self.elo1 and 0 < self.alpha < 0.5 and 0 < self.beta < 0.5):
            raise ConfigError(f"expected elo0 < elo1 and alpha, beta in (0, 0.5), found {self}")

    @property
    def bounds(self) -> tuple[float, float]:
        return math.log(self.beta / (1 - self.alpha)), math.log((1 - self.beta) / self.alpha)

    def decide(self, llr: float) -> Decision:
        """Return what a log-likelihood ratio decides."""
        low, high = self.bounds
        return Decision.H1 if llr >= high else Decision.H0 if llr <= low else Decision.GO_ON


def pentanomial(games: Iterable[Game], player: str) -> tuple[int, int, int, int, int]:
    """Return how many pairs brought `player` 0, 1/2, 1, 3/2 and 2 points; what is no full pair is left out.

    A pair is two games against one opponent with one `unit`, once with each colour.
    """
    scores: dict[tuple[str, str], dict[bool, float]] = {}
    for game in games:
        if game.unit and player in (game.white, game.black):
            white = game.white == player
            key = (game.unit, game.black if white else game.white)
            scores.setdefault(key, {})[white] = game.score if white else 1 - game.score
    counts = [0] * 5
    for pair in scores.values():
        if len(pair) == 2:
            counts[round(2 * sum(pair.values()))] += 1
    return counts[0], counts[1], counts[2], counts[3], counts[4]


def llr_logistic(counts: Sequence[float], elo0: float, elo1: float) -> float:
    """Return the log-likelihood ratio of counts of equally spaced scores, worst first, hypotheses in logistic Elo.

    Raises DataError for counts that are neither five nor three, negative, or not finite, here and below.
    """
    values, shares, total = _shares(counts)
    if not total:
        return 0.0
    q0, q1 = (_tilted(shares, values - expected_score(elo)) for elo in (elo0, elo1))
    return total * float(shares @ np.log(q1 / q0))


def llr_normalised(counts: Sequence[float], elo0: float, elo1: float) -> float:
    """Return the log-likelihood ratio, hypotheses in normalised Elo."""
    values, shares, total = _shares(counts)
    if not total:
        return 0.0
    games = math.sqrt((len(counts) - 1) / 2)  # a pair's mean score deviates less than a game's, by sqrt 2
    q0, q1 = (_with_ratio(values, shares, games * elo / NORMALISED) for elo in (elo0, elo1))
    return total * float(shares @ np.log(q1 / q0))


LLRS: Mapping[str, Llr] = {"normalised": llr_normalised, "logistic": llr_logistic}


@dataclass(frozen=True, slots=True)
class MatchElo:
    """Logistic Elo of one player over another, from the scores of pairs; its interval is normal in the mean score."""

    elo: float
    low: float
    high: float
    pairs: float


def match_elo(counts: Sequence[float]) -> MatchElo:
    """Return the difference that the mean score stands for, with its 95 % interval; an end may be infinite.

    Without a pair, or where all pairs ended alike, the interval says nothing: it is all numbers.
    """
    values, _, total = _shares(counts)
    if not total:
        return MatchElo(math.nan, -math.inf, math.inf, 0.0)
    shares = np.asarray(counts, dtype=np.float64) / sum(counts)
    mean = float(shares @ values)
    deviation = math.sqrt(float(shares @ (values - mean) ** 2) / sum(counts))
    low, high = (mean - 1.96 * deviation, mean + 1.96 * deviation) if deviation else (0.0, 1.0)
    return MatchElo(elo_of_score(mean), elo_of_score(low), elo_of_score(high), float(sum(counts)))


def _shares(counts: Sequence[float]) -> tuple[Array, Array, float]:
    """Return scores in [0, 1], their shares, and the number of observations."""
    found = np.asarray(counts, dtype=np.float64)
    if found.shape not in ((3,), (5,)) or not np.isfinite(found).all() or (found < 0).any():
        raise DataError(f"expected five counts of pairs or three of games, none negative, found {list(counts)}")
    regular = np.where(found > 0, found, _NOTHING)
    total = float(regular.sum()) if found.any() else 0.0
    return np.linspace(0, 1, len(found)), regular / regular.sum(), total


def _tilted(shares: Array, slack: Array) -> Array:
    """Return the likeliest distribution, given observed shares, under which `slack` averages to zero.

    It is p_i / (1 + x slack_i), where x solves sum_i p_i slack_i / (1 + x slack_i) = 0: the sum falls in x, so halving
    finds it. Raises DataError where no distribution will do: a hypothesis beyond every score.
    """
    if not slack.min() < 0 < slack.max():
        raise DataError("a hypothesis of the test lies beyond every possible score; choose smaller elo0 and elo1")
    low, high = -1 / float(slack.max()), -1 / float(slack.min())
    while low < (x := (low + high) / 2) < high and high - low > 1e-13 * (1 + abs(x)):
        if float((shares * slack / (1 + x * slack)).sum()) > 0:
            low = x
        else:
            high = x
    return np.asarray(shares / (1 + x * slack))


def _with_ratio(values: Array, shares: Array, ratio: float) -> Array:
    """Return the likeliest distribution whose mean lies `ratio` of its own deviations above 1/2.

    The constraint is linearised around the last answer, from the uniform distribution on, until that stays.
    """
    found = np.full(len(values), 1 / len(values))
    for _ in range(100):
        before, mean = found, float(found @ values)
        deviation = math.sqrt(float(found @ (values - mean) ** 2))
        slack = values - 0.5 - ratio * deviation * (1 + ((values - mean) / deviation) ** 2) / 2
        found = _tilted(shares, slack)
        if np.abs(found - before).max() < 1e-12:
            break
    return found
