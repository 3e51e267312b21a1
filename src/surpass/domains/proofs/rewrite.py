"""Proofs written into a file: what became of its open statements, and the file's replacement in one step.

Shared by the provers. Not here: which statements are open, how a proof is found, and what the changed file must pass
before it may take the old one's place.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
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
    written: bool = False
    refusal: str = ""  # why the file was left as it was although writing was asked for
    known: int = 0  # proofs whose fresh verdict was remembered from before

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for trajectory in self.trajectories:
            key = trajectory.problem.key
            proof = self.proofs.get(key)
            yield f"[bold]{escape(key)}[/bold]: {escape(_failure(trajectory)) if proof is None else 'proved'}"
            if proof is not None:
                stated = trajectory.problem.data.get("statement")  # absent where the proof repeats it
                yield escape(f"{stated}\n{proof}" if stated else proof)
        for skipped in self.skipped:
            yield f"{escape(self.file)}:{skipped.line}: {escape(skipped.name)} skipped: {escape(skipped.reason)}"
        changed = "written" if self.written else escape(self.refusal) or "left as it was"
        before = f" ({self.known} judged before)" if self.known else ""
        proved = f"{len(self.proofs)} of {len(self.trajectories)} open {self.noun} proved{before}"
        yield f"{proved}; {escape(self.file)}: {changed}"


def changed(text: str, changes: Mapping[tuple[int, int], str]) -> str:
    """Return a text with other characters from start to end of each change; changes do not overlap.

    >>> changed("a + b", {(4, 5): "c", (0, 1): "aa"})
    'aa + c'
    """
    for (start, end), new in sorted(changes.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def replace_file(file: Path, now: str, before: str, after: str) -> str:
    """Replace a file in one step, unless it has changed since it was read; return why not, or nothing.

    `now` is what the file holds, read again; `before` what it held.
    """
    if now != before:
        return "expected the file as it was read, found it changed meanwhile; nothing was written: run again"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", dir=file.parent, delete=False) as new:
        new.write(after)
    shutil.copymode(file, new.name)
    os.replace(new.name, file)
    return ""


def _failure(trajectory: Trajectory) -> str:
    end = trajectory.info.get("end", "")
    return f"not proved ({trajectory.verdict.status}{f', {end}' if end else ''})"
