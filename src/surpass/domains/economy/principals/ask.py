"""`surpass economy ask`: print exactly what a language model would be sent of a society. Sends nothing, needs no key.

With `--terms N` it is asked after N terms under rates that were drawn at random, which are played first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from surpass.domains.economy.principals.language import ABLATIONS, evollm, llm
from surpass.domains.economy.principals.simple import uniform
from surpass.domains.economy.society import SettledRoom, Society, Term, surface
from surpass.errors import ConfigError
from surpass.models.chat import Chat
from surpass.models.endpoint import Endpoint
from surpass.rollouts.seeds import derive_seed

PRINCIPALS = ("llm", "evollm")


def _commons(name: str) -> Society:
    from surpass.domains.economy.societies import society_of

    return society_of(name)


SOCIETIES: dict[str, Callable[[], Society]] = {
    "escape_room": SettledRoom,
    "harvest": lambda: _commons("harvest"),
    "cleanup": lambda: _commons("cleanup"),
    "surface": lambda: surface(0),
}


@dataclass(frozen=True)
class AskOptions:
    """What would be asked."""

    society: str = "escape_room"  # or harvest, cleanup, surface
    principal: str = "llm"  # or evollm
    terms: int = 0  # that went before, under random rates
    without: tuple[str, ...] = ()  # ablations of llm: history, observations, context, names
    structured: bool = False  # as a server is asked that takes a JSON schema
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("society", SOCIETIES), ("principal", PRINCIPALS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}: expected one of {', '.join(known)}, found {getattr(self, name)!r}")
        if self.terms < 0:
            raise ConfigError(f"terms: expected 0 or more, found {self.terms}")
        if self.principal == "evollm" and self.without:
            raise ConfigError(f"without: {', '.join(ABLATIONS)} are ablations of llm, not of evollm")


def main(options: AskOptions) -> int:
    """Print the question."""
    society = SOCIETIES[options.society]()
    history, chance = list[Term](), uniform(society, seed=options.seed)
    for number in range(options.terms):
        seed = derive_seed(options.seed, number)
        rates = chance.ask(history, context := society.context(seed))
        history.append(Term(rates, society.step(rates, seed=seed), context))
    context = society.context(derive_seed(options.seed, options.terms))
    chat = Chat(Endpoint("nobody", "http://localhost/v1"))  # never asked
    if options.principal == "llm":
        question = llm(society, seed=options.seed, chat=chat, without=options.without).question(history, context)
    else:
        found = evollm(society, seed=options.seed, chat=chat).question(history, context)
        if found is None:
            print("Nothing is asked in the first generation: its candidates are drawn. Try --terms 10.")
            return 0
        question = found
    prompt, form = question
    for message in form.messages if options.structured else prompt:
        print(f"[{message.role}]\n{message.content}")
    if options.structured:
        print(f"[schema]\n{json.dumps(form.schema, indent=2)}")
    return 0
