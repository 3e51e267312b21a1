"""The command that draws curves: they are those of the society, played once, and what cannot be is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surpass import cli
from surpass.domains.economy import societies
from surpass.domains.economy.curves_command import CurvesOptions, curves
from surpass.domains.economy.learning import LearningCommons, load_core
from surpass.domains.economy.rules import rules_of
from surpass.errors import ConfigError

SHORT = LearningCommons(replace(rules_of("harvest"), length=40), load_core(), episodes=1)
WORDS = ["economy", "curves", "--policies", "0 0 0; 0.5 0 1", "--seeds", "2", "--first-seed", "5"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(societies.SOCIETIES, "harvest", lambda: SHORT)


def test_curves_are_those_of_the_society(tmp_path: Path) -> None:
    run = curves(CurvesOptions(policies="0.5 0 1", seeds=2, first_seed=5, out=tmp_path / "curves"))
    terms = SHORT.steps([(0.5, 0.0, 1.0)] * 2, [5, 6])
    welfare, apples = (figure["lines"]["0.5, 0, 1"] for figure in run.summary()["figures"])
    for index, seed in enumerate(("5", "6")):
        assert welfare[seed] == [[1, terms.welfare[0, index]], [2, terms.welfare[1, index]]]
        assert apples[seed] == [[step, terms.apples[1, step - 1, index]] for step in (10, 20, 30, 40)]
    row = run.summary()["arms"]["0.5, 0, 1"]
    assert row["welfare"]["mean"] == pytest.approx(terms.welfare[1].mean())
    assert row["apples after 20 steps"]["mean"] == pytest.approx(np.mean(terms.apples[1, 19]))
    for name in ("welfare", "apples"):
        assert (run.path / f"{name}.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_policy_is_played_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ["--out", str(tmp_path / "curves")]
    assert cli.main([*WORDS, *out]) == 0
    shown, told = capsys.readouterr().out, (tmp_path / "curves" / "summary.json").read_bytes()
    assert "0.5, 0, 1" in shown
    (tmp_path / "curves" / "policies" / "1" / "summary.json").unlink()  # interrupted in the second policy
    played = list[int]()
    steps = LearningCommons.steps
    monkeypatch.setattr(LearningCommons, "steps", lambda *asked: played.append(1) or steps(*asked))  # type: ignore[func-returns-value]
    assert cli.main([*WORDS, *out]) == 0
    assert len(played) == 1
    assert capsys.readouterr().out == shown
    assert (tmp_path / "curves" / "summary.json").read_bytes() == told
    assert cli.main([*WORDS, *out, "--seeds", "3"]) == 2
    assert "seeds differ" in capsys.readouterr().err
    monkeypatch.setattr(LearningCommons, "steps", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main([*WORDS, "--out", str(tmp_path / "other")]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_what_cannot_be_drawn_is_refused_by_name(tmp_path: Path) -> None:
    out = tmp_path / "none"
    for options, message in (
        (CurvesOptions("escape_room", out=out), "society: expected harvest or cleanup"),
        (CurvesOptions("fishery", out=out), "society: expected one of"),
        (CurvesOptions(policies="0 0 2", out=out), "policies: high income: expected a number from 0 to 1, found 2"),
        (CurvesOptions(policies="0 0 nan", out=out), "policies: expected 3 numbers"),
        (CurvesOptions(policies="0 0 0.5; 0 0 0.50001", out=out), "policies: expected some that differ"),
    ):
        with pytest.raises(ConfigError, match=message):
            curves(options)
    for field, value in (("seeds", 0), ("first_seed", -1)):
        with pytest.raises(ConfigError, match=field):
            CurvesOptions(**{field: value})  # type: ignore[arg-type]
    assert not out.exists()
