"""Favor: how much better are the moves of one policy than those of another, position by position, and where?

    favor(x) = sum_y f'(y|x) r(x, y) - sum_y f(y|x) r(x, y)

f' and f give probabilities to moves, r is the expected score behind a move as a strong engine sees it (`judge.py`), and
what is no legal move scores 0, a resignation too. Positions are those that f' visits in games: were r what f itself
scores from there on, the favors of a game would sum to what f' gains over f (the performance-difference lemma); an
engine's view stands for it.

After Transcendence (arXiv 2406.11741), with two differences. Models give their probabilities exactly, so no moves are
drawn; and a policy can gain by playing fewer illegal moves or better legal ones, so each favor is split into the two,
exactly and symmetrically. With L the legal mass and s the mean score given that a move is legal, of f' and of f:

    legality = (L' - L) (s' + s) / 2        choice = (s' - s) (L' + L) / 2        favor = legality + choice

Positions of one game are not independent: intervals are bootstraps over games. Not here: pictures (`favor_page.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from surpass.core import Observation, Policy, Proposal
from surpass.domains.chess.games import Game
from surpass.domains.chess.rules import board_of, legal, place
from surpass.errors import ConfigError, DataError
from surpass.evaluation.statistics import Interval, clustered
from surpass.rollouts.seeds import derive_seed

Array = NDArray[np.float64]
Moves = Mapping[str, float]  # probability by legal move; what is missing to 1 goes to illegal ones
Chances = Callable[[Sequence[Observation]], Sequence[Sequence[Moves]]]  # by observation, then by policy
Scores = Callable[
    [Sequence[str]], Sequence[Mapping[str, float]]
]  # of FENs: expected score by legal move, see `judge.py`
TOPS = (1, 3, 5)  # the engine's best moves, of which the policies' shares are told


@dataclass(frozen=True, slots=True)
class Visit:
    """A position in which a player was to move."""

    fen: str
    observation: Observation  # with the legal moves, and the key of the position
    game: str


def visits(games: Iterable[Game], player: str | None = None) -> list[Visit]:
    """Return the positions of games in which a player (by the name in the tags; any without) was to move.

    Moves of a book, as the arena tags them (`OpeningPlies`), are nobody's.
    """
    found = []
    for number, game in enumerate(games, 1):
        seats = [seat for seat, tag in enumerate(("White", "Black")) if player in (None, game.tags.get(tag))]
        board, book = board_of(game.fen), game.tags.get("OpeningPlies", "")
        for ply, move in enumerate(game.moves):
            seat = int(board.turn == chess.BLACK)
            if seat in seats and ply >= (int(book) if re.fullmatch("[0-9]{1,9}", book) else 0):
                text = " ".join(game.moves[:ply])
                seen = f"[FEN {game.fen}]\n{text}" if game.fen else text
                key = f"{place(board)} {board.halfmove_clock}"
                found.append(Visit(board.fen(), Observation(seen, tuple(legal(board)), seat, key), str(number)))
            board.push_uci(move)
    return found


def frequencies(policies: Sequence[Policy], *, draws: int = 100, seed: int = 0) -> Chances:
    """Return chances of policies that only propose: the shares of so many draws, as in the paper."""

    def chances(observations: Sequence[Observation]) -> list[list[Moves]]:
        seeds = [derive_seed(seed, "favor", one.text) for one in observations]
        drawn = [policy.propose(observations, draws, seeds=seeds) for policy in policies]
        return [[_shares(row[at], observations[at].legal or ()) for row in drawn] for at in range(len(observations))]

    return chances


def _shares(proposals: Sequence[Proposal], moves: Sequence[str]) -> Moves:
    counts = Counter(one.action for one in proposals)  # an engine gives the one move that it always plays
    return {move: counts[move] / len(proposals) for move in moves if counts[move]}


@dataclass(frozen=True, eq=False)
class Measured:
    """What each policy may expect in each position: P policies, N positions."""

    names: tuple[str, ...]
    visits: tuple[Visit, ...]
    chances: tuple[tuple[Moves, ...], ...]  # by position, then by policy
    scores: tuple[Mapping[str, float], ...]  # by position: expected score of each legal move, of the side to move

    @cached_property
    def legal(self) -> Array:
        """The mass on legal moves [P, N]."""
        return np.array([[sum(moves.values()) for moves in row] for row in self.chances]).T

    @cached_property
    def expected(self) -> Array:
        """The expected score [P, N]."""
        rows = zip(self.chances, self.scores, strict=True)
        return np.array(
            [[sum(p * scores[move] for move, p in moves.items()) for moves in row] for row, scores in rows]
        ).T

    def top(self, k: int) -> Array:
        """Return the mass on the engine's k best moves [P, N]."""
        best = [sorted(scores, key=lambda move: (-scores[move], move))[:k] for scores in self.scores]
        return np.array(
            [
                [sum(moves.get(move, 0.0) for move in b) for moves in row]
                for row, b in zip(self.chances, best, strict=True)
            ]
        ).T

    def at(self, name: str) -> int:
        """Return the place of a policy. Raises ConfigError for a name that is none."""
        if name not in self.names:
            raise ConfigError(f"expected a policy among {', '.join(self.names)}, found {name!r}")
        return self.names.index(name)

    def favor(self, name: str, reference: str) -> Array:
        """Return the favor of one policy over another [N]."""
        return np.asarray(self.expected[self.at(name)] - self.expected[self.at(reference)])

    def parts(self, name: str, reference: str) -> tuple[Array, Array]:
        """Return the favor [N] of legality and that of choice; it is all legality's where one has no legal mass."""
        own, other = self.at(name), self.at(reference)
        masses = self.legal[[own, other]]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self.expected[[own, other]] / masses
        means = np.where(masses > 0, means, means[::-1])  # no legal mass: as good as the other, had it been legal
        means = np.nan_to_num(means)  # neither has
        legality = (masses[0] - masses[1]) * means.mean(0)
        return legality, np.asarray((means[0] - means[1]) * masses.mean(0))

    def largest(self, gains: Array, count: int = 12) -> list[int]:
        """Return where the greatest of some gains [N] are, each position once."""
        seen, found = set[str](), list[int]()
        for index in np.argsort(-gains, kind="stable").tolist():
            key = " ".join(self.visits[index].fen.split(" ")[:4])
            if key not in seen and len(found) < count:
                seen.add(key)
                found.append(index)
        return found


