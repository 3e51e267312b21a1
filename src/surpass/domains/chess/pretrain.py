"""`surpass chess train`: a network learns the games of a pack from scratch, by the loop and objective of all training.

    OUT/config.json  metrics.jsonl  checkpoint/  summary.json    a run like any other, which goes on exactly
    OUT/model/                                                   the network, which `surpass uci --run OUT` plays

Every token of the pack that is not given is learned once an epoch (`blocks.py`), by `objectives.likelihood`. Moves of
the losing side are learned too: games are data, whoever won them. Held-out games were set aside by a hash of their
moves. On a GPU `--autocast bf16 --compiled` is what the 50 M preset is meant for; neither has been tried on one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch

from surpass.domains.chess.blocks import Blocks
from surpass.domains.chess.lessons import Pupil, held_out_loss, lessons
from surpass.domains.chess.saved import SIDECAR, save
from surpass.domains.chess.shapes import SHAPES, Shape, build
from surpass.domains.chess.shards import Pack, open_pack
from surpass.domains.chess.tokens import VOCABULARIES, Characters, Moves
from surpass.errors import ConfigError, DataError
from surpass.models.checkpoint import Placement, usable
from surpass.objectives.batch import Metrics, log_return
from surpass.objectives.likelihood import likelihood
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train

MODEL = "model"  # the folder of the network within its run
ADAM = (0.9, 0.95)  # the paper's, as are these
WEIGHT_DECAY, CLIP = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """Train a network of transcripts on a pack, from scratch."""

    pack: Path = Path("pack")  # made by `surpass chess pack`
    out: Path = Path("runs/chess")  # the run folder; the same command goes on with it
    preset: str = "1m"  # tiny, 500k, 1m, 2m, 8m on moves; 50m, the paper's, on characters
    steps: int | None = None  # by default one epoch
    epochs: float = 1.0  # without --steps
    rows: int | None = None  # of a step; by default the preset's, as are the two below
    micro_rows: int = 0  # rows in one pass through the network, where memory is short; 0: all
    length: int | None = None  # tokens of a row, at most the network's context
    learning_rate: float | None = None
    seed: int = 0  # of weights and of the order of rows
    valid_share: float = 0.01  # of the games, held out
    evaluate_every: int = 200  # steps; held-out loss
    checkpoint_every: int = 50  # steps; the most that an interruption costs
    device: str = "cpu"
    autocast: Literal["none", "bf16"] = "none"  # of matrix products; on CPUs that have bfloat16 it is faster, too
    compiled: bool = False  # compile the network: for a GPU

    def __post_init__(self) -> None:
        if self.preset not in SHAPES:
            raise ConfigError(f"expected --preset among {', '.join(SHAPES)}, found {self.preset!r}")
        for name, value in (("steps", self.steps), ("rows", self.rows), ("length", self.length)):
            if value is not None and value < 1:
                raise ConfigError(f"expected --{name} of at least 1, found {value}")
        if not 0 < self.epochs < math.inf or not 0 <= self.valid_share < 1:
            raise ConfigError("expected --epochs above 0 and --valid-share from 0 to below 1")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"expected --learning-rate above 0, found {self.learning_rate}")
        if self.micro_rows < 0 or min(self.evaluate_every, self.checkpoint_every) < 1:
            raise ConfigError(
                "expected --micro-rows of 0 or more, --evaluate-every and --checkpoint-every of 1 or more"
            )

    @property
    def shape(self) -> Shape:
        """Return the preset."""
        return SHAPES[self.preset]


def main(options: PretrainOptions) -> int:
    """Train, and say where the network is."""
    from rich.console import Console

    try:
        row = pretrain(options)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    held_out = "" if (loss := row.get("eval/loss")) is None else f", held-out loss {loss:.3f} nats a token"
    print(f"{row['step']:.0f} steps, {row['gradient_tokens']:,.0f} tokens learned{held_out}")
    print(f"run folder: {options.out}")
    return 0


def pretrain(options: PretrainOptions) -> Metrics:
    """Train what is missing of a run, and return the last line of its metrics; a finished run is left as it is.

    Raises DataError for a pack that cannot be used, ConfigError for one that does not fit the preset, or a folder that
    holds another run, and what `train` raises.
    """
    shape, pack = options.shape, open_pack(options.pack)
    vocabulary = pack.vocabulary
    if not isinstance(vocabulary, VOCABULARIES[shape.tokens]):
        raise ConfigError(
            f"{options.preset} reads {shape.tokens}, {options.pack} holds {pack.index['vocabulary']}: choose another "
            f"--preset, or pack with --tokens {shape.tokens}"
        )
    length, rows = options.length or shape.context, options.rows or shape.rows
    if length > shape.context:
        raise ConfigError(f"expected --length of at most {shape.context}, the context of {options.preset}")
    split = partial(Blocks, pack, length, shape.boundaries, valid_share=options.valid_share, seed=options.seed)
    blocks = split("train")
    numbers = _numbers(options, blocks, rows)
    usable(options.device)
    run = _opened(options, pack)
    if (run.path / MODEL / SIDECAR).exists() and (run.path / "summary.json").exists():
        return run.summary()
    placement = Placement(options.device, autocast=torch.bfloat16 if options.autocast == "bf16" else None)
    network = build(shape, vocabulary, options.seed)
    pupil = Pupil(network, cast(Moves | Characters, vocabulary), placement=placement, compiled=options.compiled)
    try:
        valid = split("valid") if options.valid_share else None
    except DataError:  # a small pack may have set none aside
        valid = None
    parts: Parts[object] = Parts(
        pupil,
        (),
        partial(likelihood, normalise="token", accepted_only=False),
        log_return,
        lessons=lessons(blocks, rows),
        evaluate=None if valid is None else lambda _: held_out_loss(pupil, valid, rows, batches=16),
    )
    row = train(numbers, parts, run)
    save(run.path / MODEL, pupil.network, pupil.vocabulary)
    return row


def _numbers(options: PretrainOptions, blocks: Blocks, rows: int) -> TrainConfig:
    shape = options.shape
    return TrainConfig(
        steps=options.steps or max(1, round(options.epochs * blocks.rows / rows)),
        seed=options.seed,
        learning_rate=options.learning_rate or shape.learning_rate,
        weight_decay=WEIGHT_DECAY,
        betas=ADAM,
        clip=CLIP,
        schedule="cosine",
        warmup=shape.warmup,
        decay_steps=shape.decay_steps,
        least_rate=shape.least_rate,
        micro_batch=options.micro_rows or rows,
        checkpoint_every=options.checkpoint_every,
        evaluate_every=options.evaluate_every,
    )


def _opened(options: PretrainOptions, pack: Pack) -> Run:
    """Make the run's folder or go on with it. Raises ConfigError where it holds a run of other options or games."""
    free = {"out", "pack", "device", "compiled"}  # a pack may move: what it holds counts
    asked: dict[str, object] = {name: value for name, value in asdict(options).items() if name not in free}
    asked |= {"kind": "chess train", "games": len(pack), "tokens": int(pack.firsts[-1])}
    asked["keys"] = int(np.bitwise_xor.reduce(pack.keys))
    if not (options.out / "config.json").exists():
        return Run.create(options.out, asked)
    run = Run.open(options.out)
    known = run.config()
    if different := sorted(name for name, value in asked.items() if known.get(name) != value):
        raise ConfigError(
            f"{options.out} holds another run: {', '.join(different)} differ; choose another --out, or give the same "
            "options to go on with it"
        )
    return run
