"""One seed of `proof_flow`: every arm is trained and measured, each a run folder that is finished, resumed or absent.

    automation/         what Rocq's automation proves of the problems that policies act on, once for all seeds
    train/ARM-SEED/     the training run of an arm
    search/ARM-SEED/    best-first search on the held-out problems
    samples/ARM-SEED/   plain samples on the held-out problems

`base` and `sft` start from nothing, all others from the supervised policy, which is also their frozen reference and
the frozen scorer of unfinished proofs. Checkpoints are not selected: an arm is measured where its training ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.progress import Progress

from surpass.admission import Admission
from surpass.core import Policy, Problem, Trajectory
from surpass.domains.proofs import reward
from surpass.errors import ConfigError
from surpass.experiments.proof_flow_data import Data, by_automation, by_hammer, has_hammer, opened, texts
from surpass.experiments.records import record, weights
from surpass.models.fixed import Fixed
from surpass.models.hf import LanguageModel
from surpass.models.log_z import LogZ
from surpass.models.mixture import Mixture
from surpass.models.neighbours import Neighbours
from surpass.models.presets import PRESETS
from surpass.objectives.balance import log_variance, trajectory_balance
from surpass.objectives.batch import Heads, Objective, Reward, log_return
from surpass.objectives.likelihood import likelihood
from surpass.recorded import run_at
from surpass.replay import Replay
from surpass.rollouts.processes import process_pool
from surpass.rollouts.runner import RunOptions, derive_seed, run
from surpass.rollouts.trace import Event
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from surpass.verdicts import remembered
from surpass.verify import Terms, judge_again

if TYPE_CHECKING:
    from surpass.experiments.proof_flow import Config


@dataclass(frozen=True, slots=True)
class Arm:
    """How an arm differs from the others."""

    reward: str = ""  # graded, binary or paper: learns from a search; empty: from demonstrations alone
    relative: bool = True  # to the frozen supervised policy, by log-variance; else the paper's trajectory balance
    replay: bool = True


ARMS: Mapping[str, Arm] = {
    "base": Arm(),  # before any training
    "sft": Arm(),  # demonstrations, by likelihood
    "gfn": Arm("graded"),
    "sft_continued": Arm(),  # as many more gradient tokens as gfn took
    "gfn_paper": Arm("paper", relative=False),
    "gfn_no_replay": Arm("graded", replay=False),
    "gfn_binary": Arm("binary"),
}
# What is not trained, and gfn mixed with the two others.
SOURCES = ("automation", "automation_search", "hammer", "neighbours", "mixture")
TEMPERED = 0.666  # of the steps of an arm that learns from a search: the paper's
ADMIT_EVERY = 5  # steps after which new proofs are read by a fresh checker and may be replayed, at most
TRACED = 12  # held-out problems whose search can be drawn
WEIGHTS = (0.5, 0.25, 0.25)  # of gfn, neighbours and automation in the mixture


def check(config: Config) -> None:
    """Raise ConfigError for arms, sources or seeds that do not fit together."""
    unknown = [*set(config.arms) - set(ARMS), *set(config.sources) - set(SOURCES)]
    if unknown:
        raise ConfigError(
            f"expected arms among {', '.join(ARMS)} and sources among {', '.join(SOURCES)}, found {', '.join(unknown)}"
        )
    if not config.seeds or not config.arms:
        raise ConfigError(f"expected at least one seed and one arm, found seeds {config.seeds} and arms {config.arms}")
    if "base" in config.arms[1:]:
        raise ConfigError(f"expected base first in --arms: it is the policy before any training; found {config.arms}")
    built = [arm for arm in config.arms if arm not in ("base", "sft")]
    for arm, earlier in [*((arm, "sft") for arm in built), ("sft_continued", "gfn")]:
        if arm in built and earlier not in config.arms[: config.arms.index(arm)]:
            raise ConfigError(f"expected {earlier} before {arm} in --arms, as {arm} builds on it; found {config.arms}")


def run_seeds(config: Config, folder: Path, progress: Progress) -> None:
    """Run every seed, `config.jobs` at once in processes of their own, and show what each is at; 0: in this process."""
    if config.jobs == 0:
        progress.stop()  # training shows its own
        for seed in config.seeds:
            run_seed(config, folder, seed)
        return
    tasks = {seed: progress.add_task(f"seed {seed}", total=None) for seed in config.seeds}
    with process_pool(config.jobs) as pool:
        running = {pool.submit(run_seed, config, folder, seed) for seed in config.seeds}
        while running:
            finished, running = wait(running, timeout=0.5)
            for seed, task in tasks.items():
                name, done, total = stage(config, folder, seed)
                progress.update(task, description=f"seed {seed}: {name}", completed=done, total=total)
            for future in finished:
                future.result()


def run_seed(config: Config, folder: Path, seed: int) -> None:
    """Train and measure all arms of one seed, then the sources; what is finished already is kept."""
    if config.jobs > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // config.jobs))
    with opened(config) as data:
        policy = new_policy(config, data, seed)
        known = demonstrations(data, folder)
        for arm in config.arms:
            if arm != "base":
                tell(folder, seed, arm)
                _train_arm(config, data, folder, (arm, seed), policy, known)
            _measure(config, data, folder, (arm, seed), policy)
        _measure_sources(config, data, folder, seed, policy, known)
    tell(folder, seed, "done")


def tell(folder: Path, seed: int, stage: str) -> None:
    """Say what a seed is at, for whoever watches the folder."""
    path = folder / f"seed-{seed}.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"stage": stage}) + "\n", encoding="utf-8")
    fresh.replace(path)  # in one step: the parent may read at any moment, and must not find an empty file


def new_policy(config: Config, data: Data, seed: int) -> LanguageModel:
    """Return the untrained model: from scratch for a preset's name, else the checkpoint at that path."""
    if config.model in PRESETS:
        return LanguageModel.from_scratch(config.model, texts(data.human), seed)
    return LanguageModel.load(config.model)


