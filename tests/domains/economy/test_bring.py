"""Societies of one's own: what works, and what fails in every way that a program can."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pettingzoo.utils import parallel_to_aec

from surpass.core import Status, Verdict, replay
from surpass.domains.economy.bring import from_function, from_pettingzoo, from_program
from surpass.domains.economy.domain import Policymaking
from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.parallel import RoomEnv
from surpass.domains.economy.society import Metrics, Society, SocietyError, surface
from surpass.errors import ConfigError
from tests.test_readme import ROOT, blocks

TAX = {"tax": (0.0, 1.0)}


def program(code: str, timeout: float = 20.0) -> Society:
    return from_program([sys.executable, "-c", f"import json, os, sys, time\n{code}"], TAX, timeout=timeout)


def judged(society: Society, action: str = "0.5") -> Verdict:
    domain = Policymaking({"mine": society}, terms=1)
    return replay(domain, next(iter(domain.problems("train"))), [action]).verdict


@pytest.mark.parametrize("index", range(4))
def test_the_howto_runs(index: int, capsys: pytest.CaptureFixture[str]) -> None:
    code = blocks(ROOT / "docs" / "howto-economy.md", "python")[index]
    exec(compile(code, "howto-economy.md", "exec"), {"__name__": "howto"})
    told = capsys.readouterr().out
    assert "unknown" not in told
    if index == 0:
        returns, text = told.split("\n", 1)
        assert 0 < float(returns.strip("(),")) < 100
        assert "2. 0.5 -> welfare" in text
    if index == 2:
        assert "(0.21875,)" in told, "the mean of 0.25 * 0.75 and 0.25"
    if index == 3:
        found = [float(rate) for rate in told.strip("()\n").split(",")]
        assert np.abs(np.subtract(found, surface(0).best)).mean() < 0.25, "nearer than chance"


def test_the_howto_shows_each_way_in_under_20_lines() -> None:
    for code in blocks(ROOT / "docs" / "howto-economy.md", "python"):
        said = [line for line in code.splitlines() if line.strip() and not line.startswith(("from ", "print"))]
        assert len(said) < 20


def test_a_function_may_tell_a_number_or_a_mapping() -> None:
    society = from_function(lambda rates, seed: rates["tax"] + seed, TAX)
    assert society.step([0.25], seed=3) == Metrics(3.25)
    society = from_function(lambda rates, seed: {"welfare": 1, "gini": 0.5, "words": "calm"}, TAX)
    assert society.step([0.25], seed=3) == Metrics(1.0, (("gini", 0.5),), "calm")
    assert judged(society).returns == (1.0,)
    society = from_function(lambda rates, seed: {"welfare": np.float32(1), "gini\nof all": 0}, TAX)
    assert society.step([0.25], seed=3) == Metrics(1.0, (("gini of all", 0.0),)), "a name is told in one line"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (math.nan, "welfare: expected a finite number, found nan"),
        ({"welfare": 1, "gini": math.inf}, "gini: expected a finite number"),
        ({"gini": 1}, "expected a 'welfare'"),
        ({}, "expected a 'welfare', found nothing"),
        (None, "found None"),
        ("1", "found 1"),
        ({"welfare": True}, "found True"),
        ({"welfare": 1, "incomes": np.array([1.0, 2.0])}, "incomes: expected a finite number, found [1. 2.]"),
        ({"welfare": torch.ones(2)}, "welfare: expected a finite number, found tensor"),
        ({"welfare": 10**400}, "welfare: expected a finite number, found 1000"),
        ({"welfare": 10**5000}, "welfare: expected a finite number, found a whole number of thousands"),
    ],
)
def test_a_function_that_tells_no_numbers_is_unknown(told: object, reason: str) -> None:
    verdict = judged(from_function(lambda rates, seed: told, TAX))
    assert (verdict.status, verdict.returns) == (Status.UNKNOWN, ())
    assert reason in verdict.evidence


def test_a_function_that_raises_is_unknown() -> None:
    def broken(rates: dict[str, float], seed: int) -> float:
        return 1 / (rates["tax"] - 0.5)

    assert judged(from_function(broken, TAX)).status is Status.UNKNOWN
    assert "broken raised ZeroDivisionError" in judged(from_function(broken, TAX)).evidence
    assert judged(from_function(broken, TAX), "0.75").returns == (4.0,)


def test_a_program_reads_rates_and_prints_metrics() -> None:
    society = program("told = json.load(sys.stdin); print(json.dumps({'welfare': told['rates']['tax'] * 2, **told}))")
    with pytest.raises(SocietyError, match="rates: expected a finite number"):
        society.step([0.5], seed=7)
    society = program(
        "told = json.load(sys.stdin); print(json.dumps({'welfare': told['rates']['tax'], 's': told['seed']}))"
    )
    assert society.step([0.5], seed=7) == Metrics(0.5, (("s", 7.0),))
    assert judged(society).status is Status.ACCEPTED


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit(3)", "ended with 3: it said nothing"),
        ("raise ValueError('no model')", "no model"),
        ("os.kill(os.getpid(), 9)", "ended with -9"),
        ("print('hello')", "expected a JSON object and nothing else, found 'hello"),
        ("", "expected a JSON object and nothing else, found ''"),
        ("print('loading'); print('{\"welfare\": 1}')", "nothing else, found 'loading"),
        ("print('[[\"welfare\", 1]]')", "expected a JSON object"),
        ("print('{\"welfare\": 1' + '0' * 400 + '}')", "welfare: expected a finite number, found 1000"),
        ("print('[1]')", "expected a JSON object"),
        ("print('{\"welfare\": NaN}')", "expected a finite number, found nan"),
        ("print('{\"welfare\": 1e999}')", "found inf"),
        ('print(\'{"welfare": "3"}\')', "found 3"),
        ("sys.stdout.buffer.write(bytes(range(256)))", "expected a JSON object"),
        ('print(\'{"welfare": 1}{"welfare": 2}\')', "expected a JSON object"),
        ("os.close(0); sys.exit(1)", "ended with 1"),
    ],
)
def test_a_program_that_fails_is_unknown_with_the_reason(code: str, reason: str) -> None:
    verdict = judged(program(code))
    assert (verdict.status, verdict.returns) == (Status.UNKNOWN, ())
    assert reason in verdict.evidence


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    note = str(tmp_path / "pid")
    code = f"import subprocess\nopen({note!r}, 'w').write(str(subprocess.Popen(['sleep', '1000']).pid))\n"
    start = time.monotonic()
    verdict = judged(program(f"{code}time.sleep(1000)", timeout=4))
    assert time.monotonic() - start < 100
    assert "did not end within 4 s" in verdict.evidence
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_child_that_holds_the_pipes_holds_nobody_up(tmp_path: Path) -> None:
    code = "import subprocess\nprint('{\"welfare\": 1}', flush=True)\nsubprocess.Popen(['sleep', '1000'])"
    start = time.monotonic()
    assert judged(program(code)).returns == (1.0,)
    assert time.monotonic() - start < 100


def test_a_program_that_prints_without_end_is_stopped() -> None:
    verdict = judged(program("while True: print('x' * 10000)"))
    assert "printed more than" in verdict.evidence
    verdict = judged(program("for _ in range(500): print('x' * 10000, file=sys.stderr)\nprint('{\"welfare\": 1}')"))
    assert verdict.returns == (1.0,), "a long log is no trouble"


def test_a_program_that_is_not_there() -> None:
    for name in ("/nowhere/model", "/tmp", "no\0name"):
        verdict = judged(from_program([name], TAX))
        assert verdict.status is Status.UNKNOWN
        assert "cannot be started" in verdict.evidence


def test_rates_that_the_society_does_not_have_never_reach_it() -> None:
    society = from_function(lambda rates, seed: 1 / 0, TAX)
    assert judged(society, "2").status is Status.REJECTED
    with pytest.raises(ConfigError, match="tax: expected a number from 0 to 1, found 2"):
        society.step([2], seed=0)
    with pytest.raises(ConfigError, match="found nan"):
        society.step([math.nan], seed=0)
    for wrong in ([], [0.1, 0.2], 0.5, "0.5", [None], ["half"]):
        with pytest.raises(ConfigError, match=r"rates: expected 1 numbers \(tax\), found"):
            society.step(wrong, seed=0)  # type: ignore[arg-type]


def test_what_cannot_be_brought_is_refused_by_name() -> None:
    def none(rates: dict[str, float], seed: int) -> float:
        return 0.0

    makers: list[tuple[Callable[[], Society], str]] = [
        (lambda: from_program("model --fast", TAX), "command"),
        (lambda: from_program([], TAX), "command"),
        (lambda: from_program(["model", 3], TAX), "command"),  # type: ignore[list-item]
        (lambda: from_program(["model"], TAX, timeout=0), "timeout"),
        (lambda: from_program(["model"], TAX, timeout=math.nan), "timeout"),
        (lambda: from_function(none, {}), "rates"),
        (lambda: from_function(none, {"tax": (1, 0)}), "tax"),
        (lambda: from_function(none, {"tax": (-1e308, 1e308)}), "tax"),
        (lambda: from_function(none, {"tax": (0, math.inf)}), "tax"),
        (lambda: from_function(none, {"tax": (math.nan, 1)}), "tax"),
        (lambda: from_function(none, {"tax": 1}), "tax: expected two numbers, .* found 1"),  # type: ignore[dict-item]
        (lambda: from_function(none, {"tax": (0, 1, 2)}), "tax: expected two numbers"),  # type: ignore[dict-item]
        (lambda: from_function(none, {"tax": ("0", "high")}), "tax: expected two numbers"),  # type: ignore[dict-item]
        (lambda: from_pettingzoo(dict, TAX, print, episodes=0), "episodes"),
    ]
    for make, names in makers:
        with pytest.raises(ConfigError, match=names):
            make()


def test_pettingzoo_agents_answer_to_rates() -> None:
    """Agents that go where they are paid most: to the live lever, or out of the door."""

    def apply(env: RoomEnv, rates: dict[str, float]) -> None:
        env.rates = tuple(rates.values())

    def act(agent: str, observation: Any, seed: int) -> int:
        return 1 if agent in ("player_0", "player_1") else 3

    ranges = {f"place {index}": (0.0, 5.0) for index in range(5)}
    society = from_pettingzoo(lambda: RoomEnv(RoomRules(live=1)), ranges, apply, act=act, earned="raw")
    assert society.step([0, 2, 0, 0, 0], seed=1).welfare == 140 / 5
    net = from_pettingzoo(lambda: RoomEnv(RoomRules(live=1)), ranges, apply, act=act, episodes=2)
    metrics = net.step([0, 2, 0, 0, 0], seed=1)
    assert metrics.welfare == (140 + 20) / 5
    assert dict(metrics.values) == {"lowest": 5, "highest": 50, "gini": pytest.approx(0.3375)}
    random = from_pettingzoo(lambda: RoomEnv(RoomRules(live=1)), ranges, apply, earned="raw", steps=2)
    assert random.step([0] * 5, seed=1) == random.step([0] * 5, seed=1) != random.step([0] * 5, seed=2)


def test_what_is_no_parallel_environment_says_so() -> None:
    ranges = {f"place {index}": (0.0, 5.0) for index in range(5)}
    turns = from_pettingzoo(lambda: parallel_to_aec(RoomEnv(RoomRules())), ranges, lambda env, rates: None)
    with pytest.raises(SocietyError, match="the environment raised TypeError: expected a parallel environment"):
        turns.step([0] * 5, seed=0)
    society = from_pettingzoo(lambda: RoomEnv(RoomRules()), ranges, lambda env, rates: None, earned="income")
    with pytest.raises(SocietyError, match=r"expected 'income' in the infos of player_0, found \['raw', 'paid'"):
        society.step([0] * 5, seed=0)


def gone(pid: int) -> bool:
    for _ in range(50):
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        if not state or state.startswith("Z"):
            return True
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    return False
