"""Agents that learn: one shared network for a population, many populations in one call, PPO over whole episodes.

    core   views -> planes -> 128 -> 128 features        pretrained once without a policy, then frozen (`pretrain`)
    heads  [features, which player, rates] -> actor, critic        one pair for each population, anew for each policy

As in Large Legislative Models (arXiv 2410.08345): agents see the rates, learn from rewards after taxes or incentives,
and an update follows each episode. With the core frozen, what it makes of an episode is computed once, while playing,
so that the epochs of PPO touch two linear maps, those of all populations as one batched product.

Legend: S populations (seeds), G games of each, N agents, T steps, F features, A actions.
PPO: Schulman et al. 2017 (arXiv 1707.06347), advantages by GAE (arXiv 1506.02438), normalised in each minibatch.
Not here: societies and their welfare (`learning.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from surpass.bounds import at_least
from surpass.domains.economy.accounting import Incentive, Tax, incomes, pay_by_deed, tax
from surpass.domains.economy.rules import (
    APPLE,
    BARE,
    DIRT,
    GRASS,
    LIGHT,
    MOST_AGENTS,
    OUTSIDE,
    RIVER,
    VIEW,
    WALL,
    WHO,
    Rules,
)
from surpass.domains.economy.simulator import Commons, Turn
from surpass.errors import ConfigError

WIDTH = 128
RATES = 3


@dataclass(frozen=True, slots=True)
class PPO:
    """How agents learn; the paper's numbers."""

    lr: float = 1e-3
    gamma: float = 0.998
    lam: float = 0.98
    epochs: int = 4
    minibatch: int = 128  # of each population
    clip: float = 0.2
    value_weight: float = 0.5
    entropy: float = 0.025
    grad_norm: float = 0.5

    def __post_init__(self) -> None:
        at_least(self, epochs=1, minibatch=1)
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected 0 to 1, found {getattr(self, name)}")
        for name in ("lr", "clip", "grad_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name}: expected a number above 0, found {getattr(self, name)}")


