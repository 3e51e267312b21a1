"""The societies as PettingZoo parallel environments, with their policy as a parameter.

    env = CommonsEnv(rules_of("harvest"), rates=(0.1, 0.2, 0.5))
    observations, infos = env.reset(seed=7)
    observations, rewards, terminations, truncations, infos = env.step({agent: 0 for agent in env.agents})

Rewards are after taxes or incentives; infos tell `raw`, `paid` and `received`. `env.rates` may be set between episodes,
or given to `reset(options={"rates": ...})`. An agent that was zapped stays in the game and sees zeros. This is one
game, for libraries that speak PettingZoo; for many at once use `simulator.Commons`. Needs the extra `economy`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from surpass.domains.economy.accounting import (
    Brackets,
    Incentive,
    Tax,
    checked,
    pay_by_deed,
    pay_by_state,
    tax,
)
from surpass.domains.economy.escape_room import EscapeRoom, RoomRules
from surpass.domains.economy.render import picture, pixels, room_picture
from surpass.domains.economy.rules import VIEW, Rules
from surpass.domains.economy.simulator import Commons
from surpass.errors import ConfigError
from surpass.rollouts.seeds import derive_seed

Seen = NDArray[np.generic]
Told = tuple[dict[str, Seen], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, float]]]
BRACKETS = Brackets()


class CommonsEnv(ParallelEnv[str, Seen, int]):  # type: ignore[misc]
    """Harvest (rates are taxes) or Clean Up (rates are incentives) as one PettingZoo game.

    Observations are codes [11, 11] (`rules.py`), or pixels [88, 88, 3] if asked. Raises ConfigError for rates that
    cannot be and for actions that miss an agent.
    """

    metadata = {"name": "surpass_commons", "render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        rules: Rules,
        rates: Sequence[float] = (0.0, 0.0, 0.0),
        *,
        as_pixels: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self.rules, self.as_pixels, self.render_mode = rules, as_pixels, _known(render_mode)
        self.possible_agents = _names(rules.agents)
        self.agents: list[str] = []
        shape, high = ((VIEW * 8, VIEW * 8, 3) if as_pixels else (VIEW, VIEW)), 255
        self.observation_spaces = {agent: spaces.Box(0, high, shape, np.uint8) for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Discrete(rules.actions) for agent in self.possible_agents}
        self._games, self._episode, self._seed = Commons(rules, [0]), 0, 0
        self._recent: deque[NDArray[np.int8]] = deque(maxlen=BRACKETS.window + 1)
        self.rates = rates

    @property
    def rates(self) -> tuple[float, ...]:
        """The policy: three taxes from 0 to 1 (Harvest), or three incentives from 0 to 3 (Clean Up)."""
        return self._rates

    @rates.setter
    def rates(self, rates: Sequence[float]) -> None:
        self._rates = tuple(checked(rates, 1.0 if self.rules.regrowth else 3.0, 3).tolist())

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Seen], dict[str, dict[str, float]]]:
        """Begin an episode; without a seed, the next one of the last seed."""
        self._seed, self._episode = (self._seed, self._episode + 1) if seed is None else (seed, 0)
        if options and "rates" in options:
            self.rates = options["rates"]
        self._games.reset([derive_seed(self._seed, self._episode)])
        self._recent.clear()
        self.agents = list(self.possible_agents)
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, int]) -> Told:
        """Let all agents act."""
        turn = self._games.step([_listed(actions, self.agents, self.possible_agents)])
        self._recent.append(turn.ate[0])
        result = self._rewarded(turn.ate[0], turn.cleaned[0])
        return _told(self, self._seen(), result, bool(turn.done[0]))

    def _rewarded(self, ate: NDArray[np.int8], cleaned: NDArray[np.int8]) -> Tax | Incentive:
        if self.rules.regrowth:
            return tax(ate, np.sum(self._recent, axis=0, dtype=np.int64), self.rates, BRACKETS)
        return pay_by_deed(ate, cleaned, self.rates)

    def _seen(self) -> dict[str, Seen]:
        views = self._games.now.views[0]
        return dict(zip(self.possible_agents, pixels(views) if self.as_pixels else views, strict=True))

    def render(self) -> NDArray[np.uint8] | None:
        """Return the whole map as pixels, if `render_mode` is "rgb_array"."""
        return picture(self._games.boards()[0]) if self.render_mode else None

    def close(self) -> None:
        """Nothing is held."""


class RoomEnv(ParallelEnv[str, Seen, int]):  # type: ignore[misc]
    """Escape Room as one PettingZoo game; rates are incentives from 0 to 5, one for each place."""

    metadata = {"name": "surpass_escape_room", "render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012

    def __init__(
        self, rules: RoomRules, rates: Sequence[float] | None = None, *, render_mode: str | None = None
    ) -> None:
        self.rules, self.render_mode = rules, _known(render_mode)
        self.possible_agents = _names(rules.agents)
        self.agents: list[str] = []
        width = rules.agents * rules.states + rules.levers
        self.observation_spaces = {agent: spaces.Box(0, 1, (width,), np.float32) for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Discrete(rules.states) for agent in self.possible_agents}
        self._room, self._episode, self._seed, self._open = EscapeRoom(rules, [0]), 0, 0, False
        self.rates = rates if rates is not None else (0.0,) * rules.states

    @property
    def rates(self) -> tuple[float, ...]:
        """The policy."""
        return self._rates

    @rates.setter
    def rates(self, rates: Sequence[float]) -> None:
        self._rates = tuple(checked(rates, 5.0, self.rules.states).tolist())

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Seen], dict[str, dict[str, float]]]:
        """Begin an episode; without a seed, the next one of the last seed."""
        self._seed, self._episode = (self._seed, self._episode + 1) if seed is None else (seed, 0)
        if options and "rates" in options:
            self.rates = options["rates"]
        self._room = EscapeRoom(self.rules, [derive_seed(self._seed, self._episode)])
        self.agents = list(self.possible_agents)
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, int]) -> Told:
        """Let all agents act."""
        turn = self._room.step([_listed(actions, self.agents, self.possible_agents)])
        self._open = bool(turn.open[0])
        return _told(self, self._seen(), pay_by_state(turn.raw[0], turn.places[0], self.rates), turn.done)

    def _seen(self) -> dict[str, Seen]:
        seen = self._room.observation()[0]
        return {agent: seen.copy() for agent in self.possible_agents}

    def render(self) -> NDArray[np.uint8] | None:
        """Return the room as pixels, if `render_mode` is "rgb_array"."""
        if not self.render_mode:
            return None
        return room_picture(self._room.places[0], int(self._room.live[0]), self._open, self.rules)

    def close(self) -> None:
        """Nothing is held."""


def _names(agents: int) -> list[str]:
    return [f"player_{index}" for index in range(agents)]


def _known(render_mode: str | None) -> str | None:
    if render_mode not in (None, "rgb_array"):
        raise ConfigError(f"render_mode: expected None or 'rgb_array', found {render_mode!r}")
    return render_mode


def _listed(actions: Mapping[str, int], agents: Sequence[str], everybody: Sequence[str]) -> list[int]:
    if not agents:
        raise ConfigError("step: expected an episode in progress; call reset() first")
    missing = [agent for agent in everybody if agent not in actions]
    if missing:
        raise ConfigError(f"actions: expected one for each agent, found none for {missing[0]}")
    try:
        return [index(actions[agent]) for agent in everybody]
    except TypeError as error:
        raise ConfigError(f"actions: expected a whole number for each agent, found {dict(actions)}") from error


def _told(env: CommonsEnv | RoomEnv, seen: dict[str, Seen], result: Tax | Incentive, done: bool) -> Told:
    """Return PettingZoo's five answers, and let the agents go if the episode is over."""
    agents = env.agents
    paid = result.paid if isinstance(result, Tax) else np.zeros(len(agents))
    rows = zip(
        agents, result.reward.tolist(), result.raw.tolist(), paid.tolist(), result.received.tolist(), strict=True
    )
    rewards, infos = dict[str, float](), dict[str, dict[str, float]]()
    for agent, reward, raw, taxed, received in rows:
        rewards[agent], infos[agent] = reward, {"raw": raw, "paid": taxed, "received": received}
    if done:
        env.agents = []
    return seen, rewards, dict.fromkeys(agents, False), dict.fromkeys(agents, done), infos
