"""Checking the stored successes of a run again, from their records alone.

A record is a problem and the actions; nothing else of it is believed, least of all its verdict. Its evidence names
the checker, and that checker judges once more, started fresh, without the states, caches and processes of a run.
Records that were not accepted are not looked at: an UNKNOWN may well be solvable, and claims nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

from surpass.core import Status, Trajectory, Verdict, replay
from surpass.domains import DOMAINS
from surpass.errors import DataError
from surpass.store import Run


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one stored success."""

    problem: str
    actions: tuple[str, ...]
    verdict: Verdict

    @property
    def stands(self) -> bool:
        return self.verdict.status is Status.ACCEPTED


def verify_run(folder: Path) -> list[Check]:
    """Check every distinct success stored in a run folder or in its parts.

    Raises DataError where there is no record, or one names a checker that is not known here.
    """
    Run.open(folder)
    found: dict[tuple[str, str, str, tuple[str, ...]], Trajectory] = {}
    for part in parts(folder):
        for trajectory in part.trajectories():
            if trajectory.solved:
                problem = trajectory.problem
                identity = (checker(trajectory), problem.key, repr(problem.data), trajectory.actions)
                found.setdefault(identity, trajectory)
    kept = list(found.values())
    return [Check(one.problem.key, one.actions, said) for one, said in zip(kept, judge_again(kept), strict=True)]


def judge_again(trajectories: Sequence[Trajectory], *, workers: int = 1) -> list[Verdict]:
    """Return the fresh verdict of each trajectory's own checker, in order.

    With several `workers`, as many groups of problems (source files) are judged at once, each in a thread that waits
    for the processes of its checker. Raises DataError for evidence of no known checker, and what the checkers raise.
    """
    shares: dict[tuple[str, str], list[int]] = {}
    for index, trajectory in enumerate(trajectories):
        group = trajectory.problem.group if workers > 1 else ""
        shares.setdefault((checker(trajectory), group), []).append(index)
    verdicts: dict[int, Verdict] = {}
    with ThreadPoolExecutor(workers) as pool:
        said = [
            pool.submit(CHECKERS[name], [trajectories[index] for index in share]) for (name, _), share in shares.items()
        ]
        for share, answer in zip(shares.values(), said, strict=True):
            verdicts.update(zip(share, answer.result(), strict=True))
    return [verdicts[index] for index in range(len(trajectories))]


def parts(folder: Path) -> list[Run]:
    """Return a run and the runs inside it, by path: every folder that keeps a record. Raises DataError for none."""
    names = ("metrics.jsonl", "trajectories.jsonl")
    found = sorted({path.parent for name in names for path in folder.rglob(name)})
    if not found:
        raise DataError(f"expected {' or '.join(names)} in {folder} or below, found neither; give the folder of a run")
    return [Run(path) for path in found]


def checker(trajectory: Trajectory) -> str:
    """Return the name of the checker that accepted a trajectory: the first word of the evidence, in lower case."""
    name = (trajectory.verdict.evidence.split() or [""])[0].strip(";,:").lower()
    if name not in CHECKERS:
        evidence = trajectory.verdict.evidence
        known = ", ".join(CHECKERS)
        raise DataError(f"{trajectory.problem.key}: expected evidence naming one of {known}, found {evidence!r}")
    return name


def by_rules(name: str, trajectories: Sequence[Trajectory]) -> list[Verdict]:
    """Return what a domain that is its own checker says of plays: its rules decide, not their canonical spelling."""
    domain = resolve_name(DOMAINS[name])(canonical=False)
    return [replay(domain, one.problem, one.actions).verdict for one in trajectories]


def in_rocq(trajectories: Sequence[Trajectory]) -> list[Verdict]:
    """Return what fresh processes of Rocq say of whole scripts, one process for each source file."""
    from surpass.domains.proofs.rocq.trust import recheck

    return recheck(trajectories)


def in_lean(trajectories: Sequence[Trajectory]) -> list[Verdict]:
    """Return what fresh processes of Lean say of whole declarations, one process for each project."""
    from surpass.domains.proofs.lean.trust import recheck

    return recheck(trajectories)


CHECKERS: Mapping[str, Callable[[Sequence[Trajectory]], list[Verdict]]] = {
    **{name: partial(by_rules, name) for name in ("kernel", "game24", "blocksworld", "prontoqa")},
    "lean": in_lean,
    "rocq": in_rocq,
}
