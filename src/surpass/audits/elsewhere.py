"""How much of a target lies on everything that is no solution, where a language model may write anything.

Space X: token histories of the preset "tiny", a byte-level vocabulary, actions of at most 88 tokens, each ended by one
of E end markers or cut at the limit. A solution is written in the tokens of `LanguageModel.encode`; the same text in
other tokens counts as something else. Solutions are listed, everything else is counted by length, in whole numbers:

    plain      mass(x) proportional to R(x)             the published target; sums over counts, exact
    relative   mass(x) proportional to p_ref(x) R(x)    p_ref of all that is not listed is 1 less what is listed

Two rewards, both of `domains/proofs/reward.py`: `binary`, log R = -10 for everything else, under which both are exact;
and `paper`, which falls with the length of an error. Of the relative target under `paper` an upper bound is given: what
is not listed is taken to be one token long, where that reward is largest.
The reference is a fresh model, taught the solutions for some steps of `likelihood`.
Not here: spaces small enough to list all of it (`tasks.py`), where trained policies are held to these numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.table import Table

from surpass.audits.learning import learn
from surpass.audits.tasks import Task
from surpass.audits.words import Word
from surpass.core import Domain, Problem, Proposal, State, Step, Trajectory, replay
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.domains.proofs.reward import binary, paper
from surpass.errors import ConfigError
from surpass.models.hf import LanguageModel
from surpass.objectives.likelihood import likelihood
from surpass.recipe import TrainConfig
from surpass.threads import one_thread

ERROR = -10.0  # log R of `binary` for everything else
TASKS = ("integer", "kernel")


@dataclass(frozen=True)
class BenchConfig:
    """What to count."""

    tasks: tuple[str, ...] = TASKS
    taught: tuple[int, ...] = (0, 20, 60)  # steps of likelihood that the reference has had, in ascending order
    seed: int = 0
    json: Path | None = None  # where to write the rows, too


@dataclass(frozen=True, slots=True)
class Row:
    """One task, reward and target. Logarithms are to base 10; masses too small for a float are still told apart."""

    task: str
    space: str
    reward: str
    target: str
    taught: int | None  # steps of the reference; None for the plain target, which has none
    log_count: float  # of everything else
    elsewhere: float  # its mass; for the relative target under `paper`, at most this
    log_solutions: float  # of the mass of all solutions; there, at least this


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted."""

    rows: tuple[Row, ...]

    def table(self) -> Table:
        """Return the figures as a table to print."""
        table = Table(title="The mass of everything that is no solution, over free text")
        for column in ("task", "reward", "target", "reference taught"):
            table.add_column(column)
        for column in ("strings else", "mass else", "mass of solutions"):
            table.add_column(column, justify="right")
        for row in self.rows:
            bound = row.target == "relative" and row.reward == "paper"
            table.add_row(
                row.task,
                row.reward,
                row.target,
                "" if row.taught is None else f"{row.taught} steps",
                f"10^{row.log_count:.0f}",
                ("<= " if bound else "") + f"{row.elsewhere:.2g}",
                (">= " if bound else "")
                + (f"{10**row.log_solutions:.3f}" if row.log_solutions > -3 else f"10^{row.log_solutions:.0f}"),
            )
        return table


@dataclass(frozen=True, slots=True)
class Letters:
    """How many actions of each length a vocabulary can write."""

    ends: int  # tokens that end an action
    inner: int  # all others
    longest: int

    def count(self, length: int) -> int:
        """Return the number of actions of `length` tokens, the end included where there is one."""
        cut = int(self.inner**self.longest) if length == self.longest else 0
        return int(self.ends * self.inner ** (length - 1)) + cut


def counted(leaves: Sequence[Trajectory], model: LanguageModel, letters: Letters) -> dict[tuple[int, int, int], int]:
    """Return how many errors there are beside the listed `leaves`: (steps before, their tokens, length) -> number.

    An error is any action that is none of the listed ones of its state; it ends the play, as judges of proofs end it.
    """
    known: dict[tuple[tuple[int, ...], ...], set[tuple[int, ...]]] = {}
    for leaf in leaves:
        actions = [model.encode(action) for action in leaf.actions]
        for i, action in enumerate(actions):
            known.setdefault(tuple(actions[:i]), set()).add(action)
    found: dict[tuple[int, int, int], int] = {}
    for history, actions_here in known.items():
        before = len(history), sum(map(len, history))
        for length in range(1, letters.longest + 1):
            listed_here = sum(len(action) == length for action in actions_here)
            place = (*before, length)
            found[place] = found.get(place, 0) + letters.count(length) - listed_here
    return found


def paper_error(mean_length: float, *, most: int = 92, floor: float = -30.0) -> float:
    """Return the published log-reward of an error whose tactics have this mean length: `reward.paper` for one."""
    return max(floor, -15.0 + 8.0 * math.log(max(1e-9, (most - mean_length) / most)))


