"""Exploration: the policy that acts in a training step, where that is not the policy itself.

Balance objectives learn from trajectories of any policy with full support, so the one that acts may be tempered, or
take a uniform action now and then. What is recorded stays true: a proposal's log-probability is the policy's own at
temperature 1, or None where another hand chose; learning computes it anew either way.

    with chance `temper_probability`     the whole step samples at a temperature from U(temper_low, temper_high)
    with chance `epsilon`                an action is uniform among the legal ones
    with chance `token_epsilon`          a token is uniform in the vocabulary

Sources: tempered sampling as in Proof Flow (Ho et al. 2024, arXiv 2410.13224); epsilon-uniform as in Bengio et al. 2021
(arXiv 2106.04399). Not here: replay, and searches that explore (`search/local.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from surpass.core import Observation, Policy, Proposal
from surpass.errors import ConfigError
from surpass.objectives.batch import Metrics
from surpass.rollouts.seeds import derive_seed
from surpass.schedules import Constant, Schedule

if TYPE_CHECKING:
    from surpass.recipe import Learner


NEVER, QUARTER, ONE = Constant(0.0), Constant(0.25), Constant(1.0)


@runtime_checkable
class Roams(Protocol):
    """A policy over tokens that can mix its next token with a uniform one."""

    def roaming(self, epsilon: float, /) -> Policy: ...


@dataclass(frozen=True, slots=True)
class Exploration:
    """When to act how, as schedules of the step; the numbers of `TrainConfig` are the usual one."""

    temper_probability: Schedule = NEVER
    temper_low: Schedule = QUARTER
    temper_high: Schedule = ONE
    epsilon: Schedule = NEVER
    token_epsilon: Schedule = NEVER

    def policy(self, policy: Learner, step: int, *, rng: Random) -> tuple[Policy, Metrics]:
        """Return the policy that acts in this step, and what to record of it.

        Raises ConfigError for chances that are none, or `token_epsilon` of a policy that cannot roam.
        """
        probability, epsilon, token_epsilon = (
            _chance(schedule(step), step) for schedule in (self.temper_probability, self.epsilon, self.token_epsilon)
        )
        tempered = rng.random() < probability
        temperature = rng.uniform(self.temper_low(step), self.temper_high(step)) if tempered else 1.0
        acting: Policy = policy.tempered(temperature) if tempered else policy
        told = {"temperature": temperature}
        if token_epsilon:
            if not isinstance(acting, Roams):
                raise ConfigError(f"token_epsilon needs a policy over tokens, {type(acting).__name__} cannot roam")
            acting, told = acting.roaming(token_epsilon), told | {"token_epsilon": token_epsilon}
        if epsilon:
            acting, told = Straying(acting, policy, epsilon), told | {"epsilon": epsilon}
        return acting, told


def _chance(value: float, step: int) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"exploration: expected a chance between 0 and 1, found {value} at step {step}")
    return value


class Encodes(Protocol):
    """What gives an action its tokens."""

    def encode(self, action: str) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Straying:
    """A policy that takes a uniform legal action with chance `epsilon`, proposal by proposal.

    The policy is asked for all proposals and pays for all; the strayed ones take the place of some. They have tokens
    (of `encoder`) but no log-probability. Raises ConfigError where legal actions are not exact.
    """

    policy: Policy
    encoder: Encodes
    epsilon: float

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return what the policy proposes, here and there replaced."""
        rows = self.policy.propose(observations, n, seeds=seeds)
        return [self._row(*one) for one in zip(observations, rows, seeds, strict=True)]

    def _row(self, observation: Observation, row: Sequence[Proposal], seed: int) -> list[Proposal]:
        if observation.legal is None:
            raise ConfigError("epsilon needs exact legal actions, found legal=None; use token_epsilon over tokens")
        rng = Random(derive_seed(seed, "stray"))
        return [self._stray(observation.legal, rng) if rng.random() < self.epsilon else one for one in row]

    def _stray(self, legal: Sequence[str], rng: Random) -> Proposal:
        action = rng.choice(legal)
        return Proposal(action, None, self.encoder.encode(action))
