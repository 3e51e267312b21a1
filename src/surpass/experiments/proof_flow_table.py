"""From the records of `proof_flow` to its table: successes checked once more (T3), then rates, intervals, comparisons.

Only what a fresh prover accepts counts as solved. Rates are means over seeds and problems, their intervals hierarchical
bootstraps; arms are compared on the same seeds and problems. An UNKNOWN is not solved, and is counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from surpass.core import Status, Trajectory
from surpass.evaluation.diversity import actions_key, distinct_per_solved
from surpass.evaluation.passk import pass_at_k
from surpass.evaluation.statistics import hierarchical, paired_bootstrap
from surpass.experiments.proof_flow_data import machine, prover
from surpass.store import Run
from surpass.verify import CHECKERS

if TYPE_CHECKING:
    from surpass.experiments.proof_flow import Config

Proof = tuple[str, Hashable]  # problem key; the actions up to white space, and what was loaded besides the file
COMPUTE = ("gradient_tokens", "sampled_tokens", "verifier_seconds", "verifier_steps", "learn_seconds")


@dataclass(frozen=True, slots=True)
class Unit:
    """What one arm did with one seed."""

    seed: int
    search: list[Trajectory]
    samples: list[Trajectory]
    cost: Mapping[str, float]  # of the search: proposals, steps, tokens, seconds, problems


def summarise(config: Config, folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run: its arms, comparisons, compute, and what was checked.

    The records get the verdicts of that check, so whoever reads them sees no success that only a live prover accepted.
    """
    checked = _recheck(prover(config), folder)
    units = {arm: list(_units(folder, arm)) for arm in (*config.arms, *config.sources)}
    units = {arm: found for arm, found in units.items() if found}
    problems = sorted({t.problem.key for found in units.values() for unit in found for t in unit.search})
    solved = {arm: _solved(found, problems) for arm, found in units.items()}
    return {
        "prover": prover(config),
        "arms": {arm: _row(found, problems, solved[arm]) for arm, found in units.items()},
        "comparisons": _comparisons(solved),
        "tactics_alone": {arm: _by_tactic(units.get(arm, [])) for arm in ("automation", "hammer")},
        "compute": {arm: _compute(folder, arm, config.seeds) for arm in config.arms if arm != "base"},
        "checked": checked,
        "machine": machine(),
    }


def _recheck(checker: str, folder: Path) -> dict[str, int]:
    """Put the verdict of a fresh checker on every success of the searches and samples; return how many stand."""
    records = {
        run: list(run.trajectories()) for kind in ("search", "samples") for run in map(Run, _parts(folder / kind))
    }
    distinct = {_proof(t): t for trajectories in records.values() for t in trajectories if t.solved}
    verdicts = dict(zip(distinct, CHECKERS[checker](list(distinct.values())), strict=True))
    for run, trajectories in records.items():
        run.rewrite(replace(t, verdict=verdicts[_proof(t)]) if t.solved else t for t in trajectories)
    standing = sum(verdict.status is Status.ACCEPTED for verdict in verdicts.values())
    return {"proofs": len(verdicts), "standing": standing}


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if (path / "summary.json").exists())


def _units(folder: Path, arm: str) -> Iterable[Unit]:
    for path in sorted((folder / "search").glob(f"{arm}-*")):
        samples = folder / "samples" / path.name
        yield Unit(
            int(path.name.rpartition("-")[2]),
            list(Run.open(path).trajectories()),
            list(Run.open(samples).trajectories()) if samples.exists() else [],
            Run.open(path).summary(),
        )


def _proof(trajectory: Trajectory) -> Proof:
    return trajectory.problem.key, (actions_key(trajectory), tuple(trajectory.problem.data.get("preamble", ())))


def _solved(units: Iterable[Unit], problems: list[str]) -> NDArray[np.float64]:
    """Return whether best-first search solved each problem [seeds, problems]."""
    rows = []
    for unit in units:
        proved = {t.problem.key for t in unit.search if t.solved}
        rows.append([float(key in proved) for key in problems])
    return np.array(rows)


