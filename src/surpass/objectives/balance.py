"""Balance objectives: train P_F to sample trajectories in proportion to a target, not merely to maximise a reward.

Space X: token histories. An observation carries the history, so the state graph is a tree, every trajectory tau has one
way back (log P_B = 0), and the mass of a proof is its target times the number of ways to write it.

Legend, per trajectory tau of problem x:
    log target(tau) = [log p_ref(tau)] + beta log R(tau)        the bracket when `relative`
    residual(tau)   = log P_F(tau) - log target(tau) - log P_B(tau | end)
Both objectives vanish exactly where the residual is the same number, -log Z(x), for all tau of x:  P_F = target / Z(x).

The default target is relative to a frozen reference. A target proportional to R alone lives over *all* strings: there
are astronomically many wrong ones, and any floor under their reward hands them nearly all the mass.

Sources: trajectory balance, Malkin et al. 2022 (arXiv 2201.13259), equation 14; log-variance, Richter et al. 2020
(arXiv 2010.10436) and as VarGrad, Zhang et al. 2023 (arXiv 2302.05446); on proofs, Ho et al. 2024 (arXiv 2410.13224).
On fresh samples at temperature 1 the gradient of log-variance is that of `gradient.reinforce` (RLOO), kl = 1 / beta,
times 2 beta (n - 1) / n for n trajectories of a problem. On demonstrated, replayed or exploring ones, and in second
passes, that one is biased, and this one keeps its fixed point.
Records: `residual_rms` is a spread over what was *seen*: 0 too where all samples are one answer, and where an untrained
policy finds nothing right. `distinct` and `groups_without_spread` tell these from convergence.
Not here: sub-trajectory and detailed balance (`flows.py`), the length-normalised form (`flowrl.py`).
Sums and squares are taken in float64: a residual of 1e30 squares to infinity in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from surpass.core import Trajectory
from surpass.errors import DataError
from surpass.objectives.batch import Batch, Metrics, needed, recorded

SPREAD = 1e-3  # nats; below lies the rounding of float32


def log_variance(batch: Batch, *, beta: float, relative: bool = True) -> tuple[Tensor, Metrics]:
    """Return the mean over problems of the variance of the residual among that problem's trajectories (divisor n).

    Fixed point: P_F proportional to p_ref R^beta on tau (R^beta without `relative`), where the trajectories come from
    any distribution with full support. No log Z is learned: a problem's mean residual stands for -log Z. A problem with
    one trajectory contributes zero to the sum and still counts in the mean. `log_z` records minus the mean residual: on
    the policy's own samples at most log Z(x), on average, and equal to it once balanced; relative to a reference
    log Z(x) = log E_ref[R^beta]. Raises ConfigError without a reference if `relative`.
    """
    residual = _residual(batch, beta=beta, relative=relative)
    count = torch.bincount(batch.group).double()
    mean = torch.zeros_like(count).index_add(0, batch.group, residual) / count
    deviation = residual - mean[batch.group]
    variance = torch.zeros_like(count).index_add(0, batch.group, deviation.square()) / count
    return variance.mean(), {
        **metrics_of(batch, deviation.detach().square().mean()),
        "log_z": -mean.detach().mean().item(),
        "groups_of_one": float((count == 1).sum()),
        "groups_without_spread": float(((count > 1) & (variance.detach() < SPREAD**2)).sum()),
    }


def trajectory_balance(batch: Batch, *, beta: float, relative: bool = True) -> tuple[Tensor, Metrics]:
    """Return the mean over trajectories of (log Z(x) + residual(tau))^2.

    Fixed point: P_F proportional to p_ref R^beta on tau (R^beta without `relative`) and log Z(x) the log of its sum
    over tau. Learns from a problem's single trajectory too, once log Z is right. Raises ConfigError without a log Z, or
    without a reference if `relative`.
    """
    log_z = needed(batch.log_z, "log_z", "trajectory balance").double()
    loss = (log_z + _residual(batch, beta=beta, relative=relative)).square().mean()
    return loss, {**metrics_of(batch, loss.detach()), "log_z": log_z.detach().mean().item()}


class ProblemLogZ(nn.Module):
    """One learned log Z for each problem key; give it a larger learning rate than the policy (10 to 100 times)."""

    def __init__(self, keys: Iterable[str], *, initial: float = 0.0) -> None:
        super().__init__()
        self.rows = {key: row for row, key in enumerate(dict.fromkeys(keys))}
        self.values = nn.Parameter(torch.full((len(self.rows),), initial))

    def forward(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log Z of each trajectory's problem [B]. Raises DataError for a problem it was not made for."""
        unknown = [t.problem.key for t in trajectories if t.problem.key not in self.rows]
        if unknown:
            raise DataError(
                f"no log Z for problem {unknown[0]!r}; make ProblemLogZ from the keys of all training problems"
            )
        return self.values[[self.rows[trajectory.problem.key] for trajectory in trajectories]]


def _residual(batch: Batch, *, beta: float, relative: bool) -> Tensor:
    """Return log P_F - [log p_ref] - beta log R - log P_B for each trajectory [B], in float64."""
    return batch.log_ratio(relative=relative).sum(dim=1) - beta * batch.log_reward.double() - batch.log_pb.double()


def metrics_of(batch: Batch, mean_square: Tensor) -> Metrics:
    """Return what every balance objective records, of its mean squared residual and of the batch."""
    return {"residual_rms": mean_square.sqrt().item()} | recorded(batch)
