"""The UCI engine: driven by another library as a process, and line by line in this one, garbage included."""

import math
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import chess
import chess.engine
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.domains.chess.character_player import CharacterPlayer
from surpass.domains.chess.match import Match, MatchOptions
from surpass.domains.chess.model_player import ModelPlayer
from surpass.domains.chess.players import player
from surpass.domains.chess.tokens import Moves
from surpass.domains.chess.uci import Engine, Position, Settings, changed, read_go, read_option, read_position
from surpass.errors import ModelError
from tests.domains.chess.tiny import CHARACTERS, MOVES, network, run_folder

COMMAND = [sys.executable, "-m", "surpass.cli", "uci", "--run"]
FEN = "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"


class Talk:
    """An engine in this process and what it has said."""

    def __init__(self, player: ModelPlayer | CharacterPlayer | None = None) -> None:
        self.said: list[str] = []
        self.loads = 0
        self._player = player or ModelPlayer(network(MOVES.size), MOVES)
        self._news = threading.Condition()
        self.engine = Engine(self._load, self._say)

    def _load(self) -> ModelPlayer | CharacterPlayer:
        self.loads += 1
        return self._player

    def _say(self, line: str) -> None:
        with self._news:
            self.said.append(line)
            self._news.notify_all()

    def tell(self, *lines: str) -> list[str]:
        """Say lines and return the answers to them once nothing thinks any more."""
        begin = len(self.said)
        for line in lines:
            assert self.engine.hear(line)
        thread = self.engine._thinks
        if thread is not None:
            thread.join(20)
        return self.said[begin:]

    def wait(self, text: str) -> str:
        """Return the first line that begins with a text."""

        def found() -> str:
            return next((line for line in self.said if line.startswith(text)), "")

        with self._news:
            assert self._news.wait_for(lambda: bool(found()), 20), self.said
            return found()


@pytest.fixture
def talk() -> Iterator[Talk]:
    found = Talk()
    yield found
    found.engine.close()


def best(lines: Sequence[str]) -> str:
    (move,) = [line.split()[1] for line in lines if line.startswith("bestmove")]
    return move


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chess.engine.SimpleEngine]:
    run = run_folder(tmp_path_factory.mktemp("run"))
    engine = chess.engine.SimpleEngine.popen_uci([*COMMAND, str(run)], timeout=60)
    yield engine
    engine.quit()


def test_another_library_plays_a_game_with_it(process: chess.engine.SimpleEngine) -> None:
    assert process.id["name"].startswith("Surpass")
    assert {"Temperature", "TopP", "LegalOnly", "Seed", "MultiPV", "Hash", "Threads"} <= set(process.options)
    process.configure({"Temperature": 100, "Seed": 5})
    board, limit = chess.Board(), chess.engine.Limit
    limits = limit(nodes=1), limit(time=2), limit(white_clock=60, black_clock=60)
    for ply in range(30):
        found = process.play(board, limits[ply % 3], game="one", info=chess.engine.INFO_ALL)
        assert found.move is not None
        assert board.is_legal(found.move)
        assert "score" in found.info
        board.push(found.move)


def test_another_library_analyses_with_it(process: chess.engine.SimpleEngine) -> None:
    board = chess.Board()
    lines = process.analyse(board, chess.engine.Limit(depth=1), multipv=4)
    assert len(lines) == 4
    assert len({line["pv"][0] for line in lines}) == 4
    assert all(0 <= line["wdl"].white().expectation() <= 1 for line in lines)
    with process.analysis(board) as endless:
        time.sleep(0.3)
        endless.stop()
        move = endless.wait().move
        assert move is not None
        assert board.is_legal(move)
    assert process.play(chess.Board(FEN), chess.engine.Limit(nodes=1)).move is not None


