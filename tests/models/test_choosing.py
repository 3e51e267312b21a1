"""A model that chooses: the distribution it says is the one it draws from, and it has the model's gradient."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from surpass.conformance import check_policy
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.errors import ConfigError, ModelError
from surpass.models.choosing import Chooser
from surpass.models.hf import LanguageModel

LEGAL = ("go left", "go right", "go", "stay")
SEEN = [Observation("where\n", LEGAL, key="a"), Observation("there\n", LEGAL[1:3], key="b")]


@pytest.fixture(scope="module")
def chooser() -> Chooser:
    return Chooser(LanguageModel.from_scratch("tiny", ["where\n", "there\n", *LEGAL] * 9, seed=3))


def play(*steps: Step) -> Trajectory:
    return Trajectory(Problem("p"), steps, Verdict(Status.REJECTED, (0.0,)))


def every(observation: Observation) -> list[Trajectory]:
    return [play(Step(observation, Proposal(action))) for action in observation.legal or ()]


def test_contract(chooser: Chooser) -> None:
    check_policy(chooser, SEEN)
    check_policy(chooser, [])
    assert chooser.propose([Observation("over", ())], 2, seeds=[0]) == [[]]


def test_probabilities_are_the_models_renormalised(chooser: Chooser) -> None:
    for observation in SEEN:
        logp = chooser.logp(every(observation)).sum(dim=1)
        (prior,) = (scored.prior for scored in chooser.model.score([observation]))
        assert logp.exp().sum().item() == pytest.approx(1, abs=1e-5)
        assert logp.exp().tolist() == pytest.approx(list(prior), abs=1e-5)


def test_tokens_share_out_what_is_left(chooser: Chooser) -> None:
    """A token that all legal actions begin with costs nothing, and no token adds probability."""
    logp = chooser.logp(every(SEEN[1])).detach()
    assert logp[:, 0].abs().max() < 1e-5  # both begin alike
    assert logp.max() < 1e-5
    two = chooser.logp([play(*(Step(one, Proposal("go")) for one in SEEN))])
    alone = [chooser.logp([play(Step(one, Proposal("go")))]).sum().item() for one in SEEN]
    assert two.sum().item() == pytest.approx(sum(alone), abs=1e-5)


def test_draws_follow_the_probabilities(chooser: Chooser) -> None:
    (row,) = chooser.propose(SEEN[:1], 4000, seeds=[1])
    told = {proposal.action: proposal.logp for proposal in row}
    for action, count in Counter(proposal.action for proposal in row).items():
        logp = told[action]
        assert logp is not None
        assert count / 4000 == pytest.approx(math.exp(logp), abs=0.04)
    scored = chooser.logp([play(Step(SEEN[0], row[0]))])
    assert scored.sum().item() == pytest.approx(row[0].logp, abs=1e-5)


def test_temperature_sharpens_what_is_drawn_and_not_what_is_said(chooser: Chooser) -> None:
    cold = chooser.tempered(0.01).propose(SEEN[:1], 50, seeds=[2])[0]
    best = max(every(SEEN[0]), key=lambda one: chooser.logp([one]).sum().item())
    assert {proposal.action for proposal in cold} == set(best.actions)
    assert cold[0].logp == pytest.approx(chooser.logp([best]).sum().item(), abs=1e-5)
    with pytest.raises(ConfigError, match="positive temperature"):
        chooser.tempered(0.0)


def test_the_gradient_reaches_the_model_and_a_copy_has_none(chooser: Chooser) -> None:
    torch.autograd.backward(chooser.logp(every(SEEN[0])[:1]).sum())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in chooser.parameters())
    frozen = chooser.frozen_copy()
    assert not frozen.logp(every(SEEN[0])).requires_grad
    torch.testing.assert_close(frozen.logp(every(SEEN[0])), chooser.logp(every(SEEN[0])).detach())
    for parameter in chooser.parameters():
        parameter.grad = None


def test_what_cannot_be_chosen_is_refused(chooser: Chooser) -> None:
    with pytest.raises(ModelError, match="legal=None"):
        chooser.propose([Observation("free")], 1, seeds=[0])
    with pytest.raises(ModelError, match="expected one of"):
        chooser.logp([play(Step(SEEN[0], Proposal("fly")))])
    with pytest.raises(ModelError, match="legal=None"):
        chooser.logp([play(Step(replace(SEEN[0], legal=None), Proposal("go")))])
