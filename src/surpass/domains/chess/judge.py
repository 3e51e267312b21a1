"""What a strong engine thinks of every legal move: expected scores, deterministic, remembered on disk.

One search over all legal moves at once (MultiPV), one thread, memory cleared before each position, a fixed number of
nodes: a function of the position, the engine's version and the nodes, not of the machine or of what came before. The
position is asked as a FEN without history, so a repetition is not seen. A search that ends before every move has a
score is completed by one to depth 1; scores of one position may come from two neighbouring depths.

An expected score is for the side to move on the scale 1 win, 0.5 draw, 0 loss, by a model of python-chess: "lichess"
(the logistic curve that Transcendence uses, without draws) or a version of Stockfish's own ("sf16", ...).
Raw centipawns and mates are stored, so another model asks no engine. Not here: what the scores are used for
(`favor.py`, `latent.py`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self, get_args

import chess
import chess.engine
from chess.engine import WdlModel

from surpass.domains.chess.engine import Engine
from surpass.domains.chess.experts import find_stockfish
from surpass.domains.chess.rules import board_of, legal, place
from surpass.errors import ConfigError, DataError, VerifierError

NODES = 20_000  # for one position, all of its moves together
Raw = Mapping[str, tuple[int | None, int | None]]  # move -> centipawns or moves to mate, for the side to move
MODELS: tuple[str, ...] = get_args(WdlModel)


class Judge:
    """A strong engine and what it has said; a context manager. `file` keeps answers between runs, in SQLite."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        nodes: int = NODES,
        model: WdlModel = "lichess",
        threads: int = 1,
        command: str | Sequence[str] = "",
        deadline: float = 60.0,
    ) -> None:
        if nodes < 1 or threads < 1 or model not in MODELS:
            raise ConfigError(f"expected nodes and threads of 1 or more, and a model among {', '.join(MODELS)}")
        self.nodes, self.model = nodes, model
        self._command, self._deadline = command or [find_stockfish()], deadline
        self._idle: SimpleQueue[Engine] = SimpleQueue()
        self._threads, self.title = threads, ""
        self._known = _opened(file)
        try:
            for _ in range(threads):
                self._idle.put(engine := self._started())
                self.title = engine.title
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the engines and close the store."""
        while not self._idle.empty():
            self._idle.get().close()
        self._known.close()

    def scores(self, fens: Sequence[str]) -> list[dict[str, float]]:
        """Return the expected score of each legal move for each position.

        What is found is kept as it comes, so an interruption costs the positions at hand. Raises DataError for a FEN
        that is none, VerifierError where the engine fails twice in a position.
        """
        boards = [board_of(fen) for fen in fens]
        keys = [f"{place(board)} {board.halfmove_clock}" for board in boards]
        todo = {key: board for key, board in zip(keys, boards, strict=True) if self._look_up(key) is None}
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for key, raw in zip(todo, pool.map(self._asked, todo.values()), strict=True):
                    with self._known:
                        self._known.execute(
                            "INSERT OR REPLACE INTO scores VALUES (?, ?)", (self._key(key), json.dumps(raw))
                        )
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [
            {move: self.expected(*score, ply=board.ply()) for move, score in (self._look_up(key) or {}).items()}
            for key, board in zip(keys, boards, strict=True)
        ]

    def expected(self, centipawns: int | None, mate: int | None, *, ply: int = 30) -> float:
        """Return the expected score that an evaluation stands for; "lichess" does not look at the ply."""
        score = chess.engine.Cp(centipawns or 0) if mate is None else chess.engine.Mate(mate)
        return score.wdl(model=self.model, ply=ply).expectation()

    def _key(self, key: str) -> str:
        return f"{self.title}; nodes {self.nodes}; {key}"

    def _look_up(self, key: str) -> Raw | None:
        found = self._known.execute("SELECT moves FROM scores WHERE position = ?", (self._key(key),)).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def _asked(self, board: chess.Board) -> Raw:
        """Return the raw scores of all legal moves, in ascending order of the moves."""
        engine = self._idle.get()
        try:
            return _searched(engine, board, self.nodes)
        except VerifierError:
            engine.close()
            engine = self._started()
            return _searched(engine, board, self.nodes)
        finally:
            self._idle.put(engine)

    def _started(self) -> Engine:
        return Engine(self._command, {"Threads": 1, "Hash": 16, "MultiPV": 500}, deadline=self._deadline)


def _searched(engine: Engine, board: chess.Board, nodes: int) -> Raw:
    moves = legal(board)
    if not moves:
        return {}
    engine.new_game()
    found = engine.think(f"fen {board.fen()}", f"nodes {nodes}").scores
    if moves.keys() <= found.keys():
        return {move: found[move] for move in moves}
    engine.new_game()
    found = {**engine.think(f"fen {board.fen()}", "depth 1").scores, **found}
    if missing := moves.keys() - found.keys():
        raise VerifierError(f"the engine {engine.title} gave no score for {', '.join(missing)} in {board.fen()}")
    return {move: found[move] for move in moves}


def _opened(file: Path | None) -> sqlite3.Connection:
    """Return the store of answers; in memory where no file is given. Raises DataError for a file that is none."""
    try:
        known = sqlite3.connect(file or ":memory:", timeout=60.0)
    except sqlite3.Error as error:
        raise DataError(f"{file} cannot be opened ({error}); choose another file") from error
    try:
        known.execute("CREATE TABLE IF NOT EXISTS scores (position TEXT PRIMARY KEY, moves TEXT NOT NULL)")
    except sqlite3.Error as error:
        known.close()
        raise DataError(f"{file} cannot be opened as a store of evaluations ({error}); choose another file") from error
    return known
