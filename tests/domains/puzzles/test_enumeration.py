"""Counting and listing, held against other counts; `test_blocksworld.py` has one more."""

from __future__ import annotations

import pytest

from surpass.core import Problem, replay
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import count_proofs, trajectories
from surpass.domains.proofs.kernel.formula import parse
from surpass.domains.proofs.kernel.rules import Goal
from surpass.domains.puzzles import game24
from surpass.domains.puzzles.enumeration import count_solutions, enumerate_solutions
from surpass.errors import ConfigError
from surpass.models.scripted import Automaton

LOOP = Automaton(
    {"a": {"l": "a", "r": "b"}, "b": {"l": "a", "r": "c"}}, frozenset({"c"}), {"train": ("a",)}, exact=True
)


def test_walks_to_a_goal_are_fibonacci_numbers() -> None:
    """From a: stay, or go to b, and from there back or to the goal; each l may come anywhere but after r r."""
    assert count_solutions(LOOP, Problem("a"), 8) == (0, 0, 1, 1, 2, 3, 5, 8, 13)
    assert enumerate_solutions(LOOP, Problem("a"), 4) == [
        *[tuple(walk) for walk in ("llrr", "lrr", "rlrr", "rr")],
    ]
    assert count_solutions(LOOP, Problem("c"), 2) == (1, 0, 0)
    assert enumerate_solutions(LOOP, Problem("c"), 0) == [()]
    assert enumerate_solutions(LOOP, Problem("a"), 1) == []


def test_states_without_a_key_are_not_merged() -> None:
    apart = Automaton(LOOP.moves, LOOP.goals, LOOP.splits, exact=True, merges=False)
    assert count_solutions(apart, Problem("a"), 8) == count_solutions(LOOP, Problem("a"), 8)
    with pytest.raises(ConfigError, match="at most 10 states"):
        count_solutions(apart, Problem("a"), 8, states=10)
    assert count_solutions(LOOP, Problem("a"), 5, states=10) == (0, 0, 1, 1, 2, 3)


@pytest.mark.parametrize("statement", [r"A /\ B -> B /\ A", r"(A -> B) -> A -> B", r"~ ~ (A \/ ~ A)", "False"])
def test_proofs_of_the_kernel(statement: str) -> None:
    problem = pose(statement)
    assert count_solutions(Kernel(), problem, 7) == count_proofs(Goal((), parse(statement)), 7)
    listed = [leaf.actions for leaf in trajectories(Kernel(), problem, 7) if leaf.solved]
    assert enumerate_solutions(Kernel(), problem, 7) == listed


def test_plays_of_a_game_are_those_that_end_accepted() -> None:
    domain, problem = game24.Game24(), game24.pose([1, 3, 4, 6])
    leaves = trajectories(domain, problem, 3)
    found = enumerate_solutions(domain, problem, 3)
    assert found == [leaf.actions for leaf in leaves if leaf.solved]
    assert all(replay(domain, problem, actions).solved for actions in found)


def test_what_cannot_be_enumerated_is_said() -> None:
    problem = game24.pose([1, 3, 4, 6])
    with pytest.raises(ConfigError, match="canonical=True"):
        count_solutions(game24.Game24(canonical=False), problem, 3)
    with pytest.raises(ConfigError, match="at most 3 solutions"):
        enumerate_solutions(LOOP, Problem("a"), 8, limit=3)
    for steps in (-1, 201):
        with pytest.raises(ConfigError, match="max_steps from 0 to 200"):
            count_solutions(LOOP, Problem("a"), steps)
    assert sum(count_solutions(LOOP, Problem("a"), 200)) > 10**40
