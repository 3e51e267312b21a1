"""Proofs written into a file: what became of its open statements, and the file's replacement in one step.

Shared by the provers. Not here: which statements are open, how a proof is found, and what the changed file must pass
before it may take the old one's place.
"""

from __future__ import annotations

import codecs
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape

from surpass.core import Trajectory


@dataclass(frozen=True, slots=True)
class Skipped:
    """An open statement, or the rest of a file, that cannot be posed."""

    name: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ProveReport:
    """What became of a file: one trajectory for each open statement, and the proofs that a fresh process accepted."""

    file: str
    trajectories: tuple[Trajectory, ...]
    proofs: Mapping[str, str]  # problem key -> what is written into the file
    skipped: tuple[Skipped, ...]
    noun: str = "lemmas"  # what the prover calls statements
    diff: str = ""  # what writing has changed; empty where nothing was written
    refusal: str = ""  # why the file was left as it was although writing was asked for
    left_out: Mapping[str, str] = field(default_factory=dict)  # problem key -> what is said of the file with its proof
    known: int = 0  # proofs whose fresh verdict was remembered from before

    @property
    def written(self) -> bool:
        """Whether the file was changed."""
        return bool(self.diff)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for trajectory in self.trajectories:
            key = trajectory.problem.key
            proof = self.proofs.get(key)
            yield f"[bold]{escape(key)}[/bold]: {escape(_failure(trajectory)) if proof is None else 'proved'}"
            if key in self.left_out:
                yield escape(f"not written: with it the file does not compile: {self.left_out[key]}")
            if proof is not None:
                stated = trajectory.problem.data.get("statement")  # absent where the proof repeats it
                yield escape(f"{stated}\n{proof}" if stated else proof)
        for skipped in self.skipped:
            yield f"{escape(self.file)}:{skipped.line}: {escape(skipped.name)} skipped: {escape(skipped.reason)}"
        if self.diff:
            yield escape(self.diff)
        left_out = f", {len(self.left_out)} of the proofs left out" if self.left_out else ""
        changed = f"written{left_out}" if self.written else escape(self.refusal) or "left as it was"
        before = f" ({self.known} judged before)" if self.known else ""
        proved = f"{len(self.proofs)} of {len(self.trajectories)} open {self.noun} proved{before}"
        yield f"{proved}; {escape(self.file)}: {changed}"


def changed(text: str, changes: Mapping[tuple[int, int], str]) -> str:
    """Return a text with other characters from start to end of each change; changes do not overlap.

    Lines of a change end as the first line of the text does.

    >>> changed("a + b", {(4, 5): "c", (0, 1): "aa"})
    'aa + c'
    """
    line_end = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    for (start, end), new in sorted(changes.items(), reverse=True):
        text = text[:start] + re.sub("\r?\n", line_end, new) + text[end:]
    return text


def difference(file: Path, before: str, after: str) -> str:
    """Return what was changed in a file, as a unified diff."""
    old, new = ([line.rstrip("\r") for line in text.split("\n")] for text in (before, after))
    return "\n".join(unified_diff(old, new, str(file), str(file), lineterm=""))


def unwritable(file: Path) -> str:
    """Return why a file cannot be replaced so that all but its text stays as it is, or nothing.

    A mark as read-only counts even for a user who may write whatever they want.
    """
    stat = file.stat()
    if not os.access(file, os.W_OK) or not stat.st_mode & 0o222:
        return f"expected a file that may be written, found {file} read-only; nothing was written"
    if not os.access(file.parent, os.W_OK):
        return f"expected a folder that may be written, found {file.parent} read-only; nothing was written"
    if stat.st_nlink > 1:
        return f"expected a file with one name, found {file} with {stat.st_nlink} (hard links); nothing was written"
    return ""


def replace_file(file: Path, now: str, before: str, after: str) -> str:
    """Replace a file in one step, unless it has changed since it was read; return why not, or nothing.

    `now` is what the file holds, read again; `before` what it held. Its mode, owner, extended attributes and byte order
    mark stay.
    """
    if now != before:
        return "expected the file as it was read, found it changed meanwhile; nothing was written: run again"
    if refused := unwritable(file):
        return refused
    marked = file.read_bytes().startswith(codecs.BOM_UTF8)
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8-sig" if marked else "utf-8", newline="") as new:
                new.write(after)
                new.flush()
                os.fsync(descriptor)
            os.chown(name, file.stat().st_uid, file.stat().st_gid)
            shutil.copystat(file, name)
            os.utime(name)
            os.replace(name, file)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        return f"expected to replace {file}, found {error}; nothing was written"
    return ""


def _failure(trajectory: Trajectory) -> str:
    end = trajectory.info.get("end", "")
    return f"not proved ({trajectory.verdict.status}{f', {end}' if end else ''})"