def test_uci_is_answered_before_weights_are_read(talk: Talk) -> None:
    assert talk.tell("uci")[-1] == "uciok"
    assert talk.loads == 0
    assert talk.tell("isready") == ["readyok"]
    assert talk.loads == 1
    talk.tell("isready", "go")
    assert talk.loads == 1


def test_an_infinite_search_answers_only_when_stopped(talk: Talk) -> None:
    for go, end in (("go infinite", "stop"), ("go ponder wtime 1 btime 1", "ponderhit")):
        before = len(talk.said)
        assert not any(line.startswith("bestmove") for line in talk.tell("position startpos moves e2e4", go))
        assert talk.tell("isready") == ["readyok"]
        time.sleep(0.1)
        assert not any(line.startswith("bestmove") for line in talk.said[before:])
        assert best(talk.tell(end)) in [move.uci() for move in chess.Board().legal_moves] + _replies()
        assert talk.tell("stop", "ponderhit") == []  # once is enough


def _replies() -> list[str]:
    board = chess.Board()
    board.push_uci("e2e4")
    return [move.uci() for move in board.legal_moves]


def test_a_second_go_lets_the_first_answer(talk: Talk) -> None:
    answers = talk.tell("go infinite", "go nodes 1")
    assert len([line for line in answers if line.startswith("bestmove")]) == 2


def test_a_model_slower_than_its_clock_gives_way_once() -> None:
    told = threading.Event()

    class Slow(ModelPlayer):
        def propose(self, *args: object, **keywords: object) -> list[list[object]]:  # type: ignore[override]
            told.wait(60)
            return super().propose(*args, **keywords)  # type: ignore[arg-type,return-value]

    for lines in (("go movetime 150",), ("go ponder wtime 150 btime 1", "ponderhit")):
        talk = Talk(Slow(network(MOVES.size), MOVES))
        told.clear()
        for line in lines:
            time.sleep(0.2 * (line == "ponderhit"))  # what is spent before it is not the clock's
            talk.engine.hear(line)
        talk.wait("bestmove")  # while the model still thinks
        told.set()
        talk.tell("isready")
        assert len([line for line in talk.said if line.startswith("bestmove")]) == 1
        assert "time is up" in talk.wait("info string time")
        talk.engine.close()
        assert talk.said[-1] == "readyok"  # no word of a move that came too late


def test_draws_depend_on_seed_game_and_ply_alone(talk: Talk) -> None:
    def move(*lines: str) -> str:
        return best(talk.tell("setoption name Temperature value 100", *lines, "position startpos", "go nodes 1"))

    first = [move(f"setoption name Seed value {seed}") for seed in range(12)]
    assert first == [move(f"setoption name Seed value {seed}") for seed in range(12)]
    assert len(set(first)) > 3
    assert len({move("ucinewgame") for _ in range(12)}) > 3  # games differ
    greedy = {best(talk.tell("setoption name Temperature value 0", "ucinewgame", "go")) for _ in range(4)}
    assert len(greedy) == 1


def test_a_model_trained_with_ratings_is_told_one(talk: Talk) -> None:
    assert not any("UCI_Elo" in line for line in talk.tell("uci"))
    vocabulary = Moves(strength=True)
    rated = Talk(ModelPlayer(network(vocabulary.size), vocabulary))
    rated.engine = Engine(rated._load, rated._say, rated=True)
    assert "option name UCI_Elo type spin default 1500 min 400 max 3200" in rated.tell("uci")

    def chances(*lines: str) -> list[str]:
        return [
            line.split()[-1] for line in rated.tell("setoption name MultiPV value 5", *lines, "go") if " pv " in line
        ]

    unknown = chances()
    low = chances("setoption name UCI_LimitStrength value true", "setoption name UCI_Elo value 800")
    high = chances("setoption name UCI_Elo value 2400")
    assert len({tuple(one) for one in (unknown, low, high)}) == 3
    assert chances("setoption name UCI_LimitStrength value false") == unknown
    assert chances("setoption name UCI_LimitStrength value true", "setoption name UCI_Elo value 800") == low
    assert chances("setoption name UCI_Elo value 99999") == low
    assert rated.loads == 1


