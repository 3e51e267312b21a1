"""The arms of `objectives`, the common start of a domain, and one seed of it: each arm trained, searched, sampled.

    DOMAIN/train/start-0/       the common start, supervised; one for all seeds, as one pre-trained model would be
    DOMAIN/train/ARM-SEED/      the training of an arm from there
    DOMAIN/search/ARM-SEED/     best-first search on the held-out problems
    DOMAIN/samples/ARM-SEED/    plain samples of them, at temperature 1

Each is a run folder that is finished, resumed or absent. All arms earn the same reward (log R = 0 for a solution, -10
for anything else), have the same learning rate and the same caps; they differ in the objective, and in whether they may
learn from what another policy did. Policy gradients may not: they see fresh samples at temperature 1 and nothing else.
On such samples `log_variance` has the gradient of `reinforce` with KL 1 / beta, times 2 beta (n - 1) / n for n samples
of each problem, so one arm stands for both. Checkpoints are not selected: an arm is measured where its training ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from surpass.admission import Admission
from surpass.core import Trajectory
from surpass.errors import ConfigError
from surpass.experiments import proof_flow_data
from surpass.experiments.objectives_tasks import CAPS, CHOSEN, NAMES, START, Task, lemmas, opened, texts
from surpass.experiments.records import record, weights
from surpass.models.choosing import Chooser
from surpass.models.hf import LanguageModel
from surpass.models.presets import preset
from surpass.objectives.balance import log_variance
from surpass.objectives.batch import Objective, log_return
from surpass.objectives.gradient import grpo, reinforce
from surpass.objectives.likelihood import confidence_limited, likelihood, reward_ranked
from surpass.recorded import run_at
from surpass.replay import Replay
from surpass.rollouts.processes import process_pool
from surpass.rollouts.runner import derive_seed, run
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from surpass.train import Parts, TrainConfig, train
from surpass.verdicts import remembered
from surpass.verify import Terms, judge_again

if TYPE_CHECKING:
    from surpass.experiments.objectives import Config


Actor = LanguageModel | Chooser


@dataclass(frozen=True, slots=True)
class Arm:
    """How an arm differs from the others."""

    told: str  # its settings, for the table
    objective: Callable[[float], Objective] | None = None  # of beta; None: the start as it is
    acts: bool = True  # learns from samples; else from demonstrations alone
    fresh: bool = False  # from its own at temperature 1 alone; else tempered, replayed and demonstrated ones too
    reference: bool = False  # the frozen start is part of the objective
    passes: int = 1  # over each step's samples


OFF = "tempered, replay, demonstrations"
ARMS: Mapping[str, Arm] = {
    "base": Arm("the start, not trained further"),
    "sft": Arm("demonstrations", lambda beta: likelihood, acts=False),
    "confidence_limited": Arm("demonstrations, n = 16", lambda beta: partial(confidence_limited, n=16), acts=False),
    "expert_iteration": Arm(f"all accepted; {OFF}", lambda beta: partial(reward_ranked, fraction=1.0)),
    "reinforce": Arm(
        "fresh samples, KL 1 / beta in the reward",
        lambda beta: partial(reinforce, kl=1 / beta),
        fresh=True,
        reference=True,
    ),
    "grpo": Arm(
        "fresh samples, clip 0.2, KL 0.04 in the loss, 2 passes",
        lambda beta: partial(grpo, kl=0.04, utility=torch.exp),
        fresh=True,
        reference=True,
        passes=2,
    ),
    "log_variance": Arm(f"relative; {OFF}", lambda beta: partial(log_variance, beta=beta), reference=True),
    "log_variance_plain": Arm(f"target R alone; {OFF}", lambda beta: partial(log_variance, beta=beta, relative=False)),
}
ON_ROCQ = ("base", "sft", "expert_iteration", "grpo", "log_variance")
SEEDS_ON_ROCQ = 3
BEGINNING = "start-0"
WIDER = 4.0  # a narrow model with weights of deviation 0.02 takes long to learn to copy from its prompt
FLOOR = -10.0  # log R of what is not a solution
ADMIT_EVERY = 5  # steps after which proofs of a live prover are read by a fresh one and may be replayed
STEPS = 1_000_000  # never reached: a cap ends an arm


def arms_of(config: Config, domain: str) -> tuple[str, ...]:
    """Return the arms that are run in a domain."""
    return tuple(arm for arm in config.arms if domain != "rocq" or arm in ON_ROCQ)


def seeds_of(config: Config, domain: str) -> tuple[int, ...]:
    """Return the seeds that are run in a domain."""
    return config.seeds[:SEEDS_ON_ROCQ] if domain == "rocq" else config.seeds


def caps_of(config: Config, domain: str) -> dict[str, int]:
    """Return what each arm may spend in a domain."""
    caps = ("sampled_tokens", "gradient_tokens", "verifier_steps")
    return {name: asdict(config)[name] * CAPS.get(domain, 1) for name in caps}


def check(config: Config) -> None:
    """Raise ConfigError for domains, arms, seeds or numbers that do not fit together."""
    for kind, found, known in (("domains", config.domains, NAMES), ("arms", config.arms, tuple(ARMS))):
        if not found or len(set(found)) < len(found) or set(found) - set(known):
            raise ConfigError(f"expected different {kind} among {', '.join(known)}, found {', '.join(found) or 'none'}")
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ConfigError(f"expected at least one seed, each once, found {config.seeds}")
    if "rocq" in config.domains and not arms_of(config, "rocq"):
        raise ConfigError(f"expected an arm among {', '.join(ON_ROCQ)} for rocq, found {', '.join(config.arms)}")
    counts = ("explore_problems", "test_problems", "start_steps", "start_problems", "problems", "samples", "draws")
    caps = ("sampled_tokens", "gradient_tokens", "verifier_steps", "minutes", "beta", "rate", "start_rate")
    numbers = asdict(config)
    for name in (*counts, "width", "expansions", *caps):
        value = numbers[name]
        if not 0 < value < math.inf:
            raise ConfigError(f"expected {name} > 0 and finite, found {value}")
    if config.jobs < 0:
        raise ConfigError(f"expected jobs >= 0, found {config.jobs}")
    preset(config.model)


def run_all(config: Config, folder: Path, console: Console) -> None:
    """Run every (domain, seed), `config.jobs` at once in processes of their own, and show how much is done."""
    if "rocq" in config.domains:
        proof_flow_data.prepare(lemmas(config))
    longest = max(len(seeds_of(config, domain)) for domain in config.domains)
    pairs = [
        (domain, seeds_of(config, domain)[place])  # the first seed of all domains first: an early look at everything
        for place in range(longest)
        for domain in config.domains
        if place < len(seeds_of(config, domain))
    ]
    for domain in config.domains:
        run_at(folder / domain, {"experiment": f"objectives, {domain}"})
    starts = [partial(train_start, config, folder, domain) for domain in config.domains]
    arms = [partial(run_pair, config, folder, *pair) for pair in pairs]
    if config.jobs == 0:
        for work in (*starts, *arms):
            work()
        return
    records = sum(3 * len(arms_of(config, domain)) - ("base" in config.arms) for domain, _ in pairs)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, process_pool(config.jobs) as pool:
        task = progress.add_task("trained, searched, sampled", total=records + len(starts))
        for stage in (starts, arms):
            running = {pool.submit(work) for work in stage}
            while running:
                finished, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                progress.update(task, completed=len(list(folder.glob("*/*/*/summary.json"))))
                for future in finished:
                    future.result()


def train_start(config: Config, folder: Path, domain: str) -> None:
    """Train the common start of a domain, unless that is finished."""
    start = folder / domain / "train" / BEGINNING
    if (start / "summary.json").exists():
        return
    if config.jobs > 0:
        torch.set_num_threads(1)
    with opened(config, domain) as task:
        policy = _fresh(config, domain, task)
        train(_start(config, domain), _supervised(task, policy, likelihood), run_at(start, {"seed": 0}))


def _fresh(config: Config, domain: str, task: Task) -> Actor:
    """Return a policy with a model from scratch, its matrices `WIDER` than the library makes them, embeddings apart."""
    policy = LanguageModel.from_scratch(config.model, texts(task), seed=0)
    with torch.no_grad():
        for name, weight in policy.network.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(WIDER)
    return Chooser(policy) if domain in CHOSEN else policy


def run_pair(config: Config, folder: Path, domain: str, seed: int) -> None:
    """Train and measure the arms of a domain and seed from the common start; what is finished is kept."""
    if config.jobs > 0:
        torch.set_num_threads(1)
    place = folder / domain
    wanted = [place / kind / f"{arm}-{seed}" for arm in arms_of(config, domain) for kind in ("search", "samples")]
    if all((path / "summary.json").exists() for path in wanted):
        return
    with opened(config, domain) as task:
        policy = _fresh(config, domain, task)
        for arm in arms_of(config, domain):
            policy.load_state_dict(weights(place / "train" / BEGINNING))
            if ARMS[arm].objective is not None:
                _train_arm(config, place, domain, (arm, seed), policy, task)
            _measure(config, place, (arm, seed), policy, task)


def _start(config: Config, domain: str) -> TrainConfig:
    steps = max(1, round(config.start_steps * START.get(domain, 1.0)))
    return TrainConfig(
        steps=steps,
        problems_per_step=config.start_problems,
        seed=derive_seed(0, "start") % 2**31,
        learning_rate=config.start_rate,
        schedule="cosine",
        warmup=steps // 20,
        clip=1.0,
        checkpoint_every=100,
    )


def _supervised(task: Task, policy: Actor, objective: Objective) -> Parts[Hashable]:
    return Parts(policy, task.train, objective, log_return, demonstrations=_known(task))


def _known(task: Task) -> dict[str, list[Trajectory]]:
    return {key: [trajectory] for key, trajectory in task.demonstrations.items()}


def _train_arm(config: Config, place: Path, domain: str, unit: tuple[str, int], policy: Actor, task: Task) -> None:
    """Leave `policy`, which holds the start, with the weights of the arm; trains where no finished run holds them."""
    arm, seed = unit
    path = place / "train" / f"{arm}-{seed}"
    if not (path / "summary.json").exists():
        train(
            _numbers(config, domain, unit),
            _parts(config, domain, ARMS[arm], policy, task),
            run_at(path, {"seed": seed}),
        )
    policy.load_state_dict(weights(path))


def _numbers(config: Config, domain: str, unit: tuple[str, int]) -> TrainConfig:
    """Return the numbers of an arm's training: the same caps for all."""
    arm, caps = ARMS[unit[0]], caps_of(config, domain)
    numbers = TrainConfig(
        steps=STEPS,
        problems_per_step=config.problems if arm.acts else config.start_problems,
        seed=derive_seed(unit[1], unit[0]) % 2**31,
        learning_rate=config.rate,
        clip=1.0,
        micro_batch=64,
        passes=arm.passes,
        temper_probability=0.666,
        replay_draw=config.samples,
        checkpoint_every=25,
        most_sampled_tokens=caps["sampled_tokens"],
        most_gradient_tokens=caps["gradient_tokens"],
        most_verifier_steps=caps["verifier_steps"],
        most_seconds=60 * config.minutes,
    )
    return replace(numbers, temper_probability=0.0, replay_probability=0.0) if arm.fresh else numbers


