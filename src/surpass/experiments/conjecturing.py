"""Conjecturing: does a policy prove more held-out lemmas once it has learned from proofs of conjectures?

Lemmas of the training split are mutated, Rocq's automation, neighbours and the parents' names prove what they can, and
the policy is asked how often it does. Then that policy goes on learning: from human proofs alone, or with conjectures
for half of every batch. All arms take the same gradient tokens, and the same verifier calls on the same held-out
lemmas. The question, the commands and the numbers: `conjecturing.md`.

    human    human proofs, and what automation found of the training lemmas
    proved   half of each batch: any conjecture that was proved
    barely   half of each batch: those that the policy proves in at most so many of its samples
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from surpass import report
from surpass.bounds import at_least
from surpass.core import Problem, Trajectory
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq.conjectures import MutationOptions, seeds_of
from surpass.domains.proofs.rocq.conjecturing import WIDTH, Judged, Known, Trying, conjecture
from surpass.errors import ConfigError, DataError
from surpass.experiments import proof_flow, teaching
from surpass.experiments.flow import Flow, flow_of
from surpass.experiments.proof_flow_arms import demonstrations, new_policy
from surpass.experiments.proof_flow_data import Data, machine, opened
from surpass.experiments.records import begin, weights
from surpass.models.hf import LanguageModel
from surpass.recorded import recheck
from surpass.rollouts.runner import derive_seed
from surpass.store import Run

ARMS = ("human", "proved", "barely")
SLACK = 4  # an arm may take so many times the steps of `human` to reach its gradient tokens


@dataclass(frozen=True)
class Config:
    """Mutate known lemmas, prove what can be proved, learn from it, and measure on held-out lemmas."""

    run: Path | None = None  # a finished proof_flow run with sft; without one, such a run is made first
    train: Literal["tiny", "small", "full"] = "small"  # its preset then
    corpus: Path | None = None  # where the lemmas are; by default where that run had them
    start: int = 0  # the seed of that run whose policy goes on
    lemmas: int = 40  # training lemmas that are mutated; 0: all
    max_chars: int = 300  # of their initial goals, at most
    each: int = 1  # conjectures of a lemma by each kind of mutation, at most
    calls: int = 32  # verifier calls of the search for a proof of a conjecture
    samples: int = 4  # whole proofs that the policy writes of each conjecture
    low: float = 0.0  # barely proved: the policy's rate, at least
    high: float = 0.5  # and at most
    arms: tuple[str, ...] = ("human", "barely")  # of human, proved, barely
    steps: int = 40  # of training, in `human`; the others learn from as many tokens
    batch: int = 8  # proofs of a step, about
    rate: float = 5e-4  # learning rate
    seeds: tuple[int, ...] = (0, 1)  # repetitions of the training from that one policy
    problems: int = 40  # held-out lemmas, at most
    test_calls: int = 16  # verifier calls for each of them
    max_steps: int = 6  # tactics of a proof, at most
    tactic_seconds: int = 2  # what Rocq gives each tactic


PRESETS: Mapping[str, Config] = {
    "tiny": Config(
        train="tiny", lemmas=6, samples=2, arms=ARMS, steps=2, batch=4, seeds=(0,), problems=4, test_calls=8
    ),
    "small": Config(),
    "full": Config(
        train="full",
        lemmas=0,
        each=2,
        calls=256,
        samples=32,
        arms=ARMS,
        steps=1000,
        seeds=(0, 1, 2, 3, 4),
        test_calls=256,
    ),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; `resume` goes on with a folder that was interrupted.

    Raises ConfigError for arms and numbers that do not fit, DataError and VerifierError for a run, corpus or prover
    that cannot be used.
    """
    check(config)
    folder = begin("conjecturing", config, out=out, resume=resume, free=("arms", "seeds")).path
    console = Console(stderr=True)
    console.print(f"run folder: {folder}")
    own = proof_flow.PRESETS[config.train]
    own = replace(own, prover="rocq", arms=("base", "sft"), sources=(), seeds=(config.start,))
    own = replace(own, corpus=config.corpus or own.corpus)
    flow = flow_of(config.run, folder / "proof_flow", own, arms=("sft",))
    chosen = replace(flow.config, corpus=config.corpus or flow.config.corpus, test_problems=config.problems)
    flow = replace(flow, config=replace(chosen, tactic_seconds=config.tactic_seconds))
    with opened(flow.config) as data:
        if data.prover != "rocq":
            raise DataError(f"expected a run on Rocq's library, found {data.prover} in {flow.path}")
        policy = new_policy(flow.config, data, config.start)
        policy.load_state_dict(weights(flow.path / "train" / f"sft-{config.start}"))
        found = _conjectures(config, flow, folder, policy)
        for arm in config.arms:
            for seed in config.seeds:
                _arm(config, flow, data, folder, (arm, seed), policy, found)
        keys = [one.key for one in data.test]
    checked = recheck("rocq", folder)
    summary = {
        "prover": "rocq",
        "policy_of": str(flow.path),
        **teaching.compared(folder, config.arms, keys, _pairs(config.arms)),
        "conjectures": Run(folder / "conjectures").summary(),
        "barely": sum(one.barely(config.low, config.high) for one in found),
        "checked": checked,
        "machine": machine(),
    }
    Run(folder).write_summary(summary)
    console.print(*show(summary))
    console.print(f"report: {report.write(folder)}")
    return folder


