"""A prover that keeps learning: one library after another, without forgetting the first.

A language model learns the libraries in order. What it is taught stands in a proof library: human proofs, checked anew
(T3), and after each stage what the policy itself proves of that stage's lemmas. Arms differ in what later stages see:

    naive        lessons of the new library alone
    replay       half of each batch from the proof library's lemmas of earlier stages
    curriculum   as replay, and the new library's lessons from easy to hard, as the proof library says what is easy

After each stage every library's held-out lemmas are searched, and the likelihood of their human proofs is taken; from
that table come stability, backward transfer and plasticity (`evaluation/lifelong.py`). The question, the commands and
the numbers: `lifelong.md`.

    stages/I/human-SEED          records of what stage I teaches, for the proof library of each seed
    stages/I/found-ARM-SEED      what the policy proved of stage I's lemmas once it had learned it
    train/I-ARM-SEED   search/ARM.I.J-SEED   likelihood/ARM.I-SEED.json
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from surpass import report
from surpass.bounds import at_least
from surpass.core import Domain, Problem, Trajectory
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq import library
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.extraction import ExtractConfig, extract, is_complete
from surpass.domains.proofs.rocq.lessons import Lesson, lessons, opened_to
from surpass.domains.proofs.rocq.session import SessionOptions
from surpass.errors import ConfigError
from surpass.evaluation.lifelong import earlier, lifelong
from surpass.evaluation.statistics import hierarchical
from surpass.experiments import teaching
from surpass.experiments.proof_flow_data import machine, recorded, slim, texts
from surpass.experiments.records import begin, sampled, solved, units
from surpass.models.hf import LanguageModel
from surpass.recorded import recheck, record_problems, run_at
from surpass.rollouts.runner import RunOptions, derive_seed, run
from surpass.search.sampling import sample
from surpass.store import Run
from surpass.verdicts import remembered
from surpass.verify import Terms

ARMS = ("naive", "replay", "curriculum")
FIRST = "all"  # the first stage is the same for all arms


@dataclass(frozen=True)
class Config:
    """Teach a language model one library after another, and measure what it keeps."""

    corpora: tuple[Path, ...] = (Path("corpora/basics"), Path("corpora/mathcomp"))  # in the order of learning
    libraries: tuple[str, ...] = ("stdlib", "mathcomp")  # extracted first where a corpus is missing
    subsets: tuple[str, ...] = ("basics", "ssreflect")  # of each: folders of the library; empty: all of it
    arms: tuple[str, ...] = ARMS  # of naive, replay, curriculum
    max_sentences: int = 2  # tactic sentences of the human proof, at most
    max_chars: int = 160  # characters of the initial goals, at most
    files: int = 12  # source files of each library that policies act in, at most; each needs a live prover
    lemmas: int = 400  # training lemmas of each library, of all its files, at most
    problems: int = 32  # held-out lemmas of each library, at most
    model: str = "tiny"  # a preset to train from scratch
    steps: int = 250  # of training, for each library
    batch: int = 8  # proofs of a step
    rate: float = 2e-3  # learning rate of each library, cosine
    explore: int = 16  # training lemmas of each library that the policy tries once it has learned it; 0: none
    samples: int = 4  # whole proofs of each of them
    calls: int = 16  # verifier calls for each held-out lemma
    max_steps: int = 6  # tactics of a proof, at most
    tactic_seconds: int = 2  # what Rocq gives each tactic
    memory: int = 8  # GiB of all live provers
    window: int = 5  # stages, of the windowed measures
    seeds: tuple[int, ...] = (0, 1)  # independent repetitions


PRESETS: Mapping[str, Config] = {
    "tiny": Config(
        arms=ARMS[:2],
        max_sentences=4,
        max_chars=250,
        files=3,
        lemmas=12,
        problems=3,
        steps=4,
        batch=4,
        explore=2,
        samples=2,
        calls=8,
        seeds=(0,),
    ),
    "small": Config(),
    "full": Config(
        subsets=("", ""),
        max_sentences=8,
        max_chars=1000,
        files=40,
        lemmas=10_000,
        problems=160,
        model="small",
        steps=4000,
        rate=1e-3,
        explore=1000,
        samples=8,
        calls=256,
        seeds=(0, 1, 2, 3, 4),
    ),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One library: lemmas that are taught with their human proofs, and lemmas that are held out, with theirs."""

    name: str
    train: tuple[Problem, ...]
    explore: tuple[Problem, ...]  # of `train`: what the policy tries itself
    test: tuple[Problem, ...]
    human: Mapping[str, Trajectory]  # of all of them, by key


