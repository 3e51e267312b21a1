"""From the records of `objectives` to its tables: what each arm reached, with intervals, and what it spent for it.

Every rate is a mean over seeds and held-out problems, its interval a hierarchical bootstrap over both; differences are
paired by seed and problem. Intervals are not corrected for the number of comparisons. An UNKNOWN is not solved. Proofs
and plays are counted after a fresh checker has accepted them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from surpass import report
from surpass.core import Status
from surpass.evaluation.diversity import ORDERS, creativity, distinct_per_solved, solutions, vendi_per_solved
from surpass.evaluation.passk import pass_at_k
from surpass.evaluation.statistics import Interval, hierarchical, paired_bootstrap
from surpass.experiments.objectives_arms import ARMS, arms_of, caps_of, seeds_of
from surpass.experiments.objectives_tasks import KEYS, Key
from surpass.experiments.proof_flow_data import machine
from surpass.experiments.records import Unit, correct, passes, solved, units
from surpass.recorded import recheck
from surpass.store import Run
from surpass.web.curves import drawing

if TYPE_CHECKING:
    from surpass.experiments.objectives import Config

GFLOWNETS = ("log_variance", "log_variance_plain")
SPENT = ("sampled_tokens", "gradient_tokens", "verifier_steps")
Values = Mapping[str, NDArray[np.float64]]  # measure -> one number for each seed and problem [seeds, problems]


def summarise(config: Config, folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run, by domain; writes each domain's own, its page and its figure."""
    domains = {}
    for domain in config.domains:
        domains[domain] = summary = {**_domain(config, folder / domain, domain), "machine": machine()}
        Run.open(folder / domain).write_summary(summary)
        report.write(folder / domain)
        figure = drawing(f"{domain}: pass@k", report.pass_at_k(summary["arms"]), x_label="log2 k")
        (folder / domain / "figure.svg").write_text(figure, encoding="utf-8")
    return {"domains": domains, "machine": machine()}


def _domain(config: Config, folder: Path, domain: str) -> dict[str, Any]:
    checked = recheck(domain, folder)
    seeds = seeds_of(config, domain)
    found = {arm: [unit for unit in units(folder, arm) if unit.seed in seeds] for arm in arms_of(config, domain)}
    problems = sorted({t.problem.key for those in found.values() for unit in those for t in unit.search})
    values = {arm: _values(config, domain, those, problems) for arm, those in found.items()}
    return {
        "arms": {arm: _row(found[arm], problems, values[arm]) | _spent(config, folder, arm, domain) for arm in found},
        "variety": _variety(found, KEYS[domain]),
        "comparisons": _comparisons(values),
        "caps": {**caps_of(config, domain), "minutes": config.minutes},
        "settings": {arm: ARMS[arm].told for arm in found},
        "checked": checked,
    }


def _values(config: Config, domain: str, found: Sequence[Unit], problems: Sequence[str]) -> Values:
    counts = correct(found, problems)
    distinct = np.zeros(counts.shape)
    for row, unit in zip(distinct, found, strict=True):
        different = solutions(unit.samples, key=KEYS[domain])
        row[:] = [len(different.get(key, ())) for key in problems]
    return {
        "pass@1": counts / config.draws,
        f"pass@{config.draws}": pass_at_k(config.draws, counts, config.draws),
        "search": solved(found, problems),
        "distinct": distinct,
    }


def _variety(found: Mapping[str, Sequence[Unit]], key: Key) -> dict[str, dict[str, Any]]:
    """Return the measures of Flow of Reasoning and Vendi scores of each arm's samples, means over seeds."""
    seeds = range(min(map(len, found.values())))
    creative = [creativity({arm: those[i].samples for arm, those in found.items()}, key=key) for i in seeds]
    rows = {}
    for arm, those in found.items():
        scores = [vendi_per_solved(unit.samples) for unit in those]
        rows[arm] = {
            "diversity": float(np.mean([distinct_per_solved(unit.samples, key=key) for unit in those])),
            "creativity": float(np.mean([shares[arm] for shares in creative])),
            "vendi": {f"{order:g}": float(np.mean([score[order] for score in scores])) for order in ORDERS},
        }
    return rows


def _row(found: Sequence[Unit], problems: Sequence[str], values: Values) -> dict[str, Any]:
    """Return what an arm reached; the keys that `report` knows, and the intervals of every measure."""
    search = hierarchical(values["search"])
    unknown = [sum(t.verdict.status is Status.UNKNOWN for t in unit.samples) for unit in found]
    return {
        "problems": len(problems),
        "solve_rate": search.mean,
        "ci95": [search.low, search.high],
        "pass_at_k": passes(found, problems),
        "distinct_solutions": float(values["distinct"].mean()),
        "measures": {name: _interval(hierarchical(table)) for name, table in values.items()},
        "proposals": float(np.mean([unit.cost["proposals"] for unit in found])) / len(problems),
        "unknown_samples": float(np.mean(unknown)),
        "seeds": len(found),
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.mean, "ci95": [interval.low, interval.high]}


