"""Sampling, the simplest search: independent rollouts, one proposal at a time, all of them one batch per depth.

Nothing is pruned, merged or deduplicated, so the rollouts are samples of the policy's own distribution: what training
and pass@k need.
"""

from __future__ import annotations

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
    verdict = domain.verify(state)
    if verdict is not None:
        for _ in range(n):
            yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    playing: list[tuple[State, list[Step]]] = [(state, []) for _ in range(n)]
    try:
        for depth in range(max_steps):
            seen = [domain.observe(state) for state, _ in playing]
            rows = yield from (propose(seen, 1) if depth else _first(seen[0], n))
            still: list[tuple[State, list[Step]]] = []
            chosen: list[Step] = []
            for play, observation, row in zip(playing, seen, rows, strict=True):
                if row:
                    still.append(play)
                    chosen.append(Step(observation, row[0]))
                else:
                    yield Trajectory(problem, tuple(play[1]), SILENT, {"end": "silent"})
            playing = still  # as they stand should the budget not pay for what comes
            states = yield from apply(
                [(state, step.proposal.action) for (state, _), step in zip(playing, chosen, strict=True)]
            )
            playing = []
            for (_, steps), step, after in zip(still, chosen, states, strict=True):
                steps.append(step)
                if isinstance(after, Lost):
                    lost = Verdict(Status.UNKNOWN, (), f"sample: lost, {after.reason}")
                    yield Trajectory(problem, tuple(steps), lost, {"end": "lost"})
                elif verdict := domain.verify(after):
                    yield Trajectory(problem, tuple(steps), verdict, {"end": "verdict"})
                else:
                    playing.append((after, steps))
            if not playing:
                return
    except BudgetSpent:
        for _, steps in playing:
            yield Trajectory(problem, tuple(steps), BUDGET, {"end": "budget"})
        return
    for _, steps in playing:
        yield Trajectory(problem, tuple(steps), DEPTH, {"end": "depth"})


def _first(root: Observation, n: int) -> Conversation[list[list[Proposal]]]:
    """Ask for the first action of all rollouts at once; the last rows are empty where the policy gave fewer."""
    (row,) = yield from propose([root], n)
    return [[proposal] for proposal in row] + [[]] * (n - len(row))
