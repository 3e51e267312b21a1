"""A small real run folder, made with the parts that experiments use: two arms, two seeds each, a trace, a summary."""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import islice
from pathlib import Path

from surpass.core import Problem, Trajectory
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.models.scripted import Uniform
from surpass.rollouts.runner import RunOptions, run
from surpass.rollouts.trace import Event
from surpass.search.best_first import best_first
from surpass.store import Run


def searched(problems: list[Problem], *, width: int, seed: int, events: list[Event] | None = None) -> list[Trajectory]:
    search = partial(best_first, width=width, expansions=40, max_depth=10)
    options = RunOptions(trace=None if events is None else events.append)
    return list(run(search, problems, Kernel(), Uniform(), seed=seed, options=options))


def make_run(folder: Path, *, problems: int = 12, steps: int = 30) -> Path:
    """Fill `folder` and return it; what is in it was really searched, the curves are made up."""
    posed = [pose(r"A /\ (B \/ C) -> (A /\ B) \/ (A /\ C)"), pose("~~(~~A -> A)")]
    posed += islice(Kernel().problems("valid"), problems - len(posed))
    whole = Run.create(
        folder, {"experiment": "proof_flow", "preset": "tiny", "domain": "kernel", "arms": ["base", "gfn"]}
    )
    arms = {}
    for arm, width in (("base", 2), ("gfn", 8)):
        found: list[Trajectory] = []
        for seed in range(2):
            part = Run.create(folder / "arms" / f"{arm}-{seed}", {"arm": arm, "seed": seed})
            events: list[Event] = []
            plays = searched(posed, width=width, seed=seed, events=events)
            part.append(plays)
            lines = "".join(json.dumps(event) + "\n" for event in events)
            (part.path / "trace.jsonl").write_text(lines)
            for step in range(steps):
                rate = (1 - math.exp(-step / (6 * width))) * 0.8 + 0.02 * math.sin(step * (seed + 2))
                part.log({"step": step, "solve_rate": rate, "loss": 4 - 3 * rate, "tokens_per_second": 900 + 20 * seed})
            found += plays
        arms[arm] = row(found)
    whole.write_summary({"arms": arms, "machine": {"cores": 2, "memory_gib": 24, "rocq": None}})
    return folder


def row(plays: list[Trajectory]) -> dict[str, object]:
    solved = [play for play in plays if play.solved]
    rate = len(solved) / len(plays)
    return {
        "problems": len(plays) // 2,
        "solved": len({play.problem.key for play in solved}),
        "solve_rate": rate,
        "ci95": [max(0.0, rate - 0.15), min(1.0, rate + 0.15)],
        "distinct_proofs": len({(play.problem.key, play.actions) for play in solved}),
        "pass_at_k": {"1": rate / 2, "8": rate},
        "proposals": sum(play.info["proposals"] for play in plays),
        "steps": sum(play.info["steps"] for play in plays),
        "seconds": sum(play.info["seconds"] for play in plays),
        "seeds": 2,
    }
