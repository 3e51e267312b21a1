"""The straight line: draw problems, act and judge, append, collate, objective, push, step. One function, `train`.

Supervised training is the same line with demonstrations and no search; reward-ranked fine-tuning is `likelihood` on
what a search found. A step's gradient takes two passes (`objectives/batch.py`). Everything random in a step derives
from (seed, step), and a checkpoint holds the rest, so an interrupted run ends as it would have, bit for bit on a CPU:
unless a verdict hangs on a clock. Source of tempered sampling (off by default, as it biases policy gradients), replay
and demonstrations in every batch: Proof Flow (arXiv 2410.13224, appendix). Not here: what is learned (`objectives/`),
what a run is made of (`recipe.py`), checkpoints (`resume.py`), files (`store.py`), how a search runs (`rollouts/`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from surpass.core import Problem, State, Status, Trajectory
from surpass.errors import ModelError
from surpass.objectives.batch import Batch, Metrics, collate, push
from surpass.recipe import Learner, Parts, TrainConfig, check, explored, judged, sharpened, spent, warmth, whole
from surpass.resume import checkpoint, made_of, restore
from surpass.rollouts.budget import bill
from surpass.rollouts.runner import derive_seed, run, standing
from surpass.store import Run

__all__ = ["Learner", "Parts", "TrainConfig", "train"]

BILLED = {  # total -> what it adds up in the bills of the conversations
    "sampled_tokens": "tokens",
    "proposals": "proposals",
    "verifier_steps": "steps",
    "verifier_seconds": "verifier_seconds",
}
TOTALS = ("gradient_tokens", *BILLED, "search_seconds", "learn_seconds")
SKIPPED = ("skipped_without_data", "skipped_not_finite", "not_finite_in_a_row")


def train(config: TrainConfig, parts: Parts[State], folder: Run) -> Metrics:
    """Train `parts.policy` in place, record in `folder`, and return the last line of its metrics.

    It ends after `config.steps` steps, or after the one with which a total reaches its cap (`most_...`). A folder with
    a checkpoint is resumed: `config` may differ in `steps` then, and parts must be made as they were. Raises
    ConfigError for parts that do not fit together, or are not those of the checkpoint, ModelError after `patience`
    steps in a row that are not finite, and what the parts raise.
    """
    check(config, parts)
    groups: list[dict[str, Any]] = [{"params": [p for p in parts.policy.parameters() if p.requires_grad]}]
    for head in parts.heads.modules().values():  # a decayed log Z would be a wrong one
        groups.append({"params": list(head.parameters()), "lr": config.head_learning_rate, "weight_decay": 0.0})
    optimiser = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    rates = [group["lr"] for group in optimiser.param_groups]
    row: Metrics = {"step": 0, **dict.fromkeys((*TOTALS, *SKIPPED), 0.0)}
    made = made_of(parts)
    state = folder.resume()
    if state is None:  # the weights and random states that the run begins with
        folder.save(checkpoint(config, parts, optimiser, row=row, made=made))
    else:
        row = restore(state, config, parts, optimiser, made=made)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    shown = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_interactive)
    with shown as progress, ExitStack() as stack:
        if parts.domain is not None:  # workers are started once, not for every step
            parts = replace(parts, options=stack.enter_context(standing(parts.options, parts.domain)))
        task = progress.add_task("train", total=config.steps, completed=int(row["step"]))
        for step in range(int(row["step"]), config.steps):
            if spent(config, row):  # a resumed run that had ended
                break
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * warmth(config, step)
            row = {name: row.get(name, 0.0) for name in (*TOTALS, *SKIPPED)} | {"step": step + 1}
            began = time.monotonic()
            fresh, others = _act(config, parts, step, row)
            folder.append(fresh)
            acted = time.monotonic()
            _learn(config, parts, optimiser, (fresh, others), row)
            row["search_seconds"] += acted - began
            row["learn_seconds"] += time.monotonic() - acted
            row |= {} if parts.replay is None else parts.replay.settle(step + 1)
            row |= {} if parts.curriculum is None else parts.curriculum.metrics()
            last = step + 1 == config.steps or spent(config, row) != ""
            if parts.evaluate is not None and (last or (step + 1) % config.evaluate_every == 0):
                row |= {f"eval/{name}": value for name, value in parts.evaluate(step + 1).items()}
            folder.log(row)
            if last or (step + 1) % config.checkpoint_every == 0:
                folder.save(checkpoint(config, parts, optimiser, row=row, made=made))
            progress.update(task, advance=1, description=f"train loss {row.get('loss', math.nan):.3g}")
    folder.write_summary(row)
    return row


def _act(
    config: TrainConfig, parts: Parts[State], step: int, row: Metrics
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Return what the search found for the problems of this step, and what is learned from besides."""
    rng = Random(derive_seed(config.seed, "train", step))
    if parts.curriculum is not None:
        chosen = parts.curriculum.draw(parts.problems, config.problems_per_step, rng=rng)
    else:
        chosen = rng.sample(parts.problems, min(config.problems_per_step, len(parts.problems)))
    acting, told = explored(config, parts).policy(parts.policy, step, rng=rng)
    row |= told
    others: list[Trajectory] = []
    searched: list[Problem] = []
    for problem in chosen:
        again: list[Trajectory] = []
        if parts.replay is not None and rng.random() < config.replay_probability:
            again = parts.replay.draw(problem.key, config.replay_draw, rng=rng)
        others += again
        searched += [] if again else [problem]
    row["replayed"] = float(len(others))
    others += [trajectory for problem in chosen for trajectory in parts.demonstrations.get(problem.key, ())]
    others += () if parts.lessons is None else parts.lessons(step)
    fresh: list[Trajectory] = []
    if parts.search is not None and parts.domain is not None:
        options = replace(parts.options, step=step)
        asks = run(parts.search, searched, parts.domain, acting, budget=parts.budget, seed=config.seed, options=options)
        fresh = [whole(one) for one in asks] if config.reject_truncated else list(asks)
    cost = bill(fresh)
    for total, name in BILLED.items():
        row[total] += cost[name]
    row |= {"sampled": float(len(fresh)), "accepted": float(sum(t.solved for t in fresh))}
    row["unknown"] = float(sum(t.verdict.status is Status.UNKNOWN for t in fresh))
    row["truncated"] = float(sum(t.info.get("truncated", 0) > 0 for t in fresh))
    return fresh, others


