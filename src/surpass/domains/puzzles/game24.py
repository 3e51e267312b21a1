"""Game of 24 as a domain: make 24 of four numbers with + - * /, each number used once.

An action is one move, `13 - 9 = 4`, the line that Tree of Thoughts (arXiv 2305.10601) and Flow of Reasoning (arXiv
2406.05673) write; what is left, which they repeat at its end, is shown in the observation instead. Arithmetic is exact,
fractions included (`8 / 3 = 8/3`); a wrong result is rejected. A play ends when one number is left; its return is
binary, 1 for 24 and 0 otherwise. Rules are in `game24_rules.py`, instances and normal forms in `game24_solutions.py`.
Not here: a final line that writes the whole expression; it follows from the moves (`key`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from surpass.core import Observation, Problem, Status, Trajectory, Verdict
from surpass.domains.puzzles.game24_rules import Move, Number, ascending, combine, moves, play, read, show_all
from surpass.domains.puzzles.game24_solutions import HANDS, TARGET, chance, normal, solve
from surpass.domains.puzzles.splits import require, split_of
from surpass.errors import DataError

VERSION = "game24 1"  # changes whenever a rule changes
LARGEST, MOST = 100, 5  # what may be given: whole numbers from 0 to 100, two to five of them


@dataclass(frozen=True, slots=True)
class State:
    """An attempt."""

    problem: str  # Problem.key
    given: tuple[Number, ...]
    moves: tuple[str, ...]  # the last one is the culprit where `refusal` is set
    left: tuple[Number, ...]  # in ascending order of value
    refusal: str = ""  # why the attempt failed; empty while it has not

    @property
    def status(self) -> Status | None:
        """None while play goes on."""
        if self.refusal:
            return Status.REJECTED
        return Status.ACCEPTED if self.left == (TARGET,) else None


@dataclass(frozen=True, slots=True)
class Game24:
    """Game of 24; a `surpass.core.Domain` over `State`.

    Canonical: every move has one spelling, the larger number first, negative numbers never appear, and
    `Observation.legal` is the exact set of accepted actions. Otherwise `legal` is None, and operands in either order,
    negative results, free spaces and a correct `(left: 4 4 10)` after the move are accepted too, for language models.
    """

    canonical: bool = True
    history: bool = True  # show the moves so far; without, the text is what is left and states merge

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the solvable hands of a split, in ascending order. Raises DataError for an unknown split."""
        require(split, "game24")
        yield from _generate(split)

    def start(self, problem: Problem) -> State:
        """Return the table of `data["numbers"]`. Raises DataError where they are not 2 to 5 numbers from 0 to 100."""
        given = ascending((number, 1) for number in _numbers(problem))
        return State(problem.key, given, (), given)

    def observe(self, state: State) -> Observation:
        """Return what is left, with the numbers given and the moves so far where `history` is set."""
        bare = f"left: {show_all(state.left)}\n"
        done = "".join(f"{move}\n" for move in state.moves)
        text = f"make 24 of: {show_all(state.given)}\nmoves:\n{done}{bare}" if self.history else bare
        legal = None
        if self.canonical:
            legal = () if state.status is not None else tuple(moves(state.left))
        return Observation(text, legal, 0, bare)

    def step(self, state: State, action: str) -> State:
        """Return the table after a move, or a rejected state that says why it cannot be made."""
        if state.refusal:
            return state
        done = (*state.moves, action)
        if state.status is not None:
            return State(state.problem, state.given, done, state.left, "nothing is left to do")
        move = self._read(action, state.left)
        if isinstance(move, str):
            return State(state.problem, state.given, done, state.left, move)
        left = play(state.left, move) or ()
        ended = len(left) == 1 and left != (TARGET,)
        return State(state.problem, state.given, done, left, f"expected 24, made {show_all(left)}" if ended else "")

    def verify(self, state: State) -> Verdict | None:
        """Return the verdict of a finished attempt."""
        if state.status is None:
            return None
        if state.status is Status.ACCEPTED:
            return Verdict(Status.ACCEPTED, (1.0,), f"{VERSION}; T3")
        return Verdict(Status.REJECTED, (0.0,), f"{VERSION}; {state.refusal}")

    def _read(self, action: str, left: tuple[Number, ...]) -> Move | str:
        """Return the move that an action names or, as a string, why it is none here."""
        if self.canonical and (known := moves(left).get(action)) is not None:
            return known
        move = read(action, left)
        if isinstance(move, str) or not self.canonical:
            return move
        same = [one for one in combine(move.left, move.right) if one.op == move.op]
        one = next((one for one in same if one.left == move.left), same[0])
        return f"canonical: expected {one.text!r}, found {action[:80]!r}"


def pose(numbers: Sequence[int]) -> Problem:
    """Return the problem of some numbers, with a solution where there is one.

    >>> pose([13, 4, 9, 10]).key
    'game24-4-9-10-13'

    `data["chance"]` is the chance that uniformly random canonical moves solve it. Raises DataError as `start` does.
    """
    hand = sorted(_check(list(numbers), "numbers"))
    found = solve(tuple((number, 1) for number in hand))
    data = {"numbers": hand, "chance": chance(tuple((number, 1) for number in hand))}
    solution = {} if found is None else {"solution": [move.text for move in found]}
    return Problem("-".join(["game24", *map(str, hand)]), "game24", data | solution)


def key(trajectory: Trajectory) -> str:
    """Return the normal form of an accepted play: two plays with equal keys are the same solution.

    For `evaluation.diversity`. Raises DataError for a play that does not make 24 of its problem's numbers.
    """
    numbers = sorted(_numbers(trajectory.problem))
    left = ascending((number, 1) for number in numbers)
    plays: list[Move] = []
    for action in trajectory.actions:
        move = read(action, left)
        if isinstance(move, str):
            raise DataError(f"{trajectory.problem.key}: {move}; only accepted plays are solutions")
        plays.append(move)
        left = play(left, move) or ()
    if left != (TARGET,):
        raise DataError(f"{trajectory.problem.key}: expected 24 at the end, found {show_all(left)}")
    return normal(numbers, plays)


def _numbers(problem: Problem) -> list[int]:
    return _check(problem.data.get("numbers"), f"data['numbers'] of {problem.key!r}")


def _check(numbers: object, where: str) -> list[int]:
    whole = isinstance(numbers, list) and all(type(n) is int and 0 <= n <= LARGEST for n in numbers)
    if not isinstance(numbers, list) or not whole or not 2 <= len(numbers) <= MOST:
        raise DataError(
            f"expected {where} to be 2 to {MOST} whole numbers from 0 to {LARGEST}, found {str(numbers)[:200]}"
        )
    return numbers


@lru_cache(maxsize=3)
def _generate(split: str) -> tuple[Problem, ...]:
    hands = (hand for hand in HANDS if split_of(" ".join(map(str, hand))) == split)
    return tuple(problem for problem in map(pose, hands) if "solution" in problem.data)
