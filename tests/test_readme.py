"""What the documents say holds: their code runs, their commands parse, their links lead somewhere, they stay short."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

import surpass
from surpass import cli
from surpass.conformance import ConformanceError, check_domain
from surpass.domains import DOMAINS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted(module.name for module in pkgutil.walk_packages(surpass.__path__, "surpass."))
EXTRAS = {
    "surpass.rollouts.ray": "ray",
    "surpass.integrations.trl": "trl",
    "surpass.domains.economy.kernel": "numba",
    "surpass.domains.economy.room_kernel": "numba",
    "surpass.domains.economy.parallel": "pettingzoo",
}  # modules that need a library which an installation may lack


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[str]:
    """Every command line that starts with `surpass` in a document, its comment removed."""
    texts = [line for path in DOCUMENTS for block in blocks(path, "sh") for line in block.splitlines()]
    texts += [
        code for path in DOCUMENTS for code in re.findall(r"`(surpass [^`\n]+)`", path.read_text(encoding="utf-8"))
    ]
    return sorted({text.split("#")[0].strip() for text in texts if text.startswith("surpass ")})


def test_the_readme_runs_as_a_doctest() -> None:
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted >= 8
    assert found.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run_as_doctests(name: str) -> None:
    pytest.importorskip(EXTRAS.get(name, "surpass"), reason="needs an extra of the same name")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("command", commands())
def test_documented_commands_exist_with_their_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    name, chosen = cli.choose(words)
    assert chosen is not None
    rest = words[len(name.split()) :]
    shown = [word for word in rest if not word.startswith("-")][:1] if name in {"run", "bench"} else []
    with pytest.raises(SystemExit) as stopped:
        cli.main([*name.split(), *shown, "--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    for flag in (word for word in rest if word.startswith("--")):
        assert flag in told, f"{command}: {flag} is no flag of it"


def test_commands_were_found() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}, which is not there"


def test_the_tour_is_six_files_under_900_lines() -> None:
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    stops = re.findall(r"^\d\. \[`[^`]+`\]\(([^)]+)\)", text, re.MULTILINE)
    assert len(stops) == 6
    sizes = {stop: len((ROOT / "docs" / stop).read_text(encoding="utf-8").splitlines()) for stop in stops}
    assert sum(sizes.values()) < 900, sizes


def contributed() -> tuple[ModuleType, str]:
    """The domain and the line of CONTRIBUTING.md."""
    code, line = blocks(ROOT / "CONTRIBUTING.md", "python")
    module = ModuleType("reach")
    sys.modules["reach"] = module  # dataclasses and pickle look their module up
    exec(code, vars(module))
    return module, line


def test_contributing_adds_a_domain_by_one_folder_and_one_line() -> None:
    module, line = contributed()
    check_domain(vars(module)["Reach"](), "train")
    table = eval(f"{{{line}}}")
    assert list(table) == ["reach"]
    assert table.keys().isdisjoint(DOMAINS)
    place, _, name = table["reach"].partition(":")
    assert place == "surpass.domains.reach.domain"
    assert name in vars(module)


def test_the_check_of_contributing_can_fail() -> None:
    module, _ = contributed()
    vars(module)["MOVES"]["five"] = 6
    with pytest.raises(ConformanceError, match="is ACCEPTED"):
        check_domain(vars(module)["Reach"](), "train")


def test_contributing_fits_one_screen() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 70
