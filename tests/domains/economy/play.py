"""What tests of the simulators share: small maps, random actions, and how unlikely a count is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from surpass.domains.economy.reference import Game
from surpass.domains.economy.rules import Rules, rules_of
from surpass.domains.economy.simulator import Commons, Turn

CROWDED = """
WWWWWWWW
WPPAAFFW
WPQAAHFW
WPPAA~FW
WPPPPPPW
WWWWWWWW
"""


def crowded(name: str, agents: int = 7) -> Rules:
    """Everything happens often: apples, dirt, beams, full cells, early ends."""
    rules = replace(rules_of(name, "melting_pot"), map=CROWDED, agents=agents, actions=9, end_chance=0.3)
    rules = replace(rules, end_after=20, end_every=10, zap_out=3, zap_cooldown=1, length=70)
    if name == "harvest":
        return replace(rules, regrowth=(0.1, 0.3, 0.9))
    return replace(rules, growth=0.9, depletion=0.9, dirt_after=5)


def actions_for(rules: Rules, games: int, seed: int, steps: int) -> NDArray[np.int16]:
    """Random actions [steps, games, agents], half of them steps forward and beams, so that something happens."""
    chance = np.random.default_rng(seed)
    shape = (steps, games, rules.agents)
    eager = chance.choice([1, rules.actions - 1, min(7, rules.actions - 1)], shape)
    return np.where(chance.random(shape) < 0.5, eager, chance.integers(0, rules.actions, shape)).astype(np.int16)


def same(commons: Commons, turn: Turn, games: list[Game]) -> bool:
    """Whether a turn of the kernel and games of the reference say exactly the same."""
    boards = commons.boards()
    for index, game in enumerate(games):
        agents = game.agents
        told = (turn.ate[index], turn.cleaned[index], turn.hit[index])
        expected = tuple(zip(*((one.ate, one.cleaned, one.hit) for one in agents), strict=True))
        counts = (turn.apples[index], turn.dirt[index], turn.done[index], turn.grown[index])
        if (
            [list(one) for one in told] != [list(one) for one in expected]
            or counts != (sum(game.apples), sum(game.dirty), game.done, game.grown)
            or not np.array_equal(turn.views[index], game.views())
            or not np.array_equal(boards[index], game.board())
        ):
            return False
    return True


def unlikely(hits: int, trials: int, chance: float) -> float:
    """Return how many standard deviations a count lies from its mean."""
    assert trials * chance * (1 - chance) > 20, "too few trials to tell"
    return float(abs(hits - trials * chance) / np.sqrt(trials * chance * (1 - chance)))
