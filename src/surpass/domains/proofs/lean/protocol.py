"""What is said to one REPL process and what it answers: JSON objects, one a request, as the REPL's README has them.

    {"cmd": text, "env": n}             -> {"env": m, "messages": [...], "sorries": [{"goal", "proofState", ...}]}
    {"tactic": text, "proofState": n}   -> {"proofState": m, "goals": [...], "proofStatus": "Completed" | ...}
    {"env": n, "pickleTo": path}        -> {"env": n}
    {"unpickleEnvFrom": path}           -> {"env": m}
    anything that cannot be done        -> {"message": why}

Environments and proof states are numbers that stay valid until the process ends, so going back is free. `LeanInteract`
starts the real process with the package lean-interact, which builds the REPL and limits its memory; it is imported when
first used. `replay.Replay` answers from a recording. Not here: what is asked when (`session`), and verdicts (`trust`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Protocol

from surpass.errors import VerifierError

Json = Mapping[str, Any]

# What Lean says when a limit ended a tactic: of that, nothing follows about the goal. Messages show goals, and names in
# them may be any words: so words count at the beginning of a line, where no term stands, or behind a word in
# parentheses, which no term has. `rules` keeps them out of strings.
LIMITS = (
    r"maximum recursion depth|maximum number of steps exceeded|deep recursion|stack overflow|out of memory"
    r"|excessive memory|deterministic timeout|\(deterministic\)|\(kernel\)"
)
_EXHAUSTED = re.compile(
    r"\(deterministic\) timeout|\(kernel\) (?:deep recursion|deterministic timeout|excessive memory)"
    r"|^(?:[^\n:]{0,60} failed[,:] )?(?:maximum recursion depth has been reached|maximum number of steps exceeded)"
    r"|^(?:deep recursion|stack overflow|out of memory|excessive memory)|^interrupted$",
    re.IGNORECASE | re.MULTILINE,
)


class ProcessDiedError(Exception):
    """The process ended in mid-request."""


class DeadlinePassedError(ProcessDiedError):
    """The process did not answer in time and was killed."""


class Repl(Protocol):
    """One process. `name` and `version` are what evidence says of it."""

    name: str
    version: str

    def ask(self, request: Json, timeout: float) -> Json:
        """Return the answer. Raises ProcessDiedError, DeadlinePassedError (seconds), VerifierError for no JSON."""

    def memory(self) -> int:
        """Return resident bytes of the process and its children."""

    def close(self) -> None:
        """End the process."""


class Opener(Protocol):
    """Starts processes: a picklable value. `project` is the folder of a Lake project, or empty for plain Lean."""

    def __call__(self, project: str) -> Repl: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a command or a tactic; `message` is set where it was refused."""

    message: str = ""
    env: int = -1
    state: int = -1  # of a tactic; of a command with holes, that of the first
    goals: tuple[str, ...] = ()  # of a command with holes, one for each
    status: str = ""  # the REPL's own opinion of a finished proof; empty in its older versions
    infos: tuple[str, ...] = ()
    holes: int = 0

    @property
    def exhausted(self) -> bool:
        return bool(_EXHAUSTED.search(self.message))


def command(repl: Repl, text: str, env: int | None, timeout: float) -> Answer:
    """Elaborate Lean source after `env`; errors of Lean are the answer's `message`. Raises like `Repl.ask`."""
    said = repl.ask({"cmd": text} | ({} if env is None else {"env": env}), timeout)
    return _answer(said, "env")


def tactic(repl: Repl, text: str, state: int, timeout: float) -> Answer:
    """Run one tactic. A tactic that leaves a hole, or reports an error and goes on, is refused. Raises like `ask`."""
    answer = _answer(repl.ask({"tactic": text, "proofState": state}, timeout), "proofState")
    return Answer("the tactic leaves a sorry") if answer.holes and not answer.message else answer


def pickle(repl: Repl, env: int, path: Path, timeout: float) -> None:
    """Write an environment as an .olean file. Raises VerifierError, and like `ask`."""
    if reason := repl.ask({"env": env, "pickleTo": str(path)}, timeout).get("message"):
        raise VerifierError(f"expected to pickle an environment to {path}, found: {reason}; is there room on the disk?")


