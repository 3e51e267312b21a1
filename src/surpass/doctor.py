"""What this machine offers: versions, provers, engines, cores, disk, GPU, extras; what is missing and how to get it.

`examine` only looks. It installs nothing, leaves nothing behind, reaches no network, and starts no process longer than
a prover takes to print its version. Packages are named by their metadata; torch alone is imported, to ask for a GPU.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from surpass.domains.proofs import sandbox
from surpass.errors import ConfigError
from surpass.models import endpoint

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
    "plotly",
    "tyro",
    "rich",
)
EXTRAS = {
    "chess": ("chess", "GPL-3.0-or-later; pip install -e '.[chess]'"),
    "chat": ("openai", "pip install -e '.[chat]'"),
    "lean": ("lean-interact", "pip install -e '.[lean]'; it drives Lean 4"),
    "ray": ("ray", "pip install -e '.[ray]'"),
    "tracking": ("tensorboard", "pip install -e '.[tracking]'"),
}
ROCQ_LIBRARIES = {"Hammer": "libcoq-hammer", "mathcomp": "libcoq-mathcomp"}
TESTED_ROCQ = "8.16.1"
HAMMER_PROVERS = {"eprover": "eprover", "z3": "z3", "cvc4": "cvc4"}
GAMES = "/usr/games"  # where Debian puts engines; not in the PATH of every user
WORKER_MEMORY = 2**31  # bytes to leave for each prover process when suggesting a number of workers
GIB = 2**30

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    part: str  # the section it stands in
    name: str
    state: State  # missing: part of this project's main job does not run; optional: something extra does not
    found: str
    remedy: str = ""  # empty where the state is ok


def examine() -> list[Finding]:
    """Return every finding, section by section."""
    return [*_versions(), *_provers(), *_sandbox(), *_engines(), *_machine(), *_limits(), *_extras(), _chat()]


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings as one table, then what is missing with its remedy."""
    marks: dict[State, Text] = {
        "ok": Text("ok", style="green"),
        "missing": Text("missing", style="bold red"),
        "optional": Text("absent", style="yellow"),
    }
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "what", "state", "found"):
        table.add_column(heading, overflow="fold")
    last = ""
    for one in findings:
        table.add_row(
            Text(one.part if one.part != last else "", style="bold"), Text(one.name), marks[one.state], Text(one.found)
        )
        last = one.part
    console.print(table)
    for one in findings:
        if one.remedy:
            console.print(Text(f"{one.name}: {one.remedy}", style="red" if one.state == "missing" else ""))


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Finding("versions", "system", "ok", platform.platform())
    for name in ("surpass", *PACKAGES):
        found = _installed(name)
        remedy = "" if found else "make setup, or pip install -c constraints.txt -e ."
        yield Finding("versions", name, "ok" if found else "missing", found or "not installed", remedy)


def _provers() -> Iterator[Finding]:
    toplevel = shutil.which("coqidetop.opt")
    if toplevel is None:
        remedy = "apt-get install coq; without it the embedded kernel works, problems of Rocq's library do not"
        yield Finding("provers", "Rocq", "missing", "no coqidetop.opt in PATH", remedy)
    else:
        version = _answer("coqc", "--print-version").split(" ")[0] or "version unknown: coqc does not answer"
        yield Finding("provers", "Rocq", "ok", f"{version} ({toplevel}); tested with {TESTED_ROCQ}")
        contributed = Path(_answer("coqc", "-where") or "/nonexistent", "user-contrib")
        for library, package in ROCQ_LIBRARIES.items():
            place = contributed / library
            there = place.is_dir()
            remedy = "" if there else f"apt-get install {package}"
            state: State = "ok" if there else "optional"
            yield Finding("provers", f"Rocq {library}", state, str(place) if there else "not installed", remedy)
        for name, package in HAMMER_PROVERS.items():
            yield _program(name, f"apt-get install {package}; only hammer's proof search asks for it")
    yield _program("lake", "install elan from lean-lang.org for Lean 4; this project was developed without it")
    yield Finding("provers", "kernel", "ok", "embedded, always there")


def _program(name: str, remedy: str) -> Finding:
    path = shutil.which(name)
    return Finding("provers", name, "ok" if path else "optional", path or "not in PATH", "" if path else remedy)


