"""How much of a Rocq development this package can work with: which files and proofs replay, which do not, and why.

Each file is replayed once, as `extraction` does, up to its end or to the first sentence that does not run. Each human
proof met on the way that is a problem for a policy is then played, tactic by tactic, through the domain: text rules,
wrapped sentences, `Qed`, assumptions. What happens to it is one of

    replays    the domain accepts the human proof (T2)
    differs    it runs as written, but not as actions of a policy
    skipped    it is no problem for a policy (a transparent definition, an admitted lemma, ...)
    unreached  it stands behind a sentence that does not run

A file that is bad is reported, whatever is wrong with it. Needs the compiled libraries that the files require; writes
nothing but the report. Not here: making a corpus of it (`extraction`).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from surpass.bounds import above, at_least
from surpass.core import Problem, replay
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.extraction import TROUBLE, ExtractConfig, replay_file, sources
from surpass.domains.proofs.rocq.protocol import Limits, Toplevel, version
from surpass.domains.proofs.rocq.sentences import Sentence, split
from surpass.domains.proofs.rocq.session import SessionOptions, Source, source_text
from surpass.domains.proofs.rocq.walk import is_statement, stated
from surpass.errors import SurpassError

Fate = Literal["replays", "differs", "skipped", "unreached"]
FATES: tuple[Fate, ...] = ("replays", "differs", "skipped", "unreached")
_FILES = 40  # in one table; more are added up by folder
_REASON = 160  # characters


@dataclass(frozen=True)
class CoverageConfig:
    """What to look at."""

    path: Annotated[str, tyro.conf.Positional]  # a folder of .v files, one file, or "stdlib"
    name: str = ""  # its logical name; default: from _CoqProject, else the folder's name
    subset: str = ""  # folders of it, separated by commas; default: all
    jobs: int = 2  # provers alive at once
    limit: int = 0  # files at most; 0: all
    deadline: float = 120.0  # seconds one sentence of a file may take
    timeout: int = 10  # seconds one tactic may take as an action
    json: Path | None = None  # where to write the report, too

    def __post_init__(self) -> None:
        at_least(self, jobs=1, limit=0, timeout=1)
        above(self, deadline=0)


@dataclass(frozen=True, slots=True)
class ProofCoverage:
    """One proof."""

    name: str
    line: int
    fate: Fate
    reason: str = ""  # empty where it replays


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """One file; `ran` of its `sentences` run, all of them unless it `stops`."""

    file: str
    top: str
    sentences: int
    ran: int
    stops: str  # where, and what Rocq says; or why the file cannot be read
    proofs: tuple[ProofCoverage, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """A development; `complete` unless it was interrupted."""

    checker: str
    path: str
    complete: bool
    files: tuple[FileCoverage, ...]

    @property
    def totals(self) -> dict[str, int]:
        """Return how many files there are and run to their end, and how many proofs met each fate."""
        fates = Counter(proof.fate for file in self.files for proof in file.proofs)
        whole = sum(not file.stops for file in self.files)
        return {"files": len(self.files), "whole files": whole, **{fate: fates[fate] for fate in FATES}}

    def table(self) -> Table:
        """Return counts by file, or by folder where there are many, then what went wrong."""
        by_folder = len(self.files) > _FILES
        groups = dict[str, list[FileCoverage]]()
        for file in self.files:
            groups.setdefault(file.top.rpartition(".")[0] if by_folder else file.top, []).append(file)
        table = Table("folder" if by_folder else "file", "runs", *FATES, title=escape(f"{self.path} ({self.checker})"))
        for name, files in groups.items():
            fates = Counter(proof.fate for file in files for proof in file.proofs)
            ran, there = sum(file.ran for file in files), sum(file.sentences for file in files)
            shown = [str(fates[fate] or "") for fate in FATES]
            table.add_row(escape(name), f"{ran / there:.0%}" if there else "", *shown)
        return table

    def reasons(self) -> list[str]:
        """Return where files stop, and why proofs were skipped or differ, with how often and an example."""
        lines = [f"{file.top} stops: {file.stops}" for file in self.files if file.stops]
        for fate in ("differs", "skipped"):
            found = dict[str, list[str]]()
            for file in self.files:
                for proof in file.proofs:
                    if proof.fate == fate:
                        found.setdefault(proof.reason, []).append(
                            f"{proof.name or 'unnamed'} ({file.top}:{proof.line})"
                        )
            for reason, names in sorted(found.items(), key=lambda item: -len(item[1])):
                lines.append(f"{fate} {len(names)}: {reason}; first {names[0]}")
        return lines


def main(config: CoverageConfig) -> int:
    """`surpass proofs coverage PATH`: print the report, and write it where asked; 2 where no file runs to its end."""
    found = cover(config)
    if config.json is not None:
        whole = {"totals": found.totals, **asdict(found)}
        config.json.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console = Console()
    console.print(found.table())
    for line in found.reasons():
        console.print(escape(line), highlight=False)
    totals = found.totals
    proofs = sum(totals[fate] for fate in FATES)
    shown = ", ".join(f"{fate} {totals[fate]}" for fate in FATES)
    console.print(f"{totals['whole files']} of {totals['files']} files run to their end; {proofs} proofs: {shown}")
    if not found.complete:
        return 130
    return 0 if totals["whole files"] else 2


def cover(config: CoverageConfig) -> Coverage:
    """Replay a development and return what became of it; an interrupt ends it with what there is.

    Raises ConfigError or DataError where there is nothing to replay, VerifierError without a prover.
    """
    library = config.path == "stdlib" and not Path(config.path).exists()
    path = "" if library else config.path
    found = sources(ExtractConfig(path=path, name=config.name, subset=config.subset, limit=config.limit))
    checker, stop, reports, complete = f"rocq {version()}", threading.Event(), list[FileCoverage](), True
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with bar, ThreadPoolExecutor(config.jobs) as pool:
        task = bar.add_task("replaying", total=len(found))
        largest = sorted(found, key=lambda source: -os.path.getsize(source.file))
        futures = [pool.submit(_cover, source, config, stop) for source in largest]
        try:
            for future in as_completed(futures):
                reports.append(future.result())
                bar.update(task, advance=1, description=reports[-1].top)
        except KeyboardInterrupt:
            complete = False
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return Coverage(checker, config.path, complete, tuple(sorted(reports, key=lambda file: file.top)))


def _cover(source: Source, config: CoverageConfig, stop: threading.Event) -> FileCoverage:
    """Replay one file, and its proofs as actions; whatever is wrong with it is in the report."""
    began, sentences, ran, stops, text = time.monotonic(), list[Sentence](), 0, "", ""
    proofs = dict[int, tuple[str, Fate, str]]()  # by position
    try:
        text = source_text(source.file)
        sentences = split(text)
        with Toplevel(source.top, source.options, Limits(call=config.deadline), noinit=source.noinit) as top:
            found = replay_file(top, sentences, source.top, stop)
        ran = len(sentences)
        if found.failure:
            start = found.failure.start
            ran = next(index for index, sentence in enumerate(sentences) if sentence.start == start)
            stops = _brief(f"line {_line(text, start)}, {text[start:][:40]!r}: {found.failure.__cause__}")
        proofs |= {met.position: (met.name, "skipped", _brief(met.reason)) for met in found.skipped}
        proofs |= _played(source, found.records, config, stop)
        if found.failure:
            unseen = [index for index, one in enumerate(sentences) if index not in proofs and is_statement(one.text)]
            proofs |= {index: (stated(sentences[index].text), "unreached", stops) for index in unseen}
    except TROUBLE as error:
        stops = stops or _brief(error)
    told = [
        ProofCoverage(name, _line(text, sentences[position].start), fate, reason)
        for position, (name, fate, reason) in sorted(proofs.items())
    ]
    seconds = round(time.monotonic() - began, 2)
    return FileCoverage(source.file, source.top, len(sentences), ran, stops, tuple(told), seconds)


def _played(
    source: Source, records: Sequence[Mapping[str, Any]], config: CoverageConfig, stop: threading.Event
) -> dict[int, tuple[str, Fate, str]]:
    """Play human proofs through the domain, the last of the file first: going back in a file costs nothing."""
    told = dict[int, tuple[str, Fate, str]]()
    options = SessionOptions(timeout=config.timeout, limits=Limits(call=config.deadline))
    with Rocq((), options=options) as domain:
        for record in sorted(records, key=lambda one: -int(one["position"])):
            if stop.is_set():
                break
            problem = Problem(str(record["key"]), source.file, {**asdict(source), **record})
            try:
                played = replay(domain, problem, record["solution"])
            except SurpassError as error:
                reason = str(error)
            else:
                reason = "" if played.solved else played.verdict.evidence.split("; ", 3)[-1]
            name = str(record["name"]).rpartition(".")[2]
            told[int(record["position"])] = (name, "differs" if reason else "replays", _brief(reason))
    return told


def _line(text: str, start: int) -> int:
    return text.count("\n", 0, start) + 1


def _brief(reason: object) -> str:
    return " ".join(str(reason).split())[:_REASON]
