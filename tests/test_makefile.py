"""`make setup` without the right to install, `.ci/run`, and the pins: tried with stand-ins for apt, sudo and make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")
needs_make = pytest.mark.skipif(MAKE is None, reason="make is not installed (apt-get install make)")
COQ = "#!/bin/sh\necho The Coq Proof Assistant, version 8.16.1\n"


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    """A PATH with nothing on it but a few tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("env", "head", "cp", "touch", "chmod"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def make(bin: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(bin), "HOME": str(bin)}
    command = [str(MAKE), "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@needs_make
def test_rocq_that_is_there_is_left_alone(bin: Path) -> None:
    program(bin, "coqidetop.opt", COQ)
    program(bin, "coqc", COQ)
    program(bin, "id", "#!/bin/sh\necho 0\n")
    done = make(bin, "prover")
    assert (done.returncode, done.stdout) == (0, "setup: done; The Coq Proof Assistant, version 8.16.1\n")


@needs_make
def test_rocq_is_installed_by_root_after_a_refresh(bin: Path) -> None:
    program(bin, "id", "#!/bin/sh\necho 0\n")
    program(bin, "true", "#!/bin/sh\n")
    script = f"""#!/bin/sh
    echo "$@" >> {bin}/log
    case "$*" in update*) touch {bin}/fresh;; *install*) test -e {bin}/fresh || exit 100; cp {bin}/coq {bin}/coqc
    cp {bin}/coq {bin}/coqidetop.opt;; esac"""
    program(bin, "apt-get", script)
    program(bin, "coq", COQ)
    done = make(bin, "prover")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("setup: done; The Coq Proof Assistant, version 8.16.1\n")
    asked = (bin / "log").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["install", "update", "install"]
    assert all(line.endswith(" coq") for line in asked if line.startswith("install"))


@needs_make
@pytest.mark.parametrize("apt", [False, True])
def test_without_the_right_to_install_one_line_says_what_still_works(bin: Path, apt: bool) -> None:
    program(bin, "id", "#!/bin/sh\necho 1000\n")
    program(bin, "sudo", "#!/bin/sh\necho a password is required >&2\nexit 1\n")
    if apt:
        program(bin, "apt-get", f"#!/bin/sh\ntouch {bin}/called\n")
    done = make(bin, "prover")
    assert done.returncode == 0
    [line] = done.stdout.splitlines()
    assert "no Rocq" in line
    assert "kernel" in line
    assert not (bin / "called").exists()


@needs_make
@pytest.mark.parametrize("case", ["there", "root", "nobody"])
def test_stockfish_is_found_installed_or_said_to_be_missing(bin: Path, case: str) -> None:
    program(bin, "id", f"#!/bin/sh\necho {1000 if case == 'nobody' else 0}\n")
    program(bin, "true", "#!/bin/sh\n")
    program(bin, "apt-get", f"#!/bin/sh\necho $@ >> {bin}/log\n")
    games = bin / "games"
    games.mkdir()
    if case == "there":
        program(games, "stockfish", "#!/bin/sh\n")
    done = make(bin, "engine", f"GAMES={games}")
    assert done.returncode == 0, done.stderr
    said = {"there": "stockfish is there", "root": "installing stockfish", "nobody": "no Stockfish"}
    assert said[case] in done.stdout.splitlines()[0]
    assert (bin / "log").exists() == (case == "root")
    assert len(done.stdout.splitlines()) == (2 if case == "root" else 1)


@needs_make
def test_packages_are_installed_again_only_when_the_pins_change(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "pip").touch()
    (venv / "bin" / ".installed").touch()

    def plan(*arguments: str) -> str:
        command = [str(MAKE), "-n", "-C", str(ROOT), "setup", f"VENV={venv}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "pip install" not in plan()
    for changed in ("constraints.txt", "pyproject.toml"):
        assert "-c constraints.txt -e '.[dev]'" in plan("-W", changed)


@needs_make
def test_help_names_the_targets() -> None:
    done = subprocess.run([str(MAKE), "-C", str(ROOT)], capture_output=True, text=True, check=True)
    assert all(f"make {target} " in done.stdout for target in ("setup", "prove", "test", "check"))


@pytest.mark.parametrize("failing", ["none", "check"])
def test_ci_sets_up_checks_and_tests_and_stops_at_a_failure(tmp_path: Path, failing: str) -> None:
    program(tmp_path, "make", f'#!/bin/sh\necho "$1" >> {tmp_path}/log\ntest "$1" != {failing}\n')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environment, cwd=tmp_path, check=False)
    ran = (tmp_path / "log").read_text().split()
    assert (done.returncode == 0, ran) == (
        failing == "none",
        ["setup", "check", "test"][: 2 if failing == "check" else 3],
    )


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if line and not line.startswith("#")]
    assert all(found), "a pin is NAME==VERSION without a local tag"
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) >= {"chess", "chat", "ray", "tracking", "dev"}
    untried = extras.pop("vllm")  # no version of it was ever installed with the others, so none is recommended
    assert [Requirement(text).name for text in untried] == ["vllm"]
    for text in [*project["dependencies"], *(text for extra in extras.values() for text in extra)]:
        requirement = Requirement(text)
        assert pins()[requirement.name.lower()] in requirement.specifier, text


def test_what_is_installed_is_what_is_pinned() -> None:
    for name, pinned in pins().items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # an extra that is not asked for
        assert installed.split("+")[0] == pinned, f"{name}: make setup installs {pinned}"
