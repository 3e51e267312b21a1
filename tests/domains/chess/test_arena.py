"""The arena: how games end, who is charged, and that nothing depends on what else is played."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import chess
import chess.pgn
import pytest

from surpass.core import Observation, Proposal, replay
from surpass.domains.chess.arena import Pairing, Played, Player, play
from surpass.domains.chess.domain import Chess, pose
from surpass.domains.chess.openings import Opening, random_openings
from surpass.errors import VerifierError
from surpass.models.scripted import Uniform

START = Opening()
RANDOM = Player("random", Uniform(), wants_legal=True)


@dataclass(slots=True)
class Line:
    """Plays a line move by move, then says `after`; `None` is no answer."""

    moves: Sequence[str]
    after: str | None = None
    seen: list[Observation] = field(default_factory=list)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        self.seen += observations
        return [self._row(len(one.text.split()) // 2) for one in observations]

    def _row(self, number: int) -> list[Proposal]:
        action = self.moves[number] if number < len(self.moves) else self.after
        return [] if action is None else [Proposal(action)]


def single(line: str, opening: Opening = START, *, after: str | None = None, tries: int = 1, plies: int = 0) -> Played:
    """The one game in which both sides follow a line from the opening."""
    moves = line.split()
    players = [Player("w", Line(moves[0::2], after), tries=tries), Player("b", Line(moves[1::2], after), tries=tries)]
    (found,) = play([Pairing(1, 0, 1, opening, "1")], players, max_plies=plies)
    return found


@pytest.mark.parametrize(
    ("line", "result", "end"),
    [
        ("f2f3 e7e5 g2g4 d8h4", "0-1", "checkmate"),
        ("e2e4 e7e5 d1h5 b8c6 f1c4 g8f6 h5f7", "1-0", "checkmate"),
        (
            "e2e3 a7a5 d1h5 a8a6 h5a5 h7h5 a5c7 a6h6 h2h4 f7f6 c7d7 e8f7 d7b7 d8d3 b7b8 d3h7 b8c8 f7g6 c8e6",
            "1/2-1/2",
            "stalemate",
        ),
        ("g1f3 g8f6 f3g1 f6g8 " * 2, "1/2-1/2", "threefold repetition"),
    ],
)
def test_the_rules_end_a_game_the_same_whoever_ends_it(line: str, result: str, end: str) -> None:
    found = single(line)
    assert (found.result, found.end) == (result, end)
    assert found.illegal == (0, 0)
    again = replay(Chess(), pose(), found.moves)  # the domain says the same of the same moves
    assert end in again.verdict.evidence
    assert len(again.steps) == len(found.moves)


def test_ends_that_depend_on_the_opening() -> None:
    bare = Opening(fen="8/8/8/4k3/8/3p4/4K3/8 w - - 0 1")
    assert single("", bare, after="e2d3").end == "insufficient material"
    tired = Opening(fen="4k3/8/8/8/8/8/4R3/4K3 w - - 99 80")
    assert single("", tired, after="e2e3").end == "fifty moves"
    mating = Opening(fen="k7/8/1K6/8/8/8/8/7R w - - 99 80")
    assert single("", mating, after="h1h8").end == "checkmate"  # mate comes before the fiftieth move


def test_an_illegal_move_is_charged_to_the_one_who_made_it() -> None:
    for line, loser in (("e2e4 e7e5 e4e5", 0), ("e2e4 e2e4", 1)):
        found = single(line, tries=1)
        assert found.result == ("0-1", "1-0")[loser]
        assert found.end == "illegal move"
        assert found.illegal == ((1, 0), (0, 1))[loser]
    assert single("e2e4 nonsense", tries=5).illegal == (0, 5)


@pytest.mark.parametrize("action", ["", "0000", "e2e4 ", "E2E4", "e7e8q", "e1g1", "a" * 5000, "\x00", "resign now"])
def test_only_a_legal_move_in_uci_is_a_move(action: str) -> None:
    assert single("", after=action).end == "illegal move"


def test_later_tries_count() -> None:
    class Learns:
        """Gives a legal move at its third try."""

        def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
            attempts.update(one.text for one in observations)
            return [[Proposal((one.legal or ("",))[0] if attempts[one.text] == 3 else "a1a1")] for one in observations]

    attempts = Counter[str]()
    learner = Player("l", Learns(), tries=3, wants_legal=True)
    found = list(play([Pairing(1, 0, 1, START, "1")], [learner, RANDOM], max_plies=20))
    assert found[0].end == "adjudication"
    assert found[0].illegal == (20, 0)  # two for each of ten moves


def test_resignation_adjudication_and_failure() -> None:
    assert single("e2e4 e7e5", after="resign").result == "0-1"
    assert single("e2e4 resign").result == "1-0"
    found = single("e2e4 e7e5 g1f3", plies=3)
    assert (found.result, found.end, found.plies) == ("1/2-1/2", "adjudication", 3)
    lost = single("e2e4 e7e5")
    assert (lost.result, lost.end) == ("*", "failure")


def test_a_game_does_not_depend_on_what_else_is_played() -> None:
    openings = random_openings(3, seed=3)
    pairings = [Pairing(n + 1, n % 2, 1 - n % 2, openings[n // 2], str(n // 2)) for n in range(6)]
    alone, together = (
        {one.pairing.round: one for one in play(pairings, [RANDOM, RANDOM], seed=5, live=live)} for live in (1, 6)
    )
    assert alone == together
    assert len({one.moves for one in alone.values()}) == 6  # seeds differ by round
    rest = {one.pairing.round: one for one in play(pairings[4:], [RANDOM, RANDOM], seed=5)}
    assert rest == {number: alone[number] for number in range(5, 7)}  # as a resumed match plays them
    other = next(play(pairings[:1], [RANDOM, RANDOM], seed=6))
    assert other.moves != alone[1].moves


def test_random_games_end_as_the_board_says() -> None:
    ends = Counter[str]()
    for one in play([Pairing(n + 1, 0, 1, START, str(n)) for n in range(10)], [RANDOM, RANDOM], seed=1):
        board = chess.Board()
        for move in one.moves:
            assert not board.is_game_over()
            board.push_uci(move)
        outcome = board.outcome(claim_draw=True)
        assert outcome is not None
        assert outcome.result() == one.result
        ends[one.end] += 1
    assert len(ends) >= 2


def test_a_game_is_a_pgn_that_others_read() -> None:
    found = single("e2e4 e7e5 e4e5", tries=2)
    game = chess.pgn.read_game(io.StringIO(found.pgn(["w", "b"])))
    assert game is not None
    assert not game.errors
    assert game.headers["Result"] == "0-1"
    assert game.headers["Termination"] == "rules infraction"
    assert game.headers["WhiteIllegal"] == "2"
    assert game.headers["Black"] == "b"
    assert [move.uci() for move in game.mainline_moves()] == ["e2e4", "e7e5"]
    other = single("", Opening(("e7e5",), "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1"), after="resign")
    game = chess.pgn.read_game(io.StringIO(other.pgn(["w", "b"])))
    assert game is not None
    assert game.headers["FEN"].startswith("rnbqkbnr/pppppppp/8/8/4P3")
    assert game.headers["OpeningPlies"] == "1"


def test_what_a_policy_raises_ends_the_match_and_keeps_the_games_before() -> None:
    class Breaks:
        def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
            if any(len(one.text.split()) > 3 for one in observations):
                raise VerifierError("broken")
            return [[Proposal("resign" if one.text == "g1f3" else "e2e4")] for one in observations]

    games = play(
        [Pairing(1, 1, 0, Opening(("g1f3",)), "1"), Pairing(2, 0, 1, Opening(("d2d4", "d7d5", "c2c4", "c7c5")), "2")],
        [Player("breaks", Breaks()), RANDOM],
        live=1,
    )
    assert next(games).end in ("resignation", "checkmate")
    with pytest.raises(VerifierError):
        list(games)
