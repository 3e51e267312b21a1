"""Shared by all tests: what is skipped, and why."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ["SURPASS_VERDICTS"] = "none"  # tests judge afresh, and leave nothing in the user's cache
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and tests send it
torch.set_num_threads(1)  # the models of tests are tiny, and the tests run side by side
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # no property depends on the speed of a machine, nor on what else it does

ROCQ = pytest.mark.skipif(shutil.which("coqidetop.opt") is None, reason="needs coqidetop.opt: apt-get install coq")
LEAN = pytest.mark.skipif(shutil.which("lake") is None, reason="needs Lean 4: install elan from lean-lang.org")
STOCKFISH = pytest.mark.skipif(
    shutil.which("stockfish", path=f"{os.environ.get('PATH', '')}:/usr/games") is None,
    reason="needs stockfish: apt-get install stockfish",
)
SLOW = pytest.mark.skip(reason="minutes of evidence, asked for by: pytest -m slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked with a program that is missing, and what is marked `slow` unless it is asked for."""
    asked = "slow" in str(config.getoption("markexpr"))
    for item in items:
        if item.get_closest_marker("rocq"):
            item.add_marker(ROCQ)
        if item.get_closest_marker("lean"):
            item.add_marker(LEAN)
        if item.get_closest_marker("stockfish"):
            item.add_marker(STOCKFISH)
        if item.get_closest_marker("slow") and not asked:
            item.add_marker(SLOW)
