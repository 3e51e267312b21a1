"""What a policymaker faces: a society that answers rates with metrics, and two that answer at once.

    rates -> society (agents that react to them, for a whole term) -> metrics

A `Society` is a function of rates and seed: a term begins afresh, so that policies can be compared and replayed. What
may differ from term to term, and be seen before rates are chosen, is its context. Societies whose agents learn take
seconds a term; `Surface` (a known optimum) and `SettledRoom` (agents who have settled) take none, and test principals.
Not here: societies of your own (`bring.py`), their use as a domain (`domain.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, SupportsFloat, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from surpass.domains.economy.accounting import Reals, Whole, pay_by_state
from surpass.domains.economy.escape_room import EscapeRoom, RoomRules, live_levers
from surpass.errors import ConfigError, VerifierError

Context = tuple[tuple[str, float], ...]  # what can be known of a term before its rates are chosen, by name
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class SocietyError(VerifierError):
    """A society that gave no metrics: its fault, not that of the rates. Becomes UNKNOWN, never a zero."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One number of a policy."""

    name: str
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.name or not 0 < self.high - self.low < math.inf:
            raise ConfigError(f"rate {self.name!r}: expected a name and low < high, found {self.low} to {self.high}")

    def holds(self, number: float) -> bool:
        """Whether a number is in range; NaN is not."""
        return self.low <= number <= self.high


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a term came to."""

    welfare: float  # what the policymaker maximises
    values: tuple[tuple[str, float], ...] = ()  # what else was measured, by name; all finite
    words: str = ""  # the same for readers of text, if more is to be said than the numbers


@dataclass(frozen=True, slots=True)
class Term:
    """A past term: the rates, what they led to, and what was known before they were chosen."""

    rates: tuple[float, ...]
    metrics: Metrics
    context: Context = ()


class Society(Protocol):
    """Anything that answers rates with metrics."""

    @property
    def rates(self) -> tuple[Rate, ...]:
        """What a policy must name, in order."""

    def context(self, seed: int) -> Context:
        """Return what can be known of a term before its rates are chosen; mostly nothing."""

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        """Return what a term of these rates comes to. Raises SocietyError where there is no telling."""


class Played(Protocol):
    """What many terms came to."""

    @property
    def metrics(self) -> tuple[Metrics, ...]:
        """One for each term, in the order asked for."""


@runtime_checkable
class Many(Protocol):
    """A society that plays many terms at once, faster than one by one."""

    def steps(self, rates: Sequence[Sequence[float]], seeds: Sequence[int]) -> Played:
        """Play a term of each policy with its seed."""


def terms(society: Society, rates: Sequence[Sequence[float]], seeds: Sequence[int]) -> tuple[Metrics, ...]:
    """Play a term of each policy with its seed: at once where the society can (`Many`), one after another otherwise."""
    if isinstance(society, Many):
        return society.steps(rates, seeds).metrics
    return tuple(society.step(one, seed=seed) for one, seed in zip(rates, seeds, strict=True))


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """A society whose welfare is another of its metrics: `JudgedBy(cleanup, "eaten")` counts apples, not their price.

    What it called its welfare is told as `own welfare`.
    """

    society: Society
    metric: str

    @property
    def rates(self) -> tuple[Rate, ...]:
        return self.society.rates

    def context(self, seed: int) -> Context:
        return self.society.context(seed)

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        return self._judged(self.society.step(rates, seed=seed))

    def steps(self, rates: Sequence[Sequence[float]], seeds: Sequence[int]) -> Judged:
        return Judged(tuple(map(self._judged, terms(self.society, rates, seeds))))

    def _judged(self, told: Metrics) -> Metrics:
        values = dict(told.values)
        if self.metric not in values:
            raise SocietyError(f"expected a metric {self.metric!r}, found {', '.join(values) or 'none'}")
        values["own welfare"] = told.welfare
        return Metrics(values.pop(self.metric), tuple(values.items()), told.words)


@dataclass(frozen=True, slots=True)
class Judged:
    """What many terms of a `JudgedBy` came to."""

    metrics: tuple[Metrics, ...]


def read(text: str, rates: Sequence[Rate]) -> tuple[float, ...] | str:
    """Return the rates that a text names or, as a string, why it names none.

    Numbers in order, apart by spaces, commas or semicolons, perhaps in brackets or between `$`; or a JSON object by
    names. Any other word, a number too many or one out of range refuses the whole.

    >>> read("$[0.5, 1]$", [Rate("tax"), Rate("fine", 0, 2)])
    (0.5, 1.0)
    >>> read('{"fine": 3, "tax": 0}', [Rate("tax"), Rate("fine", 0, 2)])
    'fine: expected a number from 0 to 2, found 3'
    """
    names = [rate.name for rate in rates]
    words: Sequence[str]
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text, parse_constant=str)
        except (ValueError, RecursionError) as error:
            return f"expected JSON, found {text[:80]!r}: {error}"
        if not isinstance(found, dict) or set(found) != set(names):
            return f"expected a JSON object of {', '.join(names)}, found {text[:80]!r}"
        words = [str(found[name]) for name in names]
    else:
        inside = text.split("$")[1] if text.count("$") == 2 else text
        words = re.split(r"[\s,;]+", inside.strip(" \t\n[]()*"))
    if len(words) != len(rates) or not all(map(NUMBER.fullmatch, words)):
        return f"expected {len(rates)} numbers ({', '.join(names)}), found {text[:80]!r}"
    return _ranged(tuple(map(float, words)), rates)


def write(rates: Sequence[float]) -> str:
    """Return rates as a text that `read` gives back exactly.

    >>> write((0.5, 1.0))
    '0.5 1.0'
    """
    return " ".join(repr(float(rate)) for rate in rates)


def checked(rates: Sequence[float], expected: Sequence[Rate]) -> tuple[float, ...]:
    """Return rates as floats; raises ConfigError that names the first that is out of range or no number."""
    wanted = f"rates: expected {len(expected)} numbers ({', '.join(rate.name for rate in expected)})"
    try:
        given = tuple(map(float, rates))
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{wanted}, found {str(rates)[:80]}") from error
    if len(given) != len(expected):
        raise ConfigError(f"{wanted}, found {len(given)}")
    found = _ranged(given, expected)
    if isinstance(found, str):
        raise ConfigError(found)
    return found


def _ranged(found: tuple[float, ...], rates: Sequence[Rate]) -> tuple[float, ...] | str:
    for number, rate in zip(found, rates, strict=True):
        if not rate.holds(number):
            return f"{rate.name}: expected a number from {rate.low:g} to {rate.high:g}, found {number:g}"
    return found


def metrics_of(told: object, source: str) -> Metrics:
    """Return metrics told as a welfare, or as a mapping of numbers with `welfare`, and perhaps `words`.

    Raises SocietyError for anything else, and where a number is not finite.
    """
    if isinstance(told, Metrics):
        told = {"welfare": told.welfare, **dict(told.values), "words": told.words}
    if not isinstance(told, Mapping):
        told = {"welfare": told}
    if "welfare" not in told:
        raise SocietyError(f"{source}: expected a 'welfare', found {', '.join(map(str, told)) or 'nothing'}")
    words, numbers = str(told.get("words", "")), dict[str, float]()
    for name, value in told.items():
        if name == "words":
            continue
        number = _number(value)
        if not math.isfinite(number):
            raise SocietyError(f"{source}: {name}: expected a finite number, found {_shown(value)}")
        numbers[" ".join(str(name).split())] = number  # a history tells a term in one line
    return Metrics(numbers.pop("welfare"), tuple(numbers.items()), words)


def _number(value: object) -> float:
    """Return a value as a number; NaN for what is none: a truth value, an array of several, a whole one too large."""
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of NumPy, pandas, Python and torch
        return math.nan


def _shown(value: object) -> str:
    try:
        return str(value)[:80]
    except ValueError:
        return "a whole number of thousands of digits"


@dataclass(frozen=True, slots=True)
class Surface:
    """A known response surface: welfare = peak - sum_ij q_ij (r_i - best_i)(r_j - best_j) + noise * N(0, 1).

    Rates run from 0 to 1. `surface(seed)` draws one whose best rates lie inside.
    """

    best: tuple[float, ...] = (0.3, 0.7)
    curvature: tuple[tuple[float, ...], ...] = ((4.0, 1.0), (1.0, 2.0))  # symmetric, positive definite
    peak: float = 1.0
    noise: float = 0.0

    @property
    def rates(self) -> tuple[Rate, ...]:
        return tuple(Rate(f"rate {index + 1}") for index in range(len(self.best)))

    def context(self, seed: int) -> Context:
        return ()

    def best_rates(self, seed: int) -> tuple[float, ...]:
        """Return the rates of greatest expected welfare, whatever the seed."""
        return self.best

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        away = np.subtract(checked(rates, self.rates), self.best)
        shock = self.noise * float(np.random.default_rng(seed).standard_normal()) if self.noise else 0.0
        return Metrics(float(self.peak - away @ np.array(self.curvature) @ away + shock))


def surface(seed: int, *, rates: int = 3, noise: float = 0.05) -> Surface:
    """Draw a surface: best rates from 0.1 to 0.9, curvatures from 1 to 10 along random axes."""
    chance = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(chance.standard_normal((rates, rates)))
    matrix = axes @ np.diag(np.exp(chance.uniform(0, math.log(10), rates))) @ axes.T
    best = tuple(chance.uniform(0.1, 0.9, rates).tolist())
    return Surface(best, tuple(map(tuple, ((matrix + matrix.T) / 2).tolist())), noise=noise)


def room_rates(rules: RoomRules, high: float) -> tuple[Rate, ...]:
    """Return the rates of Escape Room: an incentive for each place."""
    levers = [f"lever {index + 1}" for index in range(rules.levers)]
    return tuple(Rate(name, 0.0, high) for name in (*levers, "door", "start"))


def room_context(rules: RoomRules, seed: int) -> Context:
    """Return the context of Escape Room: which lever is live, from 1."""
    return (("live lever", float(live_levers(rules, [seed])[0] + 1)),)


@dataclass(frozen=True, slots=True)
class SettledRoom:
    """Escape Room with agents who have settled: each goes where its own episode pays best, given where the others go.

    They start at the start and revise in turn, in an order drawn from the seed, until nobody wants to move (or for
    `rounds`). Incentives are by place; the live lever is the context. Welfare is the sum of raw rewards, at most 140.
    Without incentives nobody opens the door. Not here: learning (agents who must find this out).
    """

    rules: RoomRules = field(default_factory=RoomRules)
    high: float = 5.0
    rounds: int = 20

    @property
    def rates(self) -> tuple[Rate, ...]:
        return room_rates(self.rules, self.high)

    def context(self, seed: int) -> Context:
        return room_context(self.rules, seed)

    def best_rates(self, seed: int) -> tuple[float, ...]:
        """Return rates with which the settled agents of a seed reach 140: something for standing at the live lever."""
        live = live_levers(self.rules, [seed])[0]
        return tuple(2.0 if place == live else 0.0 for place in range(self.rules.states))

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        paid = checked(rates, self.rates)
        order = np.random.default_rng(seed).permutation(self.rules.agents).tolist()
        places = np.full(self.rules.agents, self.rules.start)
        for _ in range(self.rounds):
            before = places.copy()
            for agent in order:
                tried = np.tile(places, (self.rules.states, 1))
                tried[:, agent] = np.arange(self.rules.states)
                worth = self._episodes(tried, paid, seed)[0][:, agent]
                if worth.max() > worth[places[agent]] + 1e-9:
                    places[agent] = int(worth.argmax())
            if np.array_equal(places, before):
                break
        rewards, raw, opened = self._episodes(places[None], paid, seed)
        told = {"welfare": raw.sum(), "cost": (rewards - raw).sum(), "door open": opened.mean()}
        told |= {f"at {rate.name}": (places == index).sum() for index, rate in enumerate(self.rates)}
        return metrics_of(told, "escape room")

    def _episodes(self, places: Whole, paid: Sequence[float], seed: int) -> tuple[Reals, Reals, NDArray[np.bool_]]:
        """Return rewards and raw rewards [plays, agents] and open doors [steps, plays] of staying at places."""
        room = EscapeRoom(self.rules, [seed] * len(places))
        turns = [room.step(places) for _ in range(self.rules.length)]
        steps = [pay_by_state(turn.raw, turn.places, paid, high=self.high) for turn in turns]
        rewards, raw = (np.sum([getattr(step, name) for step in steps], axis=0) for name in ("reward", "raw"))
        return rewards, raw, np.array([turn.open for turn in turns])
