"""All accepted plays of a problem, counted and listed: the exact solution sets that samplers are measured against.

For any domain that says what is legal. Observations with equal keys have the same future (the contract of `core.py`),
so dead ends are visited once and the number of solutions is known before any is listed. A play ends where the domain
says so: no accepted play is the beginning of another. Not here: which solutions count as the same; see each puzzle's
`key`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic

from surpass.core import Domain, Problem, State, Status
from surpass.errors import ConfigError

DEEPEST = 200  # steps; Python's stack holds no more than about a thousand calls


def count_solutions(
    domain: Domain[State], problem: Problem, max_steps: int, *, states: int = 1_000_000
) -> tuple[int, ...]:
    """Return the number of accepted plays of each length from 0 to `max_steps`, without listing them.

    Raises ConfigError for a domain without exact legal actions, or above `states` different (state, steps left).
    """
    return _Counts(domain, problem, max_steps, states).of(domain.start(problem), max_steps)


def enumerate_solutions(
    domain: Domain[State], problem: Problem, max_steps: int, *, limit: int = 100_000, states: int = 1_000_000
) -> list[tuple[str, ...]]:
    """Return the actions of every accepted play of at most `max_steps` actions, in the order of legal actions.

    Raises ConfigError as `count_solutions` does, or above `limit` plays (before the first is listed).
    """
    counts, start = _Counts(domain, problem, max_steps, states), domain.start(problem)
    total = sum(counts.of(start, max_steps))
    if total > limit:
        raise ConfigError(f"expected at most {limit} solutions of {problem.key!r}, found {total}: lower max_steps")
    return list(_list(domain, start, (), max_steps, counts.of)) if total else []


def _list(
    domain: Domain[State],
    state: State,
    actions: tuple[str, ...],
    steps: int,
    counts: Callable[[State, int], tuple[int, ...]],
) -> Iterator[tuple[str, ...]]:
    if domain.verify(state) is not None:
        yield actions
        return
    for action in domain.observe(state).legal or ():
        after = domain.step(state, action)
        if any(counts(after, steps - 1)):
            yield from _list(domain, after, (*actions, action), steps - 1, counts)


class _Counts(Generic[State]):
    """The table of what was counted: (key, steps left) -> accepted plays by length."""

    def __init__(self, domain: Domain[State], problem: Problem, max_steps: int, states: int) -> None:
        if not 0 <= max_steps <= DEEPEST:
            raise ConfigError(f"expected max_steps from 0 to {DEEPEST}, found {max_steps}")
        self.domain, self.problem, self.states = domain, problem, states
        self.known: dict[tuple[str, int], tuple[int, ...]] = {}
        self.visited = 0

    def of(self, state: State, steps: int) -> tuple[int, ...]:
        """Return the accepted plays from a state by length, 0 to `steps`; empty where there are no steps left."""
        if steps < 0:
            return ()
        verdict = self.domain.verify(state)
        if verdict is not None:
            return (int(verdict.status is Status.ACCEPTED), *(0,) * steps)
        if steps == 0:
            return (0,)
        observation = self.domain.observe(state)
        if observation.legal is None:
            raise ConfigError(
                f"expected exact legal actions in {self.problem.key!r}, found legal=None: use canonical=True"
            )
        known = self.known.get((observation.key, steps)) if observation.key else None
        if known is not None:
            return known
        self.visited += 1
        if self.visited > self.states:
            raise ConfigError(f"expected at most {self.states} states of {self.problem.key!r}: lower max_steps")
        rows = [self.of(self.domain.step(state, action), steps - 1) for action in observation.legal]
        found = (0, *(sum(column) for column in zip(*rows, strict=True)))
        if observation.key:
            self.known[observation.key, steps] = found
        return found
