"""Proving the open lemmas of a Rocq file where they stand, and writing the proofs into it.

A lemma is open where its proof ends in `Admitted.` or `Abort.`, is empty (`Proof. Qed.`), or where the file ends before
it does. A proof counts once a fresh process has accepted it (`trust.recheck`), and the file is replaced, in one step,
only after the whole changed file has compiled in a scratch folder: proofs that it does not compile with are left out
and named. Nothing that a person has written is lost: comments stay, each tactic of an unfinished attempt becomes one.

**Assumptions.** There is no human proof to compare with, so a proof may rest on what stands at its place: the axioms
and parameters that Rocq knows there, and lemmas left open earlier in the same file (those stay visible in it).
Not here: policies and searches (they are given), and the command line.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count as count_from
from itertools import pairwise
from pathlib import Path

from surpass.core import Policy, Problem, Search, Status, Trajectory
from surpass.domains.proofs.rewrite import ProveReport, Skipped, changed, difference, replace_file, unwritable
from surpass.domains.proofs.rocq.assumptions import known_axioms
from surpass.domains.proofs.rocq.domain import ProofState, Rocq
from surpass.domains.proofs.rocq.extraction import logical_name, project_options, record
from surpass.domains.proofs.rocq.kernel_check import compile_text
from surpass.domains.proofs.rocq.protocol import CommandFailed, Exhausted, Limits, ProcessDied, Toplevel
from surpass.domains.proofs.rocq.remembered import recheck
from surpass.domains.proofs.rocq.sentences import Sentence, commented, split
from surpass.domains.proofs.rocq.session import Source, source_text
from surpass.domains.proofs.rocq.walk import UNENDED, RefusedError, Replayed, is_open, is_statement, walk
from surpass.errors import DataError, VerifierError
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.verdicts import remembered

_EMPTY = re.compile(r"(?:Qed|Defined)\s*\.")
_END = re.compile(r"(?:Admitted|Abort|Qed|Defined)\b")
_PROOF = re.compile(r"Proof\b")


def open_problems(
    path: Path | str, scratch: Path | str, *, deadline: float = 120.0
) -> tuple[list[Problem], list[Skipped]]:
    """Return the open lemmas of a file as problems, and what cannot be posed, with the reason.

    Where an empty proof would stop Rocq, the problems refer to a copy in `scratch` that admits it: keep that folder
    while they are used. `deadline` is in seconds for each sentence. Raises DataError where the file cannot be read.
    """
    file = Path(path).resolve()
    text = source_text(file)
    try:
        sentences = split(text)
    except DataError as error:
        return [], [Skipped(file.name, 1, str(error))]
    options = project_options(file.parent) or ("-Q", str(file.parent), "")
    source = Source(str(file), logical_name(file, options), False, options)
    mended = _mend(sentences)
    if mended != sentences:
        copy = Path(scratch) / file.name
        copy.write_text(changed(text, {(m.start, m.end): m.text for m in mended if m not in sentences}))
        source = Source(str(copy), source.top, False, options)
    problems, skipped = list[Problem](), list[Skipped]()
    try:
        with Toplevel(source.top, source.options, Limits(call=deadline)) as top:
            for met in _open_proofs(top, mended, source.top):
                if met.reason in (met.closing, UNENDED):
                    assumptions = [*known_axioms(top), *(problem.data["name"] for problem in problems)]
                    problems.append(_problem(met, source, sentences, assumptions))
                else:
                    line = text.count("\n", 0, sentences[met.position].start) + 1
                    skipped.append(Skipped(met.name or met.statement[:40], line, met.reason))
    except RefusedError as refused:
        skipped.append(Skipped(file.name, text.count("\n", 0, refused.start) + 1, str(refused)))
    except (VerifierError, CommandFailed, Exhausted, ProcessDied) as error:
        skipped.append(Skipped(file.name, 1, str(error)))
    return _told_apart(problems), skipped


def prove_file(
    path: Path | str,
    policy: Policy,
    search: Search[ProofState],
    *,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    seed: int = 0,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    write: bool = False,
) -> ProveReport:
    """Attempt every open lemma of a file with `search`, check what was found anew, and, if asked, write it down.

    Raises DataError where the file cannot be read, or not be written though it should; a file that Rocq refuses gives a
    report that says so.
    """
    file = Path(path).resolve()
    text = source_text(file)
    if write and (refused := unwritable(file)):
        raise DataError(refused)
    with tempfile.TemporaryDirectory(prefix="surpass-prove-") as scratch:
        problems, skipped = open_problems(file, scratch)
        with Rocq(problems) as domain:
            found = list(run(search, problems, domain, policy, budget=budget, seed=seed, options=options))
        best = {t.problem.key: t for t in sorted(found, key=lambda t: t.solved)}
        solved = [t for t in best.values() if t.solved]
        known = remembered()
        verdicts = recheck(solved, known)
        proved = [t for t, verdict in zip(solved, verdicts, strict=True) if verdict.status is Status.ACCEPTED]
        diff, refusal, left_out = "", "", dict[str, str]()
        if write and proved:
            kept, left_out = _fitting(text, proved, file, Path(scratch))
            after = changed(text, kept)
            if not kept:
                reason = next(iter(left_out.values()))
                refusal = f"expected the changed file to compile, found {reason}; nothing was written"
            elif not (refusal := replace_file(file, source_text(file), text, after)):
                diff = difference(file, text, after)
        return ProveReport(
            str(file),
            tuple(best[problem.key] for problem in problems),
            {t.problem.key: _script(t, opening=True) for t in proved},
            tuple(skipped),
            diff=diff,
            refusal=refusal,
            left_out=left_out,
            known=known.hits if known else 0,
        )


def _mend(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Admit each proof that ends before it begins: such a `Qed.` never succeeds and would stop Rocq."""
    mended = list(sentences)
    for index, (before, sentence) in enumerate(pairwise(sentences), start=1):
        if _EMPTY.fullmatch(sentence.text) and (_PROOF.match(before.text) or is_statement(before.text)):
            mended[index] = Sentence("Admitted.", sentence.start, sentence.end)
    return mended


