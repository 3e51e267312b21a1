"""The environments under PettingZoo's own tests, and the policy as their parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from surpass.domains.economy.accounting import incomes, tax
from surpass.domains.economy.escape_room import RoomRules
from surpass.domains.economy.parallel import CommonsEnv, RoomEnv
from surpass.domains.economy.rules import rules_of
from surpass.errors import ConfigError

Env = CommonsEnv | RoomEnv
HARVEST, CLEANUP = (replace(rules_of(name), length=60) for name in ("harvest", "cleanup"))
MAKERS: dict[str, Callable[[], Env]] = {
    "harvest": lambda: CommonsEnv(HARVEST, (0.1, 0.2, 0.3)),
    "harvest pixels": lambda: CommonsEnv(HARVEST, as_pixels=True, render_mode="rgb_array"),
    "cleanup": lambda: CommonsEnv(CLEANUP, (0, 2, 0)),
    "melting pot": lambda: CommonsEnv(replace(rules_of("cleanup", "melting_pot"), length=60)),
    "room": lambda: RoomEnv(RoomRules(), (0, 0, 2, 0, 0), render_mode="rgb_array"),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[], Env]:
    return MAKERS[request.param]


def test_pettingzoo_accepts_it(make: Callable[[], Env]) -> None:
    parallel_api_test(make(), num_cycles=70)


def test_pettingzoo_finds_it_deterministic(make: Callable[[], Env]) -> None:
    parallel_seed_test(make, num_cycles=30)


def test_observations_lie_in_their_space(make: Callable[[], Env]) -> None:
    env = make()
    seen, _ = env.reset(seed=1)
    for _ in range(4):
        assert all(env.observation_space(agent).contains(seen[agent]) for agent in env.agents)
        seen = env.step({agent: env.action_space(agent).sample() for agent in env.agents})[0]


def test_rewards_are_after_taxes() -> None:
    env, chance = CommonsEnv(HARVEST, (0.5, 0.5, 0.5)), np.random.default_rng(0)
    env.reset(seed=0)
    ate = 0.0
    while env.agents:
        _, rewards, _, _, infos = env.step({agent: int(chance.integers(0, 7)) for agent in env.agents})
        raw = sum(info["raw"] for info in infos.values())
        assert sum(rewards.values()) == raw, "taxes leave nothing out"
        if raw:
            eater = max(infos, key=lambda agent: infos[agent]["raw"])
            assert rewards[eater] < 0 < infos[eater]["paid"]
        ate += raw
    assert ate > 0
    with pytest.raises(ConfigError, match="reset"):
        env.step({})


def test_brackets_follow_the_income_of_this_episode_alone() -> None:
    """Step by step as for whole episodes at once; what was eaten in the episode before counts no more."""
    rates, near = (0.1, 0.5, 0.9), "\n".join(["WWWWWWWW", *["WAAAAAAW"] * 4, "W123456W", "WWWWWWWW"])
    env, chance = CommonsEnv(replace(HARVEST, map=near, agents=6, length=12), rates), np.random.default_rng(0)
    brackets = set[int]()
    for _ in range(3):
        env.reset()
        raw, left = list[list[float]](), list[list[float]]()
        while env.agents:
            _, rewards, _, _, infos = env.step({agent: int(chance.choice([1, 1, 3, 4])) for agent in env.agents})
            raw.append([info["raw"] for info in infos.values()])
            left.append(list(rewards.values()))
        whole = tax(raw, incomes(raw, 10), rates)
        assert np.array_equal(whole.reward, left)
        brackets |= set(whole.bracket[whole.raw > 0].tolist())
    assert brackets >= {0, 1}, "several brackets were met"


def test_resets_continue_the_last_seed_and_take_rates() -> None:
    env = CommonsEnv(replace(rules_of("cleanup", "melting_pot"), length=60))
    first, again, second = env.reset(seed=3)[0], env.reset()[0], env.reset(seed=3)[0]
    assert np.array_equal(first["player_1"], second["player_1"])
    assert not all(np.array_equal(first[agent], again[agent]) for agent in first)
    env.reset(options={"rates": (0, 3, 1)})
    assert env.rates == (0, 3, 1)


@pytest.mark.parametrize(
    "make_env", [lambda rates: CommonsEnv(HARVEST, rates), lambda rates: RoomEnv(RoomRules(), rates)]
)
@pytest.mark.parametrize("rates", [(9, 0, 0, 0, 0), (0, float("nan"), 0), (0,)])
def test_rates_that_cannot_be(make_env: Callable[[object], Env], rates: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="rates"):
        make_env(rates)


def test_what_cannot_be_done_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="render_mode"):
        CommonsEnv(HARVEST, render_mode="human")
    env = RoomEnv(RoomRules())
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="none for player_1"):
        env.step({"player_0": 1})
    for action in (None, 1.5, "1"):
        with pytest.raises(ConfigError, match="actions: expected a whole number for each agent"):
            env.step(dict.fromkeys(env.agents, action))  # type: ignore[arg-type]
