"""Shared by all tests: what is skipped, and why."""

from __future__ import annotations

import shutil

import pytest

NO_ROCQ = "needs coqidetop.opt: apt-get install coq"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `rocq` where there is no Rocq."""
    if shutil.which("coqidetop.opt") is None:
        for item in items:
            if item.get_closest_marker("rocq"):
                item.add_marker(pytest.mark.skip(reason=NO_ROCQ))
