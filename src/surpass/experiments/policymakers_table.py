"""From the records of `policymakers` to its tables and curves: what each principal reached, and after how many terms.

    mean welfare     over all terms: the area under the curve, divided by its length; exploring costs what it costs
    final welfare    over the last `last` terms
    regret           what the oracle had in the same terms, less that
    terms to 90 %    until the mean of the `last` latest terms is 90 % of the oracle's mean over all terms (110 % where
                     that is negative); one more than there are terms where that never happens, so a mean over seeds is
                     a lower bound;
    reached          for how many seeds it happens
    equality, cost   over the last terms: 1 - gini * n / (n - 1), 1 where all earn alike; what incentives cost
    gain             mean welfare less that of `random`, paired by seed

Curves are means of the `last` latest terms, too: single terms jump.

Intervals resample seeds; with five of them they are too narrow. They are not corrected for the number of comparisons.
UNKNOWN terms are in no mean, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from surpass.evaluation.statistics import Interval, bootstrap, paired_bootstrap
from surpass.experiments.policymakers_societies import Place
from surpass.experiments.policymakers_terms import Row

NEAR = 0.9  # of the oracle's welfare
COLUMNS = {
    "mean_welfare": "mean welfare",
    "gain_over_random": "gain over random",
    "final_welfare": "final",
    "regret": "regret",
}
COLUMNS |= {"terms_to_90": "to 90 %", "reached": "reached", "equality": "equality", "cost": "cost", "unknown": "?"}
ROOMY = ("mean_welfare", "gain_over_random")  # columns of the printed table that have room for intervals
Curve = NDArray[np.float64]  # [seeds, terms], NaN where a term came to nothing


def summarise(place: Place, rows: Mapping[str, Sequence[Row]], seeds: Sequence[int], last: int) -> dict[str, Any]:
    """Return the summary of a society: a row for each principal, and its curves."""
    welfare = {name: curve(found, seeds, "welfare") for name, found in rows.items()}
    oracle = welfare["oracle"]
    best = float(np.nanmean(oracle))
    near = best * (NEAR if best > 0 else 2 - NEAR)
    chance = _means(welfare["random"]) if "random" in welfare else None
    arms = {}
    for name, found in rows.items():
        values = welfare[name]
        final, reached = _means(values[:, -last:]), steps_to(values, near, last)
        measured = {
            "mean_welfare": _interval(_means(values)),
            "gain_over_random": None if chance is None else _paired(_means(values), chance),
            "final_welfare": _interval(final),
            "regret": _paired(_means(oracle[:, -last:]), final),
            "terms_to_90": _interval(reached.astype(float)),
            "reached": int((reached <= values.shape[1]).sum()),
            "equality": _interval(_equality(found, seeds, last, place.agents)),
            "cost": _interval(_means(curve(found, seeds, "cost")[:, -last:])),
            "unknown": int(np.isnan(values).sum()),
        }
        arms[name] = {key: value for key, value in measured.items() if value is not None}
    told = f"welfare, mean of {last} terms," if last > 1 else "welfare"
    return {
        "arms": arms,
        "terms": place.terms,
        "environment_steps_per_term": place.steps,
        "seeds": list(seeds),
        "figures": [
            _figure(f"{told} by terms", "terms", rows, "step", last=last),
            _figure(f"{told} by environment steps", "environment steps", rows, "environment_steps", last=last),
        ],
    }


def curve(rows: Sequence[Row], seeds: Sequence[int], name: str) -> Curve:
    """Return a measure of each term [seeds, terms]; NaN where it was not told."""
    found = np.full((len(seeds), max((row["step"] for row in rows), default=0)), np.nan)
    for row in rows:
        value = row.get("welfare") if name == "welfare" else dict(row.get("values", ())).get(name)
        if value is not None:
            found[seeds.index(row["seed"]), row["step"] - 1] = value
    return found


def steps_to(welfare: Curve, level: float, last: int) -> NDArray[np.int64]:
    """Return after how many terms the mean of the `last` latest ones first is at a level [seeds]; never: terms + 1.

    >>> steps_to(np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]), 0.9, 2).tolist()
    [3, 4]
    """
    seeds, terms = welfare.shape
    found = np.full(seeds, terms + 1)
    for seed, values in enumerate(welfare):
        for end in range(min(last, terms), terms + 1):
            window = values[max(0, end - last) : end]
            if not np.isnan(window).all() and np.nanmean(window) >= level:
                found[seed] = end
                break
    return found


def show(name: str, summary: Mapping[str, Any]) -> Table:
    """Return the table of a society to print."""
    caption = f"{summary['terms']} terms of {summary['environment_steps_per_term']} environment steps"
    table = Table(title=name, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.caption = f"{caption}, {len(summary['seeds'])} seeds; 95 % intervals; ? unknown terms"
    table.add_column("principal", no_wrap=True)
    columns = {key: title for key, title in COLUMNS.items() if any(key in row for row in summary["arms"].values())}
    for title in columns.values():
        table.add_column(title, justify="right", overflow="fold")  # a number that was cut would be another one
    for arm, row in summary["arms"].items():
        table.add_row(arm, *(_told(row.get(key), interval=key in ROOMY) for key in columns))
    return table


def _told(value: Any, *, interval: bool) -> str:
    if isinstance(value, Mapping):
        mean, low, high = (f"{round(value[key], 3) + 0.0:.3g}" for key in ("mean", "low", "high"))  # no -0
        return mean + (f"\n({low}, {high})" if interval else "")
    return "–" if value is None else str(value)


def _means(values: Curve) -> NDArray[np.float64]:
    """Return means over terms [seeds], NaN for a seed that has none."""
    told = ~np.isnan(values)
    total = np.where(told, values, 0.0).sum(1)
    return np.where(told.any(1), total / np.maximum(told.sum(1), 1), np.nan)


def _interval(values: NDArray[np.float64]) -> dict[str, float] | None:
    """Return the mean over seeds and its interval, of the seeds that have a value; None where none has."""
    told = values[np.isfinite(values)]
    return _asdict(bootstrap(told)) if len(told) else None


def _paired(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float] | None:
    both = np.isfinite(ours) & np.isfinite(theirs)
    return _asdict(paired_bootstrap(ours[both][:, None], theirs[both][:, None])) if both.any() else None


def _asdict(found: Interval) -> dict[str, float]:
    return {name: value for name, value in asdict(found).items() if name != "share_at_most_zero"}


def _equality(rows: Sequence[Row], seeds: Sequence[int], last: int, agents: int) -> NDArray[np.float64]:
    return 1 - _means(curve(rows, seeds, "gini")[:, -last:]) * agents / (agents - 1)


def _figure(title: str, label: str, rows: Mapping[str, Sequence[Row]], x: str, *, last: int) -> dict[str, Any]:
    """Return one figure of the report: a line for each principal and seed."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, found in rows.items():
        for seed in dict.fromkeys(row["seed"] for row in found):
            own = [row for row in found if row["seed"] == seed and "welfare" in row]
            recent = (own[max(0, at + 1 - last) : at + 1] for at in range(len(own)))
            points = [(some[-1][x], fmean(row["welfare"] for row in some)) for some in recent]
            lines.setdefault(name, {})[str(seed)] = points
    return {"title": title, "x_label": label, "lines": lines}
