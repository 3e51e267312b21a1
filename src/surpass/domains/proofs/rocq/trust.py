"""What a finished proof rests on, and the second opinion: a fresh process reads the stated theorem and the whole proof.

`recheck` (trust level T3) shares no state with the live sessions: it starts one process for each source file, replays
the file as it stands, states the theorem in the file's own words, runs the tactics as plain sentences, `Qed.` and
`Print Assumptions`. Verdicts shown to people and kept in buffers should have passed it. The answer to that last query
comes back on a channel of its own, where nothing that a tactic printed can be.

**What a proof may rest on.** The axioms that its problem permits and, where the problem has a human proof, of these and
of the section variables only what that proof rests on: it is replayed beside the other one, where both stand. Without a
human proof (an open lemma) all section variables are permitted: its theorem says what it says under their hypotheses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from surpass.core import Status, Trajectory, Verdict
from surpass.domains.proofs import sandbox
from surpass.domains.proofs.rocq.assumptions import Rests, rests_on
from surpass.domains.proofs.rocq.protocol import (
    CommandFailed,
    Exhausted,
    Limits,
    ProcessDied,
    Toplevel,
    version,
)
from surpass.domains.proofs.rocq.rules import as_sentence, normalise, refusal
from surpass.domains.proofs.rocq.session import Place, Source, check_statement, pose, sentences
from surpass.errors import VerifierError

_LIMITS = Limits()
HUMAN = "the human proof, which says what a proof may rest on, was not replayed"


def evidence(level: str, detail: str = "") -> str:
    """Return the evidence of a verdict: checker, version, trust level, sandbox, and what was found."""
    return f"rocq {version()}; {level}; sandbox={sandbox.level()}" + (f"; {detail}" if detail else "")


def needs_human(rests: Rests, tactics: Sequence[str], solution: Sequence[str]) -> bool:
    """Tell whether to ask the human proof what a proof may rest on: it is another one, and this one is not closed."""
    return bool((rests.axioms or rests.variables) and solution and [*map(normalise, solution)] != [*tactics])


def beyond(rests: Rests, human: Rests) -> list[str]:
    """Return what a proof rests on and may not: what is not permitted, and what the human proof does without."""
    theirs = {*human.axioms, *human.variables}
    more = (f"{name}, which the human proof does not need" for name in (*rests.axioms, *rests.variables))
    names = (*rests.axioms, *rests.variables)
    return [*rests.extra, *(text for name, text in zip(names, more, strict=True) if name not in theirs)]


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
    human = dict[tuple[Place, tuple[str, ...]], Rests | str]()
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
            try:
                verdicts[index] = _judge(top, trajectory, place, timeout, human)
                top.edit_at(before)
            except ProcessDied as died:
                verdicts[index] = Verdict(Status.UNKNOWN, (), evidence("T3", str(died)))
                break
    return verdicts


def _judge(
    top: Toplevel,
    trajectory: Trajectory,
    place: Place,
    timeout: int,
    known: dict[tuple[Place, tuple[str, ...]], Rests | str],
) -> Verdict:
    """State the theorem at the tip, run the proof as it is written, and look at what it rests on."""
    tactics = [normalise(action) for action in trajectory.actions]
    for tactic in tactics:
        if reason := refusal(tactic):
            return Verdict(Status.REJECTED, (0.0,), evidence("T0", f"{tactic!r}: {reason}"))
    data, before = trajectory.problem.data, top.tip
    name, allowed = str(data["name"]).rpartition(".")[2], data.get("assumptions", ())
    try:
        rests = _finished(top, place, tactics, name=name, allowed=allowed, timeout=timeout)
    except CommandFailed as failed:
        return Verdict(Status.REJECTED, (0.0,), evidence("T3", str(failed)))
    except Exhausted as exhausted:
        return Verdict(Status.UNKNOWN, (), evidence("T3", str(exhausted)))
    human, solution = rests, tuple(data.get("solution", ()))
    if not rests.extra and needs_human(rests, tactics, solution):
        if (found := known.get((place, solution))) is None:
            top.edit_at(before)
            try:
                found = _finished(top, place, solution, name=name, allowed=allowed, timeout=timeout)
            except (CommandFailed, Exhausted) as error:
                found = str(error)
            known[place, solution] = found
        if isinstance(found, str):
            return Verdict(Status.UNKNOWN, (), evidence("T3", f"{HUMAN}: {found}"))
        human = found
    if extra := beyond(rests, human):
        return Verdict(Status.REJECTED, (0.0,), evidence("T3", f"rests on {', '.join(extra)}"))
    return Verdict(Status.ACCEPTED, (1.0,), evidence("T3"))


def _finished(
    top: Toplevel, place: Place, script: Sequence[str], *, name: str, allowed: Iterable[str], timeout: int
) -> Rests:
    """State the theorem at the tip, run a script as it is written and `Qed.`, and return what the proof rests on.

    Each sentence must also run in parentheses of ours, where no command does: the text rules may be wrong one day.
    Raises CommandFailed where something is refused or the proof does not end with its script, Exhausted, ProcessDied.
    """
    top.patience = top.limits.call
    pose(top, place, timeout)
    top.patience = 2.0 * timeout
    for sentence in script:
        before, wrapped = top.tip, as_sentence(sentence)
        if wrapped != sentence:
            top.run(wrapped)
            top.edit_at(before)
        if top.run(sentence) is None:
            raise CommandFailed(f"{sentence!r} left the proof")
    if top.run("Qed.") is not None:
        raise CommandFailed("Qed. left the proof open")
    top.patience = top.limits.call
    return rests_on(top, name, allowed)
