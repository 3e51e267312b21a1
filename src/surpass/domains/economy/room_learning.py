"""Escape Room whose agents learn anew under each policy: unshared networks, policy gradient after every episode.

    terms = LearningRoom().steps([(2, 0, 0, 0, 0)] * 8, seeds=range(8))      # 8 terms at once
    terms.returns                                                            # how they learned [2000, 8]

A term, as in Large Legislative Models (arXiv 2410.08345): five agents with fresh networks of their own learn for 2000
episodes of five steps from raw rewards and incentives, and are watched in one more. Welfare is the sum of what they
earn there before incentives, at most 140. A term depends on its rates and its seed alone, whatever else is in the
batch. Learning is compiled (`room_kernel.py`, which has the equations). Needs the extra `economy`.
Not here: agents who have settled (`society.SettledRoom`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from surpass.bounds import at_least
from surpass.domains.economy import chance
from surpass.domains.economy.accounting import account, pay_by_state
from surpass.domains.economy.escape_room import RoomRules, live_levers
from surpass.domains.economy.inside import RoomInside
from surpass.domains.economy.room_agents import HIDDEN, fresh
from surpass.domains.economy.society import Context, Metrics, Rate, checked, metrics_of, room_context, room_rates
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class PolicyGradient:
    """How agents learn."""

    lr: float = 1e-3  # of Adam
    gamma: float = 0.998
    entropy: float = 0.025

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"lr: expected a number above 0, found {self.lr}")
        if not 0 <= self.gamma <= 1:
            raise ConfigError(f"gamma: expected 0 to 1, found {self.gamma}")
        if not (math.isfinite(self.entropy) and self.entropy >= 0):
            raise ConfigError(f"entropy: expected a number of 0 or more, found {self.entropy}")


@dataclass(frozen=True, slots=True)
class RoomTerms:
    """What terms of S policies came to."""

    returns: NDArray[np.float32]  # [episodes, S] raw rewards of all agents in each episode of learning
    metrics: tuple[Metrics, ...]  # [S] of the episodes watched
    seconds: float


@dataclass(frozen=True)
class LearningRoom:
    """Escape Room as a `Society` of learning agents; rates are incentives from 0 to `high`, one for each place."""

    rules: RoomRules = field(default_factory=RoomRules)
    episodes: int = 2000  # of learning, in each term
    watched: int = 1  # episodes that count
    how: PolicyGradient = PolicyGradient()
    high: float = 5.0
    threads: int | None = None  # None: as many as this process may use

    def __post_init__(self) -> None:
        at_least(self, episodes=1, watched=1)
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads: expected 1 or more, found {self.threads}")

    @property
    def rates(self) -> tuple[Rate, ...]:
        return room_rates(self.rules, self.high)

    @property
    def environment_steps(self) -> int:
        """How many steps of a game one term plays."""
        return (self.episodes + self.watched) * self.rules.length

    def context(self, seed: int) -> Context:
        return room_context(self.rules, seed)

    def inside(self, populations: int) -> RoomInside:
        """Return it as a principal sees it that differentiates through learning."""
        gamma, entropy = self.how.gamma, self.how.entropy
        return RoomInside(self.rules, self.rates, populations=populations, gamma=gamma, entropy=entropy)

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        return self.steps([rates], [seed]).metrics[0]

    def steps(self, rates: Sequence[Sequence[float]], seeds: Sequence[int]) -> RoomTerms:
        """Play a term of each policy with its seed, spread over threads."""
        if len(rates) != len(seeds) or not seeds:
            raise ConfigError(f"seeds: expected one for each of {len(rates)} policies, found {len(seeds)}")
        chosen, began = [checked(one, self.rates) for one in rates], perf_counter()
        thetas = fresh(self.rules, [derive_seed(seed, "networks") for seed in seeds]).numpy()
        returns = np.zeros((len(seeds), self.episodes), np.float32)
        with ThreadPoolExecutor(self.threads or len(os.sched_getaffinity(0))) as pool:
            metrics = tuple(pool.map(self._term, chosen, seeds, thetas, returns))
        return RoomTerms(np.ascontiguousarray(returns.T), metrics, perf_counter() - began)

    def _term(
        self, rates: Sequence[float], seed: int, thetas: NDArray[np.float32], returns: NDArray[np.float32]
    ) -> Metrics:
        """Train the networks in place, write what each episode returned, and watch."""
        from surpass.domains.economy.room_kernel import episode, train

        rules, how = self.rules, self.how
        live, key = int(live_levers(rules, [seed])[0]), np.uint64(chance.key_of(seed))
        train(
            thetas,
            np.array(rates, np.float32),
            key,
            live,
            rules.needed,
            (self.episodes, rules.length, how.lr, how.gamma, how.entropy),
            returns,
        )
        shape = (rules.length, rules.agents)
        places = np.full((self.watched, rules.length + 1, rules.agents), rules.start, np.int64)
        raw = np.zeros((self.watched, *shape), np.float32)
        room = np.zeros((*shape, 2, HIDDEN), np.float32), np.zeros((*shape, rules.states), np.float32)
        for one in range(self.watched):
            episode(thetas, key, self.episodes + one, live, rules.needed, (places[one], raw[one], *room))
        return self._told(raw, places[:, 1:], rates, live)

    def _told(self, raw: NDArray[np.float32], places: NDArray[np.int64], rates: Sequence[float], live: int) -> Metrics:
        """Return the metrics of episodes [watched, steps, agents]; means over episodes, and for places over steps."""
        summed = account(pay_by_state(raw, places, rates, high=self.high))
        opened = ((places == live).sum(-1) >= self.rules.needed).mean()
        told = {"welfare": summed.earned.sum() / self.watched, "cost": summed.cost.sum() / self.watched}
        told |= {"door open": opened}
        told |= {f"at {rate.name}": (places == index).sum(-1).mean() for index, rate in enumerate(self.rates)}
        return metrics_of({name: float(value) for name, value in told.items()}, "escape room")