def _sandbox() -> Iterator[Finding]:
    for level in sandbox.LEVELS:
        reason = sandbox.refusal(level)
        remedy = "" if not reason else sandbox.REMEDIES[level]
        yield Finding("sandbox", level, "optional" if reason else "ok", reason or "works here", remedy)
    try:
        yield Finding("sandbox", "in use", "ok", sandbox.level())
    except ConfigError as error:
        yield Finding("sandbox", "in use", "missing", str(error), f"unset {sandbox.CHOICE}")


def _engines() -> Iterator[Finding]:
    path = shutil.which("stockfish", path=f"{os.environ.get('PATH', '')}:{GAMES}")
    remedy = "" if path else "apt-get install stockfish; chess experts of the kinds random and greedy do without"
    yield Finding("engines", "stockfish", "ok" if path else "optional", path or f"not in PATH or {GAMES}", remedy)


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory()
    total = min(memory.total, _cgroup_limit() or memory.total)
    workers = max(1, min(cores, memory.available // WORKER_MEMORY))
    yield Finding("machine", "cores", "ok", f"{cores} usable of {os.cpu_count()}")
    yield Finding("machine", "memory", "ok", f"{total / GIB:.1f} GiB, {memory.available / GIB:.1f} available")
    yield Finding("machine", "workers", "ok", f"{workers} suggested, {WORKER_MEMORY // GIB} GiB for each")
    for name, path in (("disk here", Path.cwd()), ("disk for scratch", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(path).free
        short = free < 2 * GIB
        remedy = "runs and corpora want about 2 GiB: free some, or set TMPDIR" if short else ""
        yield Finding("machine", name, "missing" if short else "ok", f"{free / GIB:.1f} GiB free ({path})", remedy)
    yield _gpu()


def _gpu() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("machine", "GPU", "missing", f"torch cannot be imported: {error}", "make setup")
    if not torch.cuda.is_available():
        return Finding(
            "machine",
            "GPU",
            "optional",
            f"none that torch {torch.__version__} can use; presets up to medium run without",
        )
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Finding("machine", "GPU", "ok", f"{names}; CUDA {torch.version.cuda}")


def _cgroup_limit() -> int | None:
    """Return this container's memory limit in bytes, None where there is none."""
    path = Path("/sys/fs/cgroup/memory.max")
    text = path.read_text().strip() if path.is_file() else "max"
    return None if text == "max" else int(text)


def _limits() -> Iterator[Finding]:
    names = {
        "open files": resource.RLIMIT_NOFILE,
        "processes": resource.RLIMIT_NPROC,
        "address space": resource.RLIMIT_AS,
        "CPU seconds": resource.RLIMIT_CPU,
        "stack": resource.RLIMIT_STACK,
    }
    for name, key in names.items():
        soft, hard = (_limit(one, key) for one in resource.getrlimit(key))
        yield Finding("limits", name, "ok", soft if soft == hard else f"{soft} (may be raised to {hard})")


def _limit(value: int, key: int) -> str:
    if value == resource.RLIM_INFINITY:
        return "unlimited"
    return f"{value / 2**20:.0f} MiB" if key in {resource.RLIMIT_AS, resource.RLIMIT_STACK} else str(value)


def _extras() -> Iterator[Finding]:
    for extra, (package, remedy) in EXTRAS.items():
        found = _installed(package)
        shown = f"{package} {found}" if found else f"{package} not installed"
        yield Finding("extras", f"[{extra}]", "ok" if found else "optional", shown, "" if found else remedy)


def _chat() -> Finding:
    remedy = f"set {endpoint.MODEL}, and {endpoint.URL} or {endpoint.KEY}: docs/howto-chat.md"
    if not endpoint.configured():
        return Finding("extras", "chat model", "optional", "none is configured", remedy)
    try:
        found = endpoint.from_environment()
        key = "a key is set" if endpoint.key_of(found) else "no key is set"
    except ConfigError as error:
        return Finding("extras", "chat model", "optional", str(error), remedy)
    return Finding("extras", "chat model", "ok", f"{found.model} at {found.url}, {key}; not tried")


def _installed(package: str) -> str:
    """Return a package's version, empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _answer(*command: str) -> str:
    """Return what a program prints, empty where it does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
