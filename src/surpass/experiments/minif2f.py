"""miniF2F, or any folder of open lemmas in Rocq: what loads, what is attempted, what is solved, file by file.

Each `.v` file of a folder is loaded, its open lemmas are posed where they stand, automation tries each of them in one
step, and beside it, where a run is given, its policy with automation mixed in, best first. A proof counts when a fresh
process accepts it (T3). No text of a benchmark is shipped. The numbers, and what they are worth: `minif2f.md`.

    DIR/*.v ── files/NAME.json (problems, reasons) ──┬── search/automation-0 ──┐
                                                     └── search/policy-0 ──────┴── T3 ── table by file
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from surpass import report
from surpass.bounds import above, at_least
from surpass.core import Policy, Problem, Search, Status, Trajectory, Verdict
from surpass.domains.proofs.rocq.domain import ProofState, Rocq
from surpass.domains.proofs.rocq.prove_file import open_problems
from surpass.domains.proofs.rocq.session import SessionOptions
from surpass.errors import ConfigError, DataError, VerifierError
from surpass.evaluation.statistics import bootstrap, paired_bootstrap
from surpass.experiments.proof_flow_data import machine
from surpass.experiments.records import begin
from surpass.models.fixed import ROCQ_AUTOMATION, Fixed
from surpass.models.saved import prover_policy
from surpass.recorded import recheck, record_problems
from surpass.rollouts.budget import COSTS
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.search.best_first import best_first
from surpass.store import Run

# Of the arithmetic library under their full names: loading without importing changes no notation of a statement.
ARITHMETIC = ("intros; Lia.lia.", "intros; Lra.lra.", "intros; Lra.nra.", "intros; Lia.nia.")


@dataclass(frozen=True)
class Config:
    """Try the open lemmas of a folder of Rocq files by automation, and by the policy of a run."""

    path: Path = Path("minif2f-rocq")  # a folder of .v files; give --path
    run: Path | None = None  # a run whose policy is tried beside automation
    tactics: tuple[str, ...] = (*ROCQ_AUTOMATION, *ARITHMETIC)  # the automation baseline, each tried alone
    preamble: tuple[str, ...] = ("From Coq Require Lia Lra Psatz.",)  # said before each statement
    tactic_seconds: int = 5  # what Rocq gives each tactic, and Qed
    seconds: float = 60.0  # for each lemma with a policy, at most
    width: int = 16  # proposals for each state, with a policy
    expansions: int = 32  # of a search with a policy
    limit: int = 0  # files at most; 0: all
    jobs: int = 2  # files loaded at once
    seed: int = 0  # of the policy

    def __post_init__(self) -> None:
        at_least(self, tactic_seconds=1, width=1, expansions=1, limit=0, jobs=1)
        above(self, seconds=0)


PRESETS: Mapping[str, Config] = {
    "tiny": Config(limit=4, tactics=("auto.", "lia."), preamble=(), tactic_seconds=1, expansions=2),
    "small": Config(),
    "full": Config(tactic_seconds=10, seconds=600.0, width=32, expansions=512),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run, print the table and return the run's folder; `resume` tries no finished lemma again.

    Raises DataError for a folder without Rocq files, VerifierError without a prover, ConfigError for no tactics.
    """
    if not config.tactics:
        raise ConfigError("expected automation tactics in --tactics, found none")
    files = sorted(config.path.rglob("*.v"))[: config.limit or None]
    if not files:
        raise DataError(f"expected .v files in {config.path}, found none; give the benchmark's folder with --path DIR")
    kept = begin("minif2f", config, out=out, resume=resume, free=("jobs",))
    console = Console(stderr=True)
    console.print(f"run folder: {kept.path}")
    loaded = _load(config, kept.path, files, console)
    problems = [
        replace(one, data={**one.data, "preamble": list(config.preamble)}) for row in loaded for one in row.open
    ]
    if not problems:
        raise DataError(f"expected open lemmas that load in {config.path}, found none; see {kept.path / 'files'}")
    arms: dict[str, tuple[Policy, Search[ProofState], Budget]] = {"automation": _automation(config)}
    if config.run is not None:
        policy = prover_policy(config.run, tactics=config.tactics)
        search = partial(best_first, width=config.width, expansions=config.expansions)
        arms["policy"] = (policy, search, Budget(seconds=config.seconds))
    for name, arm in arms.items():
        attempt = partial(_attempts, config, *arm)
        record_problems(kept.path / "search" / f"{name}-{config.seed}", problems, attempt, console=console)
    checked = recheck("rocq", kept.path)
    kept.write_summary(_summary(config, kept.path, loaded, list(arms), checked))
    console.print(*show(kept.summary()))
    console.print(f"report: {report.write(kept.path)}")
    return kept.path


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one file before anything was tried."""

    file: str  # its name
    open: tuple[Problem, ...]
    skipped: tuple[str, ...]  # why something in it could not be posed


def _load(config: Config, folder: Path, files: Sequence[Path], console: Console) -> list[Loaded]:
    """Load each file in a prover of its own, unless its record is there; copies of mended files stay in the run."""
    (folder / "files").mkdir(exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar, ThreadPoolExecutor(max(1, config.jobs)) as pool:
        task = bar.add_task("loading files", total=len(files))
        found = []
        for one in pool.map(partial(_load_file, config.path, folder), files):
            found.append(one)
            bar.update(task, advance=1)
    return found


def _load_file(root: Path, folder: Path, file: Path) -> Loaded:
    name = str(file.relative_to(root))
    path = folder / "files" / f"{name.replace('/', '.')}.json"
    if not path.exists():
        scratch = folder / "sources" / name
        scratch.mkdir(parents=True, exist_ok=True)
        problems, skipped = open_problems(file, scratch)
        rows = [{"key": f"{name}: {one.key}", "group": one.group, "data": dict(one.data)} for one in problems]
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"problems": rows, "skipped": [one.reason for one in skipped]}), encoding="utf-8")
        fresh.replace(path)
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return Loaded(name, tuple(Problem(**one) for one in row["problems"]), tuple(row["skipped"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"expected a record of {name} in {path}, found {error!r}; delete it and resume") from error


def _automation(config: Config) -> tuple[Policy, Search[ProofState], Budget]:
    search = partial(best_first, width=len(config.tactics), expansions=1)
    return Fixed(config.tactics), search, Budget()


def _attempts(
    config: Config, policy: Policy, search: Search[ProofState], budget: Budget, problems: Sequence[Problem]
) -> Iterator[Trajectory]:
    """Attempt lemmas one after the other; one whose file does not take the preamble is tried without it.

    A lemma that cannot be posed either way, though it could when its file was loaded, is UNKNOWN ("lost").
    """
    options = SessionOptions(timeout=config.tactic_seconds, processes=2)
    with Rocq(problems, options=options) as domain:
        for problem in problems:
            settings = {"budget": budget, "seed": config.seed, "options": RunOptions(live=1)}
            try:
                yield from run(search, [problem], domain, policy, **settings)  # type: ignore[arg-type]
            except (VerifierError, DataError):
                bare = replace(problem, data={**problem.data, "preamble": []})
                try:
                    yield from run(search, [bare], domain, policy, **settings)  # type: ignore[arg-type]
                except (VerifierError, DataError) as error:  # one file must not end the run
                    verdict = Verdict(Status.UNKNOWN, (), f"minif2f: {error}")
                    yield Trajectory(bare, (), verdict, {"end": "lost", **dict.fromkeys(COSTS, 0)})


def _summary(
    config: Config, folder: Path, loaded: Sequence[Loaded], arms: Sequence[str], checked: Mapping[str, int]
) -> dict[str, Any]:
    found = {name: list(Run.open(folder / "search" / f"{name}-{config.seed}").trajectories()) for name in arms}
    cost = {name: Run.open(folder / "search" / f"{name}-{config.seed}").summary() for name in arms}
    keys = [one.key for row in loaded for one in row.open]
    proved = {name: {one.problem.key for one in records if one.solved} for name, records in found.items()}
    tables = {name: [float(key in solved) for key in keys] for name, solved in proved.items()}
    rows = {}
    for name in arms:
        rate = bootstrap(tables[name])
        rows[name] = {
            "problems": len(keys),
            "solved": sum(tables[name]),
            "solve_rate": rate.mean,
            "ci95": [rate.low, rate.high],
            "steps": cost[name]["steps"] / len(keys),
            "seconds": cost[name]["seconds"] / len(keys),
            # lemmas where a tactic or the search ran out of time; a goal left open after one step is no such thing
            "unknown": float(sum(_ran_out(one) for one in found[name])),
        }
    gain = paired_bootstrap([tables[arms[-1]]], [tables["automation"]])
    by_tactic = Counter(" ".join(one.actions) for one in found["automation"] if one.solved)
    return {
        "prover": "rocq",
        "files": len(loaded),
        "files_loaded": sum(bool(row.open) for row in loaded),
        "arms": rows,
        "policy - automation": {"difference": gain.mean, "ci95": [gain.low, gain.high]} if len(arms) > 1 else None,
        "automation_by_tactic": dict(by_tactic.most_common()),
        "checked": dict(checked),
        "by_file": {
            row.file: {
                "loaded": len(row.open),
                "not_loaded": list(row.skipped),
                **{name: sum(one.key in proved[name] for one in row.open) for name in arms},
            }
            for row in loaded
        },
        "machine": machine(),
    }


def _ran_out(trajectory: Trajectory) -> bool:
    return not trajectory.solved and (
        trajectory.info.get("unknown", 0) > 0 or trajectory.info.get("end") in ("budget", "lost")
    )


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables that a run ends with: the arms, and the files where something was solved or did not load."""
    arms = list(summary["arms"])
    rows = Table("policy", "solved", "of", "rate", "95 % interval", "out of time", "seconds")
    for name, row in summary["arms"].items():
        low, high = row["ci95"]
        told = (f"{row['solved']:.0f}", str(row["problems"]), f"{row['solve_rate']:.1%}", f"{low:.1%} to {high:.1%}")
        rows.add_row(name, *told, f"{row['unknown']:.0f}", f"{row['seconds']:.1f}")
    title = f"{summary['files_loaded']} of {summary['files']} files loaded; those with a proof or a reason:"
    files = Table("file", "open lemmas", *arms, "not loaded, because", title=title)
    for file, row in summary["by_file"].items():
        if row["not_loaded"] or any(row[name] for name in arms):
            reason = (row["not_loaded"] or [""])[0]
            files.add_row(file, str(row["loaded"]), *(str(row[name]) for name in arms), reason[:60])
    return [rows, files]
