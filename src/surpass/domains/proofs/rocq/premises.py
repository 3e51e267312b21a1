"""Which lemmas stand at hand where a lemma of a corpus is stated: their names as Rocq prints them there, statements.

`collect` replays the files of a corpus and writes `premises/<Dir.File>.json.gz` beside its lemmas; `Library` reads it.
What is accessible is never guessed from the text of a library: Rocq is asked (`Search`) at the first lemma after each
sentence that changes what can be named (`Require`, `Import`, `Include`, the begin or end of a module or section).
Between two such answers the file's own statements are added as they come. So an entry holds for an interval of
positions: from where its name could be said to where it no longer could.

    accessible(p) = { entry : since <= p < until }        p: the index of the lemma's statement among the sentences

A lemma is never among its own premises, nor is any that comes after it; files that are required count with all that
they hold, and files that are not do not count. Definitions, types and constructors are recorded with their kind and are
no premises. Not here: which premises suit a goal (`retrieval.py`).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from surpass.bounds import above, at_least
from surpass.core import Problem
from surpass.domains.proofs.retrieval import Demand, Premise
from surpass.domains.proofs.rocq.protocol import CommandFailed, Exhausted, Limits, ProcessDied, Toplevel, version
from surpass.domains.proofs.rocq.sentences import split, without_comments
from surpass.domains.proofs.rocq.session import Source, source_text
from surpass.domains.proofs.rocq.walk import UNENDED, Replayed, walk
from surpass.errors import DataError, SurpassError, VerifierError

FORMAT = 1  # of the files in `premises/`; raised when their meaning changes
NEVER = 1 << 40  # a position behind every file: the end of an entry that is never lost

_PROVED = ("Theorem", "Lemma", "Fact", "Remark", "Corollary", "Proposition", "Property")
_KINDS = (*_PROVED, "Axiom", "Parameter", "Conjecture")
_LOGICAL = " | ".join(f"is:{kind}" for kind in _KINDS)
_QUERIES = {True: f"Search [{_LOGICAL}].", False: f"Search -[{_LOGICAL}]."}  # whether a name is a premise
_ANSWER = re.compile(r"(?P<name>[^\s:(]+):\s+(?P<type>.*)", re.DOTALL)
_ATTRIBUTES = r"(?:#\[[^\]]*\]\s*)*(?:(?:Local|Global|Polymorphic|Monomorphic|Private|Program)\s+)*"
_SCOPE = re.compile(rf"{_ATTRIBUTES}(?:Require|From|Import|Export|Include|Module|Section|End|Declare\s+Module)\b")
_STATED = re.compile(
    rf"{_ATTRIBUTES}(?P<kind>{'|'.join(_KINDS)}|Example|Definition|Fixpoint|CoFixpoint|Inductive|CoInductive|Variant|Record|"
    rf"Structure|Class|Instance)\s+(?P<name>[\w'.]+)\s*(?P<type>.*)\.",
    re.DOTALL,
)
_NAME = re.compile(r"(?<![\w'.])[^\W\d][\w']*(?:\.[^\W\d][\w']*)*")
_HYPOTHESES = re.compile(r"^(?!\|-)(?P<names>[^:|]+?)\s*:", re.MULTILINE)
# Tactics that share their names with constants of the standard library, where they begin a tactic.
_HEAD = re.compile(
    r"(?:^|[;.(\[|]|\b(?:try|repeat|do|now|by|solve|first|progress|else|then)\b|\b(?:all|\d+):)\s*"
    r"(left|right|split|exists|constructor|case|elim|cut|apply|exact|rewrite|symmetry|transitivity|reflexivity)\b(?!')"
)


@dataclass(frozen=True, slots=True)
class PremisesConfig:
    """Where the lemmas are, and how their premises are collected."""

    corpus: Annotated[Path, tyro.conf.Positional]  # a folder that `surpass proofs extract` has made
    jobs: int = 2  # provers alive at once
    deadline: float = 300.0  # seconds one sentence may take

    def __post_init__(self) -> None:
        at_least(self, jobs=1)
        above(self, deadline=0)


def main(config: PremisesConfig) -> int:
    """`surpass proofs premises CORPUS`: collect, and say what was found; 2 where no file could be replayed."""
    started = time.monotonic()
    counts, failed = collect(config.corpus, jobs=config.jobs, deadline=config.deadline)
    for top, reason in failed.items():
        print(f"{top}: {reason}")
    seconds = time.monotonic() - started
    print(f"{len(counts)} files, {sum(counts.values())} entries, in {config.corpus / 'premises'} ({seconds:.0f} s)")
    return 0 if counts else 2


def collect(corpus: Path, *, jobs: int = 2, deadline: float = 300.0) -> tuple[dict[str, int], dict[str, str]]:
    """Write the premises of every file of a corpus; files that were done are kept.

    Returns the number of entries of each file, and why a file could not be replayed. Raises DataError where there is no
    corpus, VerifierError without a prover; an interrupt leaves whole files.
    """
    headers = [_header(path) for path in sorted((corpus / "files").glob("*.jsonl"))]
    if not headers:
        raise DataError(f"expected a corpus in {corpus}, found no files/*.jsonl; see `surpass proofs extract --help`")
    version()  # a missing prover is one message, not one for each file
    (corpus / "premises").mkdir(exist_ok=True)
    counts, failed, stop = dict[str, int](), dict[str, str](), threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar, ThreadPoolExecutor(jobs) as pool:
        task = bar.add_task("premises", total=len(headers))
        futures = {pool.submit(_collect_file, corpus, one, deadline, stop): one["top"] for one in headers}
        try:
            for future in as_completed(futures):
                top = futures[future]
                try:
                    counts[top] = future.result()
                except (SurpassError, CommandFailed, Exhausted, ProcessDied, OSError, UnicodeDecodeError) as error:
                    failed[top] = str(error)
                bar.update(task, advance=1, description=top)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return dict(sorted(counts.items())), dict(sorted(failed.items()))


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as lines:
            header = json.loads(next(lines))
            return {name: header[name] for name in ("file", "top", "noinit", "options", "checker", "lemmas")}
    except (OSError, StopIteration, ValueError, TypeError, KeyError) as error:
        raise DataError(f"expected a header in {path}, found {error!r}; extract the corpus again") from error


def _collect_file(corpus: Path, header: Mapping[str, Any], deadline: float, stop: threading.Event) -> int:
    path = _path(corpus, header["top"])
    told = {"format": FORMAT, "checker": header["checker"], "modified": os.path.getmtime(header["file"])}
    if path.exists() and told.items() <= (found := _read(path)).items():
        return len(found["entries"])
    source = Source(header["file"], header["top"], header["noinit"], tuple(header["options"]))
    entries = _entries(source, deadline, stop) if header["lemmas"] else []
    fresh = path.with_suffix(".new")
    with gzip.open(fresh, "wt", encoding="utf-8") as file:
        json.dump({**told, "top": header["top"], "entries": entries}, file, ensure_ascii=False)
    fresh.replace(path)
    return len(entries)


def _path(corpus: Path, top: str) -> Path:
    return corpus / "premises" / f"{top}.json.gz"


def _read(path: Path) -> dict[str, Any]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise DataError(
            f"expected premises in {path}, found {error!r}; delete the file and run `surpass proofs premises` again"
        ) from error


Entry = list[Any]  # [name, whether it is a premise, since, until, statement]: a line of the file


class _Record:
    """The entries of one file while it is replayed."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.live: dict[str, int] = {}  # name -> its entry

    def open(self, name: str, premise: bool, since: int, statement: str) -> None:
        self.close(name, since)
        self.live[name] = len(self.entries)
        self.entries.append([name, premise, since, NEVER, statement])

    def close(self, name: str, until: int) -> None:
        if name in self.live:
            self.entries[self.live.pop(name)][3] = until

    def state(self, text: str, position: int) -> None:
        """Take in a declaration of the file itself, usable from the next sentence on."""
        if stated := _STATED.fullmatch(without_comments(text)):
            premise = stated["kind"] in (*_KINDS, "Example")
            self.open(stated["name"], premise, position + 1, _plain(stated["type"]) if premise else "")

    def look(self, found: Mapping[str, tuple[bool, str]], met: Replayed, lost: int) -> None:
        """Take in all that Rocq can name just after the proof of `met`; what is gone was lost at position `lost`."""
        own = met.name if met.name in found else next((n for n in found if n.endswith(f".{met.name}")), met.name)
        for name in [name for name in self.live if name not in found]:
            self.close(name, lost)
        for name, (premise, statement) in found.items():
            known = self.entries[self.live[name]] if name in self.live else None
            if known is None or known[4] != statement:
                self.open(name, premise, met.position + (name == own), statement)


