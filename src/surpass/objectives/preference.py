"""Preference losses: of two trajectories of one problem, raise the better one's ratio to the reference. DPO and f-DPO.

Space X: token histories, as in `balance.py`. Pairs are made here, from the batch: every two trajectories of one problem
whose log-rewards differ are a pair, the higher one better. Ties are no pair. A problem's pairs share one weight, so
problems count alike, however many trajectories they have; a problem without a pair counts as zero loss.

Legend: u(tau) = P_F(tau) / p_ref(tau); g = f' of a divergence D_f(P_F || p_ref) = E_ref[f(u)], as a function of log u;
margin(a, b) = beta (g(u(a)) - g(u(b))); s the logistic function.

Fixed point. With `strength=None` a better one is *always* preferred, so no finite optimum exists: margins grow without
end, and what is neither better nor worse drifts. With a number, labels are those of a Bradley-Terry judge of
strength log R, and the loss is least exactly where margin(a, b) = strength (log R(a) - log R(b)) for all pairs, that
is where P_F maximises strength E[log R] - beta D_f(P_F || p_ref); for the reverse KL divergence: P_F proportional to
p_ref R^(strength / beta), the posterior of `balance.py`. For this every two trajectories of a problem are a pair, ties
with the label one half.

Sources: DPO, Rafailov et al. 2023 (arXiv 2305.18290); divergences, Wang et al. 2023 (arXiv 2309.16240).
Not here: pairs that a person judged, which would come with a data set rather than with a reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from surpass.errors import ConfigError
from surpass.objectives.batch import Batch, Metrics

Divergence = Callable[[Tensor], Tensor]  # log u -> f'(u), up to a constant
STRAIGHT = 30.0  # exponentials continue as straight lines from here: a gradient of e^30, not infinity


def reverse_kl(log_u: Tensor) -> Tensor:
    """Return f'(u) = log u of f = u log u, the divergence of DPO."""
    return log_u


def forward_kl(log_u: Tensor) -> Tensor:
    """Return f'(u) = -1 / u of f = -log u."""
    return -_exp(-log_u)


def jensen_shannon(log_u: Tensor) -> Tensor:
    """Return f'(u) = log(2 u / (1 + u)) of f = u log u - (u + 1) log((u + 1) / 2)."""
    return math.log(2) + logsigmoid(log_u)


def alpha_divergence(log_u: Tensor, *, alpha: float = 0.5) -> Tensor:
    """Return f'(u) = (1 - u^-alpha) / alpha, alpha > 0: near 0 `reverse_kl`, at 1 `forward_kl` plus 1.

    Raises ConfigError for another alpha.
    """
    if not alpha > 0:
        raise ConfigError(f"expected alpha > 0, found {alpha}: use reverse_kl, the limit at 0")
    return (1 - _exp(-alpha * log_u)) / alpha


def dpo(
    batch: Batch, *, beta: float, divergence: Divergence = reverse_kl, strength: float | None = None
) -> tuple[Tensor, Metrics]:
    """Return the mean over problems of the mean over its pairs of  - log s(margin(better, worse)).

    With `strength`:  - p log s(margin(a, b)) - (1 - p) log s(margin(b, a)),  p = s(strength (log R(a) - log R(b))). The
    fixed point is at the top of this file. Raises ConfigError without a reference.
    """
    reward = batch.log_reward.double()
    lead = reward[:, None] - reward[None, :]
    same = (batch.group[:, None] == batch.group[None, :]).fill_diagonal_(False)
    label = (lead > 0).double() if strength is None else torch.sigmoid(strength * lead)
    label = torch.where(same, label, 0)
    slope = divergence(batch.log_ratio().sum(dim=1))
    margin = beta * (slope[:, None] - slope[None, :])
    problems = int(batch.group.max()) + 1
    loss, weight = (
        reward.new_zeros(problems).index_add(0, batch.group, rows.sum(dim=1))
        for rows in (torch.where(same, -label * logsigmoid(margin), 0), label)
    )
    better = same & (lead > 0)
    pairs = int(better.sum())
    return (loss / torch.where(weight > 0, weight, 1)).mean(), {
        "pairs": float(pairs),
        "pairs_in_order": float((better & (margin > 0)).sum()) / max(1, pairs),
        "margin": float(margin.detach()[better].mean()) if pairs else 0.0,
        "log_reward": reward.mean().item(),
        "log_ratio": batch.log_ratio().detach().sum(dim=1).mean().item(),
    }


def _exp(values: Tensor) -> Tensor:
    """Return exp, continued beyond STRAIGHT by its tangent."""
    return values.clamp(max=STRAIGHT).exp() * (1 + (values - STRAIGHT).clamp(min=0))
