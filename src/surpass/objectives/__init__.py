"""Objectives by name: pure functions of a `Batch` that return a scalar loss and metrics."""

from __future__ import annotations

OBJECTIVES: dict[str, str] = {
    "likelihood": "surpass.objectives.likelihood:likelihood",
    "confidence_limited": "surpass.objectives.likelihood:confidence_limited",
    "reward_ranked": "surpass.objectives.likelihood:reward_ranked",
    "log_variance": "surpass.objectives.balance:log_variance",
    "trajectory_balance": "surpass.objectives.balance:trajectory_balance",
    "subtrajectory_balance": "surpass.objectives.flows:subtrajectory_balance",
    "detailed_balance": "surpass.objectives.flows:detailed_balance",
    "forward_looking": "surpass.objectives.flows:forward_looking",
    "modified_subtb": "surpass.objectives.flows:modified_subtb",
    "flowrl": "surpass.objectives.flowrl:flowrl",
    "reinforce": "surpass.objectives.gradient:reinforce",
    "grpo": "surpass.objectives.gradient:grpo",
    "ppo": "surpass.objectives.gradient:ppo",
    "dpo": "surpass.objectives.preference:dpo",
}
