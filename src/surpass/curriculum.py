"""A curriculum: problems drawn by how hard they have been so far, so that steps go where there is something to learn.

    after a step    estimate(x) <- memory * estimate(x) + (1 - memory) * mean over its fresh trajectories of a statistic
    before one      problems are drawn without replacement, with log-weight  weigh(estimate(x));  without an estimate,
                    unseen - log(1 + draws):  what never gives a verdict does not stay in front

Statistics of a batch, one number for each trajectory:
    success     1 if accepted, else 0: its mean estimates the solve rate
    log_z       beta log R + log p_ref - log P_F: its mean is minus the mean residual of log-variance balance, so it is
                log Z(x) once balanced, and a lower bound before (on the policy's own trajectories). Relative to a
                reference, log Z is the log of the mean R^beta of its attempts: 0 is easy, beta log R(failure) hopeless
    learned     log Z(x) as a head says it

A draw depends on recorded numbers and the step's own chance alone, so a resumed run draws what it would have drawn.
Source of `learnable`: variance of success as what can be learned, Tzannetos et al. 2023 (arXiv 2304.12877) and
Rutherford et al. 2024 (arXiv 2408.15099). Not here: new problems; these are drawn from a fixed set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from surpass.core import Problem, Trajectory
from surpass.drawing import draw
from surpass.errors import ConfigError
from surpass.objectives.batch import Batch, Metrics, needed

Statistic = Callable[[Batch], Tensor]  # one number for each trajectory [B]
Weigh = Callable[[float], float]  # an estimate -> the log-weight of its problem


def success(batch: Batch) -> Tensor:
    """Return 1 for an accepted trajectory, 0 for another [B]."""
    return batch.accepted.double()


def log_z(batch: Batch, *, beta: float, relative: bool = True) -> Tensor:
    """Return beta log R + log P_B - log P_F [+ log p_ref] [B]. Raises ConfigError as the objective would."""
    target = beta * batch.log_reward.double() + batch.log_pb.double()
    return (target - batch.log_ratio(relative=relative).sum(dim=1)).detach()


def learned(batch: Batch) -> Tensor:
    """Return the head's log Z [B]. Raises ConfigError where there is none."""
    return needed(batch.log_z, "log_z", "the statistic `learned`").detach().double()


def learnable(rate: float, *, floor: float = 0.05) -> float:
    """Return log max(4 p (1 - p), floor): most for a problem solved half of the time, never nothing."""
    return math.log(max(4 * rate * (1 - rate), floor))


def near(estimate: float, *, centre: float, width: float, floor: float = 0.05) -> float:
    """Return log max(exp(-((estimate - centre) / width)^2 / 2), floor): most where log Z is about `centre`.

    A moving centre is a curriculum in the narrow sense: from 0, easy, down.
    """
    return max(-(((estimate - centre) / width) ** 2) / 2, math.log(floor))


class Curriculum:
    """What is known of each problem's difficulty, and the draw that follows from it."""

    def __init__(self, statistic: Statistic, weigh: Weigh, *, memory: float = 0.7, unseen: float = 0.0) -> None:
        """Keep `memory` of an old estimate at each new one; a problem never drawn has the log-weight `unseen`."""
        if not 0 <= memory < 1:
            raise ConfigError(f"Curriculum: expected 0 <= memory < 1, found {memory}")
        self.memory, self.unseen = memory, unseen
        self._statistic, self._weigh = statistic, weigh
        self.estimates: dict[str, float] = {}  # by problem key
        self.draws: dict[str, int] = {}  # by problem key, how often it was drawn

    def draw(self, problems: Sequence[Problem], n: int, *, rng: Random) -> list[Problem]:
        """Return `n` different problems, all where there are no more. Raises ConfigError for a weight that is NaN."""
        chosen = [problems[i] for i in draw([self._weight(problem.key) for problem in problems], n, rng=rng)]
        for problem in chosen:
            self.draws[problem.key] = self.draws.get(problem.key, 0) + 1
        return chosen

    def record(self, trajectories: Sequence[Trajectory], batch: Batch) -> None:
        """Take in fresh trajectories, which are the first rows of `batch`; what is not finite says nothing."""
        rows: dict[str, list[float]] = {}
        with torch.no_grad():
            values = self._statistic(batch).tolist()
        for trajectory, value in zip(trajectories, values, strict=False):
            if math.isfinite(value):
                rows.setdefault(trajectory.problem.key, []).append(value)
        for key, found in rows.items():
            mean = math.fsum(found) / len(found)
            self.estimates[key] = mean + self.memory * (self.estimates.get(key, mean) - mean)

    def metrics(self) -> Metrics:
        """Return how many problems have an estimate, and their mean."""
        known = self.estimates.values()
        return {"curriculum_seen": float(len(known)), "curriculum_mean": math.fsum(known) / max(1, len(known))}

    def state_dict(self) -> dict[str, Any]:
        """Return what is known as strings."""
        return {"estimates": json.dumps(self.estimates), "draws": json.dumps(self.draws)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace what is known by that of `state_dict`."""
        self.estimates, self.draws = json.loads(state["estimates"]), json.loads(state["draws"])

    def _weight(self, key: str) -> float:
        known = key in self.estimates
        weight = self._weigh(self.estimates[key]) if known else self.unseen - math.log1p(self.draws.get(key, 0))
        if math.isnan(weight) or weight == math.inf:
            raise ConfigError(f"curriculum: expected a log-weight of {key!r} below infinity, found {weight}")
        return weight
