"""Agents of Escape Room who learn: the kernel against torch and the plain rules, and that they learn what they must."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surpass.domains.economy import chance
from surpass.domains.economy.escape_room import EscapeRoom, RoomRules
from surpass.domains.economy.room_agents import HIDDEN, fresh, logits
from surpass.domains.economy.room_kernel import episode, train
from surpass.domains.economy.room_learning import LearningRoom, PolicyGradient
from surpass.domains.economy.society import Many, SettledRoom
from surpass.errors import ConfigError

RULES = RoomRules(agents=3, levers=2, length=4, live=1)
FIRST = RoomRules(live=0)
PAID, UNPAID = (2.0, 0.0, 0.0, 0.0, 0.0), (0.0,) * 5


def played(thetas: np.ndarray, at: int, rules: RoomRules, key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, raw rewards and probabilities of one episode of the kernel."""
    shape = (rules.length, rules.agents)
    places = np.full((rules.length + 1, rules.agents), rules.start, np.int64)
    raw, hidden = np.zeros(shape, np.float32), np.zeros((*shape, 2, HIDDEN), np.float32)
    odds = np.zeros((*shape, rules.states), np.float32)
    episode(thetas, np.uint64(key), at, rules.live or 0, rules.needed, (places, raw, hidden, odds))
    return places, raw, odds


def seen(places: np.ndarray, rules: RoomRules) -> torch.Tensor:
    """What is seen before each step, from the plain rules."""
    room, found = EscapeRoom(rules, [0]), list[np.ndarray]()
    for step in range(rules.length):
        found.append(room.observation()[0])
        room.step(places[step + 1][None])
    return torch.tensor(np.stack(found))


def test_an_episode_is_that_of_the_plain_rules() -> None:
    chances, room = fresh(RULES, [0]).numpy()[0], EscapeRoom(RULES, [0])
    chances += np.random.default_rng(0).normal(0, 0.1, chances.shape).astype(np.float32)
    opened = 0
    for at in range(40):
        places, raw, odds = played(chances, at, RULES, 5)
        room.reset()
        turns = [room.step(row[None]) for row in places[1:]]
        assert np.array_equal([turn.raw[0] for turn in turns], raw)
        opened += sum(bool(turn.open[0]) for turn in turns)
        expected = torch.softmax(logits(torch.from_numpy(chances), seen(places, RULES), RULES), -1)
        assert np.allclose(odds, expected, atol=1e-5)
    assert 0 < opened < 160


def test_learning_is_what_torch_makes_of_the_gradient() -> None:
    """Three episodes, by autograd and torch's Adam on what the kernel played."""
    rates, how, key = np.array([0.5, 2.0, 0.1, 0.3], np.float32), PolicyGradient(lr=0.01, gamma=0.9, entropy=0.2), 3
    thetas = fresh(RULES, [1])[0]
    parameter = torch.nn.Parameter(thetas.clone())
    optimiser = torch.optim.Adam([parameter], lr=how.lr, eps=1e-5, maximize=True)
    for at in range(3):
        places, raw, _ = played(parameter.detach().numpy(), at, RULES, key)
        gains, left = torch.zeros(RULES.length, RULES.agents), torch.zeros(RULES.agents)
        for step in reversed(range(RULES.length)):
            left = torch.from_numpy(raw[step] + rates[places[step + 1]]) + how.gamma * left
            gains[step] = left
        logs = torch.log_softmax(logits(parameter, seen(places, RULES), RULES), -1)
        done = logs.gather(2, torch.from_numpy(places[1:])[..., None])[..., 0]
        optimiser.zero_grad()
        ((done * gains).sum() - how.entropy * (logs.exp() * logs).sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    told = np.zeros(3, np.float32)
    learned = thetas.numpy().copy()
    train(learned, rates, np.uint64(key), 1, 2, (3, RULES.length, how.lr, how.gamma, how.entropy), told)
    assert np.allclose(learned, parameter.detach(), atol=2e-5)
    assert np.abs(learned - thetas.numpy()).max() > 0.02


def test_agents_act_with_the_probabilities_they_have() -> None:
    thetas = fresh(FIRST, [2]).numpy()[0]
    thetas[:, -5:] = np.log([0.1, 0.15, 0.2, 0.25, 0.3])
    games = 4000
    counts = np.zeros((5, 5))
    odds = np.zeros(5)
    for at in range(games):
        places, _, shares = played(thetas, at, FIRST, chance.key_of(1))
        np.add.at(counts, (np.arange(5), places[1]), 1)
        odds = shares[0, 0]
    assert odds == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3], abs=0.02)
    surprise = ((counts - games * odds) ** 2 / (games * odds)).sum()
    assert surprise < 45, "about 20 degrees of freedom, less than one in a thousand"


