"""What experiments share whose arms differ in what a language model of proofs is taught: teach, measure, compare.

    train/ARM-SEED/    supervised training: human proofs in the draw, and whatever else an arm learns from, as lessons
    search/ARM-SEED/   best-first search on the held-out problems, so many verifier calls each

All arms of a comparison have the same problems, calls and gradient tokens. Not here: what the lessons are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from surpass.core import Domain, Policy, Problem, Trajectory
from surpass.errors import ConfigError
from surpass.evaluation.diversity import distinct_per_solved
from surpass.evaluation.statistics import hierarchical, paired_bootstrap
from surpass.experiments.records import solved, units, weights
from surpass.models.hf import LanguageModel
from surpass.objectives.batch import log_return
from surpass.objectives.likelihood import likelihood
from surpass.recipe import Parts, TrainConfig
from surpass.recorded import record_problems, run_at
from surpass.rollouts.runner import Budget, RunOptions, derive_seed, run
from surpass.search.again import again
from surpass.search.best_first import best_first
from surpass.store import Run
from surpass.train import train

Lessons = Callable[[int], Sequence[Trajectory]]


@dataclass(frozen=True, slots=True)
class Taught:
    """What one arm learns from: proofs by problem key, and what each step learns besides."""

    problems: Sequence[Problem]
    proofs: Mapping[str, Sequence[Trajectory]]
    lessons: Lessons | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """How held-out problems are searched."""

    calls: int  # verifier calls for each problem
    max_steps: int  # tactics of a proof, at most
    seed: int
    width: int = 8  # proposals for each state
    live: int = 16  # problems searched at once


def check_arms(arms: Sequence[str], known: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise ConfigError for arms that are not known, and where there is no arm or no seed."""
    if not arms or not set(arms) <= set(known) or not seeds:
        raise ConfigError(f"expected arms among {', '.join(known)} and a seed, found {arms} and {seeds}")


def drawn(proofs: Sequence[Trajectory], n: int, *, seed: int) -> Lessons:
    """Return lessons of `n` proofs each, drawn by the seed and the step."""

    def lessons(step: int) -> Sequence[Trajectory]:
        return Random(derive_seed(seed, "lessons", step)).sample(list(proofs), min(n, len(proofs)))

    return lessons


def teach(path: Path, policy: LanguageModel, numbers: TrainConfig, what: Taught) -> Mapping[str, float]:
    """Leave `policy` with the weights that an arm ends with, trained from those it has unless that was finished.

    Returns the last line of the metrics.
    """
    kept = run_at(path, {"arm": path.name})
    if not (path / "summary.json").exists():
        parts: Parts[Hashable] = Parts(
            policy, what.problems, likelihood, log_return, demonstrations=what.proofs, lessons=what.lessons
        )
        train(numbers, parts, kept)
    policy.load_state_dict(weights(path))
    return kept.summary()


def search(path: Path, problems: Sequence[Problem], domain: Domain[Hashable], policy: Policy, how: Search) -> None:
    """Search problems best first, again and again until the calls are spent or a proof is found, and record it."""
    record_problems(path, problems, partial(_attempts, domain, policy, how), console=Console(stderr=True))


def _attempts(
    domain: Domain[Hashable], policy: Policy, how: Search, problems: Sequence[Problem]
) -> Iterator[Trajectory]:
    once = partial(best_first, width=how.width, expansions=how.calls, max_depth=how.max_steps)
    return run(
        partial(again, search=once, rounds=how.calls),  # a search whose samples all fail has calls left
        problems,
        domain,
        policy,
        budget=Budget(steps=how.calls, proposals=64 * how.calls),  # the latter: a silent policy ends
        seed=derive_seed(how.seed, "search"),
        options=RunOptions(live=how.live),
    )


def constant(steps: int, seed: int, *, rate: float, problems: int) -> TrainConfig:
    """Return the numbers of supervised training at a constant rate."""
    every = max(1, steps // 4)
    shared = TrainConfig(seed=seed % 2**31, schedule="constant", clip=1.0)
    return replace(shared, steps=steps, learning_rate=rate, problems_per_step=problems, checkpoint_every=every)


def compared(
    folder: Path, arms: Sequence[str], keys: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the rows of the arms and the paired differences, of what a fresh checker has accepted."""
    tables = {arm: solved(units(folder, arm), keys) for arm in arms}
    rows = {}
    for arm in arms:
        found, rate = list(units(folder, arm)), hierarchical(tables[arm])
        n = len(keys) * len(found)
        rows[arm] = {
            "problems": len(keys),
            "seeds": len(found),
            "solved": float(tables[arm].sum() / len(found)),
            "solve_rate": rate.mean,
            "ci95": [rate.low, rate.high],
            "distinct_proofs": distinct_per_solved([t for unit in found for t in unit.search if t.solved]),
            **{name: sum(unit.cost[name] for unit in found) / n for name in ("steps", "proposals", "seconds")},
        }
    return {"arms": rows, "comparisons": {f"{a} - {b}": difference(tables[a], tables[b]) for a, b in pairs}}


def difference(ours: Any, theirs: Any) -> dict[str, Any]:
    """Return the mean of a paired difference [seeds, problems] and its interval."""
    found = paired_bootstrap(ours, theirs)
    return {"difference": found.mean, "ci95": [found.low, found.high]}


def show(summary: Mapping[str, Any], title: str) -> list[Table]:
    """Return the tables of a finished run: the arms, and their differences."""
    rows = Table("arm", "solved", "of", "rate", "95 % interval", "calls", title=title)
    for name, row in summary["arms"].items():
        low, high = row["ci95"]
        told = (f"{row['solved']:.1f}", str(row["problems"]), f"{row['solve_rate']:.1%}", f"{low:.1%} to {high:.1%}")
        rows.add_row(name, *told, f"{row['steps']:.0f}")
    gains = Table("difference", "points", "95 % interval, paired")
    for name, row in summary["comparisons"].items():
        low, high = row["ci95"]
        gains.add_row(name, f"{row['difference']:+.1%}", f"{low:+.1%} to {high:+.1%}")
    return [table for table in (rows, gains) if table.rows]


def gradient_tokens(path: Path) -> float:
    """Return how many tokens a finished training has learned from."""
    return float(Run.open(path).summary()["gradient_tokens"])
