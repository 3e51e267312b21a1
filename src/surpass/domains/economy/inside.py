"""Societies of learning agents seen from inside: what a principal needs that differentiates through their learning.

    look inside:  state -> play an episode -> what every agent felt, saw and did -> what the agents climb

Rewards after taxes or incentives are linear in the rates, raw + effects @ rates, so a play is recorded once and its
rewards are a function of the rates with a gradient. Only heads learn here: the last, linear layer on what a frozen
network makes of what is seen. Updates are Adam's, written as a function (`climb`), or plain steps (`walk`).
Legend: P populations side by side, T steps, N agents, F features, A actions, K rates.
Not here: the principal (`principals/metagrad.py`), agents as principals face them, who learn as usual (`learning.py`,
`room_learning.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from surpass.domains.economy import chance
from surpass.domains.economy.accounting import Reals
from surpass.domains.economy.agents import PPO, Core, Heads, play, settle
from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.room_agents import HIDDEN, fresh
from surpass.domains.economy.rules import Rules
from surpass.domains.economy.simulator import Commons
from surpass.domains.economy.society import Context, Rate
from surpass.rollouts.seeds import derive_seed

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-5  # of Adam
ROOT = 1e-16  # under its square root, where the slope would be infinite at 0


@dataclass(frozen=True, slots=True)
class Agents:
    """Heads of P populations, each agent's own or one for all of a population, and what lies before them."""

    weight: Tensor  # [P, N or 1, F, A]
    bias: Tensor  # [P, N or 1, 1, A]
    core: Tensor  # Escape Room: the networks [P, N, numbers]; a commons: empty, it has one core for all

    def logs(self, features: Tensor) -> Tensor:
        """Return the log-probabilities of all actions [P, N, T, A]."""
        return torch.log_softmax(features @ self.weight + self.bias, -1)

    def detach(self) -> Agents:
        """Return the same without what led to them."""
        return Agents(self.weight.detach(), self.bias.detach(), self.core)


@dataclass(frozen=True, slots=True)
class Lived:
    """One episode of P populations."""

    features: Tensor  # [P, N, T, F]
    actions: Tensor  # [P, N, T]
    raw: Tensor  # [P, N, T] rewards before taxes or incentives
    effects: Tensor  # [P, N, T, K] what one unit of a rate adds to a reward
    welfare: Tensor  # [P, T] what the principal earns

    def logp(self, agents: Agents) -> Tensor:
        """Return the log-probabilities of what was done [P, N, T]."""
        return agents.logs(self.features).gather(-1, self.actions[..., None])[..., 0]


class Inside(Protocol):
    """A society of P populations of agents, open to its principal."""

    rates: tuple[Rate, ...]
    populations: int
    episode_steps: int  # environment steps that an episode of all populations takes
    lr: float  # of the agents
    gamma: float
    inputs: int  # how many numbers a context is

    def see(self, context: Context) -> Tensor:
        """Return a context as numbers [inputs]."""

    def begin(self, seed: int) -> Agents:
        """Return agents who have learned nothing."""

    def play(self, agents: Agents, rates: Sequence[float], context: Context, *, seed: int) -> Lived:
        """Play an episode."""

    def aim(self, agents: Agents, lived: Lived, earned: Tensor) -> Tensor:
        """Return what the agents climb, a sum over populations, for rewards `earned` [P, N, T]."""


