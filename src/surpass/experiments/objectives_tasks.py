"""What `objectives` is measured on: each domain with its problems, known solutions, and what counts as the same one.

A task follows from the configuration alone, so every process and every resumed run meets the same problems in the same
order. Policies write text, except in `CHOSEN` domains, which list what is allowed: there they choose among it by their
likelihood, as in Flow of Reasoning. Puzzles show where one stands, not how one came there. Not here: the arms, which
are in `objectives_arms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from surpass.core import Domain, Problem, Trajectory, replay
from surpass.domains.proofs.kernel.domain import Kernel
from surpass.domains.puzzles import blocksworld, blocksworld_generate, game24, prontoqa
from surpass.domains.puzzles.prontoqa_generate import Recipe
from surpass.evaluation.diversity import actions_key
from surpass.experiments import proof_flow, proof_flow_data
from surpass.experiments.records import sampled

if TYPE_CHECKING:
    from surpass.experiments.objectives import Config

FEW_BLOCKS = blocksworld_generate.Recipe(blocks=(3, 5), length=(2, 6), train=400)
Key = Callable[[Trajectory], Hashable]
KEYS: Mapping[str, Key] = {  # two accepted plays with equal keys are the same solution
    "kernel": actions_key,
    "game24": game24.key,
    "blocksworld": blocksworld.key,
    "prontoqa": prontoqa.key,
    "rocq": actions_key,
}
FEW_RULES = Recipe(hops=(1, 2), detours=1, distractors=2, train=1000)  # all of a theory must fit a small prompt


@dataclass(frozen=True, slots=True)
class Task:
    """A domain with its problems; `train` and `test` share none. `explore` is the part of `train` to act on."""

    domain: Domain[Hashable]
    train: tuple[Problem, ...]
    explore: tuple[Problem, ...]
    test: tuple[Problem, ...]
    demonstrations: Mapping[str, Trajectory]  # one known solution of each problem of `train`
    max_steps: int  # of a play


def _kernel() -> Domain[Hashable]:
    return cast("Domain[Hashable]", Kernel(canonical=False))


def _game24() -> Domain[Hashable]:
    return cast("Domain[Hashable]", game24.Game24(canonical=False, history=False))


def _blocksworld() -> Domain[Hashable]:
    return cast("Domain[Hashable]", blocksworld.BlocksWorld(history=False, recipe=FEW_BLOCKS))


def _prontoqa() -> Domain[Hashable]:
    return cast("Domain[Hashable]", prontoqa.ProntoQA(history=False, recipe=FEW_RULES))


EMBEDDED: Mapping[str, tuple[Callable[[], Domain[Hashable]], int]] = {  # domain, most steps of a play
    "kernel": (_kernel, 12),
    "game24": (_game24, 3),
    "blocksworld": (_blocksworld, 8),
    "prontoqa": (_prontoqa, 5),
}
NAMES = (*EMBEDDED, "rocq")
CHOSEN = ("blocksworld", "prontoqa")  # a small model from scratch writes hardly any legal action of them
START = {"game24": 8.0, "blocksworld": 1 / 3, "prontoqa": 1 / 5}  # times the start's steps: arithmetic takes longest
CAPS = {"blocksworld": 2}  # times the caps: its plays are the longest, some fifty tokens


@contextmanager
def opened(config: Config, name: str) -> Iterator[Task]:
    """Yield a task with its domain open; ends the domain's processes. Raises DataError, VerifierError for rocq."""
    if name in EMBEDDED:
        make, max_steps = EMBEDDED[name]
        yield _embedded(config, make(), max_steps)
        return
    wanted = lemmas(config)
    with proof_flow_data.opened(wanted) as data:
        yield Task(data.domain, data.train, data.explore, data.test, data.human, wanted.max_steps)


def lemmas(config: Config) -> proof_flow.Config:
    """Return the configuration of `proof_flow` that has the Rocq lemmas of this one."""
    return proof_flow.Config(
        prover="rocq",
        corpus=config.corpus,
        explore_problems=config.explore_problems,
        test_problems=config.test_problems,
        valid_problems=0,
    )


def _embedded(config: Config, domain: Domain[Hashable], max_steps: int) -> Task:
    train, test = (tuple(domain.problems(split)) for split in ("train", "test"))
    return Task(
        domain,
        train,
        tuple(sampled(train, config.explore_problems)),
        tuple(sampled(test, config.test_problems)),
        {problem.key: replay(domain, problem, problem.data["solution"]) for problem in train},
        max_steps,
    )


def texts(task: Task) -> Iterator[str]:
    """Yield what a tokenizer is trained on: observations and actions of the demonstrations."""
    for trajectory in task.demonstrations.values():
        for step in trajectory.steps:
            yield step.observation.text
            yield step.proposal.action
