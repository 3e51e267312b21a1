from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.proofs.kernel.decide import goal_provable
from surpass.domains.proofs.kernel.formula import IMPLIES, Formula, implies
from surpass.domains.proofs.kernel.rules import NULLARY, UNARY, Goal, infer, legal, show, spine
from tests.domains.proofs.kernel.formulas import FORMULAS, goal

GOALS = st.builds(
    lambda formulas, conclusion: Goal(tuple((f"h{i + 1}", f) for i, f in enumerate(formulas)), conclusion),
    st.lists(FORMULAS, max_size=3),
    FORMULAS,
)


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        (goal("A -> B"), "intro x", [goal("B", x="A")]),
        (goal("~ A", h1="B"), "intro h2", [goal("False", h1="B", h2="A")]),
        (goal("A", h="A"), "exact h", []),
        (goal("A", h="B", k="A"), "assumption", []),
        (goal("C", h="A -> B -> C"), "apply h", [goal("A", h="A -> B -> C"), goal("B", h="A -> B -> C")]),
        (goal("B -> C", h="A -> B -> C"), "apply h", [goal("A", h="A -> B -> C")]),
        (goal("False", h="~ A"), "apply h", [goal("A", h="~ A")]),
        (goal(r"A /\ B"), "split", [goal("A"), goal("B")]),
        (goal("True"), "split", []),
        (goal(r"A \/ B"), "left", [goal("A")]),
        (goal(r"A \/ B"), "right", [goal("B")]),
        (goal("A"), "exfalso", [goal("False")]),
        (goal("C", h1=r"A /\ B", h3="C"), "cases h1", [goal("C", h1="A", h2="B", h3="C")]),
        (goal("C", k="C", x=r"A \/ B"), "cases x", [goal("C", k="C", h1="A"), goal("C", k="C", h1="B")]),
        (goal("C", h="False"), "cases h", []),
        (goal("C", h="~ A"), "cases h", [goal("A", h="~ A")]),
        (
            goal("C", h=r"A -> B \/ C", k="A"),
            "cases h",
            [goal("A", h=r"A -> B \/ C", k="A"), goal("C", h1="B", k="A"), goal("C", h1="C", k="A")],
        ),
        (goal("A", h="A"), "  exact \t h ", []),
    ],
)
def test_what_a_tactic_leaves(before: Goal, action: str, after: list[Goal]) -> None:
    assert infer(before, action) == tuple(after)


@pytest.mark.parametrize(
    ("before", "action"),
    [
        (goal(r"A /\ B"), "intro h"),
        (goal("A -> B", h="A"), "intro h"),  # the name is taken
        *((goal("A -> B"), f"intro {name}") for name in ("A", "1x", "h-1", "in", "_", "x" * 50, "é", "h.", "h;")),
        (goal("A", h="B"), "exact h"),
        (goal("A", h="A"), "exact k"),
        (goal("A", h="B"), "assumption"),
        (goal("A", h="A"), "apply h"),  # no premise: `exact` says that
        (goal("A", h="A -> B"), "apply h"),
        (goal("A", h="B -> A -> B"), "apply h"),
        (goal("A", h=r"B /\ A"), "apply h"),  # Rocq would project
        (goal(r"A \/ B"), "split"),
        (goal(r"A /\ B"), "left"),
        (goal(r"A /\ B"), "right"),
        (goal("False"), "exfalso"),
        (goal("A", h="B"), "cases h"),
        (goal("A", h="B -> C"), "cases h"),
        (goal("A", h="True"), "cases h"),
        (goal("A", h="A"), "exact h."),
        (goal("A", h="A"), "Exact h"),
        (goal("A", h="A"), "exact h h"),
        (goal("A", h="A"), "exact"),
        (goal("A"), "exfalso h"),
        (goal("A"), ""),
    ],
)
def test_what_does_not_apply_is_told(before: Goal, action: str) -> None:
    refusal = infer(before, action)
    assert isinstance(refusal, str)
    assert refusal


@given(GOALS)
def test_legal_is_exact(before: Goal) -> None:
    names = [name for name, _ in before.hypotheses]
    automatic = next(f"h{i}" for i in range(1, 9) if f"h{i}" not in names)
    universe = [f"{tactic} {name}" for tactic in UNARY if tactic != "intro" for name in names]
    universe += [f"intro {automatic}", *(tactic for tactic in NULLARY if tactic != "assumption")]
    accepted = {action for action in universe if not isinstance(infer(before, action), str)}
    actions = legal(before)
    assert len(actions) == len(set(actions))
    assert set(actions) == accepted
    assert isinstance(infer(before, "assumption"), str) != any(action.startswith("exact") for action in actions)


@given(GOALS)
def test_every_rule_is_sound_and_those_said_to_be_are_invertible(before: Goal) -> None:
    for action in legal(before):
        after = infer(before, action)
        assert not isinstance(after, str)
        provable = all(map(goal_provable, after))
        assert goal_provable(before) or not provable, action
        premises = action.startswith("cases") and spine(dict(before.hypotheses)[action.split()[1]])[0]
        if action.startswith(("intro", "split")) or (action.startswith("cases") and not premises):
            assert provable == goal_provable(before), action


@given(
    GOALS, st.text(max_size=20) | st.builds(" ".join, st.lists(st.sampled_from([*UNARY, *NULLARY, "h1", "x", "\n"])))
)
def test_nonsense_never_raises(before: Goal, action: str) -> None:
    after = infer(before, action)
    assert isinstance(after, str | tuple)


def test_goals_are_shown_with_a_blank_line_between() -> None:
    shown = show((goal("C", h1="A -> B", x="A"), goal(r"A \/ B")))
    assert shown == "h1 : A -> B\nx : A\n|- C\n\n|- A \\/ B"
    assert show(()) == ""


@given(FORMULAS)
def test_spine_splits_an_implication_completely(formula: Formula) -> None:
    premises, head = spine(formula)
    assert head.op != IMPLIES
    assert reduce(lambda rest, premise: implies(premise, rest), reversed(premises), head) is formula
