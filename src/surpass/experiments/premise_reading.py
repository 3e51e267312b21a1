"""Premise reading: does a language model prove more when retrieved premises stand in what it sees?

The same small model is trained from scratch on the same human proofs, once with the goals alone before each tactic and
once with the names (or statements) of retrieved premises above them, and each is measured with observations like those
it was trained on: same steps, same verifier calls, same held-out lemmas. `chance` offers premises drawn at random, for
what the longer prompt alone does. The question, the commands and the numbers: `premises.md`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from surpass import report
from surpass.bounds import at_least
from surpass.core import Domain, Trajectory
from surpass.domains.proofs.retrieval import BM25, Premise, Rank, Retriever, chance
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.premises import Library, collect
from surpass.experiments import proof_flow, teaching
from surpass.experiments.proof_flow_data import Data, machine, opened, prepare, recorded, texts
from surpass.experiments.records import begin
from surpass.models.hf import LanguageModel
from surpass.recorded import recheck
from surpass.rollouts.runner import derive_seed
from surpass.store import Run

ARMS = ("without", "with", "chance")
PAIRS = (("with", "without"), ("chance", "without"), ("with", "chance"))


@dataclass(frozen=True)
class Config:
    """Train a language model with and without premises in its observations, and measure it on held-out lemmas."""

    corpus: Path = Path("corpora/basics")  # extracted lemmas; a preset's are extracted first where there are none
    subset: str = "basics"  # what is extracted then: basics, or folders of the library; empty: all of it
    max_sentences: int = 4  # tactic sentences of the human proof, at most
    max_chars: int = 300  # characters of the initial goals, at most
    files: int = 16  # source files that held-out lemmas come from, at most
    problems: int = 40  # held-out lemmas, at most
    arms: tuple[str, ...] = ("without", "with")  # of without, with, chance
    k: int = 8  # premises in an observation, ranked by BM25
    statements: bool = False  # show them with their statements, not by name alone
    model: str = "mini"  # a preset to train from scratch
    steps: int = 200  # of training
    batch: int = 8  # proofs of a step
    rate: float = 2e-3  # learning rate, cosine
    calls: int = 16  # verifier calls for each held-out lemma
    max_steps: int = 6  # tactics of a proof, at most
    tactic_seconds: int = 2  # what Rocq gives each tactic
    seeds: tuple[int, ...] = (0, 1)  # independent repetitions
    jobs: int = 2  # provers alive at once while premises are collected


PRESETS: Mapping[str, Config] = {
    "tiny": Config(corpus=Path("corpora/tiny"), subset="Bool", problems=4, model="tiny", steps=3, calls=8, seeds=(0,)),
    "small": Config(),
    "full": Config(
        corpus=Path("corpora/stdlib"),
        subset="",
        max_sentences=8,
        max_chars=1000,
        files=40,
        problems=160,
        arms=ARMS,
        statements=True,
        model="base",
        steps=20_000,
        calls=256,
        seeds=(0, 1, 2, 3, 4),
    ),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; `resume` goes on with a folder that was interrupted.

    Raises ConfigError for arms and numbers that do not fit, DataError and VerifierError for a corpus that cannot be
    had.
    """
    teaching.check_arms(config.arms, ARMS, config.seeds)
    at_least(config, k=1, steps=1, batch=1, problems=1, calls=1, files=1)
    folder = begin("premise_reading", config, out=out, resume=resume, free=("arms", "seeds", "jobs")).path
    console = Console(stderr=True)
    console.print(f"run folder: {folder}")
    flow = replace(
        proof_flow.Config(prover="rocq", corpus=config.corpus, subset=config.subset, files=config.files),
        max_sentences=config.max_sentences,
        max_chars=config.max_chars,
        test_problems=config.problems,
        valid_problems=0,
        tactic_seconds=config.tactic_seconds,
    )
    prepare(flow)
    collect(config.corpus, jobs=config.jobs)
    with opened(flow) as data:
        for arm in config.arms:
            view = _view(config, data, arm)
            proofs = _human(config, data, view)
            for seed in config.seeds:
                _measure(config, folder, data, (arm, seed), view, proofs)
        keys = [one.key for one in data.test]
    checked = recheck("rocq", folder)
    pairs = [pair for pair in PAIRS if set(pair) <= set(config.arms)]
    found = teaching.compared(folder, config.arms, keys, pairs)
    Run(folder).write_summary({"prover": "rocq", **found, "checked": checked, "machine": machine()})
    summary = Run(folder).summary()
    console.print(*show(summary))
    console.print(f"report: {report.write(folder)}")
    return folder


def _view(config: Config, data: Data, arm: str) -> Rocq:
    """Return the domain as an arm sees it."""
    domain = cast("Rocq", data.domain)
    if arm == "without":
        return domain
    library = Library(config.corpus)
    known: set[Premise] = {one for problem in corpora.problems(config.corpus, "all") for one in library(problem)}
    rank: Rank = chance if arm == "chance" else BM25(sorted(known, key=lambda one: one.line))
    return domain.offering(Retriever(library, rank, config.k, config.statements))


def _human(config: Config, data: Data, view: Rocq) -> dict[str, Trajectory]:
    """Return the human proofs that are taught, with the observations of a view."""
    told = corpora.problems(config.corpus, "train", max_sentences=config.max_sentences, max_chars=config.max_chars)
    found = {one.key: recorded(view, one) for one in told if one.key in data.human}
    return {key: played for key, played in found.items() if played is not None}


def _measure(
    config: Config,
    folder: Path,
    data: Data,
    unit: tuple[str, int],
    view: Rocq,
    proofs: Mapping[str, Trajectory],
) -> None:
    """Train one arm with one seed, and search the held-out lemmas; what is finished is kept."""
    name = f"{unit[0]}-{unit[1]}"
    policy = LanguageModel.from_scratch(
        config.model, texts(proofs), unit[1]
    )  # goals and tactics: the same for all arms
    numbers = teaching.constant(config.steps, derive_seed(unit[1], "premises"), rate=config.rate, problems=config.batch)
    numbers = replace(numbers, schedule="cosine", warmup=config.steps // 20)
    what = teaching.Taught(data.train, {key: [played] for key, played in proofs.items()})
    teaching.teach(folder / "train" / name, policy, numbers, what)
    how = teaching.Search(config.calls, config.max_steps, unit[1])
    domain = cast("Domain[Hashable]", view)
    teaching.search(folder / "search" / name, data.test, domain, policy.remembering(megabytes=64), how)


def show(summary: Mapping[str, Any]) -> list[Any]:
    """Return the tables of a finished run."""
    return list(teaching.show(summary, "held-out lemmas, premises in the observation"))
