"""Chance as a function of where we are: game, step and purpose, never of what was drawn before.

    bits(key, step, slot) = mix(key + GAMMA * (step * SLOTS + slot + 1))          splitmix64, entered at any place

A game with a seed is the same alone or among a thousand others, however its steps are spread over threads, and the
compiled kernel needs no generator to carry along. The key comes from `derive_seed`; the slots of one step are laid out
here. Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
Not here: the compiled twins of `bits`, `uniform` and `below` (`kernel.py`).
"""

from __future__ import annotations

from surpass.rollouts.seeds import derive_seed

GAMMA = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1

SLOTS = 256  # of each step, for:
MOVING = 0  # + agent: the order in which agents move
CLEANING = 16  # + agent: the order in which they clean
DIRT, DIRT_WHERE, END = 32, 33, 34
ENTRY = 40  # + 2 * agent: where an agent enters, and (+ 1) which way it faces
GROWTH = 64  # + site: whether an apple grows


def key_of(seed: int) -> int:
    """Return the 63-bit key of a game's seed."""
    return derive_seed("economy", seed)


def bits(key: int, step: int, slot: int) -> int:
    """Return 64 random bits."""
    z = (key + GAMMA * (step * SLOTS + slot + 1)) & MASK
    z = ((z ^ (z >> 30)) * FIRST) & MASK
    z = ((z ^ (z >> 27)) * SECOND) & MASK
    return z ^ (z >> 31)


def uniform(key: int, step: int, slot: int) -> float:
    """Return a number in [0, 1), a multiple of 2^-53.

    >>> 0 <= uniform(key_of(0), 1, 2) < 1
    True
    """
    return float(bits(key, step, slot) >> 11) * 2.0**-53


def below(key: int, step: int, slot: int, n: int) -> int:
    """Return one of 0 .. n-1; the 32 bits it is made of favour some by less than n * 2^-32."""
    return ((bits(key, step, slot) >> 32) * n) >> 32
