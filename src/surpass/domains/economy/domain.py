"""Policymaking as a domain: an action is a text that names rates, a state is the history of terms they led to.

A problem is a society, a seed and a number of terms. In each term the policymaker sees what came before, in numbers and
words, and the term's context, and names rates (`society.read`); the society answers with metrics. The return is the
mean welfare over the terms, so that exploring costs what it costs. A play is ACCEPTED where it reaches the problem's
target. Text that names no rates ends the play, REJECTED with a return of 0; a society that fails makes it UNKNOWN.
Answers are kept, so that a replay asks no society twice. Not here: policymakers, and how they learn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from statistics import fmean
from typing import Any

from surpass.core import Observation, Problem, Status, Verdict
from surpass.domains.economy.society import (
    NUMBER,
    Context,
    Metrics,
    SettledRoom,
    Society,
    SocietyError,
    Term,
    read,
    surface,
    write,
)
from surpass.errors import ConfigError, DataError
from surpass.rollouts.seeds import derive_seed

VERSION = "policymaking 1"  # changes whenever the rules of a play change
SPLITS = ("train", "validation", "test")
KEPT = 4096  # answers
KNOWN = re.compile(r"\[([^\]]+) (\S+)\]")  # one part of a context
PAST = re.compile(r"[0-9]+\. (?P<context>(?:\[[^\]]+\] )*)(?P<rates>[^\[\]>]+) -> (?P<told>welfare \S+.*)")
NEXT = re.compile(r"term [0-9]+ of [0-9]+(?P<context>(?: \[[^\]]+\])*):")


@dataclass(frozen=True, slots=True)
class Office:
    """A play so far."""

    problem: str  # Problem.key
    society: str
    seed: int
    terms: int  # in all
    target: float | None  # mean welfare that is accepted; None: any
    history: tuple[Term, ...] = ()
    refusal: str = ""  # why the text named no rates
    failure: str = ""  # why the society gave no answer

    @property
    def over(self) -> bool:
        """Whether there is nothing left to decide."""
        return bool(self.refusal or self.failure or len(self.history) == self.terms)


@dataclass(frozen=True, slots=True)
class Case:
    """A society with what is known of it."""

    society: Society
    target: float | None = None  # mean welfare of a play that is accepted; None: any play of all terms
    best: Callable[[int], Sequence[float]] | None = None  # rates that reach it, by the seed of a term


def examples() -> dict[str, Case]:
    """Return two societies that answer at once: a noisy response surface, and Escape Room with settled agents."""
    flat, room = surface(0), SettledRoom()
    return {"surface": Case(flat, flat.peak - 0.2, flat.best_rates), "escape_room": Case(room, 126.0, room.best_rates)}


class Policymaking:
    """Societies by name, `terms` of each in a play; a `surpass.core.Domain` over `Office`.

    Each split has `problems` of each society, which differ in their seeds. Pickles if the societies do. Raises
    ConfigError for no society, no terms or no problems.
    """

    def __init__(
        self, societies: Mapping[str, Society | Case] | None = None, *, terms: int = 5, problems: int = 4
    ) -> None:
        for name, number in (("terms", terms), ("problems", problems)):
            if number < 1:
                raise ConfigError(f"{name}: expected 1 or more, found {number}")
        given = examples() if societies is None else societies
        if not given:
            raise ConfigError("societies: expected at least one, found none")
        self._cases = {name: one if isinstance(one, Case) else Case(one) for name, one in given.items()}
        self._terms, self._problems = terms, problems
        self._answer = lru_cache(maxsize=KEPT)(self._ask)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Policymaking, terms=self._terms, problems=self._problems), (self._cases,)

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the problems of a split: every society with seeds of the split's own. Raises DataError otherwise."""
        if split not in SPLITS:
            raise DataError(f"policymaking: expected the split {', '.join(SPLITS)}, found {split!r}")
        for number in range(self._problems):
            for name, case in self._cases.items():
                seed = derive_seed("policymaking", name, split, number)
                data = {"society": name, "seed": seed, "terms": self._terms, "target": case.target}
                if case.best is not None:
                    data["solution"] = [write(case.best(_seed(seed, term))) for term in range(self._terms)]
                yield Problem(f"{name}-{split}-{number}", name, data)

    def start(self, problem: Problem) -> Office:
        """Return the first term. Raises DataError for a society that is not here."""
        data = problem.data
        if data["society"] not in self._cases:
            known = ", ".join(self._cases)
            raise DataError(f"{problem.key}: expected one of the societies {known}, found {data['society']!r}")
        return Office(problem.key, data["society"], data["seed"], data["terms"], data["target"])

    def observe(self, state: Office) -> Observation:
        """Return the rates to name, what came of earlier ones, and the context."""
        society, number = self._cases[state.society].society, len(state.history)
        wanted = ", ".join(f"{rate.name} ({rate.low:g} to {rate.high:g})" for rate in society.rates)
        lines = [f"society: {state.society}", f"rates: {wanted}"]
        lines += [f"{past}. {told(term)}" for past, term in enumerate(state.history, 1)]
        if not state.over:
            context = "".join(f" [{name} {value:g}]" for name, value in society.context(_seed(state.seed, number)))
            lines.append(f"term {number + 1} of {state.terms}{context}:")
        text = "\n".join(lines) + "\n"
        return Observation(text, key=f"{state.problem}\n{text}")

    def step(self, state: Office, action: str) -> Office:
        """Return the state after a term of the rates that an action names, or one that says why there was none."""
        if state.over:
            return replace(state, refusal=state.refusal or "expected no action: the terms are over")
        society, seed = self._cases[state.society].society, _seed(state.seed, len(state.history))
        rates = read(action, society.rates)
        if isinstance(rates, str):
            return replace(state, refusal=rates)
        try:
            metrics = self._answer(state.society, rates, seed)
        except SocietyError as error:
            return replace(state, failure=str(error))
        return replace(state, history=(*state.history, Term(rates, metrics, society.context(seed))))

    def verify(self, state: Office) -> Verdict | None:
        """Return the verdict of a finished play; returns are (mean welfare,)."""
        if not state.over:
            return None
        evidence = f"{VERSION}; {state.society}"
        if state.failure:
            return Verdict(Status.UNKNOWN, (), f"{evidence}; {state.failure}")
        if state.refusal:
            return Verdict(Status.REJECTED, (0.0,), f"{evidence}; {state.refusal}")
        welfare = fmean(term.metrics.welfare for term in state.history)
        reached = state.target is None or welfare >= state.target
        return Verdict(Status.ACCEPTED if reached else Status.REJECTED, (welfare,), evidence)

    def _ask(self, name: str, rates: tuple[float, ...], seed: int) -> Metrics:
        return self._cases[name].society.step(rates, seed=seed)


