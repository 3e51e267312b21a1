"""Processes that end with the process that made them, however that ends.

A pool of the standard library does not notice that its parent was killed: its processes finish what they were at, which
may be hours of writing into a run that somebody has resumed meanwhile.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

import psutil


def process_pool(processes: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes that end with this one, with all that they started."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), end_with_parent)


def end_with_parent() -> None:
    """See to it that this process and all its children are killed once its parent has gone; a thread waits for that."""
    threading.Thread(target=_wait, daemon=True).start()


def kill_tree(pid: int) -> None:
    """Kill a process, all that it started, and the group that it leads."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    kill_tree(os.getpid())
