from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surpass.audits.spaces import correlation, coverage, measure, total_variation
from surpass.audits.words import PROMPT, START, Word, prefix_reward, small_model, texts
from surpass.models.layout import ids
from tests.audits.examples import space


def logs(*chances: float) -> Tensor:
    return torch.tensor(chances, dtype=torch.float64).log()


def test_total_variation_by_hand() -> None:
    assert total_variation(logs(0.5, 0.5), logs(0.2, 0.8)) == pytest.approx(0.3)
    assert total_variation(logs(1.0, 0.0), logs(0.0, 1.0)) == pytest.approx(1.0)


def test_what_is_not_listed_is_one_element() -> None:
    assert total_variation(logs(0.5), logs(0.25)) == pytest.approx(0.25)
    assert total_variation(logs(0.1, 0.1), logs(0.1, 0.9)) == pytest.approx(0.8)


def test_classes_sum_the_ways_to_write_the_same() -> None:
    p, q = logs(0.1, 0.4, 0.5), logs(0.3, 0.2, 0.5)
    assert total_variation(p, q) == pytest.approx(0.2)
    assert total_variation(p, q, ["x", "x", "y"]) == pytest.approx(0.0, abs=1e-12)
    assert total_variation(p, q, ["x", "y", "y"]) == pytest.approx(0.2)


def test_coverage_is_the_expected_share_of_solutions_found() -> None:
    solution = torch.tensor([True, True, False])
    assert coverage(logs(0.5, 0.25, 0.25), solution, samples=2) == pytest.approx((0.75 + 7 / 16) / 2)
    assert coverage(logs(0.0, 0.0, 1.0), solution) == 0.0


def test_correlation() -> None:
    assert correlation(logs(0.1, 0.2, 0.7), 3 * logs(0.1, 0.2, 0.7) + 1) == pytest.approx(1.0)
    assert correlation(logs(0.1, 0.9), torch.zeros(2).double()) is None
    assert correlation(logs(0.0, 1.0), torch.tensor([1.0, 2.0]).double()) is None


def test_measures_at_the_target_and_beside_it() -> None:
    one = space([(0,), (1,), (2,)], [0.5, 0.25, 0.25], [0.0, -1.0, -9.0])
    log_q = (one.log_ref.sum(1) + one.log_reward).log_softmax(0)
    at = measure(one, log_q, log_q, relative=True)
    assert at.total_variation == 0.0
    assert at.correlation == pytest.approx(1.0)
    assert at.elsewhere == at.elsewhere_target == pytest.approx(float(log_q[2].exp()))
    away = measure(one, one.log_ref.sum(1), log_q, relative=True)
    assert away.total_variation > 0.1
    assert away.elsewhere == pytest.approx(0.25)


def test_a_small_model_can_tell_how_often_the_letter_of_the_prompt_was_written() -> None:
    """Rotary positions alone would not: n equal tokens have the same states for every n."""
    policy = small_model("01", 3, seed=3)
    leaves = [leaf for leaf in texts(Word({"0": 1.0}, 1.0, START), policy) if leaf.actions[0].startswith("::")]
    with torch.no_grad():
        first, second = policy.logp(leaves)[0, :2].tolist()
    assert abs(first - second) > 1e-3


def test_all_that_a_small_model_can_write_is_listed_once() -> None:
    domain = Word({"0": 1.0, "01": 0.5}, 1.0)
    policy = small_model("01", 3, seed=3)
    leaves = list(texts(domain, policy))
    tokens = [leaf.steps[0].proposal.tokens for leaf in leaves]
    assert len(leaves) == len(set(tokens)) == 1 + 3 + 9 + 27
    with torch.no_grad():
        assert float(policy.logp(leaves).sum(1).exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert [leaf.actions[0] for leaf in leaves if leaf.solved] == ["0"]
    assert tokens[2] == policy.encode("0")
    assert policy.prompts([leaves[0].steps[0].observation]) == ids(policy.tokenizer, [PROMPT])
    found = prefix_reward([leaves[9]], domain=domain, policy=policy, floor=-7.0)  # "01"
    assert leaves[9].actions == ("01",)
    assert found.tolist() == [pytest.approx([-7.0, 0.0, math.log(0.5)])]
