"""Log-rewards of proof trajectories, for GFlowNet objectives: a finished proof has log R = 0, all else is below.

Three shapes, from Proof Flow (Ho et al., arXiv 2410.13224, appendix A) and from what its numbers teach: `graded` (the
default here), `binary`, and `paper` as published. A trajectory is *finished* (ACCEPTED), *unfinished* (all its tactics
are legal but the depth limit came first: info["end"] == "depth") or an *error*. UNKNOWN comes here
only as an error, where `TrainConfig.reject_unknown` asks for what the paper does; by default it is left out.

In `paper` an unfinished trajectory earns the scorer's mean log-probability per token, about -1, which is nearly as
much as a proof (0) beside an error (-15): the target then puts most of its mass on harmless legal tactics. `graded`
keeps the order but opens the gaps. Fix the keywords with `functools.partial` and pass the result as a `Reward`.

Two more speak of steps: `earned`, the log-reward that a state has earned already, for `Heads.state_reward`, and
`advances`, what each step adds to a prover's chance; both from the rates that a `surpass.progress.Prover` estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from surpass.core import Trainable, Trajectory
from surpass.progress import Rate, progress

Rates = Callable[[Sequence[Trajectory]], list[list[Rate]]]  # of all states of each trajectory, the final one included


def graded(
    trajectories: Sequence[Trajectory], *, scorer: Trainable, error: float = -10.0, unfinished: float = -4.0
) -> Tensor:
    """Return log-rewards [B]: 0 finished; `unfinished` plus the scorer's mean log-probability; `error` for an error.

    An unfinished trajectory never earns less than an error: its reward is clamped there.
    """
    partial = _scored(trajectories, scorer)
    rewards = [
        0.0 if t.solved else max(error, unfinished + partial[i]) if i in partial else error
        for i, t in enumerate(trajectories)
    ]
    return torch.tensor(rewards, dtype=torch.float64)


def binary(trajectories: Sequence[Trajectory], *, error: float = -10.0) -> Tensor:
    """Return log-rewards [B]: 0 for a finished proof, `error` for everything else."""
    return torch.tensor([0.0 if t.solved else error for t in trajectories], dtype=torch.float64)


def paper(
    trajectories: Sequence[Trajectory], *, scorer: Trainable, max_tokens: int = 92, floor: float = -30.0
) -> Tensor:
    """Return log-rewards [B] as published: 0; the scorer's mean per-token log-probability; -15 + 8 ln((c - l) / c).

    c is `max_tokens` and l the mean number of tokens of the trajectory's tactics; everything is clamped at `floor`. The
    partial term is the mean over steps, as in the authors' code (the formula in print sums).
    """
    partial = _scored(trajectories, scorer)
    rewards = []
    for i, trajectory in enumerate(trajectories):
        if trajectory.solved:
            rewards.append(0.0)
        elif i in partial:
            rewards.append(max(floor, partial[i]))
        else:
            length = sum(len(step.proposal.tokens) for step in trajectory.steps) / max(1, len(trajectory.steps))
            rewards.append(max(floor, -15.0 + 8.0 * math.log(max(1e-9, (max_tokens - length) / max_tokens))))
    return torch.tensor(rewards, dtype=torch.float64)


def earned(trajectories: Sequence[Trajectory], *, rates: Rates, floor: float = -10.0) -> Tensor:
    """Return the log of the prover's smoothed success rate from the state before each step [B, S], at least `floor`.

    Forward-looking objectives have the same fixed point with it as without: it is where credit starts from, not what is
    earned in the end. Columns behind the last step are 0.
    """
    return _columns([[max(floor, math.log(rate.smoothed)) for rate in row[:-1]] for row in rates(trajectories)])


def advances(trajectories: Sequence[Trajectory], *, rates: Rates) -> Tensor:
    """Return the progress of each step [B, S]: the change in the prover's success rate, 0 where it is not known.

    A row sums to the outcome less the rate at the start where all is known. Columns behind the last step are 0.
    """
    return _columns([progress(row) for row in rates(trajectories)])


def _columns(rows: Sequence[Sequence[float]]) -> Tensor:
    width = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=torch.float64)


def _scored(trajectories: Sequence[Trajectory], scorer: Trainable) -> dict[int, float]:
    """Map each unfinished trajectory to the mean over its steps of the scorer's mean log-probability per token."""
    rows = [i for i, t in enumerate(trajectories) if not t.solved and t.info.get("end") == "depth" and t.steps]
    if not rows:
        return {}
    with torch.no_grad():
        logp = scorer.logp([trajectories[i] for i in rows])
    scores = {}
    for row, i in zip(logp, rows, strict=True):
        lengths = [len(step.proposal.tokens) for step in trajectories[i].steps]
        scores[i] = sum(float(part.mean()) for part in row[: sum(lengths)].split(lengths)) / len(lengths)
    return scores
