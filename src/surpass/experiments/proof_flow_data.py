"""What `proof_flow` learns from and is measured on: problems, the domain that judges them, demonstrations.

Rocq where it can be had, else the embedded kernel. All of it follows from the configuration alone, so every process of
an experiment, and every resumed one, meets the same problems in the same order.
"""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from surpass.core import Domain, Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.errors import DataError, VerifierError
from surpass.experiments.records import sampled
from surpass.models.fixed import ROCQ_AUTOMATION, ROCQ_HAMMER, Fixed
from surpass.rollouts.runner import run
from surpass.search.best_first import best_first

if TYPE_CHECKING:
    from surpass.domains.proofs.rocq.domain import Rocq
    from surpass.experiments.proof_flow import Config

T = TypeVar("T")
KERNEL_AUTOMATION = ("assumption", "split", "left", "right", "exfalso", "intro h")


@dataclass(frozen=True, slots=True)
class Data:
    """Problems by use; train, valid and test share none. `explore` is the part of `train` that policies act on."""

    prover: str
    domain: Domain[Hashable]
    train: tuple[Problem, ...]
    explore: tuple[Problem, ...]
    valid: tuple[Problem, ...]
    test: tuple[Problem, ...]
    human: Mapping[str, Trajectory]  # the recorded proof of each problem of `train`
    automation: tuple[str, ...]


def prover(config: Config) -> str:
    """Return the prover that a configuration gets here: "auto" means Rocq, or the kernel where there is no Rocq."""
    if config.prover != "auto":
        return config.prover
    return "rocq" if shutil.which("coqidetop.opt") else "kernel"


@contextmanager
def opened(config: Config) -> Iterator[Data]:
    """Yield the data with its domain open; ends the domain's processes. Raises DataError, VerifierError."""
    if prover(config) == "kernel":
        yield _from_kernel(config)
        return
    from surpass.domains.proofs.rocq.domain import Rocq
    from surpass.domains.proofs.rocq.session import SessionOptions

    options = SessionOptions(timeout=config.tactic_seconds, processes=config.files + 1, memory=config.memory << 30)
    with Rocq(config.corpus, options=options) as domain:
        yield _from_rocq(config, domain)


def prepare(config: Config) -> None:
    """Extract the corpus of a preset where it is missing or was left unfinished.

    Raises DataError where another corpus is named and is none, VerifierError without a working Rocq.
    """
    if prover(config) == "rocq":
        from surpass.domains.proofs.rocq.extraction import ExtractConfig, obtain
        from surpass.experiments.proof_flow import PRESETS

        wanted = ExtractConfig(out=str(config.corpus), subset=config.subset)
        obtain(wanted, [preset.corpus for preset in PRESETS.values()])


def _from_rocq(config: Config, domain: Rocq) -> Data:
    from surpass.domains.proofs.rocq import corpus

    train, valid, test = (
        corpus.problems(
            config.corpus,
            split,
            by=config.split_by,
            max_sentences=config.max_sentences,
            max_chars=config.max_chars,
        )
        for split in ("train", "valid", "test")
    )
    # Loading a file into a prover takes about a second, so policies act on lemmas of a sample of files. With a split
    # by lemma the same live provers serve exploration and measurement; with a split by file each split has its own.
    shown = sampled(sorted({problem.group for problem in test}), config.files)
    if config.split_by == "file":
        explored = sampled(sorted({problem.group for problem in train}), config.files)
        validated = sampled(sorted({problem.group for problem in valid}), config.files)
    else:
        explored = validated = shown
    human = {problem.key: trajectory for problem in train if (trajectory := recorded(domain, problem)) is not None}
    known = [slim(problem) for problem in train if problem.key in human]
    return Data(
        "rocq",
        cast("Domain[Hashable]", domain),
        tuple(known),
        tuple(sampled([p for p in known if p.group in explored], config.explore_problems)),
        tuple(sampled([slim(p) for p in valid if p.group in validated], config.valid_problems)),
        tuple(sampled([slim(p) for p in test if p.group in shown], config.test_problems)),
        human,
        ROCQ_AUTOMATION,
    )


