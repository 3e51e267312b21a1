from __future__ import annotations

import math
from collections import Counter

import pytest

from surpass.core import replay
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import count_proofs, trajectories
from surpass.domains.proofs.kernel.formula import parse
from surpass.domains.proofs.kernel.rules import Goal
from surpass.errors import ConfigError
from tests.domains.proofs.kernel.formulas import NON_THEOREMS

SMALL = ["A -> A", r"A /\ B -> B /\ A", r"A \/ A -> A", r"(A -> B) -> A -> B", r"~ ~ (A \/ ~ A)", "A -> A -> A"]


def test_a_space_small_enough_to_list_by_hand() -> None:
    leaves = trajectories(Kernel(), pose("A -> A -> A"), 3)
    assert {(leaf.actions, leaf.solved, leaf.info["end"]) for leaf in leaves} == {
        (("intro h1", "intro h2", "exact h1"), True, "verdict"),
        (("intro h1", "intro h2", "exact h2"), True, "verdict"),
        (("intro h1", "intro h2", "exfalso"), False, "verdict"),
        (("intro h1", "exfalso"), False, "verdict"),
        (("exfalso",), False, "verdict"),
    }
    assert len(leaves) == 5


@pytest.mark.parametrize("statement", SMALL)
def test_leaves_are_all_different_replay_alike_and_have_total_probability_one(statement: str) -> None:
    domain, problem = Kernel(), pose(statement)
    leaves = trajectories(domain, problem, 6)
    assert len({leaf.actions for leaf in leaves}) == len(leaves)
    total = sum(math.exp(sum(step.proposal.logp or 0.0 for step in leaf.steps)) for leaf in leaves)
    assert total == pytest.approx(1.0)
    for leaf in leaves:
        again = replay(domain, problem, leaf.actions)
        assert (again.solved, again.info["end"]) == (leaf.solved, leaf.info["end"])
        assert all(step.observation.legal[step.proposal.tokens[0]] == step.proposal.action  # type: ignore[index]
                   for step in leaf.steps)  # fmt: skip


@pytest.mark.parametrize("statement", SMALL)
def test_the_count_by_convolution_is_the_count_by_listing(statement: str) -> None:
    listed = Counter(len(leaf.actions) for leaf in trajectories(Kernel(), pose(statement), 6) if leaf.solved)
    assert count_proofs(Goal((), parse(statement)), 6) == tuple(listed[length] for length in range(7))


@pytest.mark.parametrize("statement", NON_THEOREMS)
def test_non_theorems_have_no_proof_up_to_a_depth(statement: str) -> None:
    assert sum(count_proofs(Goal((), parse(statement)), 10)) == 0


def test_what_cannot_be_enumerated_is_said() -> None:
    with pytest.raises(ConfigError, match="lower max_depth"):
        trajectories(Kernel(), pose(r"~ ~ (A \/ ~ A)"), 10, limit=100)
    with pytest.raises(ConfigError, match="canonical=True"):
        trajectories(Kernel(canonical=False), pose("A -> A"), 2)
