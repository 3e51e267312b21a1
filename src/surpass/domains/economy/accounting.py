"""Taxes and incentives as pure functions, with their accounts: who paid, who received, what it cost, how equal it left.

Harvest (arXiv 2410.08345). An agent's bracket follows from its income: what it ate in this step and the ten before.
    paid_i = scale * rate[bracket_i] * raw_i        received_i = sum_j paid_j / n
`scale` is 4: at a rate of 7/24 an apple leaves its eater nothing, at 1 it costs 17/7. Nothing is lost: amounts are
whole multiples of 2^-32, so that sums in float64 are exact, and the pool is shared out to the last of them.

Clean Up. Each agent is paid for what it did in a step, from outside: ate, cleaned, or neither.
    raw_i = 0.1 per apple, -1 for cleaning        reward_i = raw_i + rate[deed_i]
Escape Room: reward_i = raw_i + rate[place_i].

Welfare is the mean over agents of what was earned before taxes and incentives. Arrays are [..., agents]; rates are one
set for all, or one for each leading index. Not here: who decides on the rates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surpass.errors import ConfigError

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]
QUANTUM = 2.0**-32  # of money; 2^53 of them, two million apples, are still exact in float64
ATE, CLEANED, NEITHER = range(3)


@dataclass(frozen=True, slots=True)
class Brackets:
    """How income is taxed. Raises ConfigError, naming the field, for what is no bracket."""

    edges: tuple[float, ...] = (3.0, 5.0)  # income where the next bracket begins, ascending
    window: int = 10  # steps before this one whose income counts
    scale: float = 4.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.edges)) or list(self.edges) != sorted(set(self.edges)):
            raise ConfigError(f"edges: expected ascending numbers, found {self.edges}")
        if not isinstance(self.window, int) or self.window < 0:
            raise ConfigError(f"window: expected a whole number of 0 or more steps, found {self.window}")
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ConfigError(f"scale: expected a number of 0 or more, found {self.scale}")


@dataclass(frozen=True, slots=True)
class Tax:
    """What taxes did in some steps, all [..., agents]."""

    raw: Reals  # earned
    bracket: Whole
    paid: Reals
    received: Reals

    @property
    def reward(self) -> Reals:
        """What is left to each agent."""
        return self.raw - self.paid + self.received


@dataclass(frozen=True, slots=True)
class Incentive:
    """What incentives did in some steps, all [..., agents]."""

    raw: Reals  # earned, before incentives
    deed: Whole  # what was paid for: ATE, CLEANED, NEITHER, or a place
    received: Reals  # from outside: its sum is the cost

    @property
    def reward(self) -> Reals:
        """What each agent has of it."""
        return self.raw + self.received


@dataclass(frozen=True, slots=True)
class Account:
    """What some steps came to; arrays [..., agents], the rest [...]."""

    earned: Reals  # raw
    paid: Reals
    received: Reals
    welfare: Reals  # mean over agents of `earned`: what a policymaker maximises
    cost: Reals  # received, less what was paid: what came from outside
    gini_before: Reals  # of what was earned; NaN where it is not defined (`gini`)
    gini_after: Reals  # after taxes and incentives


def checked(rates: ArrayLike, high: float, count: int) -> Reals:
    """Return rates [..., count] if they are numbers from 0 to `high`; raises ConfigError that names the first wrong."""
    try:
        found = np.asarray(rates, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"rates: expected {count} numbers, found {rates!r}") from error
    if found.ndim < 1 or found.shape[-1] != count:
        raise ConfigError(f"rates: expected {count} numbers, found shape {found.shape}")
    wrong = ~((found >= 0) & (found <= high))  # NaN is neither
    if wrong.any():
        place = tuple(map(int, np.argwhere(wrong)[0]))
        name = ", ".join(map(str, place))
        raise ConfigError(f"rates[{name}]: expected a number from 0 to {high:g}, found {found[place]}")
    return found


def incomes(raw: ArrayLike, window: int) -> Reals:
    """Return the income of each agent at each step: what it earned then and in the `window` steps before [steps, ...].

    >>> incomes([[1, 0], [0, 0], [1, 0], [1, 0]], 1)[:, 0].tolist()
    [1.0, 1.0, 1.0, 2.0]
    """
    earned = _earned(raw)
    total = np.cumsum(earned, axis=0)
    total[window + 1 :] -= total[: -window - 1].copy()
    return total


def tax(raw: ArrayLike, income: ArrayLike, rates: ArrayLike, brackets: Brackets = Brackets()) -> Tax:
    """Tax what was earned and share it out. The transfers of each step sum to zero exactly.

    `raw` and `income` are [..., agents], `rates` [..., brackets], each from 0 to 1. Where the pool does not divide
    evenly the first agents receive 2^-32 more. Raises ConfigError for rates that cannot be, fewer than two agents, or
    numbers that are not finite.
    """
    earned, income = _earned(raw), _earned(income, "income")
    chosen = checked(rates, 1.0, len(brackets.edges) + 1)
    bracket = np.searchsorted(np.array(brackets.edges), income, side="right")
    rate = np.take_along_axis(np.broadcast_to(chosen, (*earned.shape[:-1], chosen.shape[-1])), bracket, axis=-1)
    units = np.round(brackets.scale * rate * earned / QUANTUM)  # whole numbers from here on
    pool, agents = units.sum(-1, keepdims=True), earned.shape[-1]
    share = np.floor_divide(pool, agents)
    share = share + (np.arange(agents) < pool - share * agents)
    return Tax(earned, bracket, units * QUANTUM, share * QUANTUM)


def pay_by_deed(
    ate: ArrayLike,
    cleaned: ArrayLike,
    rates: ArrayLike,
    *,
    apple: float = 0.1,
    cleaning: float = -1.0,
    one_cell: bool = False,
    high: float = 3.0,
) -> Incentive:
    """Pay agents of Clean Up for what they did [..., agents]; rates for eating, cleaning, neither, each to `high`.

    Who ate is paid for that, cleaning or not. With `one_cell` a beam counts as cleaning only where it cleaned exactly
    one cell: so the authors' code, where wider successes count as neither. Raises ConfigError as `tax` does.
    """
    apples, cells = _earned(ate, "ate"), _earned(cleaned, "cleaned")
    chosen = checked(rates, high, 3)
    cleans = cells == 1 if one_cell else cells > 0
    deed = np.where(apples > 0, ATE, np.where(cleans, CLEANED, NEITHER))
    raw = apple * apples + cleaning * (deed == CLEANED)
    return Incentive(raw, deed, _chosen(chosen, deed))


def pay_by_state(raw: ArrayLike, places: ArrayLike, rates: ArrayLike, *, high: float = 5.0) -> Incentive:
    """Pay agents of Escape Room for where they are [..., agents]; one rate for each place, each to `high`.

    The number of places is that of the rates. Raises ConfigError as `tax` does, and for a place without a rate.
    """
    where = np.asarray(places, np.int64)
    count = np.shape(rates)[-1] if np.ndim(rates) else 0
    chosen = checked(rates, high, max(1, count))
    if where.size and where.min() < 0:
        raise ConfigError(f"places: expected whole numbers from 0, found {where.min()}")
    if where.size and where.max() >= count:
        raise ConfigError(f"rates: expected one for each place, {where.max() + 1} at least, found {count}")
    return Incentive(_earned(raw), where, _chosen(chosen, where))


def account(steps: Tax | Incentive) -> Account:
    """Sum over the first axis, the steps of an episode [steps, ..., agents]."""
    earned, received = steps.raw.sum(0), steps.received.sum(0)
    paid = steps.paid.sum(0) if isinstance(steps, Tax) else np.zeros_like(earned)
    after = earned - paid + received
    return Account(earned, paid, received, earned.mean(-1), (received - paid).sum(-1), gini(earned), gini(after))


def gini(values: ArrayLike) -> Reals:
    """Return the Gini coefficient over the last axis: 0 all equal, (n - 1) / n one has it all.

    NaN where a value is negative or all are zero: no share can be told then, and 0 would mean equality.

    >>> gini([[1, 1, 1, 1], [0, 0, 0, 8]]).tolist()
    [0.0, 0.75]
    """
    found = np.asarray(values, np.float64)
    total = found.sum(-1)
    gaps = np.abs(found[..., :, None] - found[..., None, :]).sum((-1, -2))
    defined = (found >= 0).all(-1) & (total > 0)
    return np.where(defined, gaps / np.where(defined, 2 * found.shape[-1] * total, 1.0), np.nan)


def equality(values: ArrayLike) -> Reals:
    """Return 1 - gini * n / (n - 1): 1 all equal, 0 one has it all (arXiv 2004.13332); NaN as `gini`.

    Raises ConfigError for fewer than two agents.
    """
    agents = np.shape(values)[-1] if np.ndim(values) else 0
    if agents < 2:
        raise ConfigError(f"values: expected 2 or more agents [..., agents], found shape {np.shape(values)}")
    return np.asarray(1 - gini(values) * (agents / (agents - 1)), np.float64)


def _earned(values: ArrayLike, name: str = "raw") -> Reals:
    found = np.asarray(values, np.float64)
    if found.ndim < 1 or found.shape[-1] < 2:
        raise ConfigError(f"{name}: expected 2 or more agents [..., agents], found shape {found.shape}")
    if not np.isfinite(found).all():
        raise ConfigError(f"{name}: expected finite numbers, found {found[~np.isfinite(found)][0]}")
    return found


def _chosen(rates: Reals, deed: Whole) -> Reals:
    wide = np.broadcast_to(rates, (*deed.shape[:-1], rates.shape[-1]))
    return np.take_along_axis(wide, deed, axis=-1)
