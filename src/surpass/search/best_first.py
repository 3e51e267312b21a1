"""Best-first search: always expand the open node whose path the policy finds most likely, or a critic most promising.

    score(node) = sum_t log p(a_t | s_t) / length ** length_penalty + critic * value(node)

(higher is better; a penalty of 0 sums, 1 averages) as in the proof searches of GPT-f (arXiv 2009.03393) and Proof Flow
(arXiv 2410.13224); the value is what the policy answers to `Score` for the seat to move: the value function of GPT-f,
or an estimate of progress. Nodes whose observations have equal keys are one node: the best-scored path to it is kept,
and what has been expanded is not expanded again. With `solutions` above 1 the paths found therefore differ, but not
all paths are found (`diverse.py` looks for those).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from surpass.core import BudgetSpent, Conversation, Domain, Problem, State, Trajectory, score
from surpass.errors import ConfigError
from surpass.search.expand import Node, check, expand, sift, unsolved
from surpass.search.frontier import Frontier


def best_first(  # noqa: PLR0913 - every limit is one that experiments compare
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    width: int = 8,
    expansions: int = 64,
    nodes_per_ask: int = 1,
    length_penalty: float = 0.0,
    critic: float = 0.0,
    max_depth: int = 32,
    solutions: int = 1,
) -> Conversation[None]:
    """Expand up to `expansions` nodes by `width` proposals each and yield up to `solutions` accepted trajectories.

    Where none is found it yields one trajectory without steps: REJECTED if all there was to search was searched
    (info["end"] "exhausted", or "depth" where `max_depth` cut paths short), UNKNOWN if the search met an unknown
    verdict or a loss ("exhausted", "depth"), used up its `expansions` ("expansions") or its budget ("budget"). `info`
    counts expansions, merged, unknown and lost nodes. A proposal without a log-probability counts as one of n
    equally likely ones, n being the length of its row. `nodes_per_ask` trades a strict order for larger batches. With
    `critic` above 0 the policy is asked for the value of every new open node.
    """
    check(
        "best_first",
        width=width,
        expansions=expansions,
        nodes_per_ask=nodes_per_ask,
        max_depth=max_depth,
        solutions=solutions,
    )
    if verdict := domain.verify(state):
        yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    frontier: Frontier[State] = Frontier(length_penalty, critic)
    frontier.push(Node(state, domain.observe(state)))
    counts = {"expansions": 0, "merged": 0, "unknown": 0, "lost": 0}
    found, end = 0, "exhausted"
    try:
        while nodes := frontier.pop(min(nodes_per_ask, expansions - counts["expansions"])):
            counts["expansions"] += len(nodes)
            accepted, opened = sift((yield from expand(domain, nodes, width)), counts)
            shallow = [node for node in opened if len(node.steps) < max_depth]
            if len(shallow) < len(opened):
                end = "depth"
            accepted.sort(key=lambda one: -frontier.score(one[0]))
            for node, verdict in accepted[: solutions - found]:
                yield Trajectory(problem, node.steps, verdict, {"end": "verdict", **counts})
            found += len(accepted)
            if found >= solutions:
                return
            for node in (yield from _valued(shallow)) if critic else shallow:
                frontier.push(node)
            counts["merged"] = frontier.merged
        if frontier.pop(1):
            end = "expansions"
    except BudgetSpent:
        end = "budget"
    if not found:
        yield unsolved("best_first", problem, end, counts, unsure=end in ("expansions", "budget"))


def _valued(nodes: Sequence[Node[State]]) -> Conversation[list[Node[State]]]:
    """Ask a critic for the value of each node to the seat that is to move there."""
    scores = yield from score([node.observation for node in nodes])
    valued = []
    for node, scored in zip(nodes, scores, strict=True):
        seat = node.observation.seat
        if seat >= len(scored.values):
            raise ConfigError(
                f"best_first: expected a value for seat {seat}, found {scored.values}: use a policy with a critic, "
                "or critic=0"
            )
        valued.append(replace(node, value=scored.values[seat]))
    return valued
