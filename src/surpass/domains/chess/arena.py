"""Games between players, many at once: who is to move in all of them is asked in one batch, and the rules judge.

A player is a policy: it sees an `Observation` as `domain.Chess` in UCI notation shows it, and proposes a move. Games
are independent, and a row's seed depends on the seed of the match, the round, the ply and the try alone: for a policy
whose rows depend on observation and seed, a game is the same whatever else is played and whenever it is played.

How a game ends, beside the ends of `rules.py`:
    illegal move    a player has proposed as many illegal moves in a row as it has tries; it loses. Each is counted
                    for the one who made it
    resignation     a player proposes `resign`; it loses
    adjudication    only with `max_plies`: a game that long is a draw
    failure         a player has no answer (its engine died or hung): no result, and no rating sees the game

Not the runner of searches: a game must be on disk as soon as it ends, and a lost engine is a result of its game here.
Not here: what a match is made of, its record and its table (`match.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import chess

from surpass.core import Observation, Policy
from surpass.domains.chess.openings import Opening
from surpass.domains.chess.pgn import movetext, write
from surpass.domains.chess.rules import board_of, ending, legal, place
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed

RESIGN = "resign"
ILLEGAL, RESIGNATION, ADJUDICATION, FAILURE = "illegal move", "resignation", "adjudication", "failure"
TERMINATION = {ILLEGAL: "rules infraction", ADJUDICATION: "adjudication", FAILURE: "abandoned"}  # PGN's words
LOST = ("0-1", "1-0")  # the result by the seat that has lost


@dataclass(frozen=True, slots=True)
class Player:
    """Who plays."""

    name: str
    policy: Policy
    tries: int = 1  # moves it may propose in a position before an illegal one loses the game
    wants_legal: bool = False  # its observations name the legal moves, which costs time, as does
    wants_key: bool = False  # the key that tells one position from another

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ConfigError(f"expected a player with one try or more, found {self.tries}")


@dataclass(frozen=True, slots=True)
class Pairing:
    """One game to play."""

    round: int  # its number in the match, from 1
    white: int  # place in the list of players
    black: int
    opening: Opening
    unit: str  # the games of one opening between the same two players share it


@dataclass(frozen=True, slots=True)
class Played:
    """One game that is over."""

    pairing: Pairing
    moves: tuple[str, ...]  # UCI, the opening's first
    result: str  # 1-0, 0-1, 1/2-1/2 or *
    end: str
    illegal: tuple[int, int]  # illegal moves proposed by White and by Black
    plies: int  # played by the players themselves

    def pgn(self, players: Sequence[str], event: str = "match") -> str:
        """Return the game in PGN with tags of our own, a blank line last."""
        fen, pairing = self.pairing.opening.fen, self.pairing
        board = board_of(fen)
        first = board.ply()
        words = [board.san_and_push(chess.Move.from_uci(move)) for move in self.moves]
        tags = {
            "Event": event,
            "Round": str(pairing.round),
            "White": players[pairing.white],
            "Black": players[pairing.black],
            "Result": self.result,
            **({"SetUp": "1", "FEN": fen} if fen else {}),
            "Unit": pairing.unit,
            "OpeningPlies": str(len(self.moves) - self.plies),
            "End": self.end,
            "Termination": TERMINATION.get(self.end, "normal"),
            "WhiteIllegal": str(self.illegal[0]),
            "BlackIllegal": str(self.illegal[1]),
        }
        return write(tags, movetext(words, self.result, first=first))


@dataclass(slots=True)
class _Table:
    """A game in play."""

    pairing: Pairing
    board: chess.Board
    moves: list[str] = field(default_factory=list)
    illegal: list[int] = field(default_factory=lambda: [0, 0])
    result: str = ""
    end: str = ""

    @property
    def seat(self) -> int:
        return int(self.board.turn == chess.BLACK)

    @property
    def player(self) -> int:
        return self.pairing.black if self.seat else self.pairing.white

    def push(self, move: chess.Move) -> None:
        self.board.push(move)
        self.moves.append(move.uci())
        self.arrive()

    def arrive(self) -> None:
        over = ending(self.board, repeated=self.board.is_repetition(3))
        if over is not None:
            self.finish(*over)

    def finish(self, end: str, result: str) -> None:
        self.end, self.result = end, result

    def observe(self, player: Player) -> Observation:
        text, fen = " ".join(self.moves), self.pairing.opening.fen
        moves = tuple(legal(self.board)) if player.wants_legal else None
        key = f"{place(self.board)} {self.board.halfmove_clock}" if player.wants_key else ""
        return Observation(f"[FEN {fen}]\n{text}" if fen else text, moves, self.seat, key)

    def played(self) -> Played:
        plies = len(self.moves) - len(self.pairing.opening.moves)
        illegal = (self.illegal[0], self.illegal[1])
        return Played(self.pairing, tuple(self.moves), self.result, self.end, illegal, plies)


def play(
    pairings: Iterable[Pairing], players: Sequence[Player], *, seed: int = 0, live: int = 64, max_plies: int = 0
) -> Iterator[Played]:
    """Play all games, up to `live` at once, and yield each as it ends.

    `max_plies` counts the opening too; 0 plays to the end. Raises what a player's policy raises; the games yielded
    until then are over, those in play are lost and begin anew when played again.
    """
    upcoming, tables = iter(pairings), list[_Table]()
    while True:
        tables += [_seated(pairing) for pairing in islice(upcoming, live - len(tables))]
        if not tables:
            return
        waiting: dict[int, list[_Table]] = defaultdict(list)
        for table in tables:
            if not table.end:
                waiting[table.player].append(table)
        for number, asked in waiting.items():
            _move(players[number], asked, seed)
        for table in tables:
            if not table.end and max_plies and len(table.moves) >= max_plies:
                table.finish(ADJUDICATION, "1/2-1/2")
            if table.end:
                yield table.played()
        tables = [table for table in tables if not table.end]


def _seated(pairing: Pairing) -> _Table:
    fen = pairing.opening.fen
    table = _Table(pairing, chess.Board(fen) if fen else chess.Board())
    table.arrive()
    for move in pairing.opening.moves:
        table.push(table.board.parse_uci(move))
    return table


def _move(player: Player, tables: Sequence[_Table], seed: int) -> None:
    """Let a player move in all games where it is its turn, or end them."""
    for attempt in range(player.tries):
        seen = [table.observe(player) for table in tables]
        seeds = [derive_seed(seed, "move", table.pairing.round, len(table.moves), attempt) for table in tables]
        again = list[_Table]()
        for table, row in zip(tables, player.policy.propose(seen, 1, seeds=seeds), strict=True):
            action = row[0].action if row else None
            if action is None:
                table.finish(FAILURE, "*")
            elif action == RESIGN:
                table.finish(RESIGNATION, LOST[table.seat])
            elif (move := _legal(table.board, action)) is not None:
                table.push(move)
            else:
                table.illegal[table.seat] += 1
                again.append(table)
        if not again:
            return
        tables = again
    for table in tables:
        table.finish(ILLEGAL, LOST[table.seat])


def _legal(board: chess.Board, action: str) -> chess.Move | None:
    """Return the move that an action names exactly as `rules.legal` does, None where it names none."""
    try:
        move = chess.Move.from_uci(action)
    except ValueError:
        return None
    return move if move and board.is_legal(move) and move.uci() == action else None