def _parts(config: Config, domain: str, arm: Arm, policy: Actor, task: Task) -> Parts[Hashable]:
    """Return what an arm's training is made of."""
    if arm.objective is None:
        raise ConfigError("expected an arm with an objective, found one that is not trained")
    objective = arm.objective(config.beta)
    if not arm.acts:
        return _supervised(task, policy, objective)
    replay = (
        Admission(Replay(tolerance=0.25), partial(judge_again, terms=Terms(remembered())), every=ADMIT_EVERY)
        if domain == "rocq"
        else Replay(tolerance=0.25)
    )
    return Parts(
        policy,
        task.explore,
        objective,
        partial(log_return, floor=FLOOR),
        domain=task.domain,
        search=partial(sample, n=config.samples, max_steps=task.max_steps),
        demonstrations={} if arm.fresh else _known(task),
        reference=policy.frozen_copy() if arm.reference else None,
        replay=None if arm.fresh else replay,
    )


def _measure(config: Config, place: Path, unit: tuple[str, int], policy: Actor, task: Task) -> None:
    """Search the held-out problems best first, and sample them, each unless its record is finished."""
    arm, seed = unit
    searches = {
        "search": partial(best_first, width=config.width, expansions=config.expansions),
        "samples": partial(sample, n=config.draws, max_steps=task.max_steps),
    }
    for kind, search in searches.items():
        attempts: Callable[[], Iterable[Trajectory]] = partial(
            run, search, task.test, task.domain, policy, seed=derive_seed(seed, kind)
        )
        _exhaust(record(place / kind / f"{arm}-{seed}", attempts, len(task.test)))


def _exhaust(trajectories: Iterator[Trajectory]) -> None:
    for _ in trajectories:
        pass
