"""Weighted draws without replacement, from log-weights: the one kind of chance that replay and curriculum share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random


def draw(log_weights: Sequence[float], n: int, *, rng: Random) -> list[int]:
    """Return up to `n` different indices, each next one in proportion to the weights of those that are left.

    By perturbing each log-weight with Gumbel noise and taking the `n` largest (Kool et al. 2019, arXiv 1903.06059), so
    weights need no sum and may be as small as they like; equal ones draw uniformly. A weight of zero (-inf) is drawn
    last. Uses one number of `rng` for each weight, whatever `n`.
    """
    noisy = [(weight + _gumbel(rng), index) for index, weight in enumerate(log_weights)]
    return [index for _, index in sorted(noisy, key=lambda one: -one[0])[:n]]


def _gumbel(rng: Random) -> float:
    return -math.log(max(rng.expovariate(1.0), 5e-324))  # the draw 0 has a chance of 2^-53