def measure(
    places: Sequence[Visit],
    names: Sequence[str],
    chances: Chances,
    judge: Scores,
    *,
    batch: int = 64,
    tell: Callable[[int], None] = lambda done: None,
) -> Measured:
    """Return what policies, by name, may expect in positions; `tell` hears how many are done.

    Raises DataError for no positions, ConfigError for chances that are none.
    """
    if not places:
        raise DataError("expected positions to judge moves in, found none; is the player's name that of the games?")
    found, scores = list[tuple[Moves, ...]](), list[Mapping[str, float]]()
    for begin in range(0, len(places), batch):
        some = places[begin : begin + batch]
        for row, visit in zip(chances([one.observation for one in some]), some, strict=True):
            _check(row, names, visit)
            found.append(tuple(row))
        scores += judge([one.fen for one in some])
        tell(len(scores))
    return Measured(tuple(names), tuple(places), tuple(found), tuple(scores))


def _check(row: Sequence[Moves], names: Sequence[str], visit: Visit) -> None:
    known = set(visit.observation.legal or ())
    fits = len(row) == len(names)
    if not fits or any(set(moves) - known or not -1e-6 <= sum(moves.values()) <= 1 + 1e-6 for moves in row):
        raise ConfigError(
            f"expected chances of legal moves, {len(names)} of them, that sum to at most 1 in {visit.fen}"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One policy against the reference, over all positions."""

    name: str
    expected: Interval  # score, a share of points
    favor: Interval
    legality: Interval  # of the favor
    choice: Interval  # of the favor
    legal: float  # mass on legal moves
    tops: tuple[float, ...]  # shares of the engine's best 1, 3 and 5 moves
    skewness: float  # of the favor over positions; positive: a long tail of large gains
    half: float  # the least share of positions that hold half of all that is gained where something is


def rows(measured: Measured, reference: str, *, seed: int = 0) -> list[Row]:
    """Return the table of an analysis; intervals are 95 % bootstraps over games."""
    groups = [visit.game for visit in measured.visits]
    found = []
    for name, expected, legal_mass in zip(measured.names, measured.expected, measured.legal, strict=True):
        favor, at = measured.favor(name, reference), measured.at(name)
        legality, choice = measured.parts(name, reference)
        found.append(
            Row(
                name,
                expected=clustered(expected, groups, seed=seed),
                favor=clustered(favor, groups, seed=seed),
                legality=clustered(legality, groups, seed=seed),
                choice=clustered(choice, groups, seed=seed),
                legal=float(legal_mass.mean()),
                tops=tuple(float(measured.top(k)[at].mean()) for k in TOPS),
                skewness=skewness(favor),
                half=half(favor),
            )
        )
    return found


def skewness(values: Array) -> float:
    """Return the third standardised moment; 0 where values do not vary.

    >>> round(skewness(np.array([0.0, 0.0, 0.0, 1.0])), 3)
    1.155
    """
    deviations = values - values.mean()
    spread = float(np.sqrt((deviations**2).mean()))
    return float((deviations**3).mean()) / spread**3 if spread > 1e-12 else 0.0


def half(values: Array) -> float:
    """Return the least share of positions that hold half of the sum of all gains; 0 where nothing is gained.

    >>> half(np.array([8.0, 1.0, 1.0, 0.0]))
    0.25
    """
    gains = np.sort(np.maximum(values, 0))[::-1].cumsum()
    return float(np.searchsorted(gains, gains[-1] / 2) + 1) / len(values) if gains[-1] > 0 else 0.0


def as_json(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON holds them."""
    return [asdict(row) for row in found]
