"""Every objective of the table keeps what it promises (`checks.py`), and none is left without a promise."""

from __future__ import annotations

from importlib import import_module

import pytest

from surpass.objectives import OBJECTIVES
from tests.objectives.checks import CHECKS, Function


def load(name: str) -> Function:
    module, _, function = OBJECTIVES[name].partition(":")
    found: Function = vars(import_module(module))[function]
    return found


def test_every_objective_has_a_check() -> None:
    assert set(CHECKS) == set(OBJECTIVES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_promises_are_kept(name: str) -> None:
    CHECKS[name](load(name))
