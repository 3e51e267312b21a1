"""Pre-training of the in-context policymaker, by the project's one loop: `surpass economy policymaker --out FILE`.

Histories are written first, all from the seed; then likelihood over them. The run folder has the curves and a
checkpoint: the same command goes on with an interrupted run, and ends with the weights it would have had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError

from surpass.bounds import at_least
from surpass.core import Problem, Trajectory
from surpass.domains.economy.core_training import begun, unwritten
from surpass.domains.economy.landscapes import HELD_OUT, LEARNED
from surpass.domains.economy.principals.in_context.model import Policymaker
from surpass.domains.economy.principals.in_context.teaching import Demonstrations, example, lessons
from surpass.errors import ConfigError, DataError
from surpass.objectives.batch import Metrics
from surpass.objectives.likelihood import likelihood
from surpass.rollouts.seeds import derive_seed
from surpass.train import Parts, TrainConfig, train


@dataclass(frozen=True)
class PolicymakerOptions:
    """How the in-context policymaker is trained. As they stand, these made the weights that the package holds."""

    out: Path = Path("policymaker.safetensors")  # where the weights go
    run: Path = Path("runs/policymaker")  # curves and checkpoint; an interrupted run is resumed
    histories: int = 2_500
    steps: int = 400  # of the optimiser
    batch: int = 8  # histories in a step
    learning_rate: float = 3e-3
    tests: int = 16  # histories of each kind that likelihood is measured on
    evaluate_every: int = 50  # steps
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, histories=1, steps=1, batch=1, tests=1, evaluate_every=1)
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate: expected a number above 0, found {self.learning_rate}")


def pretrain(options: PolicymakerOptions) -> Policymaker:
    """Train a policymaker, or go on doing so, and return it. Raises ConfigError for a run of other options."""
    run = begun(options.run, {name: value for name, value in asdict(options).items() if name not in ("out", "run")})
    seeds = [derive_seed(options.seed, "history", number) for number in range(options.histories)]
    pasts = [example(seed) for seed in track(seeds, "histories", console=Console(stderr=True), transient=True)]
    model = Policymaker.untrained(derive_seed(options.seed, "weights"))
    parts: Parts[str] = Parts(  # supervised: no domain, so no states
        model,
        [Problem(str(number)) for number in range(options.histories)],
        partial(likelihood, normalise="token"),
        _nothing,
        demonstrations=Demonstrations(pasts, options.seed),
        evaluate=partial(_evaluate, model, _tests(options)),
    )
    config = TrainConfig(
        steps=options.steps,
        problems_per_step=min(options.batch, options.histories),
        seed=options.seed,
        learning_rate=options.learning_rate,
        schedule="cosine",
        warmup=options.steps // 20,
        clip=1.0,
        micro_batch=2 * options.batch,
        checkpoint_every=options.evaluate_every,
        evaluate_every=options.evaluate_every,
    )
    train(config, parts, run)
    return model


def pretrain_command(options: PolicymakerOptions) -> int:
    """Train a policymaker and write its weights. Raises DataError where there is a file already, or none can be."""
    unwritten(options.out)
    try:
        model = pretrain(options)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    try:
        model.save(options.out)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot write the weights {options.out}: {error}") from error
    print(f"{options.out}: {sum(one.numel() for one in model.parameters()):,} weights")
    return 0


def _tests(options: PolicymakerOptions) -> dict[str, list[Trajectory]]:
    """Return histories to measure likelihood on, by family and aim: of surfaces never seen, of families seen or not."""
    found = dict[str, list[Trajectory]]()
    for name, families in (("learned", LEARNED), ("held_out", HELD_OUT)):
        for number in range(options.tests):
            seed = derive_seed(options.seed, "test", name, number)
            done, best = lessons(str(number), example(seed, families), seed)
            found.setdefault(f"{name}_next", []).append(done)
            found.setdefault(f"{name}_best", []).append(best)
    return found


@torch.no_grad()
def _evaluate(model: Policymaker, tests: dict[str, list[Trajectory]], _: int) -> Metrics:
    """Return -log P of a rate, in nats: log(101) = 4.6 where nothing is known."""
    row = dict[str, float]()
    for name, some in tests.items():
        logp = model.logp(some)
        row[name] = float(-logp.sum() / (logp != 0).sum())
    return row


def _nothing(trajectories: Sequence[Trajectory]) -> torch.Tensor:
    """Return log-rewards of 0: likelihood weighs all histories alike."""
    return torch.zeros(len(trajectories))
