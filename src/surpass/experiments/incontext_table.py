"""The figures of the experiment `incontext`: regrets, terms to 90 %, and the model against its best teacher.

    regret       100 * (1 - height), mean over terms: what governing cost, learning included
    final        100 * (1 - best height so far) after the last term
    terms to 90  the first term after which the best height so far is 0.9 or more; one more than there were, if never

The best teacher is the one of least mean on the very cases that are measured, which favours teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from surpass.domains.economy.accounting import Reals
from surpass.evaluation.statistics import bootstrap, paired_bootstrap
from surpass.experiments.incontext_arms import Arm, Played

GOOD = 0.9
CHOOSES, COUNTS = "seen", ("unseen", "room")
Measured = Mapping[str, Mapping[str, Played]]  # by arm, by group


def regret(played: Played) -> Reals:
    """Return the regret of each case [cases]."""
    return np.asarray(100 * (1 - played.heights.mean(1)))


def final(played: Played) -> Reals:
    """Return the final regret of each case [cases]."""
    return np.asarray(100 * (1 - played.best[:, -1]))


def terms_to_good(played: Played) -> Reals:
    """Return how many terms it took each case to come to 90 % [cases]."""
    there = played.best >= GOOD
    return np.asarray(np.where(there.any(1), there.argmax(1) + 1.0, there.shape[1] + 1.0))


MEASURES: Mapping[str, Callable[[Played], Reals]] = {"regret": regret, "final": final, "terms to 90": terms_to_good}


def summary(found: Measured, entries: Sequence[Arm]) -> dict[str, Any]:
    """Return what a run came to."""
    kinds = {arm.name: arm.kind for arm in entries}
    models = [name for name, kind in kinds.items() if kind == "model"]
    chosen = min(models, key=lambda name: float(regret(found[name][CHOOSES]).mean()))
    return {
        "arms": {name: {"kind": kinds[name], **_row(groups)} for name, groups in found.items()},
        "chosen": chosen,
        "tables": {
            f"Against the best teacher, {group}": {
                "columns": ["model", "measure", "best teacher", "less by", "from", "to", "answer"],
                "rows": [row for name in models for row in _against(found, kinds, group, name)],
                "note": "Less of each measure than the teacher of least mean on these cases; paired bootstrap, 95 %.",
            }
            for group in (CHOOSES, *COUNTS)
        },
    }


def _row(groups: Mapping[str, Played]) -> dict[str, Any]:
    """Return the line of an arm."""
    good = (groups["unseen"].best[:, -1] >= GOOD).astype(float)
    interval = bootstrap(good)
    row: dict[str, Any] = {"solve_rate": interval.mean, "ci95": [interval.low, interval.high], "problems": len(good)}
    for group, played in groups.items():
        row |= {f"{name}, {group}": float(measure(played).mean()) for name, measure in MEASURES.items()}
    return row


def _against(found: Measured, kinds: Mapping[str, str], group: str, model: str) -> list[list[Any]]:
    """Return, for each measure, the best teacher and how much less the model has of it, with the interval."""
    rows = list[list[Any]]()
    for name, measure in MEASURES.items():
        teachers = {arm: measure(found[arm][group]) for arm, kind in kinds.items() if kind == "teacher"}
        best = min(teachers, key=lambda arm: float(teachers[arm].mean()))
        gain = paired_bootstrap(teachers[best][None], measure(found[model][group])[None])
        answer = "transcends" if gain.low > 0 else "falls short" if gain.high < 0 else "undecided"
        rows.append([model, name, best, *(round(value, 2) for value in (gain.mean, gain.low, gain.high)), answer])
    return rows


def show(told: Mapping[str, Any]) -> Table:
    """Return the table of a finished run: all arms where it counts, and the chosen one's answers below."""
    headings = [f"{measure}, {group}" for group in COUNTS for measure in MEASURES]
    answers = [
        f"{group}, {measure}: {answer} ({teacher}; less by {gain:.1f}, 95 % {low:.1f} to {high:.1f})"
        for group in COUNTS
        for model, measure, teacher, gain, low, high, answer in told["tables"][f"Against the best teacher, {group}"][
            "rows"
        ]
        if model == told["chosen"]
    ]
    caption = "\n".join([f"chosen on families it learned from: {told['chosen']}. Against the best teacher:", *answers])
    table = Table(title="Means over cases; regrets in % of the way from uniform rates to the best", caption=caption)
    table.add_column("arm")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, row in told["arms"].items():
        table.add_row(f"{name} ({row['kind']})", *(f"{row[heading]:.1f}" for heading in headings))
    return table
