"""The page on searches runs, and names every one of them."""

from __future__ import annotations

import doctest
from pathlib import Path

from surpass.search import SEARCHES

PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def test_the_page_runs() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted >= 20
    assert found.failed == 0


def test_every_search_has_its_paragraph() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for path in SEARCHES.values():
        module, _, _ = path.partition(":")
        assert f"(`{module.rpartition('.')[2]}.py`)" in text, path
