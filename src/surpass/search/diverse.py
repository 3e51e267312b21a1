"""Diverse search: an archive over features of paths, filled evenly, so that unlike solutions are found side by side.

    cell(path) = (length, its first two actions)        by default; any function of the steps will do
    parent     = the likeliest path of a cell that has been expanded least

This is the illumination of MAP-Elites (Mouret and Clune, arXiv 1504.04909) with a policy's proposals for mutations, as
in Go-Explore (arXiv 1901.10995): probability decides inside a cell, never between cells, so that what the policy finds
unlikely is explored too. Here the graph is a tree: paths that meet in equal observations stay apart, for each of them
is a solution of its own (two proofs that differ in the order of two steps are two proofs).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic

from surpass.core import BudgetSpent, Conversation, Domain, Problem, Proposal, State, Step, Trajectory, propose
from surpass.search.expand import Node, check, children, distinct, sift, unsolved

Cell = Callable[[Sequence[Step]], Hashable]


def length_and_opening(steps: Sequence[Step]) -> Hashable:
    """Return the length of a path and its first two actions."""
    return len(steps), tuple(step.proposal.action for step in steps[:2])


def diverse(  # noqa: PLR0913 - every limit is one that experiments compare
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    width: int = 8,
    expansions: int = 64,
    nodes_per_ask: int = 1,
    max_depth: int = 32,
    solutions: int = 8,
    cell: Cell = length_and_opening,
) -> Conversation[None]:
    """Expand up to `expansions` times, each time the best path of a neglected cell; yield up to `solutions` proofs.

    Proofs differ in their actions and come as they are found. A path is expanded again when its cell is due again, and
    only actions that it has not tried are applied; it is closed when its legal actions, where the observation says
    them, have all been tried, or when a policy repeats itself twice. Where nothing is found it yields one trajectory
    without steps, as `best_first` does. `info` counts expansions, cells, unknown and lost nodes.
    """
    check(
        "diverse",
        width=width,
        expansions=expansions,
        nodes_per_ask=nodes_per_ask,
        max_depth=max_depth,
        solutions=solutions,
    )
    if verdict := domain.verify(state):
        yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    archive: Archive[State] = Archive(cell)
    archive.add(Node(state, domain.observe(state)))
    counts = {"expansions": 0, "cells": 1, "unknown": 0, "lost": 0}
    found, end = 0, "exhausted"
    try:
        while parents := archive.neglected(min(nodes_per_ask, expansions - counts["expansions"])):
            counts["expansions"] += len(parents)
            rows = yield from propose([parent.node.observation for parent in parents], width)
            edges = [edge for parent, row in zip(parents, rows, strict=True) for edge in parent.untried(row)]
            accepted, opened = sift((yield from children(domain, edges)), counts)
            for node in opened:
                if len(node.steps) < max_depth:
                    archive.add(node)
                else:
                    end = "depth"
            counts["cells"] = len(archive.expanded)
            for node, verdict in accepted[: solutions - found]:
                yield Trajectory(problem, node.steps, verdict, {"end": "verdict", **counts})
            found += len(accepted)
            if found >= solutions:
                return
        if archive.neglected(1):
            end = "expansions"
    except BudgetSpent:
        end = "budget"
    if not found:
        yield unsolved("diverse", problem, end, counts, unsure=end in ("expansions", "budget"))


@dataclass(slots=True)
class Parent(Generic[State]):
    """A path of the archive and what was tried from it."""

    node: Node[State]
    tried: set[str] = field(default_factory=set)
    repeats: int = 0  # asks in a row that gave nothing new

    @property
    def closed(self) -> bool:
        legal = self.node.observation.legal
        return self.repeats >= 2 or (legal is not None and self.tried.issuperset(legal))

    def untried(self, row: Sequence[Proposal]) -> Iterator[tuple[Node[State], Proposal, float]]:
        """Yield the edges of the actions in a row that are new here, and remember them."""
        fresh = [(proposal, logp) for proposal, logp in distinct(row) if proposal.action not in self.tried]
        self.repeats = 0 if fresh else self.repeats + 1
        self.tried.update(proposal.action for proposal, _ in fresh)
        return ((self.node, proposal, logp) for proposal, logp in fresh)


@dataclass(slots=True)
class Archive(Generic[State]):
    """Open paths by cell, and how often each cell was expanded."""

    cell: Cell
    cells: dict[Hashable, list[Parent[State]]] = field(default_factory=dict)  # those that hold open paths
    expanded: dict[Hashable, int] = field(default_factory=dict)

    def add(self, node: Node[State]) -> None:
        where = self.cell(node.steps)
        self.cells.setdefault(where, []).append(Parent(node))
        self.expanded.setdefault(where, 0)

    def neglected(self, most: int) -> list[Parent[State]]:
        """Return up to `most` open paths of different cells: of those expanded least, and first made among equals."""
        chosen: list[Parent[State]] = []
        for where in sorted(self.cells, key=lambda one: self.expanded[one]):
            if len(chosen) == most:
                break
            still = [parent for parent in self.cells.pop(where) if not parent.closed]
            if still:
                self.cells[where] = still
                # Whoever was tried least, then the likeliest: an elite must not hide the others of its cell for good.
                chosen.append(min(still, key=lambda parent: (len(parent.tried), -parent.node.logp)))
                self.expanded[where] += 1
        return chosen
