"""The one place where text becomes tensors and verdicts become log-rewards: `collate`.

An objective is a pure function of the `Batch` made here, so it knows no text, no domain and no model. `Batch.logp` is a
detached leaf: an objective's gradient stops there and `push` carries it through the model in micro-batches (two passes,
exact for any objective and any group size, in bounded memory).

Not here: objectives, reward models, and the choice of what to learn from. Nothing is dropped: a trajectory that cannot
be learned from (UNKNOWN, or without an action) raises, and the caller says what becomes of it.

Legend: B trajectories, T the most tokens of one trajectory, P_F the policy, P_B the backward policy, R the reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surpass.core import Status, Trainable, Trajectory
from surpass.errors import DataError, ModelError

Metrics = dict[str, float]
Reward = Callable[[Sequence[Trajectory]], Tensor]  # log-rewards [B], finite: a clamp is the reward's own business
LogZ = Callable[[Sequence[Trajectory]], Tensor]  # log Z of each trajectory's problem [B], with gradient


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """All that an objective may see. Floats are float32 or wider; a row's tokens are its actions', in order."""

    logp: Tensor  # [B, T] log P_F of each token, a leaf that requires grad; 0 where not `mask`
    logp_old: Tensor  # [B, T] the same values without gradient, as they were when the batch was collated
    mask: Tensor  # [B, T] bool, True on tokens
    step_index: Tensor  # [B, T] int64, the step of each token, -1 on padding
    log_reward: Tensor  # [B] finite
    log_pb: Tensor  # [B] log P_B; 0 where the state carries its history, as a tree has one way back
    group: Tensor  # [B] int64, equal for equal problems, in order of appearance
    seat: Tensor  # [B] int64, who acted
    accepted: Tensor  # [B] bool, the checker's answer
    logp_ref: Tensor | None = None  # [B, T] the frozen reference's values; None without a reference
    log_z: Tensor | None = None  # [B] a leaf that requires grad; None without a log Z


Objective = Callable[[Batch], tuple[Tensor, Metrics]]  # a scalar loss attached to the leaves, and what to record


def log_return(trajectories: Sequence[Trajectory], *, seat: int = 0, floor: float = -10.0) -> Tensor:
    """Return the log of one seat's return [B], at least `floor`: the simplest reward, 0 for a proof, `floor` else."""
    returns = [trajectory.verdict.returns[seat] for trajectory in trajectories]
    least = math.exp(floor)
    return torch.tensor([math.log(value) if value > least else floor for value in returns], dtype=torch.float64)


