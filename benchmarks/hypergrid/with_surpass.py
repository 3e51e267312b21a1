"""The hypergrid in Surpass: a domain, a policy and `train`, nothing special to either in the loop.

The runner, seeds, replayable records, verdicts and checkpoints of any other run are in the time measured. With the
history in the record the state graph is a tree, so the uniform backward policy enters as a part of the reward:
log R(x) + log P_B(path | x).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from task import Outcome, Stopwatch, Task, answer, network, outcome, read, rewards
from torch import Tensor, nn
from torch.nn.functional import one_hot

from surpass.core import Observation, Problem, Proposal, Status, Trajectory, Verdict
from surpass.objectives.balance import ProblemLogZ, trajectory_balance
from surpass.objectives.batch import Heads
from surpass.search.sampling import sample
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train

STOP = "stop"
Cell = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a play stands, and how it ended."""

    cell: Cell
    verdict: Verdict | None = None


class Grid:
    """The domain: actions are the axis to increment, or to stop."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.known: dict[tuple[Cell, str], Place] = {}
        self.stopped = {
            cell: Verdict(Status.ACCEPTED, (value,), "hypergrid")
            for cell, value in zip(task.cells, rewards(task).tolist(), strict=True)
        }
        self.seen = {
            cell: Observation(
                " ".join(map(str, cell)),
                legal=(*(str(axis) for axis, x in enumerate(cell) if x < task.height - 1), STOP),
                key=str(cell),
            )
            for cell in task.cells
        }

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the one problem."""
        yield Problem(f"{split} {self.task.ndim} {self.task.height}")

    def start(self, problem: Problem) -> Place:
        """Return the origin."""
        return Place((0,) * self.task.ndim)

    def observe(self, state: Place) -> Observation:
        """Return the coordinates."""
        return self.seen[state.cell]

    def step(self, state: Place, action: str) -> Place:
        """Return the next cell; what was met before is known, as states are values."""
        after = self.known.get((state.cell, action)) if state.verdict is None else None
        if after is None:
            after = self._step(state, action)
            if state.verdict is None:
                self.known[state.cell, action] = after
        return after

    def _step(self, state: Place, action: str) -> Place:
        if state.verdict or action not in (self.seen[state.cell].legal or ()):
            return Place(state.cell, Verdict(Status.REJECTED, (0.0,), "hypergrid: illegal"))
        if action == STOP:
            return Place(state.cell, self.stopped[state.cell])
        axis = int(action)
        return Place((*state.cell[:axis], state.cell[axis] + 1, *state.cell[axis + 1 :]))

    def verify(self, state: Place) -> Verdict | None:
        """Return how the play ended, None while it goes on."""
        return state.verdict


class GridPolicy(nn.Module):
    """A network over one-hot coordinates. A token is an action's number; cells that repeat are computed once."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.network = network(task)
        cells = task.cells
        self.row = {" ".join(map(str, cell)): row for row, cell in enumerate(cells)}
        self.names = (*map(str, range(task.ndim)), STOP)
        self.features = one_hot(torch.tensor(cells), task.height).flatten(1).float()
        self.bias = torch.tensor([[0.0 if x < task.height - 1 else -math.inf for x in cell] + [0.0] for cell in cells])

    def table(self, rows: Tensor) -> Tensor:
        """Return log-probabilities of all actions in these cells [rows, actions]."""
        logits: Tensor = self.network(self.features[rows])
        return (logits + self.bias[rows]).log_softmax(dim=1)

    @torch.no_grad()
    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` draws for each observation."""
        cells = np.repeat([self.row[observation.text] for observation in observations], n)
        distinct, inverse = np.unique(cells, return_inverse=True)
        logp = self.table(torch.from_numpy(distinct)).double().numpy()
        heap = np.exp(logp).cumsum(axis=1)[inverse]
        numbers = np.array(seeds) / 2.0**63 if n == 1 else np.concatenate([_stream(seed, n) for seed in seeds])
        draws = (heap[:, :-1] <= (numbers * heap[:, -1])[:, None]).sum(axis=1)
        values = zip(draws.tolist(), logp[inverse, draws].tolist(), strict=True)
        drawn = [Proposal(self.names[draw], value, (draw,)) for draw, value in values]
        return [drawn[at : at + n] for at in range(0, len(drawn), n)]

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log-probabilities [B, T] with gradient."""
        lengths = [len(trajectory.steps) for trajectory in trajectories]
        cells, actions = np.zeros((2, len(lengths), max(lengths)), dtype=np.int64)
        for row, trajectory in enumerate(trajectories):
            cells[row, : lengths[row]] = [self.row[step.observation.text] for step in trajectory.steps]
            actions[row, : lengths[row]] = [step.proposal.tokens[0] for step in trajectory.steps]
        distinct, inverse = np.unique(cells, return_inverse=True)
        table = self.table(torch.from_numpy(distinct))
        values = table[torch.from_numpy(inverse.reshape(cells.shape)), torch.from_numpy(actions)]
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        return torch.where(mask, values, 0.0)

    def encode(self, action: str) -> tuple[int, ...]:
        """Return the token of an action."""
        return (self.names.index(action),)

    def tempered(self, temperature: float) -> GridPolicy:
        """Not needed: plays are on policy."""
        raise NotImplementedError


def _stream(seed: int, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).random(n)


def log_reward(trajectories: Sequence[Trajectory]) -> Tensor:
    """Return log R(x) + log P_B(path | x) [B], P_B uniform over the axes that can be taken back."""
    values = []
    for trajectory in trajectories:
        axes, ways = set[str](), 0.0
        for action in trajectory.actions[:-1]:
            axes.add(action)
            ways += math.log(len(axes))
        values.append(math.log(trajectory.verdict.returns[0]) - ways)
    return torch.tensor(values, dtype=torch.float64)


def main(task: Task) -> Outcome:
    """Train and audit, after a few steps that load and compile whatever is loaded late."""
    learn(replace(task, trajectories=4 * task.batch))
    return learn(task)


def learn(task: Task) -> Outcome:
    """Train and audit."""
    torch.manual_seed(task.seed)
    domain, policy = Grid(task), GridPolicy(task)
    problems = list(domain.problems("train"))
    log_z = ProblemLogZ([problems[0].key])
    config = TrainConfig(
        steps=task.trajectories // task.batch,
        seed=task.seed,
        learning_rate=task.learning_rate,
        head_learning_rate=task.log_z_learning_rate,
        clip=math.inf,
        schedule="cosine",
        micro_batch=task.batch,
        temper_probability=0.0,
        checkpoint_every=task.trajectories,
    )
    parts = Parts(
        policy=policy,
        problems=problems,
        objective=partial(trajectory_balance, beta=1.0, relative=False),
        reward=log_reward,
        domain=domain,
        search=partial(sample, n=task.batch, max_steps=task.ndim * (task.height - 1) + 1),
        heads=Heads(log_z=log_z),
    )
    with tempfile.TemporaryDirectory() as folder:
        watch = Stopwatch()
        train(config, parts, Run.create(Path(folder) / "run", {}))
        seconds = watch.seconds()
    with torch.no_grad():
        logits = policy.network(policy.features)
    size = sum(parameter.numel() for parameter in policy.parameters())
    return outcome(task, logits, float(log_z.values.detach()), seconds, size)


if __name__ == "__main__":
    answer(main(read()))
