"""MetaGrad: its gradient by finite differences and by enumeration, its accounts, and that it finds what pays."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.inside import Agents, Inside, Lived, Moments, Open, climb, still, walk
from surpass.domains.economy.learning import LearningCommons, load_core
from surpass.domains.economy.principals.metagrad import DesignOptions, Update, adapted, metagrad, surrogate
from surpass.domains.economy.principals.principal import PRINCIPALS, Simulating, principal_of
from surpass.domains.economy.room_learning import LearningRoom
from surpass.domains.economy.rules import rules_of
from surpass.domains.economy.society import Metrics, Term, surface
from surpass.errors import ConfigError

CONTEXT = (("live lever", 1.0),)
TINY = LearningRoom(RoomRules(agents=2, levers=1, needed=1, length=2, live=0))
HARVEST = LearningCommons(replace(rules_of("harvest"), length=30), load_core(), episodes=1)


def exact(agents: Agents) -> Agents:
    """The same in double precision, with heads that say something."""
    generator = torch.Generator().manual_seed(3)
    weight, bias = (
        (part + 0.3 * torch.randn(part.shape, generator=generator)).double() for part in (agents.weight, agents.bias)
    )
    return Agents(weight, bias, agents.core)


def doubled(lived: Lived) -> Lived:
    parts = lived.features, lived.raw, lived.effects, lived.welfare
    features, raw, effects, welfare = (part.double() for part in parts)
    return Lived(features, lived.actions, raw, effects, welfare)


def warmed(inside: Inside, agents: Agents, lived: Lived, rates: Tensor) -> Moments:
    """Adam's moments after one update."""
    return adapted(inside, agents, lived, rates, moments=still(agents), update=climb)[1].detach()


@pytest.mark.parametrize("update", [walk, climb])
@pytest.mark.parametrize("society", [TINY, HARVEST])
def test_the_gradient_is_that_of_finite_differences(society: Open, update: Update) -> None:
    """Of what is descended, as a function of the rates, through the agents' update, both episodes as they were."""
    inside = society.inside(2)
    agents = exact(inside.begin(0))
    low = [0.3] * len(inside.rates)
    lived, seen = (doubled(inside.play(agents, low, CONTEXT, seed=seed)) for seed in (1, 2))
    moments = warmed(inside, agents, lived, torch.tensor(low, dtype=torch.float64))

    def gain(rates: Tensor) -> Tensor:
        learned, _ = adapted(inside, agents, lived, rates, moments=moments, update=update)
        return surrogate(learned, seen, inside.gamma, torch.tensor(0.4))

    rates = torch.linspace(0.2, 0.7, len(inside.rates), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gain, rates, eps=1e-5, atol=1e-7, rtol=1e-3)
    (slope,) = torch.autograd.grad(gain(rates), rates)
    assert slope.abs().max() > 1e-6


def test_on_average_it_climbs_the_expected_welfare() -> None:
    """Every play of a room of one step, weighed by its probability, against differences of the expected welfare."""
    inside = LearningRoom(RoomRules(agents=2, levers=1, needed=1, length=1, live=0)).inside(1)
    agents, plays = exact(inside.begin(0)), list(product(range(3), repeat=2))
    lived = doubled(inside.play(agents, [1.0] * 3, CONTEXT, seed=0))
    worth = torch.tensor(
        [sum((10.0 if one == 1 else -1.0) if 0 in play else -float(one != 2) for one in play) for play in plays]
    )

    def learned(rates: Tensor) -> Agents:
        return adapted(inside, agents, lived, rates, moments=still(agents), update=walk)[0]

    def expected(rates: Tensor) -> Tensor:
        odds = learned(rates).logs(lived.features)[0, :, 0].exp()
        return sum((odds[0, a] * odds[1, b] * one for (a, b), one in zip(plays, worth, strict=True)), torch.zeros(()))

    rates = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(expected(rates), rates)
    total = torch.zeros_like(slope)
    for play, one in zip(plays, worth, strict=True):
        seen = replace(lived, actions=torch.tensor(play).view(1, 2, 1), welfare=one.double().view(1, 1))
        agents_then = learned(rates)
        gain = surrogate(agents_then, seen, inside.gamma, torch.tensor(7.0))
        total += seen.logp(agents_then).detach().sum().exp() * torch.autograd.grad(gain, rates)[0]
    assert total.numpy() == pytest.approx(slope.numpy(), rel=1e-9)
    ahead = [(expected(rates + move) - expected(rates - move)).item() / 2e-5 for move in 1e-5 * torch.eye(3).double()]
    assert slope.numpy() == pytest.approx(np.array(ahead), rel=1e-4, abs=1e-9)


