"""Fixed points against closed forms, and the one of GRPO against its own expected gradient."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from surpass.audits import targets
from surpass.audits.spaces import listed
from surpass.audits.words import Letters
from surpass.core import Problem
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import DataError
from surpass.models.tabular import Tabular
from surpass.objectives.batch import collate, log_return, push
from surpass.objectives.gradient import grpo
from tests.audits.examples import space


def close(log_q: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(log_q.exp(), torch.tensor(expected, dtype=torch.float64), atol=1e-7, rtol=1e-6)


def test_posterior_by_hand() -> None:
    two = space([(0,), (1,)], [0.2, 0.8], [math.log(4), 0.0])
    relative, plain = targets.posterior(two, beta=1.0), targets.posterior(two, beta=0.5, relative=False)
    close(relative.log_q, [0.5, 0.5])
    assert relative.log_z == pytest.approx(math.log(1.6))
    close(plain.log_q, [2 / 3, 1 / 3])
    assert plain.log_z == pytest.approx(math.log(3))


def test_length_weighted_by_hand() -> None:
    """w = 1 / Z solves w / 2 + (2 w)^2 / 2 = 1, one token of log R = 0 beside two of log R = log 2."""
    found = targets.length_weighted(space([(0,), (1, 1)], [0.5, 0.5], [0.0, math.log(2)]), beta=1.0)
    w = (-0.5 + math.sqrt(8.25)) / 4
    close(found.log_q, [w / 2, 2 * w * w])
    assert found.log_z == pytest.approx(-math.log(w))


def test_group_relative_by_hand() -> None:
    """Of two equal tokens with log R 0 and -1 the better one has p^2 + (k - 1) p - k / 2 = 0."""
    k = 1.5 * 4 / 3
    found = targets.group_relative(space([(0,), (1,)], [0.5, 0.5], [0.0, -1.0]), kl=1.5, n=4)
    better = (1 - k + math.sqrt((k - 1) ** 2 + 2 * k)) / 2
    close(found.log_q, [better, 1 - better])


def test_group_relative_on_a_tree_has_no_expected_gradient() -> None:
    """All pairs of all words of two letters, weighed by the policy at the target: the gradient of `grpo` vanishes."""
    words = ["".join(word) for word in product("ab", repeat=2)]
    worth = dict(zip(words, (1.0, 0.4, 0.05, 0.6), strict=True))
    domain, problem = Letters(("a", "b"), 2, worth, 1.0), Problem("letters")
    reference, policy = (Tabular(rows=4, width=2, scale=1.0, seed=seed).double() for seed in (1, 2))
    everything = listed(trajectories(domain, problem, 2), reference.frozen_copy(), log_return, floor=-10.0)
    log_q = targets.group_relative(everything, kl=0.7, n=2).log_q
    assert log_q.exp().sum().item() == pytest.approx(1.0)

    def slope() -> float:
        policy.zero_grad()
        p = policy.logp(everything.leaves).detach().sum(1).exp()
        for i, j in product(range(4), repeat=2):
            plays = [everything.leaves[i], everything.leaves[j]]
            batch = collate(policy, plays, log_return, reference=reference)
            loss, _ = grpo(batch, kl=0.7, scale="none", lengths="sum")
            torch.autograd.backward(loss * p[i] * p[j])
            push(policy, plays, batch)
        assert policy.table.grad is not None
        return float(policy.table.grad.abs().max())

    assert slope() > 1e-2
    mass = log_q.exp().reshape(2, 2)
    with torch.no_grad():
        for text, chances in (("", mass.sum(1)), ("a", mass[0]), ("b", mass[1])):
            policy.table[policy.met[f"word: {text}"][0]] = chances.log()
    assert slope() < 1e-9


def test_demonstrations_and_their_limit() -> None:
    counts = torch.tensor([3, 1, 0])
    close(targets.demonstrated(counts).log_q, [0.75, 0.25, 0.0])
    close(targets.limited(counts, n=1).log_q, [0.75, 0.25, 0.0])
    p = targets.limited(counts, n=8).log_q.exp()[:2]
    factor = 8 * (1 - p) ** 7 / (1 - (1 - p) ** 8)
    assert float(p.sum()) == pytest.approx(1.0)
    assert float(3 * factor[0]) == pytest.approx(float(factor[1]))
    assert 0.5 < float(p[0]) < 0.7


def test_half_a_space_is_refused() -> None:
    domain, problem = Letters(("a", "b"), 2, {"ab": 1.0}, 1.0), Problem("letters")
    leaves = trajectories(domain, problem, 2)
    with pytest.raises(DataError, match="every element"):
        listed(leaves[:3], Tabular(rows=4, width=2).double(), log_return, floor=-10.0)
    with pytest.raises(DataError, match="begin another"):
        targets.group_relative(space([(0,), (0, 1)], [0.5, 0.5], [0.0, 0.0]), kl=1.0, n=2)
