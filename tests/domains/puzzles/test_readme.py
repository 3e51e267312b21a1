from __future__ import annotations

import doctest
import re
from pathlib import Path

import surpass.domains.puzzles

FOLDER = Path(surpass.domains.puzzles.__file__).parent


def test_the_readme_runs_as_a_doctest() -> None:
    found = doctest.testfile(str(FOLDER / "README.md"), module_relative=False)
    assert found.attempted >= 20
    assert found.failed == 0


def test_the_readme_names_every_file() -> None:
    table = (FOLDER / "README.md").read_text(encoding="utf-8").split("| file |")[1]
    named = {file for pattern in re.findall(r"`([\w*]+\.py)`", table) for file in FOLDER.glob(pattern)}
    assert named == {file for file in FOLDER.glob("*.py") if file.name != "__init__.py"}
