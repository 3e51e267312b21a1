"""Experts of known kind: how a weaker player is made from a strong one, reproducibly, and how a person types it.

    stockfish nodes=50                  full strength at a fixed number of nodes: one thread, memory cleared every game
    stockfish nodes=50 epsilon=0.3      plays a random legal move with probability 0.3
    stockfish nodes=2000 softmax=100    draws among all moves that got an evaluation, with weight exp(centipawns / 100)
    stockfish nodes=50 phase=endgame    good in one phase only; elsewhere it errs with probability epsilon (then 1)
    stockfish nodes=50 resign=500       gives up when it thinks, and sees itself that many centipawns behind
    stockfish nodes=50 | random weight=0.5     a mixture: for each move one of them is drawn, by weight (1)
    stockfish nodes=50 skill=3, stockfish nodes=50 uci_elo=1500     the engine's own weakening: never the same twice
    random                              any legal move
    greedy                              wins most material at once, mate before all; ties at random; softmax too

`name=` and `rating=` (written as Elo into the games) belong to the whole expert. Stockfish draws its own errors from
the clock, so `skill` and `uci_elo` games are to be kept, not made again; all else follows from the seed of the game.

The mixture draws for each move because that is the mixture of Transcendence (arXiv 2406.11741): the mean of the
experts' distributions at every position. Several experts in one set of games are the other one, drawn for each game.
Phases: the opening is the first ten moves, the endgame begins at six pieces beside kings and pawns (as on Lichess).
Not here: playing games and writing them (`expert_games.py`).
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import chess

from surpass.domains.chess.rules import legal
from surpass.errors import ConfigError, VerifierError

KINDS = ("stockfish", "greedy", "random")
PHASES = ("opening", "middlegame", "endgame")
VALUES = {chess.PAWN: 100, chess.KNIGHT: 300, chess.BISHOP: 300, chess.ROOK: 500, chess.QUEEN: 900}
MATE = 100_000  # centipawns of a mate, less one for each move until then
SEEN = 200  # nodes below which hardly any move gets an evaluation, so that softmax means nothing

Item = TypeVar("Item")
Think = Callable[
    ["Part", Sequence[str]], Mapping[str, float]
]  # moves so far -> centipawns of moves, the best one first


@dataclass(frozen=True, slots=True)
class Part:
    """One way to move."""

    kind: str
    weight: float = 1.0  # among the parts of its expert
    epsilon: float = 0.0  # probability of a uniformly random legal move
    softmax: float = 0.0  # temperature in centipawns; 0: the best move
    phase: str = ""  # the only phase in which it does not err; empty: none is special
    nodes: int = 50  # of each search
    hash: int = 1  # MB of the engine's memory
    resign: int = 0  # centipawns behind at which it resigns, by its own search; 0: never
    skill: int | None = None  # the engine's own levels, 0 to 20
    uci_elo: int | None = None  # the engine's own limit

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("kind", self.kind in KINDS, f"one of {', '.join(KINDS)}"),
            ("weight", 0 < self.weight < math.inf, "a number above 0"),
            ("epsilon", 0 <= self.epsilon <= 1, "a probability"),
            ("softmax", 0 <= self.softmax < math.inf, "a number of centipawns, 0 or more"),
            ("phase", self.phase in ("", *PHASES), f"one of {', '.join(PHASES)}"),
            ("nodes", self.nodes >= 1, "at least 1"),
            ("resign", self.resign >= 0, "a number of centipawns, 0 or more"),
            ("hash", 1 <= self.hash <= 65_536, "1 to 65536 MB"),
            ("skill", self.skill is None or 0 <= self.skill <= 20, "0 to 20"),
            ("uci_elo", self.uci_elo is None or self.uci_elo > 0, "a rating"),
        ):
            if not right:
                raise ConfigError(f"expected {name} to be {expected}, found {getattr(self, name)!r}")
        if self.kind == "stockfish" and self.softmax and self.nodes < SEEN:
            raise ConfigError(f"softmax needs nodes={SEEN} or more: at {self.nodes} few moves get an evaluation")
        if self.skill is not None and self.uci_elo is not None:
            raise ConfigError("skill and uci_elo are two names of one weakness: give one of them")

    @property
    def chance(self) -> bool:
        """Whether it may move differently in the same position."""
        return self.kind != "stockfish" or self.drifts or any((self.epsilon, self.softmax, self.phase))

    @property
    def drifts(self) -> bool:
        """Whether its games cannot be made again."""
        return self.skill is not None or self.uci_elo is not None

    @property
    def options(self) -> dict[str, object]:
        """Return what its engine is set to; parts with equal options can share one."""
        options: dict[str, object] = {"Threads": 1, "Hash": self.hash}
        if self.softmax:
            options["MultiPV"] = 500  # all moves: there are at most 218
        if self.skill is not None:
            options["Skill Level"] = self.skill
        if self.uci_elo is not None:
            options |= {"UCI_LimitStrength": True, "UCI_Elo": self.uci_elo}
        return options


@dataclass(frozen=True, slots=True)
class Expert:
    """A player: one part, or a mixture of parts drawn for each move."""

    spec: str  # as it was typed, spaces put in order
    name: str
    parts: tuple[Part, ...]
    rating: int | None = None

    @property
    def chance(self) -> bool:
        return len(self.parts) > 1 or self.parts[0].chance

    @property
    def drifts(self) -> bool:
        return any(part.drifts for part in self.parts)


def parse(spec: str) -> Expert:
    """Return the expert that a line describes. Raises ConfigError, naming the word it stumbles over.

    >>> parse("stockfish nodes=50 epsilon=0.3").parts[0].epsilon
    0.3
    """
    own: dict[str, str] = {}
    parts = []
    for alternative in spec.split("|"):
        kind, *words = alternative.split() or [""]
        fields: dict[str, str] = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or not value:
                raise ConfigError(f"expert {spec!r}: expected key=value, found {word!r}")
            holder = own if key in ("name", "rating") else fields
            if key in holder:
                raise ConfigError(f"expert {spec!r}: {key} is given twice")
            holder[key] = value
        try:
            parts.append(_part(kind, fields))
        except ConfigError as error:
            raise ConfigError(f"expert {spec!r}: {error}") from error
    tidy = " ".join(spec.split())
    return Expert(tidy, own.get("name", tidy), tuple(parts), _number(spec, own["rating"]) if "rating" in own else None)


def find_stockfish() -> str:
    """Return where Stockfish is. Debian keeps games out of the PATH of some users. Raises VerifierError without one."""
    found = shutil.which("stockfish", path=f"{os.environ.get('PATH', '')}:/usr/games")
    if found is None:
        raise VerifierError(
            "found no stockfish: apt-get install stockfish; experts of the kinds random and greedy do without"
        )
    return found


def phase_of(board: chess.Board) -> str:
    """Return the phase of the game: opening, middlegame or endgame."""
    if (board.knights | board.bishops | board.rooks | board.queens).bit_count() <= 6:
        return "endgame"
    return "opening" if board.ply() < 20 else "middlegame"


def choose(
    expert: Expert, board: chess.Board, played: Sequence[str], *, rng: random.Random, think: Think
) -> chess.Move | None:
    """Return the expert's move, which is legal, or None: it resigns. Every draw comes from `rng`.

    Raises what `think` raises.

    Draws, in order: the part (of a mixture), whether it errs (where it may), the move (unless there is one best).
    """
    part = expert.parts[0] if len(expert.parts) == 1 else _drawn({one: one.weight for one in expert.parts}, rng)
    risk = part.epsilon
    if part.phase:
        risk = 0.0 if phase_of(board) == part.phase else part.epsilon or 1.0
    if part.kind == "random" or (risk and rng.random() < risk):
        return _drawn(dict.fromkeys(legal(board).values(), 1.0), rng)
    if part.kind == "greedy":
        scores = {move: _gain(board, move) for move in legal(board).values()}
    else:
        scores = {_legal(board, move): score for move, score in think(part, played).items()}
        if part.resign and next(iter(scores.values())) <= -part.resign:
            return None
    best = max(scores.values())
    if part.softmax:
        return _drawn({move: math.exp((score - best) / part.softmax) for move, score in scores.items()}, rng)
    if part.kind == "greedy":
        return _drawn({move: 1.0 for move, score in scores.items() if score == best}, rng)
    return next(iter(scores))


def evaluations(best: str, scores: Mapping[str, tuple[int | None, int | None]]) -> dict[str, float]:
    """Return an engine's scores (centipawns, moves to mate) on one scale, the move it plays first.

    >>> evaluations("e2e4", {"d2d4": (20, None), "e2e4": (None, 2)})
    {'e2e4': 99998.0, 'd2d4': 20.0}
    """
    found = {move: float(_centipawns(*score)) for move, score in scores.items()}
    top = found.pop(best, max(found.values(), default=0.0))
    return {best: top} | found


def _part(kind: str, fields: Mapping[str, str]) -> Part:
    reals = ("weight", "epsilon", "softmax")
    whole = ("nodes", "hash", "resign", "skill", "uci_elo")
    known = ("weight", "epsilon", "phase", *(() if kind == "random" else ("softmax",)))
    known = (*known, *(whole if kind == "stockfish" else ()))
    if kind not in KINDS:
        raise ConfigError(f"expected it to begin with {', '.join(KINDS)}, found {kind!r}")
    for key in fields:
        if key not in known:
            raise ConfigError(f"{kind} has no {key!r}; it has: {', '.join(known)}, name, rating")
    values: dict[str, object] = {}
    for key, value in fields.items():
        try:
            values[key] = float(value) if key in reals else int(value) if key in whole else value
        except ValueError as error:
            raise ConfigError(f"expected a number for {key}, found {value!r}") from error
    return Part(kind, **values)  # type: ignore[arg-type]  # the fields' own checks follow


def _number(spec: str, text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,3}", text):  # what readers of games take for one
        raise ConfigError(f"expert {spec!r}: expected a rating from 1 to 9999, found {text[:20]!r}")
    return int(text)


def _drawn(weights: Mapping[Item, float], rng: random.Random) -> Item:
    """Return one of the items with probability in proportion to its weight; one draw of `rng`."""
    left = rng.random() * math.fsum(weights.values())
    item = next(iter(weights))
    for item, weight in weights.items():  # noqa: B007 - the one it stops at
        left -= weight
        if left < 0:
            break
    return item  # the last one where rounding leaves something over


def _legal(board: chess.Board, uci: str) -> chess.Move:
    """Return an engine's move. Raises VerifierError where it is none that can be played."""
    try:
        move = chess.Move.from_uci(uci)
    except ValueError:
        move = chess.Move.null()
    if not board.is_legal(move):
        raise VerifierError(f"the engine gave {uci[:20]!r}, which is no legal move in {board.fen()}")
    return move


def _gain(board: chess.Board, move: chess.Move) -> float:
    """Return the centipawns of material that a move wins at once, or a mate's."""
    taken = chess.PAWN if board.is_en_passant(move) else board.piece_type_at(move.to_square)
    gain = VALUES[taken] if taken else 0
    if move.promotion:
        gain += VALUES[move.promotion] - VALUES[chess.PAWN]
    board.push(move)
    mate = board.is_checkmate()
    board.pop()
    return MATE if mate else gain


def _centipawns(centipawns: int | None, mate: int | None) -> int:
    if mate is not None:
        return MATE - mate if mate > 0 else -MATE - mate
    return centipawns or 0
