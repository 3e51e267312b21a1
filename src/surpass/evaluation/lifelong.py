"""What learning one task after another keeps and gives: stability, backward transfer, plasticity.

    R [stages, tasks]   performance on task j after the i-th task was learned; as many stages as tasks, in that order

    forgetting      mean over j < k - 1 of  max_{i < k - 1} R[i, j] - R[k - 1, j]     FM (Chaudhry et al. 2018)
    backward        mean over i > j of  R[i, j] - R[j, j]                             EBWT (Diaz-Rodriguez et al. 2018)
    resilience      min_i a_i / max_i a_i,   a_i = mean over j <= i of R[i, j]        CFR; of shares only, else 1
    windowed        the largest fall (forgetting) or rise (plasticity) of a_i
                    between two of w stages in a row                                  WF, WP (De Lange et al. 2023)
    incremental     mean over i > 0 of  R[i, i] - R[i - 1, i - 1]                     IP: new tasks go better each time
    plasticity      mean over i > 0 of  R[i, i] - R[i - 1, i]                         what a task's own lessons add

All but the last are those of LeanAgent (Kumarappan et al. 2025, arXiv 2410.06209, section 4.3 and appendix A.4), by
its text: of recall there, over repositories, w = 5, and IP of validation sets. The numbers of its table 4 follow a
script that counts four of them otherwise: of the recalls of its 14 repositories the definitions here make CFR 0.88 and
IP 1.02, as printed there, but EBWT 1.38 (there 1.21, each stage taken one too early), FM 0.48 (0.85, highest over all
tasks instead of one), WF 0.85 (0.18, from the sixth stage on) and WP 3.49 (2.47, a mean of rises, not the largest).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.errors import DataError


def lifelong(table: ArrayLike, *, window: int = 5) -> dict[str, float]:
    """Return all measures of R [stages, tasks]. Raises DataError unless it is square, finite and has two tasks.

    >>> lifelong([[0.5, 0.0], [0.3, 0.4]])["backward"], lifelong([[0.5, 0.0], [0.3, 0.4]])["forgetting"]
    (-0.2, 0.2)
    """
    found = np.asarray(table, dtype=np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or len(found) < 2 or not np.isfinite(found).all():
        raise DataError(f"expected finite R [k, k] with k >= 2, found shape {found.shape}")
    k, last = len(found), len(found) - 1
    seen = np.array([found[i, : i + 1].mean() for i in range(k)])  # a_i
    best = [found[:last, j].max() for j in range(last)]
    return {
        "forgetting": round(float(np.mean([best[j] - found[last, j] for j in range(last)])), 12),
        "backward": round(float(np.mean([found[i, j] - found[j, j] for i, j in earlier(k)])), 12),
        "incremental": round(float(np.mean(np.diff(np.diagonal(found)))), 12),
        "plasticity": round(float(np.mean([found[i, i] - found[i - 1, i] for i in range(1, k)])), 12),
        "resilience": float(seen.min() / seen.max()) if seen.min() >= 0 < seen.max() else 1.0,
        "windowed_forgetting": _steepest(-seen, window),
        "windowed_plasticity": _steepest(seen, window),
        "final": float(found[last].mean()),
    }


def earlier(tasks: int) -> list[tuple[int, int]]:
    """Return the pairs (stage, task) in which a task is measured after later ones were learned.

    >>> earlier(3)
    [(1, 0), (2, 0), (2, 1)]
    """
    return [(i, j) for i in range(1, tasks) for j in range(i)]


def _steepest(values: NDArray[np.float64], window: int) -> float:
    """Return the largest rise between two stages less than `window` apart; 0 where there is none."""
    rises = [values[b] - values[a] for a in range(len(values)) for b in range(a + 1, min(a + window, len(values)))]
    return float(max([0.0, *rises]))
