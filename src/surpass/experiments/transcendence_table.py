"""What the matches of `transcendence` say: one fit of Elo over all games, and the verdicts that follow from it.

    transcendence    the 95 % interval of (mean of the seeds' models - best expert of their set) lies above 0
    absence          it lies within 50 Elo of 0
    undecided        anything else, far below included: the column `side` says where the interval lies

Causes. Of what is gained between temperature 1 and a low one, the gain among legal moves is *wisdom*: no illegal move
is possible there. What the raw model gains beyond that is *legality*.

The best expert is the one rated highest in the same fit, which favours the experts. Intervals are those of the fit, of
these models: three seeds say little of a fourth, so each seed's own verdict is counted beside. Games with one opening
are taken as independent there. Two that share its luck with both colours make such intervals too wide; seeds that play
one opening alike make them too narrow. And one fit takes strength for transitive, which forfeits are not. So two checks
stand beside, of each temperature by itself: points against the best expert, with bootstraps over openings, and a fit of
its games and the experts' alone.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from rich.table import Table

from surpass.domains.chess.arena import ILLEGAL
from surpass.domains.chess.match import SCORES, Recorded
from surpass.evaluation.elo import Difference, Fit, Game, rate
from surpass.evaluation.statistics import clustered
from surpass.experiments.transcendence_runs import Entry, entries, entry_match, experts, game_sets, pool_match
from surpass.store import Run

if TYPE_CHECKING:
    from surpass.experiments.transcendence import Config

NEAR = 50.0  # Elo of the best expert within which a gain is absent
GREEDY_AT = -4.0  # where temperature 0 stands on a logarithmic axis


@dataclass(frozen=True, slots=True)
class Conduct:
    """What a player under test did in its match."""

    proposed: int  # moves, illegal ones included
    illegal: int
    games: int
    forfeits: int
    score: float  # share of points

    @staticmethod
    def of(name: str, record: Iterable[Recorded]) -> Conduct:
        """Sum up the games of a player that have a result."""
        own = [(one, int(one.black == name)) for one in record if one.result in SCORES]
        points = [abs(seat - SCORES[one.result]) for one, seat in own]
        illegal = sum(one.illegal[seat] for one, seat in own)
        forfeits = sum(one.end == ILLEGAL and won == 0 for (one, _), won in zip(own, points, strict=True))
        moves = sum(one.moves[seat] for one, seat in own)
        return Conduct(moves + illegal, illegal, len(own), forfeits, sum(points) / max(1, len(own)))


def verdict(gap: Difference) -> str:
    """Return what an interval of (model - best expert) says.

    >>> verdict(Difference(30, 5, 55, 0.99)), verdict(Difference(0, -40, 40, 0.5)), verdict(Difference(0, -60, 60, 0.5))
    ('transcendence', 'absence', 'undecided')
    """
    if gap.low > 0:
        return "transcendence"
    return "absence" if gap.low >= -NEAR and gap.high <= NEAR else "undecided"


def side(gap: Difference) -> str:
    """Return where an interval lies: above, below, or across 0."""
    return "above" if gap.low > 0 else "below" if gap.high < 0 else "across"


def summarise(config: Config, folder: Path) -> dict[str, Any]:
    """Return the ratings, verdicts and causes of a run whose matches are played."""
    pool = list(pool_match(config, folder).record.values())
    records = {entry: list(entry_match(config, folder, entry).record.values()) for entry in entries(config)}
    games = [game for record in (pool, *records.values()) for game in _games(record)]
    fit = rate(games)
    conduct = {entry: Conduct.of(entry.name, record) for entry, record in records.items()}
    best = {one.name: max(one.experts, key=lambda spec: fit.elo[fit.row[spec]]) for one in game_sets(config)}
    models = _models(config, fit, best, conduct)
    causes = _causes(config, fit)
    failures = sum(one.result not in SCORES for record in (pool, *records.values()) for one in record)
    return {
        "measured": {
            "models": models,
            "causes": causes,
            "experts": {name: _rated(fit, name) for name in experts(config)},
            "best_expert": best,
            "training": _training(config, folder),
        },
        "games": len(games),
        "games without a result": failures,
        "White's advantage in Elo": round(fit.white_advantage, 1),
        "draws between equals": round(fit.draw_rate, 3),
        "prior, virtual games for each pair": fit.prior,
        "tables": _tables(config, fit, models, causes, best) | _alone(config, pool, records, best),
        "figures": [*_figures(config, fit, best, conduct), _losses(config, folder)],
        "machine": _machine(),
    }


def _games(record: Iterable[Recorded]) -> list[Game]:
    """Return the games that have a result."""
    return [Game(one.white, one.black, SCORES[one.result], one.unit) for one in record if one.result in SCORES]


def _models(
    config: Config, fit: Fit, best: Mapping[str, str], conduct: Mapping[Entry, Conduct]
) -> dict[str, dict[str, Any]]:
    """Return a row for each set, mode and temperature, over seeds, and one for each majority vote."""
    groups: dict[str, list[Entry]] = {}
    for entry in conduct:
        name = entry.name if entry.seed is None else f"{entry.game_set} {entry.mode} {entry.temperature:g}"
        groups.setdefault(name, []).append(entry)
    rows = {}
    for name, group in groups.items():
        rival = best[group[0].game_set]
        gap = fit.contrast({**{entry.name: 1 / len(group) for entry in group}, rival: -1.0})
        alone = [fit.difference(entry.name, rival) for entry in group]
        done = [conduct[entry] for entry in group]
        rows[name] = {
            "elo": sum(float(fit.elo[fit.row[entry.name]]) for entry in group) / len(group),
            "minus_best_expert": gap.elo,
            "low": gap.low,
            "high": gap.high,
            "verdict": verdict(gap),
            "side": side(gap),
            "seeds_above": sum(one.low > 0 for one in alone),
            "by_seed": [[one.elo, one.low, one.high] for one in alone],
            "score": sum(one.score for one in done) / len(done),
            "illegal_share": sum(one.illegal for one in done) / max(1, sum(one.proposed for one in done)),
            "forfeit_share": sum(one.forfeits for one in done) / max(1, sum(one.games for one in done)),
            "games": sum(one.games for one in done),
        }
    return rows


def _causes(config: Config, fit: Fit) -> dict[str, dict[str, list[float]]]:
    """Return, for each set and low temperature, the gain over temperature 1 and its two causes, as [Elo, low, high]."""
    if 1.0 not in config.temperatures or set(config.modes) != {"raw", "legal"}:
        return {}
    found = {}
    for one in game_sets(config):
        for low in (temperature for temperature in config.temperatures if temperature < 1):

            def gain(mode: str, sign: float, low: float = low, name: str = one.name) -> dict[str, float]:
                share = sign / len(config.seeds)
                named = [(Entry(name, seed, mode, low), Entry(name, seed, mode, 1.0)) for seed in config.seeds]
                return {first.name: share for first, _ in named} | {second.name: -share for _, second in named}

            parts = {
                "raw gain": gain("raw", 1),
                "wisdom": gain("legal", 1),
                "legality": gain("raw", 1) | gain("legal", -1),
            }
            sums = {part: fit.contrast(weights) for part, weights in parts.items()}
            found[f"{one.name} {low:g}"] = {part: [gap.elo, gap.low, gap.high] for part, gap in sums.items()}
    return found


def _rated(fit: Fit, name: str) -> list[float]:
    low, high = fit.interval(name)
    return [float(fit.elo[fit.row[name]]), low, high]


def _training(config: Config, folder: Path) -> dict[str, dict[str, float]]:
    """Return what training each set's models came to, averaged over seeds."""
    found: dict[str, dict[str, float]] = {}
    for one in game_sets(config):
        rows = [Run(folder / "models" / f"{one.name}-{seed}").summary() for seed in config.seeds]
        names = [name for name in ("step", "gradient_tokens", "learn_seconds", "loss", "eval/loss") if name in rows[0]]
        found[one.name] = {str(name): sum(row[name] for row in rows) / len(rows) for name in names}
    return found


