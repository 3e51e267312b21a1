"""Premises: which ranking finds the lemmas that a human proof used, among all that stood at hand?

Every step of a human proof that names accessible lemmas is a question; the answer is a ranking of what was accessible
there. Files are dealt into folds, the encoder learns from the other folds, so each question is held out once, in a file
whose proofs it has not seen. The question, the commands and the numbers: `premises.md`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from surpass.bounds import at_least
from surpass.domains.proofs.encoder import DualEncoder, fit
from surpass.domains.proofs.retrieval import BM25, Demand, Premise, Rank, chance, fused, recall, recent
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq.extraction import ExtractConfig, obtain
from surpass.domains.proofs.rocq.premises import Library, collect, demands
from surpass.errors import DataError
from surpass.evaluation.statistics import bootstrap
from surpass.experiments.proof_flow_data import machine
from surpass.experiments.records import begin

RANKS = ("random", "recent", "bm25", "encoder", "fused")


@dataclass(frozen=True)
class Config:
    """Rank accessible lemmas for the goals of human proofs, and count how many that were used come first."""

    corpus: Path = Path("corpora/basics")  # extracted lemmas; a preset's are extracted first where there are none
    subset: str = "basics"  # what is extracted then: basics, or folders of the library; empty: all of it
    folds: int = 5  # of files; each is held out once
    ks: tuple[int, ...] = (1, 5, 10, 20)  # recall among so many
    goals: int = 4000  # questions, at most
    epochs: int = 8  # of the encoder
    width: int = 128  # of its vectors
    negatives: int = 8  # accessible premises drawn for each goal of a batch
    seed: int = 0  # of the folds, the weights and the batches
    jobs: int = 2  # provers alive at once while the corpus is read


PRESETS: Mapping[str, Config] = {
    "tiny": Config(corpus=Path("corpora/tiny"), subset="Bool", folds=2, epochs=2, width=32),
    "small": Config(),
    "full": Config(corpus=Path("corpora/stdlib"), subset="", goals=40_000),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; `resume` keeps the folds that are finished.

    Raises ConfigError for numbers that do not fit, DataError and VerifierError for a corpus that cannot be had.
    """
    at_least(config, folds=2, ks=1, goals=1, epochs=1, width=1, negatives=1, jobs=1)
    wanted = ExtractConfig(out=str(config.corpus), subset=config.subset, jobs=config.jobs)
    obtain(wanted, [preset.corpus for preset in PRESETS.values()])
    run = begin("premises", config, out=out, resume=resume, free=("jobs",))
    console = Console(stderr=True)
    console.print(f"run folder: {run.path}")
    collect(config.corpus, jobs=config.jobs)
    library = Library(config.corpus)
    problems = corpora.problems(config.corpus, "all")
    asked = list(demands(problems, library))
    if not asked:
        raise DataError(f"expected human proofs in {config.corpus} that name lemmas, found none")
    if len(asked) > config.goals:
        asked = Random(config.seed).sample(asked, config.goals)
    rows = [row for fold in range(config.folds) for row in _fold(config, run.path / f"fold-{fold}.json", asked, fold)]
    run.write_summary(_summary(config, rows, asked))
    console.print(show(run.summary()))
    return run.path


Row = dict[str, list[float]]  # rank -> recall at each k, of one question


def _fold(config: Config, path: Path, asked: Sequence[Demand], fold: int) -> list[Row]:
    """Return the recalls of the questions that are held out in a fold; computed unless they were written down."""
    if path.exists():
        found: list[Row] = json.loads(path.read_text(encoding="utf-8"))
        return found
    files = sorted({one.problem.group for one in asked})
    Random(config.seed).shuffle(files)
    held = set(files[fold :: config.folds])
    taught = [one for one in asked if one.problem.group not in held]
    ranks = _ranks(config, asked, taught)
    rows = [
        {
            name: recall(rank(one.problem, one.goals, one.accessible), one.used, config.ks)
            for name, rank in ranks.items()
        }
        for one in track(
            [one for one in asked if one.problem.group in held], f"fold {fold}", console=Console(stderr=True)
        )
    ]
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(rows), encoding="utf-8")
    scratch.replace(path)
    return rows


def _ranks(config: Config, asked: Sequence[Demand], taught: Sequence[Demand]) -> dict[str, Rank]:
    """Return the rankings; statements may all be known beforehand, what proofs used only from `taught`."""
    known: list[Premise] = list(dict.fromkeys(premise for one in asked for premise in one.accessible))
    words = BM25(known)
    encoder = DualEncoder(known, width=config.width, seed=config.seed)
    if taught:
        fit(encoder, taught, epochs=config.epochs, negatives=config.negatives, seed=config.seed)
    ranks: Sequence[Rank] = (chance, recent, words, encoder.rank, fused(words, encoder.rank))
    return dict(zip(RANKS, ranks, strict=True))


def _summary(config: Config, rows: Sequence[Row], asked: Sequence[Demand]) -> dict[str, Any]:
    tables = {name: np.array([row[name] for row in rows]) for name in RANKS}  # [goals, ks]
    arms = {
        name: {f"recall@{k}": _interval(table[:, i]) for i, k in enumerate(config.ks)} for name, table in tables.items()
    }
    pairs = [("bm25", "recent"), ("encoder", "bm25"), ("fused", "bm25"), ("fused", "encoder")]
    return {
        "goals": len(rows),
        "lemmas": len({one.problem.key for one in asked}),
        "files": len({one.problem.group for one in asked}),
        "accessible": float(np.mean([len(one.accessible) for one in asked])),
        "used": float(np.mean([len(one.used) for one in asked])),
        "recalls": arms,
        "differences": {
            f"{ours} - {theirs}": {
                f"recall@{k}": _interval(tables[ours][:, i] - tables[theirs][:, i]) for i, k in enumerate(config.ks)
            }
            for ours, theirs in pairs
        },
        "machine": machine(),
    }


def _interval(values: NDArray[np.float64]) -> dict[str, Any]:
    found = bootstrap(values)
    return {"mean": found.mean, "ci95": [found.low, found.high]}


def show(summary: Mapping[str, Any]) -> Table:
    """Return the table of a finished run."""
    columns = list(next(iter(summary["recalls"].values())))
    title = (
        f"{summary['goals']} held-out goals of {summary['lemmas']} lemmas, {summary['accessible']:.0f} premises each"
    )
    table = Table("ranking", *columns, title=title, caption="means and 95 % intervals over goals")
    for part, sign in (("recalls", ""), ("differences", "+")):
        for name, row in summary[part].items():
            cells = [row[column] for column in columns]
            table.add_row(name, *(f"{c['mean']:{sign}.3f} ({c['ci95'][0]:.3f} to {c['ci95'][1]:.3f})" for c in cells))
    return table