def _entries(source: Source, deadline: float, stop: threading.Event) -> list[Entry]:
    sentences = split(source_text(source.file))
    record, seen, first = _Record(), 0, True
    with Toplevel(source.top, source.options, Limits(call=deadline), noinit=source.noinit) as top:
        for met in walk(top, sentences, source.top):
            if stop.is_set():
                raise VerifierError("interrupted")
            if isinstance(met, str) or met.reason == UNENDED:
                continue
            between = range(seen, met.position)
            for at in between:
                record.state(sentences[at].text, at)
            changed = [at for at in between if _SCOPE.match(without_comments(sentences[at].text))]
            if first or changed:
                record.look(_named(top), met, changed[0] if changed else met.position)
                first = False
            record.state(met.statement, met.position)
            seen = met.position + 1
    return [entry for entry in record.entries if entry[2] < entry[3]]


def _named(top: Toplevel) -> dict[str, tuple[bool, str]]:
    """Return all that can be named at the tip: whether it is a premise, and its statement (premises only)."""
    found = dict[str, tuple[bool, str]]()
    for premise, query in _QUERIES.items():
        for message in top.query(query):
            if answer := _ANSWER.match(message):
                found[answer["name"]] = (premise, _plain(answer["type"]) if premise else "")
    return found


def _plain(text: str) -> str:
    return " ".join(text.split()).removeprefix(":").strip()


