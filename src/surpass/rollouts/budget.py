"""What an ask costs and how much one conversation may spend. Only what was *asked* counts, never what a cache saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from surpass.core import Apply, Proposal, Propose, Score, Trajectory

Ask = Propose | Score | Apply[object]
COSTS = ("proposals", "steps", "tokens", "verifier_seconds")  # of a bill


@dataclass(frozen=True, slots=True)
class Cost:
    """What a conversation has asked for so far."""

    proposals: int = 0  # observations x n for a Propose, one for each observation of a Score
    steps: int = 0  # pairs of an Apply
    tokens: int = 0  # of the proposals that came back

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.proposals + other.proposals, self.steps + other.steps, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one conversation (one replica of one problem) may spend; None is without limit.

    An ask that would take the sum above a limit is refused whole and costs nothing. Tokens are known only after the
    fact: once they reach their limit the next Propose is refused, so the last one may overshoot. Seconds are wall
    clock since the conversation started, looked at before every ask; they make results depend on the machine.
    """

    proposals: int | None = None
    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def refusal(self, spent: Cost, ask: Ask, seconds: float) -> str:
        """Say which limit `ask` would exceed, or return the empty string."""
        total = spent + price(ask)
        if self.proposals is not None and total.proposals > self.proposals:
            return f"proposals: {total.proposals} asked in all, {self.proposals} allowed"
        if self.steps is not None and total.steps > self.steps:
            return f"steps: {total.steps} asked in all, {self.steps} allowed"
        if self.tokens is not None and isinstance(ask, Propose) and spent.tokens >= self.tokens:
            return f"tokens: {spent.tokens} generated, {self.tokens} allowed"
        if self.seconds is not None and seconds >= self.seconds:
            return f"seconds: {seconds:.1f} passed, {self.seconds} allowed"
        return ""


def price(ask: Ask) -> Cost:
    """Return what an ask costs before it is answered."""
    match ask:
        case Propose():
            return Cost(proposals=len(ask.observations) * ask.n)
        case Score():
            return Cost(proposals=len(ask.observations))
        case Apply():
            return Cost(steps=len(ask.pairs))


def generated(rows: Sequence[Sequence[Proposal]]) -> Cost:
    """Return what the answer to a Propose adds: its tokens."""
    return Cost(tokens=sum(len(proposal.tokens) for row in rows for proposal in row))


def bill(records: Iterable[Trajectory]) -> dict[str, float]:
    """Return what the conversations of these records cost in all: `COSTS`, each conversation once.

    `info["steps"]` of a record is what had been spent by then; a search may go on after its last record, so what it
    cost in all is `info["total_steps"]`. Where a record has none (an older version wrote it), its own number counts.
    """
    last = {(record.problem.key, record.info.get("replica", 0)): record.info for record in records}
    return {name: sum(info.get(f"total_{name}", info[name]) for info in last.values()) for name in COSTS}