def _from_kernel(config: Config) -> Data:
    from surpass.domains.proofs.kernel.domain import Kernel

    domain = Kernel(canonical=False)
    train, valid, test = (tuple(domain.problems(split)) for split in ("train", "valid", "test"))
    return Data(
        "kernel",
        cast("Domain[Hashable]", domain),
        train,
        tuple(sampled(train, config.explore_problems)),
        tuple(sampled(valid, config.valid_problems)),
        tuple(sampled(test, config.test_problems)),
        {problem.key: replay(domain, problem, problem.data["solution"]) for problem in train},
        KERNEL_AUTOMATION,
    )


def slim(problem: Problem) -> Problem:
    """Drop the recorded goals of the human proof: they would be written with every trajectory."""
    return replace(problem, data={name: value for name, value in problem.data.items() if name != "steps"})


def recorded(domain: Rocq, problem: Problem) -> Trajectory | None:
    """Return the human proof as it was recorded; None where it holds a sentence that policies may not use (T0)."""
    from surpass.domains.proofs.rocq.domain import ProofState
    from surpass.domains.proofs.rocq.rules import normalise, refusal

    tactics = [normalise(sentence) for sentence in problem.data["solution"]]
    if not tactics or any(refusal(tactic) for tactic in tactics):
        return None
    posed = slim(problem)
    steps = [
        Step(domain.observe(ProofState(posed, tuple(tactics[:i]), goals, goals)), Proposal(tactic))
        for i, (goals, tactic) in enumerate(zip(problem.data["steps"], tactics, strict=True))
    ]
    return Trajectory(posed, tuple(steps), Verdict(Status.ACCEPTED, (1.0,), "rocq; as extracted"), {"end": "recorded"})


def by_automation(data: Data, problems: Sequence[Problem]) -> Iterator[Trajectory]:
    """Try every automation tactic on every problem; yield each proof found, or one failure for each problem."""
    search = partial(best_first, width=len(data.automation), expansions=1, solutions=len(data.automation))
    return run(search, problems, data.domain, Fixed(data.automation))


def by_hammer(data: Data, problems: Sequence[Problem]) -> Iterator[Trajectory]:
    """Try automation and CoqHammer's tactics on every problem; automation alone where their library does not load.

    It does not where a problem stands in a file that the library itself needs.
    """
    tactics = (*data.automation, *ROCQ_HAMMER)
    search = partial(best_first, width=len(tactics), expansions=1, solutions=len(tactics))
    for problem in problems:
        loaded = replace(problem, data={**problem.data, "preamble": ["From Hammer Require Import Tactics."]})
        try:  # under a key of its own: the domain knows places by key
            found = list(run(search, [replace(loaded, key=f"{problem.key} (hammer)")], data.domain, Fixed(tactics)))
        except (VerifierError, DataError):  # the file does not replay with it, or states another goal
            yield from by_automation(data, [problem])
        else:
            yield from (replace(trajectory, problem=loaded) for trajectory in found)


def has_hammer(data: Data) -> bool:
    """Whether CoqHammer's tactics (Debian's libcoq-hammer) are installed for the prover of this experiment."""
    if data.prover != "rocq":
        return False
    from surpass.domains.proofs.rocq.extraction import library_root

    return (library_root() / "user-contrib" / "Hammer" / "Tactics").is_dir()


def texts(human: Mapping[str, Trajectory]) -> Iterator[str]:
    """Yield what a tokenizer is trained on: goals and tactics of the demonstrations."""
    for trajectory in human.values():
        for step in trajectory.steps:
            yield step.observation.key
            yield step.proposal.action


def machine() -> dict[str, object]:
    """Return what the numbers of a run depend on."""
    import os
    import platform

    import psutil
    import torch

    return {
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
