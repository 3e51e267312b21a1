"""Sampling, the simplest search: independent rollouts, one proposal at a time, all of them one batch per depth.

Nothing is pruned, merged or deduplicated, so the rollouts are samples of the policy's own distribution: what training
and pass@k need.
"""

from __future__ import annotations

from dataclasses import replace

from surpass.core import (
    BudgetSpent,
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

DEPTH = Verdict(Status.REJECTED, (0.0,), "sample: unfinished at max_steps")
SILENT = Verdict(Status.REJECTED, (0.0,), "sample: the policy proposed nothing")
BUDGET = Verdict(Status.UNKNOWN, (), "sample: budget spent")


def sample(
    domain: Domain[State], problem: Problem, state: State, *, n: int = 8, max_steps: int = 8
) -> Conversation[None]:
    """Play `n` rollouts of at most `max_steps` actions and yield each as it ends: n trajectories in all.

    The root is asked once for n proposals, later one row for each rollout that still plays. A rollout that is
    unfinished at `max_steps` or for which the policy has no proposal is REJECTED ("depth", "silent"); one that our
    machinery or the budget ended is UNKNOWN ("lost", "budget").
    """
    empty = Trajectory(problem, (), Verdict(Status.UNKNOWN))
    verdict = domain.verify(state)
    if verdict is not None:
        for _ in range(n):
            yield replace(empty, verdict=verdict, info={"end": "verdict"})
        return
    playing = [(state, empty)] * n
    try:
        for depth in range(max_steps):
            seen = [domain.observe(state) for state, _ in playing]
            rows = yield from (propose(seen, 1) if depth else _first(seen[0], n))
            for (_, record), row in zip(playing, rows, strict=True):
                if not row:
                    yield replace(record, verdict=SILENT, info={"end": "silent"})
            playing = [one for one, row in zip(playing, rows, strict=True) if row]
            chosen = [Step(observation, row[0]) for observation, row in zip(seen, rows, strict=True) if row]
            pairs = [(state, step.proposal.action) for (state, _), step in zip(playing, chosen, strict=True)]
            states = yield from apply(pairs)
            moved = []
            for (_, record), step, after in zip(playing, chosen, states, strict=True):
                longer = replace(record, steps=(*record.steps, step))
                if isinstance(after, Lost):
                    lost = Verdict(Status.UNKNOWN, (), f"sample: lost, {after.reason}")
                    yield replace(longer, verdict=lost, info={"end": "lost"})
                elif verdict := domain.verify(after):
                    yield replace(longer, verdict=verdict, info={"end": "verdict"})
                else:
                    moved.append((after, longer))
            playing = moved
            if not playing:
                return
    except BudgetSpent:
        for _, record in playing:
            yield replace(record, verdict=BUDGET, info={"end": "budget"})
        return
    for _, record in playing:
        yield replace(record, verdict=DEPTH, info={"end": "depth"})


def _first(root: Observation, n: int) -> Conversation[list[list[Proposal]]]:
    """Ask for the first action of all rollouts at once; the last rows are empty where the policy gave fewer."""
    (row,) = yield from propose([root], n)
    return [[proposal] for proposal in row] + [[]] * (n - len(row))
