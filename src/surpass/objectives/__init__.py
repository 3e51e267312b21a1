"""Objectives by name: pure functions of a `Batch` that return a scalar loss and metrics.

What each converges to, in short, and what `collate` must be given for it. "Posterior" is P_F proportional to
p_ref R^beta over the trajectories of a problem (R^beta without `relative`), from any sampling with full support.

    name                   fixed point                                          needs
    likelihood             the demonstrations' distribution
    confidence_limited     flatter than that, the more so the larger n
    reward_ranked          a reward maximiser: no unique one
    log_variance           the posterior                                        reference*
    trajectory_balance     the posterior                                        reference*, log_z
    subtrajectory_balance  the posterior                                        reference*, log_flow
    detailed_balance       the posterior                                        reference*, log_flow
    forward_looking        the posterior                                        reference*, log_flow, state_reward
    modified_subtb         the posterior over the texts of one action           reference* with log_stop_ref, log_stop,
                                                                                prefix_reward
    flowrl                 p_ref exp(|tau| (beta log R - log Z)): no posterior  reference*, log_z
    reinforce              with kl the posterior at beta = 1 / kl, on-policy    reference for kl
    grpo                   a reward maximiser; with kl not the posterior        reference for kl
    ppo                    as reinforce, if values are exact or lam = 1         value, reference for kl
    dpo                    with strength the posterior at strength / beta       reference
                                                                                * unless relative=False
Without kl, reinforce and ppo are reward maximisers: no unique fixed point. Without strength, dpo has no finite one.
"""

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
