"""How each objective of `OBJECTIVES` is used in an audit, what theory promises of it, and against which target.

beta, kl and DPO's strength are 1, so that all posteriors are the same one; `grpo`, whose target is none, has kl = 2.
Policy gradients and preferences get the numbers without which they have no fixed point: a KL term, labels of
Bradley-Terry strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from surpass.audits import targets
from surpass.audits.targets import Target
from surpass.audits.tasks import Task
from surpass.core import Trajectory
from surpass.models.heads import StateTable
from surpass.models.hf import LanguageModel
from surpass.objectives import OBJECTIVES
from surpass.objectives.balance import ProblemLogZ
from surpass.objectives.batch import Head, Heads, Objective

NONE = "no unique one: a reward maximiser"
POSTERIOR = "p_ref R^beta"
PLAIN = "R^beta"


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """An objective with its numbers."""

    objective: str  # a name of OBJECTIVES
    converges: str  # what theory promises, NONE where it promises nothing
    target: Callable[[Task], Target]
    options: Mapping[str, Any] = field(default_factory=dict)
    heads: tuple[Literal["log_z", "log_flow", "value", "state_reward", "prefix"], ...] = ()
    relative: bool = True
    teacher: Literal["demonstrations", "policy", "any"] = "any"  # whose trajectories it must learn from
    conditional: bool = False  # speaks of ended actions alone
    shown: bool = False  # a transformer, which tells solutions apart late, sees all of them in every batch besides
    effort: int = 1  # times the steps of a table
    patience: int = 1  # times the steps of a transformer
    calm: bool = False  # a transformer takes steps of half the length, twice as many: or its own samples lose solutions
    samples: int = 1  # times the samples of a step: where noise does not vanish at the fixed point
    breadth: Mapping[str, int] = field(default_factory=dict)  # the same of a task alone: where much of X is rarely met

    @property
    def promised(self) -> bool:
        return self.converges != NONE

    @property
    def written(self) -> bool:
        """Whether the objective speaks of actions written token by token, and of nothing else."""
        return "prefix" in self.heads

    @property
    def stepwise(self) -> bool:
        """Whether the objective speaks of flows between steps: of one action it is `trajectory_balance`."""
        return "log_flow" in self.heads

    def function(self) -> Objective:
        """Return the objective with its numbers."""
        module, _, name = OBJECTIVES[self.objective].partition(":")
        return partial(vars(import_module(module))[name], **self.options)

    def made_heads(self, task: Task) -> Heads:
        """Return fresh heads, as many as the objective needs, in double precision: small tables."""
        rows = len({step.observation.text for leaf in task.leaves for step in leaf.steps})
        heads = Heads(
            log_z=ProblemLogZ([task.problem.key]).double() if "log_z" in self.heads else None,
            log_flow=StateTable(rows=rows).double() if "log_flow" in self.heads else None,
            value=StateTable(rows=rows).double() if "value" in self.heads else None,
            state_reward=guess if "state_reward" in self.heads else None,
        )
        policy, reference = task.policy, task.reference
        if self.written and isinstance(policy, LanguageModel) and isinstance(reference, LanguageModel):
            stops: dict[str, Head] = {"log_stop": policy.log_stop, "log_stop_ref": reference.log_stop}
            return replace(heads, prefix_reward=task.prefix_reward, **stops)
        return heads


def guess(trajectories: Sequence[Trajectory]) -> Tensor:
    """Return what a state is credited with [B, S]: any numbers do, these fall from 0 by a half with every step."""
    width = max(len(trajectory.steps) for trajectory in trajectories)
    return -0.5 * torch.arange(width, dtype=torch.float64).expand(len(trajectories), width)


def _posterior(task: Task, *, relative: bool = True, conditional: bool = False) -> Target:
    return targets.posterior(task.space, beta=1.0, relative=relative, conditional=conditional)


def _weighted(task: Task) -> Target:
    return targets.length_weighted(task.space, beta=1.0)


def _group(task: Task) -> Target:
    return targets.group_relative(task.space, kl=KL, n=QUIET * task.group)


def _shown(task: Task) -> Target:
    return targets.demonstrated(task.counts())


def _limited(task: Task) -> Target:
    return targets.limited(task.counts(), n=4)


BETA: Mapping[str, Any] = MappingProxyType({"beta": 1.0})
# the gradient of `grpo` stays noisy where it has no mean any more: more samples, and a stronger pull
QUIET = 8  # times the samples of a step
KL = 2.0
DR_GRPO = MappingProxyType({"kl": KL, "scale": "none", "lengths": "sum"})

ARMS: dict[str, Arm] = {
    "likelihood": Arm("likelihood", "the demonstrations", _shown, teacher="demonstrations", effort=2),
    "confidence_limited": Arm(
        "confidence_limited",
        "flatter than the demonstrations",
        _limited,
        options={"n": 4},
        teacher="demonstrations",
        effort=2,
    ),
    "reward_ranked": Arm("reward_ranked", NONE, _posterior, teacher="policy"),
    "log_variance": Arm("log_variance", POSTERIOR, _posterior, options=BETA, calm=True),
    "log_variance, plain": Arm(
        "log_variance",
        PLAIN,
        partial(_posterior, relative=False),
        options={"beta": 1.0, "relative": False},
        relative=False,
        patience=3,
        breadth={"bit_words": 16},
    ),
    "trajectory_balance": Arm(
        "trajectory_balance", POSTERIOR, _posterior, options=BETA, heads=("log_z",), effort=2, calm=True
    ),
    "subtrajectory_balance": Arm("subtrajectory_balance", POSTERIOR, _posterior, options=BETA, heads=("log_flow",)),
    "detailed_balance": Arm("detailed_balance", POSTERIOR, _posterior, options=BETA, heads=("log_flow",)),
    "forward_looking": Arm("forward_looking", POSTERIOR, _posterior, options=BETA, heads=("log_flow", "state_reward")),
    "modified_subtb": Arm(
        "modified_subtb",
        f"{POSTERIOR} over ended texts",
        partial(_posterior, conditional=True),
        options=BETA,
        heads=("prefix",),
        conditional=True,
        shown=True,
        calm=True,
    ),
    "flowrl": Arm(
        "flowrl",
        "p_ref exp(|x| (beta log R - log Z))",
        _weighted,
        options=BETA,
        heads=("log_z",),
        shown=True,
        effort=5,
        calm=True,
    ),
    "reinforce": Arm("reinforce", POSTERIOR, _posterior, options={"kl": 1.0}, teacher="policy", effort=2, calm=True),
    "grpo": Arm(
        "grpo",
        "p_ref k / (k + V - Q) in every state",
        _group,
        options=DR_GRPO,
        teacher="policy",
        effort=4,
        patience=2,
        samples=QUIET,
    ),
    "ppo": Arm(
        "ppo",
        POSTERIOR,
        _posterior,
        options={"kl": 1.0, "lam": 1.0},
        heads=("value",),
        teacher="policy",
        effort=3,
        calm=True,
    ),
    "dpo": Arm("dpo", POSTERIOR, _posterior, options={"beta": 1.0, "strength": 1.0}, shown=True, effort=2),
}
