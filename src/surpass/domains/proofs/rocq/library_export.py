"""Proofs of the library written out: as Rocq files that compile, as JSON lines, or as a Hugging Face data set.

A Rocq file is the source's own text with human proofs replaced by the shortest ones of the library, and nothing else
changed: whatever a proof needs stands before it there. It is written only once `coqc` has compiled it in a scratch
folder under the source's logical name. A proof can be right where it stands and yet break what follows (it uses
fewer section variables, or something computes with a proof that ends in `Defined`): where a file does not compile
with all proofs, halves of them are tried, and those that do not fit are left out and named. Not checked: whether other
files that build on this one still compile on the new text.
"""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from surpass.domains.proofs.rewrite import changed
from surpass.domains.proofs.rocq.library import Proof, context, proofs
from surpass.domains.proofs.rocq.protocol import version
from surpass.domains.proofs.rocq.prove_file import fitting, laid_out
from surpass.domains.proofs.rocq.relocation import relocated
from surpass.domains.proofs.rocq.sentences import Sentence, split
from surpass.domains.proofs.rocq.session import Place, check_statement, source_text
from surpass.errors import ConfigError, DataError
from surpass.store import append_lines

Watch = Callable[[int, int], None]


@dataclass(slots=True)
class Exported:
    """What became of one source file; `command` compiles what was written, in the folder that holds it."""

    top: str
    source: str
    file: str = ""  # below the folder of the export; empty where nothing was written
    command: list[str] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)  # lemmas that have the library's proof there
    left_out: dict[str, str] = field(default_factory=dict)  # lemma -> why it has not


def as_json_lines(base: sqlite3.Connection, out: Path) -> int:
    """Write `proofs.jsonl` into a new folder, one proof on each line; return how many."""
    new_folder(out)
    rows = [row(proof) for proof in proofs(base)]
    append_lines(out / "proofs.jsonl", rows)
    return len(rows)


def as_data_set(base: sqlite3.Connection, out: Path) -> int:
    """Save a data set that `datasets.load_from_disk` reads; return its rows. Raises ConfigError without `datasets`."""
    if importlib.util.find_spec("datasets") is None:
        raise ConfigError("expected the package `datasets`, found none; pip install datasets, or use --format jsonl")
    from datasets import Dataset

    rows = [row(proof) for proof in proofs(base)]
    if not rows:
        raise DataError("expected proofs in the library, found none: a data set of nothing has no columns")
    new_folder(out)
    Dataset.from_list(rows).save_to_disk(str(out))
    return len(rows)


def row(proof: Proof) -> dict[str, Any]:
    """Return a proof as JSON-able data, the same columns for all."""
    data = proof.problem.data
    return {
        "key": proof.problem.key,
        "name": str(data["name"]),
        "library": str(data["top"]),
        "statement": str(data["statement"]),
        "goals": str(data["goals"]),
        "context": proof.context,
        "assumptions": [*map(str, data.get("assumptions", ()))],
        "script": list(proof.script),
        "trust": proof.trust,
        "evidence": proof.evidence,
        "features": {"names": list(proof.features), "counts": list(proof.features.values())},
        "found": [asdict(one) for one in proof.found],
    }


def as_rocq(
    base: sqlite3.Connection, out: Path, *, sources: Path | None = None, watch: Watch = lambda done, files: None
) -> list[Exported]:
    """Write one file for each source, at the path that its logical name says, and `manifest.json` with what was done.

    `sources` is where sources lie now, if not where they lay when the proofs were added. Raises DataError where the
    folder exists and is not empty.
    """
    checker = version()  # a missing prover is one message, not one for each file
    new_folder(out)
    files = defaultdict[str, dict[str, Proof]](dict)
    for proof in proofs(base):
        shortest = files[str(proof.problem.data["file"])]
        shortest.setdefault(f"{proof.problem.key} {proof.context}", proof)  # the shortest proof of a lemma comes first
    told = list[Exported]()
    for done, (file, chosen) in enumerate(files.items(), start=1):
        told.append(_export_file(file, [*chosen.values()], out, sources))
        watch(done, len(files))
    manifest = {"checker": f"rocq {checker}", "files": [asdict(one) for one in told]}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return told


def new_folder(out: Path) -> None:
    """Make a folder. Raises DataError where it exists and is not empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"expected a new folder, found something in {out}; choose another one or delete it first")
    out.mkdir(parents=True, exist_ok=True)


def _export_file(file: str, chosen: Sequence[Proof], out: Path, sources: Path | None) -> Exported:
    told = Exported(str(chosen[0].problem.data["top"]), file)
    changes = dict[str, Mapping[tuple[int, int], str]]()
    source, text = None, ""
    for proof in chosen:
        key = proof.problem.key
        try:
            problem = relocated(proof.problem, sources)
            place = Place.of(problem)
            check_statement(place)
            if context(place) != proof.context:
                raise DataError("the file has changed before this lemma since the proof was added")
            if source is None:
                source = place.source
                text = source_text(source.file)
            changes[key] = _change(split(text), place, proof)
        except DataError as error:
            told.left_out[key] = str(error)
    if source is None:
        return told
    with tempfile.TemporaryDirectory(prefix="surpass-export-") as scratch:
        kept, refused = fitting(changes, text, source, base=text, scratch=Path(scratch) / "compile")
    told.left_out |= {key: f"the file does not compile with it: {reason}" for key, reason in refused.items()}
    told.proofs += [key for key in changes if key not in refused]
    if told.proofs:
        package, _, name = source.top.rpartition(".")
        folder = out.joinpath(*package.split(".")) if package else out
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.v").write_text(changed(text, kept), encoding="utf-8", newline="")
        without = ["-noinit"] if source.noinit else []
        told.file = (folder / f"{name}.v").relative_to(out).as_posix()
        told.command = ["coqc", *without, *source.options, "-Q", ".", package, f"{name}.v"]
    return told


def _change(found: Sequence[Sentence], place: Place, proof: Proof) -> dict[tuple[int, int], str]:
    """Return which characters of the source are replaced by what: the human proof, from its first sentence to its end.

    Raises DataError where the proof has no end that can be seen.
    """
    data = proof.problem.data
    opening = str(data.get("opening", ""))
    begin, closing = place.position + bool(opening), str(data.get("closing") or "Qed.")
    last = next((one for one in found[begin + 1 :] if one.text == closing), None)
    if last is None:
        raise DataError(f"expected {closing!r} after the statement, found none")
    end = "Defined." if closing.startswith("Defined") else "Qed."  # what was seen through stays so
    first = "" if opening else "\nProof."
    replaced = {(found[begin].end, last.end): f"{first}\n{laid_out(proof.script)}\n{end}"}
    if place.preamble:
        start = found[place.position].start
        replaced[start, start] = "".join(f"{one}\n" for one in place.preamble)
    return replaced
