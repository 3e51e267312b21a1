"""What a finished proof is worth: its declaration elaborated whole, its statement compared, its axioms collected.

`judge` does this for one proof in a given process; `recheck` (trust level T3) in a process of its own, which starts
from the stated context and reads the script as it will be written. Each question is a request of its own, so nothing
that a tactic prints can pass for its answer, and an answer that cannot be read makes a verdict UNKNOWN, not a success.

    statement     `#check` of the theorem with `pp.all`, with the hole and with the proof: equal, or rejected. That is
                  the elaborated type with all implicit arguments and universes
    axioms        `#print axioms`: the usual three and those the problem allows, never `sorryAx`
    metavariables Lean elaborates a theorem only when none are left, universe levels among them

Not here: a second kernel (`lean4checker` and the like), and a barrier around the process.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from surpass.core import Status, Trajectory, Verdict
from surpass.domains.proofs.lean.place import Place
from surpass.domains.proofs.lean.protocol import (
    Answer,
    LeanInteract,
    Opener,
    ProcessDiedError,
    Repl,
    command,
)
from surpass.domains.proofs.lean.rules import normalise, refusal
from surpass.errors import VerifierError

USUAL = ("propext", "Classical.choice", "Quot.sound")
SANDBOX = "rlimit"  # address space; no barrier against the network or the file system
_LEAN = LeanInteract()
LOAD = 600.0  # seconds for a context: Mathlib from a cold disk takes minutes
_MESSAGE = 300  # characters of Lean's message kept in the evidence
CHECK = "set_option pp.all true in\nset_option pp.deepTerms true in\nset_option pp.maxSteps 100000000 in\n#check @"
_AXIOMS = re.compile(r"'(?P<name>.+?)' (?:does not depend on any axioms|depends on axioms: \[(?P<list>[^\]]*)\])")
_ELIDED = "⋯"


def evidence(checker: str, level: str, detail: str = "") -> str:
    """Return the evidence of a verdict: checker and version, trust level, sandbox, and what was found."""
    return f"{checker}; {level}; sandbox={SANDBOX}" + (f"; {detail[:_MESSAGE]}" if detail else "")


def checker(repl: Repl) -> str:
    """Return what evidence says of a process.

    The first word is what `surpass verify` looks up; a replay is named as one, so it is found nowhere.
    """
    return f"{repl.name} {repl.version}"


def axioms(answer: Answer, name: str) -> list[str] | None:
    """Return what `#print axioms name` lists, None where that is not what was answered.

    >>> axioms(Answer(infos=("'A.t' depends on axioms: [propext,\\n Quot.sound]",)), "t")
    ['propext', 'Quot.sound']
    """
    found = _AXIOMS.fullmatch(answer.infos[0].strip()) if len(answer.infos) == 1 and not answer.message else None
    asked = name.removeprefix("_root_.")
    if found is None or not f".{found['name']}".endswith(f".{asked}"):
        return None
    return [one.strip() for one in (found["list"] or "").split(",") if one.strip()]


def judge(
    repl: Repl, env: int | None, stated: int, place: Place, tactics: Sequence[str], timeout: float, level: str
) -> Verdict:
    """Elaborate a finished proof after `env` and look at what it states and rests on. Raises like `Repl.ask`.

    `stated` is the environment in which the same declaration stands with its hole. Level T3 writes the tactics plainly,
    below it they stand in parentheses.
    """

    def said(status: Status, detail: str = "") -> Verdict:
        returns = {Status.ACCEPTED: (1.0,), Status.REJECTED: (0.0,), Status.UNKNOWN: ()}[status]
        return Verdict(status, returns, evidence(checker(repl), level, detail))

    done = command(repl, place.filled(place.script(tactics, guarded=level != "T3")), env, timeout)
    if done.message:
        return said(Status.UNKNOWN if done.exhausted else Status.REJECTED, done.message)
    if done.holes:
        return said(Status.REJECTED, "the proof leaves a sorry")
    wanted, found = (_statement(repl, place.name, one, timeout) for one in (stated, done.env))
    if not wanted or not found or _ELIDED in wanted:
        return said(Status.UNKNOWN, f"the statement of {place.name} could not be read")
    if found != wanted:
        return said(Status.REJECTED, f"expected a proof of {wanted}, found one of {found}")
    names = axioms(command(repl, f"#print axioms {place.name}", done.env, timeout), place.name)
    if names is None:
        return said(Status.UNKNOWN, f"the axioms of {place.name} could not be read")
    if extra := [name for name in names if name not in (*USUAL, *place.axioms) or name == "sorryAx"]:
        return said(Status.REJECTED, f"rests on {', '.join(extra)}")
    return said(Status.ACCEPTED)


def elaborate_context(repl: Repl, text: str, env: int | None, timeout: float = LOAD) -> int | None:
    """Return the environment after a context, None for an empty one. Raises VerifierError where Lean refuses it."""
    if not text.strip():
        return env
    try:
        answer = command(repl, text, env, timeout)
    except ProcessDiedError as died:
        raise VerifierError(
            f"expected Lean to read what stands before a theorem, found: {died}; raise limits"
        ) from died
    if answer.message:
        raise VerifierError(
            f"expected Lean to read what stands before a theorem, found: {answer.message[:_MESSAGE]}; "
            "is it meant for this toolchain and project?"
        )
    return answer.env


def state(repl: Repl, env: int | None, place: Place, timeout: float) -> Answer:
    """State the theorem with its hole; the answer has one goal, a proof state and an environment.

    Raises VerifierError where Lean refuses the statement, or finds no hole or several; and like `Repl.ask`.
    """
    answer = command(repl, place.open, env, timeout)
    if answer.message or answer.holes != 1 or answer.state < 0:
        found = answer.message[:_MESSAGE] or f"{answer.holes} holes"
        raise VerifierError(f"expected {place.name} to be stated with one hole, found: {found}")
    return answer


def recheck(
    trajectories: Sequence[Trajectory],
    *,
    opener: Opener = _LEAN,
    timeout: float = 60.0,
) -> list[Verdict]:
    """Return one T3 verdict for each trajectory, in order, from fresh processes: one at a time, for each project.

    Raises DataError where a file no longer states the theorem, VerifierError where Lean cannot be started or refuses
    what stands before it.
    """
    places = [Place.of(trajectory.problem) for trajectory in trajectories]
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        groups[place.project].append(index)
    verdicts: dict[int, Verdict] = {}
    for project, indices in groups.items():
        pending = list(indices)
        while pending:  # a new process where one died: the trajectory it died on has its verdict by then
            repl = opener(project)
            try:
                for index in pending:
                    verdicts[index] = _recheck(repl, places[index], trajectories[index].actions, timeout)
            except ProcessDiedError as died:
                lost = next(index for index in pending if index not in verdicts)
                verdicts[lost] = Verdict(Status.UNKNOWN, (), evidence(checker(repl), "T3", str(died)))
            finally:
                repl.close()
            pending = [index for index in pending if index not in verdicts]
    return [verdicts[index] for index in range(len(trajectories))]


def _recheck(repl: Repl, place: Place, actions: Sequence[str], timeout: float) -> Verdict:
    tactics = [normalise(action) for action in actions]
    for tactic in tactics:
        if reason := refusal(tactic):
            return Verdict(Status.REJECTED, (0.0,), evidence(checker(repl), "T0", f"{tactic!r}: {reason}"))
    env = elaborate_context(repl, place.context, None)
    return judge(repl, env, state(repl, env, place, timeout).env, place, tactics, timeout, "T3")


def _statement(repl: Repl, name: str, env: int, timeout: float) -> str:
    """Return the elaborated type in full, or nothing where it is not what was answered."""
    answer = command(repl, CHECK + name, env, timeout)
    return answer.infos[0] if len(answer.infos) == 1 and not answer.message else ""
