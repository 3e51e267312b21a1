"""Experiments by name: a frozen Config and a main each. The library never imports them; only the command line does."""

from __future__ import annotations

EXPERIMENTS: dict[str, str] = {
    "proof_flow": "surpass.experiments.proof_flow",
    "search": "surpass.experiments.search",
    "conjecturing": "surpass.experiments.conjecturing",
    "lifelong": "surpass.experiments.lifelong",
    "premises": "surpass.experiments.premises",
    "premise_reading": "surpass.experiments.premise_reading",
    "minif2f": "surpass.experiments.minif2f",
    "search_training": "surpass.experiments.search_training",
    "objectives": "surpass.experiments.objectives",
    "linear_experts": "surpass.experiments.linear_experts",
    "puzzles": "surpass.experiments.puzzles",
    "policymakers": "surpass.experiments.policymakers",
    "preferences": "surpass.experiments.preferences",
    "transcendence": "surpass.experiments.transcendence",
    "incontext": "surpass.experiments.incontext",
}