class Library:
    """What a corpus knows of premises; files are read when first asked for. Pickles as the path of the corpus."""

    def __init__(self, corpus: Path | str) -> None:
        self.corpus = Path(corpus)
        self._shared: dict[Premise, Premise] = {}  # most files see the same lemmas
        self._entries = lru_cache(maxsize=None)(self._load)
        self._at = lru_cache(maxsize=1024)(self._accessible)

    def __reduce__(self) -> tuple[type[Library], tuple[Path]]:
        return Library, (self.corpus,)

    def __call__(self, problem: Problem) -> tuple[Premise, ...]:
        """Return the premises of a lemma, in the order in which they became accessible: the newest last.

        Raises DataError where the premises of its file were not collected.
        """
        return self._at(str(problem.data["top"]), int(problem.data["position"]))

    def _accessible(self, top: str, at: int) -> tuple[Premise, ...]:
        return tuple(one for since, until, one in self._entries(top) if since <= at < until)

    def _load(self, top: str) -> list[tuple[int, int, Premise]]:
        path = _path(self.corpus, top)
        if not path.exists():
            raise DataError(f"expected premises in {path}, found none; run `surpass proofs premises {self.corpus}`")
        rows = [
            (since, until, self._shared.setdefault(one := Premise(name, statement), one))
            for name, premise, since, until, statement in _read(path)["entries"]
            if premise
        ]
        return sorted(rows, key=lambda row: row[0])


def used(goals: str, tactic: str, names: Mapping[str, object]) -> list[str]:
    """Return which of the accessible `names` a tactic mentions, in order; hypotheses and tactics are no premises.

    >>> names = {"Nat.add_comm": 0, "le_n": 0, "left": 0, "n": 0}
    >>> used("n : nat\\n|- n <= n", "left; rewrite (Nat.add_comm n), PeanoNat.Nat.add_comm; apply (le_n n).", names)
    ['Nat.add_comm', 'le_n']
    """
    local = {name.strip() for found in _HYPOTHESES.finditer(goals) for name in found["names"].split(",")}
    heads = {found.start(1) for found in _HEAD.finditer(tactic)}
    seen = dict[str, None]()
    for found in _NAME.finditer(tactic):
        if found[0] not in local and found.start() not in heads and (name := _known(found[0], names)):
            seen[name] = None
    return list(seen)


def _known(token: str, names: Mapping[str, object]) -> str:
    """Return the accessible name that a token means: itself, or without the modules that it need not have named."""
    while token not in names and "." in token:
        token = token.partition(".")[2]
    return token if token in names else ""


def demands(problems: Sequence[Problem], library: Library) -> Iterator[Demand]:
    """Yield every step of human proofs that mentions premises, with what was accessible there."""
    for problem in problems:
        accessible = library(problem)
        index = {one.name: at for at, one in enumerate(accessible)}
        for goals, tactic in zip(problem.data["steps"], problem.data["solution"], strict=True):
            if names := used(goals, tactic, index):
                yield Demand(problem, goals, accessible, frozenset(index[name] for name in names))