def _row(units: list[Unit], problems: list[str], solved: NDArray[np.float64]) -> dict[str, Any]:
    interval = hierarchical(solved)
    distinct = [distinct_per_solved((*unit.search, *unit.samples)) for unit in units]
    n = len(problems)
    mean = {name: float(np.mean([unit.cost[name] for unit in units])) / n for name in ("proposals", "steps", "tokens")}
    return {
        "problems": n,
        "solved": float(solved.sum(axis=1).mean()),
        "solve_rate": interval.mean,
        "ci95": [interval.low, interval.high],
        "distinct_proofs": float(np.mean(distinct)),
        "pass_at_k": _passes(units, problems),
        **mean,
        "seconds": float(np.mean([unit.cost["seconds"] for unit in units])) / n,
        "unknown": float(np.mean([sum(t.verdict.status is Status.UNKNOWN for t in unit.search) for unit in units])),
        "seeds": len(units),
    }


def _passes(units: list[Unit], problems: list[str]) -> dict[str, float]:
    """Return pass@k for powers of two up to the number of samples, averaged over seeds and problems."""
    if not all(unit.samples for unit in units):
        return {}
    drawn = len(units[0].samples) // len(problems)
    correct = np.zeros((len(units), len(problems)), dtype=np.int64)
    column = {key: i for i, key in enumerate(problems)}
    for row, unit in zip(correct, units, strict=True):
        for trajectory in unit.samples:
            row[column[trajectory.problem.key]] += trajectory.solved
    ks = [2**i for i in range(drawn.bit_length())]
    return {str(k): float(pass_at_k(drawn, correct, k).mean()) for k in ks}


def _comparisons(solved: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, Any]]:
    """Compare gfn and the mixture with every other row, pair by pair; a row without seeds is repeated for each."""
    pairs = [(ours, theirs) for ours in ("gfn", "mixture") for theirs in solved if ours in solved and ours != theirs]
    found = {}
    for ours, theirs in pairs:
        left, right = solved[ours], solved[theirs]
        if len(right) == 1:
            right = np.repeat(right, len(left), axis=0)
        if len(left) == len(right):
            gain = paired_bootstrap(left, right)
            found[f"{ours} - {theirs}"] = {"difference": gain.mean, "ci95": [gain.low, gain.high]}
    return found


def _by_tactic(units: Iterable[Unit]) -> dict[str, int]:
    """Return how many problems each automation tactic closes alone."""
    closed: dict[str, set[str]] = {}
    for unit in units:
        for trajectory in unit.search:
            if trajectory.solved:
                closed.setdefault(trajectory.actions[0], set()).add(trajectory.problem.key)
    return {tactic: len(keys) for tactic, keys in sorted(closed.items())}


def _compute(folder: Path, arm: str, seeds: Iterable[int]) -> dict[str, float]:
    """Return what training an arm took, averaged over seeds."""
    rows = [Run.open(folder / "train" / f"{arm}-{seed}").summary() for seed in seeds]
    return {name: float(np.mean([row[name] for row in rows])) for name in COMPUTE}


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables that a run ends with: every policy, and their differences."""
    columns = ("policy", "solved", "of", "rate", "95 % interval", "distinct", "pass@k", "proposals", "seconds")
    rows = Table(*columns, title=f"held-out problems ({summary['prover']}), best-first search, costs per problem")
    for arm, row in summary["arms"].items():
        low, high = row["ci95"]
        last = max(row["pass_at_k"], key=int, default="")
        rows.add_row(
            f"{arm} x{row['seeds']}" if row["seeds"] > 1 else arm,
            f"{row['solved']:.1f}",
            str(row["problems"]),
            f"{row['solve_rate']:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{row['distinct_proofs']:.2f}",
            f"{row['pass_at_k'][last]:.1%} @{last}" if last else "-",
            f"{row['proposals']:.0f}",
            f"{row['seconds']:.2f}",
        )
    gains = Table("difference of solve rates", "mean", "95 % interval, paired")
    for name, gain in summary["comparisons"].items():
        low, high = gain["ci95"]
        gains.add_row(name, f"{gain['difference']:+.1%}", f"{low:+.1%} to {high:+.1%}")
    costs = Table("training, mean of seeds", "gradient tokens", "sampled tokens", "verifier seconds")
    for arm, cost in summary["compute"].items():
        costs.add_row(arm, *(f"{cost[name]:,.0f}" for name in COMPUTE[:3]))
    return [table for table in (rows, gains, costs) if table.rows]
