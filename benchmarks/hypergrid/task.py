"""The task of both sides: a hypergrid, its exact target, and the exact distribution of a forward policy over it.

A play begins at the origin of {0..H-1}^D, increments one coordinate at a time and stops where it likes. The reward is
that of Bengio et al. 2021 (arXiv 2106.04399): R0, plus R1 in the outer corners, plus R2 in a ring within them. Many
paths lead to one cell; both sides take the uniform backward policy, so P_F is to stop at x in proportion to R(x).

Needs torch only: it runs in either environment.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

R0, R1, R2 = 0.1, 0.5, 2.0
EDGE = 1e-6  # a coordinate on a boundary counts as outside


@dataclass(frozen=True, slots=True)
class Task:
    """What both sides are given."""

    ndim: int = 2
    height: int = 8
    trajectories: int = 32_000
    batch: int = 16  # trajectories of one step of the optimiser
    hidden: int = 256  # width of the two hidden layers
    learning_rate: float = 1e-3  # at first; both fall to 0 by a half cosine, or the end would depend on the last step
    log_z_learning_rate: float = 1e-1
    seed: int = 0

    @property
    def cells(self) -> list[tuple[int, ...]]:
        """All cells, the last coordinate fastest."""
        return list(itertools.product(range(self.height), repeat=self.ndim))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a side answers."""

    total_variation: float  # exact, of where plays stop
    log_z_error: float
    wall_seconds: float  # of sampling and learning, start-up left out
    cpu_seconds: float  # of the one thread that did it: what an idle machine would need
    parameters: int  # of the policy


class Stopwatch:
    """Seconds since it was made, by the clock and of this process."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Return wall and CPU seconds."""
        return time.perf_counter() - self.began[0], time.process_time() - self.began[1]


def network(task: Task) -> nn.Sequential:
    """Return the policy network: one-hot coordinates in, logits of each increment and of stopping out."""
    width = task.hidden
    return nn.Sequential(
        nn.Linear(task.ndim * task.height, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, task.ndim + 1),
    )  # fmt: skip


def rewards(task: Task) -> Tensor:
    """Return R of every cell [cells], float64."""
    away = (torch.tensor(task.cells, dtype=torch.float64) / (task.height - 1) - 0.5).abs()
    outer = (away > 0.25 + EDGE).all(dim=1)
    ring = ((away > 0.3 + EDGE) & (away < 0.4 - EDGE)).all(dim=1)
    return R0 + R1 * outer.double() + R2 * ring.double()


def outcome(task: Task, logits: Tensor, log_z: float, seconds: tuple[float, float], parameters: int) -> Outcome:
    """Return the audit of a policy given by its logits [cells, D + 1], of which illegal increments are ignored."""
    cells, target = task.cells, rewards(task)
    stops = [*[False] * task.ndim, True]
    legal = torch.tensor([[x < task.height - 1 for x in cell] + [True] for cell in cells])
    policy = logits.double().masked_fill(~legal, -torch.inf).softmax(dim=1).tolist()
    mass = dict.fromkeys(cells, 0.0)
    mass[cells[0]] = 1.0
    stopped = []
    for cell, row in zip(cells, policy, strict=True):  # a cell comes after all that lead to it
        for axis, (share, stop) in enumerate(zip(row, stops, strict=True)):
            if stop:
                stopped.append(mass[cell] * share)
            elif share:
                mass[*cell[:axis], cell[axis] + 1, *cell[axis + 1 :]] += mass[cell] * share
    distance = 0.5 * (torch.tensor(stopped, dtype=torch.float64) - target / target.sum()).abs().sum().item()
    return Outcome(distance, abs(log_z - target.sum().log().item()), *seconds, parameters)


def read() -> Task:
    """Return the task that the caller gave as the only argument."""
    torch.set_num_threads(1)
    return Task(**json.loads(sys.argv[1]))


def answer(found: Outcome) -> None:
    """Print the outcome as the last line."""
    print(json.dumps(asdict(found)))
