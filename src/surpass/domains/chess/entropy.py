"""How varied the moves of a game set are in the positions that its games share: normalised entropy by position.

Transcendence (arXiv 2406.11741) explains by it why a model of stronger players' games does not outplay them: their
moves are less varied, so a vote has less noise to remove. Its measure: positions of the first 16 half-moves that occur
more than 100 times; there, the entropy of the moves played in bits over log2 of the number of distinct moves played;
the plain mean over positions. That number moves with the size of the set: rare moves enter the entropy and the
normaliser as visits are added, and more positions qualify. So three are given, the last two fit to compare sets of
unequal size:

    observed     the paper's
    rarefied     the entropy expected of `least` visits drawn without replacement (exact, hypergeometric), over log2 of
                 the number of *legal* moves: the same effort in every position, a normaliser that knows no visits
    shared       `rarefied` on the positions that every set of a comparison has often enough; `gap` is its difference
                 to the first set there, position by position

One legal move (or one played) leaves nothing to choose: such positions are left out. Not here: files (`games.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import chess
import numpy as np
from numpy.typing import NDArray

from surpass.domains.chess.rules import board_of, place
from surpass.errors import ConfigError
from surpass.evaluation.statistics import Interval, bootstrap

Array = NDArray[np.float64]
PLIES, LEAST = 16, 100  # the paper's


@dataclass(slots=True)
class Visits:
    """What was played in the early positions of a game set; filled game by game, so a set of any size will do."""

    plies: int = PLIES  # half-moves of a game that are looked at
    games: int = 0
    moves: dict[str, Counter[str]] = field(default_factory=dict)  # place -> moves in UCI

    def add(self, moves: Sequence[str], fen: str = "") -> None:
        """Count the first moves of a game, legal ones in UCI."""
        self.games += 1
        board = board_of(fen)
        for move in moves[: self.plies]:
            self.moves.setdefault(place(board), Counter())[move] += 1
            board.push(chess.Move.from_uci(move))

    def often(self, least: int = LEAST) -> dict[str, Counter[str]]:
        """Return the positions that occur more than `least` times and leave a choice."""
        return {at: moves for at, moves in self.moves.items() if moves.total() > least and choices(at) > 1}


@lru_cache(maxsize=100_000)
def choices(at: str) -> int:
    """Return the number of legal moves in a place."""
    return chess.Board(f"{at} 0 1").legal_moves.count()


def entropy(counts: Iterable[int]) -> float:
    """Return the entropy of shares in bits.

    >>> entropy([2, 1, 1])
    1.5
    """
    shares = np.array([count for count in counts if count], dtype=np.float64)
    shares /= shares.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def rarefied(counts: Sequence[int], draws: int) -> float:
    """Return the entropy in bits that a sample of `draws` without replacement is expected to have, exactly.

    >>> round(rarefied([1, 1, 1, 1], 2), 9)
    1.0
    """
    total = sum(counts)
    if not 1 <= draws <= total:
        raise ConfigError(f"expected to draw between 1 and {total} of the visits, found {draws}")
    k = np.arange(1, draws + 1)
    terms = -(k / draws) * np.log2(k / draws)
    return float(
        sum(count_of * (_chances(count, total, draws) * terms).sum() for count, count_of in Counter(counts).items())
    )


def _chances(count: int, total: int, draws: int) -> Array:
    """Return the hypergeometric chance of k = 1 .. draws among the drawn, of a move played `count` times of `total`."""
    k = np.arange(1, draws + 1)
    fits = (k <= count) & (draws - k <= total - count)
    found = np.zeros(draws)
    some = k[fits]
    logs = _log_choose(count, some) + _log_choose(total - count, draws - some) - _log_choose(total, np.array(draws))
    found[fits] = np.exp(logs)
    return found


def _log_choose(n: int, k: NDArray[np.int64]) -> Array:
    logs = _log_factorials(1 << max(10, n.bit_length()))
    return np.asarray(logs[n] - logs[k] - logs[n - k])


@lru_cache(maxsize=4)
def _log_factorials(size: int) -> Array:
    return np.concatenate([[0.0], np.log(np.arange(1, size + 1)).cumsum()])


@dataclass(frozen=True, slots=True)
class Varied:
    """How varied one game set is; intervals are bootstraps over positions."""

    games: int
    positions: int  # that occur often enough
    observed: Interval
    rarefied: Interval
    shared: Interval
    gap: Interval  # of `shared` to that of the first set; paired
    shared_positions: int  # the same number for all sets of a comparison


def compare(sets: Mapping[str, Visits], *, least: int = LEAST) -> dict[str, Varied | None]:
    """Return how varied each set is, None for one without a position that occurs often enough.

    `shared` is on the positions that all those sets have; where there are none it is NaN.
    """
    often = {name: visits.often(least) for name, visits in sets.items()}
    filled = [set(positions) for positions in often.values() if positions]
    common = set.intersection(*filled) if filled else set()
    found: dict[str, Varied | None] = {}
    first: list[float] = []
    for name, positions in often.items():
        if not positions:
            found[name] = None
            continue
        plain = [entropy(moves.values()) / np.log2(len(moves)) for moves in positions.values() if len(moves) > 1]
        fair = {at: rarefied(list(moves.values()), least) / np.log2(choices(at)) for at, moves in positions.items()}
        both = [fair[at] for at in sorted(common)]
        first = first or both
        found[name] = Varied(
            games=sets[name].games,
            positions=len(positions),
            observed=_interval(plain),
            rarefied=_interval(list(fair.values())),
            shared=_interval(both),
            gap=_interval([one - other for one, other in zip(both, first, strict=True)]),
            shared_positions=len(both),
        )
    return found


def _interval(values: Sequence[float]) -> Interval:
    return bootstrap(values) if values else Interval(np.nan, np.nan, np.nan, np.nan)
