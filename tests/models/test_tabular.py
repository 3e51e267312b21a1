from __future__ import annotations

import io
import math
from collections import Counter

import pytest
import torch

from surpass.conformance import check_policy, check_trainable
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import ConfigError, ModelError
from surpass.models.tabular import Tabular
from surpass.objectives.batch import with_tokens

ABC = Observation("state", ("a", "b", "c"), 0, "key")
AB = Observation("other", ("a", "b"), 0, "key 2")


def record(*pairs: tuple[Observation, Proposal]) -> Trajectory:
    return Trajectory(Problem("p"), tuple(Step(*pair) for pair in pairs), Verdict(Status.REJECTED, (0.0,)))


def with_logits(**rows: list[float]) -> Tabular:
    """Return a policy with these logits for the observations ABC and AB."""
    policy = Tabular(rows=8, width=4)
    policy.propose([ABC, AB], 1, seeds=[0, 0])
    with torch.no_grad():
        for text, values in rows.items():
            policy.table[policy.met[text][0], : len(values)] = torch.tensor(values)
    return policy


def test_contracts() -> None:
    domain = Kernel()
    leaves = trajectories(domain, pose(r"A /\ B -> B /\ A"), 4)
    policy = Tabular(scale=1.0, seed=3)
    seen = list({step.observation: None for leaf in leaves for step in leaf.steps})
    check_policy(policy, seen)
    check_policy(policy.tempered(0.5), seen)
    (row,) = policy.propose([ABC], 5, seeds=[1])
    check_trainable(policy, [record((ABC, proposal)) for proposal in row] + [record((ABC, row[0]), (ABC, row[1]))])
    check_trainable(policy, trajectories_sampled(policy, domain))


def trajectories_sampled(policy: Tabular, domain: Kernel) -> list[Trajectory]:
    found = []
    for seed in range(10):
        problem, steps = pose("A -> B -> A"), list[Step]()
        state = domain.start(problem)
        while (verdict := domain.verify(state)) is None:
            seen = domain.observe(state)
            ((proposal,),) = policy.propose([seen], 1, seeds=[100 * seed + len(steps)])
            steps.append(Step(seen, proposal))
            state = domain.step(state, proposal.action)
        found.append(Trajectory(problem, tuple(steps), verdict))
    return found


def test_probabilities_are_the_softmax_over_legal_actions_only() -> None:
    policy = with_logits(state=[0.0, 1.0, 2.0], other=[0.5, 0.0, 99.0, 99.0])
    logp = policy.logp([record((ABC, Proposal("c", None, (2,))), (AB, Proposal("a", None, (0,)))), record()])
    total = math.log(1 + math.e + math.e**2)
    torch.testing.assert_close(logp, torch.tensor([[2 - total, 0.5 - math.log(math.exp(0.5) + 1)], [0.0, 0.0]]))


def test_the_gradient_is_that_of_the_softmax() -> None:
    policy = with_logits(state=[0.0, 1.0, 2.0])
    logp = policy.logp([record((ABC, Proposal("b", None, (1,))))])
    (gradient,) = torch.autograd.grad(logp.sum(), policy.table)
    expected = torch.zeros(8, 4)
    expected[policy.met["state"][0], :3] = torch.tensor([0.0, 1.0, 0.0]) - torch.tensor([0.0, 1.0, 2.0]).softmax(0)
    torch.testing.assert_close(gradient, expected)


def test_draws_follow_the_probabilities_and_tell_them() -> None:
    policy = with_logits(state=[0.0, 1.0, 2.0])
    (row,) = policy.propose([ABC], 20_000, seeds=[0])
    counts = Counter(proposal.action for proposal in row)
    expected = torch.tensor([0.0, 1.0, 2.0]).double().softmax(0)
    assert all(abs(counts[a] / 20_000 - p) < 0.015 for a, p in zip("abc", expected.tolist(), strict=True))
    for proposal in row[:50]:
        assert ABC.legal is not None
        assert ABC.legal[proposal.tokens[0]] == proposal.action
        assert proposal.logp == pytest.approx(float(expected[proposal.tokens[0]].log()))


