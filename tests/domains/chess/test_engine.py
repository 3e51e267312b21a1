"""Driving engines: what they answer, and each way in which they fail."""

import shlex
import sys
import time
from pathlib import Path

import pytest

from surpass.domains.chess.engine import Engine
from surpass.errors import ConfigError, VerifierError

FAKE = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name('fake_engine.py')))}"


def test_a_move_and_its_score() -> None:
    with Engine(f"{FAKE} chatty", {"skill level": 3}, deadline=20) as engine:
        assert engine.title == "Fake"
        engine.new_game()
        found = engine.think("startpos moves e2e4", "nodes 1")
        assert (found.move, found.centipawns, found.mate) == ("a7a5", None, -2)
        assert engine.think("fen 4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", "nodes 1").move == "e1d1"
    with Engine(f"{FAKE} none", {}, deadline=20) as engine:
        assert engine.think("startpos", "nodes 1").move == ""


@pytest.mark.parametrize(
    ("behaviour", "said"), [("dies", r"died \(exit code 3\)"), ("hangs", "within 1 s"), ("endless", "without end")]
)
def test_a_failing_engine_is_a_verifier_error_and_no_process_stays(behaviour: str, said: str) -> None:
    with Engine(f"{FAKE} {behaviour}", {}, deadline=20) as engine:
        engine.deadline = 1 if behaviour == "hangs" else 20
        began = time.monotonic()
        with pytest.raises(VerifierError, match=said):
            engine.think("startpos", "nodes 1")
        assert time.monotonic() - began < 30
        assert engine._process.poll() is not None
        with pytest.raises(VerifierError):
            engine.think("startpos", "nodes 1")


def test_what_cannot_be_started_or_set() -> None:
    for command in ("no-such-engine", "", "/"):
        with pytest.raises(VerifierError, match="cannot start"):
            Engine(command, {})
    with pytest.raises(ConfigError, match="no option 'Hash'; it has: Skill Level"):
        Engine(FAKE, {"Hash": 1}, deadline=20)
    with pytest.raises(VerifierError, match="did not answer"):
        Engine(f"{FAKE} mute", {}, deadline=0.5)


@pytest.mark.stockfish
def test_stockfish_is_a_function_of_the_position() -> None:
    with Engine("stockfish", {"Threads": 1, "Hash": 1}) as engine:
        found = []
        for _ in range(2):
            engine.new_game()
            found.append(engine.think("startpos moves e2e4 e7e5", "nodes 200"))
            engine.think("startpos moves d2d4", "nodes 500")
        assert found[0] == found[1]