@dataclass(slots=True)
class Pupil:
    """One arm with one seed, while it learns."""

    arm: str
    seed: int
    policy: LanguageModel
    base: Path  # its proof library

    def unit(self, *where: int) -> str:
        return f"{'.'.join([self.arm, *map(str, where)])}-{self.seed}"


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its tables and return its folder; `resume` goes on with a folder that was interrupted.

    Raises ConfigError for arms and numbers that do not fit, DataError and VerifierError for a library that cannot be
    had.
    """
    check(config)
    folder = begin("lifelong", config, out=out, resume=resume, free=("arms", "seeds")).path
    console = Console(stderr=True)
    console.print(f"run folder: {folder}")
    for corpus, name, subset in zip(config.corpora, config.libraries, config.subsets, strict=True):
        if not is_complete(corpus):
            extract(ExtractConfig(out=str(corpus), library=name, subset=subset))
    options = SessionOptions(
        timeout=config.tactic_seconds, processes=1 + config.files * len(config.corpora), memory=config.memory << 30
    )
    with Rocq([], options=options) as rocq:
        stages = [_stage(config, corpus, rocq) for corpus in config.corpora]
        for seed in config.seeds:
            for arm in config.arms:
                _learn(config, folder, stages, rocq, (arm, seed))
    checked = recheck("rocq", folder)
    Run(folder).write_summary({**summarise(config, folder, stages), "checked": checked, "machine": machine()})
    summary = Run(folder).summary()
    console.print(*show(summary))
    console.print(f"report: {report.write(folder)}")
    return folder


def check(config: Config) -> None:
    """Raise ConfigError for arms and numbers that do not fit."""
    teaching.check_arms(config.arms, ARMS, config.seeds)
    at_least(config, files=1, lemmas=1, problems=1, steps=1, batch=2, explore=0, samples=1, calls=1, window=1)
    lengths = {len(config.corpora), len(config.libraries), len(config.subsets)}
    if len(lengths) > 1 or len(config.corpora) < 2 or len(set(config.corpora)) < len(config.corpora):
        raise ConfigError(
            f"expected two or more different corpora, as many libraries and subsets; found {config.corpora}, "
            f"{config.libraries}, {config.subsets}"
        )


def _stage(config: Config, corpus: Path, rocq: Rocq) -> Stage:
    """Return the lemmas of a library that this configuration takes.

    Human proofs are taught from all of its files; what is tried, held out or not, stands in a sample of them.
    """
    train, test = (
        corpora.problems(corpus, split, max_sentences=config.max_sentences, max_chars=config.max_chars)
        for split in ("train", "test")
    )
    shown = set(sampled(sorted({one.group for one in test}), config.files))
    played = {one.key: recorded(rocq, one) for one in (*train, *(one for one in test if one.group in shown))}
    human = {key: trajectory for key, trajectory in played.items() if trajectory}
    known, held = ([slim(one) for one in split if one.key in human] for split in (train, test))
    taught = sampled(known, config.lemmas)
    tried = sampled([one for one in taught if one.group in shown], config.explore)
    return Stage(corpus.name, tuple(taught), tuple(tried), tuple(sampled(held, config.problems)), human)


def _learn(config: Config, folder: Path, stages: Sequence[Stage], rocq: Rocq, unit: tuple[str, int]) -> None:
    """Teach one arm with one seed all libraries in order, and measure it after each; what is finished is kept."""
    arm, seed = unit
    words = {key: played for stage in stages for key, played in stage.human.items()}
    taught = {one.key for stage in stages for one in stage.train}
    policy = LanguageModel.from_scratch(
        config.model, texts({key: played for key, played in words.items() if key in taught}), seed
    )
    pupil = Pupil(arm, seed, policy, folder / "proofs" / f"{arm}-{seed}.sqlite")
    for i, stage in enumerate(stages):
        named = FIRST if i == 0 else arm
        _remember(folder, i, stage, pupil)
        what = teaching.Taught((), {}, _lessons(config, folder, stages, i, pupil, rocq))
        numbers = teaching.constant(config.steps, derive_seed(seed, i), rate=config.rate, problems=1)
        numbers = replace(numbers, schedule="cosine", warmup=config.steps // 20)
        teaching.teach(folder / "train" / f"{i}-{named}-{seed}", policy, numbers, what)
        for j, other in enumerate(stages):
            _measure(config, folder, rocq, (i, j, other), pupil)
        if stage.explore:
            _explore(config, folder, i, stage, pupil, rocq)


def _remember(folder: Path, i: int, stage: Stage, pupil: Pupil) -> None:
    """Put the human proofs of a stage into the pupil's proof library, where a fresh process checks them."""
    path = folder / "stages" / str(i) / f"human-{pupil.seed}"
    if not (path / "summary.json").exists():
        kept = run_at(path, {"policy": "human", "stage": stage.name})
        kept.clear()
        kept.append([stage.human[one.key] for one in stage.train])
        kept.write_summary({"problems": len(stage.train)})
    library.add(pupil.base, path, terms=Terms(remembered()))