def _open_proofs(top: Toplevel, sentences: Sequence[Sentence], library: str) -> Iterator[Replayed]:
    for met in walk(top, sentences, library):
        if isinstance(met, Replayed) and is_open(met):
            yield met


def _told_apart(problems: Sequence[Problem]) -> list[Problem]:
    """Return problems under unique keys: a name may be stated twice, where a proof is aborted or a section ends."""
    names = Counter(problem.key for problem in problems)
    return [
        problem if names[problem.key] == 1 else replace(problem, key=f"{problem.key}@{problem.data['position']}")
        for problem in problems
    ]


def _problem(met: Replayed, source: Source, sentences: Sequence[Sentence], assumptions: Sequence[str]) -> Problem:
    """Return an open lemma as a problem; `span` are the characters of the file that a proof replaces."""
    begin = met.position + bool(met.opening)
    end = begin + len(met.script) + bool(met.closing)
    data = record(met) | {
        "file": source.file,
        "top": source.top,
        "noinit": source.noinit,
        "options": list(source.options),
        "solution": (),
        "steps": (),
        "assumptions": list(assumptions),
        "span": (sentences[begin].end, sentences[end].end),
    }
    return Problem(data["key"], source.file, data)


def _script(trajectory: Trajectory, *, opening: bool = False) -> str:
    """Return the proof as it is written into the file; with its `Proof.` in any case if `opening`."""
    first = trajectory.problem.data["opening"] if opening else ""
    first = first or ("" if trajectory.problem.data["opening"] else "Proof.")
    return "\n".join(filter(None, (first, laid_out(trajectory.actions), "Qed.")))


def laid_out(actions: Sequence[str]) -> str:
    """Return a script as lines of a file, one tactic on each, its bullets and braces before it."""
    lines, marks = list[str](), list[str]()
    for action in actions:
        marks.append(action)
        if not Sentence(action, 0, len(action)).undotted or action == "}":
            lines.append("  " + " ".join(marks))
            marks.clear()
    return "\n".join([*lines, *(["  " + " ".join(marks)] if marks else [])])


def _kept(old: str) -> str:
    """Return an unfinished attempt without its end, each of its sentences as a comment.

    >>> _kept(" (* why? *) intro n. Admitted.")
    ' (* why? *) (* intro n. *)'
    """
    found = split(old)
    if found and _END.match(found[-1].text):
        old = old[: found.pop().start]
    return changed(old, {(one.start, one.end): commented(one.text) for one in found}).rstrip()


Changes = Mapping[tuple[int, int], str]  # from start to end of a text -> what stands there instead


def _fitting(
    text: str, proved: Sequence[Trajectory], file: Path, scratch: Path
) -> tuple[dict[tuple[int, int], str], dict[str, str]]:
    """Return the proofs that fit into a file together, as changes of it, and what Rocq says of the others."""
    options = project_options(file.parent) or ("-Q", str(file.parent), "")
    source = Source(str(file), logical_name(file, options), False, options)
    changes, admitted = dict[str, Changes](), dict[tuple[int, int], str]()
    for one in proved:
        start, end = one.problem.data["span"]
        kept = _kept(text[start:end])
        changes[one.problem.key] = {(start, end): f"{kept}\n{_script(one)}"}
        admitted[start, end] = f"{kept}\nAdmitted."
    return fitting(changes, text, source, base=changed(text, admitted), scratch=scratch / "compile")


def fitting(
    changes: Mapping[str, Changes], text: str, source: Source, *, base: str, scratch: Path
) -> tuple[dict[tuple[int, int], str], dict[str, str]]:
    """Return the changes of a text that compile together, and what Rocq says of the text with each of the others.

    Where they do not all fit, halves of them are tried, unless `base`, the text with other proofs, does not compile
    either. `scratch` is a new folder.
    """
    scratch.mkdir()
    kept, refused, count = dict[tuple[int, int], str](), dict[str, str](), count_from(1)

    def compiled(new: str) -> str:
        folder = scratch / str(next(count))
        return " ".join(compile_text(new, source, folder).replace(f"{folder}/", "").split())

    def keep(some: Sequence[str], *, sure: bool) -> None:
        together = kept | {span: new for key in some for span, new in changes[key].items()}
        if not (reason := compiled(changed(text, together))):
            kept.update(together)
        elif len(some) == 1:
            refused[some[0]] = reason
        elif not sure and (reason := compiled(base)):
            refused.update(dict.fromkeys(some, reason))
        else:
            keep(some[: len(some) // 2], sure=True)
            keep(some[len(some) // 2 :], sure=True)

    if changes:
        keep([*changes], sure=False)
    return kept, refused
