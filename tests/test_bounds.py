"""No command takes a senseless number silently."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from surpass import cli
from surpass.bounds import above, at_least, plausible
from surpass.errors import ConfigError
from surpass.experiments import EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_presets_are_plausible(name: str) -> None:
    for preset in cli.load(EXPERIMENTS[name]).PRESETS.values():
        plausible(preset)


@dataclass(frozen=True)
class Inner:
    sprt: tuple[float, float] | None = None
    floor: float = -5.0


@dataclass(frozen=True)
class Outer:
    needed: float
    inner: Inner = Inner()
    seeds: tuple[int, ...] = (0, 1)
    rate: float = 0.1
    never: float = math.inf


def test_numbers_are_finite_and_negative_only_where_that_is_usual() -> None:
    plausible(Outer(-1, Inner((-5.0, 0.0), -8.0), (7,)))
    for wrong in (
        *(Outer(number) for number in (math.nan, math.inf, -math.inf)),
        *(Outer(0, rate=number) for number in (math.nan, math.inf, -0.1)),
        Outer(0, never=math.nan),
        Outer(0, seeds=(0, -1)),
        Outer(0, Inner(floor=math.nan)),
        Outer(0, Inner((math.nan, 1.0))),
    ):
        with pytest.raises(ConfigError, match=r"(needed|rate|never|seeds|floor|sprt): expected"):
            plausible(wrong)


def test_bounds_name_the_field_and_what_was_found() -> None:
    given = SimpleNamespace(jobs=0, seconds=math.nan, seeds=(0, -1), none=None, empty=())
    with pytest.raises(ConfigError, match="jobs: expected 1 or more, found 0"):
        at_least(given, none=1, jobs=1)
    with pytest.raises(ConfigError, match=r"seeds: expected 0 or more, found \(0, -1\)"):
        at_least(given, seeds=0)
    with pytest.raises(ConfigError, match="empty: expected 0 or more"):
        at_least(given, empty=0)
    for bad in (math.nan, math.inf, 0.0):
        with pytest.raises(ConfigError, match="seconds: expected a number above 0"):
            above(SimpleNamespace(seconds=bad, none=None), none=0, seconds=0)
    at_least(given, jobs=0)


@pytest.mark.parametrize(
    "words",
    [
        ["prove", "A.v", "--seconds", "-1"],
        ["prove", "A.v", "--seconds", "nan"],
        ["prove", "A.v", "--width", "0"],
        ["proofs", "extract", "--path", "A.v", "--out", "out", "--jobs", "0"],
        ["proofs", "extract", "--path", "A.v", "--out", "out", "--limit", "-1"],
        ["proofs", "extract", "--path", "A.v", "--out", "out", "--deadline", "nan"],
        ["proofs", "extract", "--path", "A.v", "--out", "out", "--name", "a b"],
        ["proofs", "coverage", "A.v", "--jobs", "0"],
        ["proofs", "coverage", "A.v", "--timeout", "0"],
        ["proofs", "premises", "corpus", "--jobs", "-1"],
        ["run", "policymakers", "--seeds", "-1"],
        ["run", "preferences", "--beta", "nan"],
        ["chess", "match", "--player", "random", "--player", "b=random", "--out", "out", "--games", "0"],
        ["bench", "soak", "--workers", "0"],
    ],
)
def test_on_the_command_line_it_is_a_message(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "A.v").touch()
    with pytest.raises(SystemExit, match=r"^2$"):  # by tyro, or by us
        sys.exit(cli.main(words))
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{words[-2].removeprefix('--')}: expected" in told.err
    assert "internal error" not in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["A.v"]
