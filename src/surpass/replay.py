"""The replay buffer: the best distinct trajectories of each problem, to be learned from again, drawn as one prefers.

Source: Proof Flow (Ho et al. 2024, arXiv 2410.13224) and its code: per problem at most `capacity` trajectories, the
lowest log R leaves first; exact duplicates are rejected; of near duplicates (edit distance of the text below
`tolerance` times the sum of both lengths, there 0.25) the one of higher log R stays. By default none count as near: a
share of the length makes `auto.` and `eauto.`, and most short solutions, exclude each other. All that has a reward is
stored, failures and partial credit too: they teach a balance objective what to avoid, and leave first.
Preferring high rewards: Shen et al. 2023 (arXiv 2305.07170); preferring recent arrivals, which are closer to what the
policy does now: Bartoldson et al. 2025 (arXiv 2503.18929).
Not here: when to replay (`train.py`), and whose word is enough to be let in (`admission.py`).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from surpass.core import Trajectory
from surpass.drawing import draw
from surpass.errors import ConfigError
from surpass.evaluation.diversity import edit_distance
from surpass.objectives.batch import Metrics
from surpass.store import trajectory_from_json, trajectory_to_json

Preference = Callable[[Sequence[float]], Sequence[float]]  # log R in order of arrival -> log-weights of a draw


class Memory(Protocol):
    """What the loop asks of a buffer: `Replay`, or one behind a door."""

    def add(self, trajectory: Trajectory, log_reward: float) -> object:
        """Offer a trajectory."""

    def settle(self, step: int) -> Metrics:
        """Do what is due after `step` steps; return what to record."""

    def draw(self, key: str, n: int, *, rng: random.Random) -> list[Trajectory]:
        """Return up to `n` different trajectories of one problem."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def uniformly(log_rewards: Sequence[float]) -> list[float]:
    """Prefer none."""
    return [0.0] * len(log_rewards)


def by_reward(log_rewards: Sequence[float], *, alpha: float = 1.0) -> list[float]:
    """Draw in proportion to R^alpha; with alpha = 0 uniformly."""
    return [alpha * value for value in log_rewards]


def by_recency(log_rewards: Sequence[float], *, lifetime: float = 10.0) -> list[float]:
    """Draw in proportion to exp(-age / lifetime), age being the number of stored ones that arrived later."""
    return [-age / lifetime for age in reversed(range(len(log_rewards)))]


def jointly(log_rewards: Sequence[float], *, preferences: Sequence[Preference]) -> list[float]:
    """Multiply the weights of several preferences."""
    return [math.fsum(logs) for logs in zip(*(prefer(log_rewards) for prefer in preferences), strict=True)]


class Replay:
    """Trajectories by problem key, with their log-rewards at the time."""

    def __init__(self, *, capacity: int = 50, tolerance: float = 0.0, prefer: Preference = uniformly) -> None:
        if capacity < 1 or not 0 <= tolerance <= 1:
            found = f"capacity={capacity}, tolerance={tolerance}"
            raise ConfigError(f"Replay: expected capacity >= 1 and 0 <= tolerance <= 1, found {found}")
        self.capacity, self.tolerance, self.prefer = capacity, tolerance, prefer
        self._entries: dict[str, list[tuple[float, Trajectory]]] = {}  # in order of arrival

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def stored(self, key: str) -> list[tuple[float, Trajectory]]:
        """Return (log R, trajectory) of one problem, in order of arrival."""
        return list(self._entries.get(key, ()))

    def add(self, trajectory: Trajectory, log_reward: float) -> bool:
        """Offer a trajectory; return whether it was kept."""
        entries = self._entries.get(trajectory.problem.key, [])
        if any(trajectory.actions == kept.actions for _, kept in entries):
            return False
        near = [i for i, (_, kept) in enumerate(entries) if self._near(_text(trajectory), _text(kept))]
        if any(entries[i][0] >= log_reward for i in near):
            return False
        entries = [entry for i, entry in enumerate(entries) if i not in near]
        if len(entries) == self.capacity:
            lowest = min(range(len(entries)), key=lambda i: entries[i][0])  # the oldest among equals
            if entries[lowest][0] >= log_reward:
                return False
            del entries[lowest]
        self._entries[trajectory.problem.key] = [*entries, (log_reward, trajectory)]
        return True

    def settle(self, step: int) -> Metrics:
        """Return the size: nothing waits here."""
        del step
        return {"replay_size": float(len(self))}

    def draw(self, key: str, n: int, *, rng: random.Random) -> list[Trajectory]:
        """Return up to `n` different trajectories of one problem, without replacement, as preferred."""
        entries = self._entries.get(key, [])
        return [entries[index][1] for index in draw(self.prefer([r for r, _ in entries]), n, rng=rng)]

    def state_dict(self) -> dict[str, Any]:
        """Return the content as strings and numbers."""
        rows = [(r, trajectory_to_json(t)) for entries in self._entries.values() for r, t in entries]
        return {"entries": json.dumps(rows, default=dict)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the content by that of `state_dict`."""
        self._entries = {}
        for log_reward, row in json.loads(state["entries"]):
            trajectory = trajectory_from_json(row)
            self._entries.setdefault(trajectory.problem.key, []).append((log_reward, trajectory))

    def _near(self, a: str, b: str) -> bool:
        limit = self.tolerance * (len(a) + len(b))
        return abs(len(a) - len(b)) < limit and edit_distance(a, b) < limit  # the first is a cheap lower bound


def _text(trajectory: Trajectory) -> str:
    return "\n".join(trajectory.actions)