def _lessons(
    config: Config, folder: Path, stages: Sequence[Stage], i: int, pupil: Pupil, rocq: Rocq
) -> teaching.Lessons:
    """Return what each step of stage `i` learns, as the arm has it; everything comes out of the proof library."""
    human = {key: played for stage in stages[: i + 1] for key, played in stage.human.items()}
    with library.opened(pupil.base) as base:
        new = lessons(base, rocq, human, {one.key for one in stages[i].train})
        old = lessons(base, rocq, human, {one.key for stage in stages[:i] for one in stage.train})
    again = 0 if pupil.arm == "naive" or not old else config.batch // 2
    seed = derive_seed(pupil.seed, "stage", i)

    def learned(step: int) -> list[Trajectory]:
        rng = Random(derive_seed(seed, step))
        ready = new[: opened_to(len(new), step, config.steps)] if i and pupil.arm == "curriculum" else new
        return [*_drawn(ready, config.batch - again, rng), *_drawn(old, again, rng)]

    return learned


def _drawn(found: Sequence[Lesson], n: int, rng: Random) -> list[Trajectory]:
    return [one.trajectory for one in rng.sample(list(found), min(n, len(found)))]


def _measure(config: Config, folder: Path, rocq: Rocq, where: tuple[int, int, Stage], pupil: Pupil) -> None:
    """Search the held-out lemmas of library `j` after stage `i`, and take the likelihood of their human proofs.

    After the first stage all arms are the same policy: it is measured once for each seed.
    """
    i, j, stage = where
    who = Pupil(FIRST, pupil.seed, pupil.policy, pupil.base) if i == 0 else pupil
    how = teaching.Search(config.calls, config.max_steps, pupil.seed)
    domain = cast("Domain[Hashable]", rocq)
    teaching.search(folder / "search" / who.unit(i, j), stage.test, domain, who.policy.remembering(64), how)
    path = folder / "likelihood" / f"{who.unit(i, j)}.json"
    if not path.exists():
        plays = [stage.human[one.key] for one in stage.test]
        with torch.no_grad():
            values = [float(who.policy.logp([one]).sum()) / len(one.steps) for one in plays]
        path.parent.mkdir(exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(values), encoding="utf-8")
        fresh.replace(path)


def _explore(config: Config, folder: Path, i: int, stage: Stage, pupil: Pupil, rocq: Rocq) -> None:
    """Let the policy try lemmas that it was taught, and put what stands into its proof library."""
    path = folder / "stages" / str(i) / f"found-{pupil.unit()}"
    run_at(path, {"policy": pupil.arm, "problems": len(stage.explore)})

    def attempts(rest: Sequence[Problem]) -> Iterator[Trajectory]:
        search = partial(sample, n=config.samples, max_steps=config.max_steps)
        return run(
            search, rest, rocq, pupil.policy, seed=derive_seed(pupil.seed, "explore"), options=RunOptions(live=16)
        )

    record_problems(path, stage.explore, attempts)
    library.add(pupil.base, path, terms=Terms(remembered()))


Tables = dict[tuple[int, int], NDArray[np.float64]]  # (stage, task) -> [seeds, problems]


