"""Training from search: does a policy learn more from what a search finds than from its own samples, call for call?

Formulas of the kernel whose plays can all be listed, a table as policy: what is reported is exact, and nothing but the
source of the trajectories differs between arms. Every arm ends with the step in which it has used up the same number of
verifier calls, those of its searches included. The question and the numbers: `search_training.md`.

    gfn          rollouts, log-variance balance relative to the start, replay
    gfn_search   the same, half of the rollouts replaced by best-first search: its proofs are learned from and replayed
    samples      likelihood of the proofs among rollouts
    expert       likelihood of the proofs that best-first search finds: expert iteration
    visits       likelihood of the visit counts of Monte-Carlo tree search
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from surpass.core import Problem, Search, Trajectory
from surpass.domains.proofs.kernel.domain import Kernel, State, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import ConfigError
from surpass.evaluation.statistics import hierarchical, paired_bootstrap
from surpass.experiments.records import begin
from surpass.models.tabular import Tabular
from surpass.objectives.balance import log_variance
from surpass.objectives.batch import Metrics, Objective, log_return
from surpass.objectives.likelihood import likelihood
from surpass.recorded import run_at
from surpass.replay import Replay, by_reward
from surpass.search.best_first import best_first
from surpass.search.evaluate import by_rollouts
from surpass.search.in_turn import in_turn
from surpass.search.mcts import mcts
from surpass.search.sampling import sample
from surpass.search.targets import visit_targets
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train

WIDTH = 64  # legal actions of a state, at most
LISTED = 200_000  # plays of one formula, at most
MEASURES = ("success", "proofs_in_64", "total_variation")
FORMULAS = (
    "(A -> B) -> (B -> C) -> A -> C",
    r"A /\ B -> B /\ A",
    r"A \/ B -> B \/ A",
    "(A -> B -> C) -> B -> A -> C",
    r"(A -> B) -> ~ B -> ~ A",
    r"A -> B -> A /\ B",
)


@dataclass(frozen=True)
class Config:
    """Train a table on formulas of the kernel from different sources of trajectories, at equal verifier calls."""

    statements: tuple[str, ...] = FORMULAS  # what is learned, and measured
    arms: tuple[str, ...] = ("gfn", "gfn_search", "samples", "expert", "visits")  # of ARMS
    horizon: int = 6  # steps of a play, at most
    calls: int = 6000  # verifier calls of an arm, in all
    samples: int = 8  # rollouts of a problem in a step
    beta: float = 1.0  # exponent of the reward in the target of the balance arms
    floor: float = -6.0  # log R of a failure
    rate: float = 0.1  # learning rate
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # independent repetitions


PRESETS: Mapping[str, Config] = {
    "tiny": Config(statements=("(A -> B) -> A -> B",), horizon=4, calls=150, seeds=(0,)),
    "small": Config(),
    "full": Config(calls=60_000, seeds=tuple(range(20))),
}


@dataclass(frozen=True, slots=True)
class Arm:
    """Where the trajectories of an arm come from, and what is made of them."""

    search: Callable[[Config], Search[State]]
    balance: bool = False  # relative log-variance with replay; else likelihood
    accepted_only: bool = True  # of the likelihood


def _best(config: Config, expansions: int) -> Search[State]:
    return partial(best_first, width=8, expansions=expansions, max_depth=config.horizon, solutions=8)


def _rollouts(config: Config, n: int) -> Search[State]:
    return partial(sample, n=n, max_steps=config.horizon)


def _visits(config: Config) -> Search[State]:
    evaluate = partial(by_rollouts, width=8, max_steps=config.horizon, proofs=False)
    tree: Search[State] = partial(mcts, simulations=16, solutions=64, max_depth=config.horizon, evaluate=evaluate)
    return partial(visit_targets, search=tree)


ARMS: Mapping[str, Arm] = {
    "gfn": Arm(lambda c: _rollouts(c, c.samples), balance=True),
    "gfn_search": Arm(
        lambda c: partial(in_turn, searches=(_rollouts(c, c.samples // 2), _best(c, c.samples // 2))), balance=True
    ),
    "samples": Arm(lambda c: _rollouts(c, c.samples)),
    "expert": Arm(lambda c: _best(c, c.samples)),
    "visits": Arm(_visits, accepted_only=False),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; `resume` goes on with a folder that was interrupted.

    Raises ConfigError for arms that are not known, numbers that do not fit, or a formula with too many plays to list.
    """
    if not set(config.arms) <= set(ARMS) or not config.arms:
        raise ConfigError(f"expected arms among {', '.join(ARMS)}, found {config.arms}")
    if min(config.calls, config.samples - 1, config.horizon, len(config.seeds), len(config.statements)) < 1:
        raise ConfigError("expected at least one call, step, seed and formula, and two samples; see --help")
    domain = Kernel()
    plays = [trajectories(domain, pose(one), config.horizon, limit=LISTED) for one in config.statements]
    run = begin("search_training", config, out=out, resume=resume, free=("arms", "seeds"))
    console = Console(stderr=True)
    console.print(f"run folder: {run.path}")
    for arm in config.arms:
        for seed in config.seeds:
            _train(config, run.path / "train" / f"{arm}-{seed}", (arm, seed), domain, plays)
    run.write_summary(_summary(config, run.path))
    console.print(*show(run.summary()))
    return run.path


