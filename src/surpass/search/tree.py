"""The statistics of a Monte-Carlo tree search: a graph of states, edges with visits, means by seat.

    select    argmax_a  Q(a)[seat] + c_puct * P(a) * sqrt(N) / (1 + n(a) + pending(a))            PUCT
    back up   Q(node) = (value(node) + sum_a n(a) Q(a)) / N,        N = 1 + sum_a n(a)

PUCT is AlphaZero's (arXiv 1712.01815); `pending` counts visits under way, as in WU-UCT (arXiv 1810.11755), so several
leaves can be chosen before the first is answered. Equal keys are one node (Monte-Carlo graph search, arXiv
2012.11045); an edge that would close a cycle is closed. A node is *settled* when its mean is exact given the actions
considered: it is over, all its edges are settled, or one of them wins (MCTS-Solver, Winands et al. 2008). A settled
edge attracts by its value alone. No policy, no domain and no asks in here.

Legend: n(a) visits of an edge, N of a node, P prior, Q mean return; each seat maximises its own return.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Generic

from surpass.core import Observation, Proposal, State, Step, Verdict

Returns = tuple[float, ...]  # one per seat; a seat beyond its end has 0


@dataclass(slots=True, eq=False)
class Spot(Generic[State]):
    """A node: a state, the first path to it, and what is known of it."""

    state: State
    observation: Observation
    line: tuple[tuple[Spot[State], Edge[State]], ...] = ()  # the first path to it
    verdict: Verdict | None = None
    edges: list[Edge[State]] = field(default_factory=list)
    value: Returns = ()  # what it was believed to be worth when it was reached
    mean: Returns = ()
    visits: int = 1
    settled: bool = False

    @property
    def seat(self) -> int:
        return self.observation.seat

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(Step(spot.observation, edge.action) for spot, edge in self.line)


@dataclass(slots=True, eq=False)
class Edge(Generic[State]):
    """An action of a node and what it leads to, once it was played."""

    action: Proposal
    prior: float
    child: Spot[State] | None = None
    joins: bool = False  # the child was first reached elsewhere, where its observation reads differently
    visits: int = 0
    pending: int = 0
    closed: bool = False  # nothing to find behind it: lost, unknown, too deep, a loop, or recorded already


Path = list[tuple[Spot[State], Edge[State]]]


def select(root: Spot[State], c_puct: float) -> Path[State]:
    """Walk down from an unsettled root to an edge that was not played yet, or to a settled node.

    The path is empty where every way is waiting for an answer. Its edges are pending from then on.
    """
    path: Path[State] = []
    here = root
    while not here.settled:
        edge = _best(here, c_puct)
        if edge is None:
            for _, passed in path:
                passed.pending -= 1
            return []
        edge.pending += 1
        path.append((here, edge))
        if edge.child is None:
            break
        here = edge.child
    return path


def _best(spot: Spot[State], c_puct: float) -> Edge[State] | None:
    """Return the edge of the greatest upper bound that is not waiting for its first answer; None if there is none.

    While one waits, settled edges are no alternative: they would take all visits that wait for the answer.
    """
    open_ = [edge for edge in spot.edges if not edge.closed]
    waiting = any(edge.child is None and edge.pending for edge in open_)
    free = [edge for edge in open_ if (not edge.child.settled or not waiting if edge.child else not edge.pending)]
    root = math.sqrt(spot.visits + sum(edge.pending for edge in spot.edges))

    def bound(edge: Edge[State]) -> float:
        if edge.child is not None and edge.child.settled:
            return at(edge.child.mean, spot.seat)
        mean = at(spot.mean if edge.child is None else edge.child.mean, spot.seat)  # unplayed: as good as the node
        return mean + c_puct * edge.prior * root / (1 + edge.visits + edge.pending)

    return max(free, key=bound, default=None)


def back_up(path: Path[State], win: float, *, played: bool = True) -> None:
    """Count a visit along a path and bring the means of its nodes up to date, the last one first.

    Not `played`: the last edge was closed before anything was learnt behind it.
    """
    for depth, (spot, edge) in enumerate(reversed(path)):
        edge.pending -= 1
        edge.visits += played or depth > 0
        refresh(spot, win)


def refresh(spot: Spot[State], win: float) -> None:
    """Recompute visits, mean and whether the node is settled from its edges. `win` is the most that a seat can get.

    A node without open edges is settled at 0.
    """
    open_ = [edge for edge in spot.edges if not edge.closed]
    spot.visits = 1 + sum(edge.visits for edge in open_)
    settled = [edge.child.mean for edge in open_ if edge.child is not None and edge.child.settled]
    best = max(settled, key=lambda mean: at(mean, spot.seat), default=())
    spot.settled = len(settled) == len(open_) or (bool(settled) and at(best, spot.seat) >= win)
    if spot.settled:
        spot.mean = best
        return
    weighted = [(1, spot.value), *((edge.visits, edge.child.mean) for edge in open_ if edge.child is not None)]
    columns = zip_longest(*(tuple(weight * one for one in mean) for weight, mean in weighted), fillvalue=0.0)
    spot.mean = tuple(math.fsum(column) / spot.visits for column in columns)


def at(returns: Returns, seat: int) -> float:
    """Return what a seat gets."""
    return returns[seat] if seat < len(returns) else 0.0


def reaches(source: Spot[State], target: Spot[State]) -> bool:
    """Tell whether a path leads from one node to the other."""
    seen: set[int] = set()
    stack = [source]
    while stack:
        spot = stack.pop()
        if spot is target:
            return True
        if id(spot) not in seen:
            seen.add(id(spot))
            stack.extend(edge.child for edge in spot.edges if edge.child is not None and not edge.closed)
    return False


def best_line(root: Spot[State]) -> Path[State]:
    """Return the line of best play: the best edge of a settled node, the most visited of any other.

    It ends with an edge that joins a path whose observations read differently: what follows could not be replayed.
    """
    line: Path[State] = []
    here = root
    while played := [edge for edge in here.edges if edge.child is not None and not edge.closed]:
        edge = max(played, key=partial(_rank, here))
        line.append((here, edge))
        if edge.joins or edge.child is None:
            break
        here = edge.child
    return line


def _rank(spot: Spot[State], edge: Edge[State]) -> tuple[float, float]:
    assert edge.child is not None
    worth = at(edge.child.mean, spot.seat)
    if spot.settled:
        return (worth if edge.child.settled else -math.inf, edge.visits)
    return edge.visits, worth


def visits(spot: Spot[State]) -> dict[str, int]:
    """Return how often each action was tried: the target of a policy that learns from the search."""
    return {edge.action.action: edge.visits for edge in spot.edges if edge.visits}


def widen(spot: Spot[State], actions: Sequence[Proposal], prior: Sequence[float], value: Returns) -> None:
    """Give a new node its edges and its value."""
    spot.edges = [Edge(action, p) for action, p in zip(actions, prior, strict=True)]
    spot.value = spot.mean = value
