"""What a prover may do besides proving: levels of confinement, the strongest of which this machine offers is used.

The text rules are the first wall: no command of a policy should reach a prover at all. This is the second, for the day
that one does, and it costs nothing per tactic: the prover is fenced in before it starts (`launch.py`). A level is
spelt as what it consists of, and stands in the evidence of every verdict:

rlimit      address space, CPU time, 256 MB a file, no core dumps, no new privileges, of root's capabilities reading
            alone; death with the caller
scratch     an empty folder of its own as working directory and home, removed at the end
user        a user that nobody else is: writes elsewhere only where everybody may (/tmp), signals and traces nobody, 32
            processes and threads at most; reads what the caller may read. Needs root with CAP_DAC_READ_SEARCH
namespaces  no network and no socket of a file; every file system read-only but the scratch folder, which is in memory
            and holds 256 MB, and with Landlock no pipe of a file either; what it starts ends with it, 32 at most unless
            root is the user. Needs root, or a kernel that lets users have them, and an x86-64 or ARM processor

Not here: how one process is limited in time (`protocol`), and containers or machines, which fence in all of us.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import psutil

from surpass.errors import ConfigError

LEVELS = ("rlimit+scratch+user+namespaces", "rlimit+scratch+namespaces", "rlimit+scratch+user", "rlimit+scratch")
REMEDIES = {
    LEVELS[
        0
    ]: "as root with CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH (docker run --cap-add SYS_ADMIN --cap-add DAC_READ_SEARCH)",
    LEVELS[
        1
    ]: "a kernel of 5.12 or later that lets users have namespaces (sysctl user.max_user_namespaces; no AppArmor bar)",
    LEVELS[2]: "as root with CAP_DAC_READ_SEARCH (docker run --cap-add DAC_READ_SEARCH)",
    LEVELS[3]: "Linux, and a Python that can start itself",
}
CHOICE = "SURPASS_SANDBOX"  # environment variable that names a level, where the strongest is not wanted
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # a name of this machine, until it starts anew
_LAUNCH = str(Path(__file__).with_name("launch.py"))


def scratch() -> str:
    """Make a scratch folder, after removing those whose makers were killed before they could do so themselves."""
    for folder in abandoned():
        shutil.rmtree(folder, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-")


def abandoned() -> list[Path]:
    """Return the scratch folders whose makers are gone."""
    prefix = _prefix()
    makers = {
        folder: folder.name.removeprefix(prefix).partition("-")[0]
        for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*")
    }
    return [folder for folder, pid in makers.items() if pid.isdecimal() and not psutil.pid_exists(int(pid))]


def _prefix() -> str:
    """How the names of scratch folders begin: process numbers mean something in one namespace of processes only.

    The number of a namespace is the same on many machines, and a folder for temporary files may be shared by them.
    """
    try:
        machine = _BOOT.read_text(encoding="ascii").strip().replace("-", "")
    except OSError:
        machine = os.uname().nodename
    return f"surpass-scratch-{machine}-{os.stat('/proc/self/ns/pid').st_ino}-"


def confined(command: Sequence[str], folder: str, *, level: str, memory: int = 1 << 30, cpu: int = 600) -> list[str]:
    """Return the command line that runs `command` at a level, in `folder`.

    `memory` is in bytes of address space, `cpu` in seconds. It ends with the thread that starts it.
    """
    launch = [sys.executable, "-I", "-S", _LAUNCH, level, folder]
    return [*launch, str(os.getpid()), str(memory), str(cpu), *command]


def environment(folder: str) -> dict[str, str]:
    """Return the environment of a confined process: nothing of ours but the PATH."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}


def level() -> str:
    """Return the level in use: that of the environment variable SURPASS_SANDBOX, else the strongest that works here.

    Raises ConfigError where the variable names none, or one that does not work here, and where none works.
    """
    chosen = os.environ.get(CHOICE, "")
    if not chosen:
        if works := next((one for one in LEVELS if not refusal(one)), ""):
            return works
        chosen = LEVELS[-1]
    if chosen not in LEVELS:
        raise ConfigError(f"expected {CHOICE} to be one of {', '.join(LEVELS)}; found {chosen!r}")
    if reason := refusal(chosen):
        raise ConfigError(f"expected the sandbox {chosen} to work here, found: {reason}; see surpass doctor")
    return chosen


@cache
def refusal(level: str) -> str:
    """Return why a level does not work on this machine, empty where it does: a process is started to see."""
    with tempfile.TemporaryDirectory(prefix="surpass-probe-") as folder:
        command = confined(["sh", "-c", ": > mine"], folder, level=level)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    said = done.stderr.strip().splitlines()
    return (said or [f"status {done.returncode}"])[-1] if done.returncode else ""
