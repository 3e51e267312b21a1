"""The networks of Escape Room's agents, in torch: how they begin, and what they say; one row of numbers for each agent.

    w1 [seen, 64], b1 [64], w2 [64, 64], b2 [64], w3 [64, places], b3 [places]      in this order; ReLU between

`room_kernel.py` learns with the same rows, compiled. Not here: learning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surpass.domains.economy.escape_room import RoomRules
from surpass.threads import one_thread

HIDDEN = 64


def shapes(rules: RoomRules) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the parts of a row, in order."""
    seen, places = rules.agents * rules.states + rules.levers, rules.states
    return (seen, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN, places), (places,)


def fresh(rules: RoomRules, seeds: Sequence[int]) -> Tensor:
    """Return untrained networks [seeds, agents, numbers]: orthogonal, gain sqrt 2, the last layer's 0.01, no biases.

    The same however many threads torch may use: learning would make another society of other last digits.
    """
    rows = list[Tensor]()
    with one_thread():
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for _ in range(rules.agents):
                parts = [torch.zeros(shape) for shape in shapes(rules)]
                for part, gain in zip(parts[::2], (math.sqrt(2), math.sqrt(2), 0.01), strict=True):
                    nn.init.orthogonal_(part, gain, generator)
                rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows).view(len(seeds), rules.agents, -1)


def logits(thetas: Tensor, seen: Tensor, rules: RoomRules) -> Tensor:
    """Return the logits [steps, agents, places] of networks [agents, numbers] that see [steps, inputs]."""
    sizes = [math.prod(shape) for shape in shapes(rules)]
    parts = [part.view(-1, *shape) for part, shape in zip(torch.split(thetas, sizes, 1), shapes(rules), strict=True)]
    made = torch.relu(seen @ parts[0] + parts[1][:, None])  # [agents, steps, 64]
    made = torch.relu(made @ parts[2] + parts[3][:, None])
    return (made @ parts[4] + parts[5][:, None]).transpose(0, 1)