def demonstrations(data: Data, folder: Path) -> dict[str, list[Trajectory]]:
    """Return, for each training problem, the human proof and the proofs that automation found, distinct."""
    known = {key: [trajectory] for key, trajectory in data.human.items()}
    for found in Run.open(folder / "automation").trajectories():
        if found.solved and found.actions not in {trajectory.actions for trajectory in known[found.problem.key]}:
            known[found.problem.key].append(found)
    return known


def explore_by_automation(config: Config, folder: Path, progress: Progress) -> None:
    """Try automation on the problems that policies act on, and record what it proves, unless that was done."""
    with opened(config) as data:
        attempts: Iterable[Trajectory] = _confirmed(by_automation(data, data.explore)) if config.automation else ()
        task = progress.add_task("automation on training problems", total=len(data.explore))
        tried = set[str]()
        for trajectory in record(folder / "automation", lambda: attempts, len(data.explore)):
            tried.add(trajectory.problem.key)
            progress.update(task, completed=len(tried))
    progress.remove_task(task)


def _confirmed(attempts: Iterable[Trajectory]) -> Iterator[Trajectory]:
    """Put the verdict of a fresh checker on every success, one source file at a time: all arms learn from these."""
    for _, group in groupby(attempts, key=lambda trajectory: trajectory.problem.group):
        found = list(group)
        verdicts = iter(
            judge_again([trajectory for trajectory in found if trajectory.solved], terms=Terms(remembered()))
        )
        yield from (replace(one, verdict=next(verdicts)) if one.solved else one for one in found)


def _train_arm(
    config: Config,
    data: Data,
    folder: Path,
    unit: tuple[str, int],
    policy: LanguageModel,
    known: Mapping[str, list[Trajectory]],
) -> None:
    """Leave `policy` with the weights of the arm; trains them where no finished run holds them."""
    arm, seed = unit
    path = folder / "train" / f"{arm}-{seed}"
    kept = run_at(path, {"arm": arm, "seed": seed})
    if arm != "sft":
        policy.load_state_dict(weights(folder / "train" / f"sft-{seed}"))
    if not (path / "summary.json").exists():
        train(_numbers(config, folder, unit), _parts(config, data, unit, policy, known), kept)
    policy.load_state_dict(weights(path))


