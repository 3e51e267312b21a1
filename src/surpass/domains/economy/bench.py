"""How many environment steps a second the simulators do, against the plain reference in the same run.

One environment step is one step of one game, in which all seven agents act once; what each of them sees is written at
every step. Actions are random and drawn within the time measured. Games that end begin anew. The rules are those of the
paper; all threads that this process may use work. The kernel and the reference take turns, `rounds` times, and medians
are shown; `load` says how busy the machine was. Compilation is left out.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.table import Table

from surpass.domains.economy.reference import Game
from surpass.domains.economy.rules import RULES, Rules, rules_of
from surpass.domains.economy.simulator import Commons
from surpass.errors import ConfigError

GOAL = 100_000


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    games: int = 1024  # at once
    steps: int = 300  # of all games, in each round
    reference_steps: int = 400  # of one game, in each round
    rounds: int = 5
    json: Path | None = None  # where to write the numbers, too

    def __post_init__(self) -> None:
        for name in ("games", "steps", "reference_steps", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, found {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, by society."""

    steps_per_second: Mapping[str, float]  # environment steps, what all agents see included
    reference_steps_per_second: Mapping[str, float]
    ratio: Mapping[str, float]  # of the two, median over rounds
    games: int
    threads: int
    cores: int | None
    load: float

    def table(self) -> Table:
        """Return the rates as a table to print."""
        caption = f"{self.games} games, {self.threads} threads, {self.cores} cores, load {self.load}; goal {GOAL:,}"
        table = Table(title="Environment steps a second", caption=caption)
        for column in ("", "kernel", "reference", "ratio"):
            table.add_column(column, justify="right" if column else "left")
        for name, rate in self.steps_per_second.items():
            plain, ratio = self.reference_steps_per_second[name], self.ratio[name]
            table.add_row(name, f"{rate:,.0f}", f"{plain:,.0f}", f"{ratio:.0f}")
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
    report = Report(
        steps_per_second={name: round(median(one[name][0] for one in rounds)) for name in measures},
        reference_steps_per_second={name: round(median(one[name][1] for one in rounds)) for name in measures},
        ratio={name: round(median(one[name][0] / one[name][1] for one in rounds), 1) for name in measures},
        games=config.games,
        threads=threads,
        cores=os.cpu_count(),
        load=round(os.getloadavg()[0], 1),
    )
    if config.json is not None:
        config.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


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
