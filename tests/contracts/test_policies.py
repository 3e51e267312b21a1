"""The shipped fakes, held to the contract of policies; trained policies are held to it beside their own tests."""

from __future__ import annotations

import pytest

from surpass.conformance import check_policy
from surpass.core import Observation, Policy, Scorer
from surpass.models.scripted import Scripted, Uniform
from tests.automata import ACTIONS

SEEN = [Observation(text, key=text) for text in ("a", "b", "", "∀ x, x = x")]


@pytest.mark.parametrize(
    "policy", [Scripted({"a": ["l", "r"]}, {"l": -0.7}), Scripted({}), Uniform(ACTIONS), Uniform(("only",))]
)
def test_contract(policy: Policy) -> None:
    check_policy(policy, SEEN)
    check_policy(policy, [])


def test_scores_are_priors_over_the_legal_actions() -> None:
    policy = Uniform(seats=2)
    assert isinstance(policy, Scorer)
    legal, free = policy.score([Observation("a", ("x", "y", "z", "w")), Observation("a")])
    assert (legal.prior, legal.values) == ((0.25,) * 4, (0.0, 0.0))
    assert free.prior == ()
