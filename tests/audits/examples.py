"""Spaces by hand."""

from __future__ import annotations

import torch

from surpass.audits.spaces import Space
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict


def space(tokens: list[tuple[int, ...]], p_ref: list[float], log_reward: list[float]) -> Space:
    """Return a space whose reference puts all of its doubt into the first token."""
    verdict = Verdict(Status.ACCEPTED, (1.0,))
    leaves = tuple(Trajectory(Problem("p"), (Step(Observation("o"), Proposal("a", None, t)),), verdict) for t in tokens)
    log_ref = torch.zeros(len(tokens), max(map(len, tokens)), dtype=torch.float64)
    log_ref[:, 0] = torch.tensor(p_ref).log()
    yes = torch.ones(len(tokens), dtype=torch.bool)
    return Space(leaves, log_ref, torch.tensor(log_reward, dtype=torch.float64), yes, yes, -9.0)