Plays = Sequence[Sequence[Trajectory]]  # all plays of each formula


def _train(config: Config, path: Path, unit: tuple[str, int], domain: Kernel, plays: Plays) -> None:
    """Train one arm with one seed, unless that was finished."""
    if (path / "summary.json").exists():
        return
    arm, seed = ARMS[unit[0]], unit[1]
    listed = {step.observation.text for leaves in plays for leaf in leaves for step in leaf.steps}
    # Searches look beyond the horizon, too: each state that is not listed has cost them a call.
    policy = Tabular(rows=len(listed) + 2 * config.calls, width=WIDTH).double()
    start = policy.frozen_copy()
    reward = partial(log_return, floor=config.floor)
    objective: Objective = partial(likelihood, accepted_only=arm.accepted_only)
    if arm.balance:
        objective = partial(log_variance, beta=config.beta)

    def evaluate(step: int) -> Metrics:
        del step
        found = [_exact(config, policy, start, leaves) for leaves in plays]
        return {f"{name}/{i}": row[name] for i, row in enumerate(found) for name in MEASURES} | {
            name: math.fsum(row[name] for row in found) / len(found) for name in MEASURES
        }

    problems: list[Problem] = [leaves[0].problem for leaves in plays]
    parts = Parts(
        policy,
        problems,
        objective,
        reward,
        domain=domain,
        search=arm.search(config),
        reference=start if arm.balance else None,
        replay=Replay(tolerance=0.25, prefer=by_reward) if arm.balance else None,
        evaluate=evaluate,
    )
    numbers = TrainConfig(
        steps=config.calls,  # each takes at least one call: the cap on those ends it
        problems_per_step=min(3, len(problems)),
        seed=seed,
        learning_rate=config.rate,
        clip=10.0,
        micro_batch=512,
        evaluate_every=5,
        checkpoint_every=20,
        most_verifier_steps=config.calls,
    )
    train(numbers, parts, run_at(path, {"arm": unit[0], "seed": seed}))


def _exact(config: Config, policy: Tabular, start: Tabular, leaves: Sequence[Trajectory]) -> dict[str, float]:
    """Return the chance of a proof, the expected number of distinct ones in 64 samples, the distance to the target."""
    with torch.no_grad():
        first, last = (one.logp(leaves).sum(1).double().exp() for one in (start, policy))
    target = (first.log() + config.beta * log_return(leaves, floor=config.floor)).softmax(0)
    proofs = last[torch.tensor([leaf.solved for leaf in leaves])]
    return {
        "success": float(proofs.sum()),
        "proofs_in_64": float((1 - (1 - proofs).clamp(min=0.0) ** 64).sum()),
        "total_variation": float((last - target).abs().sum()) / 2,
    }


def _table(config: Config, folder: Path, arm: str, name: str) -> NDArray[np.float64]:
    """Return what an arm ended with [seeds, formulas]."""
    rows = [Run.open(folder / "train" / f"{arm}-{seed}").summary() for seed in config.seeds]
    return np.array([[row[f"eval/{name}/{i}"] for i in range(len(config.statements))] for row in rows])


def _summary(config: Config, folder: Path) -> dict[str, Any]:
    arms, gains = {}, {}
    pairs = [("gfn_search", "gfn"), ("expert", "samples"), ("visits", "samples"), ("visits", "expert")]
    for arm in config.arms:
        row: dict[str, Any] = {"seeds": len(config.seeds)}
        for name in MEASURES:
            found = hierarchical(_table(config, folder, arm, name))
            row |= {name: found.mean, f"{name}_ci95": [found.low, found.high]}
        ends = [Run.open(folder / "train" / f"{arm}-{seed}").summary() for seed in config.seeds]
        row |= {name: float(np.mean([end[name] for end in ends])) for name in ("verifier_steps", "proposals", "step")}
        arms[arm] = row
    for ours, theirs in pairs:
        if {ours, theirs} <= set(config.arms):
            gains[f"{ours} - {theirs}"] = {
                name: _difference(_table(config, folder, ours, name), _table(config, folder, theirs, name))
                for name in MEASURES
            }
    return {"arms": arms, "comparisons": gains}


def _difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    found = paired_bootstrap(ours, theirs)
    return {"difference": found.mean, "ci95": [found.low, found.high]}


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a finished run: what the arms ended with, and paired differences."""
    rows = Table("arm", *MEASURES, "verifier calls", "proposals", title="means over seeds and formulas, exact")
    for arm, row in summary["arms"].items():
        cells = [f"{row[n]:.3f} ({row[f'{n}_ci95'][0]:.3f} to {row[f'{n}_ci95'][1]:.3f})" for n in MEASURES]
        rows.add_row(arm, *cells, f"{row['verifier_steps']:.0f}", f"{row['proposals']:.0f}")
    gains = Table("difference", *MEASURES)
    for name, found in summary["comparisons"].items():
        cells = [
            f"{found[n]['difference']:+.3f} ({found[n]['ci95'][0]:+.3f} to {found[n]['ci95'][1]:+.3f})"
            for n in MEASURES
        ]
        gains.add_row(name, *cells)
    return [table for table in (rows, gains) if table.rows]
