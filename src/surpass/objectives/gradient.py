"""Policy gradients: REINFORCE with a leave-one-out baseline, GRPO, and PPO's clip with a value head.

Space X: token histories, as in `balance.py`. These are reward maximisers: without a KL term there is no unique fixed
point, any policy on the best trajectories is one. Maximising E[r] - kl KL(P_F || p_ref), as `reinforce` and `ppo` do,
has exactly one, P_F proportional to p_ref exp(r / kl): with r = log R the target of `balance.py` at beta = 1 / kl.

Legend: r(tau) = utility(log R(tau)): log R itself by default, R with `utility=torch.exp`; n trajectories of a problem;
ratio = P_F / P_old, with P_old the policy when the batch was collated: 1 in the first of `TrainConfig.passes`, where
nothing is clipped. All assume that P_old sampled the trajectories: tempered, replayed or demonstrated ones bias the
gradient, without warning. By default `train` has none of them.

Estimators of the KL term, of x = log P_F - log p_ref: k1 = x, k3 = exp(-x) - 1 + x (Schulman 2020, "Approximating KL
Divergence"). In the reward, k1 gives the gradient of KL(P_F || p_ref). In the loss, k3 gives that of KL(p_ref || P_F)
at each visited prefix, and no account of which prefixes are visited.

Sources: Kool et al. 2019 ("Buy 4 REINFORCE samples, get a baseline for free") and Ahmadian et al. 2024 (arXiv
2402.14740); GRPO, Shao et al. 2024 (arXiv 2402.03300), its biases and their removal, Liu et al. 2025 (arXiv
2503.20783); PPO, Schulman et al. 2017 (arXiv 1707.06347), with advantages of Schulman et al. 2015 (arXiv 1506.02438).
Not here: entropy bonuses, whitened advantages, discounts (trajectories are short and finite), imitation of the best
(`likelihood.py`). Sums are in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from surpass.objectives.batch import Batch, Metrics, group_mean, needed, recorded

Utility = Callable[[Tensor], Tensor]
LARGEST = 20.0  # of a log-ratio: what lies beyond has no gradient, and nothing overflows


def log_reward_itself(log_reward: Tensor) -> Tensor:
    """Return log R: the utility whose optimum under a KL term is the posterior p_ref R^(1 / kl)."""
    return log_reward


def reinforce(batch: Batch, *, kl: float = 0.0, utility: Utility = log_reward_itself) -> tuple[Tensor, Metrics]:
    """Return  - mean_i A_i log P_F(tau_i),  A_i = r_i less the mean r of the other trajectories of its problem (RLOO).

    With `kl`, r_i loses kl k1 of the whole trajectory: a KL term in the reward. The gradient is without bias that of
    -(E[r] - kl KL(P_F || p_ref)). A problem with one trajectory has no baseline: it contributes nothing and is counted
    (`groups_of_one`). Fixed point: with `kl` P_F proportional to p_ref exp(r / kl), where all A_i vanish; without
    it a reward maximiser: no unique one. Raises ConfigError for `kl` without a reference.
    """
    reward = _reward(batch, utility)
    if kl:
        reward = reward - kl * batch.log_ratio().detach().sum(dim=1)
    count = _count(batch)
    advantage = (reward - group_mean(batch, reward)) * count / (count - 1).clamp(min=1)
    loss = -(advantage * batch.logp.double().sum(dim=1)).mean()
    return loss, _metrics(batch, reward, advantage)


def grpo(
    batch: Batch,
    *,
    clip: float = 0.2,
    kl: float = 0.0,
    utility: Utility = log_reward_itself,
    scale: Literal["deviation", "none"] = "deviation",
    lengths: Literal["mean", "sum"] = "mean",
) -> tuple[Tensor, Metrics]:
    """Return  - mean_i sum_t [min(ratio_t A_i, clipped ratio_t A_i) - kl k3_t] / |tau_i|,  by tokens t.

    A_i = (r_i - mean r) / (deviation of r + 1e-4) over its problem. With `kl`, a KL term in the loss, by tokens.
    Biases: the baseline holds r_i, so the gradient is (n - 1) / n of the true one; dividing by the deviation weighs
    problems by how nearly all or none of their trajectories succeed, and is not a gradient of E[r] (scale="none" leaves
    it out); dividing by |tau_i| makes each token of a long failure cheaper (lengths="sum" leaves it out, both: "Dr.
    GRPO"). Equal rewards give no advantage.

    Fixed point: without `kl` a reward maximiser. With it, for trajectories of one token and scale="none", it is
    P_F = p_ref k / (k + E[r] - r), k = kl n / (n - 1), if k is above every r - E[r]: not the posterior of `reinforce`.
    Raises ConfigError for `kl` without a reference.
    """
    reward = _reward(batch, utility)
    advantage = reward - group_mean(batch, reward)
    if scale == "deviation":
        advantage = advantage / (group_mean(batch, advantage.square()).sqrt() + 1e-4)
    moved = (batch.logp.double() - batch.logp_old.double()) * batch.mask
    gain, clipped = _clipped(moved, advantage[:, None], clip)
    metrics = _metrics(batch, reward, advantage) | {"clipped": (clipped & batch.mask).sum().item() / _total(batch.mask)}
    if kl:
        x = (batch.log_ratio() * batch.mask).clamp(min=-LARGEST)
        penalty = torch.expm1(-x) + x
        gain = gain - kl * penalty
        metrics["kl"] = (penalty.detach() * batch.mask).sum(dim=1).mean().item()
    sums = (gain * batch.mask).sum(dim=1)
    return -(sums / batch.mask.sum(dim=1) if lengths == "mean" else sums).mean(), metrics


def ppo(
    batch: Batch,
    *,
    clip: float = 0.2,
    lam: float = 0.95,
    kl: float = 0.0,
    value_weight: float = 0.5,
    utility: Utility = log_reward_itself,
) -> tuple[Tensor, Metrics]:
    """Return  - mean_i sum_k min(ratio_k A_k, clipped ratio_k A_k) + value_weight mean_k (V_k - return_k)^2,  steps k.

    A step (a whole action) is one decision: ratio, value and advantage are the step's. A_k = sum_l lam^l delta_{k+l},
    delta_k = reward_k + V_{k+1} - V_k, and return_k = A_k + V_k without gradient. The last step earns r; with `kl` each
    step pays kl k1, a KL term in the reward. With lam = 1, or with exact values, the gradient of a first pass is
    without bias that of -(E[r] - kl KL(P_F || p_ref)), so the fixed point is that of `reinforce`. Raises ConfigError
    without the head `value`, or for `kl` without a reference.
    """
    value = needed(batch.value, "value", "ppo").double()
    width, steps = value.shape[1], batch.steps()[:, None]
    place = torch.arange(width, device=value.device)
    taken = place < steps
    reward = _reward(batch, utility)
    earned = torch.where(place == steps - 1, reward[:, None], 0)
    if kl:
        earned = earned - kl * batch.by_step(batch.log_ratio().detach(), width)
    known = value.detach() * taken
    delta = (earned + torch.nn.functional.pad(known, (0, 1))[:, 1:] - known) * taken
    advantage = delta.clone()
    for k in reversed(range(width - 1)):
        advantage[:, k] += lam * advantage[:, k + 1]
    moved = batch.by_step((batch.logp.double() - batch.logp_old.double()), width)
    gain, clipped = _clipped(moved, advantage, clip)
    wrong = ((value - known - advantage).square() * taken).sum() / _total(taken)
    metrics = _metrics(batch, reward, advantage[taken]) | {
        "value_error": wrong.detach().sqrt().item(),
        "clipped": (clipped & taken).sum().item() / _total(taken),
    }
    return value_weight * wrong - (gain * taken).sum(dim=1).mean(), metrics


def _clipped(moved: Tensor, advantage: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return PPO's surrogate for log-ratios `moved`, and where it is clipped."""
    ratio = moved.clamp(-LARGEST, LARGEST).exp()
    free, held = ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
    return torch.minimum(free, held), held < free


def _reward(batch: Batch, utility: Utility) -> Tensor:
    return utility(batch.log_reward.double())


def _count(batch: Batch) -> Tensor:
    return torch.bincount(batch.group)[batch.group].double()


def _total(mask: Tensor) -> float:
    return max(1.0, float(mask.sum()))


def _metrics(batch: Batch, reward: Tensor, advantage: Tensor) -> Metrics:
    return recorded(batch) | {
        "reward": reward.mean().item(),
        "advantage_rms": advantage.square().mean().sqrt().item(),
        "groups_of_one": float((torch.bincount(batch.group) == 1).sum()),
    }
