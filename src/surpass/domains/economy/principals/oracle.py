"""The oracle: the best fixed rates for each context, searched for beforehand at a cost that no principal is allowed.

A coarse grid of all policies first, each with the same seeds; then, from the best, one rate at a time by ever smaller
steps. What it finds is judged again, on seeds that did not choose it, because the best of many noisy means is too high
a number. The search is kept on disk together with the command that made it. Still only a line to compare with: between
the points of its grid, and among policies that change from term to term, there may be better ones.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path

from surpass.bounds import at_least
from surpass.domains.economy.principals.principal import Principal, Rates
from surpass.domains.economy.society import Context, Rate, Society, Term, checked
from surpass.domains.economy.sweep import Point, best, grid, lattice
from surpass.errors import ConfigError, DataError
from surpass.rollouts.seeds import derive_seed

LOOKED = 10_000  # seeds among which those of a context are looked for


@dataclass(frozen=True, slots=True)
class Search:
    """How the best rates are searched for."""

    values: int = 5  # of each rate in the grid
    refinements: int = 2  # rounds of one rate at a time, with half the step each
    terms: int = 4  # of each policy, with the same seeds
    judged: int = 16  # terms of the best one, with fresh seeds
    batch: int = 16  # terms at once

    def __post_init__(self) -> None:
        at_least(self, values=2, refinements=0, terms=1, judged=1, batch=1)


@dataclass(frozen=True, slots=True)
class Best:
    """The best rates that were found for a context."""

    context: Context
    rates: Rates
    searched: float  # mean welfare on the seeds that chose it: too high
    welfare: float  # mean welfare on fresh seeds
    error: float  # its standard error; NaN for one seed
    terms: int  # played for all this


@dataclass(frozen=True, slots=True)
class Oracle:
    """Knows the best rates for each context. Raises DataError for a context that it has not searched."""

    best: tuple[Best, ...]

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        return self.of(context).rates

    def of(self, context: Context) -> Best:
        """Return what is best for a context."""
        for one in self.best:
            if one.context == context:
                return one
        known = "; ".join(str(dict(one.context)) for one in self.best)
        raise DataError(f"oracle: expected one of the contexts {known}, found {dict(context)}; search anew")


def find(society: Society, search: Search, *, seed: int, tell: Callable[[Point], None] = lambda _: None) -> Oracle:
    """Search for the best rates of every context that occurs; `tell` each policy that was played."""
    return Oracle(tuple(_find(society, one, search, seed=seed, tell=tell) for one in contexts(society, seed)))


def contexts(society: Society, seed: int) -> list[Context]:
    """Return the contexts that occur among a thousand seeds, in order."""
    return sorted({society.context(derive_seed("oracle", seed, number)) for number in range(1000)})


def _find(society: Society, context: Context, search: Search, *, seed: int, tell: Callable[[Point], None]) -> Best:
    drawn = (derive_seed("oracle", seed, number) for number in islice(count(), LOOKED))
    fitting = islice((one for one in drawn if society.context(one) == context), search.terms + search.judged)
    seeds = list(fitting)
    if len(seeds) < search.terms + search.judged:
        raise ConfigError(f"oracle: expected {search.terms + search.judged} seeds with {dict(context)} among {LOOKED}")
    chose, fresh = seeds[: search.terms], seeds[search.terms :]
    table = grid(society, lattice(society.rates, search.values), chose, batch=search.batch, tell=tell)
    step = 0.5 / (search.values - 1)
    for _ in range(search.refinements):
        near = [one for one in aside(best(table).rates, society.rates, step) if one not in {p.rates for p in table}]
        if near:
            table += grid(society, near, chose, batch=search.batch, tell=tell)
        step /= 2
    found = best(table)
    (again,) = grid(society, [found.rates], fresh, batch=search.batch)
    played = len(table) * search.terms + search.judged
    return Best(context, found.rates, found.welfare, again.welfare, again.error, played)


def aside(point: Sequence[float], rates: Sequence[Rate], step: float) -> list[Rates]:
    """Return policies that differ in one rate, by `step` of its range, where that stays in range.

    >>> aside((0.5, 0.0), [Rate("tax"), Rate("fine", 0, 2)], 0.25)
    [(0.25, 0.0), (0.75, 0.0), (0.5, 0.5)]
    """
    centre, found = checked(point, rates), list[Rates]()
    for place, rate in enumerate(rates):
        for move in (-step, step):
            moved = centre[place] + move * (rate.high - rate.low)
            if rate.holds(moved):
                found.append((*centre[:place], moved, *centre[place + 1 :]))
    return found


def kept(society: Society, search: Search, path: Path, *, seed: int, name: str) -> Oracle:
    """Return the oracle that is kept at a path; searched for, and kept with the command, where there is none yet.

    Raises DataError for a file of another society, search or seed: nothing is overwritten.
    """
    asked = {"society": name, "rates": [asdict(rate) for rate in society.rates], "search": asdict(search), "seed": seed}
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            found = {key: stored[key] for key in asked}
            rows = [{**row, "context": tuple(map(tuple, row["context"]))} for row in stored["best"]]
            oracle = Oracle(tuple(Best(**{**row, "rates": tuple(row["rates"])}) for row in rows))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} holds no oracle ({error!r}); delete it, and it is searched for again") from error
        if found != asked:
            raise DataError(f"{path} holds another oracle: expected {asked}, found {found}; choose another path")
        return oracle
    oracle = find(society, search, seed=seed)
    told = {**asked, "command": shlex.join(sys.argv), "best": [asdict(one) for one in oracle.best]}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
    return oracle


def oracle(
    society: Society,
    *,
    seed: int,
    path: Path | None = None,
    search: Search = Search(),
    name: str = "",
) -> Principal:
    """Return the oracle as a principal, kept at `path` if one is given; the search has seeds of its own."""
    if path is None:
        return find(society, search, seed=seed)
    return kept(society, search, path, seed=seed, name=name)