def _seed(seed: int, term: int) -> int:
    """Return the seed of one term of a play."""
    return derive_seed(seed, term)


def told(term: Term) -> str:
    """Return a past term as one line, numbers to six digits; rates exactly.

    >>> told(Term((0.5,), Metrics(25.0, (("gini", 0.25),), "calm"), (("lever", 2.0),)))
    '[lever 2] 0.5 -> welfare 25; gini 0.25; calm'
    """
    context = "".join(f"[{name} {value:g}] " for name, value in term.context)
    values = "".join(f"; {name} {value:.6g}" for name, value in term.metrics.values)
    words = f"; {' '.join(term.metrics.words.split())}" if term.metrics.words else ""
    return f"{context}{write(term.rates)} -> welfare {term.metrics.welfare:.6g}{values}{words}"


def recall(text: str) -> tuple[tuple[Term, ...], Context]:
    """Return the past terms and the context of the next one from the text of an observation.

    Numbers are those of the text. Raises DataError for a text that `observe` did not write.
    """
    lines = text.splitlines()
    if not lines or not (next_term := NEXT.fullmatch(lines[-1])):
        raise DataError(f"expected an observation that ends in 'term 1 of 5:', found {text[-80:]!r}")
    return tuple(map(_recalled, lines[2:-1])), _context(next_term["context"])


def _recalled(line: str) -> Term:
    found = PAST.fullmatch(line)
    if found is None:
        raise DataError(f"expected a line like '1. 0.5 -> welfare 2', found {line[:80]!r}")
    parts, values, words = found["told"].split("; "), list[tuple[str, float]](), ""
    for place, part in enumerate(parts):
        name, _, number = part.rpartition(" ")
        if not name or not NUMBER.fullmatch(number):
            words = "; ".join(parts[place:])
            break
        values.append((name, float(number)))
    rates = tuple(map(float, found["rates"].split()))
    return Term(rates, Metrics(values[0][1], tuple(values[1:]), words), _context(found["context"]))


def _context(text: str) -> Context:
    return tuple((name, float(value)) for name, value in KNOWN.findall(text))
