"""What searches over states share: nodes and their children, and the record of a search that found nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from surpass.core import (
    Conversation,
    Domain,
    Lost,
    Observation,
    Problem,
    Proposal,
    State,
    Status,
    Step,
    Trajectory,
    Verdict,
    apply,
    propose,
)
from surpass.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Node(Generic[State]):
    """A path from the root and the state it reached."""

    state: State
    observation: Observation
    steps: tuple[Step, ...] = ()
    logp: float = 0.0  # of the whole path, in nats
    value: float = 0.0  # what a critic expects for whoever is to move; 0 where none was asked


@dataclass(frozen=True, slots=True)
class Child(Generic[State]):
    """What an action led to: a node and its verdict, if it has one; no node where our machinery failed."""

    node: Node[State] | None
    verdict: Verdict | None = None


def expand(domain: Domain[State], nodes: Sequence[Node[State]], width: int) -> Conversation[list[Child[State]]]:
    """Ask for `width` proposals on each node, apply the distinct ones and return all children, node by node."""
    rows = yield from propose([node.observation for node in nodes], width)
    edges = [(node, *choice) for node, row in zip(nodes, rows, strict=True) for choice in distinct(row)]
    return (yield from children(domain, edges))


def children(
    domain: Domain[State], edges: Sequence[tuple[Node[State], Proposal, float]]
) -> Conversation[list[Child[State]]]:
    """Apply each (node, proposal, log-probability) and return what it leads to, in order."""
    states = yield from apply([(node.state, proposal.action) for node, proposal, _ in edges])
    found: list[Child[State]] = []
    for (node, proposal, logp), after in zip(edges, states, strict=True):
        if isinstance(after, Lost):
            found.append(Child(None))
            continue
        steps = (*node.steps, Step(node.observation, proposal))
        found.append(Child(Node(after, domain.observe(after), steps, node.logp + logp), domain.verify(after)))
    return found


def sift(
    children: Iterable[Child[State]], counts: dict[str, int]
) -> tuple[list[tuple[Node[State], Verdict]], list[Node[State]]]:
    """Return the accepted nodes with their verdicts, and the open ones; unknown verdicts and losses are counted."""
    accepted: list[tuple[Node[State], Verdict]] = []
    opened: list[Node[State]] = []
    for child in children:
        if child.node is None:
            counts["lost"] += 1
        elif child.verdict is None:
            opened.append(child.node)
        elif child.verdict.status is Status.ACCEPTED:
            accepted.append((child.node, child.verdict))
        elif child.verdict.status is Status.UNKNOWN:
            counts["unknown"] += 1
    return accepted, opened


def distinct(row: Sequence[Proposal]) -> list[tuple[Proposal, float]]:
    """Return one proposal for each action, its likeliest, and the log-probability to score it by.

    A proposal without a log-probability counts as one of n equally likely ones, n being the length of the row.

    >>> [(one.action, logp) for one, logp in distinct([Proposal("a", -2.0), Proposal("b", -1.0), Proposal("a", -0.5)])]
    [('a', -0.5), ('b', -1.0)]
    """
    kept: dict[str, tuple[Proposal, float]] = {}
    for proposal in row:
        logp = -math.log(len(row)) if proposal.logp is None else proposal.logp
        if proposal.action not in kept or logp > kept[proposal.action][1]:
            kept[proposal.action] = (proposal, logp)
    return list(kept.values())


def check(name: str, **counts: int) -> None:
    """Raise ConfigError for an option that must count at least one and does not."""
    wrong = [f"{option}={count}" for option, count in counts.items() if count < 1]
    if wrong:
        raise ConfigError(f"{name}: expected counts of at least 1, found {', '.join(wrong)}")


def unsolved(name: str, problem: Problem, end: str, counts: Mapping[str, int], *, unsure: bool) -> Trajectory:
    """Return the one record, without steps, of a search that found nothing.

    UNKNOWN where there was more to search (`unsure`, or an unknown verdict or a loss among the counts), else REJECTED.
    """
    if unsure or counts["unknown"] or counts["lost"]:
        return Trajectory(problem, (), Verdict(Status.UNKNOWN, (), f"{name}: {end}"), {"end": end, **counts})
    return Trajectory(problem, (), Verdict(Status.REJECTED, (0.0,), f"{name}: {end}"), {"end": end, **counts})
