"""Pre-training in a few steps: it learns, resumes to the same weights, and overwrites nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surpass.domains.economy.principals.in_context import pretraining
from surpass.domains.economy.principals.in_context.model import Policymaker
from surpass.domains.economy.principals.in_context.pretraining import PolicymakerOptions, pretrain, pretrain_command
from surpass.errors import ConfigError, DataError
from surpass.objectives.batch import Metrics
from surpass.store import Run


def options(folder: Path) -> PolicymakerOptions:
    return PolicymakerOptions(
        folder / "weights.safetensors", folder / "run", histories=6, steps=6, batch=3, tests=2, evaluate_every=2
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[PolicymakerOptions, Policymaker]:
    chosen = options(tmp_path_factory.mktemp("whole"))
    return chosen, pretrain(chosen)


def test_likelihood_rises(whole: tuple[PolicymakerOptions, Policymaker]) -> None:
    rows = Run.open(whole[0].run).metrics()
    assert len(rows) == 6
    assert rows[-1]["nll_per_token"] < rows[0]["nll_per_token"] - 0.05
    assert rows[-1]["eval/learned_best"] < rows[1]["eval/learned_best"]
    assert {"eval/held_out_next", "eval/held_out_best", "eval/learned_next"} <= set(rows[-1])


def test_an_interrupted_run_ends_in_the_same_weights(
    whole: tuple[PolicymakerOptions, Policymaker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, evaluate = options(tmp_path), pretraining._evaluate

    def stops(model: Policymaker, tests: object, step: int) -> Metrics:
        if step == 4:
            raise KeyboardInterrupt
        return evaluate(model, tests, step)  # type: ignore[arg-type]

    monkeypatch.setattr(pretraining, "_evaluate", stops)
    with pytest.raises(KeyboardInterrupt):
        pretrain(chosen)
    monkeypatch.setattr(pretraining, "_evaluate", evaluate)
    resumed = pretrain(chosen).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole[1].state_dict().items())
    with pytest.raises(ConfigError, match="a run of other options: seed differ"):
        pretrain(replace(chosen, seed=1))


def test_the_command_writes_a_file_once(
    whole: tuple[PolicymakerOptions, Policymaker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = whole[0]
    assert pretrain_command(chosen) == 0  # the run has ended: only the file is missing
    assert "weights" in capsys.readouterr().out
    loaded = Policymaker.load(chosen.out).state_dict()
    assert all(torch.equal(loaded[name], value.half().float()) for name, value in whole[1].state_dict().items())
    with pytest.raises(DataError, match="exists already"):
        pretrain_command(chosen)
    with pytest.raises(DataError, match="is no folder"):
        pretrain_command(replace(chosen, out=tmp_path / "missing" / "weights"))


def test_numbers_that_cannot_be() -> None:
    for name in ("histories", "steps", "batch", "tests", "evaluate_every"):
        with pytest.raises(ConfigError, match=f"{name}: expected 1 or more, found 0"):
            PolicymakerOptions(**{name: 0})  # type: ignore[arg-type]
    for rate in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="learning_rate: expected a number above 0"):
            PolicymakerOptions(learning_rate=rate)