@runtime_checkable
class Open(Protocol):
    """A society that can be seen from inside."""

    @property
    def environment_steps(self) -> int:
        """How many steps of a game one term plays."""

    def inside(self, populations: int) -> Inside:
        """Return it as so many populations side by side."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What Adam remembers of weight and bias."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    updates: int = 0

    def detach(self) -> Moments:
        """Return the same without what led to them."""
        first, second = ((one.detach(), two.detach()) for one, two in (self.first, self.second))
        return Moments(first, second, self.updates)


def still(agents: Agents) -> Moments:
    """Return the moments before the first update."""
    zeros = torch.zeros_like(agents.weight), torch.zeros_like(agents.bias)
    return Moments(zeros, zeros)


def climb(agents: Agents, slopes: tuple[Tensor, Tensor], moments: Moments, lr: float) -> tuple[Agents, Moments]:
    """Return agents after one step of Adam up the slopes, and its moments, differentiable in the slopes.

    With moments that are zero the step is lr * sign(slope) but for `EPSILON`, and hardly depends on the slope: an
    update differentiated alone needs moments that have seen others.
    """
    count = moments.updates + 1
    first = [BETA1 * old + (1 - BETA1) * new for old, new in zip(moments.first, slopes, strict=True)]
    second = [BETA2 * old + (1 - BETA2) * new.square() for old, new in zip(moments.second, slopes, strict=True)]
    weight, bias = (
        old + lr * (one / (1 - BETA1**count)) / ((two / (1 - BETA2**count) + ROOT).sqrt() + EPSILON)
        for old, one, two in zip((agents.weight, agents.bias), first, second, strict=True)
    )
    return Agents(weight, bias, agents.core), Moments((first[0], first[1]), (second[0], second[1]), count)


def walk(agents: Agents, slopes: tuple[Tensor, Tensor], moments: Moments, lr: float) -> tuple[Agents, Moments]:
    """Return agents after one plain step up the slopes."""
    return Agents(agents.weight + lr * slopes[0], agents.bias + lr * slopes[1], agents.core), moments


def to_go(rewards_: Tensor, gamma: float) -> Tensor:
    """Return discounted sums of what is still to come [..., T].

    >>> to_go(torch.tensor([1.0, 2.0, 4.0]), 0.5).tolist()
    [3.0, 4.0, 4.0]
    """
    found, left = list[Tensor](), torch.zeros_like(rewards_[..., 0])
    for step in reversed(rewards_.unbind(-1)):
        left = step + gamma * left
        found.append(left)
    return torch.stack(found[::-1], -1)


class RoomInside:
    """Escape Room: agents with networks of their own, of which the last layer learns by policy gradient."""

    def __init__(
        self,
        rules: RoomRules,
        rates: tuple[Rate, ...],
        *,
        populations: int,
        gamma: float,
        entropy: float,
        lr: float = 0.01,
    ) -> None:
        self.rules, self.rates, self.populations = rules, rates, populations
        self.gamma, self.lr, self._entropy = gamma, lr, entropy
        self.episode_steps, self.inputs = populations * rules.length, rules.levers

    def see(self, context: Context) -> Tensor:
        return torch.eye(self.rules.levers)[_live(context)]

    def begin(self, seed: int) -> Agents:
        networks = fresh(self.rules, [derive_seed(seed, one) for one in range(self.populations)])
        head = networks[..., -(HIDDEN + 1) * self.rules.states :]
        weight = head[..., : -self.rules.states].reshape(*head.shape[:-1], HIDDEN, self.rules.states)
        return Agents(weight, head[..., None, -self.rules.states :], networks)

    def play(self, agents: Agents, rates: Sequence[float], context: Context, *, seed: int) -> Lived:
        from surpass.domains.economy.room_kernel import episode

        rules, live = self.rules, _live(context)
        shape = (self.populations, rules.length, rules.agents)
        head = torch.cat([agents.weight.flatten(2), agents.bias.flatten(2)], -1).detach()
        networks = torch.cat([agents.core[..., : -head.shape[-1]], head], -1).float().numpy()
        places = np.full((shape[0], rules.length + 1, rules.agents), rules.start, np.int64)
        raw, odds = np.zeros(shape, np.float32), np.zeros((*shape, rules.states), np.float32)
        hidden = np.zeros((*shape, 2, HIDDEN), np.float32)
        for one in range(self.populations):
            key = np.uint64(chance.key_of(derive_seed(seed, one)))
            episode(networks[one], key, 0, live, rules.needed, (places[one], raw[one], hidden[one], odds[one]))
        chosen = torch.from_numpy(places[:, 1:]).transpose(1, 2)
        # Copies: last digits of a product depend on where in memory its factors begin, and torch aligns its own.
        parts = (torch.tensor(part, dtype=agents.weight.dtype) for part in (raw, hidden[..., 1, :]))
        earned, features = (part.transpose(1, 2) for part in parts)
        effects = torch.eye(rules.states, dtype=agents.weight.dtype)[chosen]
        return Lived(features, chosen, earned, effects, earned.sum(1))

    def aim(self, agents: Agents, lived: Lived, earned: Tensor) -> Tensor:
        """Return sum_t log pi(a_t) G_t + entropy H_t, as in `room_kernel.py`."""
        logs = agents.logs(lived.features)
        done = logs.gather(-1, lived.actions[..., None])[..., 0]
        return (done * to_go(earned, self.gamma)).sum() - self._entropy * (logs.exp() * logs).sum()


class CommonsInside:
    """Harvest or Clean Up: one frozen core, one head for each population, which learns by policy gradient.

    Gains are returns to go, less the mean over the agents of the step, divided by their standard deviation: no critic.
    Agents see the rates, but the gradient does not pass through what they see.
    """

    def __init__(
        self,
        rules: Rules,
        rates: tuple[Rate, ...],
        core: Core,
        *,
        populations: int,
        ppo: PPO,
        lr: float = 0.3,  # moves the actions of Harvest about as far as an episode of PPO does: 0.008 nats
    ) -> None:
        self.rules, self.rates, self.populations = rules, rates, populations
        self.gamma, self.lr, self._entropy, self._core = ppo.gamma, lr, ppo.entropy, core
        self.episode_steps, self.inputs = populations * rules.length, 1
        self._games = Commons(rules, [0] * populations)

    def see(self, context: Context) -> Tensor:
        return torch.ones(1)

    def begin(self, seed: int) -> Agents:
        heads = Heads(self.rules.actions, [derive_seed(seed, one) for one in range(self.populations)])
        return Agents(heads.actor.detach()[:, None], heads.actor_bias.detach()[:, None], torch.empty(0))

    def play(self, agents: Agents, rates: Sequence[float], context: Context, *, seed: int) -> Lived:
        heads = Heads(self.rules.actions, [0] * self.populations)
        heads.actor.data, heads.actor_bias.data = (part[:, 0].detach().float() for part in (agents.weight, agents.bias))
        own = [derive_seed(seed, one) for one in range(self.populations)]
        self._games.reset(own)
        seen = torch.tensor(rates, dtype=torch.float32).expand(self.populations, 1, -1)
        played = play(self._games, self._core, heads, seen, seeds=own, keep=False)

        def felt(chosen: Reals) -> Tensor:
            result = settle(self.rules, played, np.broadcast_to(chosen, (self.populations, 1, 3)))
            return torch.from_numpy(result.reward[:, :, 0]).float().permute(1, 2, 0)  # [P, N, T]

        nothing = felt(np.zeros(3))
        effects = torch.stack([felt(unit) - nothing for unit in np.eye(3)], -1)
        features, actions = played.features.permute(1, 2, 0, 3), played.actions.permute(1, 2, 0)
        return Lived(features, actions, nothing, effects, nothing.mean(1))

    def aim(self, agents: Agents, lived: Lived, earned: Tensor) -> Tensor:
        logs = agents.logs(lived.features)
        done = logs.gather(-1, lived.actions[..., None])[..., 0]
        ahead = to_go(earned, self.gamma)
        gains = ahead - ahead.mean(1, keepdim=True)
        gains = gains / (gains.std((1, 2), keepdim=True) + 1e-8)
        return (done * gains - self._entropy * (logs.exp() * logs).sum(-1)).mean((1, 2)).sum()


def _live(context: Context) -> int:
    return int(dict(context)["live lever"]) - 1