def _learn(
    config: TrainConfig,
    parts: Parts[State],
    optimiser: torch.optim.Optimizer,
    found: tuple[list[Trajectory], list[Trajectory]],
    row: Metrics,
) -> None:
    """Step the optimiser, once a pass; what cannot be learned from is left out; where nothing else is there, skip."""
    fresh, others = (judged(config, some) for some in found)
    plays = fresh + others
    if not plays:
        row["skipped_without_data"] += 1
        return
    policy, heads, old = parts.policy, parts.heads, None
    micro_batch, reference = config.micro_batch, parts.reference
    row["sharpness"] = parts.sharpness(int(row["step"]) - 1)
    for again in range(config.passes):
        batch = collate(
            policy, plays, parts.reward, reference=reference, heads=heads, micro_batch=micro_batch, keep=True
        )
        old = batch.logp_old if old is None else old
        loss, metrics = parts.objective(sharpened(replace(batch, logp_old=old), row["sharpness"]))
        torch.autograd.backward(loss)
        row |= metrics | {"loss": loss.item(), "learning_rate": optimiser.param_groups[0]["lr"]}
        row["log_reward"] = batch.log_reward.mean().item()
        optimiser.zero_grad()
        if not _finite(loss, batch):
            break
        row["gradient_tokens"] += push(policy, plays, batch, heads=heads, micro_batch=micro_batch)
        norms = [float(nn.utils.clip_grad_norm_(group["params"], config.clip)) for group in optimiser.param_groups]
        row["gradient_norm"] = norms[0]
        if not all(map(math.isfinite, norms)):
            break
        optimiser.step()  # fused, it does not count its changes of weights, by which caches know old ones
        torch.autograd.graph.increment_version([p for group in optimiser.param_groups for p in group["params"]])
        row["not_finite_in_a_row"] = 0.0
        if not again:
            _remember(parts, fresh, batch)
    else:
        return
    optimiser.zero_grad()
    row["skipped_not_finite"] += 1
    row["not_finite_in_a_row"] += 1
    if row["not_finite_in_a_row"] >= config.patience:
        raise ModelError(
            f"step {row['step']:.0f}: loss or gradient not finite {config.patience} steps in a row "
            f"(last loss {loss.item()}); lower the learning rate, clip or beta, or look for -inf in the policy's logp"
        )


def _finite(loss: torch.Tensor, batch: Batch) -> bool:
    grads = [leaf.grad for leaf in batch.leaves().values() if leaf.grad is not None]
    return all(bool(torch.isfinite(value).all()) for value in (loss, *grads))


def _remember(parts: Parts[State], fresh: Sequence[Trajectory], batch: Batch) -> None:
    """Tell the parts that remember what was found: the first rows of the batch are fresh."""
    if parts.replay is not None:
        for trajectory, log_reward in zip(fresh, batch.log_reward.tolist(), strict=False):
            parts.replay.add(trajectory, log_reward)
    if parts.curriculum is not None:
        parts.curriculum.record(fresh, batch)
