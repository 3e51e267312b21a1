"""Surpass beside TRL on the same tiny model: do losses agree, and how many samples a second does each learn from?

*Losses*: TRL's SFTTrainer and `train` with `likelihood` see the same token rows in the same order with the same
settings of AdamW; the largest difference of their losses is shown. *Speed*: TRL's GRPOTrainer and `train` (sampling and
relative log-variance) with the same prompts, completions a step, length limit and end tokens; both keep a reference and
take one step of the optimiser for each batch of samples. `gflownet` is our trainer inside TRL. The arms take turns,
`rounds` times; the first step of each is left out, and medians are shown, of ratios to TRL in the same round too.

Needs the extra [trl]. Not here: other hardware than the CPU this runs on, where TRL would sample by vLLM.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from rich.table import Table

from surpass.bounds import at_least
from surpass.core import Observation, Problem, Status, Trajectory, Verdict, replay
from surpass.errors import ConfigError, DataError
from surpass.rollouts.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

    from surpass.models.hf import LanguageModel

ARMS = ("trl", "surpass", "gflownet")


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    size: str = "tiny"  # a preset of models from scratch
    sft_steps: int = 20  # of the comparison of losses
    steps: int = 8  # of each run of the comparison of speed; the first is not counted
    prompts: int = 4  # of a step
    completions: int = 16  # of a prompt
    max_new: int = 32  # tokens of a completion at most
    rounds: int = 3
    seed: int = 0
    json: Path | None = None  # where to write the numbers, too


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured; by arm."""

    samples_per_second: Mapping[str, float]
    tokens_per_sample: Mapping[str, float]  # near each other, or the speeds do not compare
    ratio: float  # surpass to trl
    gflownet_ratio: float  # gflownet to trl
    sft_max_loss_difference: float
    sft_steps: int
    load: float

    def table(self) -> Table:
        """Return the figures as a table to print."""
        caption = f"largest difference of supervised losses over {self.sft_steps} steps: "
        caption += f"{self.sft_max_loss_difference:.1e}; load {self.load:.1f} on {os.cpu_count()} cores"
        table = Table(title="Beside TRL", caption=caption)
        for column in ("", "samples a second", "tokens a sample", "ratio to TRL"):
            table.add_column(column, justify="right" if column else "left")
        ratios = {"trl": 1.0, "surpass": self.ratio, "gflownet": self.gflownet_ratio}
        for arm, speed in self.samples_per_second.items():
            table.add_row(arm, f"{speed:.0f}", f"{self.tokens_per_sample[arm]:.1f}", f"{ratios[arm]:.2f}")
        return table


@dataclass(frozen=True, slots=True)
class Said:
    """A sum, and what was said of it."""

    text: str
    wanted: str
    verdict: Verdict | None = None


class Sums:
    """A domain of one step: the sum of two numbers. Few answers of an untrained model are right, none is long."""

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield 64 sums."""
        if split != "train":
            raise DataError(f"expected the split 'train', found {split!r}: sums have no other")
        for a, b in Random(0).sample([(a, b) for a in range(100) for b in range(100)], 64):
            yield Problem(f"{a} + {b}", data={"solution": [str(a + b)]})

    def start(self, problem: Problem) -> Said:
        """Return the question."""
        return Said(f"{problem.key} =", problem.data["solution"][0])

    def observe(self, state: Said) -> Observation:
        """Return the question as text."""
        return Observation(state.text, key=state.text)

    def step(self, state: Said, action: str) -> Said:
        """Judge the answer."""
        right = action == state.wanted and state.verdict is None
        verdict = Verdict(Status.ACCEPTED if right else Status.REJECTED, (float(right),), "sums 1")
        return Said(state.text, state.wanted, verdict)

    def verify(self, state: Said) -> Verdict | None:
        """Return the judgement."""
        return state.verdict


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one run."""

    samples: float  # a second
    tokens: float  # a sample


