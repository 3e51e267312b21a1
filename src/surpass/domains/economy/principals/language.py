"""Language models as policymakers: one that is told all and decides, and one that improves a population (EvoLLM).

Both ask through a `Chat`, whose record makes them functions of their configuration, seed, history and context: what was
asked once is not asked again, so a run that was interrupted goes on exactly, and a published one is replayed without a
key. An answer that names no rates goes back with the reason; after three PrincipalError is raised: UNKNOWN, never a
zero. Not here: prompts (`prompts.py`), and talking to a server (`surpass.models.chat`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from surpass.bounds import at_least
from surpass.domains.economy.principals.briefs import Brief, brief_of
from surpass.domains.economy.principals.principal import PrincipalError, Rates
from surpass.domains.economy.principals.prompts import Question, View, answered, legislate, population, shuffled
from surpass.domains.economy.society import Context, Rate, Society, Term
from surpass.errors import ConfigError
from surpass.models.chat import Chat, Dialogue
from surpass.rollouts.seeds import derive_seed

COLD = 0.01  # the temperature of the paper
TRIES = 3
MOST_NEW = 2048  # tokens of an answer: room for some thought
ABLATIONS = ("history", "observations", "context", "names")  # without names: rates go by each other's names


@dataclass(frozen=True, slots=True)
class Asking:
    """How rates are had from a chat model."""

    chat: Chat
    seed: int
    temperature: float = COLD
    tries: int = TRIES
    most_new: int = MOST_NEW
    structured: bool = True  # ask for JSON, where the server takes a schema

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise ConfigError(f"temperature: expected 0 to 2, found {self.temperature}")
        at_least(self, tries=1, most_new=1)

    def rates(self, question: Question, rates: Sequence[Rate], *turn: int) -> Rates:
        """Return the rates that the model names; raises PrincipalError where it names none. `turn` decides the seed."""
        prompt, form = question
        dialogue = Dialogue(
            prompt,
            partial(answered, rates=rates),
            derive_seed(self.seed, *turn),
            tries=self.tries,
            temperature=self.temperature,
            most_new=self.most_new,
            form=form if self.structured else None,
        )
        [answer] = self.chat.converse([dialogue])
        if answer.value is None:
            raise PrincipalError(f"no rates in {self.tries} answers of {self.chat.endpoint.model}: {answer.wrong[-1]}")
        return answer.value


@dataclass(frozen=True, slots=True)
class Legislator:
    """A language model that is told what a society is and what came of earlier terms, and decides."""

    asking: Asking
    brief: Brief
    view: View

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        return self.asking.rates(self.question(history, context), self.view.rates, len(history))

    def question(self, history: Sequence[Term], context: Context) -> Question:
        """Return what the model is asked."""
        return legislate(self.brief, self.view, history, context)


@dataclass(frozen=True, slots=True)
class Evolver:
    """EvoLLM (arXiv 2402.18381): candidates are drawn around a mean, which a language model improves generation by
    generation, from the candidates so far, sorted. Each context has a population of its own. The first generation is
    uniform. Different from the paper: one candidate a term, rates within their ranges, and no separate elites."""

    asking: Asking
    targets: tuple[Rate, ...]
    members: int = 5  # of a generation
    generations: int = 5  # that the model is shown, the last ones
    spread: float = 0.1  # standard deviation of candidates, as a part of each range

    def __post_init__(self) -> None:
        at_least(self, members=1, generations=1)
        if not 0 < self.spread <= 1:
            raise ConfigError(f"spread: expected a number above 0, at most 1, found {self.spread}")

    def ask(self, history: Sequence[Term], context: Context) -> Rates:
        chance = np.random.default_rng(derive_seed(self.asking.seed, "candidate", len(history)))
        low, high = (np.array([getattr(rate, end) for rate in self.targets]) for end in ("low", "high"))
        question, generation = self.question(history, context), len(_own(history, context)) // self.members
        if question is None:
            return tuple(chance.uniform(low, high).tolist())
        mean = self.asking.rates(question, self.targets, generation)
        drawn = np.array(mean) + self.spread * (high - low) * chance.standard_normal(len(low))
        return tuple(np.clip(drawn, low, high).tolist())

    def question(self, history: Sequence[Term], context: Context) -> Question | None:
        """Return what the model is asked, the same for a whole generation (and so asked once); None for the first."""
        own = _own(history, context)
        elder = len(own) // self.members * self.members
        shown = own[max(0, elder - self.generations * self.members) : elder]
        return population(self.targets, shown) if shown else None


def _own(history: Sequence[Term], context: Context) -> list[Term]:
    return [term for term in history if term.context == context]


def llm(
    society: Society,
    *,
    seed: int,
    chat: Chat,
    without: Sequence[str] = (),
    temperature: float = COLD,
    tries: int = TRIES,
    structured: bool = True,
) -> Legislator:
    """Return the principal of a chat model. `without`: ablations, some of `ABLATIONS`."""
    unknown = [name for name in without if name not in ABLATIONS]
    if unknown:
        raise ConfigError(f"without: expected some of {', '.join(ABLATIONS)}, found {unknown[0]!r}")
    rates = shuffled(society.rates, derive_seed(seed, "names")) if "names" in without else tuple(society.rates)
    shown = {name: name not in without for name in ABLATIONS if name != "names"}
    asking = Asking(chat, seed, temperature, tries, structured=structured)
    return Legislator(asking, brief_of(society), View(rates, **shown))


def evollm(
    society: Society,
    *,
    seed: int,
    chat: Chat,
    members: int = 5,
    generations: int = 5,
    spread: float = 0.1,
    temperature: float = COLD,
) -> Evolver:
    """Return the principal that has a chat model improve a population."""
    return Evolver(Asking(chat, seed, temperature), tuple(society.rates), members, generations, spread)
