"""The rules against published perft counts, the ends of games, and forfeits: what the domain says of them."""

from __future__ import annotations

import pickle
import random

import chess
import pytest

from surpass.core import Status, replay
from surpass.domains.chess.domain import SPLITS, Chess, State, pose
from surpass.domains.chess.rules import RETURNS, board_of, ending, identity, legal, named, place, sans
from surpass.domains.chess.tokens import geometric_moves
from surpass.errors import ConfigError, DataError

# Counts of the Chess Programming Wiki, "Perft Results", positions 1 to 6.
PERFT = [
    ("", 4, 197_281),
    ("r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1", 3, 97_862),
    ("8/2p5/3p4/KP5r/1R3p1k/8/4P1P1/8 w - - 0 1", 4, 43_238),
    ("r3k2r/Pppp1ppp/1b3nbN/nP6/BBP1P3/q4N2/Pp1P2PP/R2Q1RK1 w kq - 0 1", 3, 9_467),
    ("rnbq1k1r/pp1Pbppp/2p5/8/2B5/8/PPP1NnPP/RNBQK2R w KQ - 1 8", 3, 62_379),
    ("r4rk1/1pp1qppp/p1np1n2/2b1p1B1/2B1P1b1/P1NP1N2/1PP1QPPP/R4RK1 w - - 0 10", 3, 89_890),
]
SEEN = "8/8/8/8/8/5k2/8/5K1R w - - 0 1"


def perft(board: chess.Board, depth: int) -> int:
    if depth == 1:
        return sum(1 for _ in board.generate_legal_moves())
    total = 0
    for move in legal(board).values():
        board.push(move)
        total += perft(board, depth - 1)
        board.pop()
    return total


def walk(domain: Chess, state: State, depth: int) -> int:
    """Perft through the domain alone: what it calls legal, and the states it steps to."""
    moves = domain.observe(state).legal or ()
    return len(moves) if depth == 1 else sum(walk(domain, domain.step(state, move), depth - 1) for move in moves)


@pytest.mark.parametrize(("fen", "depth", "leaves"), PERFT)
def test_move_generation_counts_the_published_leaves(fen: str, depth: int, leaves: int) -> None:
    assert perft(board_of(fen), depth) == leaves


@pytest.mark.parametrize(("fen", "leaves"), [("", 400), (PERFT[1][0], 2_039), (PERFT[2][0], 191), (PERFT[3][0], 264)])
def test_the_domain_counts_them_too(fen: str, leaves: int) -> None:
    assert walk(Chess(), Chess().start(pose(fen=fen)), 2) == leaves


@pytest.mark.slow
@pytest.mark.parametrize(("fen", "depth", "leaves"), [("", 5, 4_865_609), (PERFT[1][0], 4, 4_085_603)])
def test_move_generation_one_level_deeper(fen: str, depth: int, leaves: int) -> None:
    assert perft(board_of(fen), depth) == leaves


@pytest.mark.parametrize(
    ("fen", "moves", "why", "result"),
    [
        ("", "f2f3 e7e5 g2g4 d8h4", "checkmate", "0-1"),
        ("", "e2e4 e7e5 d1h5 b8c6 f1c4 g8f6 h5f7", "checkmate", "1-0"),
        ("7k/5Q2/5K2/8/8/8/8/8 b - - 0 1", "", "stalemate", "1/2-1/2"),
        ("8/8/8/8/8/5k2/5p2/5K2 w - - 0 1", "", "stalemate", "1/2-1/2"),
        ("8/8/8/8/8/5k1p/6N1/5K2 b - - 0 1", "h3g2 f1g1", "", ""),
        ("8/8/8/8/8/5k2/6p1/6K1 w - - 0 1", "", "", ""),
        ("8/8/4k3/8/8/4K3/4p3/8 w - - 0 1", "e3e2", "insufficient material", "1/2-1/2"),
        ("8/8/4k3/8/8/4K1r1/8/8 w - - 99 80", "e3d4", "fifty moves", "1/2-1/2"),
        ("7k/8/6K1/8/8/8/8/R7 w - - 99 80", "a1a8", "checkmate", "1-0"),  # mate comes before the fiftieth move
        ("", "g1f3 g8f6 f3g1 f6g8 g1f3 g8f6 f3g1 f6g8", "threefold repetition", "1/2-1/2"),
        ("", "g1f3 g8f6 f3g1 f6g8 g1f3 g8f6 f3g1", "", ""),
        # the rook has moved and come back: the placement is the same, the castling rights are not
        ("4k2r/8/8/8/8/8/8/4K2R w Kk - 0 1", "h1g1 h8g8 g1h1 g8h8 h1g1 h8g8 g1h1 g8h8", "", ""),
    ],
)
def test_ends_of_games(fen: str, moves: str, why: str, result: str) -> None:
    played = replay(Chess(), pose(fen=fen), moves.split())
    if not why:
        assert played.info["end"] == "depth"
    else:
        assert played.verdict.status is Status.ACCEPTED
        assert played.verdict.returns == RETURNS[result]
        assert played.verdict.evidence.endswith(f"T3; {result} by {why}")


@pytest.mark.parametrize("bad", ["e2e5", "e7e5", "e2", "0000", "e2e4q", "e1g1", "Nf3", "e2e4 ", "E2E4"])
def test_an_illegal_move_is_charged_to_the_one_who_made_it(bad: str) -> None:
    domain = Chess()
    white = replay(domain, pose(), [bad]).verdict
    black = replay(domain, pose(["e2e4"]), [bad.replace("e7e5", "e2e4")]).verdict
    assert (white.status, white.returns) == (Status.REJECTED, (0.0, 1.0))
    assert (black.status, black.returns) == (Status.REJECTED, (1.0, 0.0))
    assert "forfeit" in white.evidence


