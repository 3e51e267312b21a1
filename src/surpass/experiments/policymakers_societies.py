"""The societies of the experiment `policymakers`, and what principals are told to do in each of them.

    settled_room   Escape Room whose agents have settled: no learning, answers at once
    room           Escape Room whose agents learn
    harvest        Commons Harvest whose agents learn; rates are taxes
    cleanup        Clean Up whose agents learn; rates are incentives

Grids are those of Large Legislative Models (arXiv 2410.08345): few levels for the five rates of Escape Room, more for
the three of a commons. Not here: societies and principals themselves (`domains/economy`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from surpass.domains.economy.learning import LearningCommons, load_core
from surpass.domains.economy.principals.ai_economist import PlannerOptions
from surpass.domains.economy.principals.oracle import Search
from surpass.domains.economy.room_learning import LearningRoom
from surpass.domains.economy.rules import rules_of
from surpass.domains.economy.society import SettledRoom, Society

if TYPE_CHECKING:
    from surpass.experiments.policymakers import Config

ALWAYS = ("fixed", "oracle")  # what others are seen against: no policy, and the best fixed rates
Options = Mapping[str, Mapping[str, object]]  # of principals, by name


@dataclass(frozen=True)
class Place:
    """A society, with all that the comparison needs to know of it."""

    name: str
    society: Society
    principals: tuple[str, ...]
    terms: int  # of each principal and seed
    steps: int  # environment steps of a term
    search: Search  # of the oracle
    agents: int
    options: Options = field(default_factory=dict)


def settled_room(config: Config) -> Place:
    """Return Escape Room with settled agents; one episode is enough to tell what they do."""
    society = SettledRoom()
    search = replace(_search(config, config.room_values), terms=1)
    able = tuple(name for name in config.room_principals if name != "metagrad")  # nobody learns here
    rules, principals = society.rules, _all(able)
    return Place("settled_room", society, principals, config.settled_terms, rules.length, search, rules.agents, ROOM)


def room(config: Config) -> Place:
    """Return Escape Room with agents who learn."""
    society = LearningRoom(episodes=config.room_episodes, threads=config.threads)
    search, rules, principals = _search(config, config.room_values), society.rules, _all(config.room_principals)
    steps = society.environment_steps
    return Place("room", society, principals, config.room_terms, steps, search, rules.agents, ROOM)


def commons(config: Config, *, name: str) -> Place:
    """Return a commons whose agents learn."""
    rules = replace(rules_of(name), length=config.commons_length)
    episodes = config.cleanup_episodes if name == "cleanup" else config.commons_episodes
    society = LearningCommons(rules, load_core(config.core, society=name), episodes=episodes)
    steps = (episodes + 1) * rules.length
    principals = _all(config.commons_principals)
    search = _search(config, config.commons_values)
    return Place(name, society, principals, config.commons_terms, steps, search, rules.agents)


def harvest(config: Config) -> Place:
    """Return Harvest."""
    return commons(config, name="harvest")


def cleanup(config: Config) -> Place:
    """Return Clean Up."""
    return commons(config, name="cleanup")


SOCIETIES: dict[str, Callable[[Config], Place]] = {
    "settled_room": settled_room,
    "room": room,
    "harvest": harvest,
    "cleanup": cleanup,
}
ROOM: Options = {
    "epsilon_greedy": {"levels": 6},
    "ucb": {"levels": 3},
    "thompson": {"levels": 3},
    "ai_economist": {"options": PlannerOptions(levels=6)},
}


def _search(config: Config, values: int) -> Search:
    return Search(values, config.oracle_refinements, config.oracle_terms, config.oracle_judged)


def _all(principals: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*ALWAYS, *principals)))
