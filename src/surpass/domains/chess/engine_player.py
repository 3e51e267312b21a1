"""Engines and experts as players: several positions are asked at once, and one that fails is started anew.

An engine's memory is cleared before every move, so that a strong engine under a limit of nodes and with one thread is a
function of the position, and a match resumes exactly; an engine that errs by its own dice (Skill Level, UCI_Elo) is
not. An expert draws by the seed of the row. In the games of `expert_games.py` its engine remembers a game: at the same
few nodes that makes other moves, and no other kind of player.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from types import TracebackType
from typing import Self

import chess

from surpass.core import Observation, Proposal
from surpass.domains.chess.arena import RESIGN
from surpass.domains.chess.engine import Engine
from surpass.domains.chess.experts import Expert, Part, choose, evaluations
from surpass.domains.chess.rules import board_of
from surpass.errors import VerifierError

log = logging.getLogger(__name__)
Options = tuple[tuple[str, object], ...]
Engines = Callable[[Options], Engine]  # the engine with these options, started when first asked for
Mover = Callable[[Engines, Observation, int], str]  # of an observation and a seed


def by_engine(engines: Engines, observation: Observation, _: int, *, options: Options, go: str) -> str:
    """Return the move of the engine with these options, under limits such as `nodes 100`."""
    engine = engines(options)
    engine.new_game()
    return engine.think(uci_position(observation.text), go).move


def by_expert(engines: Engines, observation: Observation, seed: int, *, expert: Expert) -> str:
    """Return the move of an expert, which draws by the seed."""

    def think(part: Part, _: Sequence[str]) -> dict[str, float]:
        engine = engines(tuple(part.options.items()))
        engine.new_game()
        found = engine.think(uci_position(observation.text), f"nodes {part.nodes}")
        return evaluations(found.move, found.scores)

    fen, moves = split(observation.text)
    board = board_of(fen)
    for move in moves:
        board.push(chess.Move.from_uci(move))  # legal, for the arena has played them: to check again costs the most
    chosen = choose(expert, board, moves, rng=Random(seed), think=think)
    return chosen.uci() if chosen else RESIGN


class EnginePolicy:
    """A way to move by engines as a policy; a context manager. Each of its threads has engines of its own.

    Where an engine fails, all of its thread are started anew and asked once more; where they fail again the answer is
    no proposal, which the arena reports. After `patience` such positions in a row VerifierError is raised.
    """

    def __init__(
        self, command: str | Sequence[str], mover: Mover, *, threads: int = 1, deadline: float = 30.0, patience: int = 3
    ) -> None:
        self._command, self._mover, self._deadline = command, mover, deadline
        self._engines: list[dict[Options, Engine]] = [{} for _ in range(threads)]
        self._patience, self._failed = patience, 0
        self._threads = ThreadPoolExecutor(threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()
        for lane in range(len(self._engines)):
            self._end(lane)

    def start(self, options: Options) -> None:
        """Start one engine, so that a wrong command or option is known before any game."""
        self._engine(0, options)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return the move for each observation, one proposal whatever `n`; none where engines failed twice."""
        lanes = len(self._engines)
        shares = [range(lane, len(observations), lanes) for lane in range(lanes)]

        def work(lane: int) -> list[str | VerifierError]:
            return [self._ask(lane, observations[row], seeds[row]) for row in shares[lane]]

        found: list[str | VerifierError] = [""] * len(observations)
        for share, answers in zip(shares, self._threads.map(work, range(lanes)), strict=True):
            for row, answer in zip(share, answers, strict=True):
                found[row] = answer
        for answer in found:
            self._failed = self._failed + 1 if isinstance(answer, VerifierError) else 0
            if isinstance(answer, VerifierError) and self._failed >= self._patience:
                raise VerifierError(f"{answer}, {self._failed} positions in a row; the games that are over are kept")
        return [[] if isinstance(answer, VerifierError) else [Proposal(answer)] for answer in found]

    def _ask(self, lane: int, observation: Observation, seed: int) -> str | VerifierError:
        for _ in range(2):
            try:
                return self._mover(partial(self._engine, lane), observation, seed)
            except VerifierError as error:
                log.warning("%s, in the position %s", error, observation.text[-200:])
                failure = error
                self._end(lane)
        return failure

    def _engine(self, lane: int, options: Options) -> Engine:
        running = self._engines[lane]
        if options not in running:
            running[options] = Engine(self._command, dict(options), deadline=self._deadline)
        return running[options]

    def _end(self, lane: int) -> None:
        for engine in self._engines[lane].values():
            engine.close()
        self._engines[lane] = {}


def uci_position(text: str) -> str:
    """Return the text of an observation as the UCI command `position` wants it.

    >>> uci_position("e2e4 e7e5"), uci_position("")
    ('startpos moves e2e4 e7e5', 'startpos')
    """
    fen, moves = split(text)
    return (f"fen {fen}" if fen else "startpos") + (f" moves {' '.join(moves)}" if moves else "")


def split(text: str) -> tuple[str, list[str]]:
    """Return the FEN, empty for the initial position, and the moves of an observation's text."""
    head, _, moves = text.rpartition("\n")
    return head.removeprefix("[FEN ").removesuffix("]"), moves.split()
