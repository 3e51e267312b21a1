"""A policy that is a table: one vector of logits for each observation, over its exact legal actions.

The smallest trainable policy. It can represent every distribution over trajectories (with the history in the text), so
a learning objective that misses its fixed point here is wrong rather than short of capacity. Nothing generalises from
one observation to another, and domains without exact legal actions are not served.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor, nn

from surpass.core import Observation, Proposal, Step, Trajectory
from surpass.errors import ConfigError, ModelError

UNRESOLVED = -1  # the token of an action whose index is to be looked up in `Observation.legal`


class Tabular(nn.Module):
    """A `surpass.core.Trainable`: `softmax(table[row of the observation])` over `Observation.legal`.

    An action is one token, its index in `legal`. Rows are given out as observations are met, from a table of fixed size
    so that an optimiser made before the first proposal holds all there is to train. A row starts at `scale` times
    standard normal numbers drawn from the observation and `seed`, whatever was met before it: with `scale=0`, uniform.
    `merge=True` tells observations apart by `Observation.key` instead of the text: states that a search may merge then
    share a row.
    """

    def __init__(
        self, *, rows: int = 4096, width: int = 32, scale: float = 0.0, seed: int = 0, merge: bool = False
    ) -> None:
        """Make a table of at most `rows` observations with at most `width` legal actions each."""
        super().__init__()
        self.table = nn.Parameter(torch.zeros(rows, width))
        self.met: dict[str, tuple[int, tuple[str, ...]]] = {}  # text or key: its row and its legal actions
        self.scale, self.seed, self.merge = scale, seed, merge
        self.temperature = 1.0

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` independent draws for each observation, at this view's temperature; `logp` is at temperature 1.

        Raises ModelError where legal actions are not exact or do not fit the table.
        """
        met = [self._row(observation) for observation in observations]
        known: dict[int, tuple[list[float], np.ndarray[tuple[int], np.dtype[np.float64]]]] = {}
        answer = []
        for (row, legal), seed in zip(met, seeds, strict=True):
            if not legal:
                answer.append(list[Proposal]())
                continue
            if row not in known:  # many rows of a batch see the same
                known[row] = self._chances(row, len(legal))
            logp, heap = known[row]
            draws = heap.searchsorted(np.random.default_rng(seed).random(n), side="right").tolist()
            answer.append([Proposal(legal[i], logp[i], (i,)) for i in draws])
        return answer

    def _chances(self, row: int, legal: int) -> tuple[list[float], np.ndarray[tuple[int], np.dtype[np.float64]]]:
        """Return log-probabilities at temperature 1, and the cumulative distribution at this view's temperature."""
        values = self.table.detach()[row, :legal].double().cpu().numpy()
        logp, tempered = (_log_softmax(values / t) for t in (1.0, self.temperature))
        heap = np.exp(tempered).cumsum()
        return logp.tolist(), heap / heap[-1]

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log-probabilities [B, T] at temperature 1, with gradient; T is the most steps of a trajectory.

        Raises ModelError where an action is not legal.
        """
        steps = [(b, t, step) for b, trajectory in enumerate(trajectories) for t, step in enumerate(trajectory.steps)]
        longest = max((len(trajectory.steps) for trajectory in trajectories), default=0)
        if not steps:
            return self.table.new_zeros(len(trajectories), longest)
        met = [self._row(step.observation) for _, _, step in steps]
        chosen = [_index(step, legal) for (_, _, step), (_, legal) in zip(steps, met, strict=True)]
        device = self.table.device
        counts = torch.tensor([len(legal) for _, legal in met], device=device)
        outside = torch.arange(self.table.shape[1], device=device) >= counts[:, None]
        logits = self.table[[row for row, _ in met]].masked_fill(outside, -torch.inf)
        values = logits.log_softmax(dim=1)[torch.arange(len(steps), device=device), torch.tensor(chosen, device=device)]
        at = torch.tensor([b * longest + t for b, t, _ in steps], device=device)
        flat = values.new_zeros(len(trajectories) * longest).index_put((at,), values)
        return flat.view(len(trajectories), longest)

    def encode(self, action: str) -> tuple[int, ...]:
        """Return one unresolved token: an action's index needs its observation, so `logp` looks it up."""
        del action
        return (UNRESOLVED,)

    def frozen_copy(self) -> Tabular:
        """Return an independent copy without gradients, to serve as a reference."""
        return copy.deepcopy(self).requires_grad_(False).eval()

    def tempered(self, temperature: float) -> Tabular:
        """Return a view that shares the table and samples at a temperature. Raises ConfigError unless positive."""
        if not temperature > 0:
            raise ConfigError(f"expected a positive temperature, found {temperature}: for greedy play use a small one")
        view = copy.copy(self)
        view.temperature = temperature
        return view

    def get_extra_state(self) -> Tensor:
        """Return which observation owns which row, as bytes of JSON: every checkpoint format holds tensors."""
        return torch.tensor(list(json.dumps(self.met).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` returned, in place: tempered views go on sharing it."""
        met = json.loads(bytes(state.tolist()))
        self.met.clear()
        self.met.update({key: (row, tuple(legal)) for key, (row, legal) in met.items()})

    def _row(self, observation: Observation) -> tuple[int, tuple[str, ...]]:
        """Return the row of an observation and its legal actions; a new one takes the next free row."""
        key, legal = observation.key if self.merge else observation.text, observation.legal
        if legal is None:
            raise ModelError("expected exact legal actions, found legal=None: use a domain that lists them (canonical)")
        known = self.met.get(key)
        if known is not None:
            if known[1] != legal:
                raise ModelError(
                    f"expected the legal actions {known[1]} that came with the same observation before, found {legal}: "
                    f"observations must tell states apart ({'merge=False' if self.merge else 'show the history'})"
                )
            return known
        rows, width = self.table.shape
        if len(self.met) >= rows or len(legal) > width:
            raise ModelError(
                f"expected at most {rows} observations with {width} legal actions each, found one more observation or "
                f"{len(legal)} actions: make Tabular(rows=..., width=...) larger"
            )
        row = len(self.met)
        if self.scale:
            digest = blake2b(f"{self.seed}\n{key}".encode(), digest_size=8).digest()
            start = np.random.default_rng(int.from_bytes(digest)).standard_normal(width)
            with torch.no_grad():
                self.table[row] = torch.from_numpy(self.scale * start).to(self.table)
        self.met[key] = row, legal
        return self.met[key]


def _index(step: Step, legal: tuple[str, ...]) -> int:
    action, tokens = step.proposal.action, step.proposal.tokens
    if len(tokens) == 1 and 0 <= tokens[0] < len(legal) and legal[tokens[0]] == action:
        return tokens[0]
    if action not in legal or tokens not in ((), (UNRESOLVED,)):
        raise ModelError(
            f"expected one of {legal} with its index as the one token, found {action!r} with tokens {tokens}: "
            "score only trajectories of legal actions, sampled here or without tokens"
        )
    return legal.index(action)


def _log_softmax(logits: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
