"""Small games given by tables, and their value by exhaustive search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from surpass.core import Observation, Problem, Status, Verdict

GAME = Problem("root")


@dataclass(frozen=True, slots=True)
class Play:
    """A position and the moves that led there; `node` is empty after an illegal one."""

    path: tuple[str, ...]
    node: str


@dataclass(frozen=True, slots=True)
class Game:
    """A game of any number of seats: node -> move -> node, whose turn it is, and what each seat gets at a leaf."""

    moves: Mapping[str, Mapping[str, str]]
    seats: Mapping[str, int]
    returns: Mapping[str, tuple[float, ...]]
    merges: bool = False  # the key of an observation is its node; otherwise empty
    history: bool = False  # the text holds the moves so far

    def problems(self, split: str) -> Iterable[Problem]:
        yield GAME

    def start(self, problem: Problem) -> Play:
        return Play((), problem.key)

    def observe(self, state: Play) -> Observation:
        legal = tuple(self.moves.get(state.node, ()))
        text = " ".join((state.node, *state.path)) if self.history else state.node
        return Observation(text, legal, self.seats.get(state.node, 0), state.node if self.merges else "")

    def step(self, state: Play, action: str) -> Play:
        return Play((*state.path, action), self.moves.get(state.node, {}).get(action, ""))

    def verify(self, state: Play) -> Verdict | None:
        if not state.node:
            return Verdict(Status.REJECTED, (0.0, 0.0), "game: illegal")
        if state.node in self.returns:
            return Verdict(Status.ACCEPTED, self.returns[state.node], "game")
        return None

    def value(self, node: str = "root") -> tuple[float, ...]:
        """Return what each seat gets where each maximises its own return."""
        if node in self.returns:
            return self.returns[node]
        seat = self.seats[node]
        return max((self.value(child) for child in self.moves[node].values()), key=lambda returns: returns[seat])


def nim(sticks: int, *, merges: bool = False) -> Game:
    """Take one to three sticks in turn; who takes the last one wins. A multiple of four is lost for whoever moves."""
    moves: dict[str, dict[str, str]] = {}
    seats: dict[str, int] = {}
    returns: dict[str, tuple[float, ...]] = {}
    nodes = [(sticks, 0)]
    while nodes:
        left, seat = nodes.pop()
        name = "root" if left == sticks else f"{left} for {seat}"
        if left == 0:
            returns[name] = (0.0, 1.0) if seat == 0 else (1.0, 0.0)
            continue
        seats[name] = seat
        if name not in moves:
            after = [(left - taken, 1 - seat) for taken in (1, 2, 3) if taken <= left]
            moves[name] = {f"take {left - less}": f"{less} for {other}" for less, other in after}
            nodes += after
    return Game(moves, seats, returns, merges)
