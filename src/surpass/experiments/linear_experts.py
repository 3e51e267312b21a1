"""Linear experts: when does a linear student of noisy linear experts beat the best of them, by noise and temperature?

The synthetic study of later versions of Transcendence (arXiv 2406.11741): W* [Y, D] and inputs x [D] are standard
normal, the right answer is argmax W*x, and each of K experts answers by argmax (W* + s N)x, N standard normal. A linear
softmax student is fitted to labels of experts drawn uniformly for each input, and answers new inputs at several
temperatures. Reported against the best expert: the student, the exact mixture of the experts, and their vote. The
theory is `evaluation/mixtures.py`; the question and the numbers are in `linear_experts.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from surpass.errors import ConfigError
from surpass.evaluation.mixtures import Sharpen, exponentials, powers, vote
from surpass.evaluation.statistics import bootstrap
from surpass.experiments.records import begin
from surpass.recorded import run_at
from surpass.rollouts.seeds import derive_seed
from surpass.web.curves import Points, drawing

Array = NDArray[np.float64]
SHARPEN: Mapping[str, Sharpen] = {"powers": powers, "exponentials": exponentials}


@dataclass(frozen=True)
class Config:
    """Fit a linear student to noisy linear experts and compare it with the best of them."""

    noises: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # s: of an expert's weights; the signal's is 1
    temperatures: tuple[float, ...] = (0.001, 0.01, 0.1, 0.3, 0.5, 0.75, 1.0, 1.5)  # the paper's
    experts: int = 5  # K
    classes: int = 10  # Y
    inputs: int = 100  # D
    points: int = 10_000  # labelled
    test_points: int = 10_000  # new inputs
    decay: float = 1e-4  # of the student's weights: without, equal experts would drive them to infinity
    seeds: tuple[int, ...] = tuple(range(10))  # each its own W*, experts and inputs

    def __post_init__(self) -> None:
        sizes = min(self.experts, self.inputs, self.points, self.test_points, self.classes - 1)
        if sizes < 1 or not 0 < self.decay < math.inf or not self.seeds:
            raise ConfigError("expected sizes of 1 or more, two classes or more, decay above 0 and a seed")
        right = [0 <= one < math.inf for one in self.noises] + [0 < one < math.inf for one in self.temperatures]
        if not self.noises or not self.temperatures or not all(right):
            raise ConfigError("expected noises of 0 or more and temperatures above 0, at least one of each")


PRESETS: Mapping[str, Config] = {
    "tiny": Config(noises=(0.0, 2.0), inputs=10, points=400, test_points=400, seeds=(0, 1)),
    "small": Config(),
    "full": Config(noises=(0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), test_points=50_000, seeds=tuple(range(30))),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table, draw `figure.svg` and return the folder; `resume` goes on with one."""
    run = begin("linear_experts", config, out=out, resume=resume, free=("noises", "seeds"))  # a part is of one of each
    rows = [_part(config, run.path, noise, seed) for noise in config.noises for seed in config.seeds]
    arms = {f"noise {noise:g}": _arm(config, rows, noise) for noise in config.noises}
    title, x, lines = "accuracy above the best expert's", "log10 temperature", curves(config, rows)
    summary = {"arms": arms, "figures": [{"title": title, "x_label": x, "lines": lines}]}
    run.metrics_path.touch()  # a record without rows: nothing was learned step by step
    run.write_summary(summary)
    (run.path / "figure.svg").write_text(drawing(title, lines, x_label=x), encoding="utf-8")
    Console().print(show(config, summary))
    return run.path


def _part(config: Config, folder: Path, noise: float, seed: int) -> Mapping[str, Any]:
    """Return what one (noise, seed) came to; computed once."""
    part = run_at(folder / "parts" / f"{noise:g}-{seed}", {"noise": noise, "seed": seed})
    if not (part.path / "summary.json").exists():
        part.write_summary({"noise": noise, "seed": seed, **measured(config, noise, seed)})
    return part.summary()


