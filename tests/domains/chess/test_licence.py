"""python-chess is GPL-3.0-or-later: only the folder of chess imports it, and nobody pays for it who does not ask."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import surpass

SOURCE = Path(surpass.__file__).parent
FREE = ("tokens", "transcript", "pgn", "readers", "filters", "download")  # what may be used without it


def imports(path: Path) -> set[str]:
    """The packages that a file imports anywhere in it, and the modules of chess, whole."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name if name.startswith("surpass.domains.chess") else name.split(".")[0] for name in names}


def test_only_the_folder_of_chess_imports_python_chess() -> None:
    inside = SOURCE / "domains" / "chess"
    users = [path for path in SOURCE.rglob("*.py") if "chess" in imports(path)]
    assert len(users) > 3
    assert [path for path in users if inside not in path.parents] == []


def test_tokens_and_readers_do_without_it() -> None:
    modules = [f"surpass.domains.chess.{name}" for name in FREE]
    code = f"import sys, {', '.join(modules)}; assert 'chess' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_command_line_and_the_tables_do_not_load_it() -> None:
    code = "import sys, surpass.cli, surpass.domains, surpass.doctor; assert 'chess' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
