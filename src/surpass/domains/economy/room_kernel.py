"""Agents of Escape Room who learn, compiled: one population plays an episode, updates its networks, and so on.

Each agent has a network of its own, seen -> 64 -> 64 -> places (ReLU), in one row of numbers: w1 [seen, 64], b1, w2
[64, 64], b2, w3 [64, places], b3. All see the same: everybody's place and the live lever, one-hot. After each episode
every agent follows the gradient of
    sum_t log pi(a_t | s_t) G_t + entropy sum_t H(pi(. | s_t)),     G_t = sum_{u >= t} gamma^{u-t} (raw_u + incentive_u)
with Adam (Williams 1992, REINFORCE). Chance is that of `chance.py`: a population is the same alone and among others.
`room_agents.py` says the same in torch, and a test holds the two equal.
Not here: societies and metrics (`room_learning.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from surpass.domains.economy.kernel import compiled, uniform
from surpass.domains.economy.room_agents import HIDDEN

F = TypeVar("F", bound=Callable[..., object])
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-5  # of Adam


def reassociated(function: F) -> F:
    """Compile with numba, sums in any order: the same one on the same machine."""
    return cast("F", numba.njit(function, cache=True, nogil=True, fastmath={"reassoc", "contract"}))


@compiled
def look(places: Ints, live: int, states: int, seen: Ints) -> None:
    """Write the inputs that are one [agents + 1]."""
    for agent in range(len(places)):
        seen[agent] = agent * states + places[agent]
    seen[len(places)] = len(places) * states + live


@compiled
def forward(theta: Floats, seen: Ints, states: int, first: Floats, second: Floats, odds: Floats) -> None:
    """Write both hidden layers [64] and the probabilities of places [states]; layers before their ReLU are not kept."""
    inputs = (len(theta) - (HIDDEN + 2) * HIDDEN - (HIDDEN + 1) * states) // HIDDEN
    at = inputs * HIDDEN
    first[:] = theta[at : at + HIDDEN]
    for one in seen:
        for unit in range(HIDDEN):
            first[unit] += theta[one * HIDDEN + unit]
    at += HIDDEN
    second[:] = theta[at + HIDDEN * HIDDEN : at + HIDDEN * HIDDEN + HIDDEN]
    for below in range(HIDDEN):
        first[below] = max(first[below], np.float32(0))
        if first[below] > 0:
            row = at + below * HIDDEN
            for unit in range(HIDDEN):
                second[unit] += first[below] * theta[row + unit]
    at += (HIDDEN + 1) * HIDDEN
    odds[:] = theta[at + HIDDEN * states :]
    for below in range(HIDDEN):
        second[below] = max(second[below], np.float32(0))
        if second[below] > 0:
            for place in range(states):
                odds[place] += second[below] * theta[at + below * states + place]
    top = odds.max()
    for place in range(states):
        odds[place] = math.exp(odds[place] - top)
    total = odds.sum()
    for place in range(states):
        odds[place] /= total


@reassociated
def backward(
    theta: Floats, grad: Floats, seen: Ints, first: Floats, second: Floats, slope: Floats, below: Floats
) -> None:
    """Add the gradient that the slopes of the logits [states] make; `below` [2, 64] is room to work in."""
    states = len(slope)
    inputs = (len(theta) - (HIDDEN + 2) * HIDDEN - (HIDDEN + 1) * states) // HIDDEN
    one, two = inputs * HIDDEN, (inputs + 1) * HIDDEN
    three = two + (HIDDEN + 1) * HIDDEN
    for place in range(states):
        grad[three + HIDDEN * states + place] += slope[place]
    for unit in range(HIDDEN):
        below[1, unit] = 0
        if second[unit] > 0:
            for place in range(states):
                below[1, unit] += theta[three + unit * states + place] * slope[place]
                grad[three + unit * states + place] += second[unit] * slope[place]
        grad[two + HIDDEN * HIDDEN + unit] += below[1, unit]
    for unit in range(HIDDEN):
        below[0, unit] = 0
        if first[unit] > 0:
            row, total = two + unit * HIDDEN, np.float32(0)
            for up in range(HIDDEN):
                total += theta[row + up] * below[1, up]
                grad[row + up] += first[unit] * below[1, up]
            below[0, unit] = total
        grad[one + unit] += below[0, unit]
    for index in seen:
        for unit in range(HIDDEN):
            grad[index * HIDDEN + unit] += below[0, unit]


@reassociated
def adam(theta: Floats, grad: Floats, moments: Floats, lr: float, update: int) -> None:
    """Climb a gradient; `moments` [2, numbers], `update` counts from 1."""
    rate = np.float32(lr * math.sqrt(1 - BETA2**update) / (1 - BETA1**update))
    floor = np.float32(EPSILON * math.sqrt(1 - BETA2**update))
    decay1, decay2 = np.float32(BETA1), np.float32(BETA2)
    rest1, rest2 = np.float32(1 - BETA1), np.float32(1 - BETA2)
    first, second = moments[0], moments[1]
    for index in range(len(theta)):
        slope = grad[index]
        first[index] = decay1 * first[index] + rest1 * slope
        second[index] = decay2 * second[index] + rest2 * slope * slope
        theta[index] += rate * first[index] / (math.sqrt(second[index]) + floor)


@compiled
def episode(
    thetas: Floats, key: np.uint64, at: int, live: int, needed: int, kept: tuple[Ints, Floats, Floats, Floats]
) -> None:
    """Play an episode [steps, agents] into `kept`: places, raw rewards, hidden layers, probabilities.

    places [steps + 1, agents], the first row being where all begin; raw [steps, agents]; hidden [steps, agents, 2, 64];
    odds [steps, agents, states]. `at` is the number of the episode, which chance goes by.
    """
    places, raw, hidden, odds = kept
    steps, agents, states = odds.shape
    door = states - 2
    seen = np.empty(agents + 1, np.int64)
    for t in range(steps):
        look(places[t], live, states, seen)
        for agent in range(agents):
            forward(thetas[agent], seen, states, hidden[t, agent, 0], hidden[t, agent, 1], odds[t, agent])
            drawn, place = uniform(key, at * steps + t, agent), 0
            drawn -= odds[t, agent, 0]
            while drawn >= 0 and place < states - 1:
                place += 1
                drawn -= odds[t, agent, place]
            places[t + 1, agent] = place
        at_lever = 0
        for agent in range(agents):
            at_lever += places[t + 1, agent] == live
        for agent in range(agents):
            if at_lever >= needed:
                raw[t, agent] = 10 if places[t + 1, agent] == door else -1
            else:
                raw[t, agent] = -1 if places[t + 1, agent] != places[t, agent] else 0


@compiled
def train(
    thetas: Floats,
    rates: Floats,
    key: np.uint64,
    live: int,
    needed: int,
    how: tuple[int, int, float, float, float],
    told: Floats,
) -> None:
    """Let one population learn; `how` is episodes, steps, lr, gamma, entropy; `told` [episodes] are its raw returns."""
    episodes, steps, lr, gamma, entropy = how
    agents, states = len(thetas), len(rates)
    places = np.full((steps + 1, agents), states - 1, np.int64)
    raw, odds = np.zeros((steps, agents), np.float32), np.zeros((steps, agents, states), np.float32)
    hidden = np.zeros((steps, agents, 2, HIDDEN), np.float32)
    grad, moments = np.zeros(thetas.shape[1], np.float32), np.zeros((agents, 2, thetas.shape[1]), np.float32)
    slope, below, seen = np.zeros(states, np.float32), np.zeros((2, HIDDEN), np.float32), np.zeros(agents + 1, np.int64)
    for at in range(episodes):
        episode(thetas, key, at, live, needed, (places, raw, hidden, odds))
        told[at] = raw.sum()
        for agent in range(agents):
            grad[:] = 0
            left = 0.0
            for t in range(steps - 1, -1, -1):
                chosen = places[t + 1, agent]
                left = raw[t, agent] + rates[chosen] + gamma * left
                look(places[t], live, states, seen)
                surprise = 0.0
                for place in range(states):
                    surprise -= odds[t, agent, place] * math.log(odds[t, agent, place] + 1e-12)
                for place in range(states):
                    share = odds[t, agent, place]
                    slope[place] = ((place == chosen) - share) * left
                    slope[place] -= entropy * share * (math.log(share + 1e-12) + surprise)
                backward(thetas[agent], grad, seen, hidden[t, agent, 0], hidden[t, agent, 1], slope, below)
            adam(thetas[agent], grad, moments[agent], lr, at + 1)
