"""Prompts that ask a language model for rates, and the reader of its answers.

    what the society is, what its rates mean, what welfare is, how to answer
    history, one line a term (`history.py`), with what was seen in words
    what is known of the next term; that there was none before; the reminder

The order is that of Large Legislative Models (arXiv 2410.08345), with the reminder last; the prompt of `population` is
that of EvoLLM (arXiv 2402.18381): sorted from the worst to the best, improve the mean. Numbers are written in one way,
so equal histories are equal prompts. Not here: asking (`language.py`), and what a society is (`briefs.py`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from surpass.domains.economy.principals.briefs import Brief
from surpass.domains.economy.principals.history import Line, figure, history_text
from surpass.domains.economy.principals.principal import Rates
from surpass.domains.economy.society import Context, Rate, Term, read
from surpass.models.chat import Form, Message, Prompt, Wrong, unwrapped

Question = tuple[Prompt, Form]  # for any server, and for one that holds answers to a JSON schema
SPAN = re.compile(r"\$+([^$]*)\$+|(\{[^{}]*\})")  # what may hold an answer: between `$`, or a JSON object


@dataclass(frozen=True, slots=True)
class View:
    """What of a society a language model is shown. Each field but `rates` is an ablation where it differs."""

    rates: tuple[Rate, ...]  # by the names that are shown, in the society's order
    history: bool = True  # what came of earlier terms
    observations: bool = True  # what was seen in them beside welfare
    context: bool = True  # what is known of a term before its rates are chosen


def shuffled(rates: Sequence[Rate], seed: int) -> tuple[Rate, ...]:
    """Return rates under each other's names, none under its own where there are two or more: names then mislead.

    >>> [rate.name for rate in shuffled([Rate("tax"), Rate("fine", 0, 2)], 0)]
    ['fine', 'tax']
    """
    names, chance = [rate.name for rate in rates], random.Random(seed)
    order = list(names)
    chance.shuffle(order)
    by_place = {name: order[(place + 1) % len(order)] for place, name in enumerate(order)}  # one cycle through all
    return tuple(replace(rate, name=by_place[rate.name]) for rate in rates)


def legislate(brief: Brief, view: View, history: Sequence[Term], context: Context) -> Question:
    """Return the question for the rates of the next term."""
    parts = [brief.setting, f"Welfare is {brief.goal}.", _meanings(brief, view.rates)]
    parts.append(
        "You are the policymaker. Find the rates that make welfare as high as possible, in as few terms as possible."
    )
    if view.history and history:
        parts.append(
            "These are the earlier terms: number, rates in the order above, an arrow, and the welfare they led to"
            + ("; then what else was seen" if view.observations else "")
            + ". The same rates do not always lead to the same welfare."
        )
        lines = (
            Line(
                number,
                term.context if view.context else (),
                term.rates,
                term.metrics.welfare,
                brief.words(term.metrics) if view.observations else "",
            )
            for number, term in enumerate(history, 1)
        )
        parts.append(history_text(lines, view.rates).rstrip("\n"))
    if view.context and context:
        parts.append(f"In the term to come, {brief.indicator(context)}.")
    if view.history and not history:
        parts.append("This is the first term: there is nothing to go by yet.")
    return _asked(parts, "Choose the rates of the next term", view.rates)


def population(rates: Sequence[Rate], history: Sequence[Term]) -> Question:
    """Return the question for a better mean, given terms that are sorted from the worst to the best."""
    ranked = sorted(history, key=lambda term: term.metrics.welfare)
    lines = (Line(number, (), term.rates, term.metrics.welfare) for number, term in enumerate(ranked, 1))
    best = figure(ranked[-1].metrics.welfare)
    parts = [
        f"You optimise {len(rates)} numbers ({_ranges(rates)}): the higher the value that they lead to, the better.",
        "These were tried, sorted from the worst to the best: place, numbers, an arrow, and the value, which is noisy.",
        history_text(lines, rates).rstrip("\n"),
        f"New candidates are drawn around a mean. Propose the mean that leads to values above {best}.",
    ]
    return _asked(parts, "Propose the mean", rates)


def answered(text: str, rates: Sequence[Rate]) -> Rates | Wrong:
    """Read the one answer that a text gives: numbers between `$`, a JSON object by names, or nothing but numbers.

    Thoughts and code fences are taken off. The same answer twice is one; two different ones are none.

    >>> answered("More tax: $0.5, 2$", [Rate("tax"), Rate("fine", 0, 2)])
    (0.5, 2.0)
    >>> answered("$0.5 2$ or $0.4 2$", [Rate("tax"), Rate("fine", 0, 2)])
    Wrong(reason='expected one answer, found 2 that differ')
    """
    spoken = unwrapped(text)
    spans = [inside or whole for inside, whole in SPAN.findall(spoken) if (inside or whole).strip()] or [spoken]
    found = [read(span, rates) for span in spans]
    right = {one for one in found if not isinstance(one, str)}
    if len(right) > 1:
        return Wrong(f"expected one answer, found {len(right)} that differ")
    return next(iter(right)) if right else Wrong(str(found[-1]))


def _asked(parts: Sequence[str], wish: str, rates: Sequence[Rate]) -> Question:
    """Return the question with a reminder of what an answer looks like, as text and as JSON."""
    names = [rate.name for rate in rates]
    marks = " ".join(f"r{number}" for number in range(1, len(rates) + 1))
    what = f"{wish}: {len(rates)} numbers, {_ranges(rates)}."
    plain = (
        f"{what} End your answer with them in this order, between dollar signs: ${marks}$. Write no other dollar sign."
    )
    formed = f"{what} Answer with a JSON object of these numbers, by their names."
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": "number"} for name in names},  # no bounds: many servers refuse them, we check
        "required": names,
        "additionalProperties": False,
    }
    first, second = ((Message("user", "\n\n".join([*parts, reminder])),) for reminder in (plain, formed))
    return first, Form(second, schema)


def _meanings(brief: Brief, rates: Sequence[Rate]) -> str:
    lines = (
        f"- {rate.name}, from {rate.low:g} to {rate.high:g}"
        + (f": {brief.meaning[rate.name]}" if rate.name in brief.meaning else "")
        for rate in rates
    )
    return "\n".join(["The rates, in order:", *lines])


def _ranges(rates: Sequence[Rate]) -> str:
    return ", ".join(f"{rate.name} from {rate.low:g} to {rate.high:g}" for rate in rates)
