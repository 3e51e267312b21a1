"""The gradient in two passes against that of one pass: how far apart, and how much memory each takes as groups grow.

A fresh language model, one problem, a group of random actions of equal length, the relative log-variance objective. Two
passes are `collate`, the objective, `push`, in micro-batches; one pass keeps the graph of the whole group. Every figure
of memory is the peak resident set of a process of its own, with what Python, torch and the model take before (the row
"start" of the table): only growth along a column says something.
"""

from __future__ import annotations

import json
import random
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from surpass.bounds import at_least
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.models.presets import preset
from surpass.rollouts.processes import process_pool
from surpass.rollouts.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

    from surpass.models.hf import LanguageModel


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    groups: tuple[int, ...] = (4, 16, 64)  # trajectories of the problem
    size: str = "mini"  # of the model, a preset
    tokens: int = 64  # of each action
    micro_batch: int = 4  # trajectories at a time, in two passes
    seed: int = 0
    json: Path | None = None  # where to write the numbers, too


@dataclass(frozen=True, slots=True)
class Row:
    """One size of group. The difference is the largest of any weight, as a part of the largest gradient of any."""

    group: int
    max_relative_difference: float
    peak_mb_two_pass: float
    peak_mb_one_pass: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured."""

    config: BenchConfig
    start_mb: float  # of a process that made model and group, and no gradient
    rows: tuple[Row, ...]

    def table(self) -> Table:
        """Return the figures as a table to print."""
        caption = f"{self.config.size} model, {self.config.tokens} tokens, micro-batches of {self.config.micro_batch}"
        table = Table(title="The gradient in two passes and in one", caption=caption)
        for column in ("group", "largest relative difference", "two passes, peak MB", "one pass, peak MB"):
            table.add_column(column, justify="right")
        table.add_row("start", "", f"{self.start_mb:.0f}", f"{self.start_mb:.0f}")
        for row in self.rows:
            peaks = (f"{row.peak_mb_two_pass:.0f}", f"{row.peak_mb_one_pass:.0f}")
            table.add_row(str(row.group), f"{row.max_relative_difference:.1e}", *peaks)
        return table


def main(config: BenchConfig) -> Report:
    """Measure everything and return it; the rows are written to `config.json`. Raises ConfigError for unfit sizes."""
    at_least(config, groups=2, tokens=2, micro_batch=1)  # equal actions, or one alone, have no gradient
    preset(config.size)
    rows = []
    for group in config.groups:
        difference, once = _alone(config, group, "one")
        _, twice = _alone(config, group, "two")
        rows.append(Row(group, difference, round(twice, 1), round(once, 1)))
    report = Report(config, round(_alone(config, max(config.groups), "none")[1], 1), tuple(rows))
    if config.json is not None:
        config.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return report


def _alone(config: BenchConfig, group: int, passes: Literal["none", "one", "two"]) -> tuple[float, float]:
    """Return the difference and the peak in MB of a process that does nothing else."""
    with process_pool(1) as pool:
        return pool.submit(_measure, replace(config, json=None), group, passes).result()


def _measure(config: BenchConfig, group: int, passes: Literal["none", "one", "two"]) -> tuple[float, float]:
    """Return the largest relative difference (0 unless `passes` is "one") and the peak of this process in MB.

    The two passes that one is compared with come after its peak is read.
    """
    import torch

    torch.set_num_threads(1)
    policy, reference, plays = _made(config, group)
    once = _one_pass(policy, reference, plays, config.micro_batch) if passes == "one" else []
    if passes == "two":
        _two_passes(policy, reference, plays, config.micro_batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    if not once:
        return 0.0, peak
    twice = _two_passes(policy, reference, plays, config.micro_batch)
    largest = max(float(gradient.abs().max()) for gradient in once)
    return max(float((a - b).abs().max()) for a, b in zip(once, twice, strict=True)) / largest, peak


def _made(config: BenchConfig, group: int) -> tuple[LanguageModel, LanguageModel, list[Trajectory]]:
    """Return a model, a reference that differs from it, and a group of random actions after one prompt."""
    from surpass.models.hf import LanguageModel

    text = "|- " + " + ".join(f"x{i}" for i in range(100)) + " = y"
    texts = [text, "rewrite H.", "apply H; auto.", "induction x0; simpl; auto."] * 20
    policy, reference = (LanguageModel.from_scratch(config.size, texts, seed=config.seed + i) for i in (0, 1))
    rng = random.Random(derive_seed(config.seed, "bench gradients", group))
    words = [token for token in range(len(policy.tokenizer)) if token not in policy.vocabulary.ends]
    end = min(policy.vocabulary.ends)
    verdict = Verdict(Status.REJECTED, (0.0,))
    plays = []
    for place in range(group):
        tokens = (*rng.choices(words, k=config.tokens - 1), end)
        step = Step(Observation(text), Proposal(policy.decode(tokens), None, tokens))
        plays.append(Trajectory(Problem("bench"), (step,), verdict, {"place": place}))
    return policy, reference.frozen_copy(), plays


def _reward(trajectories: Sequence[Trajectory]) -> Tensor:
    """Return log-rewards that differ."""
    import torch

    return torch.tensor([-0.1 * trajectory.info["place"] for trajectory in trajectories])


def _two_passes(
    policy: LanguageModel, reference: LanguageModel, plays: Sequence[Trajectory], micro_batch: int
) -> list[Tensor]:
    import torch

    from surpass.objectives.balance import log_variance
    from surpass.objectives.batch import collate, push

    batch = collate(policy, plays, _reward, reference=reference, micro_batch=micro_batch)
    torch.autograd.backward(log_variance(batch, beta=1.0)[0])
    push(policy, plays, batch, micro_batch=micro_batch)
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in policy.parameters()]


def _one_pass(
    policy: LanguageModel, reference: LanguageModel, plays: Sequence[Trajectory], micro_batch: int
) -> list[Tensor]:
    import torch

    from surpass.objectives.balance import log_variance
    from surpass.objectives.batch import collate

    batch = collate(policy, plays, _reward, reference=reference, micro_batch=micro_batch)
    loss, _ = log_variance(replace(batch, logp=policy.logp(plays)), beta=1.0)
    return list(torch.autograd.grad(loss, list(policy.parameters()), materialize_grads=True))
