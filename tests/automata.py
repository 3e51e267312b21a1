"""Automata that several tests walk through."""

from __future__ import annotations

from dataclasses import replace

from surpass.models.scripted import Automaton, Fault, Uniform

ACTIONS = ("l", "r", "x")  # x is no move anywhere: it is rejected


def forest(roots: int = 12, *, faults: dict[str, Fault] | None = None, once: str = "") -> Automaton:
    """A binary tree of 63 nodes, its goals at every seventh leaf; a problem starts in each of the first nodes."""
    moves = {f"n{node}": {"l": f"n{2 * node + 1}", "r": f"n{2 * node + 2}"} for node in range(31)}
    goals = frozenset(f"n{leaf}" for leaf in range(31, 63, 7))
    splits = {"train": tuple(f"n{root}" for root in range(roots))}
    return Automaton(moves, goals, splits, faults=faults or {}, once=once)


def diamond() -> Automaton:
    """Two ways from a to d, a dead end at e, and the goal behind d."""
    moves = {
        "a": {"up": "b", "down": "c"},
        "b": {"join": "d", "stray": "e"},
        "c": {"join": "d"},
        "d": {"finish": "goal"},
        "e": {},
    }
    return Automaton(moves, frozenset({"goal"}), {"train": ("a",)})


def by_seed(domain: Automaton) -> tuple[Automaton, Uniform]:
    """The domain with exact legal moves, and a policy that draws among them."""
    return replace(domain, exact=True), Uniform()
