"""Chess as a domain: a state is the moves so far from a start position; the rules judge.

The state is a value that carries its current position, so a step costs the same at move 5 and at move 100 and nothing
is kept between calls. Seat 0 is White, seat 1 Black, whoever begins. Rules and ends of games are in `rules.py`.
Not here: resignation, agreed draws, clocks and adjudication, which belong to a match and not to the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import chess

from surpass.core import Observation, Problem, Status, Verdict
from surpass.domains.chess.rules import RETURNS, board_of, ending, legal, named, place
from surpass.domains.chess.transcript import prompt
from surpass.errors import ConfigError, DataError
from surpass.rollouts.seeds import derive_seed

VERSION = f"python-chess {chess.__version__}"
SPLITS = ("train", "valid", "test")
Notation = Literal["uci", "san"]
# Ways to be mated soon, tried after each opening: fool's mate (two orders), scholar's mate, and the latter for Black.
_FINISHES = (
    "f2f3 e7e5 g2g4 d8h4",
    "g2g4 e7e6 f2f3 d8h4",
    "e2e4 e7e5 d1h5 b8c6 f1c4 g8f6 h5f7",
    "b1c3 e7e5 g1h3 d8f6 a2a3 f8c5 b2b3 f6f2",
)


@dataclass(frozen=True, slots=True)
class State:
    """A game up to some move."""

    problem: str  # Problem.key
    start: str  # FEN of the start; empty: the initial position
    moves: tuple[str, ...]  # UCI, from the start; the last one is the culprit where `refusal` is set
    position: str  # FEN of the position reached (before the culprit)
    transcript: str  # the moves in the domain's notation (without the culprit)
    seen: tuple[str, ...]  # places since the last capture or pawn move, this one the last
    end: str = ""  # why the game is over; empty while it goes on
    result: str = ""  # 1-0, 0-1 or 1/2-1/2 where the game is over
    refusal: str = ""  # what is wrong with the last move; empty where nothing is

    @property
    def seat(self) -> int:
        """Whose turn it is: 0 White, 1 Black."""
        return int(self.position.split(" ", 2)[1] == "b")


@dataclass(frozen=True, slots=True)
class Chess:
    """The rules of chess; a `surpass.core.Domain` over `State`.

    An action is a legal move in UCI; `Observation.legal` is the exact set, in ascending order. The text is the
    transcript up to where the next move begins. In "uci": `e2e4 e7e5`. In "san", the paper's characters: `;1.e4 e5 2.`.
    A game from another position begins with a line `[FEN ...]`, which no vocabulary of transcripts encodes: a player
    that knows transcripts alone must decide what to do, and cannot overlook it.

    Verdicts: a game that the rules end is ACCEPTED, with returns per seat on the scale 1, 0.5, 0. An illegal move is a
    forfeit: REJECTED, 0 for the one who made it and 1 for the other.
    """

    notation: Notation = "uci"

    def __post_init__(self) -> None:
        if self.notation not in get_args(Notation):
            raise ConfigError(f"expected the notation uci or san, found {self.notation!r}")

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield openings of two half-moves, all 400 of them divided among "train", "valid" and "test".

        `data["solution"]`, where there is one, is a short legal end of the game. Raises DataError for another split.
        """
        if split not in SPLITS:
            raise DataError(f"expected a split among {', '.join(SPLITS)}, found {split!r}: chess has no other")
        yield from _openings()[split]

    def start(self, problem: Problem) -> State:
        """Return the position of `data["fen"]` (initial where absent or empty) after the moves of `data["moves"]`.

        Raises DataError where these are not a valid position and moves of a game that goes on until the last of them.
        """
        fen, moves = problem.data.get("fen", ""), problem.data.get("moves", [])
        if not isinstance(fen, str) or isinstance(moves, str) or not all(isinstance(move, str) for move in moves):
            raise DataError(
                f"problem {problem.key!r}: expected data['fen'], a text, and data['moves'], a list of texts"
            )
        board = board_of(fen)
        state = _arrived(State(problem.key, fen, (), board.fen(), "", (place(board),)), board)
        for move in moves:
            state = self.step(state, move)
            if state.refusal:
                raise DataError(f"problem {problem.key!r}: {state.refusal}")
        return state

    def observe(self, state: State) -> Observation:
        """Return the transcript and the legal moves.

        The key is the place, the halfmove clock and how often the place occurred: equal keys have equal legal moves and
        equal ends, except that which *other* places have occurred before is left out.
        """
        over = bool(state.end or state.refusal)
        text = state.transcript
        if self.notation == "san":
            board = chess.Board(state.position)
            text = f";{text}{'' if over else prompt(board.ply(), first=board.ply() - len(state.moves))}"
        if state.start:
            text = f"[FEN {state.start}]\n{text}"
        moves = () if over else tuple(legal(chess.Board(state.position)))
        clock = state.position.split(" ")[4]
        return Observation(text, moves, state.seat, f"{state.seen[-1]} {clock} {state.seen.count(state.seen[-1])}")

    def step(self, state: State, action: str) -> State:
        """Return the state after a move in UCI, or a rejected state that says why it cannot be played."""
        if state.refusal:
            return state
        moves = (*state.moves, action)
        if state.end:
            return _refused(state, moves, f"the game was over ({state.end}) before {action[:20]!r}")
        board = chess.Board(state.position)
        move = named(board, action)
        if move is None:
            return _refused(state, moves, f"{action[:20]!r} is no legal move in {state.position}")
        if self.notation == "san":
            ply = board.ply()
            words = f"{prompt(ply, first=ply - len(state.moves))}{board.san(move)}"
        else:
            words = f" {action}" if state.moves else action
        kept = () if board.is_zeroing(move) else state.seen
        board.push(move)
        seen = (*kept, place(board))
        after = State(state.problem, state.start, moves, board.fen(), state.transcript + words, seen)
        return _arrived(after, board)

    def verify(self, state: State) -> Verdict | None:
        """Return the verdict of a finished game."""
        if state.refusal:
            returns = (float(state.seat), 1.0 - state.seat)
            return Verdict(Status.REJECTED, returns, f"{VERSION}; T3; forfeit: {state.refusal}")
        if state.end:
            return Verdict(Status.ACCEPTED, RETURNS[state.result], f"{VERSION}; T3; {state.result} by {state.end}")
        return None


