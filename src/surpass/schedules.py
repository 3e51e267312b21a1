"""Schedules: numbers that change with the training step, and with nothing else, so that a resumed run needs no memory.

A schedule is any function of the step (0 is the first); the three here are values: they compare, print and pickle.
Not here: the learning rate (`recipe.warmth`), and what a number is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from surpass.errors import ConfigError

Schedule = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Constant:
    """The same number at every step."""

    value: float

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Linear:
    """From `start` at step 0 to `end` at step `steps`, then `end`.

    >>> [Linear(0.0, 1.0, 4)(step) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _check(self.steps)

    def __call__(self, step: int) -> float:
        return _between(self.start, self.end, step / self.steps)


@dataclass(frozen=True, slots=True)
class Cosine:
    """From `start` at step 0 to `end` at step `steps` along half a cosine, slow at both ends, then `end`.

    >>> [round(Cosine(1.0, 0.0, 4)(step), 3) for step in (0, 1, 2, 4, 9)]
    [1.0, 0.854, 0.5, 0.0, 0.0]
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _check(self.steps)

    def __call__(self, step: int) -> float:
        return _between(self.start, self.end, 0.5 - 0.5 * math.cos(math.pi * min(1.0, step / self.steps)))


def _between(start: float, end: float, share: float) -> float:
    return end if share >= 1 else start + (end - start) * share  # both ends exactly


def _check(steps: int) -> None:
    if steps < 1:
        raise ConfigError(f"expected a schedule over at least one step, found {steps}; use Constant for none")
