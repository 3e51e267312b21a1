"""A space X listed in full, and how far a policy on it is from a target: sums, no samples.

Legend: N elements of X, T the most tokens of one, p the policy, q the target, both over X.
    total variation   sum_x |p(x) - q(x)| / 2; what X does not list is one element more, on either side
    coverage          the mean over solutions x of 1 - (1 - p(x))^k: what k samples are expected to find of them
    correlation       Pearson's, over X with equal weights, of log p (less log p_ref where asked) with log R
    elsewhere         the mass of all that earns no more than the floor of the reward
Not here: targets (`targets.py`), spaces (`tasks.py`, `words.py`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surpass.core import Trainable, Trajectory
from surpass.errors import DataError
from surpass.objectives.batch import Reward, collate

SAMPLES = 256  # k of the coverage


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Everything that can be done in a problem, each once, with what the reference and the reward make of it."""

    leaves: tuple[Trajectory, ...]  # N
    log_ref: Tensor  # [N, T] log p_ref of each token, zeros behind the last
    log_reward: Tensor  # [N]
    solution: Tensor  # [N] bool
    ended: Tensor  # [N] bool, False for an action that was cut at the limit of tokens
    floor: float  # the log-reward of everything that is wrong

    @property
    def tokens(self) -> list[tuple[int, ...]]:
        """The tokens of each element; no two elements have the same."""
        return [tuple(token for step in leaf.steps for token in step.proposal.tokens) for leaf in self.leaves]


@dataclass(frozen=True, slots=True)
class Measures:
    """How a policy stands to a target on one space."""

    total_variation: float
    coverage: float
    coverage_target: float  # the same of the target itself: no policy at the target finds more
    correlation: float | None  # None where log p or log R does not vary, or is not finite
    elsewhere: float
    elsewhere_target: float


def listed(
    leaves: Sequence[Trajectory],
    reference: Trainable,
    reward: Reward,
    *,
    floor: float,
    ended: Sequence[bool] | None = None,
) -> Space:
    """Return the space of these trajectories. Raises DataError unless the reference gives them a mass of one."""
    batch = collate(reference, leaves, reward, micro_batch=4096)
    log_ref = batch.logp.detach().double()
    total = float(log_ref.sum(dim=1).exp().sum())
    if not abs(total - 1) < 1e-3:
        raise DataError(f"expected every element of the space, found {len(leaves)} with a mass of {total:.4f} of 1")
    whole = torch.ones(len(leaves), dtype=torch.bool) if ended is None else torch.tensor(ended)
    return Space(tuple(leaves), log_ref, batch.log_reward.double(), batch.accepted, whole, floor)


def exact(policy: Trainable, space: Space) -> Tensor:
    """Return log p of every element of the space [N], without gradient."""
    with torch.no_grad():
        return policy.logp(space.leaves).double().sum(dim=1)


def total_variation(log_p: Tensor, log_q: Tensor, classes: Sequence[Hashable] | None = None) -> float:
    """Return the total variation between p and q [N]; mass that is missing from 1 is one element more.

    With `classes`, elements of the same class are one, whose mass is their sum: R times the number of ways to write it,
    where q is proportional to R.
    """
    p, q = log_p.exp(), log_q.exp()
    if classes is not None:
        row = {name: i for i, name in enumerate(dict.fromkeys(classes))}
        index = torch.tensor([row[name] for name in classes])
        p, q = (torch.zeros(len(row)).to(one).index_add(0, index, one) for one in (p, q))
    missing = float(p.sum() - q.sum())
    return (float((p - q).abs().sum()) + abs(missing)) / 2


def coverage(log_p: Tensor, solution: Tensor, *, samples: int = SAMPLES) -> float:
    """Return the expected share of the solutions among so many samples of p; 1 where there is no solution."""
    p = log_p[solution].exp().clamp(max=1.0)
    return float((1 - (1 - p) ** samples).mean()) if len(p) else 1.0


def correlation(left: Tensor, right: Tensor) -> float | None:
    """Return Pearson's correlation; None where one side does not vary or is not finite."""
    pair = torch.stack([left, right])
    if not torch.isfinite(pair).all() or bool((pair.std(dim=1) < 1e-9).any()):
        return None
    return float(torch.corrcoef(pair)[0, 1])


def measure(
    space: Space,
    log_p: Tensor,
    log_q: Tensor,
    *,
    relative: bool,
    conditional: bool = False,
    classes: Sequence[Hashable] | None = None,
) -> Measures:
    """Return how p stands to q, both [N] over the space; `relative` takes log p_ref off for the correlation.

    `conditional` looks at ended actions alone, p and q each divided by its mass there.
    """
    earned = log_p - space.log_ref.sum(dim=1) if relative else log_p
    wrong = space.log_reward <= space.floor
    if conditional:
        log_p, log_q = (one.masked_fill(~space.ended, -torch.inf) for one in (log_p, log_q))
        log_p, log_q = log_p.log_softmax(0), log_q.log_softmax(0)
    return Measures(
        total_variation=total_variation(log_p, log_q, classes),
        coverage=coverage(log_p, space.solution),
        coverage_target=coverage(log_q, space.solution),
        correlation=correlation(earned[space.ended], space.log_reward[space.ended]),
        elsewhere=float(log_p[wrong].exp().sum()),
        elsewhere_target=float(log_q[wrong].exp().sum()),
    )
