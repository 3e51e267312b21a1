"""A policy that always proposes the same list of actions: automation tactics as a source, alone or in a mixture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from surpass.core import Observation, Proposal

# Rocq's general automation, in the order of what each closes per millisecond on lemmas of the standard library.
# `lia` only works where the file has loaded it; elsewhere the tactic fails like any other wrong guess.
ROCQ_AUTOMATION: tuple[str, ...] = (
    "auto.",
    "eauto.",
    "intuition.",
    "firstorder.",
    "congruence.",
    "lia.",
)
ROCQ_HAMMER: tuple[str, ...] = ("sauto.", "hauto.")  # from coq-hammer-tactics, where it is installed and loaded

# Lean's: no name of a lemma, no search for one; those that only Mathlib has fail elsewhere like any other wrong guess.
LEAN_AUTOMATION: tuple[str, ...] = (
    "rfl",
    "trivial",
    "assumption",
    "simp_all",
    "omega",
    "decide",
    "tauto",
    "norm_num",
    "nlinarith",
    "aesop",
)


class Fixed:
    """Propose the first `n` actions of a list, each with log-probability -log(len(list)).

    >>> Fixed(["auto.", "lia."]).propose([Observation("goal")], 1, seeds=[0])
    [[Proposal(action='auto.', logp=-0.6931471805599453, tokens=())]]
    """

    def __init__(self, actions: Sequence[str]) -> None:
        if not actions or len(set(actions)) != len(actions):
            raise ValueError(f"expected a list of distinct actions, got {list(actions)!r}")
        logp = -math.log(len(actions))
        self._proposals = [Proposal(action, logp) for action in actions]

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return the head of the list for every observation; seeds are not used."""
        return [self._proposals[:n] for _ in observations]
