"""How many tokens a second a network learns: `train` on a pack, a plain loop as nanoGPT's, transformers' Trainer.

All three learn the same rows of a stream of games in the same order, with the same untrained network, precision and
settings of AdamW. `surpass` includes all that a run does beside: rows out of the pack, metrics on disk, totals. The
plain loop has its rows in memory and writes nothing. Games are random tokens of usual lengths: speed does not depend on
which. Losses of the first two are compared: they do the same. (The Trainer does not decay the weights of norms, so its
losses part from theirs a little.)

A machine's speed drifts by more than they differ, so they learn step by step in turns (`evaluation/turns.py`). One
process may be some percent slower than the next for all its life, so there are `rounds`, each of new processes. Speeds
are medians over turns; the ratio is the geometric mean over turns to the faster of the two others, and its bootstrap
interval resamples rounds.

    games    `surpass` on whole games in a row that do not see each other, which stream rows cannot promise
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from surpass.bounds import at_least
from surpass.domains.chess.blocks import Blocks, Boundaries
from surpass.domains.chess.lessons import Pupil, lessons
from surpass.domains.chess.pretrain import ADAM, CLIP, WEIGHT_DECAY
from surpass.domains.chess.shapes import SHAPES, build
from surpass.domains.chess.shards import Pack
from surpass.domains.chess.tokens import ENDS, SPECIALS, Moves
from surpass.errors import ConfigError
from surpass.evaluation.statistics import clustered
from surpass.evaluation.turns import in_turns
from surpass.memory import keep_freed
from surpass.models.checkpoint import Placement
from surpass.objectives.batch import log_return
from surpass.objectives.likelihood import likelihood
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train

VOCABULARY = Moves()
Round = tuple[Mapping[str, NDArray[np.float64]], Mapping[str, list[float]]]  # seconds of steps, and losses


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    preset: str = "1m"  # of the network: one that reads moves
    rows: int = 8  # of a step
    steps: int = 16  # of each in a round; the first is not counted
    rounds: int = 6
    autocast: Literal["none", "bf16"] = "none"  # of all three
    device: str = "cpu"
    json: Path | None = None  # where to write the numbers, too


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured."""

    parameters: int
    device: str
    threads: int
    load: float
    tokens_per_second: Mapping[str, float]  # medians over steps
    better: str  # the faster of the two others
    ratio: float  # of surpass to it, geometric mean over turns
    ratio_interval: tuple[float, float]  # 95 %, bootstrap over rounds
    largest_loss_difference: float  # between surpass and the plain loop

    def table(self) -> Table:
        """Return the figures as a table to print."""
        caption = (
            f"{self.parameters / 1e6:.1f} M parameters on {self.device}, {self.threads} threads, load {self.load}; "
            f"losses differ by at most {self.largest_loss_difference:.1e}"
        )
        table = Table(title="Tokens learned a second", caption=caption)
        for column in ("", "tokens a second", "surpass to the better of the others"):
            table.add_column(column, justify="right" if column else "left")
        for name, speed in self.tokens_per_second.items():
            low, high = self.ratio_interval
            said = f"{self.ratio:.3f} ({low:.3f} to {high:.3f})" if name == "surpass" else ""
            table.add_row(name, f"{speed:,.0f}", said)
        return table


def main(config: BenchConfig) -> Report:
    """Measure everything and return it. Raises ConfigError for a preset that does not read moves."""
    shape = SHAPES.get(config.preset)
    if shape is None or shape.tokens != "moves":
        raise ConfigError(f"preset: expected one that reads moves, found {config.preset!r}")
    at_least(config, rows=1, steps=2, rounds=1)
    pack = games(config.rows * config.steps * shape.context)
    ways = {
        "surpass": partial(by_surpass, config, pack, boundaries="stream"),
        "plain loop": partial(by_plain_loop, config, pack),
        "Trainer": partial(by_trainer, config, pack),
        "surpass, games": partial(by_surpass, config, pack, boundaries="games"),
    }
    console = Console(stderr=True)
    numbers = track(range(config.rounds), "rounds", console=console, disable=not console.is_interactive)
    report = reported(config, pack, [in_turns(ways, config.steps, seed=number) for number in numbers])
    if config.json is not None:
        config.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def reported(config: BenchConfig, pack: Pack, rounds: Sequence[Round]) -> Report:
    """Return what the seconds of each step but the first, and the losses, of each way say."""
    seconds = {name: np.concatenate([times[name] for times, _ in rounds]) for name in rounds[0][0]}
    speeds = dict[str, float]()
    for name, times in seconds.items():
        learned = _learned(config, pack, "games" if "games" in name else "stream")
        speeds[name] = float(np.median(np.tile(learned, len(rounds)) / times))
    better = max(("plain loop", "Trainer"), key=speeds.__getitem__)
    places = np.repeat(np.arange(len(rounds)), config.steps - 1)
    ratio = clustered(np.log(seconds[better] / seconds["surpass"]), places.tolist())
    losses = rounds[0][1]
    return Report(
        parameters=sum(one.numel() for one in build(SHAPES[config.preset], VOCABULARY, 0).parameters()),
        device=config.device,
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 1),
        tokens_per_second=speeds,
        better=better,
        ratio=math.exp(ratio.mean),
        ratio_interval=(math.exp(ratio.low), math.exp(ratio.high)),
        largest_loss_difference=float(np.abs(np.subtract(losses["surpass"], losses["plain loop"])).max()),
    )


