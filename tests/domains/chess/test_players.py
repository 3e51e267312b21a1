"""Players by name, engines as policies, the majority of a game set, and a search as a player."""

import logging
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from surpass.conformance import check_policy
from surpass.core import Observation
from surpass.domains.chess.arena import Pairing, Player, play
from surpass.domains.chess.domain import Chess, pose
from surpass.domains.chess.engine_player import EnginePolicy, by_engine, uci_position
from surpass.domains.chess.openings import Opening
from surpass.domains.chess.players import Majority, player
from surpass.errors import ConfigError, DataError, SurpassError, VerifierError
from surpass.models.scripted import Uniform
from tests.domains.chess.test_engine import FAKE
from tests.domains.chess.tiny import CHARACTERS, run_folder

RANDOM = Player("random", Uniform(), wants_legal=True)


def engine_policy(command: str, *, threads: int = 1) -> EnginePolicy:
    return EnginePolicy(command, partial(by_engine, options=(), go="nodes 1"), threads=threads, deadline=20)


def made(spec: str) -> Player:
    with ExitStack() as stack:
        return player(spec, stack, deadline=20)


def observed(*moves: str) -> Observation:
    domain = Chess()
    return domain.observe(domain.start(pose(moves)))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_engine_answers_every_position_in_its_place(threads: int) -> None:
    rows = [observed("e2e4"), observed(), observed("d2d4", "d7d5"), observed("g1f3")]
    with engine_policy(FAKE, threads=threads) as policy:
        found = policy.propose(rows, 5, seeds=range(4))
    assert [[one.action for one in row] for row in found] == [["a7a5"], ["a2a3"], ["a2a3"], ["a7a5"]]


def test_an_engine_that_dies_once_is_started_again_and_the_game_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        engine_policy(f"{FAKE} dies-once {tmp_path / 'died'}") as policy,
    ):
        (found,) = play([Pairing(1, 0, 1, Opening(), "1")], [Player("e", policy), RANDOM], max_plies=6)
    assert found.end == "adjudication"
    assert "died" in caplog.text


def test_an_engine_that_keeps_dying_leaves_a_game_without_result_and_then_stops_the_match() -> None:
    with engine_policy(f"{FAKE} dies") as policy:
        games = play([Pairing(n, 0, 1, Opening(), str(n)) for n in (1, 2, 3)], [Player("e", policy), RANDOM], live=1)
        assert [(one.result, one.end) for one in (next(games), next(games))] == [("*", "failure")] * 2
        with pytest.raises(VerifierError, match="3 positions in a row"):
            next(games)


def test_an_illegal_move_of_an_engine_is_its_forfeit() -> None:
    with engine_policy(f"{FAKE} illegal") as policy:
        (found,) = play([Pairing(1, 1, 0, Opening(), "1")], [Player("e", policy), RANDOM])
    assert (found.result, found.end, found.illegal) == ("1-0", "illegal move", (0, 1))


def test_positions_as_engines_read_them() -> None:
    assert uci_position("[FEN 4k3/8/8/8/8/8/4P3/4K3 w - - 0 1]\n") == "fen 4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"
    assert uci_position("[FEN x w]\ne2e4 e8e7") == "fen x w moves e2e4 e8e7"


def test_the_majority_votes_by_position_and_backs_off_to_any_legal_move() -> None:
    votes = Majority.of([("", ["e2e4", "e7e5"]), ("", ["e2e4"]), ("", ["d2d4"]), ("", ["g1f3", "g8f6", "d2d4"])])
    assert votes.propose([observed()], 2, seeds=[0])[0][1].action == "e2e4"
    assert votes.propose([observed("e2e4")], 1, seeds=[0])[0][0].action == "e7e5"
    transposed = observed("d2d4", "g8f6", "g1f3")  # another way to a position that was seen, with Black to move: not it
    rows = votes.propose([transposed] * 200, 1, seeds=range(200))
    assert len({row[0].action for row in rows}) > 10
    assert {row[0].action for row in rows} <= set(transposed.legal or ())
    tied = Majority.of([("", ["e2e4"]), ("", ["d2d4"])])
    counts = Counter(tied.propose([observed()], 1, seeds=[seed])[0][0].action for seed in range(200))
    assert set(counts) == {"e2e4", "d2d4"}
    assert min(counts.values()) > 60


