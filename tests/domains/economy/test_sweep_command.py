"""The command that sweeps: what it keeps, that it goes on, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from surpass import cli
from surpass.domains.economy.societies import SOCIETIES, society_of
from surpass.domains.economy.sweep_command import SweepOptions, sweep
from surpass.errors import ConfigError

WORDS = [
    "economy",
    "sweep",
    "--society",
    "escape_room",
    "--seeds",
    "1",
    "--policies",
    "2 2 2 0 0; 0 0 0 0 0; 1 1 1 1 1",
]


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep.jsonl"
    assert cli.main([*WORDS, "--out", str(out), "--top", "1"]) == 0
    shown = capsys.readouterr().out
    assert "0, 0, 0, 0, 0" in shown, "the lowest rates are always told"
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 4
    out.write_bytes(b"".join(lines[:2]) + lines[2][:30])  # torn in its second policy
    assert cli.main([*WORDS, "--out", str(out), "--top", "1"]) == 0
    assert out.read_bytes() == whole
    assert capsys.readouterr().out == shown
    out.write_bytes(lines[0][:30])  # torn in its first line
    assert cli.main([*WORDS, "--out", str(out), "--top", "1"]) == 0
    assert out.read_bytes() == whole
    assert capsys.readouterr().out == shown
    assert cli.main([*WORDS, "--out", str(out), "--first-seed", "1"]) == 2
    assert "another sweep" in capsys.readouterr().err
    assert out.read_bytes() == whole
    for text in (
        b"\x00\n",
        b"a note without a line end",
        b'{"society": "harvest"}',
        b"[1]\n",
        lines[0] + b"{}\n",
        lines[0] + lines[2],
    ):
        out.write_bytes(text)
        assert cli.main([*WORDS, "--out", str(out)]) == 2
        assert "--out" in capsys.readouterr().err
        assert out.read_bytes() == text


def test_an_interrupted_sweep_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("surpass.domains.economy.sweep_command.grid", interrupted)
    assert cli.main([*WORDS, "--out", str(tmp_path / "sweep.jsonl")]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_a_whole_sweep_plays_nothing(tmp_path: Path) -> None:
    options = SweepOptions("escape_room", policies="0 0 0 0 0", seeds=2, out=tmp_path / "sweep.jsonl")
    (point,) = sweep(options)
    assert point.metrics[1] == society_of("escape_room").step((0.0,) * 5, seed=1)
    assert sweep(options) == (point,)


def test_what_cannot_be_swept_is_refused_by_name(tmp_path: Path) -> None:
    out = tmp_path / "none.jsonl"
    with pytest.raises(ConfigError, match="harvest, cleanup, escape_room, found 'fishery'"):
        sweep(SweepOptions("fishery", out=out))
    with pytest.raises(ConfigError, match="policies: lever 1: expected a number from 0 to 5, found 9"):
        sweep(SweepOptions("escape_room", policies="9 0 0 0 0", out=out))
    with pytest.raises(ConfigError, match="policies: expected 5 numbers"):
        sweep(SweepOptions("escape_room", policies="1;", out=out))
    for field in ("values", "seeds", "batch", "top"):
        with pytest.raises(ConfigError, match=field):
            SweepOptions(**{field: 0})  # type: ignore[arg-type]
    assert not out.exists()
    assert list(SOCIETIES) == ["harvest", "cleanup", "escape_room"]
