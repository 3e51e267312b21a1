"""Supervised likelihood: the baseline of every study, and the warm start of the others.

Space X: token histories, one trajectory being one token sequence with its end markers.
Source: maximum likelihood; as the SFT baseline of Proof Flow (Ho et al. 2024, arXiv 2410.13224, section 4), the sum of
-log P_F over the tokens of a human proof.
Not here: which trajectories are demonstrations. On a sampled batch the accepted rows give reward-ranked fine-tuning.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from surpass.objectives.batch import Batch, Metrics


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
