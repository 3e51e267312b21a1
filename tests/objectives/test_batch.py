from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from surpass.core import Observation, Problem, Proposal, Step, Trajectory
from surpass.errors import DataError, ModelError
from surpass.objectives.balance import ProblemLogZ
from surpass.objectives.batch import Batch, Heads, collate, log_return, with_tokens
from tests.learning import ACCEPTED, PROBLEMS, REJECTED, TEXTS, UNKNOWN, TinyPolicy
from tests.objectives.examples import heads


def trajectory(*actions: str, problem: int = 0, tokens: bool = False, solved: bool = True) -> Trajectory:
    key = PROBLEMS[problem].key
    policy = TinyPolicy(TEXTS)
    steps = tuple(
        Step(Observation(f"{key}/{i}"), Proposal(action, None, policy.encode(action) if tokens else ()))
        for i, action in enumerate(actions)
    )
    return Trajectory(PROBLEMS[problem], steps, ACCEPTED if solved else REJECTED)


PLAYS = [
    trajectory("ab", "", solved=False),
    trajectory("b", problem=1, tokens=True),
    trajectory("aba", "bb"),
    trajectory(""),
]


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 32])
def test_every_value_is_that_of_the_row_alone(micro_batch: int) -> None:
    policy, reference = TinyPolicy(TEXTS), TinyPolicy(TEXTS, seed=1)
    log_z = ProblemLogZ([problem.key for problem in PROBLEMS], initial=0.5)
    batch = collate(policy, PLAYS, log_return, reference=reference, heads=Heads(log_z=log_z), micro_batch=micro_batch)
    assert batch.logp_ref is not None
    assert batch.log_z is not None
    assert batch.logp.shape == batch.logp_ref.shape == batch.mask.shape == batch.step_index.shape == (4, 7)
    for row, play in enumerate(with_tokens(policy, PLAYS)):
        length = sum(len(step.proposal.tokens) for step in play.steps)
        torch.testing.assert_close(batch.logp[row, :length], policy.logp([play])[0])
        torch.testing.assert_close(batch.logp_ref[row, :length], reference.logp([play])[0])
        assert not batch.logp[row, length:].any()
        assert batch.mask[row].tolist() == [True] * length + [False] * (7 - length)
    assert batch.step_index.tolist()[0] == [0, 0, 0, 1, -1, -1, -1]
    assert batch.step_index.tolist()[2] == [0, 0, 0, 0, 1, 1, 1]
    assert batch.group.tolist() == [0, 1, 0, 0]
    assert batch.accepted.tolist() == [False, True, True, True]
    assert batch.log_reward.tolist() == [-10.0, 0.0, 0.0, 0.0]
    assert batch.log_z.tolist() == [0.5] * 4
    assert batch.seat.tolist() == [0] * 4
    assert not batch.log_pb.any()


def test_only_logp_and_log_z_are_leaves_with_gradient() -> None:
    policy = TinyPolicy(TEXTS)
    batch = collate(
        policy, PLAYS, log_return, reference=policy, heads=Heads(log_z=ProblemLogZ([p.key for p in PROBLEMS]))
    )
    assert batch.logp_ref is not None
    assert batch.log_z is not None
    for leaf in (batch.logp, batch.log_z):
        assert leaf.is_leaf
        assert leaf.requires_grad
    assert not batch.logp_ref.requires_grad
    assert not batch.logp_old.requires_grad
    assert batch.logp_old.data_ptr() != batch.logp.data_ptr()


def test_tokens_are_kept_as_sampled_and_encoded_where_missing() -> None:
    policy = TinyPolicy(TEXTS)
    odd = replace(PLAYS[1], steps=(replace(PLAYS[1].steps[0], proposal=Proposal("b", None, (2, 2, 0))),))
    filled = with_tokens(policy, [odd, PLAYS[0]])
    assert filled[0] is odd
    assert [step.proposal.tokens for step in filled[1].steps] == [(1, 2, 0), (0,)]
    assert filled[1].actions == PLAYS[0].actions


def test_log_return_is_the_log_of_the_seat_with_a_floor() -> None:
    play = replace(PLAYS[0], verdict=replace(ACCEPTED, returns=(0.5, 1e-9, 2.0)))
    assert [log_return([play], seat=seat, floor=-7.0).item() for seat in range(3)] == pytest.approx(
        [math.log(0.5), -7.0, math.log(2.0)]
    )


@pytest.mark.parametrize("micro_batch", [1, 3, 32])
def test_heads_speak_of_states_and_of_prefixes(micro_batch: int) -> None:
    policy, reference = TinyPolicy(TEXTS), TinyPolicy(TEXTS, seed=1)
    said = heads(policy, reference)
    batch = collate(policy, PLAYS, log_return, heads=said, micro_batch=micro_batch)
    by_step = {"log_flow": said.log_flow, "value": said.value, "state_reward": said.state_reward}
    by_token = {"log_stop": said.log_stop, "log_stop_ref": said.log_stop_ref, "prefix_reward": said.prefix_reward}
    for name, head in (by_step | by_token).items():
        values = vars_of(batch)[name]
        assert head is not None
        assert values is not None
        assert values.shape == ((4, 2) if name in by_step else (4, 7))
        for row, play in enumerate(with_tokens(policy, PLAYS)):
            alone = head([play])[0]
            torch.testing.assert_close(values[row, : len(alone)], alone.to(values.dtype))
            assert not values[row, len(alone) :].any()
    assert set(batch.leaves()) == {"logp", "log_z", "log_flow", "value", "log_stop"}
    assert all(leaf.is_leaf and leaf.requires_grad for leaf in batch.leaves().values())
    assert not any(vars_of(batch)[name].requires_grad for name in ("log_stop_ref", "state_reward", "prefix_reward"))
    assert set(said.modules()) == {"log_z", "log_flow", "value"}
    assert batch.steps().tolist() == [2, 1, 2, 1]
    assert batch.by_step(torch.ones(4, 7), 3).tolist() == [[3, 1, 0], [2, 0, 0], [4, 3, 0], [1, 0, 0]]


