"""FlowRL: trajectory balance with log-probabilities averaged over a trajectory's length, and what that converges to.

Space X: token histories, as in `balance.py`; its legend holds. |tau| is the number of tokens of tau.
Source: Zhu et al. 2025 (arXiv 2509.15207); in its code the weight w is a product of token ratios cut at 10.
Not here: the clipping of log-probabilities that later code adds, whose gradient is zero outside the clip.
"""

from __future__ import annotations

import math

from torch import Tensor

from surpass.objectives.balance import metrics_of
from surpass.objectives.batch import Batch, Metrics, group_mean, needed


def flowrl(
    batch: Batch, *, beta: float, relative: bool = True, standardise: bool = False, largest_weight: float = 10.0
) -> tuple[Tensor, Metrics]:
    """Return the mean over trajectories of  w (log Z(x) + log P_F(tau) / |tau| - beta r(tau) [- log p_ref / |tau|])^2.

    r is log R, or with `standardise` log R less its problem's mean over its deviation in this batch (the paper's
    choice: a target that moves with the samples). w = P_F / P_old, no gradient, at most `largest_weight`: 1 in a first
    pass.

    Fixed point: P_F(tau) = p_ref(tau) exp(|tau| (beta r(tau) - log Z)), with log Z the one number for which this sums
    to 1 (without `relative`: no p_ref). It is *not* the posterior p_ref exp(beta r): a reward counts once per token, so
    long good trajectories gain, long poor ones lose, and log Z is no log-partition function. The two agree only where
    all trajectories of a problem are equally long, with beta |tau| in place of beta. Raises ConfigError without the
    head `log_z`, or without a reference if `relative`.
    """
    log_z = needed(batch.log_z, "log_z", "flowrl").double()
    length = batch.mask.sum(dim=1).double()
    reward = batch.log_reward.double()
    if standardise:
        reward = reward - group_mean(batch, reward)
        reward = reward / (group_mean(batch, reward.square()).sqrt() + 1e-6)
    mean_ratio = (batch.log_ratio(relative=relative) * batch.mask).sum(dim=1) / length
    residual = log_z + mean_ratio - beta * reward - batch.log_pb.double() / length
    moved = ((batch.logp.detach() - batch.logp_old).double() * batch.mask).sum(dim=1)
    weight = moved.clamp(max=math.log(largest_weight)).exp()
    loss = (weight * residual.square()).mean()
    metrics = metrics_of(batch, residual.detach().square().mean())
    return loss, {**metrics, "log_z": log_z.detach().mean().item(), "weight": weight.mean().item()}
