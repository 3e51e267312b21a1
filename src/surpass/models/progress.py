"""Learned progress: how many steps are left, guessed from a language model's hidden states, as the value of a state.

    remaining(s) = max(0, w . mean(h(s)) + b)          least squares with a ridge, on demonstrations
    value(s)     = discount ** remaining(s)            in (0, 1]: 1 where nothing is left to do

Any proof teaches it: its i-th of n states has n - i steps left. That is the target of LeanProgress (arXiv 2502.17925),
here in closed form on a frozen model, so that fitting takes a moment and has no rate to choose. States that lead
nowhere are not among the demonstrations, so it says how far a proof would be, not whether there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surpass.core import Observation, Proposal, Scored, Trajectory
from surpass.errors import DataError
from surpass.models.hf import LanguageModel


@dataclass(frozen=True, slots=True)
class Progress:
    """A language model that also answers `Score`: no prior, and one value from the steps that seem to be left."""

    policy: LanguageModel
    weights: Tensor  # [d + 1], float64, the last is b
    discount: float = 0.8

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return self.policy.propose(observations, n, seeds=seeds)

    def remaining(self, observations: Sequence[Observation]) -> list[float]:
        """Return how many steps seem to be left from each state."""
        if not observations:
            return []
        guessed = _with_one(self.policy.hidden(observations)) @ self.weights
        return [float(value) for value in guessed.clamp(min=0.0)]

    def score(self, observations: Sequence[Observation]) -> list[Scored]:
        return [Scored((), (self.discount**left,)) for left in self.remaining(observations)]


def fit(policy: LanguageModel, proofs: Sequence[Trajectory], *, ridge: float = 10.0, discount: float = 0.8) -> Progress:
    """Return the policy with a value fitted to the states of proofs. Raises DataError where there are none."""
    steps = [(step.observation, len(one.steps) - i) for one in proofs if one.solved for i, step in enumerate(one.steps)]
    if not steps:
        raise DataError("progress: expected proofs with at least one step, found none")
    states = _with_one(policy.hidden([seen for seen, _ in steps]))
    left = torch.tensor([float(n) for _, n in steps], dtype=torch.float64)
    penalty = ridge * torch.eye(states.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0.0  # the constant is not shrunk
    weights = torch.linalg.solve(states.T @ states + penalty, states.T @ left)
    return Progress(policy, weights, discount)


def _with_one(states: Tensor) -> Tensor:
    return torch.cat([states.double().cpu(), torch.ones(len(states), 1, dtype=torch.float64)], dim=1)
