"""Preferences: can one policy that is told how much success and brevity matter play every trade-off between them?

Formulas of the kernel whose plays can all be listed, so what is reported is exact: the policy's expected success and
brevity for each preference, its distance to the target, and the volume that its front dominates. A table over
observations can represent every target, so what is missing is learning's. The question and the numbers:
`preferences.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

from surpass.core import Problem, Trajectory
from surpass.domains.proofs.kernel.domain import Kernel, State, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import ConfigError
from surpass.evaluation.pareto import hypervolume, pareto_front
from surpass.experiments.records import begin
from surpass.exploration import Exploration
from surpass.models.tabular import Tabular
from surpass.objectives.balance import log_variance
from surpass.objectives.batch import Reward
from surpass.preferences import Conditioned, brevity, product, simplex, success, total
from surpass.recorded import run_at
from surpass.schedules import Linear
from surpass.search.sampling import sample
from surpass.train import Parts, TrainConfig, train

NAMES = ("success", "brevity")
REWARDS = {"product": product, "total": total}
LISTED = 20_000  # plays of one problem, at most
NOTHING = (0.0, 0.0)  # neither success nor brevity: where the volume is measured from


@dataclass(frozen=True)
class Config:
    """Train one policy for every preference between success and brevity, and compare with the exact targets."""

    statements: tuple[str, ...] = ("A -> ~ A -> B", r"A /\ B -> B \/ A", "(A -> B) -> A -> B", r"A \/ B -> B \/ A")
    parts: int = 4  # preferences are the multiples of 1 / parts
    reward: Literal["product", "total"] = "product"  # of the weighted objectives
    beta: float = 3.0  # exponent of the reward in the target
    floor: float = -5.0  # log R of a failure
    scale: float = 2.0  # steps by which brevity falls to 1 / e
    horizon: int = 6  # steps of a play, at most
    steps: int = 400  # of training
    problems: int = 10  # (formula, preference) pairs per step
    samples: int = 16  # plays of each
    rate: float = 0.1  # learning rate
    epsilon: float = 0.3  # chance of a uniform action at first; falls to 0.05
    seeds: tuple[int, ...] = (0, 1, 2)  # independent repetitions


PRESETS: Mapping[str, Config] = {
    "tiny": Config(statements=("(A -> B) -> A -> B",), parts=2, steps=10, problems=3, samples=8, seeds=(0,)),
    "small": Config(),
    "full": Config(parts=10, steps=1500, problems=22, samples=32, seeds=(0, 1, 2, 3, 4)),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; `resume` goes on with a folder that was interrupted.

    Raises ConfigError for numbers that do not fit, or a formula with too many plays to list.
    """
    if not config.seeds or not config.statements:
        raise ConfigError(f"expected a seed and a formula, found {config.seeds} and {config.statements}")
    domain = Conditioned(Kernel(), NAMES, simplex(2, config.parts))
    posed = [list(domain.posed(pose(statement))) for statement in config.statements]
    plays = {one.key: trajectories(domain, one, config.horizon, limit=LISTED) for row in posed for one in row}
    run = begin("preferences", config, out=out, resume=resume, free=("seeds",))
    console = Console(stderr=True)
    console.print(f"run folder: {run.path}")
    rows = [_seed(config, run.path / "train" / str(seed), seed, domain, plays) for seed in config.seeds]
    run.write_summary(_summary(config, domain, posed, rows))
    console.print(show(run.summary()))
    return run.path


def show(summary: Mapping[str, Any]) -> Table:
    """Return the table of a finished run."""
    volume = summary["hypervolume"]
    title = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in volume.items())
    table = Table(title="Means over formulas and seeds", caption=f"volume of the front: {title}")
    for heading in ("weight of success", "success", "(target)", "brevity", "(target)", "total variation"):
        table.add_column(heading, justify="right")
    for row in summary["preferences"]:
        found, target = row["policy"], row["target"]
        numbers = (row["weights"][0], found[0], target[0], found[1], target[1], row["total_variation"])
        table.add_row(*(f"{number:.3f}" for number in numbers))
    return table


