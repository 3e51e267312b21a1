"""Extracting lemmas and their human proofs from Rocq sources, by replaying each file once.

`extract` replays the installed standard library, or a folder of `.v` files, in live provers (one per job) and writes a
corpus folder: `manifest.json` (what was extracted and skipped, by file) and one `files/<Dir.File>.jsonl` per source
file, atomically, so that an interrupted run resumes. No text of a library is shipped: it is read where it is installed.

**Assumptions.** `Print Assumptions` after each proof takes 0.2 s (median), four times the replay of a proof. It is
asked once per module instead, before `End`, of one term that mentions every extracted lemma of the module. The list is
thus a bound: no proof of the module rests on more. Where it is not empty, whoever judges a proof of one lemma asks what
the human proof of that lemma rests on (`trust`), so that no axiom of its neighbours is permitted.

**Skipped, with the reason in the manifest:** what no tactic proof can be compared with (transparent definitions, whose
content matters; instances; obligations; unnamed goals), nested proofs, proofs with sentences that are no tactics, and
lemmas for which a check of the kernel (guard, positivity, universes) was off, where stated or below what they rest on.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from surpass.bounds import above, at_least
from surpass.domains.proofs.rocq.assumptions import rests_on
from surpass.domains.proofs.rocq.corpus import FORMAT
from surpass.domains.proofs.rocq.protocol import CommandFailed, Exhausted, Limits, ProcessDied, Toplevel, version
from surpass.domains.proofs.rocq.sentences import Sentence, split
from surpass.domains.proofs.rocq.session import Source, source_text
from surpass.domains.proofs.rocq.walk import RefusedError, Replayed, walk
from surpass.errors import ConfigError, DataError, SurpassError, VerifierError

TROUBLE = (SurpassError, CommandFailed, Exhausted, ProcessDied, OSError, UnicodeDecodeError)  # of one file, reported
BYPASS = "rests on what was defined while a check of the kernel was off"
SUBSETS = {"basics": ("Logic", "Bool", "Arith", "Lists")}  # folders of the standard library: under two minutes


@dataclass(frozen=True)
class ExtractConfig:
    """What to extract, and where to."""

    library: str = "stdlib"  # the standard library, or another one installed beside it, such as mathcomp
    path: str = ""  # a folder of .v files whose compiled libraries exist, or one such file
    name: str = ""  # its logical name (as in -R path name); default: from _CoqProject, else the folder's name
    out: str = ""  # the corpus folder; default: corpora/<library, or name>
    subset: str = ""  # basics, or folders of the library separated by commas; default: all
    jobs: int = 2  # provers alive at once
    limit: int = 0  # source files at most; 0: all
    deadline: float = 300.0  # seconds one sentence may take

    def __post_init__(self) -> None:
        at_least(self, jobs=1, limit=0)
        above(self, deadline=0)
        if self.name and not all(part.isidentifier() for part in self.name.split(".")):
            raise ConfigError(f"name: expected a logical name such as My.Library, found {self.name!r}")


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one source file."""

    top: str
    lemmas: int
    skipped: dict[str, int]  # reason -> count
    seconds: float
    failed: str = ""  # why the file could not be replayed


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What became of all of them; also written into the manifest."""

    out: str
    files: tuple[FileReport, ...]
    seconds: float

    @property
    def lemmas(self) -> int:
        return sum(file.lemmas for file in self.files)

    @property
    def skipped(self) -> Counter[str]:
        return sum((Counter(file.skipped) for file in self.files), Counter())

    @property
    def useless(self) -> bool:
        """Whether no file at all could be replayed."""
        return all(file.failed for file in self.files)

    def table(self) -> Table:
        """Return the counts by folder, and the reasons for what was skipped."""
        table = Table(
            "folder", "files", "lemmas", "skipped", "failed files", title=f"{self.out} ({self.seconds:.0f} s)"
        )
        folders = dict[str, list[FileReport]]()
        for file in self.files:
            folders.setdefault(file.top.rpartition(".")[0], []).append(file)
        for folder, files in sorted(folders.items()):
            counts = (len(files), sum(f.lemmas for f in files), sum(sum(f.skipped.values()) for f in files))
            table.add_row(folder, *map(str, counts), str(sum(bool(f.failed) for f in files)))
        table.add_section()
        for reason, count in self.skipped.most_common():
            table.add_row(f"skipped: {reason}", "", "", str(count), "")
        for file in self.files:
            if file.failed:
                table.add_row(f"{file.top}: {file.failed}", "", "", "", "1")
        return table


def extract(config: ExtractConfig, progress: Progress | None = None) -> ExtractReport:
    """Extract a corpus and return the report; files already there are not replayed again.

    An interrupt leaves the finished files and their manifest. Raises ConfigError for a request that cannot be met,
    VerifierError without a prover; a file that cannot be replayed is reported, not raised.
    """
    started = time.monotonic()
    found = sources(config)
    out = Path(config.out or f"corpora/{config.name or (Path(config.path).name if config.path else config.library)}")
    try:
        (out / "files").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"expected --out to name a folder, or none yet, found {out} ({error.strerror})") from error
    stop, reports = threading.Event(), list[FileReport]()
    bar = progress or Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Threads: the work is done by the prover processes. Large files first, so that none is left alone at the end.
    with bar, ThreadPoolExecutor(config.jobs) as pool:
        task = bar.add_task("replaying", total=len(found))
        futures = [
            pool.submit(_extract_file, source, out, config.deadline, stop)
            for source in sorted(found, key=lambda source: -os.path.getsize(source.file))
        ]
        try:
            for future in as_completed(futures):
                reports.append(future.result())
                bar.update(task, advance=1, description=reports[-1].top)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            files = tuple(sorted(filter(None, map(_result, futures)), key=lambda file: file.top))
            report = ExtractReport(str(out), files, round(time.monotonic() - started, 1))
            complete = len(files) == len(found) and not report.useless
            whole = {"checker": f"rocq {version()}", "config": asdict(config), "complete": complete}
            _write(out / "manifest.json", json.dumps({**whole, **asdict(report)}, indent=1) + "\n")
    return report


def is_complete(corpus: Path) -> bool:
    """Whether an extraction into this folder has ended well: one that was interrupted, or got nothing, says so."""
    try:
        return bool(json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))["complete"])
    except (OSError, ValueError, KeyError):
        return False


def obtain(config: ExtractConfig, own: Collection[Path]) -> None:
    """Extract the corpus of an experiment's preset where it is missing or was left unfinished.

    `own` are the folders that presets name. Raises DataError for another folder without a whole corpus: a misspelt path
    asks for nothing. VerifierError without a working Rocq.
    """
    corpus = Path(config.out)
    if is_complete(corpus):
        return
    if corpus not in own:
        raise DataError(
            f"expected a whole corpus in {corpus}, found none; give the path of one, or make it with "
            f"`surpass proofs extract --out {corpus}`"
        )
    extract(config)


def _result(future: Future[FileReport]) -> FileReport | None:
    done = future.done() and not future.cancelled() and future.exception() is None
    return future.result() if done else None


def _write(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def sources(config: ExtractConfig) -> list[Source]:
    """Return the source files that `config` asks for, ordered by logical name.

    Raises ConfigError for an unknown library or subset and DataError where there are no sources.
    """
    if config.path:
        place = Path(config.path).resolve()
        root = place.parent if place.is_file() else place
        usual = ("-Q", str(root), "") if place.is_file() else ("-R", str(root), root.name)
        options = ("-R", str(root), config.name) if config.name else project_options(root) or usual
    elif config.library == "stdlib":
        root, options = library_root() / "theories", ()
    elif config.library.isidentifier() and (root := library_root() / "user-contrib" / config.library).is_dir():
        options = ("-R", str(root), config.library)
    else:
        raise ConfigError(
            f"expected library 'stdlib', one installed in {library_root() / 'user-contrib'}, or a path, found library "
            f"{config.library!r}; install it (mathcomp: apt-get install libcoq-mathcomp-ssreflect), or give --path DIR"
        )
    folders = SUBSETS.get(config.subset, tuple(filter(None, config.subset.split(","))))
    if unknown := [folder for folder in folders if not (root / folder).is_dir()]:
        names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        raise ConfigError(f"expected subset {', '.join(SUBSETS)} or folders among {', '.join(names)}; found {unknown}")
    files = sorted(
        file for folder in folders or (".",) for file in (root / folder).rglob("*.v") if _is_source(file, root)
    )
    if config.path and place.is_file():
        files = [place]
    if not files:
        raise DataError(f"expected .v files in {root}, found none; give a folder of sources, or install the library's")
    found = [
        Source(
            str(file),
            f"Coq.{dotted(file.relative_to(root))}" if not options else logical_name(file, options),
            not options and file.is_relative_to(root / "Init"),
            options,
        )
        for file in files
    ]
    return sorted(found, key=lambda source: source.top)[: config.limit or None]


def _is_source(file: Path, root: Path) -> bool:
    """Tell whether a file is not a copy that a build tool has made or installed (dune, opam)."""
    folders = file.relative_to(root).parts[:-1]
    return file.is_file() and not any(part.startswith(".") or part in ("_build", "_opam") for part in folders)


def dotted(relative: Path) -> str:
    """Return the logical name of a path relative to its root.

    >>> dotted(Path("Lists/List.v"))
    'Lists.List'
    """
    return ".".join(relative.with_suffix("").parts)


def library_root() -> Path:
    """Return the folder that `coqc -where` names. Raises VerifierError where it cannot be asked."""
    try:
        answer = subprocess.run(["coqc", "-where"], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise VerifierError(
            f"expected `coqc -where` to answer, found {error}; install Rocq: apt-get install coq"
        ) from error
    return Path(answer.stdout.strip())


def project_options(folder: Path) -> tuple[str, ...]:
    """Return the load path arguments of the nearest `_CoqProject` at or above `folder`, folders made absolute.

    Raises DataError where that cannot be read.
    """
    for near in (folder, *folder.parents):
        project = near / "_CoqProject"
        if project.is_file():
            words = _words(project, source_text(project), comments=True)
            break
    else:
        return ()
    options, arity = list[str](), {"-R": 2, "-Q": 2, "-I": 1}
    while words:
        word = words.pop(0)
        if word in arity:
            taken = [words.pop(0) for _ in range(min(arity[word], len(words)))]
            options += [word, str((near / taken[0]).resolve()), *taken[1:]]
        elif word == "-arg" and words:
            options += _words(project, words.pop(0))
    return tuple(options)


def _words(project: Path, text: str, *, comments: bool = False) -> list[str]:
    try:
        return shlex.split(text, comments=comments)
    except ValueError as error:
        raise DataError(f"expected arguments of Rocq in {project}, found {error}; mend that file") from error


def logical_name(file: Path, options: Sequence[str]) -> str:
    """Return the logical name of a file under the load path arguments; its stem where none covers it.

    >>> logical_name(Path("/p/src/A/B.v"), ("-Q", "/p/src", "Lib"))
    'Lib.A.B'
    """
    for flag, folder, name in zip(options, options[1:], options[2:], strict=False):
        if flag in ("-R", "-Q") and file.is_relative_to(folder):
            return ".".join(filter(None, (name, dotted(file.relative_to(folder)))))
    return re.sub(r"\W", "_", file.stem)


def _extract_file(source: Source, out: Path, deadline: float, stop: threading.Event) -> FileReport:
    """Replay one file and write its record, unless it is there; a file that cannot be replayed is reported."""
    path = out / "files" / f"{source.top}.jsonl"
    expected = {"format": FORMAT, "checker": f"rocq {version()}", "modified": os.path.getmtime(source.file)}
    if (header := _header(path)) and expected.items() <= header.items():
        return FileReport(source.top, header["lemmas"], header["skipped"], header["seconds"])
    started = time.monotonic()
    try:
        sentences = split(source_text(source.file))
        with Toplevel(source.top, source.options, Limits(call=deadline), noinit=source.noinit) as top:
            found = replay_file(top, sentences, source.top, stop)
        if found.failure:
            raise found.failure
    except TROUBLE as error:
        return FileReport(source.top, 0, {}, time.monotonic() - started, str(error))
    skipped = Counter(met.reason for met in found.skipped)
    report = FileReport(source.top, len(found.records), dict(skipped), round(time.monotonic() - started, 2))
    header = {**expected, **asdict(report), **asdict(source)}
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *found.records))
    _write(path, text)
    return report


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as lines:
            return dict(json.loads(next(lines)))
    except (OSError, StopIteration, ValueError, TypeError):  # missing or torn: replayed again
        return {}


@dataclass(frozen=True, slots=True)
class Replay:
    """What a file held, as far as it runs."""

    records: list[dict[str, Any]]  # proofs that are problems, their assumptions with them
    skipped: list[Replayed]  # proofs that are none
    failure: RefusedError | None  # the sentence that does not run, if any


def replay_file(top: Toplevel, sentences: Sequence[Sentence], library: str, stop: threading.Event) -> Replay:
    """Replay a file in a fresh prover, as far as it runs. Raises VerifierError where `stop` is set meanwhile."""
    records, skipped = list[dict[str, Any]](), list[Replayed]()
    pending = dict[str, list[tuple[dict[str, Any], Replayed]]]()  # module -> lemmas not asked about yet
    failure = None

    def assume(group: Sequence[tuple[dict[str, Any], Replayed]]) -> None:
        bypassing = _assume(top, [one for one, _ in group])
        skipped.extend(replace(met, reason=BYPASS) for one, met in group if one["name"] in bypassing)
        records[:] = [one for one in records if one["name"] not in bypassing]

    try:
        for met in walk(top, sentences, library):
            if stop.is_set():
                raise VerifierError("interrupted")
            if isinstance(met, str):
                assume(pending.pop(met, []))
            elif met.reason:
                skipped.append(met)
            else:
                records.append(record(met))
                pending.setdefault(met.module, []).append((records[-1], met))
    except RefusedError as refused:
        failure = refused
    if failure and top.alive:
        with suppress(CommandFailed, Exhausted):  # there may be none
            top.run("Abort All.")
    for group in pending.values() if top.alive else ():
        with suppress(CommandFailed, Exhausted, ProcessDied) if failure else nullcontext():  # one reason is enough
            assume(group)
    names = Counter(one["name"] for one in records)
    for one in records:
        if names[one["name"]] > 1:  # `Let` of two sections
            one["key"] = f"{one['name']}@{one['position']}"
    return Replay(records, skipped, failure)


def record(met: Replayed) -> dict[str, Any]:
    """Return what a corpus says of a proof, but for its assumptions and its file."""
    return {
        "key": f"{met.module}.{met.name}",
        "name": f"{met.module}.{met.name}",
        "kind": met.kind,
        "position": met.position,
        "statement": met.statement,
        "opening": met.opening,
        "goals": met.goals,
        "solution": met.script,
        "steps": met.steps,
        "closing": met.closing,
    }


def _assume(top: Toplevel, records: Sequence[dict[str, Any]]) -> set[str]:
    """Give each record the axioms that the proofs of all of them rest on; the tip stays.

    Returns the names of those that rest on a check of the kernel that was off.
    """
    if not records:
        return set()
    names = [one["name"] for one in records]
    try:
        found, off = _assumptions(top, names)
    except (CommandFailed, Exhausted):  # a `Let` cannot be mentioned once its section is closed
        names = [name for name in names if _known(top, name)]
        found, off = _assumptions(top, names)
    for one in records:
        one["assumptions"] = found
    return _bypassing(top, names) if off else set()


def _bypassing(top: Toplevel, names: Sequence[str]) -> set[str]:
    """Return those of some lemmas that rest on a check that was off, by halves."""
    if not names or not _assumptions(top, names)[1]:
        return set()
    half = len(names) // 2
    return {*names} if not half else _bypassing(top, names[:half]) | _bypassing(top, names[half:])


def _assumptions(top: Toplevel, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the axioms that some lemmas rest on, by their full names, and what Rocq says of checks that were off."""
    tip, lemma = top.tip, "surpass_mentions"
    mentions = "".join(f"try pose proof (@{name}); " for name in names)
    sentences = (f"Lemma {lemma} : forall P : Prop, P -> P.", f"{mentions}exact (fun (P : Prop) (p : P) => p).", "Qed.")
    try:
        for sentence in sentences:
            top.run(sentence)
        rests = rests_on(top, lemma, ())
    finally:
        top.edit_at(tip)
    off = [line for line in rests.extra if line not in rests.axioms and not line.startswith(f"{lemma} ")]
    return list(rests.axioms), off


def _known(top: Toplevel, name: str) -> bool:
    try:
        top.query(f"Check @{name}.")
    except CommandFailed:
        return False
    return True
