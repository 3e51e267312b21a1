"""What a training run is made of: its numbers, its parts, and whether they fit.

Not here: the loop (`train.py`), what of a run a checkpoint holds (`resume.py`) and the files (`store.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, Literal, Protocol

from torch import nn

from surpass.core import Domain, Policy, Problem, Search, State, Status, Trainable, Trajectory, Verdict
from surpass.curriculum import Curriculum
from surpass.errors import ConfigError
from surpass.exploration import Exploration
from surpass.objectives.batch import Batch, Heads, Metrics, Objective, Reward
from surpass.replay import Memory
from surpass.rollouts.runner import Budget, RunOptions
from surpass.schedules import Constant, Schedule


class Learner(Trainable, Protocol):
    """A trainable policy whose weights can be stepped and stored."""

    def parameters(self) -> Iterable[nn.Parameter]: ...
    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> object: ...
    def tempered(self, temperature: float, /) -> Policy: ...


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The numbers of a training run."""

    steps: int = 1000
    problems_per_step: int = 1  # different problems, drawn anew each step
    seed: int = 0
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-2  # of log Z, flows and values: 10 to 100 times the policy's
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW
    clip: float = 0.5  # gradient norm, of the policy and of each head apart
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0  # steps of linear warm-up
    decay_steps: int = 0  # the step at which the cosine has ended; 0: the last one
    least_rate: float = 0.0  # where it ends, as a share of the learning rate
    micro_batch: int = 8  # trajectories in one pass through the model; changes memory, not the gradient
    passes: int = 1  # steps of the optimiser on what a step found; `logp_old` stays that of the first (PPO, GRPO)
    temper_probability: float = 0.0  # of a step that samples at a temperature from U(low, high), not at 1: off-policy
    temper_low: float = 0.25
    temper_high: float = 1.0
    reject_unknown: bool = False  # learn that what a checker could not decide (time, memory) has failed; else left out
    reject_truncated: bool = False  # a play with an action cut at the token limit has failed, whatever the checker says
    replay_probability: float = 0.5  # of learning from the buffer instead of a search, problem by problem
    replay_draw: int = 5  # trajectories of a problem that is replayed
    checkpoint_every: int = 1  # steps; also the most that a resumed run repeats
    evaluate_every: int = 100  # steps
    patience: int = 10  # steps in a row without a finite loss and gradient before ModelError
    most_sampled_tokens: float = math.inf  # ends the run after the step that reaches it, as `steps` would; so do:
    most_gradient_tokens: float = math.inf
    most_verifier_steps: float = math.inf
    most_seconds: float = math.inf  # of searching and learning; the result then depends on the machine


@dataclass(frozen=True, slots=True, eq=False)
class Parts(Generic[State]):
    """What a training run is made of. Without a search it is supervised: demonstrations only."""

    policy: Learner
    problems: Sequence[Problem]
    objective: Objective
    reward: Reward
    domain: Domain[State] | None = None  # what the search acts in
    search: Search[State] | None = None
    budget: Budget = Budget()  # noqa: RUF009 - frozen; of one conversation of the search
    options: RunOptions = RunOptions()  # noqa: RUF009 - frozen
    demonstrations: Mapping[str, Sequence[Trajectory]] = field(default_factory=dict)  # by problem key, in every batch
    lessons: Callable[[int], Sequence[Trajectory]] | None = None  # what step n learns from, whatever the problems
    reference: Trainable | None = None  # frozen
    heads: Heads = Heads()  # noqa: RUF009 - frozen; what the objective needs besides: log Z, flows, values
    replay: Memory | None = None  # takes in what the search finds; proofs of a live prover through an `Admission`
    curriculum: Curriculum | None = None  # draws the problems of a step; without one, uniformly
    exploration: Exploration | None = None  # who acts; without one, as the temper_ numbers of the configuration say
    sharpness: Schedule = Constant(1.0)  # noqa: RUF009 - frozen; multiplies log-rewards: the beta of any objective
    evaluate: Callable[[int], Metrics] | None = None  # after step n; recorded as eval/<name>


