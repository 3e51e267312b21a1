"""Sampling against canned answers: no runner, no policy, no process."""

from __future__ import annotations

from functools import partial

import pytest

from surpass.core import (
    Apply,
    BudgetSpent,
    Conversation,
    Lost,
    Observation,
    Problem,
    Proposal,
    Propose,
    Status,
    Trajectory,
)
from surpass.models.scripted import Automaton, Place, Scripted, Uniform
from surpass.rollouts.runner import Budget, run
from surpass.search.sampling import sample
from tests.automata import diamond, forest

PROBLEM = Problem("a")


def talk(conversation: Conversation[None], answers: list[object]) -> tuple[list[object], list[Trajectory]]:
    """Give a search its answers in turn; return what it asked and what it found."""
    asked: list[object] = []
    found: list[Trajectory] = []
    left = iter(answers)
    try:
        said = next(conversation)
        while True:
            if isinstance(said, Trajectory):
                found.append(said)
                said = next(conversation)
                continue
            asked.append(said)
            answer = next(left)
            said = conversation.throw(answer) if isinstance(answer, BudgetSpent) else conversation.send(answer)
    except StopIteration:
        assert next(left, None) is None, "answers were left over"
        return asked, found


def at(domain: Automaton, *actions: str) -> Place:
    state = domain.start(PROBLEM)
    for action in actions:
        state = domain.step(state, action)
    return state


def test_rollouts_are_one_batch_by_depth_and_end_as_they_end() -> None:
    domain = diamond()
    up, down, join = Proposal("up", -0.1, (1, 0)), Proposal("down", -0.2), Proposal("join", -0.3)
    asked, found = talk(
        sample(domain, PROBLEM, at(domain), n=4, max_steps=2),
        [
            [[up, down, Proposal("?"), up]],
            [at(domain, "up"), at(domain, "down"), at(domain, "?"), Lost("gone")],
            [[join], []],
            [at(domain, "up", "join")],
        ],
    )
    assert asked == [
        Propose((Observation("a", key="a"),), 4),
        Apply(tuple((at(domain), action) for action in ("up", "down", "?", "up"))),
        Propose((Observation("b", key="b"), Observation("c", key="c")), 1),
        Apply(((at(domain, "up"), "join"),)),
    ]
    assert [(one.actions, one.verdict.status, one.info["end"]) for one in found] == [
        (("?",), Status.REJECTED, "verdict"),
        (("up",), Status.UNKNOWN, "lost"),
        (("down",), Status.REJECTED, "silent"),
        (("up", "join"), Status.REJECTED, "depth"),
    ]
    assert found[-1].steps[0].proposal is up
    assert found[-1].steps[1].observation.text == "b"
    assert "gone" in found[1].verdict.evidence


@pytest.mark.parametrize("spent_at", [0, 1, 2, 3])
def test_a_spent_budget_leaves_the_unfinished_unknown(spent_at: int) -> None:
    domain = diamond()
    answers: list[object] = [
        [[Proposal("up"), Proposal("?")]],
        [at(domain, "up"), at(domain, "?")],
        [[Proposal("join")]],
    ]
    _, found = talk(sample(domain, PROBLEM, at(domain), n=2), [*answers[:spent_at], BudgetSpent("enough")])
    ends = [(one.actions, one.verdict.status, one.info["end"]) for one in found]
    early = [((), Status.UNKNOWN, "budget")] * 2
    late = [(("?",), Status.REJECTED, "verdict"), (("up",), Status.UNKNOWN, "budget")]
    assert ends == (early if spent_at < 2 else late)


def test_fewer_proposals_than_rollouts_leave_the_others_silent() -> None:
    domain = diamond()
    found = list(run(partial(sample, n=3), [PROBLEM], domain, Scripted({"a": ["?"]})))
    assert sorted(one.info["end"] for one in found) == ["silent", "silent", "verdict"]


def test_a_problem_that_is_over_is_recorded_n_times() -> None:
    domain = forest()
    found = list(run(partial(sample, n=3), [Problem("n31")], domain, Uniform(("l",))))
    assert [(one.steps, one.solved) for one in found] == [((), True)] * 3


def test_sampling_gives_n_trajectories_distributed_as_the_policy() -> None:
    """From n15 one of two leaves is a goal and x is rejected: a third of uniform rollouts succeed at once."""
    domain = forest()
    found = list(run(partial(sample, n=3000, max_steps=1), [Problem("n15")], domain, Uniform(("l", "r", "x"))))
    assert len(found) == 3000
    assert abs(sum(one.solved for one in found) / 3000 - 1 / 3) < 0.03  # 3.5 standard deviations
    assert {one.info["proposals"] for one in found} == {3000}


def test_the_whole_cost_is_asked_within_the_budget() -> None:
    domain = forest()
    found = list(run(partial(sample, n=4), [Problem("n0")], domain, Uniform(("l", "r")), budget=Budget(steps=8)))
    assert len(found) == 4
    assert {(one.info["end"], one.info["steps"], len(one.steps)) for one in found} == {("budget", 8, 2)}
