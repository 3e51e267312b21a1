"""What a tree search believes of new states: which actions, how likely, and what each seat may expect.

    evaluate(domain, problem, states) -> an Opinion for each state        a conversation, all states in one batch

`by_score` asks the policy for priors and values: a value head, or a learned estimate of progress. `by_rollouts` plays
to the end instead, where there is no such head. Pick one, with its options bound by `functools.partial`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from surpass.core import (
    Conversation,
    Domain,
    Observation,
    Problem,
    Proposal,
    State,
    Status,
    Step,
    Verdict,
    propose,
    score,
)
from surpass.search.expand import distinct
from surpass.search.play import Play, play_on


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is believed of one state: its actions with a prior that sums to 1, and one value per seat."""

    actions: tuple[Proposal, ...]
    prior: tuple[float, ...]
    values: tuple[float, ...] = ()  # a seat beyond its end has value 0
    proofs: tuple[tuple[tuple[Step, ...], Verdict], ...] = ()  # accepted plays that were met on from the state
    spent: bool = False  # the budget ended meanwhile: the search may not ask again


Evaluate: TypeAlias = Callable[[Domain[State], Problem, Sequence[State]], Conversation[list[Opinion]]]


def by_score(
    domain: Domain[State], problem: Problem, states: Sequence[State], *, width: int = 8
) -> Conversation[list[Opinion]]:
    """Ask for scores: the values as they are; the prior over all legal actions, where the policy gives one.

    Where it gives none the actions are up to `width` proposals, as in `by_proposals`.
    """
    observations = [domain.observe(state) for state in states]
    scores = yield from score(observations)
    bare = [seen for seen, scored in zip(observations, scores, strict=True) if not scored.prior]
    proposed = iter((yield from by_proposals(bare, width)))
    opinions = []
    for seen, scored in zip(observations, scores, strict=True):
        if scored.prior:
            pairs = zip(seen.legal or (), scored.prior, strict=True)
            actions = tuple(Proposal(action, math.log(max(p, sys.float_info.min))) for action, p in pairs)
            opinions.append(Opinion(actions, scored.prior, scored.values))
        else:
            opinions.append(replace(next(proposed), values=scored.values))
    return opinions


def by_rollouts(
    domain: Domain[State],
    problem: Problem,
    states: Sequence[State],
    *,
    width: int = 8,
    n: int = 1,
    max_steps: int = 8,
    proofs: bool = True,
) -> Conversation[list[Opinion]]:
    """Ask for up to `width` proposals, and let the mean returns of `n` sampled rollouts from each state be its values.

    A rollout that is unfinished after `max_steps` or for which the policy has nothing to say counts 0 for every seat;
    one that ends unknown or lost does not count. Accepted ones are handed on, as they were paid for like any
    proof; not so without `proofs`, where the lines of the tree itself are wanted (`targets.py`).
    """
    opinions = yield from by_proposals([domain.observe(state) for state in states], width)
    starts = [Play((state,)) for state in states for _ in range(n)]
    plays = yield from play_on(domain, starts, max_steps=max_steps)
    told = [_told(opinion, plays[n * leaf : n * (leaf + 1)]) for leaf, opinion in enumerate(opinions)]
    return told if proofs else [replace(one, proofs=()) for one in told]


def _told(opinion: Opinion, plays: Sequence[Play[State]]) -> Opinion:
    """Return the opinion with what came of rollouts from its state."""
    known = [(play, play.verdict) for play in plays if play.verdict and play.verdict.status is not Status.UNKNOWN]
    values = _mean([verdict.returns if play.end == "verdict" else () for play, verdict in known])
    proofs = tuple((play.steps, verdict) for play, verdict in known if verdict.status is Status.ACCEPTED)
    return replace(opinion, values=values, proofs=proofs, spent=any(play.end == "budget" for play in plays))


def by_proposals(observations: Sequence[Observation], width: int) -> Conversation[list[Opinion]]:
    """Ask for up to `width` proposals each; their prior is that of the policy, renormalised over distinct actions."""
    rows = (yield from propose(observations, width)) if observations else []
    opinions = []
    for row in rows:
        choices = distinct(row)
        top = max((logp for _, logp in choices), default=0.0)
        weights = [math.exp(logp - top) for _, logp in choices]
        total = math.fsum(weights)
        actions = tuple(proposal for proposal, _ in choices)
        opinions.append(Opinion(actions, tuple(weight / total for weight in weights)))
    return opinions


def _mean(returns: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    seats = max(map(len, returns), default=0)
    padded = [(*one, *(0.0,) * (seats - len(one))) for one in returns]
    return tuple(math.fsum(column) / len(padded) for column in zip(*padded, strict=True))
