"""The hypergrid in torchgfn: its environment, sampler and trajectory balance, as its own example puts them together.

Runs in the environment of torchgfn, where Surpass is not installed. As in its examples, log-probabilities are kept from
sampling, so a step computes them once.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from gfn.estimators import DiscretePolicyEstimator
from gfn.gflownet import TBGFlowNet
from gfn.gym import HyperGrid
from gfn.preprocessors import KHotPreprocessor
from gfn.samplers import Sampler
from gfn.utils.modules import MLP, DiscreteUniform
from task import Outcome, Stopwatch, Task, answer, outcome, read


def main(task: Task) -> Outcome:
    """Train and audit, after a few steps that load and compile whatever is loaded late."""
    learn(replace(task, trajectories=4 * task.batch))
    return learn(task)


def learn(task: Task) -> Outcome:
    """Train and audit."""
    torch.manual_seed(task.seed)
    env = HyperGrid(ndim=task.ndim, height=task.height, validate_modes=False)
    seen = KHotPreprocessor(task.height, task.ndim)
    policy = MLP(seen.output_dim, env.n_actions, hidden_dim=task.hidden, n_hidden_layers=2)
    forward = DiscretePolicyEstimator(module=policy, n_actions=env.n_actions, preprocessor=seen)
    uniform = DiscreteUniform(output_dim=env.n_actions - 1)
    backward = DiscretePolicyEstimator(module=uniform, n_actions=env.n_actions, preprocessor=seen, is_backward=True)
    flow = TBGFlowNet(pf=forward, pb=backward, init_logZ=0.0)
    sampler = Sampler(estimator=forward)
    optimiser = torch.optim.Adam(policy.parameters(), lr=task.learning_rate)
    optimiser.add_param_group({"params": flow.logz_parameters(), "lr": task.log_z_learning_rate})
    steps = task.trajectories // task.batch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    watch = Stopwatch()
    for _ in range(steps):
        plays = sampler.sample_trajectories(env, n=task.batch, save_logprobs=True)
        optimiser.zero_grad()
        loss = flow.loss_from_trajectories(env, plays, recalculate_all_logprobs=False)
        loss.backward()
        optimiser.step()
        schedule.step()
    seconds = watch.seconds()
    with torch.no_grad():
        logits = policy(seen(env.States(torch.tensor(task.cells))))
    size = sum(parameter.numel() for parameter in policy.parameters())
    return outcome(task, logits, float(flow.logZ.detach()), seconds, size)


if __name__ == "__main__":
    answer(main(read()))
