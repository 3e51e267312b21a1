"""The one place where text becomes tensors and verdicts become log-rewards: `collate`.

An objective is a pure function of the `Batch` made here, so it knows no text, no domain and no model. `Batch.logp` and
what learned heads say are detached leaves: an objective's gradient stops there and `push` carries it through policy and
heads in micro-batches (two passes, exact for any objective and any group size, in bounded memory).

Not here: objectives, reward models, and the choice of what to learn from. Nothing is dropped: a trajectory that cannot
be learned from (UNKNOWN, or without an action) raises, and the caller says what becomes of it (`recipe.judged`). Where
it drops the UNKNOWN, as by default, the fixed point that an objective states is one among plays that get a verdict.

Legend: B trajectories, T the most tokens and S the most steps of one trajectory, P_F the policy, P_B the backward
policy, R the reward. Column i of a [B, S] is the state before step i; column t of a [B, T], the prefix before token t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from surpass.core import Status, Trainable, Trajectory
from surpass.errors import ConfigError, DataError, ModelError

Metrics = dict[str, float]
Reward = Callable[[Sequence[Trajectory]], Tensor]  # log-rewards [B], finite: a clamp is the reward's own business
Head = Callable[[Sequence[Trajectory]], Tensor]  # one number per trajectory [B], state [B, S] or token [B, T]


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """What a batch says beyond log-probabilities and the final reward; an objective names what it needs.

    The first four have a gradient. Those that are modules have weights of their own, for the optimiser and the
    checkpoint; `log_stop` is the policy's own answer and moves the policy's weights.
    """

    log_z: Head | None = None  # [B] log Z of the problem
    log_flow: Head | None = None  # [B, S] log flow of the state before each step
    value: Head | None = None  # [B, S] expected reward from the state before each step
    log_stop: Head | None = None  # [B, T] log P_F(end marker | the tokens before token t)
    log_stop_ref: Head | None = None  # [B, T] the same of the reference
    state_reward: Head | None = None  # [B, S] log-reward credited to the state before each step
    prefix_reward: Head | None = None  # [B, T] log R of the action that ends before token t

    def modules(self) -> dict[str, nn.Module]:
        """Return the heads that have weights of their own, by name."""
        named = {"log_z": self.log_z, "log_flow": self.log_flow, "value": self.value}
        return {name: head for name, head in named.items() if isinstance(head, nn.Module)}


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
    outcome: Tensor | None = None  # [B] int64, equal for equal tokens of equal problems; None where tokens are unknown
    log_z: Tensor | None = None  # [B] a leaf that requires grad; this and all below: None without the head
    log_flow: Tensor | None = None  # [B, S] a leaf that requires grad
    value: Tensor | None = None  # [B, S] a leaf that requires grad
    log_stop: Tensor | None = None  # [B, T] a leaf that requires grad
    log_stop_ref: Tensor | None = None  # [B, T]
    state_reward: Tensor | None = None  # [B, S] finite
    prefix_reward: Tensor | None = None  # [B, T] finite
    graph: Tensor | None = None  # [B, T] `logp` with its graph, where one pass was enough and it was kept for `push`

    def leaves(self) -> dict[str, Tensor]:
        """Return what an objective may leave a gradient on, by name."""
        named = {"log_z": self.log_z, "log_flow": self.log_flow, "value": self.value, "log_stop": self.log_stop}
        return {"logp": self.logp} | {name: leaf for name, leaf in named.items() if leaf is not None}

    def steps(self) -> Tensor:
        """Return the number of steps of each trajectory [B]."""
        return self.step_index.amax(dim=1) + 1

    def log_ratio(self, *, relative: bool = True) -> Tensor:
        """Return log P_F - log p_ref of each token [B, T] in float64; without `relative`, log P_F.

        Raises ConfigError if `relative` and the batch has no reference.
        """
        if not relative:
            return self.logp.double()
        if self.logp_ref is None:
            raise ConfigError(
                "a target relative to a reference needs one, the batch has none; pass `reference=` or relative=False"
            )
        return self.logp.double() - self.logp_ref.double()

    def by_step(self, tokens: Tensor, width: int) -> Tensor:
        """Return the sum over the tokens of each step [B, width] of what is given per token [B, T]."""
        sums = tokens.new_zeros(len(tokens), width)
        return sums.scatter_add(1, self.step_index.clamp(min=0), tokens * self.mask)


Objective = Callable[[Batch], tuple[Tensor, Metrics]]  # a scalar loss attached to the leaves, and what to record


def needed(values: Tensor | None, head: str, objective: str) -> Tensor:
    """Return what a head said. Raises ConfigError where the batch was made without it."""
    if values is None:
        raise ConfigError(
            f"{objective} needs {head}, the batch has none; pass `heads=Heads({head}=...)` (models/heads.py)"
        )
    return values


def group_mean(batch: Batch, values: Tensor) -> Tensor:
    """Return, for each trajectory, the mean of `values` [B] over the trajectories of its problem."""
    count = torch.bincount(batch.group).to(values)
    return (torch.zeros_like(count).index_add(0, batch.group, values) / count)[batch.group]


def recorded(batch: Batch) -> Metrics:
    """Return what every objective records of a batch; `distinct` is the mean number of outcomes of a problem."""
    metrics = {
        "log_reward": batch.log_reward.mean().item(),
        "logp": batch.logp.detach().sum(dim=1).mean().item(),
    }
    if batch.outcome is not None:
        metrics["distinct"] = len(torch.unique(batch.outcome)) / len(torch.unique(batch.group))
    if batch.logp_ref is not None:
        metrics["log_ratio"] = batch.log_ratio().detach().sum(dim=1).mean().item()
    return metrics


def log_return(trajectories: Sequence[Trajectory], *, seat: int = 0, floor: float = -10.0) -> Tensor:
    """Return the log of one seat's return [B], at least `floor`: the simplest reward, 0 for a proof, `floor` else.

    A return that is no number stays one, for `collate` to name.
    """
    returns = [trajectory.verdict.returns[seat] for trajectory in trajectories]
    least = math.exp(floor)
    return torch.tensor([floor if value <= least else math.log(value) for value in returns], dtype=torch.float64)


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
    heads: Heads = Heads(),
    micro_batch: int = 32,
    keep: bool = False,
) -> Batch:
    """Return the batch of these trajectories, row i from trajectory i; `Batch.leaves` says what takes a gradient.

    Models and heads run without gradient, `micro_batch` trajectories at a time, and should be deterministic: the second
    pass must meet the same values. With `keep`, a batch that is one micro-batch keeps the graph of the policy's
    log-probabilities, which saves `push` that pass. Raises DataError for trajectories that cannot be learned from or
    rewards that are not finite, ModelError for an answer of a wrong shape. Log-probabilities that are not finite pass:
    the loss tells.
    """
    _check(trajectories)
    filled = with_tokens(policy, trajectories)
    steps = [len(trajectory.steps) for trajectory in filled]
    spread = [[len(step.proposal.tokens) for step in trajectory.steps] for trajectory in filled]  # tokens of each step
    tokens = [sum(row) for row in spread]
    logp = _ask("log-probabilities", policy.logp, filled, tokens, micro_batch, graph=keep)
    graph = logp if logp.requires_grad else None
    logp = logp.detach()
    device = logp.device

    def ask(name: str, head: Head | None, widths: Sequence[int] | None) -> Tensor | None:
        return None if head is None else _ask(name, head, filled, widths, micro_batch).to(logp)

    owners = [[i for i, width in enumerate(row) for _ in range(width)] for row in spread]
    step_index = torch.tensor([row + [-1] * (logp.shape[1] - len(row)) for row in owners], device=device)
    keys = [trajectory.problem.key for trajectory in filled]
    said = [tuple(step.proposal.tokens for step in trajectory.steps) for trajectory in filled]
    return Batch(
        logp=logp.requires_grad_(),
        logp_old=logp.detach().clone(),
        mask=step_index >= 0,
        step_index=step_index,
        log_reward=_finite(reward(filled).detach().to(logp), (len(filled),), filled),
        log_pb=torch.zeros(len(filled)).to(logp),
        group=_numbered(keys).to(device),
        seat=torch.tensor([trajectory.steps[0].observation.seat for trajectory in filled], device=device),
        accepted=torch.tensor([trajectory.solved for trajectory in filled], device=device),
        logp_ref=None if reference is None else ask("log-probabilities", reference.logp, tokens),
        outcome=_numbered(list(zip(keys, said, strict=True))).to(device),
        log_z=_leaf(ask("log Z", heads.log_z, None)),
        log_flow=_leaf(ask("log flows", heads.log_flow, steps)),
        value=_leaf(ask("values", heads.value, steps)),
        log_stop=_leaf(ask("log-probabilities of the end", heads.log_stop, tokens)),
        log_stop_ref=ask("log-probabilities of the end", heads.log_stop_ref, tokens),
        state_reward=_rewards(ask("log-rewards of states", heads.state_reward, steps), filled),
        prefix_reward=_rewards(ask("log-rewards of prefixes", heads.prefix_reward, tokens), filled),
        graph=graph,
    )


def push(
    policy: Trainable,
    trajectories: Sequence[Trajectory],
    batch: Batch,
    *,
    heads: Heads = Heads(),
    micro_batch: int = 32,
) -> int:
    """Add the gradients that the leaves of `batch` hold to the parameters of policy and heads.

    `trajectories` and `heads` are those of the batch. The second pass of `loss.backward()`: together they give the
    gradient of one pass through everything. Rows without gradient (a group of one, an unchosen row) cost nothing.
    Returns the tokens that took a gradient through the policy.
    """
    asked = {"logp": policy.logp, "log_z": heads.log_z, "log_flow": heads.log_flow}
    asked |= {"value": heads.value, "log_stop": heads.log_stop}
    taken = 0
    for name, leaf in batch.leaves().items():
        head = asked[name]
        if leaf.grad is None or head is None:
            continue
        rows: list[int] = leaf.grad.reshape(len(trajectories), -1).any(dim=1).nonzero().flatten().tolist()
        kept = batch.graph if name == "logp" and rows else None
        if kept is not None:
            torch.autograd.backward(kept, leaf.grad)
        for start in range(0, len(rows) if kept is None else 0, micro_batch):
            some = rows[start : start + micro_batch]
            said = head(with_tokens(policy, [trajectories[row] for row in some]))
            if said.requires_grad:  # not where every token was the only possible one
                part = leaf.grad[some] if said.ndim == 1 else leaf.grad[some, : said.shape[1]]
                torch.autograd.backward(said, part.to(said.device, said.dtype))
        taken += int(batch.mask[rows].sum()) if name in ("logp", "log_stop") else 0
    return taken


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


def _ask(
    name: str,
    head: Head,
    trajectories: Sequence[Trajectory],
    widths: Sequence[int] | None,
    micro_batch: int,
    *,
    graph: bool = False,
) -> Tensor:
    """Return what a model or head says: [B], or [B, most of `widths`] with zeros for padding.

    Without gradient; with `graph`, and all of them in one micro-batch, as the model gave it.
    """
    rows: list[Tensor] = []
    once = graph and len(trajectories) <= micro_batch
    with torch.set_grad_enabled(once):
        for start in range(0, len(trajectories), micro_batch):
            some = trajectories[start : start + micro_batch]
            part = head(some)
            expected = (len(some),) if widths is None else (len(some), max(widths[start : start + micro_batch]))
            if part.shape != expected:
                raise ModelError(
                    f"expected {name} of shape {expected} (trajectories, then steps or tokens of `Proposal.tokens` "
                    f"where there is one for each), got {tuple(part.shape)}; fix the model or head that gave them"
                )
            part = part.to(torch.promote_types(part.dtype, torch.float32))
            if once:
                return part
            rows.extend(part)
    if widths is None:
        return torch.stack(rows)
    values = rows[0].new_zeros(len(rows), max(widths))
    for i, (row, width) in enumerate(zip(rows, widths, strict=True)):
        values[i, :width] = row[:width]
    return values


def _numbered(values: Sequence[Hashable]) -> Tensor:
    """Return a number for each value [B], equal for equal ones, in order of appearance."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return torch.tensor([numbers[value] for value in values])


def _leaf(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.requires_grad_()


def _rewards(values: Tensor | None, trajectories: Sequence[Trajectory]) -> Tensor | None:
    return None if values is None else _finite(values, tuple(values.shape), trajectories)


def _finite(values: Tensor, shape: tuple[int, ...], trajectories: Sequence[Trajectory]) -> Tensor:
    """Return log-rewards as they are. Raises DataError for another shape or a value that is not finite."""
    if values.shape != shape:
        raise DataError(f"expected log-rewards of shape {shape}, got {tuple(values.shape)}")
    wrong = (~torch.isfinite(values)).nonzero().tolist()
    if wrong:
        trajectory = trajectories[wrong[0][0]]
        raise DataError(
            f"problem {trajectory.problem.key!r}: log-reward {values[tuple(wrong[0])].item()} of actions "
            f"{list(trajectory.actions)} is not finite ({len(wrong)} of {values.numel()}); "
            "a reward must be a number and clamp its own zeros (log R >= some floor)"
        )
    return values
