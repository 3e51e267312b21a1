"""Everything that can be played: exact proof spaces, the oracle of the learning objectives.

The space is that of *token histories*: with the tactics so far in the state the graph is a tree, so every sequence of
actions is a leaf of its own, the backward probability is one, and a sum over the leaves is an exact partition function.
Probabilities of a policy are `policy.logp(leaves).sum(1)`. The number of leaves grows exponentially with the depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import log

from surpass.core import Domain, Problem, Proposal, State, Status, Step, Trajectory, Verdict
from surpass.domains.proofs.kernel.rules import Goal, infer, legal
from surpass.errors import ConfigError


def trajectories(
    domain: Domain[State], problem: Problem, max_depth: int, *, limit: int = 1_000_000
) -> list[Trajectory]:
    """Return every trajectory of at most `max_depth` actions, the failed and the unfinished included.

    An unfinished one is REJECTED with info["end"] == "depth", all others end with the domain's verdict. Proposals carry
    `tokens = (index in legal,)` and the log-probability of the uniform policy, so the probabilities sum to one.
    Works for any domain that says what is legal. Raises ConfigError where it does not, or above `limit` trajectories.
    """
    found: list[Trajectory] = []
    for leaf in _leaves(domain, problem, domain.start(problem), (), max_depth):
        found.append(leaf)
        if len(found) > limit:
            raise ConfigError(f"expected at most {limit} trajectories of {problem.key!r}: lower max_depth")
    return found


def _leaves(
    domain: Domain[State], problem: Problem, state: State, steps: tuple[Step, ...], depth: int
) -> Iterator[Trajectory]:
    verdict = domain.verify(state)
    if verdict is not None:
        yield Trajectory(problem, steps, verdict, {"end": "verdict"})
    elif depth == 0:
        yield Trajectory(problem, steps, Verdict(Status.REJECTED, (0.0,), "unfinished"), {"end": "depth"})
    else:
        observation = domain.observe(state)
        if observation.legal is None:
            raise ConfigError(
                "expected a domain with exact legal actions, found legal=None: use Kernel(canonical=True)"
            )
        for index, action in enumerate(observation.legal):
            step = Step(observation, Proposal(action, -log(len(observation.legal)), (index,)))
            yield from _leaves(domain, problem, domain.step(state, action), (*steps, step), depth - 1)


def count_proofs(goal: Goal, max_depth: int) -> tuple[int, ...]:
    """Return the number of canonical proofs of each length from 0 to `max_depth`, without listing them.

    Goals are independent, so the proofs of several are counted by convolution.
    """
    return tuple(_count((goal,), length) for length in range(max_depth + 1))


@lru_cache(maxsize=1 << 18)
def _count(goals: tuple[Goal, ...], length: int) -> int:
    if not goals:
        return int(length == 0)
    if length < len(goals):
        return 0
    first, *rest = goals
    if rest:
        others = tuple(rest)
        return sum(_count((first,), part) * _count(others, length - part) for part in range(1, length))
    results = (infer(first, action) for action in legal(first))
    return sum(_count(found, length - 1) for found in results if not isinstance(found, str))
