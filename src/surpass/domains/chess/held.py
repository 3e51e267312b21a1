"""One process at a time writes a record of games: a second one is told so, instead of tearing what the first writes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surpass.errors import ConfigError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a file for this process while the block runs; the end of the process, however it comes, frees it.

    `PATH.lock` beside it stays. Raises ConfigError where another process holds the file. Some network file systems know
    no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another process is writing {path}: wait for its end, or stop it first") from error
        yield