def _spent(config: Config, folder: Path, arm: str, domain: str) -> dict[str, Any]:
    """Return what training an arm took, averaged over seeds, and which cap ended it how often."""
    if ARMS[arm].objective is None:
        return {**dict.fromkeys(SPENT, 0.0), "minutes": 0.0, "training_steps": 0.0, "ended_by": {}}
    rows = [Run.open(folder / "train" / f"{arm}-{seed}").summary() for seed in seeds_of(config, domain)]
    minutes = [(row["search_seconds"] + row["learn_seconds"]) / 60 for row in rows]
    ended: dict[str, int] = {}
    most = caps_of(config, domain)
    for row, spent in zip(rows, minutes, strict=True):
        caps = [name for name in SPENT if row[name] >= most[name]]
        caps += ["minutes"] if spent >= config.minutes else []
        for name in caps:
            ended[name] = ended.get(name, 0) + 1
    means = {name: float(np.mean([row[name] for row in rows])) for name in SPENT}
    steps = float(np.mean([row["step"] for row in rows]))
    return {**means, "minutes": float(np.mean(minutes)), "training_steps": steps, "ended_by": ended}


def _comparisons(values: Mapping[str, Values]) -> dict[str, dict[str, Any]]:
    """Compare each GFlowNet arm with every other arm, and each other arm with the start, measure by measure.

    On the same seeds and problems. A measure that is zero for both arms compares nothing, and is left out.
    """
    found = {}
    for ours, theirs in _pairs(values):
        left, right = values[ours], values[theirs]
        gains = {name: paired_bootstrap(left[name], right[name]) for name in left if (left[name] + right[name]).any()}
        found[f"{ours} - {theirs}"] = {
            name: {**_interval(gain), "outcome": outcome(gain)} for name, gain in gains.items()
        }
    return found


def _pairs(arms: Iterable[str]) -> list[tuple[str, str]]:
    known = list(arms)
    ours = [arm for arm in GFLOWNETS if arm in known]
    pairs = [(one, arm) for one in ours for arm in known if arm not in GFLOWNETS[: GFLOWNETS.index(one) + 1]]
    return pairs + [(arm, "base") for arm in known if "base" in known and arm not in (*GFLOWNETS, "base")]


def outcome(gain: Interval) -> str:
    """Say what a paired difference shows: "wins" or "loses" where its 95 % interval excludes zero, else "ties"."""
    if gain.low > 0:
        return "wins"
    return "loses" if gain.high < 0 else "ties"


def show(domain: str, summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a domain: what each arm reached and spent, and where the GFlowNet arms win, tie and lose."""
    arms, comparisons = summary["arms"], summary["comparisons"]
    first = next(iter(arms.values()))
    measures = list(first["measures"])
    title = f"{domain}: {first['problems']} held-out problems, {first['seeds']} seeds; means with 95 % intervals"
    reached = Table("arm", *measures, title=title)
    paid = Table("arm", *(name.replace("_", " ") for name in SPENT), "minutes", "ended by", title="training, means")
    for arm, row in arms.items():
        reached.add_row(arm, *(_shown(name, row["measures"][name]) for name in measures))
        ended = ", ".join(f"{name.replace('_', ' ')} x{times}" for name, times in row["ended_by"].items())
        paid.add_row(arm, *(f"{row[name]:,.0f}" for name in SPENT), f"{row['minutes']:.2f}", ended or "-")
    settings = Table("arm", "settings", title="reward: log R = 0 for a solution, -10 else; the same rate for all arms")
    for arm, told in summary["settings"].items():
        settings.add_row(arm, told)
    gains = Table("paired difference", *measures, title="with 95 % intervals, not corrected for their number")
    for pair, row in comparisons.items():
        gains.add_row(
            pair, *(f"{row[name]['outcome']} {_shown(name, row[name])}" if name in row else "-" for name in measures)
        )
    varied = Table(
        "arm", "diversity", "creativity", "vendi, by order", title="of the correct samples, means over seeds"
    )
    for arm, row in summary["variety"].items():
        orders = ", ".join(f"{order}: {score:.2f}" for order, score in row["vendi"].items())
        varied.add_row(arm, f"{row['diversity']:.2f}", f"{row['creativity']:.2f}", orders)
    return [table for table in (reached, varied, paid, settings, gains) if table.rows]


def _shown(measure: str, found: Mapping[str, Any]) -> str:
    """Return a mean with its interval: rates in percent, counts as they are."""
    scale, digits = (1, 2) if measure == "distinct" else (100, 1)
    low, high = found["ci95"]
    return f"{scale * found['mean']:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
