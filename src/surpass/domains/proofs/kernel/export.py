"""Accepted proofs as Rocq scripts: an independent judge of the kernel.

Each tactic has a Rocq counterpart, which acts on the same goals in the same order. The statement is copied verbatim,
the atoms become bound propositions. Hypothesis names are written out, so nothing depends on how Rocq chooses names.
Running Rocq is not done here: `coqc file.v` is enough, and several scripts may be joined in one file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from surpass.core import Problem
from surpass.domains.proofs.kernel.formula import AND, FALSE, OR, atoms, parse
from surpass.domains.proofs.kernel.rules import Goal, Goals, fresh, infer, spine
from surpass.errors import DataError


def to_rocq(problem: Problem, actions: Sequence[str]) -> str:
    """Return a full `.v` text that states the problem and proves it by the actions.

    Raises DataError where the kernel does not accept the actions as a proof.
    """
    statement = parse(problem.data["statement"])
    goals: Goals = (Goal((), statement),)
    script: list[str] = []
    for action in actions:
        if not goals:
            raise DataError(
                f"expected the end of the proof of {problem.key!r}, found {action!r}: nothing was left to do"
            )
        found = infer(goals[0], action)
        if isinstance(found, str):
            raise DataError(
                f"expected a proof of {problem.key!r}, found {action!r} refused ({found}): export only proofs"
            )
        script.append(sentence(goals[0], action))
        goals = (*found, *goals[1:])
    if goals:
        raise DataError(
            f"expected a finished proof of {problem.key!r}, found {len(goals)} goals left: export only proofs"
        )
    names = atoms(statement)
    binders = f" ({' '.join(names)} : Prop)" if names else ""
    name = re.sub(r"\W", "_", f"kernel_{problem.key}", flags=re.ASCII)
    return "\n".join([f"Theorem {name}{binders} : {statement.text}.", "Proof.", *script, "Qed.", ""])


def sentence(goal: Goal, action: str) -> str:
    """Return the Rocq sentence for a tactic that the kernel accepts on a goal."""
    words = action.split()
    return f"{' '.join(words)}." if words[0] != "cases" else f"{_destruct(goal, words[1])}."


def _destruct(goal: Goal, name: str) -> str:
    """Rocq's `destruct h` drops `h` from the goals of its premises, ours keeps it: assert the head first."""
    premises, head = spine(dict(goal.hypotheses)[name])
    others = [known for known, _ in goal.hypotheses if known != name]
    pattern = {FALSE.op: "[]", AND: "[{0} {1}]", OR: "[{0}|{0}]"}[head.op].format(*fresh(others, 2))
    if not premises:
        return f"destruct {name} as {pattern}"
    proved = fresh([*others, name], 1)[0]
    return f"assert ({proved} : {head.text}); [apply {name} | clear {name}; destruct {proved} as {pattern}]"
