"""`surpass economy curves`: how agents of a commons learn under policies, and what becomes of the commons.

    surpass economy curves --society harvest --policies "0 0 0; 0 0.5 1" --seeds 8 --first-seed 100 --out curves

Every policy plays a term with every seed, all seeds in one batch. A folder holds `welfare.svg`, welfare by episode of
the term, `apples.svg`, ripe apples by step of the episode that counts, and the numbers of both in `summary.json`, with
`report.html`. A command that was interrupted goes on with the next policy if asked the same again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from surpass import report
from surpass.bounds import at_least
from surpass.domains.economy.core_training import begun
from surpass.domains.economy.learning import LearningCommons
from surpass.domains.economy.societies import society_of
from surpass.domains.economy.sweep import Rates
from surpass.domains.economy.sweep_command import policies
from surpass.errors import ConfigError
from surpass.evaluation.statistics import bootstrap
from surpass.store import Run
from surpass.web.curves import drawing

EVERY = 10  # steps between the apples that are kept
FIGURES = {"welfare": ("welfare of each episode", "episode"), "apples": ("ripe apples, last episode", "step")}


@dataclass(frozen=True)
class CurvesOptions:
    """Which policies, in which commons, with how many seeds."""

    society: str = "harvest"  # or cleanup
    policies: str = "0 0 0"  # rates, apart by semicolons
    seeds: int = 8  # the same for every policy
    first_seed: int = 0
    out: Path = Path("curves")  # the folder

    def __post_init__(self) -> None:
        at_least(self, seeds=1, first_seed=0)


def curves(options: CurvesOptions) -> Run:
    """Play what is not yet in the folder, draw, and return its run.

    Raises ConfigError for policies that cannot be, a society that is no commons, and a folder of other options.
    """
    society = society_of(options.society)
    if not isinstance(society, LearningCommons):
        raise ConfigError(f"society: expected harvest or cleanup, found {options.society!r}")
    wanted = policies(options.policies, society.rates)
    if len(set(map(_name, wanted))) < len(wanted):
        raise ConfigError(f"policies: expected some that differ in three digits, found {options.policies!r}")
    run = begun(options.out, {name: value for name, value in asdict(options).items() if name != "out"})
    played = {
        _name(one): _played(run.path / "policies" / str(number), society, one, options)
        for number, one in enumerate(track(wanted, "policies", console=Console(stderr=True), transient=True))
    }
    figures: list[dict[str, Any]] = [
        {"title": title, "x_label": label, "lines": {name: told[key] for name, told in played.items()}}
        for key, (title, label) in FIGURES.items()
    ]
    run.metrics_path.touch()  # a record without rows: terms are the policies' own
    run.write_summary({"arms": {name: _row(told) for name, told in played.items()}, "figures": figures})
    for key, figure in zip(FIGURES, figures, strict=True):
        svg = drawing(figure["title"], figure["lines"], x_label=figure["x_label"])
        (run.path / f"{key}.svg").write_text(svg, encoding="utf-8")
    report.write(run.path)
    return run


def curves_command(options: CurvesOptions) -> int:
    """Play, draw, and print a table."""
    try:
        run = curves(options)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    shown = Table(title=f"{options.society}: {options.seeds} seeds from {options.first_seed}, 95 % intervals")
    shown.add_column("policy")
    rows = run.summary()["arms"]
    for name in next(iter(rows.values())):
        shown.add_column(name, justify="right")
    for policy, row in rows.items():
        shown.add_row(policy, *(f"{one['mean']:.1f} ({one['low']:.1f} to {one['high']:.1f})" for one in row.values()))
    Console().print(shown)
    Console().print(f"figures: {', '.join(f'{name}.svg' for name in FIGURES)} and report.html in {run.path}")
    return 0


def _name(rates: Rates) -> str:
    return ", ".join(f"{rate:.3g}" for rate in rates)


def _played(path: Path, society: LearningCommons, rates: Rates, options: CurvesOptions) -> dict[str, Any]:
    """Return the curves of a policy by seed; played once."""
    part = begun(path, {"rates": list(rates)})
    if not (path / "summary.json").exists():
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        terms = society.steps([rates] * options.seeds, list(seeds))
        apples = terms.apples[-1]
        steps = np.arange(EVERY - 1, len(apples), EVERY)
        welfare = {
            str(seed): [(at + 1, float(one)) for at, one in enumerate(terms.welfare[:, index])]
            for index, seed in enumerate(seeds)
        }
        left = {
            str(seed): [(int(at) + 1, float(apples[at, index])) for at in steps] for index, seed in enumerate(seeds)
        }
        values = [dict(one.values) for one in terms.metrics]
        part.write_summary({"welfare": welfare, "apples": left, "values": values})
    return part.summary()


def _row(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of a policy: means over seeds, with intervals."""
    welfare, apples = ([dict(points) for points in told[key].values()] for key in ("welfare", "apples"))
    last, half = max(welfare[0]), sorted(apples[0])[(len(apples[0]) - 1) // 2]
    row = {"first episode": [one[1] for one in welfare], "welfare": [one[last] for one in welfare]}
    row |= {f"apples after {half} steps": [one[half] for one in apples]}
    row |= {name: [one[name] for one in told["values"]] for name in ("eaten", "cleaned") if name in told["values"][0]}
    found = {name: bootstrap(np.array(values)) for name, values in row.items()}
    return {name: {"mean": one.mean, "low": one.low, "high": one.high} for name, one in found.items()}
