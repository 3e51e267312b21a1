"""Objectives: from the same start and under the same caps, which objective learns to solve the most, and how variously?

Every arm goes on from one supervised checkpoint per domain, until it has sampled, learned from or verified as much as
any arm may; what it really spent stands beside what it reached. Domains: the kernel, three puzzles, and lemmas of
Rocq's library. The question, the arms, the numbers and what they do not show: `objectives.md`.

    domain: start (supervised) ──┬── base, sft, ..., log_variance, ... each seed trained, searched, sampled ── table
                                 └── all from its weights, all with it as the frozen reference
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from surpass.experiments.objectives_arms import ARMS, check, run_all
from surpass.experiments.objectives_table import show, summarise
from surpass.experiments.objectives_tasks import NAMES
from surpass.experiments.records import begin


@dataclass(frozen=True)
class Config:
    """Compare objectives from the same start, under the same caps, on held-out problems."""

    domains: tuple[str, ...] = NAMES  # kernel, game24, blocksworld, prontoqa, rocq; leave out rocq where it is missing
    corpus: Path = Path("corpora/basics")  # of rocq: extracted lemmas; a preset's are extracted first
    arms: tuple[str, ...] = tuple(ARMS)  # on rocq only base, sft, expert_iteration, grpo and log_variance of them
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # independent repetitions; on rocq the first three
    jobs: int = 2  # (domain, seed) pairs at once, a process of one thread each; 0: in this process
    model: str = "tiny"  # a preset, trained from scratch
    explore_problems: int = 60  # training problems that policies act on, at most
    test_problems: int = 30  # held-out problems, at most
    start_steps: int = 300  # supervised steps of the common start; times `objectives_tasks.START`
    start_problems: int = 8  # problems per supervised step, there and in the supervised arms
    start_rate: float = 2e-3  # learning rate of the start
    rate: float = 1e-3  # of all arms after it
    problems: int = 4  # per step that learns from samples
    samples: int = 8  # of each of them
    sampled_tokens: int = 3_000  # what an arm may sample; an arm ends with the step that reaches one of these caps
    gradient_tokens: int = 6_000  # what it may learn from, counted each time; all three times `objectives_tasks.CAPS`
    verifier_steps: int = 1_500  # what it may have checked
    minutes: float = 10.0  # of training; where it comes first, arms are not equal in the others, and the table says so
    beta: float = 1.0  # exponent of the reward in the target; 1 / beta weighs the KL of `reinforce`
    draws: int = 16  # samples of each held-out problem: the largest k of pass@k
    width: int = 8  # proposals per expansion of the best-first search
    expansions: int = 12  # expansions of it per problem


PRESETS: Mapping[str, Config] = {
    "tiny": Config(
        domains=("kernel", "game24"),
        seeds=(0,),
        jobs=0,
        explore_problems=8,
        test_problems=4,
        start_steps=4,
        start_problems=4,
        problems=2,
        samples=2,
        sampled_tokens=100,
        gradient_tokens=200,
        verifier_steps=40,
        draws=2,
        width=2,
        expansions=2,
    ),
    "small": Config(),
    "full": Config(
        model="mini",
        rate=3e-4,
        explore_problems=1000,
        test_problems=140,
        start_steps=4000,
        start_problems=16,
        problems=8,
        samples=16,
        sampled_tokens=3_000_000,
        gradient_tokens=6_000_000,
        verifier_steps=600_000,
        minutes=60.0,
        draws=64,
        expansions=64,
    ),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print a table for each domain and return its folder; `resume` goes on where it was left.

    Raises ConfigError for domains, arms or numbers that do not fit, DataError and VerifierError for a corpus or prover
    that cannot be used.
    """
    check(config)
    console = Console(stderr=True)
    run = begin("objectives", config, out=out, resume=resume, free=("domains", "arms", "seeds", "jobs"))
    console.print(f"run folder: {run.path}")
    run_all(config, run.path, console)
    run.write_summary(summarise(config, run.path))
    for domain in config.domains:
        console.print(*show(domain, run.summary()["domains"][domain]))
        console.print(f"report: {run.path / domain / 'report.html'}")
    return run.path
