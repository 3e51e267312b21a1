"""MetaGrad: adaptive incentive design, which differentiates through the agents' learning. The declared exception.

    context -> 256 -> 256 -> sigmoid -> rates          the principal's network
    rates -> rewards -> agents' update -> what they then do -> welfare

Other principals see what a term came to. This one holds the society (`Inside`) and simulates it before it answers: an
episode under its rates, one update of the agents' heads, with a graph, and an episode of the agents so updated, whose
log-probabilities depend on the rates through that update. It descends
    - sum_t (sum_i log pi_i(a_t)) (G_t - b_t)            G_t the welfare from t on, b_t its running mean
by Adam. Agents live for `lifetime` updates and then begin anew. What it simulates is counted, `environment_steps`, and
is by default, after each term, about what the term itself took. Its own simulation is all that it learns from: of the
history it reads how many terms there were, in which contexts.

Yang et al. 2022 (arXiv 2112.10859), as a baseline of Large Legislative Models (arXiv 2410.08345). There one update was
made before each term; agents lived for one (`updates=1, lifetime=1`); all updates were Adam's (`update=climb`), and
after one alone the rates hardly matter, see `climb`. Different from both: the network sees the context alone.
Not here: the graph through a whole term of learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surpass.bounds import at_least
from surpass.domains.economy.inside import Agents, Inside, Lived, Moments, Open, still, to_go, walk
from surpass.domains.economy.principals.principal import Learning, Principal, Rates
from surpass.domains.economy.society import Context, Society, Term
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed

Update = Callable[[Agents, tuple[Tensor, Tensor], Moments, float], tuple[Agents, Moments]]
WIDTH = 256
FORGET = 0.9  # how much of the running mean stays


@dataclass(frozen=True, slots=True)
class DesignOptions:
    """How the principal learns."""

    populations: int = 8  # simulated side by side
    updates: int = 0  # after each term; 0: as many as take about the environment steps of the term
    lifetime: int = 100  # updates after which the agents begin anew
    lr: float = 1e-3  # the paper's is 2e-4
    grad_norm: float = 0.5

    def __post_init__(self) -> None:
        at_least(self, populations=1, updates=0, lifetime=1)
        for name in ("lr", "grad_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name}: expected a number above 0, found {getattr(self, name)}")


def adapted(
    inside: Inside, agents: Agents, lived: Lived, rates: Tensor, *, moments: Moments, update: Update
) -> tuple[Agents, Moments]:
    """Return the agents after they learned from an episode under rates [K], differentiable in the rates."""
    parts = agents.weight.detach().requires_grad_(), agents.bias.detach().requires_grad_()
    before = Agents(*parts, agents.core)
    aim = inside.aim(before, lived, lived.raw + lived.effects @ rates)
    weight, bias = torch.autograd.grad(aim, parts, create_graph=True)
    return update(before, (weight, bias), moments, inside.lr)


def surrogate(agents: Agents, seen: Lived, gamma: float, baseline: Tensor) -> Tensor:
    """Return what has the gradient of the expected welfare: mean_P sum_t (sum_i log pi_i(a_t)) (G_t - b_t)."""
    ahead = to_go(seen.welfare, gamma)
    return (seen.logp(agents).sum(1) * (ahead - baseline)).sum(-1).mean()


class Design:
    """The learner: a network from contexts to rates and what it needs to go on."""

    def __init__(self, inside: Inside, options: DesignOptions, update: Update, *, updates: int, seed: int) -> None:
        self._inside, self._options, self._update, self._updates = inside, options, update, updates
        self._low = torch.tensor([rate.low for rate in inside.rates])
        self._span = torch.tensor([rate.high - rate.low for rate in inside.rates])
        self._net = _network(inside.inputs, len(inside.rates), seed)
        self._optimiser = torch.optim.Adam(self._net.parameters(), lr=options.lr)
        self._baseline = torch.zeros(())
        self.environment_steps = 0

    def learn(self, term: Term, *, seed: int) -> None:
        agents, moments = self._inside.begin(seed), None
        for number in range(self._updates):
            if number % self._options.lifetime == 0:
                agents, moments = self._inside.begin(derive_seed(seed, "life", number)), None
            moments = still(agents) if moments is None else moments
            agents, moments = self._step(agents, moments, term.context, seed=derive_seed(seed, number))

    def choose(self, context: Context, *, seed: int) -> Rates:
        with torch.no_grad():
            rates: list[float] = self._rates(context).double().tolist()
        return tuple(min(max(one, rate.low), rate.high) for one, rate in zip(rates, self._inside.rates, strict=True))

    def _rates(self, context: Context) -> Tensor:
        made: Tensor = self._net(self._inside.see(context))
        return self._low + self._span * torch.sigmoid(made)

    def _step(self, agents: Agents, moments: Moments, context: Context, *, seed: int) -> tuple[Agents, Moments]:
        """Simulate two episodes, climb the gradient, and return the agents, who have learned."""
        inside, rates = self._inside, self._rates(context)
        felt = rates.tolist()
        lived = inside.play(agents, felt, context, seed=derive_seed(seed, "learn"))
        agents, moments = adapted(inside, agents, lived, rates, moments=moments, update=self._update)
        seen = inside.play(agents, felt, context, seed=derive_seed(seed, "watch"))
        self.environment_steps += 2 * inside.episode_steps
        gain = surrogate(agents, seen, inside.gamma, self._baseline)
        self._optimiser.zero_grad()
        (-gain).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._net.parameters(), self._options.grad_norm)
        self._optimiser.step()
        ahead = to_go(seen.welfare, inside.gamma).mean(0)
        self._baseline = FORGET * self._baseline + (1 - FORGET) * ahead
        return agents.detach(), moments.detach()


class MetaGrad:
    """The principal of a `Design`, which tells what it simulated."""

    def __init__(self, begin: Callable[[], Design], *, seed: int) -> None:
        self._begin = begin
        self._learning = Learning(self._anew, seed=seed)

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        return self._learning.ask(history, context)

    @property
    def environment_steps(self) -> int:
        """How many environment steps were simulated for the history as it was last told."""
        return self._design.environment_steps

    def _anew(self) -> Design:
        self._design = self._begin()
        return self._design


def metagrad(
    society: Society, *, seed: int, options: DesignOptions = DesignOptions(), update: Update = walk
) -> Principal:
    """Return the principal. Raises ConfigError for a society that cannot be seen from inside."""
    if not isinstance(society, Open):
        raise ConfigError(
            f"metagrad: expected a society that it can see inside (LearningRoom, LearningCommons), "
            f"found {type(society).__name__}"
        )
    inside = society.inside(options.populations)
    updates = options.updates or max(1, society.environment_steps // (2 * inside.episode_steps))

    def begin() -> Design:
        return Design(inside, options, update, updates=updates, seed=seed)

    return MetaGrad(begin, seed=seed)


def _network(inputs: int, outputs: int, seed: int) -> nn.Sequential:
    """Return the network; its last layer begins near zero, so that rates begin near the middle of their ranges."""
    layers = [nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, outputs)]
    generator = torch.Generator().manual_seed(derive_seed(seed, "metagrad"))
    for layer, gain in zip(layers, (math.sqrt(2), math.sqrt(2), 0.01), strict=True):
        nn.init.orthogonal_(layer.weight, gain, generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