def with_tokens(policy: Trainable, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Return the trajectories with all `Proposal.tokens` present: those not sampled are encoded by the policy.

    Tokens that are present are kept exactly as sampled. Raises DataError where an action has no tokens at all.
    """
    return [_with_tokens(policy, trajectory) for trajectory in trajectories]


def _with_tokens(policy: Trainable, trajectory: Trajectory) -> Trajectory:
    if all(step.proposal.tokens for step in trajectory.steps):
        return trajectory
    steps = []
    for step in trajectory.steps:
        tokens = step.proposal.tokens or tuple(policy.encode(step.proposal.action))
        if not tokens:
            raise DataError(
                f"problem {trajectory.problem.key!r}: action {step.proposal.action!r} has no tokens; expected at least "
                "the end marker. Make `policy.encode` return it, or drop the trajectory before `collate`."
            )
        steps.append(replace(step, proposal=replace(step.proposal, tokens=tokens)))
    return replace(trajectory, steps=tuple(steps))


def collate(
    policy: Trainable,
    trajectories: Sequence[Trajectory],
    reward: Reward,
    *,
    reference: Trainable | None = None,
    log_z: LogZ | None = None,
    micro_batch: int = 32,
) -> Batch:
    """Return the batch of these trajectories, row i from trajectory i, with `logp` and `log_z` as leaves.

    Models run without gradient, `micro_batch` trajectories at a time, and should be deterministic (dropout 0): the
    second pass must meet the same values. Raises DataError for trajectories that cannot be learned from or rewards that
    are not finite, ModelError for log-probabilities of a wrong shape. Log-probabilities that are not finite pass: the
    loss tells.
    """
    _check(trajectories)
    filled = with_tokens(policy, trajectories)
    logp = _values(policy, filled, micro_batch)
    device, dtype = logp.device, logp.dtype
    logp_ref = None if reference is None else _values(reference, filled, micro_batch).to(device, dtype)
    step_index = torch.full(logp.shape, -1, dtype=torch.int64)
    for row, trajectory in enumerate(filled):
        owners = [i for i, step in enumerate(trajectory.steps) for _ in step.proposal.tokens]
        step_index[row, : len(owners)] = torch.tensor(owners)
    step_index = step_index.to(device)
    keys = {key: i for i, key in enumerate(dict.fromkeys(trajectory.problem.key for trajectory in filled))}
    return Batch(
        logp=logp.requires_grad_(),
        logp_old=logp.detach().clone(),
        mask=step_index >= 0,
        step_index=step_index,
        log_reward=_log_rewards(reward, filled).to(device, dtype),
        log_pb=torch.zeros(len(filled), device=device, dtype=dtype),
        group=torch.tensor([keys[trajectory.problem.key] for trajectory in filled], device=device),
        seat=torch.tensor([trajectory.steps[0].observation.seat for trajectory in filled], device=device),
        accepted=torch.tensor([trajectory.solved for trajectory in filled], device=device),
        logp_ref=logp_ref,
        log_z=None if log_z is None else _log_z_leaf(log_z, filled).to(device, dtype).requires_grad_(),
    )


def push(
    policy: Trainable,
    trajectories: Sequence[Trajectory],
    batch: Batch,
    *,
    log_z: LogZ | None = None,
    micro_batch: int = 32,
) -> int:
    """Add the gradients that `batch.logp` and `batch.log_z` hold to the models' parameters; return the tokens it took.

    `trajectories` are those of the batch. The second pass of `loss.backward()`: together they give the gradient of one
    pass through everything. Rows without gradient (a group of one, an unchosen row) cost nothing.
    """
    if batch.log_z is not None and batch.log_z.grad is not None and log_z is not None:
        values = log_z(trajectories)
        torch.autograd.backward(values, batch.log_z.grad.to(values.device, values.dtype))
    if batch.logp.grad is None:
        return 0
    grad = batch.logp.grad * batch.mask
    rows: list[int] = grad.any(dim=1).nonzero().flatten().tolist()
    filled = with_tokens(policy, [trajectories[row] for row in rows])
    for start in range(0, len(rows), micro_batch):
        logp = policy.logp(filled[start : start + micro_batch])
        if logp.requires_grad:  # not where every token was the only possible one
            part = grad[rows[start : start + micro_batch], : logp.shape[1]]
            torch.autograd.backward(logp, part.to(logp.device, logp.dtype))
    return int(batch.mask[rows].sum())


def _check(trajectories: Sequence[Trajectory]) -> None:
    if not trajectories:
        raise DataError("expected at least one trajectory, got none; skip the step instead")
    for trajectory in trajectories:
        key, seats = trajectory.problem.key, {step.observation.seat for step in trajectory.steps}
        if trajectory.verdict.status is Status.UNKNOWN:
            raise DataError(f"problem {key!r}: an UNKNOWN verdict has no reward; drop it before `collate` and count it")
        if not trajectory.steps:
            raise DataError(f"problem {key!r}: a trajectory without an action cannot be learned from; drop it first")
        if len(seats) > 1:
            raise DataError(f"problem {key!r}: one trajectory holds seats {sorted(seats)}; split it by seat first")


def _values(model: Trainable, trajectories: Sequence[Trajectory], micro_batch: int) -> Tensor:
    """Return log-probabilities [B, T] without gradient, padded with zeros to the longest trajectory."""
    lengths = [sum(len(step.proposal.tokens) for step in trajectory.steps) for trajectory in trajectories]
    rows: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(trajectories), micro_batch):
            part = model.logp(trajectories[start : start + micro_batch])
            here = lengths[start : start + micro_batch]
            if part.shape != (len(here), max(here)):
                raise ModelError(
                    f"expected log-probabilities of shape {(len(here), max(here))} (trajectories, most tokens), "
                    f"got {tuple(part.shape)}; `logp` must give one column per token of `Proposal.tokens`"
                )
            rows.extend(part.to(torch.promote_types(part.dtype, torch.float32)))
    values = rows[0].new_zeros(len(rows), max(lengths))
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        values[i, :length] = row[:length]
    return values


def _log_rewards(reward: Reward, trajectories: Sequence[Trajectory]) -> Tensor:
    log_reward = reward(trajectories).detach()
    if log_reward.shape != (len(trajectories),):
        raise DataError(f"expected log-rewards of shape ({len(trajectories)},), got {tuple(log_reward.shape)}")
    wrong = [i for i, value in enumerate(log_reward.tolist()) if not math.isfinite(value)]
    if wrong:
        raise DataError(
            f"problem {trajectories[wrong[0]].problem.key!r}: log-reward {log_reward[wrong[0]].item()} of actions "
            f"{list(trajectories[wrong[0]].actions)} is not finite ({len(wrong)} of {len(trajectories)}); "
            "a reward must be a number and clamp its own zeros (log R >= some floor)"
        )
    return log_reward


def _log_z_leaf(log_z: LogZ, trajectories: Sequence[Trajectory]) -> Tensor:
    with torch.no_grad():
        values = log_z(trajectories)
    if values.shape != (len(trajectories),):
        raise ModelError(f"expected log Z of shape ({len(trajectories)},), got {tuple(values.shape)}")
    return values.clone()