def _numbers(config: Config, folder: Path, unit: tuple[str, int]) -> TrainConfig:
    """Return the length, rates and batch of an arm's training."""
    arm, seed = unit
    shared = TrainConfig(seed=derive_seed(seed, arm) % 2**31)
    if ARMS[arm].reward:
        return replace(
            shared,
            steps=config.gfn_steps,
            problems_per_step=config.gfn_problems,
            learning_rate=config.gfn_rate,
            evaluate_every=max(1, config.gfn_steps // 4),
            temper_probability=TEMPERED,
            replay_draw=config.gfn_samples,
        )
    supervised = replace(shared, steps=config.sft_steps, problems_per_step=config.sft_problems, clip=1.0)
    if arm == "sft":
        every = max(1, config.sft_steps // 4)
        warmed = replace(supervised, schedule="cosine", warmup=config.sft_steps // 20, evaluate_every=every)
        return replace(warmed, learning_rate=config.sft_rate)
    # As many gradient tokens as gfn took, at the rate of gfn: the schedule of sft has ended.
    spent = {
        name: Run.open(folder / "train" / f"{name}-{seed}").summary()["gradient_tokens"] for name in ("gfn", "sft")
    }
    steps = max(1, round(config.sft_steps * spent["gfn"] / spent["sft"]))
    return replace(supervised, steps=steps, learning_rate=config.gfn_rate, evaluate_every=max(1, steps // 4))


def _parts(
    config: Config, data: Data, unit: tuple[str, int], policy: LanguageModel, known: Mapping[str, list[Trajectory]]
) -> Parts[Hashable]:
    """Return what an arm's training is made of."""
    arm, seed = ARMS[unit[0]], unit[1]

    def validate(step: int) -> dict[str, float]:
        found = _samples(config, data, data.valid, policy, seed)
        return {"solve_rate": len({t.problem.key for t in found if t.solved}) / len(data.valid)}

    evaluate = validate if data.valid else None
    if not arm.reward:
        return Parts(policy, data.train, likelihood, log_return, demonstrations=known, evaluate=evaluate)
    frozen = policy.frozen_copy()
    rewards: dict[str, Reward] = {
        "graded": partial(reward.graded, scorer=frozen),
        "paper": partial(reward.paper, scorer=frozen),
        "binary": reward.binary,
    }
    every = min(ADMIT_EVERY, max(1, config.gfn_steps // 4))  # even the shortest training replays
    paper: Objective = partial(trajectory_balance, beta=config.beta, relative=False)
    return Parts(
        policy,
        data.explore,
        partial(log_variance, beta=config.beta) if arm.relative else paper,
        rewards[arm.reward],
        domain=data.domain,
        search=partial(sample, n=config.gfn_samples, max_steps=config.max_steps),
        demonstrations=known,
        reference=frozen if arm.relative else None,
        heads=Heads() if arm.relative else Heads(log_z=LogZ(policy)),
        replay=Admission(Replay(tolerance=0.25), partial(judge_again, terms=Terms(remembered())), every=every)
        if arm.replay
        else None,
        evaluate=evaluate,
    )


def _measure(config: Config, data: Data, folder: Path, unit: tuple[str, int], policy: LanguageModel) -> None:
    """Search the held-out problems best first, and sample them, each unless its record is finished."""
    arm, seed = unit
    headline = (arm, seed) == (config.arms[-1] if "gfn" not in config.arms else "gfn", config.seeds[0])
    if headline:
        policy.save(folder / "policies" / f"{arm}-{seed}")  # what `surpass prove --run` finds
    trace = folder / "search" / f"{arm}-{seed}" / "trace.jsonl" if headline else None
    tries: dict[str, Callable[[], Iterable[Trajectory]]] = {
        "search": partial(_searches, config, data, data.test, policy, seed, trace=trace),
        "samples": partial(_samples, config, data, data.test, policy, seed),
    }
    for kind, attempts in tries.items():
        path = folder / kind / f"{arm}-{seed}"
        if not (path / "summary.json").exists():
            tell(folder, seed, f"{arm}, {kind}")
        for _ in record(path, attempts, len(data.test)):
            pass


def _measure_sources(
    config: Config,
    data: Data,
    folder: Path,
    seed: int,
    policy: LanguageModel,
    known: Mapping[str, list[Trajectory]],
) -> None:
    """Measure automation and neighbours alone (once, as they have no seed), and both and gfn together."""
    automation = Fixed(data.automation)
    steps = [step for trajectories in known.values() for trajectory in trajectories for step in trajectory.steps]
    neighbours = Neighbours((step.observation.key, step.proposal.action) for step in steps)
    tries: dict[str, Callable[[], Iterable[Trajectory]]] = {
        "automation": partial(by_automation, data, data.test),
        "automation_search": partial(_searches, config, data, data.test, automation, seed),
        "hammer": partial(by_hammer, data, data.test),
        "neighbours": partial(_searches, config, data, data.test, neighbours, seed),
    }
    for name, attempts in tries.items():
        if name in config.sources and seed == config.seeds[0] and (name != "hammer" or has_hammer(data)):
            tell(folder, seed, name)
            for _ in record(folder / "search" / f"{name}-{seed}", attempts, len(data.test)):
                pass
    if "mixture" in config.sources and "gfn" in config.arms:
        tell(folder, seed, "mixture")
        policy.load_state_dict(weights(folder / "train" / f"gfn-{seed}"))
        mixture = Mixture(list(zip((policy, neighbours, automation), WEIGHTS, strict=True)))
        mixed = partial(_searches, config, data, data.test, mixture, seed)
        for _ in record(folder / "search" / f"mixture-{seed}", mixed, len(data.test)):
            pass


def _searches(
    config: Config,
    data: Data,
    problems: tuple[Problem, ...],
    policy: Policy,
    seed: int,
    *,
    trace: Path | None = None,
) -> Iterator[Trajectory]:
    """Search best first with the budget of the configuration; `trace` is where the first problems' asks are written."""
    search = partial(best_first, width=config.width, expansions=config.expansions)
    shown = {problem.key for problem in problems[:TRACED]}
    if trace is not None:
        trace.unlink(missing_ok=True)

    def write(event: Event) -> None:
        if trace is not None and event["problem"] in shown:
            with trace.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")

    options = RunOptions(trace=write if trace is not None else None)
    return run(search, problems, data.domain, policy, seed=derive_seed(seed, "search"), options=options)


def _samples(
    config: Config, data: Data, problems: tuple[Problem, ...], policy: Policy, seed: int
) -> Iterator[Trajectory]:
    """Sample whole proofs at temperature 1."""
    search = partial(sample, n=config.samples, max_steps=config.max_steps)
    return run(search, problems, data.domain, policy, seed=derive_seed(seed, "samples"))


def stage(config: Config, folder: Path, seed: int) -> tuple[str, int, int | None]:
    """Return what a running seed is at: its name, and how much of how much is done (None where nobody knows)."""
    path = folder / f"seed-{seed}.json"
    if not path.exists():
        return "waiting", 0, None
    name = str(json.loads(path.read_text(encoding="utf-8"))["stage"])
    arm, _, kind = name.partition(", ")
    if name == "done":
        return name, 1, 1
    if arm in ARMS and not kind:
        steps = {"sft": config.sft_steps, "sft_continued": None}.get(arm, config.gfn_steps)
        return f"{name}, training", _lines(folder / "train" / f"{arm}-{seed}" / "metrics.jsonl"), steps
    part = "samples" if kind == "samples" else "search"
    total = config.test_problems * (config.samples if kind == "samples" else 1)
    return name, _lines(folder / part / f"{arm}-{seed}" / "trajectories.jsonl"), total


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