def _planes() -> Tensor:
    """Return what the network sees of each code [256, planes]."""
    codes = np.arange(256)
    terrain, light = codes % WHO, codes // LIGHT
    seen = [(terrain == WALL) | (terrain == OUTSIDE), *(terrain == one for one in (APPLE, BARE, GRASS, RIVER, DIRT))]
    seen += [codes // WHO % WHO > 0, light % 2 > 0, light > 1]
    return torch.tensor(np.stack(seen, 1), dtype=torch.float32)


class Core(nn.Module):
    """Views [B, 11, 11] of codes to features [B, 128]. The viewer's own cell is always the same, and tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        planes = _planes()
        self.register_buffer("planes", planes, persistent=False)
        inputs = VIEW * VIEW * planes.shape[1]
        self.first, self.second = nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, WIDTH)
        for layer in (self.first, self.second):
            nn.init.orthogonal_(layer.weight, math.sqrt(2))
            nn.init.zeros_(layer.bias)

    def forward(self, views: Tensor) -> Tensor:
        planes: Tensor = self.planes  # type: ignore[assignment]
        seen = planes[views.flatten(1).int()].flatten(1)
        return torch.relu(self.second(torch.relu(self.first(seen))))


class Heads(nn.Module):
    """Actor and critic of each population: features [S, B, F] to logits [S, B, A] and values [S, B]."""

    def __init__(self, actions: int, seeds: Sequence[int]) -> None:
        super().__init__()
        inputs = WIDTH + MOST_AGENTS + RATES
        actor, critic = torch.empty(len(seeds), inputs, actions), torch.empty(len(seeds), inputs, 1)
        for population, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            nn.init.orthogonal_(actor[population], 0.01, generator)
            nn.init.orthogonal_(critic[population], 1.0, generator)
        self.actor, self.critic = nn.Parameter(actor), nn.Parameter(critic)
        self.actor_bias = nn.Parameter(torch.zeros(len(seeds), 1, actions))
        self.critic_bias = nn.Parameter(torch.zeros(len(seeds), 1, 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.baddbmm(self.actor_bias, features, self.actor)
        return logits, torch.baddbmm(self.critic_bias, features, self.critic)[..., 0]


@dataclass(frozen=True, slots=True)
class Episode:
    """What populations did in one episode each of G games; B = G N rows, agents of one game together."""

    views: NDArray[np.uint8]  # [T, S, B, 11, 11]; empty where the core is frozen and nobody will need them
    features: Tensor  # [T, S, B, F]
    actions: Tensor  # [T, S, B]
    logp: Tensor  # [T, S, B]
    values: Tensor  # [T, S, B]
    ate: NDArray[np.int8]  # [T, S, G, N]
    cleaned: NDArray[np.int8]  # [T, S, G, N]
    apples: NDArray[np.int64]  # [T, S, G] ripe after each step


def play(commons: Commons, core: Core, heads: Heads, rates: Tensor, *, seeds: Sequence[int], keep: bool) -> Episode:
    """Play one episode of all games; `rates` [S, G, 3] are seen, `seeds` draw the actions of each population.

    The games of a population are neighbours in `commons`, all of one length. With `keep` the views are kept.
    """
    length, agents = commons.rules.length, commons.rules.agents
    populations, rows = len(seeds), len(commons) * agents // len(seeds)
    players = torch.eye(MOST_AGENTS)[:agents].repeat(rows // agents, 1).expand(populations, -1, -1)
    seen = torch.cat([players, rates.repeat_interleave(agents, 1)], 2)  # [S, B, 7 + 3]
    dice = [np.random.default_rng(seed) for seed in seeds]
    views = np.empty((length if keep else 1, len(commons), agents, VIEW, VIEW), np.uint8)
    features = torch.empty(length, populations, rows, WIDTH + MOST_AGENTS + RATES)
    actions = torch.empty(length, populations, rows, dtype=torch.int64)
    logp, values = torch.empty(length, populations, rows), torch.empty(length, populations, rows)
    told = list[Turn]()
    turn = commons.now
    with torch.no_grad():
        for t in range(length):
            at = t if keep else 0
            views[at] = turn.views
            made = core(torch.from_numpy(views[at]).view(-1, VIEW, VIEW)).view(populations, rows, WIDTH)
            features[t] = torch.cat([made, seen], 2)
            logits, values[t] = heads(features[t])
            logs = torch.log_softmax(logits, 2)
            drawn = torch.from_numpy(np.stack([one.random((rows, 1), np.float32) for one in dice]))
            chosen = (logs.exp().cumsum(2) < drawn).sum(2, keepdim=True).clamp_(max=logits.shape[2] - 1)
            actions[t], logp[t] = chosen[..., 0], logs.gather(2, chosen)[..., 0]
            turn = commons.step(actions[t].view(len(commons), agents).numpy())
            told.append(turn)
    shape = (length, populations, len(commons) // populations)
    ate, cleaned = (
        np.stack([getattr(one, name) for one in told]).reshape(*shape, agents) for name in ("ate", "cleaned")
    )
    apples = np.stack([one.apples for one in told]).reshape(shape)
    return Episode(
        views.reshape(-1, populations, rows, VIEW, VIEW), features, actions, logp, values, ate, cleaned, apples
    )


def settle(rules: Rules, episode: Episode, rates: NDArray[np.float64]) -> Tax | Incentive:
    """Return what taxes (Harvest) or incentives (Clean Up) make of an episode; rates [S, G, 3]."""
    if rules.regrowth:
        return tax(episode.ate, incomes(episode.ate, 10), rates)
    return pay_by_deed(episode.ate, episode.cleaned, rates)


def advantages(rewards: Tensor, values: Tensor, ppo: PPO) -> Tensor:
    """Return generalised advantages [T, ...] of episodes that end at T.

    A_t = sum_k (gamma lam)^k (r_{t+k} + gamma V_{t+k+1} - V_{t+k}), V_T = 0.
    """
    found = torch.empty_like(rewards)
    after, following = torch.zeros_like(rewards[0]), torch.zeros_like(rewards[0])
    for t in range(len(rewards) - 1, -1, -1):
        after = rewards[t] + ppo.gamma * following - values[t] + ppo.gamma * ppo.lam * after
        found[t], following = after, values[t]
    return found


def learn(
    episode: Episode,
    rewards: Tensor,
    core: Core | None,
    heads: Heads,
    optimiser: torch.optim.Optimizer,
    ppo: PPO,
    *,
    seeds: Sequence[int],
) -> None:
    """Update the heads of all populations, and the core if given, on an episode with rewards [T, S, B]."""
    gain = advantages(rewards, episode.values, ppo)
    populations, count = rewards.shape[1], rewards.shape[0] * rewards.shape[2]

    def table(found: Tensor) -> Tensor:
        return found.transpose(0, 1).reshape(populations, count, *found.shape[3:])

    features, actions, logp, values, gains = map(
        table, (episode.features, episode.actions, episode.logp, episode.values, gain)
    )
    views = table(torch.from_numpy(episode.views)) if core is not None else None
    dice = [np.random.default_rng(seed) for seed in seeds]
    which = torch.arange(populations)[:, None]
    for _ in range(ppo.epochs):
        order = torch.from_numpy(np.stack([one.permutation(count) for one in dice]))
        for rows in torch.split(order, ppo.minibatch, 1):
            inputs = features[which, rows]
            if core is not None and views is not None:
                made = core(views[which, rows].flatten(0, 1)).view(populations, rows.shape[1], WIDTH)
                inputs = torch.cat([made, inputs[..., WIDTH:]], 2)
            drawn = [one[which, rows] for one in (actions, logp, values, gains)]
            loss = _loss(*heads(inputs), *drawn, ppo=ppo)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            _clip(optimiser, ppo.grad_norm, apart=core is None)
            optimiser.step()


def _loss(
    logits: Tensor, valued: Tensor, actions: Tensor, logp: Tensor, values: Tensor, gains: Tensor, *, ppo: PPO
) -> Tensor:
    """Return the loss of a minibatch [S, B], mean over rows and summed over populations, which share nothing in it."""
    logs = torch.log_softmax(logits, 2)
    ratio = (logs.gather(2, actions[..., None])[..., 0] - logp).exp()
    worth = (gains - gains.mean(1, keepdim=True)) / (gains.std(1, keepdim=True) + 1e-8)
    policy = -torch.minimum(ratio * worth, ratio.clamp(1 - ppo.clip, 1 + ppo.clip) * worth)
    target = values + gains
    near = values + (valued - values).clamp(-ppo.clip, ppo.clip)
    value = 0.5 * torch.maximum((valued - target).square(), (near - target).square())
    entropy = -(logs.exp() * logs).sum(2)
    return (policy + ppo.value_weight * value - ppo.entropy * entropy).mean(1).sum()


def _clip(optimiser: torch.optim.Optimizer, norm: float, *, apart: bool) -> None:
    """Limit the norm of gradients: of each population `apart` (the first axis of every parameter), or of all."""
    found = [one.grad for group in optimiser.param_groups for one in group["params"]]
    if not apart:
        nn.utils.clip_grad_norm_([one for group in optimiser.param_groups for one in group["params"]], norm)
        return
    total = sum(one.flatten(1).square().sum(1) for one in found).sqrt()
    scale = (norm / (total + 1e-6)).clamp(max=1.0)
    for one in found:
        one.mul_(scale.view(-1, *[1] * (one.dim() - 1)))