def pose(moves: Sequence[str] = (), *, fen: str = "", key: str = "", solution: Sequence[str] = ()) -> Problem:
    """Return the problem of playing on after some moves (UCI) from the initial position, or from a FEN.

    >>> Chess("san").observe(Chess("san").start(pose(["e2e4", "e7e5"]))).text
    ';1.e4 e5 2.'
    """
    data = {"fen": fen, "moves": list(moves)} | ({"solution": list(solution)} if solution else {})
    return Problem(key or " ".join([fen or "initial", *moves]), "chess", data)


def _arrived(state: State, board: chess.Board) -> State:
    """Note in a state whether the game is over in its position."""
    end, result = ending(board, repeated=state.seen.count(state.seen[-1]) >= 3) or ("", "")
    return replace(state, end=end, result=result)


def _refused(state: State, moves: tuple[str, ...], refusal: str) -> State:
    """Return the state in which the last of `moves` was refused."""
    return replace(state, moves=moves, refusal=refusal)


@lru_cache(maxsize=1)
def _openings() -> dict[str, list[Problem]]:
    """Return all openings of two half-moves by split: eight tenths train, one tenth each of the others."""
    found: dict[str, list[Problem]] = {split: [] for split in SPLITS}
    board = board_of()
    for white, move in legal(board).items():
        board.push(move)
        for black in legal(board):
            moves = (white, black)
            split = SPLITS[(0, 0, 0, 0, 0, 0, 0, 0, 1, 2)[derive_seed("opening", *moves) % 10]]
            found[split].append(pose(moves, solution=_finish(moves)))
        board.pop()
    return found


def _finish(moves: Sequence[str]) -> tuple[str, ...]:
    """Return a known short mate that can be played after these moves, nothing where there is none."""
    for line in _FINISHES:
        board = board_of()
        for move in moves:
            board.push_uci(move)
        actions = tuple(line.split())
        for action in actions:
            if action not in legal(board):
                break
            board.push_uci(action)
        else:
            if board.is_checkmate():
                return actions
    return ()
