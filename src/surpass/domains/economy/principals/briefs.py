"""What a language model is told of a society: a brief for each of the three societies, and one for any other.

A brief is chosen by the names of a society's rates; one whose rates no brief names gets `ANY`. The texts are our own:
those of Large Legislative Models (arXiv 2410.08345) were not published with its code. They say how a society works, and
not which rates are good. Not here: how a prompt is put together (`prompts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from surpass.domains.economy.principals.history import figure
from surpass.domains.economy.society import Context, JudgedBy, Metrics, Society


@dataclass(frozen=True, slots=True)
class Brief:
    """What is told of a society."""

    setting: str  # who lives there, and what a policymaker can do
    meaning: Mapping[str, str]  # of each rate, by its name
    goal: str  # what welfare is
    words: Callable[[Metrics], str]  # what else was seen in a term
    indicator: Callable[[Context], str]  # what is known of a term before its rates are chosen


def brief_of(society: Society) -> Brief:
    """Return the brief of a society; what another measure of it is (`JudgedBy`) goes by the measure's name."""
    names = {rate.name for rate in society.rates}
    brief = next((one for one in BRIEFS.values() if set(one.meaning) == names), ANY)
    if isinstance(society, JudgedBy):
        return replace(brief, goal=f"what is measured as {society.metric!r}", words=_numbers)
    return brief


def _numbers(metrics: Metrics) -> str:
    """Say every number by its name, then the society's own words."""
    told = ", ".join(f"{name} {figure(value)}" for name, value in metrics.values)
    return "; ".join(part for part in (told, metrics.words) if part)


def _plainly(context: Context) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in context)


def _apples(metrics: Metrics) -> str:
    told = dict(metrics.values)
    left = [(name.removeprefix("apples after "), value) for name, value in told.items() if name.startswith("apples")]
    parts = [f"each agent earned {figure(metrics.welfare)} on average"]
    if left:
        parts.append("apples on the map " + ", ".join(f"{figure(value)} after {when}" for when, value in left))
    if {"eaten", "cleaned"} <= set(told):
        parts.append(f"each ate {figure(told['eaten'])} apples and cleaned in {figure(told['cleaned'])} steps")
    if told.get("cost"):
        parts.append(f"incentives of {figure(told['cost'])} were paid out")
    if "gini" in told:
        parts.append(f"inequality of earnings (Gini) {figure(told['gini'])}")
    return "; ".join(parts)


def _places(metrics: Metrics) -> str:
    told = dict(metrics.values)
    where = [f"{figure(value)} at {name.removeprefix('at ')}" for name, value in told.items() if name.startswith("at ")]
    parts = [f"agents on average: {', '.join(where)}"] if where else []
    if "door open" in told:
        parts.append(f"the door was open in {100 * told['door open']:.0f}% of the steps")
    if "cost" in told:
        parts.append(f"incentives of {figure(told['cost'])} were paid out")
    return "; ".join(parts)


def _lever(context: Context) -> str:
    return "; ".join(f"the lever that opens the door is lever {value:g}" for _, value in context)


COMMONS = (
    "Seven agents live on a map for an episode of many steps. They learn from their own rewards alone, anew for each "
    "of your policies: at first they behave almost at random, after a few episodes each does what has paid for it. "
)
HARVEST = Brief(
    COMMONS
    + "The map holds patches of apples. An agent that steps onto an apple eats it, which earns 1. An eaten apple grows "
    "back only if other apples are left close to it, the more of them the sooner; where a patch was eaten up, nothing "
    "ever grows again. You set three tax rates. When an agent eats an apple, its income is the apples it has eaten in "
    "this step and the ten before; the rate of its bracket, times 4, is taken from it for the apple, and what is taken "
    "is shared out equally among all seven. Agents see the rates.",
    {
        "low income": "the rate while income is below 3",
        "middle income": "the rate while income is from 3 to below 5",
        "high income": "the rate while income is 5 or more",
    },
    "how many apples an agent eats in the last episode, on average; taxes only move them around",
    _apples,
    _plainly,
)
CLEANUP = Brief(
    COMMONS
    + "The map holds an orchard and a river. Dirt drifts into the river all the time; the dirtier the river, the more "
    "slowly apples grow in the orchard, and above a certain pollution none grow at all. Eating an apple earns an agent "
    "0.1; cleaning a part of the river costs it 1. Whoever cleans is away from the orchard. You set three incentives, "
    "which an agent is paid in each step on top, according to what it did in the step. Agents see the incentives.",
    {
        "eating": "the payment for a step in which an agent ate an apple",
        "cleaning": "the payment for a step in which it cleaned the river",
        "neither": "the payment for a step in which it did neither",
    },
    "what an agent earns from apples in the last episode, less what cleaning cost it, on average, without incentives",
    _apples,
    _plainly,
)
ESCAPE_ROOM = Brief(
    "Five agents are in a room with three levers, a door and the place where they start. In each of five steps every "
    "agent goes to one of these five places, or stays. One of the levers is live. While at least two agents are at the "
    "live lever the door is open: then agents at the door earn 10 each and all others lose 1. While the door is shut, "
    "agents who moved lose 1 and those who stayed lose nothing. They learn from their own earnings, anew for each of "
    "your policies. You set five incentives: what an agent is paid on top for each step it spends at a place.",
    {
        "lever 1": "the payment for being at lever 1",
        "lever 2": "the payment for being at lever 2",
        "lever 3": "the payment for being at lever 3",
        "door": "the payment for being at the door",
        "start": "the payment for being where everybody starts",
    },
    "what all agents together earn in the five steps, without incentives",
    _places,
    _lever,
)
ANY = Brief(
    "A society reacts to your policy, which is a few numbers, for a term. Each term begins afresh.",
    {},
    "a number that measures how well the society fares",
    _numbers,
    _plainly,
)
BRIEFS: dict[str, Brief] = {"harvest": HARVEST, "cleanup": CLEANUP, "escape_room": ESCAPE_ROOM}
