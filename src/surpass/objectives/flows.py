"""Balance within a trajectory: flows at step boundaries, or ends at token boundaries, so that every part is a lesson.

Space X: token histories, a tree, as in `balance.py`; its legend holds. `modified_subtb` speaks of the token sequences
of one action, each of whose prefixes may end there.

Legend, per trajectory of K steps, with states s_0 .. s_K and s_K final:
    d_k    = log P_F(step k | s_k) [- log p_ref(step k | s_k)]     the bracket when `relative`
    phi_i  = log flow of s_i; phi_K = beta log R + log P_B, given
    residual(i, j) = phi_i + sum_{i <= k < j} d_k - phi_j          0 <= i < j <= K
    loss   = mean over trajectories of  sum_{i<j} lam^(j-i-1) residual(i, j)^2 / sum_{i<j} lam^(j-i-1)
The loss vanishes exactly where all residuals do: P_F proportional to p_ref R^beta (R^beta without `relative`), phi_0
its log Z, and phi_i the log of the flow through s_i, which when relative is the flow divided by p_ref(s_i): the log of
the mean R^beta of the reference's continuations. lam = 0 leaves neighbours alone (detailed balance), a large one the
ends (trajectory balance). Off-policy with full support, like all of this family.

Sources: detailed balance, Bengio et al. 2021 (arXiv 2111.09266); sub-trajectory balance, Madan et al. 2022 (arXiv
2209.12782), with its weights divided by lam; forward-looking credit, Pan et al. 2023 (arXiv 2302.03213);
ends at every prefix, Deleu et al. 2022 (arXiv 2202.13903) and Hu et al. 2023 (arXiv 2310.04363).
Not here: whole trajectories (`balance.py`); the heads that learn flows and read ends (`models/heads.py`).
Sums are in float64; all pairs of states of a trajectory are held at once, B S^2 or B T^2 numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surpass.errors import ConfigError, DataError
from surpass.objectives.balance import metrics_of
from surpass.objectives.batch import Batch, Metrics, needed


def subtrajectory_balance(
    batch: Batch, *, beta: float, lam: float = 0.9, relative: bool = True
) -> tuple[Tensor, Metrics]:
    """Return the loss above with phi_i = `log_flow` of s_i, a learned head.

    Fixed point: P_F proportional to p_ref R^beta (R^beta without `relative`), `log_flow` of the first state its log Z.
    Raises ConfigError without the head `log_flow`, or without a reference if `relative`.
    """
    flow = needed(batch.log_flow, "log_flow", "sub-trajectory balance").double()
    return _over_steps(batch, flow, beta=beta, lam=lam, relative=relative)


def detailed_balance(batch: Batch, *, beta: float, relative: bool = True) -> tuple[Tensor, Metrics]:
    """Return the mean over trajectories of the mean over steps of (phi_i + d_i - phi_{i+1})^2, phi a learned head.

    Fixed point and errors: those of `subtrajectory_balance`, of which it is the case lam = 0.
    """
    flow = needed(batch.log_flow, "log_flow", "detailed balance").double()
    return _over_steps(batch, flow, beta=beta, lam=0.0, relative=relative)


def forward_looking(batch: Batch, *, beta: float, lam: float = 0.0, relative: bool = True) -> tuple[Tensor, Metrics]:
    """Return the loss above with phi_i = `log_flow` + beta `state_reward` for i < K: the head learns what is left.

    `state_reward` is any guess at the log-reward that s_i has earned already; zeros give the objectives above. lam = 0
    is forward-looking detailed balance, more is sub-trajectory balance. Fixed point: P_F proportional to p_ref R^beta
    (R^beta without `relative`), whatever the guess. Raises ConfigError without the heads `log_flow` and `state_reward`,
    or without a reference if `relative`.
    """
    left = needed(batch.log_flow, "log_flow", "forward-looking credit").double()
    earned = needed(batch.state_reward, "state_reward", "forward-looking credit").double()
    return _over_steps(batch, left + beta * earned, beta=beta, lam=lam, relative=relative)


def modified_subtb(batch: Batch, *, beta: float, lam: float = 1.0, relative: bool = True) -> tuple[Tensor, Metrics]:
    """Return the loss above over the prefixes s_t of one action, t = 0 .. T-1 tokens long, without a learned flow.

    A prefix may end where it is, so its flow is known:  phi_t = beta log R(s_t end) - log P_F(end | s_t) [+ log
    p_ref(end | s_t)], and d_t belongs to token t. Fixed point: P_F(s_t end) proportional to p_ref R^beta (R^beta
    without `relative`) over all actions; log Z = phi_0. A prefix that cannot end (log P_F(end) = -inf) is passed over;
    an action cut at the length limit counts up to its last token, and how much mass goes to cut actions is left free:
    the fixed point then holds among those that end, and phi_0 is not log Z. `Batch.log_reward` is not used:
    `prefix_reward` covers the whole action too. Raises DataError for a trajectory of several steps, ConfigError without
    the heads `log_stop` and `prefix_reward`, or without a reference and `log_stop_ref` if `relative`.
    """
    if bool((batch.step_index > 0).any()):
        raise DataError("modified_subtb: expected one action per trajectory, found several; use subtrajectory_balance")
    stop = needed(batch.log_stop, "log_stop", "modified_subtb").double()
    ends = batch.mask & (stop != -torch.inf)
    phi = beta * needed(batch.prefix_reward, "prefix_reward", "modified_subtb").double() - torch.where(ends, stop, 0)
    if relative:
        phi = phi + needed(batch.log_stop_ref, "log_stop_ref", "modified_subtb with relative=True").double()
    phi = torch.where(ends, phi, 0)  # an infinity that is passed over must not meet a zero gradient
    ratio = batch.log_ratio(relative=relative) * batch.mask
    loss = _pairs(phi - (ratio.cumsum(dim=1) - ratio), ends, lam)
    return loss, {**metrics_of(batch, loss.detach()), "log_z": phi[:, 0].detach().mean().item()}


def _over_steps(batch: Batch, flow: Tensor, *, beta: float, lam: float, relative: bool) -> tuple[Tensor, Metrics]:
    """Return the loss for `flow` [B, S], the log flow of the state before each step."""
    steps, width = batch.steps()[:, None], flow.shape[1]
    end = beta * batch.log_reward.double() + batch.log_pb.double()
    phi = torch.nn.functional.pad(flow, (0, 1)).scatter(1, steps, end[:, None])
    gone = batch.by_step(batch.log_ratio(relative=relative), width).cumsum(dim=1)
    states = torch.arange(width + 1, device=flow.device) <= steps
    loss = _pairs(phi - torch.nn.functional.pad(gone, (1, 0)), states, lam)
    return loss, {**metrics_of(batch, loss.detach()), "log_z": flow[:, 0].detach().mean().item()}


def _pairs(level: Tensor, states: Tensor, lam: float) -> Tensor:
    """Return the loss for `level` [B, N], phi_i - sum_{k < i} d_k: residual(i, j) is its fall from i to j."""
    if not lam >= 0:
        raise ConfigError(f"expected lam >= 0, found {lam}: 0 is detailed balance, 1 weighs all sub-trajectories alike")
    place = torch.arange(level.shape[1], device=level.device)
    gap = place[None, :] - place[:, None] - 1  # [from, to]
    weight = torch.where(gap >= 0, level.new_tensor(lam) ** gap.clamp(min=0), 0)
    weight = weight * (states[:, :, None] & states[:, None, :])
    squares = torch.where(weight > 0, (level[:, :, None] - level[:, None, :]).square(), 0)
    total = weight.sum(dim=(1, 2))
    return ((weight * squares).sum(dim=(1, 2)) / torch.where(total > 0, total, 1)).mean()
