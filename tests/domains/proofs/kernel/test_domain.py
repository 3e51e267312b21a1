from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.conformance import check_domain
from surpass.core import Problem, Status, replay
from surpass.domains.proofs.kernel import rules
from surpass.domains.proofs.kernel.domain import VERSION, Kernel, State, pose
from surpass.domains.proofs.kernel.generate import Recipe
from surpass.errors import DataError

RECIPE = Recipe(train=20, held_out=5)
CANONICAL, FREE = Kernel(recipe=RECIPE), Kernel(canonical=False, recipe=RECIPE)
WORDS = [
    "intro",
    "exact",
    "apply",
    "cases",
    "split",
    "left",
    "right",
    "exfalso",
    "assumption",
    "h1",
    "h2",
    "x",
    ".",
    ";",
]


def play(domain: Kernel, statement: str, *actions: str) -> State:
    state = domain.start(pose(statement))
    for action in actions:
        state = domain.step(state, action)
    return state


@pytest.mark.parametrize("domain", [CANONICAL, FREE, Kernel(history=False, recipe=RECIPE)])
def test_contract(domain: Kernel) -> None:
    def wrong(problem: Problem) -> list[list[str]]:
        solution = problem.data["solution"]
        return [["Qed"], ["admit"], solution[::-1], [*solution[:-1], "exact h99"], solution[1:]]

    for split in ("train", "valid", "test"):
        check_domain(domain, split, wrong=wrong)


def test_a_proof_is_accepted_and_says_by_whom() -> None:
    proof = ["intro h1", "cases h1", "split", "exact h2", "exact h1"]
    for domain in (CANONICAL, FREE):
        trajectory = replay(domain, pose(r"A /\ B -> B /\ A"), proof)
        assert trajectory.solved
        assert trajectory.verdict.returns == (1.0,)
        assert trajectory.verdict.evidence == f"{VERSION}; T3"
        assert trajectory.actions == tuple(proof)


def test_an_unfinished_proof_is_not_accepted() -> None:
    state = play(CANONICAL, r"A /\ B -> B /\ A", "intro h1", "cases h1", "split", "exact h2")
    assert CANONICAL.verify(state) is None
    assert [goal.text for goal in state.goals] == ["h1 : A\nh2 : B\n|- A"]


def test_a_bad_action_rejects_and_a_rejected_state_stays() -> None:
    state = play(FREE, "A -> A", "exact h1")
    verdict = FREE.verify(state)
    assert verdict is not None
    assert verdict.status is Status.REJECTED
    assert verdict.returns == (0.0,)
    assert "found 'h1'" in verdict.evidence
    assert FREE.step(state, "intro h1") == state


def test_nothing_follows_a_finished_proof() -> None:
    state = play(FREE, "True", "split", "split")
    assert state.status is Status.REJECTED


def test_free_names_and_spelling() -> None:
    assert play(FREE, "A -> A", "intro  my_name\n", "assumption").status is Status.ACCEPTED
    assert FREE.observe(play(FREE, "A -> A")).legal is None


@pytest.mark.parametrize("action", ["intro x", "intro h2", "intro  h1", " intro h1", "intro h1\n", "intro"])
def test_canonical_has_one_spelling(action: str) -> None:
    assert play(CANONICAL, "A -> A", action).status is Status.REJECTED


def test_canonical_refuses_assumption_and_ends_where_nothing_applies() -> None:
    assert play(CANONICAL, "A -> A", "intro h1", "assumption").status is Status.REJECTED
    stuck = play(CANONICAL, "A -> A", "intro h1", "exfalso")
    assert stuck.status is Status.REJECTED
    assert CANONICAL.observe(stuck).legal == ()
    assert CANONICAL.start(pose("False")).status is Status.REJECTED
    for alive in (r"~ (A /\ B)", r"~ (A \/ B)", r"~ (A -> A \/ B)", "~ ~ A", "~ False"):
        assert play(CANONICAL, alive, "intro h1").status is None
    assert FREE.start(pose("False")).status is None


@given(st.integers(0, 10**6))
def test_canonical_legal_is_exactly_what_is_accepted(seed: int) -> None:
    """A random walk: legal actions never reject, except into a dead end; everything else does."""
    rng = random.Random(seed)
    state = CANONICAL.start(rng.choice(list(CANONICAL.problems("train"))))
    while state.status is None and len(state.tactics) < 12:
        legal = CANONICAL.observe(state).legal
        assert legal, "play goes on only where something is legal"
        others = {f"{tactic} h{i}" for tactic in ("intro", "exact", "apply", "cases") for i in range(1, 9)}
        others |= {"split", "left", "right", "exfalso", "assumption", " ".join(rng.choices(WORDS, k=2))}
        assert all(CANONICAL.step(state, action).status is Status.REJECTED for action in others - set(legal))
        for action in legal:
            after = CANONICAL.step(state, action)
            dead = bool(after.goals) and not rules.legal(after.goals[0])
            assert (after.status is Status.REJECTED) == dead
            assert after.refusal == ("no tactic applies to the goal" if dead else "")
        state = CANONICAL.step(state, rng.choice(legal))


@given(st.lists(st.text(max_size=15) | st.builds(" ".join, st.lists(st.sampled_from(WORDS), max_size=3)), max_size=4))
def test_text_of_any_kind_gives_a_state(actions: list[str]) -> None:
    for domain in (CANONICAL, FREE):
        state = play(domain, r"(A \/ B) /\ ~ A -> B", *actions)
        assert domain.verify(state) is None or not state.goals or state.refusal
        domain.observe(state)


def test_observations_show_goals_and_history() -> None:
    state = play(CANONICAL, "A -> B -> A", "intro h1", "intro h2")
    seen = CANONICAL.observe(state)
    assert seen.key == "h1 : A\nh2 : B\n|- A"
    assert seen.key in seen.text
    assert "intro h1\nintro h2" in seen.text
    assert "|- A -> B -> A" in seen.text
    assert Kernel(history=False).observe(state).text == seen.key


def test_states_and_domains_are_values() -> None:
    state = play(CANONICAL, r"A \/ B -> B \/ A", "intro h1", "cases h1")
    again = play(CANONICAL, r"A \/ B -> B \/ A", "intro h1", "cases h1")
    assert state == again
    assert hash(state) == hash(again)
    assert pickle.loads(pickle.dumps(state)) == state
    assert pickle.loads(pickle.dumps(CANONICAL)) == CANONICAL
    assert not hasattr(state, "__dict__")


def test_problems_of_the_domain() -> None:
    assert [len(list(CANONICAL.problems(split))) for split in ("train", "valid", "test")] == [20, 5, 5]
    with pytest.raises(DataError, match="train, valid, test"):
        list(CANONICAL.problems("dev"))
    with pytest.raises(DataError, match="statement"):
        CANONICAL.start(Problem("no statement"))
