"""The third opinion (trust level T4): the proof is compiled, and `coqchk`, another program, types its terms anew.

For each trajectory the source up to the statement, the statement and the script become one file, whose open sections
and modules are closed, in a fresh folder of a confined process. `coqc` compiles it and `coqchk -o` checks the result
with the kernel alone: no tactic, notation or plugin runs there. Libraries that the file requires are taken as they are
installed. What the checker then lists (axioms, bypassed guards, universes and positivity) must be in the list of the
same file without the theorem: the proof has added nothing. Costs two compilations of the prefix for each proof.

`compile_text` is the first half alone, for whole files that proofs were written into: what a policy has said is
compiled in a confined process only. Not here: which axioms a proof may use of those in its file (T3, `trust.recheck`),
which must have accepted it before.
"""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from surpass.core import Status, Trajectory, Verdict
from surpass.domains.proofs import sandbox
from surpass.domains.proofs.rocq.protocol import EXHAUSTED, Limits
from surpass.domains.proofs.rocq.rules import normalise, refusal
from surpass.domains.proofs.rocq.session import Place, Source, check_statement, sentences
from surpass.domains.proofs.rocq.trust import evidence
from surpass.domains.proofs.rocq.walk import follow
from surpass.errors import VerifierError
from surpass.rollouts.processes import kill_tree

_LIMITS = Limits()
_FOR_CHECKER = {"-R": 2, "-Q": 2, "-impredicative-set": 0, "-indices-matter": 0}  # flags of coqc that coqchk shares
_HEADING = re.compile(r"\* (.*?):(.*)")
_MESSAGE = 300  # characters
# How the two programs say that resources have ended; nothing else may stand around it, since names and `fail "..."` get
# into messages.
_COMPILER_SPENT = re.compile(
    rf'File "[^"\n]*", line \d+, characters \d+-\d+:\s*Error:\s*(?:{EXHAUSTED.pattern})\s*', re.DOTALL
)
_CHECKER_SPENT = re.compile(r"^Fatal Error: (?:Out of memory|Stack overflow)\.?\s*\Z", re.MULTILINE)
# How the shell tells that the compiler was killed; its own answers are 1 and 129, an anomaly.
_KILLED = {128 + one for one in (signal.SIGKILL, signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)}


class _RefusedError(Exception):
    """The compiler or the checker did not accept a file."""


class _SpentError(Exception):
    """One of them ran out of time or memory."""


def check(trajectories: Sequence[Trajectory], *, limits: Limits = _LIMITS) -> list[Verdict]:
    """Return one T4 verdict for each trajectory, in order; `limits` bound each compilation with its check.

    Raises DataError where a file no longer states the theorem, VerifierError where it does not compile up to there.
    """
    before = dict[tuple[Source, int], set[str]]()
    return [_check(trajectory, before, limits) for trajectory in trajectories]


def _check(trajectory: Trajectory, before: dict[tuple[Source, int], set[str]], limits: Limits) -> Verdict:
    place = Place.of(trajectory.problem)
    check_statement(place)
    tactics = [normalise(action) for action in trajectory.actions]
    for tactic in tactics:
        if reason := refusal(tactic):
            return Verdict(Status.REJECTED, (0.0,), evidence("T0", f"{tactic!r}: {reason}"))
    at = place.source, place.position
    prefix = [*sentences(place.source.file)[: place.position], *place.preamble]
    try:
        if at not in before:
            before[at] = _stands_on(place.source, prefix, limits)
    except (_RefusedError, _SpentError) as error:
        raise VerifierError(
            f"expected to compile {place.source.file} up to {place.pose[0]!r}, found: {error}"
        ) from error
    try:
        after = _stands_on(place.source, [*prefix, *place.pose, *tactics, "Qed."], limits)
    except _RefusedError as refused:
        return Verdict(Status.REJECTED, (0.0,), evidence("T4", str(refused)))
    except _SpentError as spent:
        return Verdict(Status.UNKNOWN, (), evidence("T4", str(spent)))
    if added := sorted(after - before[at]):
        return Verdict(Status.REJECTED, (0.0,), evidence("T4", f"coqchk: it adds {', '.join(added)}"))
    return Verdict(Status.ACCEPTED, (1.0,), evidence("T4", "coqchk"))


