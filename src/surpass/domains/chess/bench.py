"""How many moves a second a model plays: hundreds of games with a cache, against one by one without, in the same run.

The model is untrained, its games are whole ones from random openings (up to `plies`), played against itself among the
legal moves: what is measured is reading transcripts, choosing and the rules together, as a match has it. Rows:

    cached         all games at once, each reading what is new
    batched        fewer games at once, each reading its transcript from the beginning at every move
    one by one     one game, likewise: what the evaluation of a small study often does

The rows take turns, `rounds` times, and medians are shown; a ratio is that of the same round, by the clock. Both kinds
play the same moves from the same openings and seeds (tested), so they play games of the same lengths.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.table import Table
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from surpass.bounds import at_least
from surpass.domains.chess.arena import Pairing, Player, play
from surpass.domains.chess.model_player import Choice, ModelPlayer
from surpass.domains.chess.openings import Opening, random_openings
from surpass.domains.chess.tokens import Moves


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    games: int = 256  # at once, with the cache
    batched_games: int = 16  # at once, without it
    single_games: int = 2  # one after the other
    plies: int = 160  # of a game at most, the opening counted
    width: int = 160  # of the model: with 6 layers some 2 M parameters
    layers: int = 6
    rounds: int = 3
    device: str = "cpu"
    json: Path | None = None  # where to write the numbers, too

    def __post_init__(self) -> None:
        at_least(self, games=1, batched_games=1, single_games=1, plies=1, width=1, layers=1, rounds=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to play; medians over rounds."""

    games: int
    moves: int  # of one round
    per_second: float  # by the clock
    per_core: float  # for each second that a core worked
    ratio: float  # to one by one by the clock, in the same round
    ratio_per_core: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured."""

    parameters: int
    device: str
    threads: int
    load: float
    rows: Mapping[str, Row]
    ratio_to_one_by_one: float  # by the clock

    def table(self) -> Table:
        """Return the rows as a table to print."""
        caption = f"{self.parameters / 1e6:.1f} M parameters on {self.device}, {self.threads} threads, load {self.load}"
        table = Table(title="Moves a second", caption=caption)
        for column in ("", "games at once", "moves", "by the clock", "by core", "ratio by the clock", "by core"):
            table.add_column(column, justify="left" if not column else "right")
        for name, row in self.rows.items():
            rates, ratios = (row.per_second, row.per_core), (row.ratio, row.ratio_per_core)
            shown = [*(f"{rate:.0f}" for rate in rates), *(f"{ratio:.1f}" for ratio in ratios)]
            table.add_row(name, str(row.games), str(row.moves), *shown)
        return table


def main(config: BenchConfig) -> Report:
    """Measure everything and return it."""
    vocabulary = Moves()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary.size,
                hidden_size=config.width,
                intermediate_size=3 * config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.width // 40,
                max_position_embeddings=config.plies + 1,
                tie_word_embeddings=True,
            )
        )
    nn.Module.to(network, config.device)
    choice = Choice(legal_only=True)
    openings = random_openings(config.games // 2 + 1)
    kinds = {  # name -> (cached, games, games at once)
        "cached": (True, config.games, config.games),
        "batched": (False, config.batched_games, config.batched_games),
        "one by one": (False, config.single_games, 1),
    }
    rounds = list[dict[str, tuple[int, float, float]]]()
    for _ in range(config.rounds):
        found = {}
        for name, (cached, games, live) in kinds.items():
            policy = ModelPlayer(network, vocabulary, choice, cached=cached)
            found[name] = _measure(policy, openings, games=games, live=live, plies=config.plies)
        rounds.append(found)
    rows = {}
    for name, (_, _, live) in kinds.items():
        rates = [median(one[name][kind] for one in rounds) for kind in (1, 2)]
        ratios = [median(one[name][kind] / one["one by one"][kind] for one in rounds) for kind in (1, 2)]
        rows[name] = Row(live, rounds[0][name][0], *(round(value, 2) for value in (*rates, *ratios)))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    load, ratio = round(os.getloadavg()[0], 1), rows["cached"].ratio
    report = Report(parameters, config.device, torch.get_num_threads(), load, rows, ratio)
    if config.json is not None:
        config.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def _measure(
    policy: ModelPlayer, openings: Sequence[Opening], *, games: int, live: int, plies: int
) -> tuple[int, float, float]:
    """Return how many moves were played, how many a second, and for each second that a core worked."""
    pairings = [Pairing(number + 1, 0, 0, openings[number // 2], str(number // 2)) for number in range(games)]
    began, worked = time.perf_counter(), time.process_time()
    moves = sum(
        one.plies for one in play(pairings, [Player("model", policy, wants_legal=True)], live=live, max_plies=plies)
    )
    return moves, moves / (time.perf_counter() - began), moves / (time.process_time() - worked)
