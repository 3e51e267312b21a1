"""Processes that end with the process that made them, however that ends.

A pool of the standard library does not notice that its parent was killed: its processes finish what they were at, which
may be hours of writing into a run that somebody has resumed meanwhile.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress

import psutil

from surpass.memory import keep_freed


@contextmanager
def process_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Hold a pool of spawned processes that end with this one, with all that they started.

    Where the block raises, they are killed at once: what they are at may take days, and hide the error for as long.
    They show no progress of their own, as this process shows theirs.
    """
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            yield pool
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                if child.pid:
                    kill_tree(child.pid)
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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


def _begin() -> None:
    os.environ["TERM"] = "dumb"  # rich draws no bars there, which would run into those of the parent
    keep_freed()
    end_with_parent()


def _wait() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    kill_tree(os.getpid())
