"""A learned log-partition function, conditional on the problem (arXiv 2410.13224, section on the loss).

log Z(s0) = w . mean(h(s0)) + b, where h are the policy's last hidden states over the first prompt. The head starts as
the constant b for every problem. Its parameters are its own: give them to the optimiser, usually at a larger rate.
No gradient reaches the policy unless `through` asks for it. The log-variance objective needs none of this.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from surpass.core import Trajectory
from surpass.errors import ModelError
from surpass.models.hf import LanguageModel


class LogZ(nn.Module):
    """log Z of the problem of each trajectory, [B]; reads the current weights of `policy` at every call."""

    def __init__(self, policy: LanguageModel, constant: float = 0.0, *, through: bool = False) -> None:
        super().__init__()
        self.policy = policy  # not a module: its weights are not the head's
        self.through = through
        self.head = nn.Linear(policy.width, 1, device=policy.network.device)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, constant)

    def forward(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log Z [B], from the first observation of each trajectory; raises ModelError for one without steps."""
        for trajectory in trajectories:
            if not trajectory.steps:
                raise ModelError(f"No log Z for problem {trajectory.problem.key}: its trajectory has no step.")
        firsts = [trajectory.steps[0].observation for trajectory in trajectories]
        value: Tensor = self.head(self.policy.hidden(firsts, gradient=self.through))[:, 0]
        return value
