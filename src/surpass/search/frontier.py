"""The open nodes of a search, best first; nodes with equal keys are one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic

from surpass.core import State
from surpass.search.expand import Node


@dataclass(slots=True)
class Frontier(Generic[State]):
    """The open nodes, best first; equal keys are one node, and ties go to the node that came first."""

    length_penalty: float
    critic: float = 0.0  # the weight of a node's value
    merged: int = 0  # nodes dropped because their key was known
    _heap: list[tuple[float, int, Node[State]]] = field(default_factory=list)
    _best: dict[str, float] = field(default_factory=dict)  # key -> score of the best path seen; inf once expanded
    _count: int = 0

    def score(self, node: Node[State]) -> float:
        path = node.logp / len(node.steps) ** self.length_penalty if node.steps else 0.0
        return path + self.critic * node.value

    def push(self, node: Node[State]) -> None:
        """Open a node, unless its key was expanded or is open with as good a path."""
        key, score = node.observation.key, self.score(node)
        if key and key in self._best:
            self.merged += 1  # either this path or the one that it replaces
            if score <= self._best[key]:
                return
        if key:
            self._best[key] = score
        heappush(self._heap, (-score, self._count, node))
        self._count += 1

    def pop(self, most: int) -> list[Node[State]]:
        """Take the best `most` open nodes out."""
        nodes: list[Node[State]] = []
        while self._heap and len(nodes) < most:
            node = heappop(self._heap)[2]
            key = node.observation.key
            if key and self._best[key] == math.inf:
                continue  # a better path to it was expanded
            if key:
                self._best[key] = math.inf
            nodes.append(node)
        return nodes
