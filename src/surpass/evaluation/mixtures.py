"""Mixtures of experts on finite domains: when the mean of several experts, sharpened, beats the best of them, exactly.

The theory of Transcendence (Zhang et al. 2024, arXiv 2406.11741) as functions. A learner that minimises cross-entropy
on labels of experts drawn uniformly learns their mean f; sampled at a low temperature it approaches the majority vote.
*Transcendence* is a reward, on the test inputs, strictly above that of the best expert.

Legend: K experts, X inputs, Y answers; f [X, Y] a conditional distribution; r [X, Y] the reward; p [X] the test inputs.
    R(f) = sum_x p(x) sum_y f(y|x) r(x, y)        A(f) = R(f) - max_k R(f_k), the advantage

Two ways to sharpen, both with the same limit, `vote` (the likeliest answer, uniform over ties):
    powers         f^(1/t) / sum          what sampling from logits at temperature t does; t = 1 is f itself
    exponentials   exp(f / t) / sum       the softmax of the probabilities, as the paper writes it; t = 1 is *not* f

Four propositions (known to us from a detailed summary of the paper, not from its text), as the tests check them on
random instances:
    1  A(f) <= 0, for R is linear and a mean is at most the maximum. Holds of `powers` at t = 1, not of `exponentials`.
    2  Where A(vote) > 0, every temperature below `bound` transcends; where A(vote) < 0, none below it does. So voting
       beats the best voter iff all low temperatures do, unless A(vote) = 0: then low temperatures may approach the vote
       from above and all of them transcend although the vote does not (`TIED`).
    3  One expert that is right but for noise, `noisy`: low temperatures transcend.
    4  Experts each right on a part of the inputs and uniform elsewhere, `complementary`, tested on two parts or more:
       low temperatures transcend.

Not here: what a network learns from finitely many labels (`experiments/linear_experts.py`), and chess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.errors import DataError

Array = NDArray[np.float64]
Sharpen = Callable[[Array, float], Array]  # of distributions [..., Y] and a temperature above 0
TIE = 1e-12  # answers whose probabilities differ by no more count as equally likely: sums round
_COLDEST = 1e-9  # the lowest temperature that `bound` names


@dataclass(frozen=True, eq=False)
class Instance:
    """Experts, what is rewarded, and on which inputs. Raises DataError for shapes or numbers that do not fit."""

    experts: Array  # [K, X, Y], each row a distribution
    reward: Array  # [X, Y]
    test: Array  # [X], a distribution

    def __post_init__(self) -> None:
        shapes = self.experts.shape, self.reward.shape, self.test.shape
        if self.experts.ndim != 3 or shapes[1:] != (shapes[0][1:], shapes[0][1:2]) or 0 in shapes[0]:
            raise DataError(f"expected experts [K, X, Y], reward [X, Y] and test [X], found shapes {shapes}")
        rows = (self.experts.reshape(-1, shapes[0][2]), self.test[None])
        if (
            any((row < 0).any() or not np.allclose(row.sum(-1), 1) for row in rows)
            or not np.isfinite(self.reward).all()
        ):
            raise DataError("expected distributions that sum to 1, none negative, and a finite reward")

    @property
    def mixture(self) -> Array:
        """Return the mean of the experts [X, Y]."""
        return np.asarray(self.experts.mean(0))

    def value(self, policy: Array) -> float:
        """Return R of a policy [X, Y]."""
        return float(self.test @ (policy * self.reward).sum(-1))

    @property
    def best(self) -> float:
        """Return R of the best expert."""
        return max(self.value(expert) for expert in self.experts)

    def advantage(self, policy: Array) -> float:
        """Return how far a policy [X, Y] is above the best expert."""
        return self.value(policy) - self.best


def instance(experts: ArrayLike, reward: ArrayLike, test: ArrayLike) -> Instance:
    """Return an instance from nested lists or arrays, as float64."""
    return Instance(*(np.asarray(one, dtype=np.float64) for one in (experts, reward, test)))


def powers(f: Array, temperature: float) -> Array:
    """Return f^(1/t), normalised: sampling from the logits of f at a temperature.

    >>> powers(np.array([0.3, 0.4, 0.3]), 0.1).round(2).tolist()
    [0.05, 0.9, 0.05]
    """
    _check(temperature)
    with np.errstate(divide="ignore"):
        return _softmax(np.log(f) / temperature)


def exponentials(f: Array, temperature: float) -> Array:
    """Return the softmax of f / t: the temperature acts on probabilities, so that it says little near 1.

    >>> exponentials(np.array([0.3, 0.4, 0.3]), 1.0).round(2).tolist()
    [0.32, 0.36, 0.32]
    """
    _check(temperature)
    return _softmax(f / temperature)


def vote(f: Array) -> Array:
    """Return all mass on the likeliest answers of each row [..., Y], uniform over ties.

    >>> vote(np.array([0.4, 0.2, 0.4])).tolist()
    [0.5, 0.0, 0.5]
    """
    top = f >= f.max(-1, keepdims=True) - TIE
    return np.asarray(top / top.sum(-1, keepdims=True))


def bound(case: Instance, sharpen: Sharpen) -> float:
    """Return a temperature below which the sign of the advantage is that of the vote; 0 where the vote ties.

    A proof, not a search over temperatures: both ways to sharpen keep ties and move mass to the likeliest answers as
    the temperature falls, so R(sharpened) differs from R(vote) by at most the spread of the reward times the mass that
    is elsewhere, which grows with the temperature and is below |A(vote)| from here down. (A lower bound of the true
    threshold; at most 1.)
    """
    lead = abs(case.advantage(vote(case.mixture)))
    top = vote(case.mixture) > 0
    spread = case.reward.max(-1) - case.reward.min(-1)

    def surely(temperature: float) -> bool:
        elsewhere = np.where(top, 0.0, sharpen(case.mixture, temperature)).sum(-1)
        return float(case.test @ (spread * elsewhere)) < lead

    if lead <= 1e-9 or not surely(_COLDEST):
        return 0.0
    low, high = _COLDEST, 1.0
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if surely(middle) else (low, middle)
    return low


def noisy(best: ArrayLike, noise: float) -> Array:
    """Return one expert [1, X, Y]: uniform with probability `noise`, otherwise as `best` [X, Y]."""
    right = np.asarray(best, dtype=np.float64)
    return np.asarray(noise / right.shape[-1] + (1 - noise) * right)[None]


def complementary(best: ArrayLike, part: Sequence[int]) -> Array:
    """Return one expert for each part [K, X, Y]: by `best` [X, Y] on the inputs of its part, uniform elsewhere."""
    right, parts = np.asarray(best, dtype=np.float64), np.asarray(part)
    own = parts == np.arange(max(part) + 1)[:, None]  # [K, X]
    return np.asarray(np.where(own[..., None], right, 1 / right.shape[-1]))


def optimal(reward: ArrayLike) -> Array:
    """Return the policy [X, Y] that answers uniformly among the answers of greatest reward."""
    found = np.asarray(reward, dtype=np.float64)
    top = found == found.max(-1, keepdims=True)
    return np.asarray(top / top.sum(-1, keepdims=True))


# R(vote) equals R of the first expert, and the second likeliest answer is better than the vote: every temperature below
# 1/2 or so transcends, and the vote does not.
TIED = instance(
    [[[0.4, 0.3, 0.15, 0.15]], [[0.4, 0.2, 0.21, 0.19]]],
    [[0.5, 1.0, 0.0, 0.0]],
    [1.0],
)


def _softmax(x: Array) -> Array:
    raised = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def _check(temperature: float) -> None:
    if not 0 < temperature < np.inf:
        raise DataError(f"expected a temperature above 0, found {temperature}; its limit at 0 is `vote`")