def warmth(config: TrainConfig, step: int) -> float:
    """Return the factor of the learning rate: linear from 0 over the warm-up, then constant or a half cosine down."""
    if step < config.warmup:
        return (step + 1) / (config.warmup + 1)
    if config.schedule == "constant":
        return 1.0
    way = min(1.0, (step - config.warmup) / max(1, (config.decay_steps or config.steps) - config.warmup))
    return config.least_rate + (1 - config.least_rate) * (0.5 + 0.5 * math.cos(math.pi * way))


def spent(config: TrainConfig, row: Metrics) -> str:
    """Return the total that has reached its cap by this line of the metrics; empty while none has."""
    caps = {
        "sampled_tokens": config.most_sampled_tokens,
        "gradient_tokens": config.most_gradient_tokens,
        "verifier_steps": config.most_verifier_steps,
    }
    for name, most in caps.items():
        if row[name] >= most:
            return name
    return "seconds" if row["search_seconds"] + row["learn_seconds"] >= config.most_seconds else ""


def explored(config: TrainConfig, parts: Parts[State]) -> Exploration:
    """Return the exploration of a run: the part, or what the numbers say."""
    numbers = (config.temper_probability, config.temper_low, config.temper_high)
    return parts.exploration or Exploration(*map(Constant, numbers))


def sharpened(batch: Batch, factor: float) -> Batch:
    """Return the batch with all log-rewards multiplied by `factor`: its leaves are the same."""
    if factor == 1.0:
        return batch
    state, prefix = (None if one is None else one * factor for one in (batch.state_reward, batch.prefix_reward))
    return replace(batch, log_reward=batch.log_reward * factor, state_reward=state, prefix_reward=prefix)


def judged(config: TrainConfig, trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """Return what can be learned from: plays with a step and a verdict.

    UNKNOWN plays are left out, so a fixed point is the objective's target among plays that get a verdict. With
    `reject_unknown` those whose own end the checker could not decide have failed; what our machinery lost, or a budget
    cut short, is left out all the same.
    """
    known = []
    for one in trajectories:
        undecided = one.verdict.status is Status.UNKNOWN
        if undecided and config.reject_unknown and one.info.get("end") == "verdict":
            known.append(replace(one, verdict=Verdict(Status.REJECTED, (0.0,), one.verdict.evidence)))
        elif not undecided:
            known.append(one)
    return [one for one in known if one.steps]


def whole(trajectory: Trajectory) -> Trajectory:
    """Reject a play with an action that was cut: its tokens are no whole action, whatever their text happens to do."""
    if not trajectory.info.get("truncated"):
        return trajectory
    returns = (0.0,) * max(1, len(trajectory.verdict.returns))
    return replace(trajectory, verdict=Verdict(Status.REJECTED, returns, "train: an action was cut at the token limit"))


def check(config: TrainConfig, parts: Parts[State]) -> None:
    """Raise ConfigError for numbers that cannot be used or parts that do not fit together."""
    if not parts.problems and (parts.lessons is None or parts.search is not None):
        raise ConfigError("train: no problems; expected at least one, choose another split")
    if (parts.search is None) != (parts.domain is None):
        raise ConfigError("train: a search needs a domain and a domain a search; give both, or neither (supervised)")
    if parts.search is None and parts.lessons is None and not parts.demonstrations:
        raise ConfigError("train: neither a search nor demonstrations nor lessons; there is nothing to learn from")
    counts = ("steps", "problems_per_step", "micro_batch", "passes")
    for name in (*counts, "checkpoint_every", "evaluate_every", "patience"):
        if asdict(config)[name] < 1:
            raise ConfigError(f"train: expected {name} >= 1, found {asdict(config)[name]}")
    if not 0 <= config.learning_rate < math.inf:
        raise ConfigError(f"train: expected a learning_rate of 0 or more, found {config.learning_rate}")
    for name, most in asdict(config).items():
        if name.startswith("most_") and not most > 0:
            raise ConfigError(f"train: expected {name} > 0, found {most}: inf sets no cap")
