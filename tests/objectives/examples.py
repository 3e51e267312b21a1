"""A batch with everything an objective may ask for, from a policy and heads that are all off target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surpass.core import Status, Trajectory
from surpass.models.heads import StateTable
from surpass.objectives.balance import ProblemLogZ
from surpass.objectives.batch import Batch, Heads, collate, log_return
from tests.learning import PROBLEMS, TEXTS, TinyPolicy, rollouts


def state_reward(trajectories: Sequence[Trajectory]) -> Tensor:
    """Each step done is worth a little."""
    width = max(len(trajectory.steps) for trajectory in trajectories)
    return -1.0 + 0.2 * torch.arange(width).expand(len(trajectories), width)


def prefix_reward(trajectories: Sequence[Trajectory]) -> Tensor:
    """Words that begin with the letter of their problem are worth more, long ones too."""
    rows = []
    for trajectory in trajectories:
        tokens = [token for step in trajectory.steps for token in step.proposal.tokens]
        begins = trajectory.steps[0].proposal.action.startswith(trajectory.problem.key[-1])
        rows.append(torch.tensor([0.2 * i - (0.0 if begins and i else 2.0) for i in range(len(tokens))]))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def heads(policy: TinyPolicy, reference: TinyPolicy, *, seed: int = 5) -> Heads:
    generator = torch.Generator().manual_seed(seed)
    log_z, log_flow, value = ProblemLogZ([problem.key for problem in PROBLEMS]), StateTable(rows=8), StateTable(rows=8)
    with torch.no_grad():
        for numbers in (log_z.values, log_flow.values, value.values):
            numbers.copy_(torch.randn(numbers.shape, generator=generator))
    return Heads(
        log_z=log_z.double(),
        log_flow=log_flow.double(),
        value=value.double(),
        log_stop=policy.log_stop,
        log_stop_ref=reference.log_stop,
        state_reward=state_reward,
        prefix_reward=prefix_reward,
    )


def plays_for(name: str, policy: TinyPolicy, *, n: int = 4) -> list[Trajectory]:
    """Return trajectories of several lengths; for an objective over the tokens of one action, those of one."""
    plays = [play for play in rollouts(policy, n=n) if play.verdict.status is not Status.UNKNOWN]
    assert {play.solved for play in plays} == {True, False}
    return [play for play in plays if len(play.steps) == 1] if name == "modified_subtb" else plays


def example(name: str) -> Batch:
    policy, reference = TinyPolicy(TEXTS), TinyPolicy(TEXTS, seed=1)
    return collate(policy, plays_for(name, policy), log_return, reference=reference, heads=heads(policy, reference))