def unpickle(repl: Repl, path: Path, timeout: float) -> int:
    """Return the environment read from an .olean file. Raises VerifierError, and like `ask`."""
    answer = _answer(repl.ask({"unpickleEnvFrom": str(path)}, timeout), "env")
    if answer.message:
        raise VerifierError(f"expected an environment of this toolchain in {path}, found: {answer.message}; delete it")
    return answer.env


def _answer(said: Json, number: str) -> Answer:
    """Read an answer that must hold the field `number`. Raises VerifierError where it is not as documented."""
    if "message" in said:
        return Answer(str(said["message"]))
    try:
        messages = [(str(one["severity"]), str(one["data"])) for one in said.get("messages", ())]
        holes = [(str(one["goal"]), int(one.get("proofState", -1))) for one in said.get("sorries", ())]
        found = int(said[number])
        goals = tuple(map(str, said["goals"])) if number == "proofState" else tuple(goal for goal, _ in holes)
    except (KeyError, TypeError, ValueError) as error:
        raise VerifierError(
            f"expected an answer of Lean's REPL with {number!r}, found {str(said)[:300]} ({error!r}); "
            "is this version of lean-interact the one that was tested?"
        ) from error
    errors = "\n".join(data for severity, data in messages if severity == "error")
    return Answer(
        message=errors,
        env=found if number == "env" else -1,
        state=found if number == "proofState" else (holes[0][1] if holes else -1),
        goals=goals,
        status=str(said.get("proofStatus", "")),
        infos=tuple(data for severity, data in messages if severity == "info"),
        holes=len(holes),
    )


@dataclass(frozen=True, slots=True)
class LeanInteract:
    """Starts lean-interact's copy of the official REPL: for a project's toolchain, or else for `version`."""

    version: str = ""  # such as "v4.30.0"; empty: the newest that lean-interact knows
    memory: int = 8 << 30  # bytes of address space of each process; Mathlib alone maps several GiB
    repl: str = ""  # folder of a built REPL; empty: lean-interact fetches and builds the one for the toolchain
    lake: str = "lake"

    def __call__(self, project: str) -> Repl:
        """Start a process. Raises VerifierError where lean-interact or Lean is missing, or the REPL cannot be built."""
        try:
            from lean_interact import LeanREPLConfig, LeanServer, LocalProject
        except ImportError as error:
            raise VerifierError(
                f"expected the package lean-interact, found none ({error}); pip install -e '.[lean]'"
            ) from error
        if shutil.which(self.lake) is None:  # lean-interact would fetch its REPL before it notices
            raise VerifierError(
                f"expected {self.lake!r} of Lean 4, found none in the PATH; install elan from lean-lang.org"
            )
        try:
            config = LeanREPLConfig(
                lean_version=None if project else self.version or None,
                project=LocalProject(directory=project, lake_path=self.lake, auto_build=False) if project else None,
                local_repl_path=self.repl or None,
                build_repl=not self.repl,
                lake_path=self.lake,
                memory_hard_limit_mb=self.memory >> 20,
                enable_incremental_optimization=False,  # an answer must not depend on what was asked before
                enable_parallel_elaboration=False,
            )
            return _Server(LeanServer(config), str(config.lean_version))
        except Exception as error:  # whatever git, lake or the network raise there
            raise VerifierError(
                f"expected Lean's REPL to start{f' in {project}' if project else ''}, found: {str(error)[:500]}; "
                "does `lake build` work there?"
            ) from error


class _Server:
    """A process behind lean-interact, asked in plain JSON."""

    name = "lean"

    def __init__(self, server: Any, version: str) -> None:
        self._server = server
        self.version = version

    def ask(self, request: Json, timeout: float) -> Json:
        try:
            said = self._server.run_dict(dict(request), timeout=timeout)
        except TimeoutError as error:
            raise DeadlinePassedError(f"no answer in {timeout:g} s") from error
        except (ConnectionError, ChildProcessError) as error:
            raise ProcessDiedError(f"Lean ended: {str(error)[:200]}") from error
        except JSONDecodeError as error:
            raise VerifierError(f"expected JSON of Lean's REPL, found {error.doc[:300]!r}") from error
        if not isinstance(said, dict):
            raise VerifierError(f"expected a JSON object of Lean's REPL, found {str(said)[:300]}")
        return said

    def memory(self) -> int:
        return int(self._server.get_memory_usage() * 2**20)

    def close(self) -> None:
        self._server.kill()
