"""The rules: what each tactic makes of one goal. Pure functions, no state, no processes.

Natural deduction for intuitionistic propositional logic, read from the conclusion upwards. Tactics: `intro h`,
`exact h`, `apply h`, `cases h`, `split`, `left`, `right`, `exfalso`, `assumption`. `cases h` eliminates a conjunction,
a disjunction or False; where `h` has premises (`A -> B \\/ C`) they become goals first, as after Rocq's `destruct`, and
`h` stays available in them: else `A -> (A -> B /\\ C) -> B` would have no proof here. There is no cut, no `assert`, no
automation and no classical rule. The trusted part of the kernel is `infer` and `formula.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from surpass.domains.proofs.kernel.formula import AND, FALSE, IMPLIES, OR, TRUE, Formula

NAME = re.compile(r"[a-z][A-Za-z0-9_']{0,30}\Z", re.ASCII)  # lower case: never the name of an atom
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "after as at before by cofix do else end exists exists2 fix for forall from fun if in into let match mod "
        "move rec return then using where with",
    )
)  # what Rocq would not take as the name of a hypothesis


@dataclass(frozen=True, slots=True)
class Goal:
    """A sequent: named hypotheses and a conclusion."""

    hypotheses: tuple[tuple[str, Formula], ...]
    conclusion: Formula

    @property
    def text(self) -> str:
        """One line for each hypothesis, `h : A`, then `|- C`."""
        lines = [f"{name} : {formula.text}" for name, formula in self.hypotheses]
        return "\n".join([*lines, f"|- {self.conclusion.text}"])


Goals = tuple[Goal, ...]


def show(goals: Goals) -> str:
    """Return the text of the goals, a blank line between two; empty where none is left."""
    return "\n\n".join(goal.text for goal in goals)


def fresh(taken: Iterable[str], count: int) -> list[str]:
    """Return the first `count` of h1, h2, ... that are not taken.

    >>> fresh(["h1", "h3"], 2)
    ['h2', 'h4']
    """
    used, names, number = set(taken), list[str](), 0
    while len(names) < count:
        number += 1
        if (name := f"h{number}") not in used:
            names.append(name)
    return names


def spine(formula: Formula) -> tuple[list[Formula], Formula]:
    """Return the premises of an implication and what it finally concludes: `A -> B -> C` gives [A, B] and C."""
    premises: list[Formula] = []
    while formula.op == IMPLIES:
        premises.append(formula.parts[0])
        formula = formula.parts[1]
    return premises, formula


def infer(goal: Goal, action: str) -> Goals | str:
    """Return the goals that a tactic leaves in place of `goal`, or, as a string, why it does not apply."""
    words = action.split()
    if len(words) == 1 and (nullary := NULLARY.get(words[0])) is not None:
        return nullary(goal)
    if len(words) == 2 and (unary := UNARY.get(words[0])) is not None:
        return unary(goal, words[1])
    return f"expected one of {', '.join(NULLARY)} or one of {', '.join(UNARY)} with a name, found {action[:80]!r}"


def legal(goal: Goal) -> tuple[str, ...]:
    """Return every tactic that applies to a goal, each inference in one spelling and with automatic names.

    `assumption` is left out, being `exact` of some hypothesis.
    """
    conclusion, actions = goal.conclusion, list[str]()
    if conclusion.op == IMPLIES:
        actions.append(f"intro {fresh((name for name, _ in goal.hypotheses), 1)[0]}")
    elif conclusion.op == AND or conclusion is TRUE:
        actions.append("split")
    elif conclusion.op == OR:
        actions += ("left", "right")
    for name, formula in goal.hypotheses:
        if formula is conclusion:
            actions.append(f"exact {name}")
        rest = formula
        while rest.op == IMPLIES:
            rest = rest.parts[1]
            if rest is conclusion:
                actions.append(f"apply {name}")
        if rest.op or rest is FALSE:
            actions.append(f"cases {name}")
    if conclusion is not FALSE:
        actions.append("exfalso")
    return tuple(actions)


def _find(goal: Goal, name: str) -> Formula | None:
    for known, formula in goal.hypotheses:
        if known == name:
            return formula
    return None


def _missing(goal: Goal, name: str) -> str:
    return f"expected a hypothesis among {[known for known, _ in goal.hypotheses]}, found {name[:40]!r}"


def _intro(goal: Goal, name: str) -> Goals | str:
    conclusion = goal.conclusion
    if conclusion.op != IMPLIES:
        return f"intro: expected an implication, found {conclusion.text}"
    if _find(goal, name) is not None or NAME.match(name) is None or name in KEYWORDS:
        return f"intro: expected a new name of lower case, found {name[:40]!r}"
    left, right = conclusion.parts
    return (Goal((*goal.hypotheses, (name, left)), right),)


def _exact(goal: Goal, name: str) -> Goals | str:
    formula = _find(goal, name)
    if formula is None:
        return _missing(goal, name)
    return () if formula is goal.conclusion else f"exact: expected {goal.conclusion.text}, found {formula.text}"


def _apply(goal: Goal, name: str) -> Goals | str:
    formula = rest = _find(goal, name)
    if formula is None or rest is None:
        return _missing(goal, name)
    premises: list[Goal] = []
    while rest.op == IMPLIES:
        premise, rest = rest.parts
        premises.append(Goal(goal.hypotheses, premise))
        if rest is goal.conclusion:  # at most one cut of the spine fits: what follows it is smaller
            return tuple(premises)
    return f"apply: expected an implication that ends in {goal.conclusion.text}, found {formula.text}"


def _cases(goal: Goal, name: str) -> Goals | str:
    formula = _find(goal, name)
    if formula is None:
        return _missing(goal, name)
    premises, head = spine(formula)
    if head is not FALSE and head.op not in (AND, OR):
        return f"cases: expected a conjunction, a disjunction or False, found {formula.text}"
    first = tuple(Goal(goal.hypotheses, premise) for premise in premises)
    if head is FALSE:
        return first
    at = [known for known, _ in goal.hypotheses].index(name)
    before, after = goal.hypotheses[:at], goal.hypotheses[at + 1 :]
    names = fresh((known for known, _ in before + after), 2 if head.op == AND else 1)
    if head.op == AND:
        both = tuple(zip(names, head.parts, strict=True))
        return (*first, Goal((*before, *both, *after), goal.conclusion))
    return *first, *(Goal((*before, (names[0], part), *after), goal.conclusion) for part in head.parts)


def _split(goal: Goal) -> Goals | str:
    if goal.conclusion.op == AND:
        return tuple(Goal(goal.hypotheses, part) for part in goal.conclusion.parts)
    return () if goal.conclusion is TRUE else f"split: expected a conjunction or True, found {goal.conclusion.text}"


def _left(goal: Goal) -> Goals | str:
    return _side(goal, 0)


def _right(goal: Goal) -> Goals | str:
    return _side(goal, 1)


def _side(goal: Goal, index: int) -> Goals | str:
    if goal.conclusion.op != OR:
        return f"left, right: expected a disjunction, found {goal.conclusion.text}"
    return (Goal(goal.hypotheses, goal.conclusion.parts[index]),)


def _exfalso(goal: Goal) -> Goals | str:
    if goal.conclusion is FALSE:  # Rocq allows it, but it would only make every proof of False infinitely many
        return "exfalso: the goal is False already"
    return (Goal(goal.hypotheses, FALSE),)


def _assumption(goal: Goal) -> Goals | str:
    if any(formula is goal.conclusion for _, formula in goal.hypotheses):
        return ()
    return f"assumption: no hypothesis is {goal.conclusion.text}"


NULLARY: dict[str, Callable[[Goal], Goals | str]] = {
    "split": _split,
    "left": _left,
    "right": _right,
    "exfalso": _exfalso,
    "assumption": _assumption,
}
UNARY: dict[str, Callable[[Goal, str], Goals | str]] = {
    "intro": _intro,
    "exact": _exact,
    "apply": _apply,
    "cases": _cases,
}
