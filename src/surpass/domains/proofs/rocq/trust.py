"""What a finished proof rests on, and the second opinion: a fresh process reads the stated theorem and the whole proof.

`recheck` (trust level T3) shares no state with the live sessions: it starts one process for each source file, replays
the file as it stands, states the theorem in the file's own words, runs the tactics as plain sentences, `Qed.` and
`Print Assumptions`. Verdicts shown to people and kept in buffers should have passed it. The answer to that last query
comes back on a channel of its own, where nothing that a tactic printed can be.

The names printed depend on what is imported where; two names agree when one ends in the other (`X.ax` and `M.X.ax`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from surpass.core import Status, Trajectory, Verdict
from surpass.domains.proofs import sandbox
from surpass.domains.proofs.rocq.protocol import (
    CommandFailed,
    Exhausted,
    Limits,
    ProcessDied,
    Toplevel,
    version,
)
from surpass.domains.proofs.rocq.rules import normalise, refusal
from surpass.domains.proofs.rocq.session import Place, Source, check_statement, sentences
from surpass.errors import VerifierError

_LIMITS = Limits()
_HEADER = re.compile(r"(Section Variables|Axioms|Opaque constants|Transparent constants):")
_NAMED = re.compile(r"(\S+)(?:\s+:.*)?")


def evidence(level: str, detail: str = "") -> str:
    """Return the evidence of a verdict: checker, version, trust level, sandbox, and what was found."""
    return f"rocq {version()}; {level}; sandbox={sandbox.level()}" + (f"; {detail}" if detail else "")


def axioms(messages: Sequence[str]) -> list[str]:
    r"""Return what `Print Assumptions` lists, section variables apart: they are hypotheses of the statement.

    An axiom gives its name, anything else (a bypassed guard, an impredicative theory) its whole line.

    >>> axioms(["Section Variables:\nA : Type\nAxioms:\nX.choice\n  : forall P, P\nf is assumed to be guarded.\n"])
    ['X.choice', 'f is assumed to be guarded.']
    """
    found, section = list[str](), False
    for line in "\n".join(messages).splitlines():
        if header := _HEADER.fullmatch(line.strip()):
            section = header[1] == "Section Variables"
        elif line.strip() and line[0] not in " :" and not section and line != "Closed under the global context":
            named = _NAMED.fullmatch(line)
            found.append(named[1] if named else line)
    return found


def excess(found: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Return the names in `found` that agree with none in `allowed`."""
    permitted = tuple(allowed)
    return [name for name in found if not any(_agree(name, other) for other in permitted)]


def open_braces(tactics: Iterable[str]) -> int:
    """Return how many braces are still open: `Qed` refuses a proof that is done but for a closing brace."""
    ends = [tactic[-1:] for tactic in tactics]
    return ends.count("{") - ends.count("}")


def recheck(trajectories: Sequence[Trajectory], *, timeout: int = 30, limits: Limits = _LIMITS) -> list[Verdict]:
    """Return one T3 verdict for each trajectory, in order; processes start afresh, one at a time.

    `timeout` is in seconds for each tactic and for Qed. Raises DataError where a file no longer states the theorem,
    VerifierError where a file cannot be replayed.
    """
    places = [Place.of(trajectory.problem) for trajectory in trajectories]
    groups: defaultdict[Source, list[int]] = defaultdict(list)
    for index in sorted(range(len(places)), key=lambda index: places[index].position):
        groups[places[index].source].append(index)
    verdicts: dict[int, Verdict] = {}
    for source, indices in groups.items():
        pending = list(indices)
        while pending:  # a new process where one died: the trajectory it died on has its verdict by then
            verdicts.update(_recheck_file(source, [(i, trajectories[i], places[i]) for i in pending], timeout, limits))
            pending = [index for index in pending if index not in verdicts]
    return [verdicts[index] for index in range(len(trajectories))]


def _recheck_file(
    source: Source, items: Sequence[tuple[int, Trajectory, Place]], timeout: int, limits: Limits
) -> dict[int, Verdict]:
    """Judge trajectories of one file, in order of position, until all are judged or the process has died."""
    verdicts: dict[int, Verdict] = {}
    with Toplevel(source.top, source.options, limits, noinit=source.noinit) as top:
        read = 0
        for index, trajectory, place in items:
            check_statement(place)
            top.patience = limits.call
            try:
                for sentence in sentences(source.file)[read : place.position]:
                    top.add(sentence)
                top.goals()
            except (CommandFailed, Exhausted, ProcessDied) as error:
                raise VerifierError(
                    f"expected to replay {source.file} up to {place.pose[0]!r}, found: {error}"
                ) from error
            read, before = place.position, top.tip
            top.patience = 2.0 * timeout
            try:
                verdicts[index] = _judge(top, trajectory, place, timeout)
                top.edit_at(before)
            except ProcessDied as died:
                verdicts[index] = Verdict(Status.UNKNOWN, (), evidence("T3", str(died)))
                break
    return verdicts


def _judge(top: Toplevel, trajectory: Trajectory, place: Place, timeout: int) -> Verdict:
    """State the theorem at the tip, run the proof as it is written, and look at what it rests on."""
    tactics = [normalise(action) for action in trajectory.actions]
    for tactic in tactics:
        if reason := refusal(tactic):
            return Verdict(Status.REJECTED, (0.0,), evidence("T0", f"{tactic!r}: {reason}"))
    name = str(trajectory.problem.data["name"]).rpartition(".")[2]
    try:
        for sentence in (*place.preamble, f"Set Default Timeout {timeout}."):
            top.add(sentence)
        for sentence in (*place.pose, *tactics):
            if top.run(sentence) is None:
                return Verdict(Status.REJECTED, (0.0,), evidence("T3", f"{sentence!r} left the proof"))
        if top.run("Qed.") is not None:
            return Verdict(Status.REJECTED, (0.0,), evidence("T3", "Qed. left the proof open"))
        found = axioms(top.query(f"Print Assumptions {name}."))
    except CommandFailed as failed:
        return Verdict(Status.REJECTED, (0.0,), evidence("T3", str(failed)))
    except Exhausted as exhausted:
        return Verdict(Status.UNKNOWN, (), evidence("T3", str(exhausted)))
    if extra := excess(found, trajectory.problem.data.get("assumptions", ())):
        return Verdict(Status.REJECTED, (0.0,), evidence("T3", f"rests on {', '.join(extra)}"))
    return Verdict(Status.ACCEPTED, (1.0,), evidence("T3"))


def _agree(name: str, other: str) -> bool:
    return name == other or name.endswith(f".{other}") or other.endswith(f".{name}")
