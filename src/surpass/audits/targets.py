"""What theory says each objective converges to, computed exactly on a listed space.

Legend: as in `spaces.py`; R the reward, q the target, V(s) and Q(s, a) the expected log R from a state and from an
action in it under q. Each function says which docstring of `objectives/` promises its target.
Not here: what has no unique fixed point; such objectives are measured against the posterior, and nothing is promised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surpass.audits.spaces import Space
from surpass.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A distribution over a space, and the log Z that the objective learns with it; None where it learns none."""

    log_q: Tensor  # [N]
    log_z: float | None = None


def posterior(space: Space, *, beta: float, relative: bool = True, conditional: bool = False) -> Target:
    """Return p_ref R^beta / Z (R^beta / Z without `relative`), as the balance family promises.

    `conditional`: over ended actions alone, the fixed point of `modified_subtb`. It says nothing of actions that are
    cut at the limit, so they may take any share, and no log Z is promised.
    """
    weight = beta * space.log_reward + (space.log_ref.sum(dim=1) if relative else 0.0)
    if conditional:
        return Target(weight.masked_fill(~space.ended, -torch.inf).log_softmax(0))
    return Target(weight.log_softmax(0), float(weight.logsumexp(0)))


def length_weighted(space: Space, *, beta: float, relative: bool = True) -> Target:
    """Return p_ref exp(|x| (beta log R - log Z)), the fixed point of `flowrl`, with its log Z."""
    length = torch.tensor([len(tokens) for tokens in space.tokens], dtype=torch.float64)
    base = space.log_ref.sum(dim=1) if relative else torch.zeros_like(length)

    def log_q(log_z: float) -> Tensor:
        return base + length * (beta * space.log_reward - log_z)

    far = float((beta * space.log_reward).abs().max()) + math.log(len(length)) + 1
    log_z = bisect(lambda z: float(log_q(z).logsumexp(0)), -far, far)
    return Target(log_q(log_z), log_z)


def group_relative(space: Space, *, kl: float, n: int) -> Target:
    """Return the fixed point of `grpo` with a KL term, scale="none", lengths="sum" and groups of n, token by token:

        q(a | s) = p_ref(a | s) k / (k + V(s) - Q(s, a)),   k = kl n / (n - 1),   summing to 1 in every state.

    For trajectories of one token it is the one that `grpo` states. In general: where the expected gradient of a logit
    vanishes, visits to s cancel, and q(a | s) (Q(s, a) - V(s)) / k = q(a | s) - p_ref(a | s).
    """
    log_q = torch.zeros(len(space.leaves), dtype=torch.float64)
    tokens, rows = space.tokens, list(range(len(space.leaves)))
    k = kl * n / (n - 1)

    def solve(rows: Sequence[int], depth: int) -> float:
        """Fill `log_q` below a state and return its V."""
        if len(rows) == 1 and len(tokens[rows[0]]) == depth:
            return float(space.log_reward[rows[0]])
        after: dict[int, list[int]] = {}
        for row in rows:
            if len(tokens[row]) == depth:
                raise DataError(f"expected no element to begin another, found {tokens[row]}: list whole trajectories")
            after.setdefault(tokens[row][depth], []).append(row)
        log_ref = torch.stack([space.log_ref[some[0], depth] for some in after.values()])
        q = torch.tensor([solve(some, depth + 1) for some in after.values()], dtype=torch.float64)
        top = float(q.max())

        def chances(level: float) -> Tensor:
            return log_ref.exp() * k / (level - q)

        level = bisect(lambda x: float(chances(x).sum()) - 1, top, top + k + 1e-9)  # k + V(s)
        log_p = chances(level).log().log_softmax(0)
        for some, value in zip(after.values(), log_p, strict=True):
            log_q[some] += value
        return float((log_p.exp() * q).sum())

    solve(rows, 0)
    return Target(log_q)


def demonstrated(counts: Tensor) -> Target:
    """Return the distribution of demonstrations, counted [N]: the fixed point of `likelihood`."""
    return Target((counts.double() / counts.sum()).log())


def limited(counts: Tensor, *, n: int) -> Target:
    """Return the fixed point of `confidence_limited` for demonstrations, counted [N].

    With f their frequencies and h(q) = n (1 - q)^(n-1) / (1 - (1 - q)^n), f h(q) is the same for all of them.
    """
    shares = (counts.double() / counts.sum())[counts > 0]

    def chance(share: float, level: float) -> float:
        return bisect(lambda q: share * _confidence(q, n) - level, 1e-15, 1.0)

    def total(log_level: float) -> float:
        return sum(chance(share, math.exp(log_level)) for share in distinct) - 1

    distinct = shares.tolist()
    if len(distinct) == 1:
        return demonstrated(counts)
    level = math.exp(bisect(total, -60.0, 60.0))
    log_q = torch.full((len(counts),), -torch.inf, dtype=torch.float64)
    log_q[counts > 0] = torch.tensor([chance(share, level) for share in distinct], dtype=torch.float64).log()
    return Target(log_q)


def _confidence(q: float, n: int) -> float:
    if q >= 1:
        return 0.0 if n > 1 else 1.0
    found = -math.expm1(n * math.log1p(-q))
    return n * (1 - q) ** (n - 1) / found


def bisect(function: Callable[[float], float], low: float, high: float, *, halvings: int = 200) -> float:
    """Return where a falling function crosses zero between `low` and `high`; the end that is nearer if it does not."""
    for _ in range(halvings):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2
