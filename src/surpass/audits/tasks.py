"""What is audited: seven problems whose spaces can be listed, four for tables of logits, three for small transformers.

    bits         write five bits, one at a time; log R = - distance to the nearer of two words
    kernel       prove A -> ~ A -> B in at most six tactics; shorter proofs are worth more
    game24       make 24 of 1, 2 and 12; also measured over solutions up to their normal form
    blocksworld  put one of three blocks on another tower in at most four actions; shorter plans are worth more
    bit_words    one word of at most four bits, of any length; log R = - number of equal neighbours
    integer      a whole number below 20, all of equal worth: the request for a uniform one, where pairs of digits that
                 begin with 0 and other strings are wrong
    letters      three bits, each an action of its own; log R = - distance to the nearer of two words, where an action
                 is any text of at most two tokens, so that most are wrong

The canonical kernel chooses all names, so a script is a proof up to renaming, written in the one way there is; of a
Game of 24 several plays are the same solution, whose mass is R times the number of ways to play it. `bits` and the
transformers learn from what they sample, the other tables from all of X where an objective can; a transformer that does
not find all solutions that way is shown them (`Arm.shown`).
Tables start at random numbers, another reference at others. A transformer is first taught a skewed set of words by
`likelihood`; that is its reference, and where it starts. All is made from (name, seed).
Not here: what is learned (`arms.py`), and the exact mass of free text where X cannot be listed (`elsewhere.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise, product
from math import exp
from typing import Any

import torch
from torch import Tensor

from surpass.audits.learning import learn
from surpass.audits.spaces import Space, listed
from surpass.audits.words import START, Letters, Word, prefix_reward, small_model, texts
from surpass.core import Domain, Problem, Trajectory
from surpass.domains.proofs.kernel.domain import Kernel
from surpass.domains.proofs.kernel.domain import pose as formula
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.domains.puzzles import game24
from surpass.domains.puzzles.blocksworld import BlocksWorld
from surpass.domains.puzzles.blocksworld import pose as tower
from surpass.domains.puzzles.blocksworld_rules import Task as Towers
from surpass.domains.puzzles.blocksworld_rules import atom
from surpass.models.hf import LanguageModel
from surpass.models.tabular import Tabular
from surpass.objectives.batch import Head, Reward, log_return
from surpass.objectives.likelihood import likelihood
from surpass.recipe import Learner, TrainConfig
from surpass.rollouts.seeds import derive_seed

FLOOR = -5.0  # log R of everything wrong


@dataclass(frozen=True, eq=False)
class Task:
    """A problem, who plays it, and everything that can be played."""

    name: str
    space_name: str  # what X is
    domain: Domain[Any]
    problem: Problem
    max_steps: int
    leaves: tuple[Trajectory, ...]
    reward: Reward
    policy: Learner
    reference: Tabular | LanguageModel
    steps: int = 200  # of training, where nobody says otherwise
    group: int = 32  # samples of a step
    sampled: bool = True  # learn from samples where any distribution would do; else from all of X, in every batch
    prefix_reward: Head | None = None  # where an action is a whole text
    classes: tuple[str, Callable[[Trajectory], Hashable]] | None = None  # a coarser space, by name

    @cached_property
    def space(self) -> Space:
        """X with the reference's and the reward's answers."""
        ended = None
        if isinstance(self.reference, LanguageModel):
            reference = self.reference
            cut = reference.truncated
            ended = [not any(cut(step.proposal) for step in leaf.steps) for leaf in self.leaves]
        return listed(self.leaves, self.reference, self.reward, floor=FLOOR, ended=ended)

    @cached_property
    def demonstrations(self) -> tuple[Trajectory, ...]:
        """The solutions, the last of n once and the first n times: skewed, so that imitating is not the posterior."""
        solved = [leaf for leaf in self.leaves if leaf.solved]
        return tuple(leaf for i, leaf in enumerate(solved) for _ in range(len(solved) - i))

    def counts(self) -> Tensor:
        """Return how often each element of X is demonstrated [N]."""
        place = {id(leaf): i for i, leaf in enumerate(self.leaves)}
        index = torch.tensor([place[id(leaf)] for leaf in self.demonstrations])
        return torch.bincount(index, minlength=len(self.leaves))


def brief(plays: Sequence[Trajectory], *, step: float = 0.0) -> Tensor:
    """Return log-rewards [B]: `step` less for each step of a success, `FLOOR` for a failure."""
    values = [-step * len(play.steps) if play.solved else FLOOR for play in plays]
    return torch.tensor(values, dtype=torch.float64)


def bits(seed: int) -> Task:
    """A table writes five bits."""
    domain = _near(("00000", "11011"))
    (problem,) = domain.problems("train")
    return _tabled("bits", "token sequences", domain, problem, 5, partial(log_return, floor=FLOOR), seed, sampled=True)


def _near(modes: tuple[str, str]) -> Letters:
    """Words of bits, worth exp(-d) at distance d from the nearer of two; at most one bit off they are solutions."""
    words = ["".join(word) for word in product("01", repeat=len(modes[0]))]
    worth = {word: exp(-min(sum(a != b for a, b in zip(word, mode, strict=True)) for mode in modes)) for word in words}
    return Letters(("0", "1"), len(modes[0]), worth, exp(-1.5))


def kernel(seed: int) -> Task:
    """A table proves a formula."""
    reward, problem = partial(brief, step=0.2), formula("A -> ~ A -> B")
    return _tabled("kernel", "scripts, proofs up to renaming", Kernel(), problem, 6, reward, seed)


def make24(seed: int) -> Task:
    """A table plays Game of 24 with three numbers."""
    same = "solutions up to normal form", _solution
    problem = game24.pose([1, 2, 12])
    return _tabled("game24", "token sequences", game24.Game24(), problem, 2, brief, seed, classes=same)


def blocksworld(seed: int) -> Task:
    """A table moves blocks."""
    start = ["(on a b)", "(ontable b)", "(ontable c)", "(clear a)", "(clear c)", "(handempty)"]
    asked = Towers(("a", "b", "c"), frozenset(map(atom, start)), frozenset({atom("(on a c)")}), "swap")
    return _tabled("blocksworld", "plans", BlocksWorld(), tower(asked), 4, partial(brief, step=0.2), seed)


def _solution(play: Trajectory) -> Hashable:
    return game24.key(play) if play.solved else play.actions


def _tabled(  # noqa: PLR0913 - the fields of a task
    name: str,
    space_name: str,
    domain: Domain[Any],
    problem: Problem,
    max_steps: int,
    reward: Reward,
    seed: int,
    *,
    sampled: bool = False,
    classes: tuple[str, Callable[[Trajectory], Hashable]] | None = None,
) -> Task:
    leaves = tuple(trajectories(domain, problem, max_steps))
    seen = {step.observation.text: len(step.observation.legal or ()) for leaf in leaves for step in leaf.steps}
    rows, width = len(seen), max(seen.values())
    reference = Tabular(rows=rows, width=width, scale=1.0, seed=derive_seed(0, "audit", name)).double().frozen_copy()
    policy = Tabular(rows=rows, width=width, scale=0.5, seed=derive_seed(seed, "audit", name)).double()
    return Task(
        name,
        space_name,
        domain,
        problem,
        max_steps,
        leaves,
        reward,
        policy,
        reference,
        sampled=sampled,
        classes=classes,
    )


def bit_words(seed: int) -> Task:
    """A transformer writes a word of bits."""
    words = ["".join(word) for length in range(1, 5) for word in product("01", repeat=length)]
    worth = {word: exp(-sum(a == b for a, b in pairwise(word))) for word in words}
    return _written("bit_words", Word(worth, exp(-0.5), START), "01", 5, seed)


def integer(seed: int) -> Task:
    """A transformer names a whole number."""
    return _written("integer", Word({str(number): 1.0 for number in range(20)}, 1.0, START), "0123456789", 3, seed)


def letters(seed: int) -> Task:
    """A transformer writes three bits, one at a time."""
    return _written("letters", _near(("000", "100")), "01", 2, seed)


def _written(name: str, domain: Word | Letters, alphabet: str, longest: int, seed: int) -> Task:
    (problem,) = domain.problems("train")
    policy = small_model(alphabet, longest, seed=derive_seed(seed, "audit", name) % 2**31)
    task = Task(
        name,
        "token sequences",
        domain,
        problem,
        domain.length if isinstance(domain, Letters) else 1,
        tuple(texts(domain, policy)),
        partial(log_return, floor=FLOOR),
        policy,
        policy,
        steps=300,
        group=64,
    )
    if isinstance(domain, Word):
        task = replace(task, prefix_reward=partial(prefix_reward, domain=domain, policy=policy, floor=FLOOR))
    numbers = TrainConfig(steps=20, learning_rate=2e-3, schedule="cosine", seed=seed)
    learn(task, likelihood, numbers, demonstrations=task.demonstrations)
    return replace(task, reference=policy.frozen_copy())


TASKS: dict[str, Callable[[int], Task]] = {
    "bits": bits,
    "kernel": kernel,
    "game24": make24,
    "blocksworld": blocksworld,
    "integer": integer,
    "letters": letters,
    "bit_words": bit_words,
}
WHOLE = ("bit_words", "integer")  # those whose actions are whole texts
WRITTEN = (*WHOLE, "letters")  # by transformers
