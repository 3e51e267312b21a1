"""Imitation: likelihood of demonstrations, with a limit on confidence, or of the best of what was sampled.

Space X: token histories, one trajectory being one token sequence with its end markers.
Sources: maximum likelihood, as the SFT baseline of Proof Flow (Ho et al. 2024, arXiv 2410.13224, section 4); confidence
limited for pass@N ("direct coverage optimisation"), Chen et al. 2025 (arXiv 2502.07154); reward-ranked
fine-tuning, Dong et al. 2023 (arXiv 2304.06767), and expert iteration, Anthony et al. 2017 (arXiv 1705.08439).
Not here: which trajectories are demonstrations, and the stepwise form of the limit.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from surpass.errors import ConfigError
from surpass.objectives.batch import Batch, Metrics

RARE = -30.0  # log(n p) below which 1 - (1 - p)^n is n p to double precision
SURE = -1e-12  # log p above which a trajectory has no more to learn


def likelihood(
    batch: Batch, *, normalise: Literal["trajectory", "token"] = "trajectory", accepted_only: bool = True
) -> tuple[Tensor, Metrics]:
    """Return  - sum_i sum_t log P_F(token_it) / N  over the chosen rows i.

    N is the number of chosen rows ("trajectory": long proofs weigh more, the exact likelihood) or of their tokens
    ("token": comparable between lengths). `accepted_only` leaves the other rows out; False imitates them all (games of
    weak players, where defeats are data too). Fixed point: P_F is the empirical distribution of the chosen rows.
    Without a chosen row the loss is 0 and so is its gradient.
    """
    chosen = batch.mask & batch.accepted[:, None] if accepted_only else batch.mask
    rows, tokens = int(chosen.any(dim=1).sum()), int(chosen.sum())
    total = -batch.logp[chosen].double().sum()
    loss = total / max(1, rows if normalise == "trajectory" else tokens)
    return loss, {
        "nll_per_token": total.item() / max(1, tokens),
        "nll_per_trajectory": total.item() / max(1, rows),
        "chosen_rows": float(rows),
    }


def confidence_limited(batch: Batch, *, n: int = 16, accepted_only: bool = True) -> tuple[Tensor, Metrics]:
    """Return the mean over the chosen rows of  - log(1 - (1 - p)^n),  p = P_F(tau): the pass@n of exactly this proof.

    The gradient is that of -log p times  n p (1 - p)^(n-1) / (1 - (1 - p)^n):  1 for rare proofs, and near 0 from p of
    some 1 / n on, so what n samples find anyway is not made surer at the expense of the rest. n = 1 is `likelihood`.
    Fixed point: over demonstrations of one problem with frequencies q, q times that factor over p is the same for all
    of them: flatter than q, the more so the larger n. Without a chosen row the loss is 0. Raises ConfigError for n < 1.
    """
    if n < 1:
        raise ConfigError(f"confidence_limited: expected n >= 1 samples, found {n}")
    chosen = batch.accepted if accepted_only else torch.ones_like(batch.accepted)
    logp = batch.logp.double().sum(dim=1)[chosen].clamp(max=SURE)
    rare = logp + math.log(n) < RARE
    common = torch.where(rare, -1.0, logp)  # the branch not taken must not overflow: its gradient is multiplied by zero
    loss = -torch.where(rare, logp + math.log(n), _log1mexp(n * _log1mexp(common)))
    return loss.sum() / max(1, len(loss)), {
        "nll_per_trajectory": -logp.detach().sum().item() / max(1, len(loss)),
        "pass_at_n": (-loss.detach()).exp().sum().item() / max(1, len(loss)),
        "chosen_rows": float(len(loss)),
    }


def reward_ranked(batch: Batch, *, fraction: float = 0.25, accepted_only: bool = True) -> tuple[Tensor, Metrics]:
    """Return  - sum_i log P_F(tau_i) / N  over the N rows in the top `fraction` of log R among their problem's.

    Of n rows the first ceil(fraction n) are chosen, with all that tie with the last of them; `accepted_only` chooses
    among accepted rows alone, so that a problem where all failed teaches nothing. With fraction = 1 it is expert
    iteration. A reward maximiser when samples are drawn anew, with no unique fixed point: mass moves to the best
    trajectories that were found, in no set proportion. Without a chosen row the loss is 0. Raises ConfigError for a
    fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"reward_ranked: expected a fraction in (0, 1], found {fraction}")
    allowed = batch.accepted if accepted_only else torch.ones_like(batch.accepted)
    rivals = (batch.group[:, None] == batch.group[None, :]) & allowed[None, :]
    ahead = (rivals & (batch.log_reward[None, :] > batch.log_reward[:, None])).sum(dim=1)
    chosen = allowed & (ahead < (fraction * rivals.sum(dim=1)).ceil())
    rows = max(1, int(chosen.sum()))
    loss = -batch.logp[chosen].double().sum() / rows
    return loss, {
        "nll_per_trajectory": loss.item(),
        "chosen_rows": float(chosen.sum()),
        "chosen_log_reward": batch.log_reward[chosen].sum().item() / rows,
        "log_reward": batch.log_reward.mean().item(),
    }


def _log1mexp(values: Tensor) -> Tensor:
    """Return log(1 - exp(x)) for x < 0, without loss of digits at either end."""
    return torch.where(values > -math.log(2), torch.log(-torch.expm1(values)), torch.log1p(-torch.exp(values)))