def test_rewards_are_linear_in_the_rates_as_told() -> None:
    inside = HARVEST.inside(2)
    lived = inside.play(inside.begin(0), (0.1, 0.4, 0.9), (), seed=5)
    other = inside.play(inside.begin(0), (0.1, 0.4, 0.9), (), seed=5)
    assert torch.equal(lived.actions, other.actions)
    assert (lived.raw > 0).any()
    assert lived.welfare.numpy() == pytest.approx(lived.raw.mean(1).numpy())
    taxed = lived.raw + lived.effects @ torch.tensor([0.1, 0.4, 0.9])
    assert taxed.sum((1, 2)).numpy() == pytest.approx(lived.raw.sum((1, 2)).numpy(), rel=1e-4), "taxes sum to zero"
    eaters = lived.raw > 0
    first = 1 - 24 / 7 * 0.1
    assert taxed[eaters].min() < first + 1e-4


def test_it_finds_what_pays_and_tells_what_it_simulated() -> None:
    society = LearningRoom(RoomRules(live=0), episodes=1)
    principal = metagrad(society, seed=1, options=DesignOptions(updates=100, lr=3e-3))
    history = list[Term]()
    for _ in range(3):
        rates = principal.ask(history, CONTEXT)
        history.append(Term(rates, Metrics(0.0), CONTEXT))
    assert history[0].rates == pytest.approx((2.5,) * 5, abs=0.3)
    assert rates[0] > 4
    assert max(rates[1:3]) < 1
    assert isinstance(principal, Simulating)
    assert principal.environment_steps == 2 * 100 * 2 * 8 * 5


def test_it_is_a_function_of_its_seed_and_the_history() -> None:
    options = DesignOptions(updates=3, populations=2)
    society, told = LearningRoom(episodes=1), Metrics(1.0)
    history = [Term((1.0,) * 5, told, society.context(seed)) for seed in range(3)]
    walked = metagrad(society, seed=4, options=options)
    asked = [walked.ask(history[:count], society.context(count)) for count in range(4)]
    for count in (3, 1, 2, 0):
        assert walked.ask(history[:count], society.context(count)) == asked[count]
        assert metagrad(society, seed=4, options=options).ask(history[:count], society.context(count)) == asked[count]
    assert metagrad(society, seed=5, options=options).ask(history, CONTEXT) != asked[3]


def test_what_it_multiplies_is_aligned() -> None:
    """Else the last digits, and with them all that follows, depend on where an array happened to lie."""
    for populations in range(1, 9):
        inside = LearningRoom().inside(populations)
        lived = inside.play(inside.begin(0), (1.0,) * 5, CONTEXT, seed=0)
        assert [part.data_ptr() % 64 for part in (lived.features, lived.raw)] == [0, 0]


def test_harvest_is_open_too_at_the_price_of_a_term() -> None:
    principal = metagrad(HARVEST, seed=0, options=DesignOptions(populations=1))
    first = principal.ask([], ())
    second = principal.ask([Term(first, Metrics(0.0))], ())
    assert all(0 <= rate <= 1 for rate in second)
    assert first != second
    assert isinstance(principal, Simulating)
    assert principal.environment_steps == HARVEST.environment_steps == 60


def test_what_it_cannot_see_inside_is_refused_by_name() -> None:
    assert "metagrad" in PRINCIPALS
    with pytest.raises(ConfigError, match=r"LearningRoom, LearningCommons.*found Surface"):
        principal_of("metagrad", surface(0), seed=0)
    for field in ("populations", "lifetime", "lr", "grad_norm"):
        with pytest.raises(ConfigError, match=field):
            DesignOptions(**{field: 0})
    with pytest.raises(ConfigError, match="updates"):
        DesignOptions(updates=-1)
