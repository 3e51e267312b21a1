"""A commons whose agents learn anew under each policy: the society that policymakers face.

A term, as in Large Legislative Models (arXiv 2410.08345): rates are fixed; agents begin with fresh heads on a frozen
core, learn for `episodes` episodes from what is left to them after taxes or incentives, and are watched in one more.
Welfare is the mean over agents of what they earn in that one, before taxes. Terms of many seeds and policies are played
in one batch (`steps`), each with heads of its own.

Different from the paper: views are codes, not pixels, and the core two dense layers, not a convolution.
Not here: how a core is trained (`core_training.py`), Escape Room (`room_learning.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from surpass.bounds import at_least
from surpass.domains.economy.accounting import Incentive, Tax, account, gini
from surpass.domains.economy.agents import PPO, Core, Episode, Heads, learn, play, settle
from surpass.domains.economy.inside import CommonsInside
from surpass.domains.economy.rules import Rules
from surpass.domains.economy.simulator import Commons
from surpass.domains.economy.society import Context, Metrics, Rate, checked, metrics_of
from surpass.errors import ConfigError, ModelError
from surpass.rollouts.seeds import derive_seed

NAMES = {"harvest": ("low income", "middle income", "high income"), "cleanup": ("eating", "cleaning", "neither")}
SHIPPED = files("surpass.domains.economy")
QUARTERS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Terms:
    """What terms of S policies came to, by episode; the last one is the one that counts."""

    welfare: NDArray[np.float64]  # [episodes + 1, S]
    apples: NDArray[np.float64]  # [episodes + 1, steps, S] ripe apples, mean over games
    metrics: tuple[Metrics, ...]  # [S]
    seconds: float
    actions: NDArray[np.int16]  # [steps, S, games, agents] in the last episode ...
    games: tuple[tuple[int, ...], ...]  # ... and the seeds of its games [S][games]: enough to see it again


@dataclass(frozen=True)
class LearningCommons:
    """Harvest (rates are taxes) or Clean Up (rates are incentives) as a `Society` of learning agents."""

    rules: Rules
    core: Core
    episodes: int = 5  # of learning, in each term
    games: int = 1  # of each population, at once
    ppo: PPO = PPO()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        at_least(self, episodes=1, games=1)
        if self.rules.end_chance:
            raise ConfigError("rules: expected episodes of one length (end_chance 0), as in the preset 'paper'")

    @property
    def rates(self) -> tuple[Rate, ...]:
        return tuple(
            Rate(name, 0.0, highest(self.rules)) for name in NAMES["harvest" if self.rules.regrowth else "cleanup"]
        )

    @property
    def environment_steps(self) -> int:
        """How many steps of a game one term plays."""
        return (self.episodes + 1) * self.rules.length * self.games

    def context(self, seed: int) -> Context:
        return ()

    def inside(self, populations: int) -> CommonsInside:
        """Return it as a principal sees it that differentiates through learning; `populations` of one game each."""
        return CommonsInside(self.rules, self.rates, self.core, populations=populations, ppo=self.ppo)

    def step(self, rates: Sequence[float], *, seed: int) -> Metrics:
        return self.steps([rates], [seed]).metrics[0]

    def steps(self, rates: Sequence[Sequence[float]], seeds: Sequence[int]) -> Terms:
        """Play a term of each policy with its seed, all in one batch.

        Equal calls give equal results; a term in another batch agrees up to the rounding of matrix products, which
        agents who learn may amplify.
        """
        if len(rates) != len(seeds) or not seeds:
            raise ConfigError(f"seeds: expected one for each of {len(rates)} policies, found {len(seeds)}")
        began = perf_counter()
        chosen = np.array([checked(one, self.rates) for one in rates])[:, None].repeat(self.games, 1)  # [S, G, 3]
        seen = torch.tensor(chosen, dtype=torch.float32)
        heads = Heads(self.rules.actions, [derive_seed(seed, "heads") for seed in seeds])
        optimiser = torch.optim.Adam(heads.parameters(), lr=self.ppo.lr, eps=1e-5)
        commons = Commons(self.rules, [0] * (len(seeds) * self.games))
        welfare, apples = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
        for episode in range(self.episodes + 1):
            own = [derive_seed(seed, "episode", episode) for seed in seeds]
            games = tuple(tuple(derive_seed(one, game) for game in range(self.games)) for one in own)
            commons.reset([game for those in games for game in those])
            played = play(commons, self.core, heads, seen, seeds=own, keep=False)
            result = settle(self.rules, played, chosen)
            welfare.append(account(result).welfare.mean(1))
            apples.append(played.apples.mean(2))
            if episode < self.episodes:
                learn(played, left(result), None, heads, optimiser, self.ppo, seeds=own)
        metrics = tuple(_metrics(result, played, index) for index in range(len(seeds)))
        actions = played.actions.numpy().astype(np.int16).reshape(played.ate.shape)
        return Terms(np.stack(welfare), np.stack(apples), metrics, perf_counter() - began, actions, games)


def highest(rules: Rules) -> float:
    """Return the upper end of every rate: taxes of Harvest, incentives of Clean Up."""
    return 1.0 if rules.regrowth else 3.0


def left(result: Tax | Incentive) -> Tensor:
    """Return rewards after taxes or incentives [T, S, B]."""
    return torch.from_numpy(result.reward.astype(np.float32)).flatten(2)


def _metrics(result: Tax | Incentive, played: Episode, index: int) -> Metrics:
    """Return the metrics of one population; in Clean Up also apples eaten and beams that cleaned, by agent."""
    summed, apples = account(result), played.apples.mean(2)
    told = {"welfare": summed.welfare[index].mean(), "cost": summed.cost[index].mean()}
    for quarter in QUARTERS:
        told[f"apples after {quarter:.0%}"] = apples[round(quarter * len(apples)) - 1, index]
    if isinstance(result, Incentive):
        told |= {"eaten": played.ate[:, index].sum(0).mean(), "cleaned": (played.cleaned[:, index] > 0).sum(0).mean()}
    shares = gini(summed.earned[index].mean(0))
    return metrics_of(told | ({"gini": shares.item()} if np.isfinite(shares) else {}), "commons")


def load_core(path: Path | None = None, *, society: str = "harvest") -> Core:
    """Return a frozen core, the package's own of a society by default. Raises ModelError where it is none."""
    core = Core()
    source = Path(str(SHIPPED / f"core_{society}.safetensors")) if path is None else path
    try:
        core.load_state_dict(load_file(source))
    except Exception as error:  # safetensors and torch raise a dozen kinds for a file that is not what it should be
        raise ModelError(f"{source} holds no core; make one with surpass economy pretrain: {error}") from error
    return core.requires_grad_(False)