def _tables(
    config: Config,
    fit: Fit,
    models: Mapping[str, Mapping[str, Any]],
    causes: Mapping[str, Mapping[str, Sequence[float]]],
    best: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Return what the page shows: verdicts, experts, causes."""
    found: dict[str, dict[str, Any]] = {}
    for one in game_sets(config):
        rows = [
            [
                name.removeprefix(f"{one.name} "),
                _signed(row["minus_best_expert"]),
                _span(row["low"], row["high"]),
                row["verdict"],
                row["side"],
                f"{row['seeds_above']} of {len(row['by_seed'])}",
                f"{row['illegal_share']:.1%}",
                f"{row['forfeit_share']:.1%}",
                row["games"],
            ]
            for name, row in models.items()
            if name.startswith(f"{one.name} ")
        ]
        columns = (
            "temperature, Elo - best expert, 95 % interval, verdict, side, seeds above, illegal tries, forfeits, games"
        )
        found[f"Models of {one.name}"] = {
            "columns": columns.split(", "),
            "rows": rows,
            "note": f"Best expert: {best[one.name]}. Ratings are means over seeds. Transcendence: the interval lies "
            f"above 0; absence: within {NEAR:.0f} Elo of 0; otherwise undecided.",
        }
    found["Experts"] = {
        "columns": ["expert", "Elo", "95 % interval"],
        "rows": [
            [name, f"{elo:.0f}", _span(low, high)] for name in experts(config) for elo, low, high in [_rated(fit, name)]
        ],
        "note": "In the same fit as all models; ratings of the whole pool average to 0.",
    }
    if causes:
        found["What low temperatures gain over temperature 1"] = {
            "columns": ["set and temperature", *next(iter(causes.values()))],
            "rows": [
                [name, *(f"{_signed(gap[0])} ({_span(gap[1], gap[2])})" for gap in parts.values())]
                for name, parts in causes.items()
            ],
            "note": "Elo. Wisdom: the gain among legal moves. Legality: what raw play gains beyond it.",
        }
    return found


def _alone(
    config: Config, pool: Sequence[Recorded], records: Mapping[Entry, Sequence[Recorded]], best: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return what the games of each mode and temperature say by themselves: no other model can bend it.

    One fit of everybody takes strength for transitive. A forfeit is lost to the weakest as to the strongest, so models
    that forfeit much draw the experts' ratings together, and those of all models with them.
    """
    rows = list[list[str]]()
    for one, temperature in product(game_sets(config), config.temperatures):
        cells = list[str]()
        for mode in config.modes:
            names = [Entry(one.name, seed, mode, temperature) for seed in config.seeds]
            met = [game for entry in names for game in records[entry] if best[one.name] in (game.white, game.black)]
            taken = [(points, game.unit) for game in met if (points := _points(game, best[one.name])) is not None]
            share = clustered(*zip(*taken, strict=True)) if taken else None
            fit = rate([*_games(pool), *(game for entry in names for game in _games(records[entry]))])
            rival = max(one.experts, key=lambda spec: fit.elo[fit.row[spec]])
            gap = fit.contrast({**{entry.name: 1 / len(names) for entry in names}, rival: -1.0})
            cells.append(f"{share.mean:.0f} ({share.low:.0f} to {share.high:.0f})" if share else "no games")
            cells.append(f"{_signed(gap.elo)} ({_span(gap.low, gap.high)})")
        rows.append([f"{one.name} {temperature:g}", *cells])
    note = (
        "Points of a hundred that models take from the best expert: 95 % bootstraps over openings, each of which all "
        "seeds play with both colours. Elo above the best expert: a fit for each cell, of its games and the experts'."
    )
    columns = [f"{mode}: {what}" for mode in config.modes for what in ("points", "Elo")]
    return {"Each temperature by itself": {"columns": ["set and temperature", *columns], "rows": rows, "note": note}}


def _points(game: Recorded, rival: str) -> float | None:
    """Return what the other player of a game took from a rival, of a hundred; None where there is no result."""
    if game.result not in SCORES:
        return None
    return 100 * (SCORES[game.result] if game.black == rival else 1 - SCORES[game.result])


def _figures(
    config: Config, fit: Fit, best: Mapping[str, str], conduct: Mapping[Entry, Conduct]
) -> list[dict[str, Any]]:
    """Return curves over the logarithm of the temperature, one line for each seed."""
    gaps: dict[str, dict[str, list[list[float]]]] = {}
    shares: dict[str, dict[str, list[list[float]]]] = {}
    for entry, done in sorted(conduct.items(), key=lambda item: item[0].temperature):
        at = math.log10(entry.temperature) if entry.temperature else GREEDY_AT
        gap = fit.difference(entry.name, best[entry.game_set]).elo
        if entry.seed is None:  # a line, as it has no temperature
            ends = [
                math.log10(one) if one else GREEDY_AT for one in (min(config.temperatures), max(config.temperatures))
            ]
            gaps.setdefault(entry.name, {})[""] = [[end, gap] for end in ends]
            continue
        arm = f"{entry.game_set} {entry.mode}"
        gaps.setdefault(arm, {}).setdefault(str(entry.seed), []).append([at, gap])
        if entry.mode == "raw":
            share = done.illegal / max(1, done.proposed)
            shares.setdefault(arm, {}).setdefault(str(entry.seed), []).append([at, share])
    axis, greedy = "log10 T", f"(greedy at {GREEDY_AT:g})"
    return [
        {"title": f"Elo above the best expert of the set {greedy}", "x_label": axis, "lines": gaps},
        {"title": f"Share of tries that are illegal {greedy}", "x_label": axis, "lines": shares},
    ]


def _losses(config: Config, folder: Path) -> dict[str, Any]:
    """Return the held-out loss of all models as it fell, in nats a token."""
    lines: dict[str, dict[str, list[list[float]]]] = {}
    for one in game_sets(config):
        for seed in config.seeds:
            rows = Run(folder / "models" / f"{one.name}-{seed}").metrics()
            points = [[row["step"], row["eval/loss"]] for row in rows if "eval/loss" in row]
            lines.setdefault(one.name, {})[str(seed)] = points
    return {"title": "Loss of held-out games", "x_label": "step", "lines": lines}


def _machine() -> dict[str, str]:
    return {
        "processor": platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "torch": str(torch.__version__),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _signed(elo: float) -> str:
    return f"{elo:+.0f}"


def _span(low: float, high: float) -> str:
    return f"{low:+.0f} to {high:+.0f}"


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables that a run ends with."""
    found = list[Table]()
    for title, table in summary["tables"].items():
        shown = Table(title=title, caption=table.get("note", ""))
        for column in table["columns"]:
            shown.add_column(column, justify="right" if found or shown.columns else "left", overflow="fold")
        for row in table["rows"]:
            shown.add_row(*map(str, row))
        found.append(shown)
    return found
