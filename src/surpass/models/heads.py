"""Learned numbers of states, for `objectives.batch.Heads`: log flows and values, in a table or on hidden states.

A head is called with trajectories and gives one number for the state before each step, [B, S], zeros behind the last.
One class serves flows and values alike: what a number means is the objective's affair. Its parameters are its own;
`train` gives them their own learning rate and keeps them in the checkpoint.
Not here: one log Z for each problem (`objectives.balance.ProblemLogZ`, or on hidden states `log_z.LogZ`), and the
log-probability of ending (`LanguageModel.log_stop`), which is the policy's own answer and has no weights besides.

Legend: B trajectories, S the most steps of one of them, d the width of a hidden state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surpass.core import Observation, Trajectory
from surpass.errors import ModelError
from surpass.models.hf import LanguageModel


class StateTable(nn.Module):
    """One learned number for each observation, all `initial` at first.

    Rows are given out as observations are met, from a table of fixed size, so that an optimiser made before holds all
    there is to train. Observations are told apart by their text, which holds the history where flows are to be those of
    a tree; `merge=True` takes `Observation.key` instead: states that a search may merge share a number, which is right
    where what can follow, and what it earns, depends on the key alone.
    """

    def __init__(self, *, rows: int = 4096, initial: float = 0.0, merge: bool = False) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.full((rows,), initial))
        self.met: dict[str, int] = {}  # text or key: its row
        self.merge = merge

    def forward(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return the numbers [B, S]. Raises ModelError where the table is full."""
        steps = [step for trajectory in trajectories for step in trajectory.steps]
        return _laid_out(self.values[[self._row(step.observation) for step in steps]], trajectories)

    def get_extra_state(self) -> Tensor:
        """Return which observation owns which row, as bytes of JSON: every checkpoint format holds tensors."""
        return torch.tensor(list(json.dumps(self.met).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` returned."""
        self.met = json.loads(bytes(state.tolist()))

    def _row(self, observation: Observation) -> int:
        key = observation.key if self.merge else observation.text
        row = self.met.setdefault(key, len(self.met))
        if row >= len(self.values):
            del self.met[key]
            raise ModelError(f"expected at most {len(self.values)} observations, found one more: StateTable(rows=...)")
        return row


class HiddenHead(nn.Module):
    """w . mean(h(observation)) + b, where h are the policy's last hidden states over the prompt: the constant b at
    first.

    Reads the current weights of `policy` at every call. No gradient reaches the policy unless `through` asks for it.
    """

    def __init__(self, policy: LanguageModel, constant: float = 0.0, *, through: bool = False) -> None:
        super().__init__()
        self.policy = policy  # not a module: its weights are not the head's
        self.through = through
        self.linear = nn.Linear(policy.width, 1, device=policy.network.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, constant)

    def forward(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return the numbers [B, S]."""
        seen = [step.observation for trajectory in trajectories for step in trajectory.steps]
        return _laid_out(self.linear(self.policy.hidden(seen, gradient=self.through))[:, 0], trajectories)


def _laid_out(values: Tensor, trajectories: Sequence[Trajectory]) -> Tensor:
    """Return numbers of all steps in order as [B, S]; raises ModelError for a trajectory without steps."""
    counts = [len(trajectory.steps) for trajectory in trajectories]
    if not counts or not all(counts):
        raise ModelError(f"expected trajectories with at least one step each, found {counts} steps: drop the others")
    width = max(counts)
    at = torch.tensor([row * width + i for row, count in enumerate(counts) for i in range(count)])
    flat = values.new_zeros(len(counts) * width).index_put((at.to(values.device),), values)
    return flat.view(len(counts), width)
