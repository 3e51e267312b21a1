"""The second opinion of `trust.recheck`, asked once for each script: its verdicts are remembered between runs.

The key of a verdict holds all that the answer depends on: Rocq's version and the libraries installed beside it, the
compiled libraries on the load path, the source up to the statement, what is posed and may be assumed, the human proof,
the tactics, and our code that judges. Not in it: where the files lie, so a corpus that was moved is known still. A file
that reads others by `Load` is asked about every time: what it reads has no place in the key.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path

from surpass.core import Trajectory, Verdict
from surpass.domains.proofs.rocq import assumptions, protocol, rules, session, trust
from surpass.domains.proofs.rocq import sentences as lexer
from surpass.domains.proofs.rocq.extraction import library_root
from surpass.domains.proofs.rocq.session import Place, check_statement, sentences
from surpass.verdicts import Verdicts

_LOAD = re.compile(r"(?:(?:Time|Fail|Timeout\s+\d+|Redirect\s+\"[^\"]*\")\s+)*Load\b")
_COMPILED = (".vo", ".cmxs", ".cma")
_END = 1024  # bytes


def recheck(trajectories: Sequence[Trajectory], known: Verdicts | None) -> list[Verdict]:
    """Return one T3 verdict for each trajectory, in order, as `trust.recheck` does, or did once.

    Raises what that raises.
    """
    if known is None or not trajectories:
        return trust.recheck(trajectories)
    libraries = dict[tuple[str, ...], list[object]]()
    keys = [_key(trajectory, libraries) for trajectory in trajectories]
    passing = {key for key, trajectory in zip(keys, trajectories, strict=True) if _loads(Place.of(trajectory.problem))}
    found = known.recall([key for key in keys if key not in passing])
    missing = {key: trajectory for key, trajectory in zip(keys, trajectories, strict=True) if key not in found}
    said = dict(zip(missing, trust.recheck(list(missing.values())), strict=True))
    known.remember({key: verdict for key, verdict in said.items() if key not in passing})
    return [found.get(key) or said[key] for key in keys]


def _loads(place: Place) -> bool:
    """Tell whether a file reads another one, word by word, before a lemma."""
    return any(_LOAD.match(text) for text in sentences(place.source.file)[: place.position])


def _key(trajectory: Trajectory, libraries: dict[tuple[str, ...], list[object]]) -> str:
    """Return the digest. Raises DataError where the file no longer states the theorem."""
    place, data = Place.of(trajectory.problem), trajectory.problem.data
    check_statement(place)
    source = place.source
    if source.options not in libraries:
        libraries[source.options] = [*_compiled(source.options)]
    return digest(
        [_judge(), libraries[source.options], source.top, source.noinit],
        [*sentences(source.file)[: place.position]],
        [place.pose, place.preamble, str(data["name"]), sorted(data.get("assumptions", ()))],
        [*map(rules.normalise, data.get("solution", ()))],
        [rules.normalise(action) for action in trajectory.actions],
    )


@cache
def _judge() -> str:
    """Return a digest of who judges: Rocq, what is installed beside it, and our own code."""
    modules = (protocol, rules, lexer, session, assumptions, trust)
    code = [Path(module.__file__ or "").read_text(encoding="utf-8") for module in modules]
    return digest(protocol.version(), code, [*_files(library_root() / "user-contrib")])


def _compiled(options: Sequence[str]) -> Iterator[object]:
    """Yield load path arguments with the compiled libraries of a folder in its place."""
    for word in options:
        yield [*_files(Path(word))] if Path(word).is_absolute() else word


def _files(folder: Path) -> Iterator[tuple[str, int, int, str]]:
    """Yield path, size, time of change and end of each compiled library and plugin below a folder, by links too.

    A library ends with the digests of its parts: some package managers set all times to one.
    """
    met = set[str]()
    for where, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in met:  # links may go round in circles
            folders.clear()
            continue
        met.add(real)
        folders.sort()
        for path in (Path(where, name) for name in sorted(names) if name.endswith(_COMPILED)):
            with suppress(OSError), path.open("rb") as file:  # else a link to nowhere, or removed meanwhile
                status = os.fstat(file.fileno())
                file.seek(max(0, status.st_size - _END))
                yield str(path.relative_to(folder)), status.st_size, status.st_mtime_ns, file.read().hex()


def digest(*parts: object) -> str:
    """Return a hash of strings, numbers and lists of them."""
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
