"""A pool's processes, and what those started, do not outlive a parent that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import as_completed
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from surpass.rollouts.processes import process_pool

SCRIPT = """
import os, subprocess, sys, time
from pathlib import Path
from surpass.rollouts.processes import process_pool

def stay(folder):
    child = subprocess.Popen(["sleep", "60"])
    Path(folder, "pids.tmp").write_text(f"{os.getpid()} {child.pid}")
    Path(folder, "pids.tmp").rename(Path(folder, "pids"))
    time.sleep(60)

if __name__ == "__main__":
    with process_pool(1) as pool:
        pool.submit(stay, sys.argv[1]).result()
"""


def test_a_pool_computes() -> None:
    with process_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]


def fail() -> None:
    raise ValueError("seed 3 has failed")


def stay(path: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    Path(f"{path}.new").write_text(f"{os.getpid()} {child.pid}")
    Path(f"{path}.new").rename(path)
    time.sleep(60)


def carry_out(pids: Path) -> None:
    with process_pool(2) as pool:
        work = [pool.submit(stay, str(pids))]
        while not pids.exists():
            time.sleep(0.02)
        work.append(pool.submit(fail))
        for future in as_completed(work):
            future.result()


def test_an_error_is_not_hidden_until_the_others_end(tmp_path: Path) -> None:
    """Nor do these go on: what they were at would be gone on with beside them."""
    began = time.monotonic()
    with pytest.raises(ValueError, match="seed 3"):
        carry_out(tmp_path / "pids")
    assert time.monotonic() - began < 50
    assert_gone((tmp_path / "pids").read_text())


def interactive() -> bool:
    return Console(force_terminal=True).is_interactive


def test_processes_of_a_pool_draw_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert interactive()
    with process_pool(1) as pool:
        assert not pool.submit(interactive).result()


def test_a_pool_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path)])
    until = time.monotonic() + 60
    while not (tmp_path / "pids").exists() and time.monotonic() < until:
        time.sleep(0.02)
    pids = (tmp_path / "pids").read_text()
    assert all(psutil.pid_exists(int(pid)) for pid in pids.split())
    parent.kill()
    parent.wait()
    assert_gone(pids)


def assert_gone(pids: str) -> None:
    until = time.monotonic() + 30
    while left := [pid for pid in map(int, pids.split()) if running(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != "zombie"
    except psutil.NoSuchProcess:
        return False
