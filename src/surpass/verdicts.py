"""Verdicts remembered between runs: what a fresh checker said of a script, under a key that holds all it depends on.

A key is a digest of checker, version, statement and script, made by whoever asks the checker
(`domains/proofs/rocq/remembered.py`); anything that could change the answer must be in it, since nothing here expires.
Only ACCEPTED and REJECTED are kept: an UNKNOWN speaks of a machine on one day. The store is one SQLite file, shared by
processes and safe to kill or delete at any time; where it cannot be used, that is logged and nothing is remembered.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from surpass.core import Status, Verdict

log = logging.getLogger(__name__)
PLACE = "SURPASS_VERDICTS"  # environment variable: the file, or "none"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, status TEXT, returns TEXT, evidence TEXT, at REAL)"
)
_BATCH = 500  # keys in one question


class Verdicts:
    """A file of verdicts by key, and how many of those asked for were there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = self.hits = 0

    def recall(self, keys: Sequence[str]) -> dict[str, Verdict]:
        """Return what is known of these keys."""
        found = dict[str, Verdict]()

        def read(base: sqlite3.Connection) -> None:
            for first in range(0, len(keys), _BATCH):
                some = keys[first : first + _BATCH]
                marks = ", ".join("?" * len(some))
                for key, *row in base.execute(f"SELECT * FROM verdicts WHERE key IN ({marks})", some):
                    status, returns, evidence, _ = row
                    found[key] = Verdict(Status(status), tuple(json.loads(returns)), evidence)

        self._with(read)
        self.asked += len(keys)
        self.hits += sum(key in found for key in keys)
        return found

    def remember(self, said: Mapping[str, Verdict]) -> None:
        """Keep what was said, UNKNOWN apart; all of it or nothing."""
        rows = [
            (key, verdict.status.value, json.dumps(verdict.returns), verdict.evidence, time.time())
            for key, verdict in said.items()
            if verdict.status is not Status.UNKNOWN
        ]
        self._with(lambda base: base.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", rows))

    def _with(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Open the file for one transaction; a file that cannot be used is as good as an empty one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=30)) as base, base:
                base.execute(_SCHEMA)
                work(base)
        except (OSError, sqlite3.Error, ValueError) as error:
            log.warning("%s: verdicts are not remembered (%s); delete it, or set %s", self.path, error, PLACE)


def remembered() -> Verdicts | None:
    """Return the store of this user, None where SURPASS_VERDICTS is "none" or the user has no home.

    That variable names the file; without it, it is `surpass/verdicts.sqlite` in the user's cache folder.
    """
    place = os.environ.get(PLACE, "")
    if place == "none":
        return None
    if place:
        return Verdicts(Path(place))
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # a user that the system does not know, as in some containers
        log.warning("verdicts are not remembered (%s); set %s", error, PLACE)
        return None
    return Verdicts(cache / "surpass" / "verdicts.sqlite")
