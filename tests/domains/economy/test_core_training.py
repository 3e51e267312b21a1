"""A core is trained, written and read; an interrupted training ends in the same weights; nothing is overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surpass import cli
from surpass.domains.economy.core_training import PretrainOptions, pretrain
from surpass.domains.economy.learning import load_core
from surpass.errors import ConfigError, ModelError
from surpass.store import Run

FEW = ["economy", "pretrain", "--updates", "3", "--games", "1", "--length", "10", "--policies"]


def options(folder: Path) -> PretrainOptions:
    return PretrainOptions(run=folder, updates=3, games=1, length=10, policies=True)


def test_a_core_is_trained_written_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "core.safetensors"
    words = [*FEW, "--out", str(out), "--run", str(tmp_path / "run")]
    assert cli.main(words) == 0
    assert "update 1: welfare" in capsys.readouterr().out
    again = pretrain(options(tmp_path / "again"))
    assert torch.equal(load_core(out).first.weight, again.first.weight)
    assert [row["step"] for row in Run.open(tmp_path / "run").metrics()] == [1, 2, 3]
    kept, elsewhere = out.read_bytes(), str(tmp_path / "other")
    for more, told in (
        ([], "exists already"),
        (["--out", str(tmp_path / "missing" / "core")], "is no folder"),
        (["--out", elsewhere, "--society", "fishery"], "harvest"),
        (["--out", elsewhere, "--games", "2", "--seed", "1"], "games, seed differ"),
    ):
        assert cli.main([*words, *more]) == 2
        said = capsys.readouterr()
        assert told in said.err
        assert not said.out, "nothing was trained"
    assert out.read_bytes() == kept
    (tmp_path / "none").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="economy pretrain"):
        load_core(tmp_path / "none")


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_an_interrupted_training_ends_in_the_same_weights(stop: int, tmp_path: Path) -> None:
    """Interrupted in its update number `stop`, after it was played and before it was learned from."""
    whole = pretrain(options(tmp_path / "whole")).state_dict()
    part = options(tmp_path / "part")

    def interrupts(update: int, *_: float) -> None:
        if update == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(part, tell=interrupts)
    told = list[int]()
    resumed = pretrain(part, tell=lambda update, *_: told.append(update)).state_dict()
    assert told == list(range(stop, 3))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert Run.open(part.run).metrics() == Run.open(tmp_path / "whole").metrics()


def test_the_command_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("surpass.domains.economy.core_training.pretrain", interrupted)
    assert cli.main([*FEW, "--out", str(tmp_path / "core"), "--run", str(tmp_path / "run")]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_numbers_that_cannot_be() -> None:
    for name in ("updates", "games", "length"):
        with pytest.raises(ConfigError, match=f"{name}: expected 1 or more, found 0"):
            replace(PretrainOptions(), **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lr: expected a number above 0, found nan"):
        PretrainOptions(lr=float("nan"))