@pytest.mark.stockfish
def test_a_match_through_uci_against_stockfish_has_no_illegal_move(tmp_path: Path) -> None:
    """The engine as a process, untrained, in our own arena; Stockfish under a limit of nodes; paired openings."""
    engine = shlex.join([*COMMAND, str(run_folder(tmp_path / "run"))])
    players = (f"ours=engine:{engine},nodes=1,Temperature=100", "sf=engine:stockfish,nodes=20,Threads=1,Skill Level=0")
    asked = MatchOptions(player=players, games=2, out=tmp_path / "m", max_plies=120, live=2)
    with ExitStack() as stack:
        found = Match.open(asked, ["ours", "sf"])
        found.play([player(spec, stack, deadline=250) for spec in players])
    assert len(found.record) == 2
    assert all(one.illegal == (0, 0) and one.result != "*" for one in found.record.values())
    ours, theirs = sorted(found.standing().lines, key=lambda line: line.name)
    assert ours.score < theirs.score


def test_searchmoves_and_ends(talk: Talk) -> None:
    assert best(talk.tell("position startpos", "go searchmoves a2a3 h2h4 nodes 1")) in ("a2a3", "h2h4")
    assert best(talk.tell("position startpos moves f2f3 e7e5 g2g4 d8h4", "go movetime 10")) == "(none)"


def test_a_fen_is_played_and_said_to_have_no_history(talk: Talk) -> None:
    answers = talk.tell(f"position fen {FEN} moves e2e4 e8e7", "go nodes 1")
    assert any("no history" in line for line in answers)
    board = chess.Board(FEN)
    board.push_uci("e2e4")
    board.push_uci("e8e7")
    assert board.is_legal(chess.Move.from_uci(best(answers)))
    assert not any("no history" in line for line in talk.tell(f"position fen {chess.STARTING_FEN} moves e2e4", "go"))


def test_win_estimates_are_what_the_model_would_write_of_the_result(talk: Talk) -> None:
    (line,) = [one for one in talk.tell("position startpos moves e2e4", "go") if " pv " in one]
    words = line.split()
    win, draw, loss = (int(word) for word in words[words.index("wdl") + 1 :][:3])
    assert win + draw + loss == 1000
    player = ModelPlayer(network(MOVES.size), MOVES)
    move = words[words.index("pv") + 1]
    position = read_position(["startpos", "moves", "e2e4", move])
    assert position is not None
    ((white, _, black),) = player.results([position.observe(position.board())])
    assert (win, loss) == (round(1000 * black), round(1000 * white))  # for Black, who moved
    expected = (win + draw / 2) / 1000
    centipawns = int(words[words.index("cp") + 1])
    assert centipawns == pytest.approx(400 * math.log10(expected / (1 - expected)), abs=2)


@pytest.mark.parametrize("kind", ["moves", "characters"])
def test_raw_draws_end_in_a_legal_move_all_the_same(kind: str) -> None:
    letters = CharacterPlayer(network(CHARACTERS.size), CHARACTERS)
    talk = Talk(letters if kind == "characters" else None)
    answers = talk.tell("setoption name LegalOnly value false", "setoption name Temperature value 300", "go nodes 1")
    assert chess.Board().is_legal(chess.Move.from_uci(best(answers)))
    assert any("draws were illegal" in line for line in answers)


def test_a_model_that_fails_is_told_and_a_legal_move_played() -> None:
    talk = Talk()

    def broken() -> ModelPlayer:
        raise ModelError("no\nweights")

    talk.engine = Engine(broken, talk._say)
    assert talk.tell("isready") == ["info string ModelError: no weights", "readyok"]
    answers = talk.tell("go nodes 1")
    assert best(answers) in [move.uci() for move in chess.Board().legal_moves]
    assert "info string ModelError: no weights" in answers


