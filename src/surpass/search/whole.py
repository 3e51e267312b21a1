"""Whole scripts: write one to the end, check it, cut it at the first error and write on from there.

    propose ──> script ──> play line by line ──┬─ accepted: done
       ^                                       ├─ rejected at line k: keep lines 1 .. k-1
       └───────── from the last good state ────┴─ all lines played, goals left: keep them all

Whole-proof generation is Baldur's (arXiv 2303.04910), truncate and resume DeepSeek-Prover-V1.5's (arXiv 2408.08152).
A model that writes one action at a time is the case of scripts with one line: a rollout that tries again where
`sampling.py` would end. What a model is shown after an error is `show`; see `refine.py`. Attempts go on in step with
each other, one batch for each round, and equal (state, action) pairs of a batch are asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic

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
from surpass.search.expand import check

Split = Callable[[str], Sequence[str]]  # a script into its actions
Show = Callable[[Observation, str, str], Observation]  # what to show after (observation, action, evidence) of an error


def lines(script: str) -> list[str]:
    """Return the lines of a script that are not blank, stripped.

    >>> lines("intros n.\\n  auto.\\n\\n")
    ['intros n.', 'auto.']
    """
    return [line.strip() for line in script.splitlines() if line.strip()]


def plain(observation: Observation, action: str, evidence: str) -> Observation:
    """Show the state alone, whatever went wrong before."""
    return observation


def whole(  # noqa: PLR0913 - every limit is one that experiments compare
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    n: int = 8,
    rounds: int = 16,
    max_depth: int = 32,
    split: Split = lines,
    show: Show = plain,
) -> Conversation[None]:
    """Write `n` scripts, let each be resumed until it was written for `rounds` times, and yield one trajectory each.

    A trajectory holds what was kept and ends in its verdict. An attempt that used up its rounds or `max_depth`, or for
    which the policy has nothing to say, is REJECTED (info["end"] "rounds", "depth", "silent"); one that met an unknown
    verdict, a loss or the end of the budget is UNKNOWN. `info` counts rounds, and cuts: how often a line was rejected.
    Lines of a longer script carry neither tokens nor a log-probability, and nor does what was written with an error in
    sight: they were not sampled from the observation that is recorded.
    """
    check("whole", n=n, rounds=rounds, max_depth=max_depth)
    if verdict := domain.verify(state):
        for _ in range(n):
            yield Trajectory(problem, (), verdict, {"end": "verdict"})
        return
    root = domain.observe(state)
    going: list[Attempt[State]] = [Attempt(state, root) for _ in range(n)]
    try:
        for number in range(rounds):
            rows = yield from (_first(root, n) if number == 0 else propose([one.shown for one in going], 1))
            for attempt, row in zip(going, rows, strict=True):
                _take(domain, attempt, row, split)
            yield from (attempt.record(problem) for attempt in going if attempt.end)
            going = [attempt for attempt in going if not attempt.end]
            yield from _play(domain, going, max_depth, show)
            yield from (attempt.record(problem) for attempt in going if attempt.end)
            going = [attempt for attempt in going if not attempt.end]
            if not going:
                return
    except BudgetSpent:
        for attempt in going:
            yield attempt.record(problem) if attempt.end else attempt.record(problem, "budget")
        return
    for attempt in going:
        yield attempt.record(problem, "rounds")


@dataclass(slots=True)
class Attempt(Generic[State]):
    """One script in the making: what was kept of it, and what is still to be played."""

    state: State
    shown: Observation  # what the policy will see next
    steps: tuple[Step, ...] = ()
    left: list[Proposal] = field(default_factory=list)
    rounds: int = 0
    cuts: int = 0
    end: str = ""  # empty while it goes on
    verdict: Verdict | None = None  # where the domain gave one that ends the attempt

    def record(self, problem: Problem, end: str = "") -> Trajectory:
        end = end or self.end
        unknown = end in ("lost", "budget")
        verdict = Verdict(Status.UNKNOWN if unknown else Status.REJECTED, () if unknown else (0.0,), f"whole: {end}")
        return Trajectory(
            problem, self.steps, self.verdict or verdict, {"end": end, "rounds": self.rounds, "cuts": self.cuts}
        )


def _first(root: Observation, n: int) -> Conversation[list[list[Proposal]]]:
    """Ask for all first scripts at once; the last rows are empty where the policy gave fewer."""
    (row,) = yield from propose([root], n)
    return [[proposal] for proposal in row] + [[]] * (n - len(row))


def _take(domain: Domain[State], attempt: Attempt[State], row: Sequence[Proposal], split: Split) -> None:
    """Take a script in; a single action keeps its tokens if it was sampled from the observation to be recorded."""
    actions = split(row[0].action) if row else []
    attempt.rounds += 1
    attempt.left = [Proposal(action) for action in actions]
    if not actions:
        attempt.end = "silent"
    elif list(actions) == [row[0].action] and attempt.shown == domain.observe(attempt.state):
        attempt.left = [row[0]]


def _play(domain: Domain[State], going: Sequence[Attempt[State]], max_depth: int, show: Show) -> Conversation[None]:
    """Play the scripts of all attempts, a line of each at a time, until they end, run out or are cut at an error."""
    while playing := [attempt for attempt in going if attempt.left and not attempt.end]:
        pairs = dict.fromkeys((attempt.state, attempt.left[0].action) for attempt in playing)
        states = yield from apply(list(pairs))
        after = dict(zip(pairs, states, strict=True))
        for attempt in playing:
            proposal = attempt.left.pop(0)
            _move(domain, attempt, proposal, after[attempt.state, proposal.action], show)
            if not attempt.end and len(attempt.steps) >= max_depth:
                attempt.end = "depth"


def _move(domain: Domain[State], attempt: Attempt[State], proposal: Proposal, after: State | Lost, show: Show) -> None:
    """Take one answer in: keep the step, or cut the script at an error."""
    here = domain.observe(attempt.state)
    steps = (*attempt.steps, Step(here, proposal))
    if isinstance(after, Lost):
        attempt.steps, attempt.end = steps, "lost"
        return
    verdict = domain.verify(after)
    if verdict is not None and verdict.status is Status.REJECTED:
        attempt.left, attempt.cuts = [], attempt.cuts + 1
        attempt.shown = show(here, proposal.action, verdict.evidence)
        return
    attempt.state, attempt.steps, attempt.shown = after, steps, domain.observe(after)
    if verdict is not None:
        attempt.verdict, attempt.end = verdict, "verdict"
