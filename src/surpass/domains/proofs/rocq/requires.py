"""Which source files a file builds on, in any number of steps: the Require graph, as `coqdep` sees it.

`coqdep` is Rocq's own and resolves names as the compiler does. It names the files next in line; the closure is taken
here. What is loaded without being named (the prelude) counts too. Not here: from where in a file on a `Require` holds
(`premises.py` asks the prover).
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from surpass.core import Problem
from surpass.domains.proofs.rocq.extraction import library_root
from surpass.errors import VerifierError

_SECONDS = 300.0


@cache
def _standard_library() -> tuple[Path, tuple[str, ...]]:
    root = library_root() / "theories"
    return root, tuple(str(path) for path in sorted(root.rglob("*.v")))


def requires(problems: Sequence[Problem]) -> dict[str, frozenset[str]]:
    """Return, for the file of each problem, all files that it requires, in any number of steps, without itself.

    Raises VerifierError where `coqdep` cannot be run.
    """
    sources = {p.data["file"]: (tuple(p.data["options"]), bool(p.data["noinit"])) for p in problems}
    root, library = _standard_library()
    near = dict[str, set[str]]()
    for options in {options for options, _ in sources.values()}:
        own = [file for file, (found, _) in sources.items() if found == options and file not in library]
        near |= _next(["-boot", "-R", str(root), "Coq", *options], [*library, *own])
    prelude = str(root / "Init" / "Prelude.v")
    for file in near:
        if not sources.get(file, ((), False))[1] and Path(file).parent.name != "Init":
            near[file].add(prelude)
    return {file: frozenset(_closure(file, near) - {file}) for file in sources}


def _next(options: Sequence[str], files: Sequence[str]) -> dict[str, set[str]]:
    """Return the files that each file names, those of `files` only."""
    try:
        done = subprocess.run(
            ["coqdep", *options, *files], capture_output=True, text=True, check=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise VerifierError(f"expected `coqdep` to answer, found {error}; install Rocq: apt-get install coq") from error
    known, found = set(files), dict[str, set[str]]()
    for line in done.stdout.splitlines():
        targets, _, needs = line.partition(": ")
        first = targets.split()[0] if targets.split() else ""
        if first.endswith(".vo"):
            source = f"{first.removesuffix('.vo')}.v"
            named = {f"{need.removesuffix('.vo')}.v" for need in needs.split() if need.endswith(".vo")}
            found[source] = named & known
    return found


def _closure(file: str, near: Mapping[str, set[str]]) -> set[str]:
    met, waiting = {file}, [file]
    while waiting:
        fresh = near.get(waiting.pop(), set()) - met
        met |= fresh
        waiting += fresh
    return met
