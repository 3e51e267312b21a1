"""Proofs of the proof library as lessons: the shortest of each lemma, easiest first, with the goals that were met.

The library keeps scripts, not goals: a human proof's are in its corpus, those of any other proof are met again by
playing it in a live prover. Easy is what runs have solved most often, then what has the shortest known proof
(`library.difficulty`). `opened_to` is a curriculum over that order. Not here: what is learned from them.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from surpass.core import Trajectory, replay
from surpass.domains.proofs.rocq import library
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.library import Difficulty
from surpass.domains.proofs.rocq.rules import normalise

EASIEST = 1 / 3  # share of the lessons that a curriculum begins with


@dataclass(frozen=True, slots=True)
class Lesson:
    """A proof to learn from."""

    trajectory: Trajectory
    difficulty: Difficulty


def lessons(
    base: sqlite3.Connection, domain: Rocq, recorded: Mapping[str, Trajectory], among: Collection[str]
) -> list[Lesson]:
    """Return a lesson for each lemma of the library whose key is `among` those given, the easiest first.

    `recorded` are human proofs with their goals, by problem key. A proof that does not play today is left out.
    """
    difficulty, chosen = library.difficulty(base), dict[str, Lesson]()
    for proof in library.proofs(base):  # the shortest proof of a lemma comes first
        key = proof.problem.key
        if key not in among or key in chosen or key not in difficulty:
            continue
        human = recorded.get(key)
        if human is not None and tuple(map(normalise, human.actions)) == proof.script:
            chosen[key] = Lesson(human, difficulty[key])
        elif (met := replay(domain, proof.problem, proof.script)).solved:
            chosen[key] = Lesson(met, difficulty[key])
    return [chosen[key] for key in difficulty if key in chosen]


def opened_to(lessons: int, step: int, steps: int) -> int:
    """Return how many of the easiest lessons a step may draw from: a third at first, all from the middle on.

    >>> [opened_to(100, step, 100) for step in (0, 25, 50, 99)]
    [34, 67, 100, 100]
    """
    share = min(1.0, EASIEST + (1 - EASIEST) * 2 * step / max(1, steps))
    return max(1, math.ceil(lessons * share - 1e-9))  # 60 of 90, whatever the rounding
