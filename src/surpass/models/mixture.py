"""Several policies as one: sources that know different things share the proposals of every observation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from surpass.core import Observation, Policy, Proposal


class Mixture:
    """Propose from every source, in proportion to its weight.

    Of `n` proposals source i gets its share (largest remainders, at least one each while `n` allows). Its
    log-probabilities are shifted by log weight, so that a search compares proposals across sources; an action named by
    several sources is proposed once, with the sum of their probabilities. The result is a ranking for a search, not a
    normalised density: use a single trainable policy where exact log-probabilities matter.
    """

    def __init__(self, sources: Sequence[tuple[Policy, float]]) -> None:
        """Take (policy, weight) pairs; weights are normalised. Raises ValueError for a weight that is not positive."""
        if not sources or any(not (weight > 0 and math.isfinite(weight)) for _, weight in sources):
            raise ValueError(f"expected (policy, positive weight) pairs, got weights {[w for _, w in sources]}")
        total = sum(weight for _, weight in sources)
        self.sources = tuple((policy, weight / total) for policy, weight in sources)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return up to `n` distinct proposals each, most probable first."""
        merged: list[dict[str, Proposal]] = [{} for _ in observations]
        for (policy, weight), share in zip(self.sources, shares([w for _, w in self.sources], n), strict=True):
            if share == 0:
                continue
            for row, proposals in zip(merged, policy.propose(observations, share, seeds=seeds), strict=True):
                for proposal in dict.fromkeys(proposals):
                    _add(row, proposal, math.log(weight))
        return [sorted(row.values(), key=lambda p: -math.inf if p.logp is None else -p.logp)[:n] for row in merged]


def shares(weights: Sequence[float], n: int) -> list[int]:
    """Split `n` by weights: at least one each while `n` allows, then largest remainders.

    >>> shares([0.5, 0.25, 0.25], 8), shares([0.9, 0.1], 3), shares([0.5, 0.5], 1)
    ([4, 2, 2], [2, 1], [1, 0])
    """
    total = sum(weights)
    given = [0] * len(weights)
    for _ in range(n):
        # Whoever is furthest below its due; a source with nothing yet comes first, the heavier of equals before others.
        given[max(range(len(weights)), key=lambda i: (given[i] == 0, weights[i] / total * n - given[i], -i))] += 1
    return given


def _add(row: dict[str, Proposal], proposal: Proposal, shift: float) -> None:
    if proposal.logp is None:
        row.setdefault(proposal.action, proposal)
        return
    logp = proposal.logp + shift
    known = row.get(proposal.action)
    if known is not None and known.logp is not None:
        high, low = max(logp, known.logp), min(logp, known.logp)
        logp = high + math.log1p(math.exp(low - high))
    row[proposal.action] = replace(proposal, logp=logp)
