"""Visit counts of a tree search as demonstrations: a policy that imitates them plays as the search would choose.

    pi(a | s) = N(s, a) / sum_b N(s, b)          for each state s on the line that the search returns

The policy improvement of AlphaZero (arXiv 1712.01815) and of HyperTree Proof Search (arXiv 2205.11491). A target is
written as `n` single steps, action a about n pi(a | s) times (largest remainders), so that plain likelihood of them all
(`likelihood(accepted_only=False)`) has pi as its fixed point, to within 1 / n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from surpass.core import (
    Conversation,
    Domain,
    Observation,
    Problem,
    Proposal,
    Search,
    State,
    Status,
    Step,
    Trajectory,
    Verdict,
    inside,
)
from surpass.models.mixture import shares
from surpass.search.expand import check

VISITS = Verdict(Status.REJECTED, (0.0,), "targets: a share of visits, no proof")


def visit_targets(
    domain: Domain[State], problem: Problem, state: State, *, search: Search[State], n: int = 16
) -> Conversation[None]:
    """Run a search that counts visits (`mcts`) and yield the targets of its last record instead of what it found.

    The proofs themselves are not yielded: `targets` takes them one by one where both are wanted. A record without
    visits (a rollout's: give `by_rollouts` `proofs=False`) is the last one only where there is no other, and then
    yielded as it is.
    """
    check("visit_targets", n=n)
    found = yield from inside(search(domain, problem, state), lambda _: False)
    for record in [one for one in found if any(one.info.get("visits", ()))][-1:] or found[-1:]:
        made = list(targets(record, domain.observe(state), n))
        yield from made or [record]


def targets(record: Trajectory, root: Observation, n: int) -> Iterator[Trajectory]:
    """Yield the single steps that stand for the visits in a record: `n` for each state that was visited.

    `root` is what the search began with: a record without steps holds the visits of the root alone.
    """
    seen = [step.observation for step in record.steps] or [root]
    counts: list[Mapping[str, int]] = list(record.info.get("visits", ()))
    for observation, visits in zip(seen, counts, strict=False):
        tried = {action: count for action, count in visits.items() if count > 0}
        if tried:
            for action, times in zip(tried, shares(list(tried.values()), n), strict=True):
                one = Trajectory(record.problem, (Step(observation, Proposal(action)),), VISITS, {"end": "visits"})
                yield from [one] * times