def games(tokens: int, seed: int = 0) -> Pack:
    """Return a pack in memory with at least so many tokens: games of 20 to 140 random moves."""
    rng = np.random.default_rng(seed)
    rows, total = list[NDArray[np.uint16]](), 0
    while total <= 2 * tokens:
        moves = rng.integers(len(SPECIALS), VOCABULARY.size, rng.integers(20, 141))
        end = VOCABULARY.place[ENDS[rng.integers(3)]]
        rows.append(np.array([VOCABULARY.start, *moves, end], dtype=np.uint16))
        total += len(rows[-1])
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    index = {"vocabulary": "moves", "options": asdict(VOCABULARY)}
    keys = rng.integers(0, 2**63, len(rows), dtype=np.uint64)
    return Pack(Path(), index, (np.concatenate(rows),), starts[[0, -1]], starts, keys)


def by_surpass(config: BenchConfig, pack: Pack, ended: Callable[[], None], *, boundaries: Boundaries) -> list[float]:
    """Train by `train`, in a process that keeps the memory that it frees, as `surpass chess train` does."""
    keep_freed()
    shape = SHAPES[config.preset]
    placement = Placement(config.device, autocast=torch.bfloat16 if config.autocast == "bf16" else None)
    pupil = Pupil(build(shape, VOCABULARY, 0), VOCABULARY, placement=placement)
    blocks = Blocks(pack, shape.context, boundaries, "all")

    def look(step: int) -> dict[str, float]:
        _wait(config)
        ended()
        return {}

    parts: Parts[object] = Parts(
        pupil,
        (),
        partial(likelihood, normalise="token", accepted_only=False),
        log_return,
        lessons=lessons(blocks, config.rows),
        evaluate=look,
    )
    numbers = TrainConfig(
        steps=config.steps,
        learning_rate=shape.learning_rate,
        weight_decay=WEIGHT_DECAY,
        betas=ADAM,
        clip=CLIP,
        micro_batch=config.rows,
        evaluate_every=1,
        checkpoint_every=config.steps,
    )
    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        run = Run.create(Path(folder) / "run", {})
        train(numbers, parts, run)
        return [line["loss"] for line in run.metrics()]


def by_plain_loop(config: BenchConfig, pack: Pack, ended: Callable[[], None]) -> list[float]:
    """Train by the loop that most studies write: forward, loss, backward, clip, step."""
    shape = SHAPES[config.preset]
    network = build(shape, VOCABULARY, 0)
    torch.nn.Module.to(network, config.device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=shape.learning_rate, betas=ADAM, weight_decay=WEIGHT_DECAY, fused=True
    )
    losses = list[float]()
    for tokens, targets in _batches(config, pack):
        with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.autocast == "bf16"):
            logits = network(input_ids=tokens.to(config.device), use_cache=False).logits
            loss = cross_entropy(logits.flatten(0, 1), targets.to(config.device).flatten(), ignore_index=-100)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        _wait(config)
        ended()
    return losses


def by_trainer(config: BenchConfig, pack: Pack, ended: Callable[[], None]) -> list[float]:
    """Train by transformers' Trainer."""
    shape = SHAPES[config.preset]
    network: PreTrainedModel = build(shape, VOCABULARY, 0)
    rows = [
        {"input_ids": row, "shift_labels": target, "labels": target}
        for tokens, targets in _batches(config, pack)
        for row, target in zip(tokens, targets, strict=True)
    ]

    class Watch(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            _wait(config)
            ended()

    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=config.steps,
            per_device_train_batch_size=config.rows,
            learning_rate=shape.learning_rate,
            lr_scheduler_type="constant",
            adam_beta1=ADAM[0],
            adam_beta2=ADAM[1],
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIP,
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,  # the targets are ours: already shifted
            disable_tqdm=True,
            use_cpu=config.device == "cpu",
            bf16=config.autocast == "bf16",
            dataloader_pin_memory=config.device != "cpu",
        )
        trainer = Trainer(network, arguments, train_dataset=rows)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Watch())
        trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def _batches(config: BenchConfig, pack: Pack) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return inputs and targets [B, L] of every step; what is not learned is -100."""
    blocks = Blocks(pack, SHAPES[config.preset].context, "stream", "all")
    found = []
    for step in range(config.steps):
        block = blocks.block(step, config.rows)
        found.append((torch.from_numpy(block.tokens), torch.from_numpy(np.where(block.mask, block.targets, -100))))
    return found


def _learned(config: BenchConfig, pack: Pack, boundaries: Boundaries) -> NDArray[np.int64]:
    """Return how many tokens each step but the first learns [steps - 1]."""
    blocks = Blocks(pack, SHAPES[config.preset].context, boundaries, "all")
    return np.array([blocks.block(step, config.rows).mask.sum() for step in range(1, config.steps)])


def _wait(config: BenchConfig) -> None:
    if config.device != "cpu":
        torch.cuda.synchronize()