def measured(config: Config, noise: float, seed: int) -> dict[str, Any]:
    """Return accuracies on new inputs: of the best and the mean expert, the vote, and the student by temperature."""
    rng = np.random.default_rng(
        derive_seed(seed, "linear experts")
    )  # the same W*, inputs and directions for all noises
    shape = (config.classes, config.inputs)
    right = rng.normal(size=shape)
    experts = right + noise * rng.normal(size=(config.experts, *shape))
    x = rng.normal(size=(config.points, config.inputs))
    speaker = rng.integers(config.experts, size=config.points)
    labels = _answers(experts, x)[speaker, np.arange(config.points)]
    student = fitted(x, labels, classes=config.classes, decay=config.decay)
    new = rng.normal(size=(config.test_points, config.inputs))
    truth = (new @ right.T).argmax(-1)
    one_hot = np.eye(config.classes)[_answers(experts, new)]  # [K, N, Y]
    accuracies = np.take_along_axis(one_hot, truth[None, :, None], -1).mean((1, 2))
    score = partial(_accuracy, truth=truth)
    logits = new @ student.T
    learned = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
    mixture = one_hot.mean(0)
    return {
        "best": float(accuracies.max()),
        "mean": float(accuracies.mean()),
        "vote": score(vote(mixture)),
        "student greedy": score(vote(learned)),
        "student": {name: [score(by(learned, t)) for t in config.temperatures] for name, by in SHARPEN.items()},
        "mixture": {name: [score(by(mixture, t)) for t in config.temperatures] for name, by in SHARPEN.items()},
    }


def fitted(x: Array, labels: NDArray[np.int64], *, classes: int, decay: float) -> Array:
    """Return the weights [Y, D] of least cross-entropy on labelled points plus decay / 2 times their squares."""
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)
    weights = torch.zeros((classes, x.shape[1]), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ weights.T, targets) + decay / 2 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return np.asarray(weights.detach().numpy())


def _answers(experts: Array, x: Array) -> NDArray[np.int64]:
    """Return each expert's answer to each input [K, N]."""
    return np.asarray(np.einsum("kyd,nd->kny", experts, x, optimize=True).argmax(-1))


def _accuracy(policy: Array, truth: NDArray[np.int64]) -> float:
    return float(policy[np.arange(len(truth)), truth].mean())


def _arm(config: Config, rows: Sequence[Mapping[str, Any]], noise: float) -> dict[str, Any]:
    """Return the means over seeds for one noise, and the student's advantages with their intervals."""
    own = [row for row in rows if row["noise"] == noise]
    found: dict[str, Any] = {key: math.fsum(row[key] for row in own) / len(own) for key in ("best", "mean")}
    for key in ("vote", "student greedy"):
        found[f"{key} - best"] = _gain([row[key] - row["best"] for row in own])
    for who in ("student", "mixture"):
        found[who] = {
            name: [_gain([row[who][name][at] - row["best"] for row in own]) for at in range(len(config.temperatures))]
            for name in SHARPEN
        }
    return found | {"seeds": len(own)}


def _gain(values: Sequence[float]) -> list[float]:
    """Return the mean over seeds and its 95 % bootstrap interval."""
    one = bootstrap(values)
    return [one.mean, one.low, one.high]


def show(config: Config, summary: Mapping[str, Any]) -> Table:
    """Return the student's advantage over the best expert by noise and temperature (`powers`)."""
    table = Table(
        title="Accuracy above the best expert's, in points, by the noise of the experts",
        caption=f"{len(config.seeds)} seeds; bold: the 95 % interval is above 0; greedy, T: the student",
    )
    arms = [summary["arms"][f"noise {noise:g}"] for noise in config.noises]
    for heading in ("", *(f"noise {noise:g}" for noise in config.noises)):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("best, %", *(f"{100 * arm['best']:.1f}" for arm in arms))
    gains = {"vote": [arm["vote - best"] for arm in arms]}
    gains["greedy"] = [arm["student greedy - best"] for arm in arms]
    for at, temperature in enumerate(config.temperatures):
        gains[f"T {temperature:g}"] = [arm["student"]["powers"][at] for arm in arms]
    for name, row in gains.items():
        shown = [f"[bold]{100 * mean:+.1f}[/]" if low > 0 else f"{100 * mean:+.1f}" for mean, low, _ in row]
        table.add_row(name, *shown)
    return table


def curves(config: Config, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Return the student's accuracy above the best expert's by temperature, for each noise and seed."""
    lines: dict[str, dict[str, Points]] = {}
    for row in rows:
        gains = [accuracy - row["best"] for accuracy in row["student"]["powers"]]
        points = [(math.log10(t), gain) for t, gain in zip(config.temperatures, gains, strict=True)]
        lines.setdefault(f"noise {row['noise']:g}", {})[str(row["seed"])] = points
    return lines
