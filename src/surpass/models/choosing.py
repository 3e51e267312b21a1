"""A language model that chooses among the allowed actions instead of writing freely, as in Flow of Reasoning.

P_F(a | s) is proportional to the model's likelihood of the text a over the exact legal actions of s (Yu et al. 2024,
arXiv 2406.05673), so a weak model never spends a step on what cannot be done. Every legal action is scored in one row
behind the prompt that they share. Domains without exact legal actions are not served: there a model writes (`hf.py`).

Legend: a_1 .. a_T the tokens of a, the end marker included; M(p) the mass of all legal actions that begin with p.
Token t counts for log M(a_1 .. a_t) - log M(a_1 .. a_{t-1}): they add up to log P_F(a | s).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from surpass.core import Observation, Proposal, Step, Trajectory
from surpass.errors import ConfigError, ModelError
from surpass.models.hf import LanguageModel

Tokens = tuple[int, ...]


class Chooser:
    """A `surpass.core.Trainable` and a `surpass.recipe.Learner` around a language model, whose weights it shares."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.temperature = 1.0

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` independent draws for each observation, at this view's temperature; `logp` is at temperature 1.

        Raises ModelError where legal actions are not exact.
        """
        with torch.no_grad():
            tokens, scores = self._scored(observations)
        answer = []
        for observation, spelt, values, seed in zip(observations, tokens, scores, seeds, strict=True):
            legal = observation.legal or ()
            if not legal:
                answer.append(list[Proposal]())
                continue
            logp, tempered = (values.double().div(t).log_softmax(0).numpy() for t in (1.0, self.temperature))
            draws = np.random.default_rng(seed).choice(len(legal), size=n, p=np.exp(tempered) / np.exp(tempered).sum())
            answer.append([Proposal(legal[i], float(logp[i]), spelt[i]) for i in draws])
        return answer

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log-probabilities [B, T] at temperature 1, with gradient. Raises ModelError for what is not legal."""
        steps = [step for trajectory in trajectories for step in trajectory.steps]
        tokens, scores = self._scored([step.observation for step in steps])
        pieces = iter([_by_token(*one) for one in zip(steps, tokens, scores, strict=True)])
        empty = torch.zeros(0)
        rows = [torch.cat([empty, *(next(pieces) for _ in trajectory.steps)]) for trajectory in trajectories]
        return pad_sequence(rows, batch_first=True) if rows else empty.reshape(0, 0)

    def encode(self, action: str) -> Tokens:
        """Return the model's tokens of an action."""
        return self.model.encode(action)

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.model.parameters()

    def state_dict(self) -> Mapping[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        self.model.load_state_dict(state_dict)

    def frozen_copy(self) -> Chooser:
        """Return an independent copy without gradients, to serve as a reference."""
        return Chooser(self.model.frozen_copy())

    def tempered(self, temperature: float, /) -> Chooser:
        """Return a view that shares the weights and chooses at a temperature. Raises ConfigError unless positive."""
        if not temperature > 0:
            raise ConfigError(f"expected a positive temperature, found {temperature}: for greedy play use a small one")
        view = copy.copy(self)
        view.temperature = temperature
        return view

    def _scored(self, observations: Sequence[Observation]) -> tuple[list[list[Tokens]], list[Tensor]]:
        """Return the tokens and the model's log-likelihood [legal] of every legal action of each observation."""
        for observation in observations:
            if observation.legal is None:
                raise ModelError("expected exact legal actions, found legal=None: use a domain that lists them")
        tokens = [[self.encode(action) for action in observation.legal or ()] for observation in observations]
        prompts = self.model.prompts(observations)
        pairs = [(prompt, one) for prompt, spelt in zip(prompts, tokens, strict=True) for one in spelt]
        totals = iter([piece.sum() for piece in self.model.logp_pairs(*zip(*pairs, strict=True))] if pairs else [])
        scores = [torch.stack([next(totals) for _ in spelt]) if spelt else torch.zeros(0) for spelt in tokens]
        return tokens, scores


def _by_token(step: Step, tokens: Sequence[Tokens], scores: Tensor) -> Tensor:
    """Return what each token of the chosen action counts for [T]: how much of the probability it leaves."""
    chosen = step.proposal.tokens
    if not chosen and step.proposal.action in (step.observation.legal or ()):
        chosen = tokens[(step.observation.legal or ()).index(step.proposal.action)]
    if chosen not in tokens:
        raise ModelError(f"expected one of {step.observation.legal}, found {step.proposal.action!r} with {chosen}")
    logp = scores.log_softmax(0)
    left = [logp.new_zeros(())]
    for t in range(1, len(chosen) + 1):
        left.append(logp[[one[:t] == chosen[:t] for one in tokens]].logsumexp(0))
    mass = torch.stack(left)
    return mass[1:] - mass[:-1]