def main(config: BenchConfig) -> Report:
    """Measure everything and return it. Raises ConfigError without TRL."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import trl  # noqa: F401 - said before anything is made
    except ImportError as error:
        raise ConfigError("this benchmark needs TRL: pip install 'surpass[trl]'") from error
    problems = list(Sums().problems("train"))
    at_least(config, prompts=1, steps=2, sft_steps=1, completions=1, max_new=1, rounds=1)
    if config.prompts >= len(problems):
        raise ConfigError(f"prompts: expected fewer than {len(problems)}, found {config.prompts}")
    difference = sft_difference(config, problems)
    arms: dict[str, Callable[[BenchConfig, Sequence[Problem]], Speed]] = {
        "trl": partial(trl_speed, balance=False),
        "surpass": surpass_speed,
        "gflownet": partial(trl_speed, balance=True),
    }
    rounds = [{arm: arms[arm](config, problems) for arm in ARMS} for _ in range(config.rounds)]
    report = Report(
        samples_per_second={arm: median(one[arm].samples for one in rounds) for arm in ARMS},
        tokens_per_sample={arm: median(one[arm].tokens for one in rounds) for arm in ARMS},
        ratio=median(one["surpass"].samples / one["trl"].samples for one in rounds),
        gflownet_ratio=median(one["gflownet"].samples / one["trl"].samples for one in rounds),
        sft_max_loss_difference=difference,
        sft_steps=config.sft_steps,
        load=os.getloadavg()[0],
    )
    if config.json is not None:
        figures = {name: getattr(report, name) for name in Report.__dataclass_fields__}
        config.json.write_text(json.dumps(figures, indent=2) + "\n")
    return report


def model(config: BenchConfig, problems: Sequence[Problem]) -> LanguageModel:
    """Return the untrained model that both sides start from."""
    from surpass.models.hf import SEPARATOR, LanguageModel, Layout

    texts = [f"{problem.key} ={SEPARATOR}{problem.data['solution'][0]}\n" for problem in problems]
    made = LanguageModel.from_scratch(config.size, texts, seed=derive_seed(config.seed, "bench", "trl"))
    return LanguageModel(made.weights, Layout(SEPARATOR, 64, config.max_new))


def sft_difference(config: BenchConfig, problems: Sequence[Problem]) -> float:
    """Return the largest absolute difference of the losses that both record, over all steps."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from surpass.objectives.batch import log_return
    from surpass.objectives.likelihood import likelihood
    from surpass.store import Run
    from surpass.train import Parts, TrainConfig, train

    ours, theirs = model(config, problems), model(config, problems)
    settings = TrainConfig(
        steps=config.sft_steps,
        problems_per_step=8,
        learning_rate=1e-3,
        micro_batch=8,
        checkpoint_every=config.sft_steps,
    )
    rows: list[dict[str, list[int]]] = []  # in the order in which we learned from them

    def remember(trajectories: Sequence[Trajectory]) -> Tensor:
        for trajectory in trajectories:
            (step,) = trajectory.steps
            (prompt,), answer = ours.prompts([step.observation]), ours.encode(step.proposal.action)
            rows.append(
                {"input_ids": [*prompt, *answer], "completion_mask": [0] * len(prompt) + [1] * len(answer)},
            )
        return log_return(trajectories)

    shown = {problem.key: [replay(Sums(), problem, problem.data["solution"])] for problem in problems}
    parts: Parts[Said] = Parts(ours, problems, partial(likelihood, normalise="token"), remember, demonstrations=shown)
    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        run = Run.create(Path(folder) / "ours", {})
        train(settings, parts, run)
        mine: list[float] = [json.loads(line)["loss"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        arguments = SFTConfig(
            str(Path(folder) / "theirs"),
            per_device_train_batch_size=settings.problems_per_step,
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            max_grad_norm=settings.clip,
            **_common(settings.steps, settings.learning_rate),
        )
        data = Dataset.from_list(rows)
        trainer = SFTTrainer(theirs.network, arguments, train_dataset=data, processing_class=theirs.tokenizer)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    found: list[float] = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    if len(found) != len(mine):
        raise DataError(f"expected {len(mine)} losses of TRL, found {len(found)}")
    return max(abs(a - b) for a, b in zip(mine, found, strict=True))


def surpass_speed(config: BenchConfig, problems: Sequence[Problem]) -> Speed:
    """Return the speed of `train`: the runner samples, every sample is recorded, log-variance is learned."""
    from surpass.objectives.balance import log_variance
    from surpass.objectives.batch import log_return
    from surpass.search.sampling import sample
    from surpass.store import Run
    from surpass.train import Parts, TrainConfig, train

    policy, times = model(config, problems), list[float]()

    def look(_: int) -> dict[str, float]:
        times.append(time.perf_counter())
        return {}

    settings = TrainConfig(
        steps=config.steps,
        problems_per_step=config.prompts,
        micro_batch=config.prompts * config.completions,
        checkpoint_every=config.steps + 1,
        evaluate_every=1,
        seed=config.seed,
    )
    parts = Parts(
        policy,
        problems,
        partial(log_variance, beta=1.0),
        log_return,
        domain=Sums(),
        search=partial(sample, n=config.completions, max_steps=1),
        reference=policy.frozen_copy(),
        evaluate=look,
    )
    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        run = Run.create(Path(folder) / "run", {})
        row = train(settings, parts, run)
    samples = config.prompts * config.completions
    return Speed(
        samples * (config.steps - 1) / (times[-1] - times[0]), row["sampled_tokens"] / (samples * config.steps)
    )


def trl_speed(config: BenchConfig, problems: Sequence[Problem], *, balance: bool) -> Speed:
    """Return the speed of TRL's GRPOTrainer, or of ours inside TRL."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from surpass.integrations.trl import GFlowNetConfig, GFlowNetTrainer

    times = list[float]()

    class Watch(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    policy = model(config, problems)
    policy.network.generation_config.eos_token_id = sorted(policy.vocabulary.ends)
    answers = {f"{problem.key} =": problem.data["solution"][0] for problem in problems}

    def right(prompts: list[str], completions: list[str], **_: object) -> list[float]:
        wanted = [answers[prompt.removesuffix(policy.layout.separator)] for prompt in prompts]
        return [0.0 if said.strip() == want else -10.0 for said, want in zip(completions, wanted, strict=True)]

    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        policy.save(Path(folder) / "model")
        arguments = (GFlowNetConfig if balance else GRPOConfig)(
            str(Path(folder) / "run"),
            per_device_train_batch_size=config.prompts * config.completions,
            num_generations=config.completions,
            max_completion_length=config.max_new,
            beta=1.0 if balance else 0.04,
            mask_truncated_completions=False,
            **_common(config.steps, 1e-4),
        )
        data = Dataset.from_list([{"prompt": text + policy.layout.separator} for text in answers])
        trainer = (GFlowNetTrainer if balance else GRPOTrainer)(str(Path(folder) / "model"), right, arguments, data)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Watch())
        trainer.train()
    samples = config.prompts * config.completions * (config.steps - 1)
    lengths = [line["completions/mean_length"] for line in trainer.state.log_history if "loss" in line]
    return Speed(samples / (times[-1] - times[0]), mean(lengths))


def _common(steps: int, learning_rate: float) -> dict[str, Any]:
    """Return the arguments that all of TRL's trainers are given."""
    return {
        "max_steps": steps,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
    }