def check(config: Config) -> None:
    """Raise ConfigError for arms and numbers that do not fit."""
    teaching.check_arms(config.arms, ARMS, config.seeds)
    if config.arms[0] != "human":
        raise ConfigError(f"expected `human` first among the arms: it sets the tokens; found {config.arms}")
    at_least(config, calls=WIDTH, test_calls=WIDTH // 2)  # one expansion takes as many
    at_least(config, each=1, samples=1, steps=1, problems=1, batch=2, lemmas=0)
    if not 0 <= config.low <= config.high <= 1:
        raise ConfigError(f"expected 0 <= low <= high <= 1, found {config.low} and {config.high}")


def _conjectures(config: Config, flow: Flow, folder: Path, policy: LanguageModel) -> list[Judged]:
    """Return the conjectures of this run, made, proved and judged first where that is not done."""
    taught = corpora.problems(
        flow.config.corpus, "train", by=flow.config.split_by, max_chars=min(config.max_chars, flow.config.max_chars)
    )
    if not (folder / "conjectures" / "config.json").exists():
        Run.create(folder / "conjectures", {"experiment": "conjectures"})
    return conjecture(
        folder / "conjectures",
        Known(corpora.load(flow.config.corpus), taught, seeds_of(taught, config.lemmas, config.start)),
        policy.remembering(megabytes=64),
        mutation=MutationOptions(each=config.each, seed=config.start),
        trying=Trying(config.calls, config.samples, config.max_steps, config.tactic_seconds, seed=config.start),
    )


def _arm(
    config: Config,
    flow: Flow,
    data: Data,
    folder: Path,
    unit: tuple[str, int],
    policy: LanguageModel,
    found: Sequence[Judged],
) -> None:
    """Train an arm from the policy that made the conjectures, and measure it; what is finished is kept."""
    arm, seed = unit
    path = folder / "train" / f"{arm}-{seed}"
    policy.load_state_dict(weights(flow.path / "train" / f"sft-{config.start}"))
    numbers = teaching.constant(config.steps, derive_seed(seed, arm), rate=config.rate, problems=config.batch)
    lessons = None
    if arm != "human":
        low, high = (0.0, 1.0) if arm == "proved" else (config.low, config.high)
        proofs = [one.proofs[0] for one in found if one.barely(low, high)]  # the shortest of each
        if not proofs:
            raise DataError(f"expected proved conjectures for the arm {arm}, found none; take more --lemmas or --calls")
        lessons = teaching.drawn(proofs, config.batch - config.batch // 2, seed=derive_seed(seed, arm))
        tokens = teaching.gradient_tokens(folder / "train" / f"human-{seed}")
        numbers = replace(
            numbers, problems_per_step=config.batch // 2, steps=SLACK * config.steps, most_gradient_tokens=tokens
        )
    known: Mapping[str, Sequence[Trajectory]] = demonstrations(data, flow.path)
    problems: Sequence[Problem] = data.train
    teaching.teach(path, policy, numbers, teaching.Taught(problems, known, lessons))
    how = teaching.Search(config.test_calls, config.max_steps, seed)
    teaching.search(folder / "search" / path.name, data.test, data.domain, policy.remembering(megabytes=64), how)


def _pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    wanted = [("proved", "human"), ("barely", "human"), ("barely", "proved")]
    return [pair for pair in wanted if set(pair) <= set(arms)]


def show(summary: Mapping[str, Any]) -> list[Any]:
    """Return the tables of a finished run."""
    made = summary["conjectures"]
    title = f"{made['proved']} of {made['conjectures']} conjectures proved, {summary['barely']} barely; held-out lemmas"
    return list(teaching.show(summary, title))
