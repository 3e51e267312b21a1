"""Exchanges with Lean's REPL, written by hand after its documentation: no Lean has answered them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surpass.domains.proofs.lean.place import Place
from surpass.domains.proofs.lean.trust import CHECK

Json = dict[str, Any]
CONTEXT = "open Nat\n"
GOAL = "p q : Prop\nh : p ∧ q\n⊢ q ∧ p"
LEFT, RIGHT = "case left\np q : Prop\nh : p ∧ q\n⊢ q", "case right\np q : Prop\nh : p ∧ q\n⊢ p"
RECORDS: list[Json] = [
    {
        "name": "swap",
        "header": "open Nat",
        "formal_statement": "theorem swap (p q : Prop) (h : p ∧ q) : q ∧ p := by sorry",
        "split": "test",
        "solution": ["constructor", "exact h.2", "exact h.1"],
    },
    {
        "name": "same",
        "header": "open Nat",
        "formal_statement": "theorem same (n : Nat) : n = n :=",
        "split": "valid",
        "solution": ["rfl"],
    },
]
SWAP = Place("", CONTEXT, "theorem swap (p q : Prop) (h : p ∧ q) : q ∧ p := by", "", "swap")
SAME = Place("", CONTEXT, "theorem same (n : Nat) : n = n := by", "", "same")


def message(severity: str, data: str) -> Json:
    return {"severity": severity, "pos": {"line": 1, "column": 0}, "endPos": {"line": 1, "column": 5}, "data": data}


def stated(goal: str, env: int, state: int) -> Json:
    """What a declaration with a hole is answered."""
    hole = {"proofState": state, "pos": {"line": 2, "column": 2}, "endPos": {"line": 2, "column": 7}, "goal": goal}
    return {"sorries": [hole], "messages": [message("warning", "declaration uses `sorry`")], "env": env}


def ran(state: int, *goals: str, status: str = "") -> Json:
    """What a tactic is answered."""
    status = status or ("Incomplete: open goals remain" if goals else "Completed")
    return {"proofStatus": status, "proofState": state, "goals": list(goals)}


def finished(place: Place, tactics: Sequence[str], context: int, hole: int, env: int) -> list[tuple[Json, Json]]:
    """What is asked of a finished proof, in the live process and in a fresh one; all is well with it."""
    pairs: list[tuple[Json, Json]] = []
    info = {"messages": [message("info", f"@{place.name} : ∀ (p : Prop), p")], "env": 99}
    for number, guarded in ((env, True), (env + 1, False)):
        script = place.filled(place.script(tactics, guarded=guarded))
        pairs.append(({"cmd": script, "env": context}, {"env": number}))
        pairs.append(({"cmd": CHECK + place.name, "env": number}, info))
        axioms = {"messages": [message("info", f"'{place.name}' depends on axioms: [propext]")], "env": 98}
        pairs.append(({"cmd": f"#print axioms {place.name}", "env": number}, axioms))
    return [*pairs, ({"cmd": CHECK + place.name, "env": hole}, info)]


def exchanges() -> list[tuple[Json, Json]]:
    """Two theorems: one in three steps or in one, one in a single step."""
    return [
        ({"cmd": CONTEXT}, {"env": 0}),
        ({"cmd": SWAP.open, "env": 0}, stated(GOAL, 1, 0)),
        ({"tactic": "constructor", "proofState": 0}, ran(1, LEFT, RIGHT)),
        ({"tactic": "exact h.2", "proofState": 1}, ran(2, RIGHT)),
        ({"tactic": "exact h.1", "proofState": 2}, ran(3)),
        ({"tactic": "exact ⟨h.2, h.1⟩", "proofState": 0}, ran(4)),
        ({"tactic": "trivial", "proofState": 0}, {"message": "Lean error:\ntactic 'trivial' failed"}),
        *finished(SWAP, ["constructor", "exact h.2", "exact h.1"], 0, 1, 10),
        *finished(SWAP, ["exact ⟨h.2, h.1⟩"], 0, 1, 20),
        ({"cmd": SAME.open, "env": 0}, stated("n : Nat\n⊢ n = n", 2, 5)),
        ({"tactic": "rfl", "proofState": 5}, ran(6)),
        *finished(SAME, ["rfl"], 0, 2, 30),
    ]


def write(path: Path, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """Write a recording and return its path."""
    lines = [json.dumps({"request": request, "response": response}) for request, response in pairs]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def records(path: Path) -> str:
    """Write the problems as JSON Lines and return the path."""
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return str(path)