@dataclass(frozen=True, slots=True)
class Point:
    """What one (formula, preference) came to: expected (success, brevity) before, after, and of the target."""

    before: tuple[float, float]
    after: tuple[float, float]
    target: tuple[float, float]
    distance: float  # total variation between policy and target


def _seed(
    config: Config, path: Path, seed: int, domain: Conditioned[State], plays: Mapping[str, Sequence[Trajectory]]
) -> dict[str, Point]:
    """Train one policy, and say what it came to for each problem."""
    rows = len({step.observation.text for leaves in plays.values() for leaf in leaves for step in leaf.steps})
    width = max(len(step.observation.legal or ()) for some in plays.values() for leaf in some for step in leaf.steps)
    policy = Tabular(rows=rows, width=width).double()
    start = policy.frozen_copy()
    scores = (partial(success, floor=config.floor), partial(brevity, scale=config.scale))
    reward: Reward = partial(REWARDS[config.reward], scores=scores)
    parts = Parts(
        policy,
        [leaves[0].problem for leaves in plays.values()],
        partial(log_variance, beta=config.beta),
        reward,
        domain=domain,
        search=partial(sample, n=config.samples, max_steps=config.horizon),
        reference=start,
        exploration=Exploration(epsilon=Linear(config.epsilon, 0.05, config.steps)),
    )
    numbers = TrainConfig(
        steps=config.steps,
        problems_per_step=config.problems,
        seed=seed,
        learning_rate=config.rate,
        schedule="cosine",
        clip=10.0,
        micro_batch=512,
        checkpoint_every=max(1, config.steps // 10),
    )
    train(numbers, parts, run_at(path, {"seed": seed}))
    return {key: _point(config, start, policy, reward, leaves) for key, leaves in plays.items()}


def _point(config: Config, start: Tabular, policy: Tabular, reward: Reward, leaves: Sequence[Trajectory]) -> Point:
    with torch.no_grad():
        first, last = (one.logp(leaves).sum(1).exp() for one in (start, policy))
    target = (first.log() + config.beta * reward(leaves)).softmax(0)
    gains = [(float(leaf.solved), math.exp(brevity(leaf, scale=config.scale))) for leaf in leaves]
    table = torch.tensor(gains, dtype=torch.float64)
    before, after, ideal = ((float(p @ table[:, 0]), float(p @ table[:, 1])) for p in (first, last, target))
    return Point(before, after, ideal, float((last - target).abs().sum()) / 2)


def _summary(
    config: Config,
    domain: Conditioned[State],
    posed: Sequence[Sequence[Problem]],
    seeds: Sequence[Mapping[str, Point]],
) -> dict[str, Any]:
    """Return means over formulas and seeds for each preference, and the volumes of whole fronts."""
    preferences, fronts = [], dict[str, list[tuple[float, float]]]()
    for place, weights in enumerate(domain.grid):
        points = [found[row[place].key] for found in seeds for row in posed]
        means = {
            "before": _mean([point.before for point in points]),
            "policy": _mean([point.after for point in points]),
            "target": _mean([point.target for point in points]),
        }
        for name, mean in means.items():
            fronts.setdefault(name, []).append(mean)
        distance = math.fsum(point.distance for point in points) / len(points)
        preferences.append({"weights": weights, **means, "total_variation": distance})
    return {
        "preferences": preferences,
        "front": pareto_front(fronts["policy"]),
        "hypervolume": {name: hypervolume(front, NOTHING) for name, front in fronts.items()}
        | {"best_single": max(hypervolume([point], NOTHING) for point in fronts["policy"])},
        "seeds": len(config.seeds),
    }


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return math.fsum(x for x, _ in points) / len(points), math.fsum(y for _, y in points) / len(points)
