"""The AI Economist: a network that sees the last term and learns by PPO which levels of the rates pay.

    observation -> 128 -> 128 -> one categorical head per rate (no-op, level 1, ..., level L), and a critic

As the baseline of Large Legislative Models (arXiv 2410.08345), after Zheng et al. 2020 (arXiv 2004.13332). A no-op
keeps the rate of the term before; before the first term all rates are at their lowest. A term is an episode of one
step: advantage = welfare - V, not normalised; four epochs after each `batch` terms. The observation: what the last
term's metrics came to, each divided by the largest size it has had, and the context, one-hot in order of appearance;
ones where there is nothing to see yet. Different from the paper: metrics in place of whole trajectories of apples.

Rates alone do not tell a no-op from the same level: a term is taken in by drawing again as it was drawn. A term that
somebody else chose counts as the nearest levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from surpass.bounds import at_least
from surpass.domains.economy.principals.principal import Learning, Principal, Rates
from surpass.domains.economy.society import Context, Metrics, Rate, Society, Term
from surpass.errors import ConfigError

SLOTS = 24  # metrics that are seen; more are not
CONTEXTS = 8  # contexts that are told apart
WIDTH = 128
EPOCHS, CLIP, VALUE_WEIGHT, GRAD_NORM = 4, 0.2, 0.5, 0.5


@dataclass(frozen=True, slots=True)
class PlannerOptions:
    """How the network learns; the paper's numbers."""

    levels: int = 21  # of each rate
    lr: float = 2e-4
    entropy: float = 0.2
    batch: int = 1  # terms between updates

    def __post_init__(self) -> None:
        at_least(self, levels=2, batch=1)
        if not (self.lr > 0 and self.entropy >= 0):
            raise ConfigError(f"lr, entropy: expected above 0 and at least 0, found {self.lr} and {self.entropy}")


class Network(nn.Module):
    """Observations [B, SLOTS + CONTEXTS] to logits [B, rates, 1 + levels] and values [B]."""

    def __init__(self, rates: int, levels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(SLOTS + CONTEXTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.heads, self.critic = nn.Linear(WIDTH, rates * (1 + levels)), nn.Linear(WIDTH, 1)
        self.shape = (rates, 1 + levels)
        layers = [(self.body[0], math.sqrt(2)), (self.body[2], math.sqrt(2)), (self.heads, 0.01), (self.critic, 1.0)]
        for layer, gain in layers:
            nn.init.orthogonal_(layer.weight, gain)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        made = self.body(seen)
        return self.heads(made).view(-1, *self.shape), self.critic(made)[:, 0]


class Planner:
    """The learner."""

    def __init__(self, rates: tuple[Rate, ...], options: PlannerOptions, *, seed: int) -> None:
        self._options = options
        self._grid = [np.linspace(rate.low, rate.high, options.levels) for rate in rates]
        self._last: Rates = tuple(rate.low for rate in rates)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = Network(len(rates), options.levels)
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=options.lr)
        self._sizes, self._contexts = dict[str, float](), dict[Context, int]()
        self._metrics: Metrics | None = None
        self._waiting = list[tuple[Tensor, Tensor, float]]()  # observation, actions, welfare

    def choose(self, context: Context, *, seed: int) -> Rates:
        return self._rates(self._draw(self._seen(context), seed))

    def learn(self, term: Term, *, seed: int) -> None:
        self._contexts.setdefault(term.context, len(self._contexts) % CONTEXTS)
        seen = self._seen(term.context)
        drawn = self._draw(seen, seed)
        if self._rates(drawn) != term.rates:
            nearest = [1 + int(np.abs(grid - rate).argmin()) for grid, rate in zip(self._grid, term.rates, strict=True)]
            drawn = torch.tensor(nearest)
        self._waiting.append((seen, drawn, term.metrics.welfare))
        if len(self._waiting) == self._options.batch:
            self._update()
            self._waiting = []
        self._last, self._metrics = term.rates, term.metrics
        for name, value in _numbers(term.metrics):
            self._sizes[name] = max(self._sizes.get(name, 0.0), abs(value))

    def _seen(self, context: Context) -> Tensor:
        seen = torch.ones(SLOTS + CONTEXTS)
        if self._metrics is not None:
            for slot, (name, value) in enumerate(_numbers(self._metrics)):
                seen[slot] = value / max(self._sizes[name], 1e-9)
        seen[SLOTS:] = 0.0
        seen[SLOTS + self._contexts.get(context, len(self._contexts) % CONTEXTS)] = 1.0
        return seen

    def _draw(self, seen: Tensor, seed: int) -> Tensor:
        """Return the actions of a term [rates]: 0 is the no-op."""
        with torch.no_grad():
            logits, _ = self._network(seen[None])
        chance = torch.from_numpy(np.random.default_rng(seed).random((len(self._grid), 1), np.float32))
        drawn = (torch.softmax(logits[0], 1).cumsum(1) < chance).sum(1)
        return drawn.clamp(max=self._options.levels)

    def _rates(self, actions: Tensor) -> Rates:
        chosen: Sequence[int] = actions.tolist()
        levels = zip(self._grid, self._last, chosen, strict=True)
        return tuple(float(grid[action - 1]) if action else last for grid, last, action in levels)

    def _update(self) -> None:
        """Make what paid more likely."""
        seen, actions = (torch.stack([one[part] for one in self._waiting]) for part in (0, 1))  # type: ignore[misc]
        welfare = torch.tensor([one[2] for one in self._waiting])
        with torch.no_grad():
            logits, values = self._network(seen)
            before, gain = _logp(logits, actions), welfare - values
        for _ in range(EPOCHS):
            logits, values = self._network(seen)
            ratio = (_logp(logits, actions) - before).exp()
            policy = -torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            logs = torch.log_softmax(logits, 2)
            entropy = -(logs.exp() * logs).sum((1, 2)).mean()
            value = 0.5 * (values - welfare).square().mean()
            loss = policy + VALUE_WEIGHT * value - self._options.entropy * entropy
            self._optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._network.parameters(), GRAD_NORM)
            self._optimiser.step()


def _numbers(metrics: Metrics) -> list[tuple[str, float]]:
    return [("welfare", metrics.welfare), *metrics.values][:SLOTS]


def _logp(logits: Tensor, actions: Tensor) -> Tensor:
    """Return log-probabilities of whole policies [B]."""
    return torch.log_softmax(logits, 2).gather(2, actions[..., None])[..., 0].sum(1)


def ai_economist(society: Society, *, seed: int, options: PlannerOptions = PlannerOptions()) -> Principal:
    """Return the AI Economist."""
    return Learning(lambda: Planner(society.rates, options, seed=seed), seed=seed)