def _stands_on(source: Source, texts: Sequence[str], limits: Limits) -> set[str]:
    """Compile and check a file, and return what the checker lists. Raises _RefusedError, _SpentError."""
    scopes = list[tuple[str, str]]()
    for text in texts:
        follow(scopes, text)
    closed = [*texts, *(f"End {name}." for _, name in reversed(scopes))]
    package, _, name = source.top.rpartition(".")
    compiler = _compiler(source)
    checker = ["coqchk", "-o", "-silent", "-norec", source.top, *_shared(source.options), "-Q", ".", package]
    # What the compiler prints may be anything that the file says: only the checker is read, which prints on both ends.
    script = 'file=$1; n=$2; shift 2; cat > "$file" && "${@:1:n}" "$file" >/dev/null && exec "${@:n+1}" 2>&1'
    command = ["bash", "-c", script, "bash", f"{name}.v", str(len(compiler)), *compiler, *checker]
    with tempfile.TemporaryDirectory(prefix="surpass-check-") as folder:
        confined = sandbox.confined(command, folder, level=sandbox.level(), memory=limits.memory, cpu=limits.cpu)
        code, told, complaint = _run(confined, "\n".join(closed) + "\n", folder, limits.call)
    said = " ".join((complaint or told).split())[-_MESSAGE:]
    if code < 0 or code in _KILLED:
        raise _SpentError(f"ended by signal {code % 128 if code > 0 else -code}")
    if code and (_COMPILER_SPENT.fullmatch(complaint) or (not complaint and _CHECKER_SPENT.search(told))):
        raise _SpentError(said)
    if code:
        raise _RefusedError(said)
    return summary(told)


def compile_text(text: str, source: Source, folder: Path) -> str:
    """Compile a text as if it were the source, in a new folder; return what Rocq refused, or nothing.

    The process is confined as every prover is; depending on the level, nothing is left in the folder.
    """
    folder.mkdir()
    name = source.top.rpartition(".")[2]
    script = 'file=$1; shift; cat > "$file" && exec "$@" "$file"'
    command = ["bash", "-c", script, "bash", f"{name}.v", *_compiler(source)]
    limits = _LIMITS
    confined = sandbox.confined(command, str(folder), level=sandbox.level(), memory=limits.memory, cpu=limits.cpu)
    try:
        code, _, complaint = _run(confined, text, str(folder), limits.call)
    except (OSError, _SpentError) as error:
        return str(error)
    complaint = complaint.strip().replace(f'File "./{name}.v"', f'File "{name}.v"')  # as its author calls it
    return (complaint[-500:] or f"status {code}") if code else ""


def _compiler(source: Source) -> list[str]:
    """Return the command that compiles a file of this source in the working directory."""
    without = ["-noinit"] if source.noinit else []
    return ["coqc", "-q", "-w", "none", *without, *source.options, "-Q", ".", source.top.rpartition(".")[0]]


def _run(command: Sequence[str], text: str, folder: str, seconds: float) -> tuple[int, str, str]:
    """Return status, output and errors. Raises _SpentError after `seconds`; nothing that it started is left then."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        encoding="utf-8",
        errors="replace",
        cwd=folder,
        env=sandbox.environment(folder),
        start_new_session=True,
    ) as process:
        try:
            told, complaint = process.communicate(text, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise _SpentError(f"neither compiled nor checked within {seconds:g} s") from error
        finally:
            if process.returncode is None:
                kill_tree(process.pid)
    return process.returncode, told, complaint


def summary(text: str) -> set[str]:
    r"""Return the entries of the checker's summary, each with its heading; raises VerifierError where there is none.

    >>> sorted(summary("CONTEXT SUMMARY\n===\n\n* Axioms:\n    M.a\n    M.b\n  \n* Positivity: <none>\n"))
    ['Axioms: M.a', 'Axioms: M.b']
    """
    _, found, told = text.rpartition("CONTEXT SUMMARY")
    if not found:
        raise VerifierError(f"expected the context summary of coqchk -o, found {text[-_MESSAGE:]!r}: another version?")
    entries, heading = set[str](), ""
    for line in told.splitlines():
        if match := _HEADING.match(line):
            heading, rest = match[1], match[2].strip()
            entries |= {f"{heading}: {rest}"} - {f"{heading}: <none>", f"{heading}: "}
        elif heading and line.strip():
            entries.add(f"{heading}: {line.strip()}")
    return entries


def _shared(options: Sequence[str]) -> list[str]:
    """Return those load path arguments that the checker knows too."""
    words, kept = list(options), list[str]()
    while words:
        word = words.pop(0)
        if word in _FOR_CHECKER:
            kept += [word, *words[: _FOR_CHECKER[word]]]
            del words[: _FOR_CHECKER[word]]
    return kept
