"""`surpass proofs library add`, `show` and `export`: the proof library on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from surpass.bounds import at_least
from surpass.domains.proofs.rocq import library, library_export
from surpass.domains.proofs.rocq.library import opened
from surpass.errors import ConfigError
from surpass.verdicts import remembered
from surpass.verify import Terms

PLACE = Path("corpora/proofs.sqlite")


@dataclass(frozen=True, slots=True)
class AddOptions:
    """Which runs, and how their proofs are checked."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # run folders
    library: Path = PLACE  # made if it is not there
    fresh: bool = False  # ask again even what a fresh process has judged before under the same versions
    sources: Path | None = None  # where Rocq sources lie now, if elsewhere than when the corpus was extracted
    coqchk: bool = False  # check what stands once more with Rocq's separate checker (T4): seconds for each proof


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Which lemmas to show, the easiest first."""

    library: Path = PLACE
    name: str = ""  # a part of the lemma's name
    run: str = ""  # a part of the folder of a run that has found a proof
    trust: Literal["T3", "T4"] = "T3"  # at least
    unsolved: bool = False  # show the lemmas without a proof too
    scripts: bool = False  # print every proof
    limit: int = 40  # lemmas at most; 0: all

    def __post_init__(self) -> None:
        at_least(self, limit=0)


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to write, and where."""

    out: Path  # a new folder
    library: Path = PLACE
    format: Literal["v", "jsonl", "datasets"] = "v"  # Rocq files that compile, JSON lines, a Hugging Face data set
    sources: Path | None = None  # where Rocq sources lie now, if elsewhere than when the proofs were added


def add(options: AddOptions) -> int:
    """`surpass proofs library add RUN...`: say what is new; 1 where a source file could not be checked."""
    if not options.runs:
        raise ConfigError("expected the folder of a run, found none; say surpass proofs library add RUN")
    terms = Terms(None if options.fresh else remembered(), options.sources, options.coqchk)
    failed = False
    for run in options.runs:
        with _watched(run.name) as watch:
            said = library.add(options.library, run, terms=terms, watch=watch)
        for file, reason in said.failed.items():
            print(f"{file}: {reason}")
        refused = f", {said.refused} no longer stand" if said.refused else ""
        other = f", {said.other} records of other domains passed over" if said.other else ""
        print(f"{run}: {said.new} new proofs, {said.known} known before{refused}{other}")
        failed |= bool(said.failed)
    return 1 if failed else 0


def show(options: ShowOptions) -> int:
    """`surpass proofs library show`: one line for each lemma, and how hard it has been."""
    with opened(options.library) as base:
        difficulty, found = library.difficulty(base), dict[str, list[library.Proof]]()
        for proof in library.proofs(base):
            if proof.trust >= options.trust and any(options.run in one.run for one in proof.found):
                found.setdefault(proof.problem.key, []).append(proof)
    chosen = [
        one
        for one in difficulty.values()
        if options.name in one.key and (one.key in found or (options.unsolved and not one.proofs))
    ]
    table = Table(Column("lemma", overflow="fold"), "proofs", "trust", "shortest", "human", "solved")
    for one in chosen[: options.limit or None]:
        kept = found.get(one.key, [])
        trust = max((proof.trust for proof in kept), default="-")
        lengths = ("-" if length is None else str(length) for length in (one.shortest, one.human))
        table.add_row(escape(one.key), str(len(kept)), trust, *lengths, f"{one.solved} of {one.tried} tries")
    console = Console()
    console.print(table)
    if options.scripts:
        for one in chosen[: options.limit or None]:
            for proof in found.get(one.key, []):
                finds = ", ".join(f"{find.policy}, seed {find.seed or '-'}, {find.date}" for find in proof.found)
                told = f"{proof.problem.data['statement']}\n  {' '.join(proof.script)}\n  {proof.trust}: {finds}"
                if origin := proof.problem.data.get("conjecture"):
                    told += (
                        f"\n  conjecture: {origin['mutation']} of {' and '.join(origin['parents'])}: {origin['how']}"
                    )
                console.print(escape(told), highlight=False, soft_wrap=True)
    proofs = sum(len(found.get(one.key, [])) for one in chosen)
    print(f"{len(chosen)} lemmas, {proofs} proofs, in {options.library}")
    return 0


def export(options: ExportOptions) -> int:
    """`surpass proofs library export --out DIR`: say what was written; 1 where a proof had to be left out."""
    with opened(options.library) as base:
        if options.format != "v":
            write = {"jsonl": library_export.as_json_lines, "datasets": library_export.as_data_set}[options.format]
            print(f"{write(base, options.out)} proofs, in {options.out}")
            return 0
        with _watched("export") as watch:
            files = library_export.as_rocq(base, options.out, sources=options.sources, watch=watch)
    for file in files:
        for key, reason in file.left_out.items():
            print(f"{key} left out: {reason}")
    left_out, written = sum(len(file.left_out) for file in files), sum(bool(file.file) for file in files)
    print(f"{sum(len(file.proofs) for file in files)} proofs in {written} files that compile, in {options.out}")
    return 1 if left_out else 0


@contextmanager
def _watched(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many source files are done, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(name), total=None)
        yield lambda done, files: bar.update(task, completed=done, total=files)
