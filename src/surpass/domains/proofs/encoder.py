"""A small dual encoder: goals and premises as vectors, trained on which premises human proofs have used.

    e(text) = normalise(W s + s),   s = sum_w idf(w) E[hash(w)]        one table E for both, one W for each side
    score(goal, premise) = e_goal . e_premise / tau

    loss = - log  exp score(g, p+) / sum_p exp score(g, p)       p: what the batch holds, but other premises that g uses

Contrastive, as dense passage retrieval (Karpukhin et al. 2020, arXiv 2004.04906) and ReProver's retriever (Yang et al.
2023, arXiv 2306.15626), whose negatives come from what is accessible, too. At first W = 0 and E is random, so that it
begins as a cosine of weighted words. Words are hashed: names that were never seen still have a place, and their pieces
are shared with others. Not here: what is accessible, and BM25 (`retrieval.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from random import Random
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from surpass.core import Problem
from surpass.domains.proofs.retrieval import Demand, Premise, Scores, focus, order, words
from surpass.errors import DataError

BUCKETS = 1 << 15  # of the hash; collisions are noise
HARD = 32  # premises that are ranked best: where hard negatives come from


class DualEncoder(nn.Module):
    """Two towers over one table of words; `rank` is a `retrieval.Rank`."""

    def __init__(self, premises: Iterable[Premise], *, width: int = 128, tau: float = 0.07, seed: int = 0) -> None:
        """Weigh words by how rare they are among `premises`, which need not be those that are ranked later."""
        super().__init__()
        self.tau = tau
        texts = [set(_buckets(one.line)) for one in premises]
        seen = Counter(bucket for text in texts for bucket in text)
        frequency = torch.tensor([float(seen[bucket]) for bucket in range(BUCKETS)])
        self.register_buffer("idf", torch.log((1 + len(texts)) / (1 + frequency)))
        self.table = nn.EmbeddingBag(BUCKETS, width, mode="sum")
        nn.init.normal_(self.table.weight, std=width**-0.5, generator=torch.Generator().manual_seed(seed))
        self.sides = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])  # goal, premise
        for parameter in self.sides.parameters():
            nn.init.zeros_(parameter)
        self._vectors: dict[Premise, Tensor] = {}  # of the weights as they are
        self._last: tuple[Sequence[Premise], Tensor] = ((), torch.zeros(0))

    def forward(self, texts: Sequence[str], side: int) -> Tensor:
        """Return unit vectors [B, d] of goals (side 0) or premises (side 1)."""
        rows = [_buckets(text) for text in texts]
        flat = torch.tensor([bucket for row in rows for bucket in row], dtype=torch.int64)
        starts = torch.tensor([0, *accumulate(len(row) for row in rows[:-1])], dtype=torch.int64)
        summed = self.table(flat, starts, per_sample_weights=self.get_buffer("idf")[flat])
        return functional.normalize(summed + self.sides[side](summed), dim=1, eps=1e-6)

    @torch.no_grad()
    def rank(self, problem: Problem, goals: str, accessible: Sequence[Premise]) -> Scores:
        """Return the cosine of the first goal with each premise."""
        del problem
        if not accessible:
            return np.zeros(0, dtype=np.float32)
        if self._last[0] is not accessible:  # goals of one problem come together, and share what is accessible
            fresh = [one for one in accessible if one not in self._vectors]
            for begin in range(0, len(fresh), 4096):
                some = fresh[begin : begin + 4096]
                self._vectors.update(zip(some, self([one.line for one in some], 1), strict=True))
            self._last = (accessible, torch.stack([self._vectors[one] for one in accessible]))
        scores: Scores = (self._last[1] @ self([focus(goals)], 0)[0]).numpy()
        return scores

    def forget(self) -> None:
        """Drop the vectors of premises: the weights have changed."""
        self._vectors.clear()
        self._last = ((), torch.zeros(0))


def fit(
    encoder: DualEncoder,
    demands: Sequence[Demand],
    *,
    epochs: int = 8,
    batch: int = 32,
    negatives: int = 8,
    rate: float = 2e-3,
    seed: int = 0,
) -> list[float]:
    """Train in place and return the mean loss of each epoch.

    A goal of a batch has one of its premises, drawn anew in each epoch, and `negatives` accessible ones, half at random
    and half from those that the encoder itself ranks best as the epoch begins. All premises of the batch are candidates
    of all its goals. Raises DataError without demands.
    """
    if not demands:
        raise DataError("expected goals with the premises that their proofs used, found none to train an encoder on")
    chance = Random(seed)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=rate)
    losses = []
    for _ in range(epochs):
        shuffled = [(one, _mistakes(encoder, one)) for one in demands]
        encoder.forget()
        chance.shuffle(shuffled)
        batches = [shuffled[i : i + batch] for i in range(0, len(shuffled), batch)]
        total = 0.0
        for some in batches:
            loss = _loss(encoder, some, negatives, chance)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.item()
        losses.append(total / len(batches))
    encoder.forget()
    return losses


def _mistakes(encoder: DualEncoder, demand: Demand) -> list[int]:
    """Return the premises that the encoder ranks best, as it is, but those that were used."""
    best = order(encoder.rank(demand.problem, demand.goals, demand.accessible))[:HARD].tolist()
    return [index for index in best if index not in demand.used]


def _loss(encoder: DualEncoder, some: Sequence[tuple[Demand, Sequence[int]]], negatives: int, chance: Random) -> Tensor:
    demands = [demand for demand, _ in some]
    chosen = [one.accessible[chance.choice(sorted(one.used))] for one in demands]
    others = [
        one.accessible[chance.choice(hard) if hard and i % 2 else chance.randrange(len(one.accessible))]
        for one, hard in some
        for i in range(negatives)
    ]
    candidates = list(dict.fromkeys([*chosen, *others]))
    column = {one: at for at, one in enumerate(candidates)}
    goals, premises = encoder([focus(one.goals) for one in demands], 0), encoder([one.line for one in candidates], 1)
    scores = goals @ premises.T / encoder.tau
    also = torch.zeros(scores.shape, dtype=torch.bool)  # premises of the goal beside the one that was drawn
    for row, (demand, one) in enumerate(zip(demands, chosen, strict=True)):
        for index in demand.used:
            if (other := demand.accessible[index]) != one and other in column:
                also[row, column[other]] = True
    target = torch.tensor([column[one] for one in chosen])
    return functional.cross_entropy(scores.masked_fill(also, -torch.inf), target)


@lru_cache(maxsize=1 << 16)
def _buckets(text: str) -> tuple[int, ...]:
    """Return the places of the words of a text; a text without words has one all the same."""
    return tuple(crc32(word.encode()) % BUCKETS for word in words(text)) or (0,)
