"""How fast simulators and societies of learners are, each against a baseline in the same run.

One environment step is one step of one game, in which all seven agents act once; what each of them sees is written at
every step. Actions are random and drawn within the time measured. Games that end begin anew. The rules are those of the
paper; all threads that this process may use work. The kernel and the reference take turns, `rounds` times, and medians
are shown; `load` says how busy the machine was. Compilation is left out.

A principal step is one term of a society whose agents learn: in Harvest five episodes of learning and one that counts,
of 1,000 steps; in Escape Room 2,000 and one, of 5 steps. Seconds are those of a batch of `seeds` terms, divided by
`seeds`; the baseline is one term alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from rich.table import Table

from surpass.bounds import at_least
from surpass.domains.economy.learning import LearningCommons, load_core
from surpass.domains.economy.reference import Game
from surpass.domains.economy.room_learning import LearningRoom
from surpass.domains.economy.rules import RULES, Rules, rules_of
from surpass.domains.economy.simulator import Commons
from surpass.domains.economy.society import Society, terms

GOAL = 100_000
STEP_GOALS = "10 (harvest) and 2 (escape room)"


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    games: int = 1024  # at once
    steps: int = 300  # of all games, in each round
    reference_steps: int = 400  # of one game, in each round
    rounds: int = 5
    seeds: int = 8  # terms in a batch of learners
    harvest_steps: int = 1000  # of an episode of learners
    room_episodes: int = 2000  # of a term of learners
    json: Path | None = None  # where to write the numbers, too

    def __post_init__(self) -> None:
        at_least(self, games=1, steps=1, reference_steps=1, rounds=1, seeds=1, harvest_steps=1, room_episodes=1)


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, by society."""

    steps_per_second: Mapping[str, float]  # environment steps, what all agents see included
    reference_steps_per_second: Mapping[str, float]
    ratio: Mapping[str, float]  # of the two, median over rounds
    principal_step_seconds: Mapping[str, float]  # amortised over `seeds` terms in one batch
    alone_principal_step_seconds: Mapping[str, float]  # of one term alone
    principal_step_ratio: Mapping[str, float]  # of the second to the first
    games: int
    seeds: int
    threads: int
    cores: int | None
    load: float

    def table(self) -> Table:
        """Return the figures as a table to print."""
        caption = (
            f"{self.games} games, {self.seeds} seeds, {self.threads} threads, {self.cores} cores, load {self.load}"
        )
        table = Table(title="Economy", caption=f"{caption}; goals {GOAL:,} steps a second, {STEP_GOALS} seconds")
        for column in ("", "batched", "baseline", "ratio"):
            table.add_column(column, justify="right" if column else "left")
        for name, rate in self.steps_per_second.items():
            plain, ratio = self.reference_steps_per_second[name], self.ratio[name]
            table.add_row(f"{name}: steps a second", f"{rate:,.0f}", f"{plain:,.0f}", f"{ratio:.0f}")
        for name, seconds in self.principal_step_seconds.items():
            alone, ratio = self.alone_principal_step_seconds[name], self.principal_step_ratio[name]
            table.add_row(f"{name}: seconds a principal step", f"{seconds:.2f}", f"{alone:.2f}", f"{ratio:.1f}")
        return table


def main(config: BenchConfig) -> Report:
    """Measure everything and return it."""
    measures: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {}
    threads = 1
    for name in RULES:
        rules = rules_of(name)
        commons = Commons(rules, range(config.games))
        commons.step(np.zeros((config.games, rules.agents), np.int16))  # compiles
        threads = commons.threads
        measures[name] = (_kernel(commons, config.steps), _reference(rules, config.reference_steps))
    rounds = [{name: (fast(), plain()) for name, (fast, plain) in measures.items()} for _ in range(config.rounds)]
    learners = _learners(config)
    report = Report(
        steps_per_second={name: round(median(one[name][0] for one in rounds)) for name in measures},
        reference_steps_per_second={name: round(median(one[name][1] for one in rounds)) for name in measures},
        ratio={name: round(median(one[name][0] / one[name][1] for one in rounds), 1) for name in measures},
        principal_step_seconds={name: float(f"{batch:.4g}") for name, (batch, _) in learners.items()},
        alone_principal_step_seconds={name: float(f"{alone:.4g}") for name, (_, alone) in learners.items()},
        principal_step_ratio={name: round(alone / batch, 2) for name, (batch, alone) in learners.items()},
        games=config.games,
        seeds=config.seeds,
        threads=threads,
        cores=os.cpu_count(),
        load=round(os.getloadavg()[0], 1),
    )
    if config.json is not None:
        config.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def _learners(config: BenchConfig) -> dict[str, tuple[float, float]]:
    """Return seconds of a term, in a batch and alone, by society: one measure each, after a short one that compiles."""
    rules = rules_of("harvest")

    def commons(length: int) -> LearningCommons:
        return LearningCommons(replace(rules, length=length), load_core())

    societies: dict[str, tuple[Society, Society]] = {
        "harvest": (commons(1), commons(config.harvest_steps)),
        "escape_room": (LearningRoom(episodes=1), LearningRoom(episodes=config.room_episodes)),
    }
    found = dict[str, tuple[float, float]]()
    for name, (short, whole) in societies.items():
        rates = [rate.low for rate in whole.rates]
        terms(short, [rates], [0])
        started = time.perf_counter()
        terms(whole, [rates] * config.seeds, range(config.seeds))
        middle = time.perf_counter()
        terms(whole, [rates], [0])
        found[name] = (middle - started) / config.seeds, time.perf_counter() - middle
    return found


def _kernel(commons: Commons, steps: int) -> Callable[[], float]:
    shape, chance = (len(commons), commons.rules.agents), np.random.default_rng(0)

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            turn = commons.step(chance.integers(0, commons.rules.actions, shape, dtype=np.int16))
            if turn.done.any():
                commons.reset(where=turn.done)
        return len(commons) * steps / (time.perf_counter() - start)

    return measure


def _reference(rules: Rules, steps: int) -> Callable[[], float]:
    chance = np.random.default_rng(0)

    def measure() -> float:
        game = Game(rules, 0)
        start = time.perf_counter()
        for _ in range(steps):
            game.step(chance.integers(0, rules.actions, rules.agents).tolist())
            game.views()
            if game.done:
                game = Game(rules, 0)
        return steps / (time.perf_counter() - start)

    return measure
