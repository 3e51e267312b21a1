"""From lemmas to new lemmas with proofs: mutate, prove, ask the policy, keep what it barely proves.

    files/TOP.json       what became of the lemmas of each source file (`conjectures.py`)
    sources/TOP/         the conjectures, as open lemmas
    search/provers-0/    best-first search by automation, neighbours, and the parents by name
    samples/policy-0/    whole proofs that the policy writes, at temperature 1

A proof counts when a fresh process accepts it (T3). A conjecture is *barely* proved where a proof stands and the
policy's own samples prove it at most so often: those are what it can learn from most. An interrupted run goes on where
it was. Lemmas that are held out are looked at only to leave out what they state; parents and neighbours are others. The
provers may name any lemma that the library offers, though, as human proofs may.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from surpass.core import Policy, Problem, Trajectory
from surpass.domains.proofs.rocq.by_name import ByName
from surpass.domains.proofs.rocq.conjectures import KINDS, Conjecture, Mutated, MutationOptions, mutate, novel, pose
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.protocol import CommandFailed, Exhausted, ProcessDied
from surpass.domains.proofs.rocq.reading import examples
from surpass.domains.proofs.rocq.session import SessionOptions, Source
from surpass.domains.proofs.text import without_premises
from surpass.errors import DataError, VerifierError
from surpass.models.fixed import ROCQ_AUTOMATION, Fixed
from surpass.models.mixture import Mixture
from surpass.models.neighbours import Neighbours
from surpass.recorded import recheck, record_problems
from surpass.rollouts.runner import Budget, RunOptions, derive_seed, run
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from surpass.store import Run

TACTICS = ("intros.", *ROCQ_AUTOMATION)  # most proofs of a mutant begin so
WIDTH = 16  # proposals of the provers for each state; a search of fewer calls could not begin
_PROVERS, _POLICY = Path("search", "provers-0"), Path("samples", "policy-0")


@dataclass(frozen=True, slots=True)
class Trying:
    """How conjectures are tried."""

    calls: int = 4 * WIDTH  # verifier calls of the search, for each conjecture
    samples: int = 8  # whole proofs by the policy
    max_steps: int = 6  # tactics of a proof, at most
    tactic_seconds: int = 2  # what Rocq gives each tactic
    live: int = 16  # conjectures tried at once
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """A conjecture, and what stands of it."""

    problem: Problem
    proofs: tuple[Trajectory, ...]  # T3, distinct, the shortest first; observations as a policy sees them
    rate: float | None  # share of the policy's samples that stand; None where it was not asked

    def barely(self, low: float, high: float) -> bool:
        """Tell whether there is a proof, and the policy's rate lies in [low, high]."""
        return bool(self.proofs) and (self.rate is None or low <= self.rate <= high)


@dataclass(frozen=True, slots=True)
class Known:
    """The lemmas of a corpus, by what may be done with them."""

    all: Sequence[Problem]  # none of these is stated again
    taught: Sequence[Problem]  # with human proofs: partners of mutation, and examples for the provers
    seeds: Sequence[Problem]  # of those, the ones that are mutated


def conjecture(
    folder: Path,
    known: Known,
    policy: Policy | None,
    *,
    mutation: MutationOptions = MutationOptions(),  # noqa: B008 - frozen
    trying: Trying = Trying(),
) -> list[Judged]:
    """Make, prove and judge conjectures in a folder, and write its summary; goes on where it was interrupted.

    Raises DataError where nothing comes of the lemmas, VerifierError without a prover.
    """
    console = Console(stderr=True)
    problems = made(folder, known, mutation, console)
    attempts = partial(_proved, known.taught, trying)
    record_problems(folder / _PROVERS, problems, attempts, console=console)
    if policy is not None:
        record_problems(folder / _POLICY, problems, partial(_written, policy, trying), console=console)
    if not (folder / "summary.json").exists():
        recheck("rocq", folder)
        Run(folder).write_summary(summary(folder, judged(folder, problems)))
    return judged(folder, problems)