PHRASE = """uci isready setoption name value Temperature TopP LegalOnly MultiPV Seed Hash position startpos fen moves
e2e4 e7e5 e1g1 a7a8q 0000 go infinite ponder movetime wtime btime searchmoves nodes -1 0 1 99999999999999999999 true nan
stop ponderhit ucinewgame debug register later on off joho \x00 ∀ 4k3/8/8/8/8/8/8/4K3 w - KQkq"""
WORDS = st.sampled_from(PHRASE.split())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.lists(WORDS, max_size=8).map(" ".join), st.text(max_size=30)), max_size=6))
def test_no_line_breaks_it(lines: list[str]) -> None:
    talk = Talk()
    for line in lines:
        if "quit" not in line:
            assert talk.engine.hear(line)
    talk.engine.close()
    assert talk.tell("stop", "isready")[-1] == "readyok"
    before = len(talk.said)
    talk.tell("setoption name MultiPV value 1", "go nodes 1")
    legal_moves = [move.uci() for move in talk.engine.position.board().legal_moves] or ["(none)"]
    assert best(talk.said[before:]) in legal_moves


@given(st.lists(WORDS, max_size=10))
def test_readers_take_any_words(words: list[str]) -> None:
    position, go, option = read_position(words), read_go(words), read_option(words)
    assert position is None or position.board().is_valid()
    assert go.movetime is None or isinstance(go.movetime, int)
    if option is not None:
        one = changed(Settings(), *option)
        assert 0 <= one.temperature <= 1000
        assert 1 <= one.top_p <= 100
        assert 1 <= one.multi_pv <= 256


@pytest.mark.parametrize("clock", ["99999999999999999999", "999999999999", "--5", "-5", "٣", "1e3", "9" * 5000])
def test_no_clock_breaks_it(talk: Talk, clock: str) -> None:
    for go in (f"go movetime {clock}", f"go wtime {clock} btime {clock}"):
        assert best(talk.tell(go)) in [move.uci() for move in chess.Board().legal_moves]


def test_positions_as_guis_send_them() -> None:
    assert read_position(["startpos", "moves", "e2e4", "e7e5"]) == Position("", ("e2e4", "e7e5"))
    assert read_position(f"fen {chess.STARTING_FEN} moves e2e4".split()) == Position("", ("e2e4",))
    assert read_position(["startpos", "moves", "e2e4", "e2e4", "e7e5"]) == Position("", ("e2e4",))
    for bad in ("", "moves e2e4", "fen", "fen 8/8/8/8/8/8/8/8 w - - 0 1", "fen nonsense w"):
        assert read_position(bad.split()) in (None, Position())


def test_a_null_move_begins_a_position_without_history(talk: Talk) -> None:
    answers = talk.tell("position startpos moves e2e4 0000 d2d4", "go nodes 1")
    board = chess.Board()
    for move in ("e2e4", "0000", "d2d4"):
        board.push_uci(move)
    assert board.is_legal(chess.Move.from_uci(best(answers)))
    assert any("no history" in line for line in answers)
    assert not any("gave no move" in line for line in answers)
    assert read_position(["startpos", "moves", "f2f4", "e7e6", "g2g4", "d8h4", "0000", "a2a3"]) == read_position(
        ["startpos", "moves", "f2f4", "e7e6", "g2g4", "d8h4"]
    )  # mated: nobody passes in check


def test_the_process_ends_at_quit_and_at_the_end_of_its_input(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")

    def spoken(folder: Path, words: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*COMMAND, str(folder)], input=words, capture_output=True, timeout=60, check=False)

    for words in (b"\xff\xfe\nposition fen \xe9\nuci\nquit\n", b"uci\n"):
        done = spoken(run, words)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.endswith(b"uciok\n")
    done = spoken(tmp_path / "none", b"uci\n")
    assert done.returncode == 2
    assert b"run folder" in done.stderr
