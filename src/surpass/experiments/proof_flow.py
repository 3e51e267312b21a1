"""Proof Flow: does a language model fine-tuned as a GFlowNet prove more, and more differently, than a supervised one?

After Ho et al., arXiv 2410.13224, on lemmas of Rocq's standard library (or of the embedded kernel where there is no
Rocq). Demonstrations are human proofs, and what automation proves of the problems that policies act on. The question,
the commands, the numbers, and what differs from the paper and why: `proof_flow.md`.

    extract ── problems ── automation ──┬── seed: base, sft, gfn, ... each trained, searched, sampled ──┐
                                        └── seed: ...                                                    ├── T3 ── table
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from surpass import report
from surpass.experiments.proof_flow_arms import ARMS, SOURCES, check, explore_by_automation, run_seeds
from surpass.experiments.proof_flow_data import prepare, prover
from surpass.experiments.proof_flow_table import show, summarise
from surpass.experiments.records import begin
from surpass.store import Run


@dataclass(frozen=True)
class Config:
    """Fine-tune a language model to write proofs, and measure it on lemmas that it has not seen."""

    prover: Literal["auto", "rocq", "kernel"] = "auto"  # auto: Rocq where it is installed, else the kernel
    corpus: Path = Path("corpora/basics")  # extracted lemmas; a preset's are extracted first where there are none
    subset: str = "basics"  # what is extracted then: basics, or folders of the library; empty: all of it
    split_by: Literal["lemma", "file"] = "lemma"  # what train, valid and test do not share
    max_sentences: int = 6  # tactic sentences of the human proof, at most
    max_chars: int = 1000  # characters of the initial goals, at most
    files: int = 24  # source files that policies act in, at most; each needs a live prover
    explore_problems: int = 200  # training problems that policies act on, at most
    valid_problems: int = 16  # for learning curves; 0: none
    test_problems: int = 40  # held-out problems, at most
    model: str = "mini"  # a preset to train from scratch, or a checkpoint: a folder or hub name
    arms: tuple[str, ...] = ("base", "sft", "gfn")  # in this order; all but base and sft start from sft
    sources: tuple[str, ...] = ("automation", "neighbours", "mixture")  # policies beside the arms; hammer, too
    seeds: tuple[int, ...] = (0,)  # independent repetitions
    jobs: int = 1  # seeds at once, a process each; 0: in this process
    automation: bool = True  # show what automation proves of the training problems to every arm
    sft_steps: int = 250  # supervised steps
    sft_problems: int = 8  # problems per supervised step
    sft_rate: float = 2e-3  # learning rate
    gfn_steps: int = 20  # steps of each arm that learns from a search
    gfn_problems: int = 4  # problems per such step
    gfn_samples: int = 8  # rollouts per problem
    gfn_rate: float = 3e-4  # learning rate
    beta: float = 1.0  # exponent of the reward in the target
    max_steps: int = 6  # tactics of a rollout, at most
    width: int = 24  # proposals per expansion of a search
    expansions: int = 16  # expansions of a search per problem
    samples: int = 16  # whole proofs sampled per held-out problem
    tactic_seconds: int = 5  # what Rocq gives each tactic
    memory: int = 8  # GiB of all live provers of a seed


PRESETS: Mapping[str, Config] = {
    "tiny": Config(
        corpus=Path("corpora/tiny"),
        subset="Bool",
        files=4,
        explore_problems=8,
        valid_problems=0,
        test_problems=8,
        model="tiny",
        sft_steps=6,
        sft_problems=4,
        gfn_steps=3,
        gfn_problems=2,
        gfn_samples=2,
        width=8,
        expansions=6,
        samples=2,
        jobs=0,
    ),
    "small": Config(),
    "full": Config(
        corpus=Path("corpora/stdlib"),
        subset="",
        files=40,
        explore_problems=2000,
        valid_problems=48,
        test_problems=160,
        model="small",
        arms=tuple(ARMS),
        sources=SOURCES,
        seeds=(0, 1, 2, 3, 4),
        jobs=2,
        sft_steps=4000,
        gfn_steps=800,
        gfn_problems=8,
        expansions=64,
        samples=32,
    ),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; `resume` goes on with a folder that was interrupted.

    Raises ConfigError for arms that do not fit together, DataError and VerifierError for a corpus or prover that cannot
    be used.
    """
    check(config)
    console = Console(stderr=True)
    if prover(config) == "kernel" and config.prover == "auto":
        console.print("No Rocq here (apt-get install coq): the same experiment on the embedded kernel instead.")
    prepare(config)
    folder = begin("proof_flow", config, out=out, resume=resume, free=("arms", "sources", "seeds", "jobs")).path
    console.print(f"run folder: {folder}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        explore_by_automation(config, folder, progress)
        run_seeds(config, folder, progress)
    summary = summarise(config, folder)
    Run(folder).write_summary(summary)
    console.print(*show(summary))
    console.print(f"report: {report.write(folder)}")
    return folder