def test_a_tempered_view_shares_weights_and_tells_temperature_one() -> None:
    policy = with_logits(state=[0.0, 1.0, 2.0])
    cold = policy.tempered(0.5)
    (row,) = cold.propose([ABC], 20_000, seeds=[0])
    counts = Counter(proposal.action for proposal in row)
    expected = torch.tensor([0.0, 2.0, 4.0]).softmax(0)
    assert abs(counts["c"] / 20_000 - float(expected[2])) < 0.015
    assert {p.logp for p in row} <= {p.logp for p in policy.propose([ABC], 500, seeds=[1])[0]}
    with torch.no_grad():
        policy.table[policy.met["state"][0], 0] = 50.0
    assert {p.action for p in cold.propose([ABC], 20, seeds=[0])[0]} == {"a"}
    assert cold.tempered(1e-3).propose([ABC], 1, seeds=[0])[0][0].action == "a"
    with pytest.raises(ConfigError, match="positive"):
        policy.tempered(0.0)


def test_a_frozen_copy_stays() -> None:
    policy = with_logits(state=[0.0, 1.0, 2.0])
    reference = policy.frozen_copy()
    one = [record((ABC, Proposal("b", None, (1,))))]
    before = policy.logp(one).detach()
    with torch.no_grad():
        policy.table.add_(1.0 + torch.arange(4.0))
    assert not any(p.requires_grad for p in reference.parameters())
    torch.testing.assert_close(reference.logp(one), before)
    assert not torch.allclose(policy.logp(one), before)


def test_rows_start_alike_whatever_was_met_before() -> None:
    first, second = Tabular(scale=2.0, seed=1), Tabular(scale=2.0, seed=1)
    late = first.frozen_copy()
    second.propose([AB], 1, seeds=[0])
    one = [record((ABC, Proposal("b", None, (1,))))]
    torch.testing.assert_close(first.logp(one), second.logp(one))
    torch.testing.assert_close(first.logp(one).detach(), late.logp(one))
    assert not torch.allclose(first.logp(one), Tabular(scale=2.0, seed=2).logp(one))
    assert float(Tabular().logp(one).detach()) == pytest.approx(-math.log(3))


def test_weights_and_rows_survive_a_checkpoint() -> None:
    policy, other = Tabular(rows=8, width=4, scale=1.0), Tabular(rows=8, width=4, scale=1.0, seed=9)
    other.propose([AB, ABC], 1, seeds=[0, 0])
    one = [record((ABC, Proposal("b", None, (1,))), (AB, Proposal("a", None, (0,))))]
    expected = policy.logp(one).detach()
    stored = io.BytesIO()
    torch.save(policy.state_dict(), stored)
    view = other.tempered(2.0)
    other.load_state_dict(torch.load(io.BytesIO(stored.getvalue()), weights_only=True))
    torch.testing.assert_close(other.logp(one).detach(), expected)
    torch.testing.assert_close(view.logp(one).detach(), expected)
    assert all(isinstance(value, torch.Tensor) for value in policy.state_dict().values())


def test_merged_observations_share_a_row() -> None:
    told = Observation("the same goals, another history", ("a", "b", "c"), 0, "key")
    for merge in (False, True):
        policy = Tabular(scale=1.0, merge=merge)
        pair = policy.logp([record((seen, Proposal("a", None, (0,)))) for seen in (ABC, told)])
        assert bool(pair[0] == pair[1]) == merge


def test_demonstrations_without_tokens_are_looked_up() -> None:
    domain = Kernel()
    demonstration = replay(domain, pose("A -> B -> A"), ["intro h1", "intro h2", "exact h1"])
    assert demonstration.solved
    policy = Tabular(scale=1.0)
    (enumerated,) = [t for t in trajectories(domain, demonstration.problem, 3) if t.actions == demonstration.actions]
    expected = policy.logp([enumerated])
    torch.testing.assert_close(policy.logp([demonstration]), expected)
    torch.testing.assert_close(policy.logp(with_tokens(policy, [demonstration])), expected)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((Observation("free"), Proposal("a", None, (0,))), "legal=None"),
        ((ABC, Proposal("z")), "'z'"),
        ((ABC, Proposal("a", None, (1,))), "with tokens"),
        ((ABC, Proposal("a", None, (0, 1))), "with tokens"),
        ((Observation("wide", tuple("abcdefg")), Proposal("a")), "larger"),
        ((Observation("state", ("a", "b")), Proposal("a")), "tell states apart"),
    ],
)
def test_what_cannot_be_scored_is_a_model_error(pair: tuple[Observation, Proposal], message: str) -> None:
    policy = with_logits()
    with pytest.raises(ModelError, match=message):
        policy.logp([record(pair)])


def test_a_full_table_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="larger"):
        Tabular(rows=1).propose([ABC, AB], 1, seeds=[0, 0])
