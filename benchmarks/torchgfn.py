"""Surpass against torchgfn on its hypergrid: exact total variation, log Z error and time per trajectory, with ratios.

torchgfn 2.4.1 needs numpy < 2, so it lives in an environment of its own (the commands are in README.md), and each side
runs in a process of its own: same network, optimisers, batches, number of trajectories and backward policy; both run
on one thread. The sides take turns, `rounds` times with different seeds, and medians are shown. A ratio is torchgfn's
figure over ours: above 1 is in our favour.

    .venv/bin/python benchmarks/torchgfn.py --python ENVIRONMENT/bin/python
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import tyro
from rich.console import Console
from rich.table import Table

from surpass.errors import ConfigError, SurpassError

HERE = Path(__file__).parent / "hypergrid"
FIGURES = ("total_variation", "log_z_error", "wall_ms", "cpu_ms")  # milliseconds a trajectory
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Options:
    """What to compare."""

    python: Path  # the interpreter of the environment that holds torchgfn
    ndim: int = 2  # coordinates of the grid
    height: int = 8  # values of a coordinate
    trajectories: int = 32_000  # of each run
    batches: tuple[int, ...] = (16, 128)  # trajectories of a step: one comparison each
    rounds: int = 3  # runs of each side, with seeds 0, 1, ...
    json: Path | None = None  # where to write the figures, too


def main(options: Options) -> dict[str, object]:
    """Run everything, print a table and return the figures."""
    if not options.python.is_file():
        raise ConfigError(f"no interpreter at {options.python}; benchmarks/README.md says how to make the environment")
    found = [_compare(options, batch) for batch in options.batches]
    table = Table(title=f"Hypergrid {options.ndim}D, height {options.height}, {options.trajectories} trajectories")
    for column in ("batch", "", "surpass", "torchgfn", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for batch, (ours, theirs, ratio) in zip(options.batches, found, strict=True):
        for name in FIGURES:
            table.add_row(str(batch), name, f"{ours[name]:.4f}", f"{theirs[name]:.4f}", f"{ratio[name]:.2f}")
    Console().print(table, f"medians of {options.rounds}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    report = {
        "task": {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()},
        "batches": {
            batch: dict(zip(("surpass", "torchgfn", "ratio"), row, strict=True))
            for batch, row in zip(options.batches, found, strict=True)
        },
    }
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return report


def _compare(options: Options, batch: int) -> tuple[Figures, Figures, Figures]:
    """Return the medians of both sides, and the ratios."""
    sides = {"surpass": Path(sys.executable), "torchgfn": options.python}
    rows: dict[str, list[Figures]] = {side: [] for side in sides}
    task = {name: getattr(options, name) for name in ("ndim", "height", "trajectories")} | {"batch": batch}
    for seed in range(options.rounds):
        for side, python in sides.items():
            rows[side].append(_run(python, side, task | {"seed": seed}))
    sizes = {row["parameters"] for runs in rows.values() for row in runs}
    if len(sizes) > 1:
        raise SurpassError(f"the networks differ in size: {sorted(sizes)}; the comparison would not be one")
    ours, theirs = (_medians(rows[side], options.trajectories) for side in sides)
    return ours, theirs, {name: theirs[name] / ours[name] for name in FIGURES}


def _run(python: Path, side: str, task: Mapping[str, float]) -> Figures:
    """Return what one side answers, in a process of its own."""
    command = [str(python), str(HERE / f"with_{side}.py"), json.dumps(task)]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SurpassError(f"{side} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _medians(runs: Sequence[Figures], trajectories: int) -> Figures:
    """Return the median of each figure, times in milliseconds a trajectory."""
    found = {name: median(run[name] for run in runs) for name in runs[0]}
    times = {f"{kind}_ms": 1000 * found[f"{kind}_seconds"] / trajectories for kind in ("wall", "cpu")}
    return {name: found[name] for name in FIGURES[:2]} | times


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except SurpassError as error:
        sys.exit(f"torchgfn.py: {error}")
