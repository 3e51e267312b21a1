"""Beam search: all paths of one length at a time, of which the likeliest few go on.

    score(node) = sum_t log p(a_t | s_t)        (all paths of a level are equally long)

as used for whole tactic sequences since GPT-f (arXiv 2009.03393) and for proof search by depth in ReProver (arXiv
2306.15626). The beam of a level is one batch, so a single problem keeps a model busy; the price is that a path dropped
once never comes back. Nodes of a level with equal keys are one, the likeliest; what an earlier level has expanded is
not expanded again.
"""

from __future__ import annotations

from collections.abc import Iterable

from surpass.core import BudgetSpent, Conversation, Domain, Problem, State, Trajectory
from surpass.search.expand import Node, check, expand, sift, unsolved


def beam(
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    width: int = 8,
    beam: int = 8,
    max_depth: int = 32,
    solutions: int = 1,
) -> Conversation[None]:
    """Keep the best `beam` nodes of each level, expand them by `width` proposals and yield up to `solutions` proofs.

    Accepted trajectories come by length, likeliest first. Where none is found it yields one trajectory without steps:
    REJECTED if all there was to search was searched (info["end"] "exhausted", or "depth" where `max_depth` cut paths
    short), UNKNOWN if the beam dropped nodes ("pruned"), the search met an unknown verdict or a loss, or its budget
    was spent ("budget"). `info` counts expansions, pruned, merged, unknown and lost nodes.
    """
    check("beam", width=width, beam=beam, max_depth=max_depth, solutions=solutions)
    if verdict := domain.verify(state):
        yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    level = [Node(state, domain.observe(state))]
    expanded = set[str]()
    counts = {"expansions": 0, "pruned": 0, "merged": 0, "unknown": 0, "lost": 0}
    found, end = 0, "depth"
    try:
        for _ in range(max_depth):
            counts["expansions"] += len(level)
            expanded.update(node.observation.key for node in level)
            accepted, opened = sift((yield from expand(domain, level, width)), counts)
            accepted.sort(key=lambda one: -one[0].logp)
            for node, verdict in accepted[: solutions - found]:
                yield Trajectory(problem, node.steps, verdict, {"end": "verdict", **counts})
            found += len(accepted)
            if found >= solutions:
                return
            ranked = _merged(sorted(opened, key=lambda node: -node.logp), expanded)
            counts["merged"] += len(opened) - len(ranked)
            counts["pruned"] += len(ranked[beam:])
            level = ranked[:beam]
            if not level:
                end = "exhausted"
                break
    except BudgetSpent:
        end = "budget"
    if not found:
        end = "pruned" if counts["pruned"] and end != "budget" else end
        yield unsolved("beam", problem, end, counts, unsure=end in ("pruned", "budget"))


def _merged(ranked: Iterable[Node[State]], expanded: set[str]) -> list[Node[State]]:
    """Return the first node of each key that is not expanded yet; nodes without a key all stay."""
    kept: dict[str, Node[State]] = {}
    for number, node in enumerate(ranked):
        key = node.observation.key
        if not key or key not in expanded:
            kept.setdefault(key or f"\0{number}", node)
    return list(kept.values())
