"""From the records of `proof_flow` to its table: successes checked once more (T3), then rates, intervals, comparisons.

Only what a fresh prover accepts counts as solved. Rates are means over seeds and problems, their intervals hierarchical
bootstraps; arms are compared on the same seeds and problems. An UNKNOWN is not solved, and is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from surpass.core import Status
from surpass.evaluation.diversity import distinct_per_solved
from surpass.evaluation.statistics import hierarchical, paired_bootstrap
from surpass.experiments.proof_flow_data import machine, prover
from surpass.experiments.records import Unit, passes, solved, units
from surpass.recorded import recheck
from surpass.store import Run

if TYPE_CHECKING:
    from surpass.experiments.proof_flow import Config

COMPUTE = ("gradient_tokens", "sampled_tokens", "verifier_seconds", "verifier_steps", "learn_seconds")


def summarise(config: Config, folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run: its arms, comparisons, compute, and what was checked.

    The records get the verdicts of that check, so whoever reads them sees no success that only a live prover accepted.
    """
    checked = recheck(prover(config), folder)
    by_arm = {arm: list(units(folder, arm)) for arm in (*config.arms, *config.sources)}
    by_arm = {arm: found for arm, found in by_arm.items() if found}
    problems = sorted({t.problem.key for found in by_arm.values() for unit in found for t in unit.search})
    tables = {arm: solved(found, problems) for arm, found in by_arm.items()}
    return {
        "prover": prover(config),
        "arms": {arm: _row(found, problems, tables[arm]) for arm, found in by_arm.items()},
        "comparisons": _comparisons(tables),
        "tactics_alone": {arm: _by_tactic(by_arm.get(arm, [])) for arm in ("automation", "hammer")},
        "compute": {arm: _compute(folder, arm, config.seeds) for arm in config.arms if arm != "base"},
        "checked": checked,
        "machine": machine(),
    }


def _row(found: list[Unit], problems: list[str], table: NDArray[np.float64]) -> dict[str, Any]:
    interval = hierarchical(table)
    distinct = [distinct_per_solved((*unit.search, *unit.samples)) for unit in found]
    n = len(problems)
    mean = {name: float(np.mean([unit.cost[name] for unit in found])) / n for name in ("proposals", "steps", "tokens")}
    return {
        "problems": n,
        "solved": float(table.sum(axis=1).mean()),
        "solve_rate": interval.mean,
        "ci95": [interval.low, interval.high],
        "distinct_proofs": float(np.mean(distinct)),
        "pass_at_k": passes(found, problems),
        **mean,
        "seconds": float(np.mean([unit.cost["seconds"] for unit in found])) / n,
        "unknown": float(np.mean([sum(t.verdict.status is Status.UNKNOWN for t in unit.search) for unit in found])),
        "seeds": len(found),
    }


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
    columns = ("policy", "solved", "rate", "95 %", "distinct", "pass@k", "calls", "s")
    title = f"held-out problems ({summary['prover']}); calls and seconds (s) are per problem"
    rows = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for column in columns:
        rows.add_column(column, no_wrap=True)  # names and numbers stay whole at 80 columns
    for arm, row in summary["arms"].items():
        low, high = row["ci95"]
        last = max(row["pass_at_k"], key=int, default="")
        rows.add_row(
            f"{arm} x{row['seeds']}" if row["seeds"] > 1 else arm,
            f"{row['solved']:.1f}/{row['problems']}",
            f"{row['solve_rate']:.0%}",
            f"{low:.0%} to {high:.0%}",
            f"{row['distinct_proofs']:.2f}",
            f"{row['pass_at_k'][last]:.0%} @{last}" if last else "-",
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
