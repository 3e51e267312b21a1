"""Training of what agents see a commons with, the core: `surpass economy pretrain --out FILE`.

Once, in short episodes, all of the network: that of Harvest without any policy, that of Clean Up under a random one in
each game, because without one nobody cleans, and a core that never saw a clean river would have nothing to say of it.
After each update a checkpoint goes into a run folder: the same command goes on with what was interrupted, and ends with
the weights it would have had. Not here: learning under a policy, on a frozen core (`learning.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from surpass.bounds import at_least
from surpass.domains.economy.accounting import account
from surpass.domains.economy.agents import PPO, Core, Heads, learn, play, settle
from surpass.domains.economy.learning import NAMES, highest, left
from surpass.domains.economy.rules import rules_of
from surpass.domains.economy.simulator import Commons
from surpass.errors import ConfigError, DataError
from surpass.rollouts.seeds import derive_seed
from surpass.store import Run


@dataclass(frozen=True)
class PretrainOptions:
    """How a core is trained: the whole network, in short episodes, without a policy or under many."""

    society: str = "harvest"  # or cleanup
    out: Path = Path("core.safetensors")  # where the weights go
    run: Path = Path("runs/core")  # curves and checkpoint; an interrupted run is resumed
    updates: int = 60  # each after one episode of all games
    games: int = 16
    length: int = 250  # steps of an episode
    policies: bool = False  # draw rates at random for each game and update; otherwise all are 0
    lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, updates=1, games=1, length=1)
        PPO(lr=self.lr)  # says what is wrong with it


def pretrain(options: PretrainOptions, *, tell: Callable[[int, float, float], None] = lambda *_: None) -> Core:
    """Train a core and its heads together, or go on doing so, and return the core.

    `tell(update, welfare, apples at the end)`. Raises ConfigError for a run of other options, or no such society.
    """
    if options.society not in NAMES:
        raise ConfigError(f"society: expected one of {', '.join(NAMES)}, found {options.society!r}")
    rules = replace(rules_of(options.society), length=options.length)
    run = begun(options.run, {key: value for key, value in asdict(options).items() if key not in ("out", "run")})
    torch.manual_seed(derive_seed(options.seed, "core"))
    core, heads = Core(), Heads(rules.actions, [derive_seed(options.seed, "heads")])
    ppo = PPO(lr=options.lr, epochs=2, minibatch=1024)
    optimiser = torch.optim.Adam([*core.parameters(), *heads.parameters()], lr=ppo.lr, eps=1e-5)
    parts: Mapping[str, nn.Module | torch.optim.Optimizer] = {"core": core, "heads": heads, "optimiser": optimiser}
    if state := run.resume():
        for name, part in parts.items():
            part.load_state_dict(state[name])
    commons, rates = Commons(rules, [0] * options.games), np.zeros((1, options.games, 3))
    for update in range(state["update"] if state else 0, options.updates):
        seed = derive_seed(options.seed, "episode", update)
        if options.policies:
            rates = np.random.default_rng(seed).random(rates.shape) * highest(rules)
        commons.reset([derive_seed(seed, game) for game in range(options.games)])
        played = play(commons, core, heads, torch.tensor(rates, dtype=torch.float32), seeds=[seed], keep=True)
        result = settle(rules, played, rates)
        welfare, apples = float(account(result).welfare.mean()), float(played.apples[-1].mean())
        tell(update, welfare, apples)
        learn(played, left(result), core, heads, optimiser, ppo, seeds=[seed])
        run.log({"step": update + 1, "welfare": welfare, "apples left": apples})
        run.save({"update": update + 1, **{name: part.state_dict() for name, part in parts.items()}})
    return core


def pretrain_command(options: PretrainOptions) -> int:
    """Train a core and write it, telling how agents fare. Raises DataError where there is a file, or none can be."""
    unwritten(options.out)
    try:
        core = pretrain(
            options, tell=lambda *told: print("update {}: welfare {:.1f}, apples left {:.1f}".format(*told))
        )
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    try:
        save_file(core.state_dict(), options.out)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot write the weights {options.out}: {error}") from error
    return 0


def begun(path: Path, settings: Mapping[str, object]) -> Run:
    """Return the run of these settings at a path, made where there is none. Raises ConfigError for one of others."""
    if not (path / "config.json").exists():
        return Run.create(path, settings)
    run = Run.open(path)
    found = run.config()
    if different := sorted(name for name in {*found, *settings} if found.get(name) != settings.get(name)):
        raise ConfigError(
            f"{path} is a run of other options: {', '.join(different)} differ; use its own, found in config.json, or "
            "name another folder"
        )
    return run


def unwritten(out: Path) -> None:
    """Raise DataError where a file cannot be made: before hours of training, and never over another one."""
    if out.exists():
        raise DataError(f"{out} exists already; choose another file with --out, or delete it first")
    if not out.absolute().parent.is_dir():
        raise DataError(f"{out.parent} is no folder; make it first, or choose another file with --out")
