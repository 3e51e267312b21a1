"""The page on what a training step is made of: it runs, and it knows every part."""

from __future__ import annotations

import doctest
from dataclasses import fields
from pathlib import Path

from surpass.recipe import Parts

PAGE = Path(__file__).parents[1] / "docs" / "training.md"


def test_the_page_runs() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted >= 40
    assert found.failed == 0


def test_every_part_that_can_be_left_out_is_shown() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in {field.name for field in fields(Parts)} - {"budget", "options", "demonstrations", "evaluate"}:
        assert f"{name}=" in text or name in ("policy", "problems", "objective"), name
