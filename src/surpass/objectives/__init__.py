"""Objectives by name: pure functions of a `Batch` that return a scalar loss and metrics."""

from __future__ import annotations

OBJECTIVES: dict[str, str] = {
    "likelihood": "surpass.objectives.likelihood:likelihood",
    "log_variance": "surpass.objectives.balance:log_variance",
    "trajectory_balance": "surpass.objectives.balance:trajectory_balance",
}