def test_players_by_name(tmp_path: Path) -> None:
    moves, characters = run_folder(tmp_path / "m"), run_folder(tmp_path / "c", CHARACTERS)
    (tmp_path / "games.pgn").write_text('[Event "?"]\n\n1. e4 e5 *\n\n')
    players = {
        spec: made(spec)
        for spec in (
            "random",
            f"raw=model:{moves},temperature=0.5,top_p=0.9",
            f"masked=model:{moves},legal=yes,resign=yes",
            f"letters=model:{characters},typical=0.9,tries=2",
            f"votes=majority:{tmp_path / 'games.pgn'}",
            f"tree=mcts:{moves},simulations=4",
            f"engine:{FAKE},nodes=1,Skill Level=3",
            "greedy=expert:greedy epsilon=0.2,threads=2",
        )
    }
    names = [one.name for one in players.values()]
    assert names[:6] == ["random", "raw", "masked", "letters", "votes", "tree"]
    assert [one.tries for one in players.values()][1:4] == [5, 1, 2]
    with ExitStack() as stack:
        pool = [player(spec, stack, deadline=20) for spec in players]
        pairings = [Pairing(n + 1, n, (n + 1) % 8, Opening(), str(n)) for n in range(8)]
        found = list(play(pairings, pool, max_plies=8))
    assert len(found) == 8
    assert all(one.end in ("adjudication", "illegal move", "resignation") for one in found)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "wizard",
        "random,depth=3",
        "random,deep",
        f"engine:{FAKE}",
        f"engine:{FAKE},nodes=many",
        f"engine:{FAKE},nodes=0",
        f"engine:{FAKE},nodes=1,depth=-3",
        f"engine:{FAKE},nodes=1,threads=0",
        f"engine:{FAKE},nodes=1,Hash=1",
        "engine:no-such-engine,nodes=1",
        "expert:wizard",
        "expert:greedy,nodes=3",
        "model:no-such-run",
        "majority:no-such-file.pgn",
        "model:{run},temperature=-1",
        "model:{run},temperature=hot",
        "model:{run},legal=perhaps",
        "model:{run},tries=0",
        "model:{run},strength=1500",
        "model:{run},resign=yes",
        "model:{letters},legal=yes,resign=yes",
        "mcts:{letters},simulations=2",
        "mcts:{run},simulations=0",
    ],
)
def test_what_names_no_player_is_one_of_our_errors(spec: str, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "m") if "{run}" in spec else tmp_path
    letters = run_folder(tmp_path / "c", CHARACTERS) if "{letters}" in spec else tmp_path
    with pytest.raises(SurpassError):
        made(spec.replace("{run}", str(run)).replace("{letters}", str(letters)))


def test_a_name_is_one_line_as_a_game_records_it() -> None:
    assert made(" two  words =random").name == "two words"


def test_damaged_models_are_said_to_be(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "m")
    (run / "model" / "chess.json").write_text('{"vocabulary": "runes"}')
    with pytest.raises(SurpassError, match="does not describe"):
        made(f"model:{run}")
    (run / "model" / "chess.json").unlink()
    with pytest.raises(DataError, match="chess model"):
        made(f"model:{run}")
    run_folder(tmp_path / "two" / "a")
    run_folder(tmp_path / "two" / "b")
    with pytest.raises(ConfigError, match="found 2"):
        made(f"model:{tmp_path / 'two'}")


def test_a_policy_keeps_its_contract(tmp_path: Path) -> None:
    rows = [observed(*line) for line in ((), ("e2e4",), ("e2e4", "e7e5"), ("d2d4", "d7d5", "c2c4"))]
    moves, characters = run_folder(tmp_path / "m"), run_folder(tmp_path / "c", CHARACTERS)
    for spec in ("random", f"model:{moves},legal=yes", f"model:{characters},legal=yes", f"mcts:{moves},simulations=4"):
        check_policy(made(spec).policy, rows)
    votes = Majority.of([("", ["e2e4", "c7c5"])])
    check_policy(votes, rows)


@pytest.mark.stockfish
def test_an_expert_errs_by_our_dice() -> None:
    with ExitStack() as stack:
        expert = player("expert:stockfish nodes=50 epsilon=0.5", stack)
        rows = [observed("e2e4"), observed("d2d4", "d7d5")] * 8
        first, second = (expert.policy.propose(rows, 1, seeds=range(16)) for _ in range(2))
        other = expert.policy.propose(rows, 1, seeds=range(16, 32))
    assert first == second != other
    assert all(row[0].action in (one.legal or ()) for one, row in zip(rows, first, strict=True))
