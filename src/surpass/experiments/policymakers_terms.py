"""The terms of one principal in one society: all seeds in step, recorded as they come, resumed exactly.

    step t:  ask the principal of each seed, play all their terms in one batch, write one line for each seed

A record is a run folder whose `metrics.jsonl` holds everything that a principal may learn from, exactly. What a
principal answers depends on its seed and its history alone, so whoever reads the record goes on as if nothing had
happened; a step that was not written whole is cut off and played again, in the same batch. A term's chance depends on
the society, the seed and the step, not on the principal: comparisons are paired.

A society that gives no answer, or a principal that names no rates, makes a term UNKNOWN: counted, told with its reason,
not in any mean, and not in the history. A principal that named none is made anew with other chance: a language model is
deterministic on its record, and asked the same once more it would fail until the end. A server that cannot be
reached stops the run, which can be resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surpass.domains.economy.principals.principal import Principal, PrincipalError, Rates, Simulating
from surpass.domains.economy.society import (
    Context,
    Metrics,
    Society,
    SocietyError,
    Term,
    checked,
    terms,
)
from surpass.errors import DataError
from surpass.rollouts.seeds import derive_seed
from surpass.store import Run, append_lines

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mandate:
    """Who governs what, and for how long."""

    society: Society
    name: str  # of the society: terms of equal names, seeds and steps meet the same chance
    principals: Mapping[int, Callable[[int], Principal]]  # by seed; from how many terms it has named no rates for
    terms: int
    steps: int  # environment steps of a term


def govern(mandate: Mandate, run: Run, tell: Callable[[int], None] = lambda _: None) -> list[Row]:
    """Play all terms that the record lacks, and return all rows; `tell` how many steps there are.

    Raises ConfigError for rates that a principal must not name, and whatever a server in trouble raises.
    """
    seeds = list(mandate.principals)
    rows = whole_steps(run, seeds)
    histories = {seed: [term for row in rows if row["seed"] == seed and (term := term_of(row))] for seed in seeds}
    done = len(rows) // len(seeds)
    tell(done)
    silent = {seed: sum(row["seed"] == seed and row["rates"] is None for row in rows) for seed in seeds}
    makers = mandate.principals.items() if done < mandate.terms else ()
    principals = {seed: make(silent[seed]) for seed, make in makers}
    for step in range(done, mandate.terms):
        began = time.monotonic()
        own = {seed: derive_seed("term", mandate.name, seed, step) for seed in seeds}
        contexts = {seed: mandate.society.context(own[seed]) for seed in seeds}
        asked = {seed: _ask(principals[seed], histories[seed], contexts[seed], mandate.society) for seed in seeds}
        told = _play(mandate.society, asked, own)
        seconds = (time.monotonic() - began) / len(seeds)
        spent = {seed: (step + 1) * mandate.steps + _simulated(principals[seed]) for seed in seeds}
        fresh = [_row(seed, step, spent[seed], seconds, asked[seed], told[seed], contexts[seed]) for seed in seeds]
        append_lines(run.metrics_path, fresh)
        rows += fresh
        for row in fresh:
            seed = row["seed"]
            if term := term_of(row):
                histories[seed].append(term)
            elif row["rates"] is None:
                silent[seed] += 1
                principals[seed] = mandate.principals[seed](silent[seed])
        tell(step + 1)
    return rows[: mandate.terms * len(seeds)]


def whole_steps(run: Run, seeds: Sequence[int]) -> list[Row]:
    """Return the rows of all steps that were written whole, and cut the rest off the record.

    Raises DataError for a record that is not of these seeds, step by step.
    """
    rows: list[Row] = list(run.metrics())
    for at, row in enumerate(rows):
        if not _is_term(row, seeds[at % len(seeds)], at // len(seeds) + 1):
            raise DataError(
                f"{run.metrics_path}, line {at + 1}: expected the term of seed {seeds[at % len(seeds)]} in step "
                f"{at // len(seeds) + 1}; restore the file, or delete {run.path}: its terms are then played again"
            )
    kept = rows[: len(rows) // len(seeds) * len(seeds)]
    if run.metrics_path.exists():
        fresh = run.metrics_path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        append_lines(fresh, kept)
        fresh.replace(run.metrics_path)
    return kept


def _is_term(row: Row, seed: int, step: int) -> bool:
    try:
        term_of(row)
        return (row["seed"], row["step"]) == (seed, step) and {"rates", "environment_steps"} <= set(row)
    except (KeyError, TypeError, ValueError):
        return False


def term_of(row: Row) -> Term | None:
    """Return the term of a row, exactly as the principal saw it; None where it came to nothing."""
    if "unknown" in row:
        return None
    metrics = Metrics(row["welfare"], tuple((name, value) for name, value in row["values"]), row["words"])
    return Term(tuple(row["rates"]), metrics, tuple((name, value) for name, value in row["context"]))


def _row(
    seed: int, step: int, steps: int, seconds: float, rates: Rates | str, told: Metrics | str, context: Context
) -> Row:
    row: Row = {"seed": seed, "step": step + 1, "environment_steps": steps, "seconds": seconds}
    row |= {"context": context, "rates": None if isinstance(rates, str) else rates}
    if isinstance(told, str):
        return {**row, "unknown": told}
    return {**row, "welfare": told.welfare, "values": told.values, "words": told.words}


def _ask(principal: Principal, history: Sequence[Term], context: Context, society: Society) -> Rates | str:
    """Return the rates of a principal, or why it named none."""
    try:
        return checked(principal.ask(tuple(history), context), society.rates)
    except PrincipalError as error:
        return str(error) or "no reason was told"


def _simulated(principal: Principal) -> int:
    """Return the environment steps that a principal took for itself, beside the terms."""
    return principal.environment_steps if isinstance(principal, Simulating) else 0


def _play(society: Society, asked: Mapping[int, Rates | str], own: Mapping[int, int]) -> dict[int, Metrics | str]:
    """Return what the terms came to, or why they came to nothing; one by one where the batch has a term that fails."""
    told: dict[int, Metrics | str] = {seed: rates for seed, rates in asked.items() if isinstance(rates, str)}
    ready = {seed: rates for seed, rates in asked.items() if not isinstance(rates, str)}
    try:
        found = terms(society, list(ready.values()), [own[seed] for seed in ready]) if ready else ()
        told |= dict(zip(ready, found, strict=True))
    except SocietyError:
        for seed, rates in ready.items():
            try:
                told[seed] = society.step(rates, seed=own[seed])
            except SocietyError as error:
                told[seed] = str(error)
    return told
