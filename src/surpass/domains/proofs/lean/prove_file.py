"""Filling the `sorry`s of a Lean file where they stand, and writing the proofs into it.

A proof counts once a fresh process has accepted it (`trust.recheck`), and the file is replaced, in one step, only after
the whole changed file has been elaborated by another. Theorems with several holes, definitions and holes inside terms
are left open and named. A proof may rest on the usual axioms and on those that the file declares, never on `sorryAx`:
so not on theorems above it that are still open.

Not here: policies and searches (they are given), and the command line. **Developed without Lean**, see README.md.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from surpass.core import Policy, Problem, Search, Status, Trajectory
from surpass.domains.proofs.lean.domain import Lean, ProofState
from surpass.domains.proofs.lean.loaders import in_file, lake_project
from surpass.domains.proofs.lean.place import Place, source_text
from surpass.domains.proofs.lean.protocol import LeanInteract, Opener, ProcessDiedError, command
from surpass.domains.proofs.lean.rules import normalise
from surpass.domains.proofs.lean.session import Pool
from surpass.domains.proofs.lean.source import mask
from surpass.domains.proofs.lean.trust import LOAD, recheck
from surpass.domains.proofs.rewrite import ProveReport, Skipped, changed, difference, replace_file, unwritable
from surpass.errors import DataError, VerifierError
from surpass.rollouts.runner import Budget, RunOptions, run

_AXIOM = re.compile(r"^axiom\s+([^\s:({\[⦃]+)", re.MULTILINE)


def open_problems(path: Path | str, opener: Opener) -> tuple[list[Problem], list[Skipped]]:
    """Return the holes of a file as problems with the goal that Lean states, and what cannot be posed, with the reason.

    Raises DataError where the file cannot be read, VerifierError where Lean cannot be started.
    """
    found, skipped = in_file(path)
    posed, pool = list[Problem](), Pool(opener)
    if found:
        opener(str(found[0].data["project"])).close()  # what raises here is no fault of a theorem
    try:
        for problem in found:
            text = source_text(str(problem.data["file"]))
            above = mask(text)[: int(problem.data["position"])]
            data = {**problem.data, "axioms": _AXIOM.findall(above)}
            one = replace(problem, data=data)
            try:
                goals = pool.goals(Place.of(one))
            except VerifierError as error:
                line = text.count("\n", 0, int(problem.data["position"])) + 1
                skipped.append(Skipped(str(problem.data["name"]), line, str(error)))
            else:
                posed.append(replace(problem, data={**data, "goals": "\n\n".join(goals)}))
    finally:
        pool.close()
    return posed, sorted(skipped, key=lambda one: one.line)


def prove_file(  # noqa: PLR0913 - who starts Lean, besides what proving any file takes
    path: Path | str,
    policy: Policy,
    search: Search[ProofState],
    *,
    opener: Opener = LeanInteract(),  # noqa: B008 - frozen
    budget: Budget = Budget(),  # noqa: B008 - frozen
    seed: int = 0,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    write: bool = False,
) -> ProveReport:
    """Attempt every hole of a file with `search`, check what was found anew, and, if asked, write it down.

    Raises DataError where the file cannot be read, or not be written though it should, VerifierError where Lean cannot
    be started.
    """
    file = Path(path).resolve()
    text = _read_again(file)  # it may have changed since
    if write and (refused := unwritable(file)):
        raise DataError(refused)
    problems, skipped = open_problems(file, opener)
    found = list[Trajectory]()
    if problems:
        with Lean(problems, opener) as domain:
            found = list(run(search, problems, domain, policy, budget=budget, seed=seed, options=options))
    best = {t.problem.key: t for t in sorted(found, key=lambda t: t.solved)}
    solved = [t for t in best.values() if t.solved]
    verdicts = recheck(solved, opener=opener)
    proved = [t for t, verdict in zip(solved, verdicts, strict=True) if verdict.status is Status.ACCEPTED]
    diff, refusal = "", ""
    if write and proved:
        after = changed(text, {_span(t): _filled(t) for t in proved})
        refusal = _elaborate(text, after, file, opener, len(proved))
        refusal = refusal or replace_file(file, _read_again(file), text, after)
        diff = "" if refusal else difference(file, text, after)
    return ProveReport(
        str(file),
        tuple(best[problem.key] for problem in problems if problem.key in best),
        {t.problem.key: _filled(t) for t in proved},
        tuple(skipped),
        "theorems",
        diff=diff,
        refusal=refusal,
    )


def _filled(trajectory: Trajectory) -> str:
    place = Place.of(trajectory.problem)
    return place.filled(place.script([normalise(action) for action in trajectory.actions]))


def _span(trajectory: Trajectory) -> tuple[int, int]:
    return int(trajectory.problem.data["position"]), int(trajectory.problem.data["end"])


def _elaborate(before: str, after: str, file: Path, opener: Opener, filled: int) -> str:
    """Elaborate the file as it was and as changed, in fresh processes; return what speaks against it, or nothing."""
    holes = list[int]()
    for text in (before, after):
        repl = opener(lake_project(file))
        try:
            answer = command(repl, text, None, LOAD)
        except ProcessDiedError as died:
            return f"expected the changed file to elaborate, found: {died}; nothing was written"
        finally:
            repl.close()
        if answer.message:
            return f"expected the changed file to elaborate, found: {answer.message[-500:]}; nothing was written"
        holes.append(answer.holes)
    if holes[1] != holes[0] - filled:
        return f"expected {filled} of {holes[0]} holes to be filled, found {holes[1]} left; nothing was written"
    return ""


def _read_again(file: Path) -> str:
    source_text.cache_clear()
    return source_text(str(file))
