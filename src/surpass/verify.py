"""Checking the stored successes of a run again, from their records alone.

A record is a problem and the actions; nothing else of it is believed, least of all its verdict. Its evidence names
the checker, and that checker judges once more, started fresh, without the states, caches and processes of a run; what
it has said before of the very same script, under the same versions, may be remembered (`verdicts.py`).
Records that were not accepted are not looked at: an UNKNOWN may well be solvable, and claims nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import tyro

from surpass.core import Status, Trajectory, Verdict, replay
from surpass.domains import DOMAINS
from surpass.errors import DataError
from surpass.store import Run
from surpass.verdicts import Verdicts, remembered


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What to check, and how."""

    run: Annotated[Path, tyro.conf.Positional]  # a run folder
    fresh: bool = False  # ask again even what a fresh process has judged before under the same versions
    sources: Path | None = None  # where Rocq sources lie now, if elsewhere than when the corpus was extracted
    coqchk: bool = False  # check what stands once more with Rocq's separate checker (T4): seconds for each proof


@dataclass(frozen=True, slots=True)
class Terms:
    """How checkers are asked; those that start no processes need none of it."""

    known: Verdicts | None = None  # what fresh processes have said before
    sources: Path | None = None  # where sources lie, if not where the record says
    coqchk: bool = False  # ask a second checker about what the first accepts


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one stored success."""

    problem: str
    actions: tuple[str, ...]
    verdict: Verdict

    @property
    def stands(self) -> bool:
        return self.verdict.status is Status.ACCEPTED


def main(options: VerifyOptions) -> int:
    """`surpass verify RUN`: print what does not stand, and how many do; 1 where any falls."""
    known = None if options.fresh else remembered()
    checks = verify_run(options.run, Terms(known, options.sources, options.coqchk))
    fallen = [check for check in checks if not check.stands]
    for check in fallen:
        print(f"{check.problem}: {check.verdict.status}, {check.verdict.evidence}")
    before = f" ({known.hits} known from before; --fresh asks again)" if known and known.hits else ""
    print(f"{len(checks) - len(fallen)} of {len(checks)} stored successes stand{before}")
    return 1 if fallen else 0


def verify_run(folder: Path, terms: Terms = Terms()) -> list[Check]:
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
    return [
        Check(one.problem.key, one.actions, said)
        for one, said in zip(kept, judge_again(kept, terms=terms), strict=True)
    ]


def judge_again(
    trajectories: Sequence[Trajectory],
    *,
    workers: int = 1,
    terms: Terms = Terms(),
) -> list[Verdict]:
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
            pool.submit(ask, name, [trajectories[index] for index in share], terms)
            for (name, _), share in shares.items()
        ]
        for share, answer in zip(shares.values(), said, strict=True):
            verdicts.update(zip(share, answer.result(), strict=True))
    return [verdicts[index] for index in range(len(trajectories))]


def ask(name: str, trajectories: Sequence[Trajectory], terms: Terms) -> list[Verdict]:
    """Return the verdicts of the checker of that name, in order; where it says UNKNOWN it is asked once more.

    An UNKNOWN speaks of a busy minute of this machine more often than of a proof.
    """
    verdicts = CHECKERS[name](trajectories, terms)
    unsure = [index for index, verdict in enumerate(verdicts) if verdict.status is Status.UNKNOWN]
    if unsure:
        for index, verdict in zip(unsure, CHECKERS[name]([trajectories[i] for i in unsure], terms), strict=True):
            verdicts[index] = verdict
    return verdicts


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


def by_rules(name: str, trajectories: Sequence[Trajectory], terms: Terms) -> list[Verdict]:
    """Return what a domain that is its own checker says of plays: its rules decide, not their canonical spelling."""
    domain = resolve_name(DOMAINS[name])(canonical=False)
    return [replay(domain, one.problem, one.actions).verdict for one in trajectories]


def in_rocq(trajectories: Sequence[Trajectory], terms: Terms) -> list[Verdict]:
    """Return what fresh processes of Rocq say of whole scripts, one process for each source file."""
    from surpass.domains.proofs.rocq import kernel_check
    from surpass.domains.proofs.rocq.relocation import relocated
    from surpass.domains.proofs.rocq.remembered import recheck

    here = [replace(one, problem=relocated(one.problem, terms.sources)) for one in trajectories]
    verdicts = recheck(here, terms.known)
    if terms.coqchk:
        standing = [index for index, verdict in enumerate(verdicts) if verdict.status is Status.ACCEPTED]
        for index, verdict in zip(standing, kernel_check.check([here[index] for index in standing]), strict=True):
            verdicts[index] = verdict
    return verdicts


def in_lean(trajectories: Sequence[Trajectory], terms: Terms) -> list[Verdict]:
    """Return what fresh processes of Lean say of whole declarations, one process for each project."""
    from surpass.domains.proofs.lean.trust import recheck

    return recheck(trajectories)


CHECKERS: Mapping[str, Callable[[Sequence[Trajectory], Terms], list[Verdict]]] = {
    **{name: partial(by_rules, name) for name in ("kernel", "game24", "blocksworld", "prontoqa")},
    "lean": in_lean,
    "rocq": in_rocq,
}