def tables(config: Config, folder: Path, stages: Sequence[Stage], arm: str, kind: str) -> Tables:
    """Return what an arm did after each stage on each library: solved or not, or nats for each tactic."""
    found: Tables = {}
    for i in range(len(stages)):
        for j, stage in enumerate(stages):
            name = f"{FIRST if i == 0 else arm}.{i}.{j}"
            if kind == "solved":
                rows = [unit for unit in units(folder, name) if unit.seed in config.seeds]
                found[i, j] = solved(rows, [one.key for one in stage.test])
            else:
                paths = [folder / "likelihood" / f"{name}-{seed}.json" for seed in config.seeds]
                found[i, j] = np.array([json.loads(path.read_text(encoding="utf-8")) for path in paths])
    return found


def summarise(config: Config, folder: Path, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return the table R of each arm, its measures, and intervals of those that are means of paired differences."""
    arms: dict[str, Any] = {}
    for arm in config.arms:
        row: dict[str, Any] = {"seeds": len(config.seeds)}
        for kind in ("solved", "nats"):
            found = tables(config, folder, stages, arm, kind)
            size = range(len(stages))
            means = [[float(found[i, j].mean()) for j in size] for i in size]
            row[kind] = {
                "table": means,
                **lifelong(means, window=config.window),
                "backward_ci95": _interval([found[i, j] - found[j, j] for i, j in earlier(len(stages))]),
                "plasticity_ci95": _interval([found[i, i] - found[i - 1, i] for i in size[1:]]),
            }
        with library.opened(folder / "proofs" / f"{arm}-{config.seeds[0]}.sqlite") as base:
            kept = list(library.proofs(base))
        row["library"] = {"proofs": len(kept), "by_policy": sum(_by_policy(one) for one in kept)}
        arms[arm] = row
    return {
        "prover": "rocq",
        "stages": [{"name": one.name, "taught": len(one.train), "held_out": len(one.test)} for one in stages],
        "lifelong": arms,
        "comparisons": _comparisons(config, folder, stages),
    }


def _by_policy(proof: library.Proof) -> bool:
    return any(found.policy != "human" for found in proof.found)


def _interval(differences: Sequence[NDArray[np.float64]]) -> list[float]:
    """Return the interval of the mean over pairs of stages of a mean over lemmas; each library keeps its own lemmas."""
    shares = [one / one.shape[1] for one in differences]
    width = sum(one.shape[1] for one in shares)
    found = hierarchical(np.concatenate(shares, axis=1) * width / len(differences))
    return [found.low, found.high]


def _comparisons(config: Config, folder: Path, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return paired differences of arms at the end: on earlier libraries, and on the last."""
    last, compared = len(stages) - 1, {}
    for ours, theirs in (("replay", "naive"), ("curriculum", "replay")):
        if {ours, theirs} <= set(config.arms):
            for kind in ("solved", "nats"):
                a, b = (tables(config, folder, stages, arm, kind) for arm in (ours, theirs))
                for name, chosen in (("earlier", range(last)), ("last", (last,))):
                    left, right = (np.concatenate([one[last, j] for j in chosen], axis=1) for one in (a, b))
                    compared[f"{ours} - {theirs}, {name} libraries, {kind}"] = teaching.difference(left, right)
    return compared


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a finished run."""
    names = [one["name"] for one in summary["stages"]]
    heads = [f"{name} after {names[i]}" for i in range(len(names)) for name in names]
    shown = []
    for kind, digits, title in (
        ("solved", 3, "held-out lemmas solved"),
        ("nats", 1, "log-likelihood of held-out human tactics, nats"),  # three digits would be cut at 80 columns
    ):
        table = Table("arm", *heads, "forgetting", "backward (95 %)", "plasticity (95 %)", title=title)
        for arm, row in summary["lifelong"].items():
            found = row[kind]
            cells = [f"{value:.{digits}f}" for line in found["table"] for value in line]
            told = [
                f"{found[name]:+.{digits}f} "
                f"({found[f'{name}_ci95'][0]:+.{digits}f} to {found[f'{name}_ci95'][1]:+.{digits}f})"
                for name in ("backward", "plasticity")
            ]
            table.add_row(arm, *cells, f"{found['forgetting']:.{digits}f}", *told)
        shown.append(table)
    gains = Table("difference at the end", "mean", "95 % interval, paired")
    for name, row in summary["comparisons"].items():
        gains.add_row(name, f"{row['difference']:+.3f}", f"{row['ci95'][0]:+.3f} to {row['ci95'][1]:+.3f}")
    return [*shown, *([gains] if gains.rows else [])]