def log_sum(counts: dict[tuple[int, int, int], int], reward: str) -> float:
    """Return the log of the summed rewards of all errors."""
    parts = []
    for (steps, tokens, length), number in counts.items():
        log_reward = ERROR if reward == "binary" else paper_error((tokens + length) / (steps + 1))
        if number:
            parts.append(math.log(number) + log_reward)
    return float(torch.tensor(parts, dtype=torch.float64).logsumexp(0))


def main(config: BenchConfig) -> Report:
    """Count everything and return it; the rows are written to `config.json`. Raises ConfigError for unfit settings."""
    if not config.tasks or not set(config.tasks) <= set(TASKS):
        raise ConfigError(f"bench free_text: expected tasks among {', '.join(TASKS)}, found {config.tasks}")
    if not config.taught or list(config.taught) != sorted(set(config.taught)) or config.taught[0] < 0:
        raise ConfigError(f"bench free_text: expected taught steps in ascending order, found {config.taught}")
    with one_thread():
        rows = [row for name in config.tasks for row in _rows(name, config)]
    if config.json is not None:
        config.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return Report(tuple(rows))


def _rows(name: str, config: BenchConfig) -> list[Row]:
    task = _task(name, config.seed)
    model = task.reference
    assert isinstance(model, LanguageModel)
    ends = len(model.vocabulary.ends)
    letters = Letters(ends, int(model.network.config.vocab_size) - ends, model.sampling.max_new)
    counts = counted(task.leaves, model, letters)
    solved = torch.tensor([leaf.solved for leaf in task.leaves])
    log_count = math.log10(sum(counts.values()) + int((~solved).sum()))
    rows, steps = list[Row](), 0
    for taught in config.taught:
        if taught > steps:
            numbers = TrainConfig(steps=taught - steps, learning_rate=2e-3, clip=5.0, seed=config.seed)
            learn(task, likelihood, numbers, demonstrations=task.demonstrations)
            steps = taught
        for reward in ("paper", "binary"):
            row = partial(Row, name, task.space_name, reward, log_count=log_count)
            if taught == config.taught[0]:
                rows.append(row("plain", None, **_plain(task, counts, reward, solved)))
            rows.append(row("relative", taught, **_relative(task, reward, solved)))
    return sorted(rows, key=lambda row: (row.reward, row.target))


def _plain(task: Task, counts: dict[tuple[int, int, int], int], reward: str, solved: torch.Tensor) -> dict[str, float]:
    rewards = _rewards(task, reward)
    others = torch.cat([rewards[~solved], torch.tensor([log_sum(counts, reward)], dtype=torch.float64)])
    return _masses(rewards[solved].logsumexp(0), others.logsumexp(0))


def _relative(task: Task, reward: str, solved: torch.Tensor) -> dict[str, float]:
    with torch.no_grad():
        log_ref = task.reference.logp(task.leaves).double().sum(dim=1)
    weight = log_ref + _rewards(task, reward)
    beside = (1 - log_ref.exp().sum()).clamp(min=1e-12).log() + (ERROR if reward == "binary" else paper_error(1))
    return _masses(weight[solved].logsumexp(0), torch.cat([weight[~solved], beside[None]]).logsumexp(0))


def _masses(log_good: torch.Tensor, log_else: torch.Tensor) -> dict[str, float]:
    total = torch.logaddexp(log_good, log_else)
    return {
        "elsewhere": float((log_else - total).exp()),
        "log_solutions": float(log_good - total) / math.log(10),
    }


def _rewards(task: Task, reward: str) -> torch.Tensor:
    """Return the log-rewards of what is listed [N]."""
    if reward == "binary":
        return binary(task.leaves, error=ERROR).double()
    return paper(task.leaves, scorer=task.reference).double()


def _task(name: str, seed: int) -> Task:
    if name == "integer":
        domain = Word({str(number): 1.0 for number in range(100)}, 1.0)
        (problem,) = domain.problems("train")
        problem = replace(problem, key="integer below 100")
        leaves = [replay(domain, problem, [str(number)]) for number in range(100)]
        return _with_model(name, "token sequences of one action", domain, problem, leaves, seed)
    problem = pose("A -> ~ A -> B")
    return _with_model(
        name, "scripts of at most 6 actions", Kernel(), problem, trajectories(Kernel(), problem, 6), seed
    )


def _with_model(
    name: str, space: str, domain: Domain[State], problem: Problem, leaves: Sequence[Trajectory], seed: int
) -> Task:
    """Return the task of a fresh model, which is its own reference, with the leaves in its tokens."""
    seen = sorted(
        {text for leaf in leaves for step in leaf.steps for text in (step.observation.text, step.proposal.action)}
    )
    model = LanguageModel.from_scratch("tiny", seen, seed=seed)
    written = [replace(leaf, steps=tuple(_written(step, model) for step in leaf.steps)) for leaf in leaves]
    return Task(name, space, domain, problem, 6, tuple(written), binary, model, model)


def _written(step: Step, model: LanguageModel) -> Step:
    action = step.proposal.action
    return replace(step, proposal=Proposal(action, None, model.encode(action)))
