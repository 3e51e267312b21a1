"""A record of what a conversation asked and was answered, and the search tree that it describes.

An event is a JSON-able dict {problem, replica, ask, kind, ...}; `ask` counts the asks of its conversation from 1:

    start       node, text, key, status
    propose     n, observations [{text, key, seat}], answers [[{action, logp}]]
    score       observations, answers [{prior, values}]
    apply       pairs [{source, action, node, text, key, status}]
    budget      reason
    trajectory  actions, status, end

A node number stands for one state of its conversation, 0 for the root; `status` is that of its verdict, "open" while
play goes on, "lost" where our machinery failed. Nothing here draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from surpass.core import Apply, Domain, Lost, Observation, Problem, Proposal, Propose, Score, Scored, State, Trajectory

Event = dict[str, Any]


class Trace(Generic[State]):
    """The events of one conversation. Without a listener it does nothing, at no cost."""

    def __init__(
        self, tell: Callable[[Event], None] | None, domain: Domain[State], problem: Problem, *, replica: int
    ) -> None:
        self._tell, self._domain = tell, domain
        self._head = {"problem": problem.key, "replica": replica}
        self._numbers: dict[object, int] = {}  # state -> node
        self._count = 0

    def start(self, state: State | Lost) -> None:
        if self._tell:
            self._tell({**self._head, "ask": 0, "kind": "start", **self._node(state)})

    def proposed(self, ask: int, said: Propose, rows: Sequence[Sequence[Proposal]]) -> None:
        if self._tell:
            answers = [[{"action": one.action, "logp": one.logp} for one in row] for row in rows]
            seen = _seen(said.observations)
            self._tell(
                {**self._head, "ask": ask, "kind": "propose", "n": said.n, "observations": seen, "answers": answers}
            )

    def scored(self, ask: int, said: Score, rows: Sequence[Scored]) -> None:
        if self._tell:
            answers = [{"prior": list(row.prior), "values": list(row.values)} for row in rows]
            seen = _seen(said.observations)
            self._tell({**self._head, "ask": ask, "kind": "score", "observations": seen, "answers": answers})

    def applied(self, ask: int, said: Apply[object], states: Sequence[State | Lost]) -> None:
        if self._tell:
            pairs = [
                {"source": self._number(source), "action": action, **self._node(state)}
                for (source, action), state in zip(said.pairs, states, strict=True)
            ]
            self._tell({**self._head, "ask": ask, "kind": "apply", "pairs": pairs})

    def refused(self, ask: int, reason: str) -> None:
        if self._tell:
            self._tell({**self._head, "ask": ask, "kind": "budget", "reason": reason})

    def found(self, ask: int, trajectory: Trajectory) -> None:
        if self._tell:
            what = {"actions": list(trajectory.actions), "status": trajectory.verdict.status.value}
            self._tell({**self._head, "ask": ask, "kind": "trajectory", **what, "end": trajectory.info["end"]})

    def _number(self, state: object) -> int:
        if state not in self._numbers:
            self._numbers[state] = self._count
            self._count += 1
        return self._numbers[state]

    def _node(self, state: State | Lost) -> Event:
        if isinstance(state, Lost):
            self._count += 1
            return {"node": self._count - 1, "text": state.reason, "key": "", "status": "lost"}
        observation, verdict = self._domain.observe(state), self._domain.verify(state)
        status = "open" if verdict is None else verdict.status.value
        return {"node": self._number(state), "text": observation.text, "key": observation.key, "status": status}


def _seen(observations: Iterable[Observation]) -> list[Event]:
    return [{"text": one.text, "key": one.key, "seat": one.seat} for one in observations]


@dataclass(frozen=True, slots=True)
class Node:
    """One state of a search, with the edge that first reached it."""

    number: int
    parent: int | None  # None for the root
    action: str  # of the edge from the parent; empty for the root
    logp: float | None  # of that action, where the policy told it
    text: str
    key: str
    status: str  # accepted, rejected, unknown, open or lost
    depth: int
    order: int | None  # when it was first expanded, from 0; None if never


@dataclass(frozen=True, slots=True)
class SearchTree:
    """The nodes in the order they were reached, and every distinct (parent, child) edge: more than a tree's where two
    paths met in an equal state."""

    problem: str
    replica: int
    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]


def tree(events: Iterable[Mapping[str, Any]], *, problem: str | None = None, replica: int = 0) -> SearchTree:
    """Return the search tree of one conversation: that of `problem`, or of the first problem in the events.

    An empty tree where the events hold nothing of it. Log-probabilities are found by observation text and action.
    """
    nodes: dict[int, Node] = {}
    edges: dict[tuple[int, int], None] = {}
    logps: dict[tuple[str, str], float | None] = {}
    orders: dict[int, int] = {}
    for event in events:
        problem = event["problem"] if problem is None else problem
        if event["problem"] != problem or event["replica"] != replica:
            continue
        match event["kind"]:
            case "start":
                nodes[event["node"]] = _reached(event, parent=None, logp=None)
            case "propose":
                for seen, row in zip(event["observations"], event["answers"], strict=True):
                    logps.update(((seen["text"], one["action"]), one["logp"]) for one in row)
            case "apply":
                for pair in event["pairs"]:
                    source = nodes[pair["source"]]
                    orders.setdefault(source.number, len(orders))
                    edges[(source.number, pair["node"])] = None
                    logp = logps.get((source.text, pair["action"]))
                    nodes.setdefault(pair["node"], _reached(pair, parent=source, logp=logp))
    ordered = tuple(replace(node, order=orders.get(node.number)) for node in nodes.values())
    return SearchTree(problem or "", replica, ordered, tuple(edges))


def _reached(event: Mapping[str, Any], *, parent: Node | None, logp: float | None) -> Node:
    return Node(
        number=event["node"],
        parent=None if parent is None else parent.number,
        action="" if parent is None else event["action"],
        logp=logp,
        text=event["text"],
        key=event["key"],
        status=event["status"],
        depth=0 if parent is None else parent.depth + 1,
        order=None,
    )
