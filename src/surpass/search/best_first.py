"""Best-first search: always expand the open node whose path the policy finds most likely.

    score(node) = sum_t log p(a_t | s_t) / length ** length_penalty        (higher is better; 0 sums, 1 averages)

as in the proof searches of GPT-f (arXiv 2009.03393) and Proof Flow (arXiv 2410.13224). Nodes whose observations have
equal keys are one node: the best-scored path to it is kept, and what has been expanded is not expanded again. With
`solutions` above 1 the paths found therefore differ, but not all paths are found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from surpass.core import (
    BudgetSpent,
    Conversation,
    Domain,
    Lost,
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
from surpass.search.frontier import Frontier, Node


def best_first(  # noqa: PLR0913 - every limit is one that experiments compare
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    width: int = 8,
    expansions: int = 64,
    nodes_per_ask: int = 1,
    length_penalty: float = 0.0,
    max_depth: int = 32,
    solutions: int = 1,
) -> Conversation[None]:
    """Expand up to `expansions` nodes by `width` proposals each and yield up to `solutions` accepted trajectories.

    Where none is found it yields one trajectory without steps: REJECTED if all there was to search was searched
    (info["end"] "exhausted", or "depth" where `max_depth` cut paths short), UNKNOWN if the search met an unknown
    verdict or a loss ("exhausted", "depth"), used up its `expansions` ("expansions") or its budget ("budget"). `info`
    counts expansions, merged, unknown and lost nodes. A proposal without a log-probability counts as one of n
    equally likely ones, n being the length of its row. `nodes_per_ask` trades a strict order for larger batches.
    """
    if verdict := domain.verify(state):
        yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    frontier: Frontier[State] = Frontier(length_penalty)
    frontier.push(Node(state, domain.observe(state)))
    counts = {"expansions": 0, "merged": 0, "unknown": 0, "lost": 0}
    found, end = 0, "exhausted"
    try:
        while nodes := frontier.pop(min(nodes_per_ask, expansions - counts["expansions"])):
            counts["expansions"] += len(nodes)
            accepted: list[tuple[Node[State], Verdict]] = []
            for child, verdict in (yield from _expand(domain, nodes, width)):
                if child is None:
                    counts["lost"] += 1
                elif verdict is None and len(child.steps) >= max_depth:
                    end = "depth"
                elif verdict is None:
                    frontier.push(child)
                elif verdict.status is Status.ACCEPTED:
                    accepted.append((child, verdict))
                elif verdict.status is Status.UNKNOWN:
                    counts["unknown"] += 1
            counts["merged"] = frontier.merged
            accepted.sort(key=lambda one: -frontier.score(one[0]))
            for child, verdict in accepted[: solutions - found]:
                yield Trajectory(problem, child.steps, verdict, {"end": "verdict", **counts})
            found += len(accepted)
            if found >= solutions:
                return
        if frontier.pop(1):
            end = "expansions"
    except BudgetSpent:
        end = "budget"
    if not found:
        unsure = end in ("expansions", "budget") or counts["unknown"] or counts["lost"]
        verdict = Verdict(Status.UNKNOWN if unsure else Status.REJECTED, () if unsure else (0.0,), f"best_first: {end}")
        yield Trajectory(problem, (), verdict, {"end": end, **counts})


def _expand(
    domain: Domain[State], nodes: Sequence[Node[State]], width: int
) -> Conversation[list[tuple[Node[State] | None, Verdict | None]]]:
    """Return the children of all nodes with their verdicts; None for a child that was lost."""
    rows = yield from propose([node.observation for node in nodes], width)
    edges = [(node, *choice) for node, row in zip(nodes, rows, strict=True) for choice in _distinct(row)]
    states = yield from apply([(node.state, proposal.action) for node, proposal, _ in edges])
    children: list[tuple[Node[State] | None, Verdict | None]] = []
    for (node, proposal, logp), after in zip(edges, states, strict=True):
        if isinstance(after, Lost):
            children.append((None, None))
            continue
        steps = (*node.steps, Step(node.observation, proposal))
        children.append((Node(after, domain.observe(after), steps, node.logp + logp), domain.verify(after)))
    return children


def _distinct(row: Sequence[Proposal]) -> list[tuple[Proposal, float]]:
    """Return one proposal for each action, its likeliest, and the log-probability to score it by."""
    kept: dict[str, tuple[Proposal, float]] = {}
    for proposal in row:
        logp = -math.log(len(row)) if proposal.logp is None else proposal.logp
        if proposal.action not in kept or logp > kept[proposal.action][1]:
            kept[proposal.action] = (proposal, logp)
    return list(kept.values())
