"""The experiment in its tiny preset, its student against the optimum, and the same numbers after an interruption."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from surpass.cli import main as command_line
from surpass.errors import ConfigError
from surpass.experiments.linear_experts import PRESETS, fitted, main, measured
from surpass.store import Run

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "run")


def test_noise_is_voted_away_and_a_mean_beats_nobody(finished: Path) -> None:
    arms = Run.open(finished).summary()["arms"]
    clean, noisy = arms["noise 0"], arms["noise 2"]
    assert clean["best"] == clean["mean"] == 1.0
    assert noisy["best"] < 0.6
    assert noisy["student greedy - best"][1] > 0  # the interval, over two seeds
    at = list(TINY.temperatures)
    for arm in arms.values():
        for means in (arm["mixture"]["powers"], arm["mixture"]["exponentials"]):
            coldest, low, high = means[0]
            assert coldest == pytest.approx(arm["vote - best"][0])
            assert low <= coldest <= high
        assert arm["mixture"]["powers"][at.index(1.0)][0] <= 0  # proposition 1
        assert arm["student"]["powers"][0][0] == pytest.approx(arm["student greedy - best"][0], abs=2e-3)
    assert noisy["mixture"]["powers"][at.index(1.0)][0] == pytest.approx(noisy["mean"] - noisy["best"])


def test_the_figure_is_a_drawing_with_a_line_for_each_noise(finished: Path) -> None:
    root = ElementTree.parse(finished / "figure.svg").getroot()
    names = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"noise 0", "noise 2"} <= set(names)
    lines = [one for one in root.iter("{http://www.w3.org/2000/svg}polyline") if "mean" in one.attrib["class"]]
    assert len(lines) == 2


def test_the_report_shows_the_figure(finished: Path) -> None:
    assert command_line(["report", str(finished)]) == 0
    assert "log10 temperature" in (finished / "report.html").read_text()


def test_the_student_is_at_its_optimum() -> None:
    """Where the gradient of the loss is zero: by finite differences of the loss written out again."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    found = fitted(x, labels, classes=3, decay=0.1)

    def loss(weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        logits = x @ weights.T
        logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return float(-logp[np.arange(60), labels].mean() + 0.05 * (weights**2).sum())

    for direction in rng.normal(size=(10, 3, 4)):
        assert abs(loss(found + 1e-4 * direction) - loss(found - 1e-4 * direction)) < 1e-8
        assert loss(found + 0.1 * direction) > loss(found)


def test_equal_seeds_share_inputs_and_targets_between_noises() -> None:
    small = replace(TINY, experts=1)
    first, again = (measured(small, 2.0, 5) for _ in range(2))
    assert first == again
    assert first != measured(small, 2.0, 6)
    assert first["best"] == first["mean"] == first["vote"]  # of one expert
    assert measured(small, 0.0, 5)["best"] == 1.0


def test_resuming_ends_in_the_same_numbers(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "summary.json").unlink()
    (copy / "parts" / "2-1" / "summary.json").unlink()
    assert command_line(["run", "linear_experts", "--resume", str(copy)]) == 0
    assert Run.open(copy).summary() == Run.open(finished).summary()
    assert command_line(["run", "linear_experts", "--resume", str(copy), "--experts", "7", "--points", "99"]) == 2
    assert "experts, points differ" in " ".join(capsys.readouterr().err.split())
    assert Run.open(copy).summary() == Run.open(finished).summary()


NOT_FINITE: list[dict[str, object]] = [
    {"noises": (0.0, math.nan)},
    {"temperatures": (1.0, math.inf)},
    {"decay": math.nan},
]


@pytest.mark.parametrize(
    "wrong", [{"experts": 0}, {"classes": 1}, {"noises": (-1.0,)}, {"temperatures": (0.0,)}, {"seeds": ()}, *NOT_FINITE]
)
def test_wrong_settings_are_told(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        replace(TINY, **wrong)  # type: ignore[arg-type]
