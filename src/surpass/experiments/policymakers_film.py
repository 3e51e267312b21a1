"""One episode of a commons before and after, as an animation: agents who learned without a policy, and under one.

Left no policy, right the rates told; both with the same seed, so that the same apples would grow were the agents to do
the same. Not here: pictures of cells (`domains/economy/render.py`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from surpass.domains.economy.learning import LearningCommons
from surpass.domains.economy.principals.principal import Rates
from surpass.domains.economy.render import Pixels, picture, write_gif
from surpass.domains.economy.simulator import Commons

GAP = 16  # pixels between the two


def film(society: LearningCommons, rates: Rates, path: Path, *, seed: int, every: int) -> tuple[float, float]:
    """Write the animation, a picture of every so many steps; return the welfare of both episodes."""
    nothing = tuple(rate.low for rate in society.rates)
    terms = society.steps([nothing, rates], [seed, seed])
    sides = []
    for index in range(2):
        games = Commons(society.rules, [terms.games[index][0]])
        boards = [games.boards()[0]]
        for step, actions in enumerate(terms.actions[:, index, 0], 1):
            games.step(actions[None])
            if step % every == 0:
                boards.append(games.boards()[0])
        sides.append(picture(np.stack(boards), scale=2))
    gap = np.full((*sides[0].shape[:2], GAP, 3), 255, np.uint8)
    frames: Pixels = np.concatenate([sides[0], gap, sides[1]], axis=2)
    write_gif(path, list(frames), per_second=10)
    return terms.metrics[0].welfare, terms.metrics[1].welfare