def made(folder: Path, known: Known, options: MutationOptions, console: Console) -> list[Problem]:
    """Return the conjectures of a folder as problems; made first, file by file, where they are not there yet."""
    path = folder / "problems.json"
    if not path.exists():
        (folder / "files").mkdir(parents=True, exist_ok=True)
        files = list(dict.fromkeys(one.group for one in known.seeds))
        found = [_mutated(folder, known, file, options) for file in track(files, "mutating", console=console)]
        kept = [one for one in novel([one for one in found if one is not None]) if one.conjectures]
        posed = [one for each in kept for one in pose(each, folder / "sources" / each.source.top, known.taught)]
        _write(path, [{"key": one.key, "group": one.group, "data": dict(one.data)} for one in posed])
    problems = [Problem(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    if not problems:
        raise DataError(f"expected conjectures of {len(known.seeds)} lemmas, found none; take more lemmas")
    return problems


def judged(folder: Path, problems: Sequence[Problem]) -> list[Judged]:
    """Return what the records of a folder say of its conjectures."""
    proofs, asked = defaultdict[str, dict[tuple[str, ...], Trajectory]](dict), defaultdict[str, list[bool]](list)
    for part in (_PROVERS, _POLICY):
        if (folder / part / "config.json").exists():
            for one in Run(folder / part).trajectories():
                if part == _POLICY:
                    asked[one.problem.key].append(one.solved)
                if one.solved:
                    proofs[one.problem.key].setdefault(one.actions, _as_seen(one))
    return [
        Judged(
            problem,
            tuple(sorted(proofs[problem.key].values(), key=lambda one: (len(one.steps), one.actions))),
            sum(tries) / len(tries) if (tries := asked[problem.key]) else None,
        )
        for problem in problems
    ]


def summary(folder: Path, found: Sequence[Judged]) -> dict[str, Any]:
    """Return counts: conjectures and those proved, by mutation; how often the policy proves those; what was dropped."""
    dropped: Counter[str] = Counter()
    for path in sorted((folder / "files").glob("*.json")):
        dropped.update(json.loads(path.read_text(encoding="utf-8")).get("dropped", {}))
    proved = [one for one in found if one.proofs]
    rates = [one.rate for one in proved if one.rate is not None]
    by_kind = {
        kind: {
            "made": sum(one.problem.data["conjecture"]["mutation"] == kind for one in found),
            "proved": sum(one.problem.data["conjecture"]["mutation"] == kind for one in proved),
        }
        for kind in KINDS
    }
    return {
        "conjectures": len(found),
        "proved": len(proved),
        "by_mutation": by_kind,
        "policy_rate": {
            "asked": len(rates),
            "never": sum(rate == 0 for rate in rates),
            "barely": sum(0 < rate <= 0.5 for rate in rates),
            "mostly": sum(rate > 0.5 for rate in rates),
        },
        "dropped": dict(dropped.most_common()),
    }


def _mutated(folder: Path, known: Known, file: str, options: MutationOptions) -> Mutated | None:
    """Return the mutants of one file, from its record where there is one; None, and why, where it cannot be loaded."""
    lemmas, taught, seeds = (
        [one for one in some if one.group == file] for some in (known.all, known.taught, known.seeds)
    )
    data = seeds[0].data
    path = folder / "files" / f"{data['top']}.json"
    if not path.exists():
        source = Source(str(data["file"]), str(data["top"]), bool(data["noinit"]), tuple(data["options"]))
        try:
            found = mutate(source, lemmas, seeds, partners=taught, options=options)
        except (CommandFailed, Exhausted, ProcessDied, DataError, VerifierError) as error:
            _write(path, {"failed": str(error)})
        else:
            row = {"source": asdict(source), "header": found.header, "stated": sorted(found.stated)}
            mutants = [asdict(one) for one in found.conjectures]
            _write(path, {**row, "conjectures": mutants, "dropped": dict(found.dropped)})
    row = json.loads(path.read_text(encoding="utf-8"))
    if "failed" in row:
        return None
    source = Source(**{**row["source"], "options": tuple(row["source"]["options"])})
    kept = tuple(Conjecture(**{**one, "parents": tuple(one["parents"])}) for one in row["conjectures"])
    return Mutated(source, tuple(row["header"]), kept, frozenset(row["stated"]), Counter(row["dropped"]))


def _proved(taught: Sequence[Problem], trying: Trying, problems: Sequence[Problem]) -> Iterator[Trajectory]:
    """Search for proofs by what needs no training; the parents of each conjecture are offered by name."""
    sources: list[tuple[Policy, float]] = [(Fixed(TACTICS), 1.0), (ByName(), 1.0)]
    if pairs := [pair for one in taught for pair in examples(one)]:
        sources.append((Neighbours(pairs), 1.0))
    search = partial(best_first, width=WIDTH, expansions=trying.calls, max_depth=trying.max_steps, solutions=2)
    with Rocq(problems, options=_session(trying)) as domain:
        yield from run(
            search,
            problems,
            domain.offering(_parents),
            Mixture(sources),
            budget=Budget(steps=trying.calls, proposals=64 * trying.calls),
            seed=derive_seed(trying.seed, "provers"),
            options=RunOptions(live=trying.live),
        )


def _written(policy: Policy, trying: Trying, problems: Sequence[Problem]) -> Iterator[Trajectory]:
    """Let the policy write whole proofs."""
    search = partial(sample, n=trying.samples, max_steps=trying.max_steps)
    with Rocq(problems, options=_session(trying)) as domain:
        seed, options = derive_seed(trying.seed, "policy"), RunOptions(live=trying.live)
        yield from run(search, problems, domain, policy, seed=seed, options=options)


def _session(trying: Trying) -> SessionOptions:
    return SessionOptions(timeout=trying.tactic_seconds, processes=2)


def _parents(problem: Problem, goals: str) -> Sequence[str]:
    """Offer the lemmas that a conjecture was made of, the mutated one last: it is the likeliest."""
    del goals
    return [*reversed(problem.data["conjecture"]["parents"])]


def _as_seen(trajectory: Trajectory) -> Trajectory:
    """Return a trajectory whose observations offer no premises: a policy that learns from it will see none."""
    steps = tuple(
        replace(step, observation=replace(step.observation, text=without_premises(step.observation.text)))
        for step in trajectory.steps
    )
    return replace(trajectory, steps=steps)


def _write(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    fresh.replace(path)
