"""From the records of `search` to its tables: solved within each budget, what the first proof took, paired differences.

A proof counts within b verifier calls if it had been found when at most b were asked, and only where a fresh checker
accepts it too (T3). Intervals and differences are bootstraps over problems, with one seed: they say nothing about
other seeds. Seconds are wall clock while several problems share the machine; prover seconds are CPU time of the
provers' processes, their start and the replay of files included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Column, Table

from surpass.core import Status, Trajectory
from surpass.evaluation.diversity import distinct_per_solved
from surpass.evaluation.statistics import hierarchical, paired_bootstrap
from surpass.experiments.flow import Flow
from surpass.experiments.proof_flow_data import machine, prover
from surpass.experiments.search_arms import rows_of
from surpass.recorded import recheck
from surpass.store import Run

if TYPE_CHECKING:
    from surpass.experiments.search import Config

PLAIN = "best_first"  # what other searches are compared with


@dataclass(frozen=True, slots=True)
class Found:
    """What one row found: its records, and what they took."""

    trajectories: list[Trajectory]
    cost: Mapping[str, float]

    def within(self, calls: int) -> list[Trajectory]:
        """Return the proofs found by the time that so many verifier calls were asked."""
        return [one for one in self.trajectories if one.solved and one.info["steps"] <= calls]

    def solved(self, keys: Sequence[str], calls: int) -> NDArray[np.float64]:
        """Return whether each problem was solved [1, problems]."""
        proved = {one.problem.key for one in self.within(calls)}
        return np.array([[float(key in proved) for key in keys]])


def summarise(config: Config, flow: Flow, folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run, and write the curves of its report."""
    checker = prover(flow.config)
    checked = recheck(checker, folder)
    names = [*(f"{name}+{arm}" for arm in config.policies for name in config.searches), *rows_of(config, flow)]
    paths = {name: folder / "search" / f"{name}-{config.seed}" for name in names}
    found = {
        name: _found(path) for name, path in paths.items() if path.exists()
    }  # no `hammer` where it is not installed
    keys = sorted({one.problem.key for row in found.values() for one in row.trajectories})
    for name, row in found.items():
        _curve(folder / "curves" / f"{name}-{config.seed}", row, keys, config.budgets[-1])
    return {
        "prover": checker,
        "policies_of": str(flow.path),
        "arms": {name: _row(row, keys, config.budgets) for name, row in found.items()},
        "comparisons": _comparisons(config, found, keys),
        "checked": checked,
        "machine": machine(),
    }


def _found(path: Path) -> Found:
    kept = Run.open(path)
    return Found(list(kept.trajectories()), kept.summary())


def _row(found: Found, keys: Sequence[str], budgets: Sequence[int]) -> dict[str, Any]:
    most, cost, n = budgets[-1], found.cost, len(keys)
    interval = hierarchical(found.solved(keys, most))
    first: dict[str, Trajectory] = {}
    for one in found.within(most):
        first.setdefault(one.problem.key, one)
    at = {}
    for calls in budgets:
        rate, proofs = hierarchical(found.solved(keys, calls)), found.within(calls)
        at[str(calls)] = {
            "solved": len({proof.problem.key for proof in proofs}),
            "solve_rate": rate.mean,
            "ci95": [rate.low, rate.high],
            "distinct_proofs": distinct_per_solved(proofs),
        }
    return {
        "problems": n,
        "solved": float(len(first)),
        "solve_rate": interval.mean,
        "ci95": [interval.low, interval.high],
        "distinct_proofs": distinct_per_solved(found.within(most)),
        "calls_to_first": float(median(one.info["steps"] for one in first.values())) if first else None,
        "seconds_to_first": float(median(one.info["seconds"] for one in first.values())) if first else None,
        "solved_per_prover_second": len(first) / cost["prover_seconds"] if cost["prover_seconds"] else None,
        "prover_seconds": cost["prover_seconds"] / n,
        "verifier_seconds": cost["verifier_seconds"] / n,
        "proposals": cost["proposals"] / n,
        "steps": cost["steps"] / n,
        "seconds": cost["seconds"] / n,
        "unknown": float(sum(one.verdict.status is Status.UNKNOWN for one in found.trajectories)),
        "at": at,
    }


def _comparisons(config: Config, found: Mapping[str, Found], keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compare each search with plain best-first, each policy with the first, rows with automation; at every budget."""
    pairs = [
        (f"{name}+{arm}", f"{PLAIN}+{arm}") for arm in config.policies for name in config.searches if name != PLAIN
    ]
    pairs += [
        (f"{name}+{arm}", f"{name}+{config.policies[0]}") for arm in config.policies[1:] for name in config.searches
    ]
    pairs += [(row, "automation") for row in config.rows if row != "automation"]
    pairs += [("premises_automation", "automation"), ("read_premises_automation", "read_automation")]
    compared = {}
    for ours, theirs in dict.fromkeys(pairs):
        if ours in found and theirs in found:
            at = {}
            for calls in config.budgets:
                gain = paired_bootstrap(found[ours].solved(keys, calls), found[theirs].solved(keys, calls))
                at[str(calls)] = {"difference": gain.mean, "ci95": [gain.low, gain.high]}
            compared[f"{ours} - {theirs}"] = at
    return compared


def _curve(path: Path, found: Found, keys: Sequence[str], most: int) -> None:
    """Write the share of problems solved over verifier calls, wherever it rises, as the metrics of a part."""
    path.mkdir(parents=True, exist_ok=True)
    first: dict[str, int] = {}
    for one in found.within(most):
        first.setdefault(one.problem.key, int(one.info["steps"]))
    rises = sorted({0, most, *first.values(), *(calls - 1 for calls in first.values())})  # a staircase
    path.joinpath("metrics.jsonl").unlink(missing_ok=True)
    for calls in rises:
        share = sum(steps <= calls for steps in first.values()) / len(keys)
        Run(path).log({"step": calls, "solve_rate": share})


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables that a run ends with: every row at every budget, and the differences at the largest."""
    budgets = list(next(iter(summary["arms"].values()))["at"])
    heads = [f"solved @{calls}" for calls in budgets]
    columns = (*heads, "95 % interval", "distinct", "calls to 1st", "s to 1st", "solved/CPU s")
    problems = next(iter(summary["arms"].values()))["problems"]
    rows = Table(
        Column("search+policy", no_wrap=True),
        *columns,
        title=f"{problems} held-out problems ({summary['prover']}), verifier calls each",
    )
    for name, row in summary["arms"].items():
        low, high = row["ci95"]
        rate = row["solved_per_prover_second"]
        rows.add_row(
            name,
            *(str(row["at"][calls]["solved"]) for calls in budgets),
            f"{low:.0%} to {high:.0%}",
            f"{row['distinct_proofs']:.2f}",
            "-" if row["calls_to_first"] is None else f"{row['calls_to_first']:.0f}",
            "-" if row["seconds_to_first"] is None else f"{row['seconds_to_first']:.2f}",
            "-" if rate is None else f"{rate:.2f}",
        )
    gains = Table(Column(f"difference @{budgets[-1]}", no_wrap=True), "mean", "95 % interval, paired")
    for name, at in summary["comparisons"].items():
        low, high = at[budgets[-1]]["ci95"]
        gains.add_row(name, f"{at[budgets[-1]]['difference']:+.1%}", f"{low:+.1%} to {high:+.1%}")
    return [table for table in (rows, gains) if table.rows]