def test_a_term_is_the_same_alone_in_any_batch_and_on_any_threads() -> None:
    society = LearningRoom(episodes=40, watched=2)
    rates = [(1.0, 0.5, 2.0, 0.0, 0.0), UNPAID, PAID]
    both = society.steps(rates, [7, 8, 9])
    assert both.metrics == LearningRoom(episodes=40, watched=2, threads=1).steps(rates, [7, 8, 9]).metrics
    alone = society.steps([rates[2]], [9])
    assert alone.metrics[0] == both.metrics[2]
    assert np.array_equal(alone.returns[:, 0], both.returns[:, 2])
    assert society.step(rates[1], seed=8) == both.metrics[1]
    assert society.step(rates[1], seed=6) != both.metrics[1]


def test_networks_begin_alike_however_many_threads_torch_uses() -> None:
    threads = torch.get_num_threads()
    found = []
    for number in (1, 2):
        torch.set_num_threads(number)
        found.append(fresh(RoomRules(), range(8)))
        assert torch.get_num_threads() == number
    torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_it_is_told_as_settled_agents_are() -> None:
    society, settled = LearningRoom(FIRST, episodes=1), SettledRoom(FIRST)
    assert isinstance(society, Many)
    assert society.rates == settled.rates
    assert society.context(3) == settled.context(3) == (("live lever", 1.0),)
    told, expected = society.step(PAID, seed=0), settled.step(PAID, seed=0)
    assert [name for name, _ in told.values] == [name for name, _ in expected.values]
    places = {name: value for name, value in told.values if name.startswith("at ")}
    assert sum(places.values()) == pytest.approx(5)
    assert dict(told.values)["cost"] == pytest.approx(2 * 5 * places["at lever 1"])
    assert society.environment_steps == 10


def test_agents_learn_to_open_the_door_where_it_pays() -> None:
    """Few episodes and large steps; the paper's budget is in the slow test."""
    terms = LearningRoom(FIRST, episodes=300, how=PolicyGradient(lr=3e-3)).steps([PAID] * 4 + [UNPAID] * 4, range(8))
    first, last = terms.returns[:50].mean(0), terms.returns[-50:].mean(0)
    assert (first[:4] < 60).all()
    assert (last[:4] > 125).all()
    assert (last[4:] < 0).all()
    assert [dict(one.values)["door open"] for one in terms.metrics[4:]] == [0] * 4


@pytest.mark.slow  # ten seconds of one core
def test_at_the_papers_budget_welfare_comes_near_the_best_and_without_incentives_nobody_opens() -> None:
    terms = LearningRoom(FIRST).steps([PAID] * 8 + [UNPAID] * 8, [*range(8)] * 2)
    last = terms.returns[-200:].mean(0)
    assert (last[:8] > 138).all()
    assert (last[8:] < 0).all()
    assert max(dict(one.values)["door open"] for one in terms.metrics[8:]) == 0


@pytest.mark.parametrize("field", ["episodes", "watched", "threads"])
def test_terms_that_cannot_be(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        LearningRoom(**{field: 0})  # type: ignore[arg-type]


def test_what_cannot_be_learned_is_refused_by_name() -> None:
    for field, value in (("lr", 0.0), ("lr", float("nan")), ("gamma", 1.1), ("entropy", -1.0)):
        with pytest.raises(ConfigError, match=field):
            PolicyGradient(**{field: value})
    society = LearningRoom(episodes=1)
    with pytest.raises(ConfigError, match="lever 2: expected a number from 0 to 5, found nan"):
        society.step((0, float("nan"), 0, 0, 0), seed=0)
    with pytest.raises(ConfigError, match="seeds"):
        society.steps([UNPAID], [])