def test_castling_has_one_spelling() -> None:
    domain = Chess()
    state = domain.start(pose(fen="r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1"))
    assert {"e1g1", "e1c1"} <= set(domain.observe(state).legal or ())
    assert domain.step(state, "e1h1").refusal
    assert domain.step(state, "e1g1").position.startswith("r3k2r/8/8/8/8/8/8/R4RK1 b kq")


def test_nothing_can_be_played_after_the_end_and_a_refusal_stays() -> None:
    domain = Chess()
    over = domain.start(pose(["f2f3", "e7e5", "g2g4", "d8h4"]))
    assert domain.observe(over).legal == ()
    after = domain.step(over, "a2a3")
    assert after.refusal.startswith("the game was over")
    assert domain.step(after, "e2e4") == after
    verdict = domain.verify(after)
    assert verdict is not None
    assert verdict.status is Status.REJECTED


def test_what_a_player_sees() -> None:
    san, uci = Chess("san"), Chess()
    moves = ["e2e4", "e7e5", "g1f3"]
    assert [san.observe(san.start(pose(moves[:count]))).text for count in range(4)] == [
        ";1.",
        ";1.e4 ",
        ";1.e4 e5 2.",
        ";1.e4 e5 2.Nf3 ",
    ]
    seen = uci.observe(uci.start(pose(moves)))
    assert (seen.text, seen.seat) == ("e2e4 e7e5 g1f3", 1)
    assert list(seen.legal or ()) == sorted(seen.legal or ())
    fen = "4k3/8/8/8/8/8/4P3/4K3 b - - 3 12"
    state = san.step(san.start(pose(fen=fen)), "e8d7")
    assert san.observe(state).text == f"[FEN {fen}]\n;12...Kd7 13."


def test_a_state_does_not_remember_more_than_it_must() -> None:
    """Long games stay cheap: places before the last capture or pawn move are forgotten."""
    domain = Chess()
    state = domain.start(pose(["g1f3", "g8f6", "f3g1", "f6g8"]))
    assert len(state.seen) == 5
    assert len(domain.step(state, "e2e4").seen) == 1
    assert hash(state) == hash(pickle.loads(pickle.dumps(state)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"fen": "nonsense"}, "expected a position in FEN"),
        ({"fen": "8/8/8/8/8/8/8/8 w - - 0 1"}, "that a game can reach"),
        ({"fen": "4k3/8/8/8/8/8/4R3/4K3 w - - 0 1"}, "that a game can reach"),  # Black could be taken
        ({"moves": ["e2e5"]}, "no legal move"),
        ({"moves": "e2e4"}, "a list of texts"),
        ({"moves": ["f2f3", "e7e5", "g2g4", "d8h4", "a2a3"]}, "was over"),
    ],
)
def test_a_problem_that_cannot_be_posed_is_our_trouble(data: dict[str, object], said: str) -> None:
    from surpass.core import Problem

    with pytest.raises(DataError, match=said):
        Chess().start(Problem("bad", data=data))


def test_openings_are_divided_among_the_splits() -> None:
    keys = [problem.key for split in SPLITS for problem in Chess().problems(split)]
    assert (len(keys), len(set(keys))) == (400, 400)
    with pytest.raises(DataError, match="found 'all'"):
        list(Chess().problems("all"))
    with pytest.raises(ConfigError, match="found 'lan'"):
        Chess("lan")  # type: ignore[arg-type]


def test_identity_is_equal_exactly_where_the_place_is() -> None:
    names: dict[object, str] = {}
    for seed in range(15):
        rng, board = random.Random(seed), chess.Board(SEEN if seed % 3 == 0 else chess.STARTING_FEN)
        for _ in range(60):
            if ending(board, repeated=False):
                break
            board.push(rng.choice(list(board.legal_moves)))
            assert names.setdefault(identity(board), place(board)) == place(board)
    assert len(set(names.values())) == len(names) > 250


def test_castling_rights_tell_places_apart_and_an_empty_en_passant_square_does_not() -> None:
    board = board_of("4k2r/8/8/8/8/8/4P3/4K2R w Kk - 0 1")
    begun = identity(board), place(board)
    for move in ("h1g1", "h8g8", "g1h1", "g8h8"):
        board.push_uci(move)
    assert identity(board) != begun[0]
    assert place(board) != begun[1]
    board.push_uci("e2e4")  # nobody can capture en passant
    other = board_of("4k2r/8/8/8/4P3/8/8/4K2R b - - 0 1")
    assert board.ep_square is not None
    assert (identity(board), place(board)) == (identity(other), place(other))
    real = [board_of(f"4k3/8/8/8/3pP3/8/8/4K3 b - {square} 0 1") for square in ("e3", "-")]
    assert identity(real[0]) != identity(real[1])
    assert place(real[0]) != place(real[1])


def test_a_name_is_a_legal_move_exactly_where_the_list_has_it() -> None:
    names = {*geometric_moves(), "0000", "e1h1", "e8a8", "", "e2e4 ", "e7e8k", "a1a1", "P@e4"}
    for fen, _, _ in PERFT:
        board = board_of(fen)
        assert {name: move for name in names if (move := named(board, name))} == legal(board)


def test_sans_name_the_illegal_move() -> None:
    assert list(sans(["e2e4", "e7e5", "d1h5", "b8c6", "f1c4", "g8f6", "h5f7"]))[-1] == "Qxf7#"
    with pytest.raises(DataError, match="move 2, found 'e2e4'"):
        list(sans(["e2e4", "e2e4"]))