def vars_of(batch: Batch) -> dict[str, Tensor]:
    return {field.name: object.__getattribute__(batch, field.name) for field in fields(batch)}


def test_heads_that_break_their_contract_raise() -> None:
    policy = TinyPolicy(TEXTS)
    for field in ("log_z", "log_flow", "value", "log_stop", "state_reward", "prefix_reward"):
        with pytest.raises(ModelError, match="of shape"):
            collate(policy, PLAYS, log_return, heads=replace(Heads(), **{field: lambda plays: torch.zeros(4, 9)}))
    for field, width in (("state_reward", 2), ("prefix_reward", 7)):
        broken = replace(Heads(), **{field: lambda plays, width=width: torch.full((4, width), -torch.inf)})
        with pytest.raises(DataError, match=r"not finite \(\d+ of"):
            collate(policy, PLAYS, log_return, heads=broken)
    with pytest.raises(DataError, match="not finite"):  # finite in double precision, not in the policy's
        collate(Half(TEXTS), PLAYS, lambda plays: torch.full((4,), -1e300, dtype=torch.float64))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_return_that_is_no_number_is_no_failure(value: float) -> None:
    broken = replace(PLAYS[1], verdict=replace(ACCEPTED, returns=(value,)))
    with pytest.raises(DataError, match=f"log-reward {value}.*not finite"):
        collate(TinyPolicy(TEXTS), [PLAYS[0], broken], log_return)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_rewards_must_be_finite(value: float) -> None:
    with pytest.raises(DataError, match=r"t-b.*not finite"):
        collate(TinyPolicy(TEXTS), PLAYS, lambda plays: torch.tensor([0.0, value, 0.0, 0.0]))


def test_what_cannot_be_learned_from_raises() -> None:
    policy = TinyPolicy(TEXTS)
    steps = PLAYS[2].steps
    two_seats = replace(PLAYS[2], steps=(steps[0], replace(steps[1], observation=Observation("t-a/1", seat=1))))
    for plays, message in (
        ([], "at least one"),
        ([*PLAYS, replace(PLAYS[0], verdict=UNKNOWN)], "UNKNOWN"),
        ([Trajectory(PROBLEMS[0], (), ACCEPTED)], "without an action"),
        ([two_seats], "seats"),
    ):
        with pytest.raises(DataError, match=message):
            collate(policy, plays, log_return)
    with pytest.raises(DataError, match="log-rewards of shape"):
        collate(policy, PLAYS, lambda plays: torch.zeros(3))


class Mute(TinyPolicy):
    def encode(self, action: str) -> tuple[int, ...]:
        return ()


class Wide(TinyPolicy):
    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        return torch.zeros(len(trajectories), 99)


def test_a_policy_that_breaks_its_contract_raises() -> None:
    with pytest.raises(DataError, match="no tokens"):
        collate(Mute(TEXTS), PLAYS, log_return)
    with pytest.raises(ModelError, match="shape"):
        collate(Wide(TEXTS), PLAYS, log_return)
    with pytest.raises(DataError, match="no log Z"):
        collate(TinyPolicy(TEXTS), PLAYS, log_return, heads=Heads(log_z=ProblemLogZ(["other"])))
    with pytest.raises(ModelError, match="log Z of shape"):
        collate(TinyPolicy(TEXTS), PLAYS, log_return, heads=Heads(log_z=lambda plays: torch.zeros(1)))


class Half(TinyPolicy):
    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        return super().logp(trajectories).bfloat16()


def test_half_precision_policies_give_float32() -> None:
    batch = collate(Half(TEXTS), PLAYS, log_return, reference=TinyPolicy(TEXTS))
    assert batch.logp_ref is not None
    assert batch.logp.dtype is batch.logp_ref.dtype is batch.log_reward.dtype is torch.float32


def test_a_problem_is_a_group_wherever_it_appears() -> None:
    plays = [replace(PLAYS[0], problem=Problem(key)) for key in "xyxzy"]
    assert collate(TinyPolicy(TEXTS), plays, log_return).group.tolist() == [0, 1, 0, 2, 1]


def test_an_outcome_is_the_tokens_of_a_problem() -> None:
    twice = [*PLAYS, trajectory("aba", "bb", tokens=True), trajectory("ab", "abb"), trajectory("", problem=1)]
    outcome = collate(TinyPolicy(TEXTS), twice, log_return).outcome
    assert outcome is not None
    assert outcome.tolist() == [0, 1, 2, 3, 2, 4, 5]
