"""A language model of transcripts as a player: it reads the moves so far and gives the next one.

Any causal network of transformers will do that takes positions and an attention mask; nothing else of it is used. Its
tokens are those of `tokens.Moves`, one for each move; the paper's characters are `character_player.py`'s. `memory.py`
keeps what it has read of hundreds of games, so that a move costs the few tokens that are new. It changes no answer: a
row depends on its observation and seed alone (in float32 within about 1e-5 of log-probability).

A model of `tokens.Moves` also writes how games end. That it draws the result in which the side to move has lost is
taken for its resignation; what result it would write, were the game to end now, is its value of a position: an
estimate that nothing has calibrated.

Illegal moves: sampled raw they are the arena's to count; with `legal_only` the distribution is cut down to the legal
moves and renormalised, exactly. A game that does not begin in the initial position is read as if it did: the moves
since its FEN are all that the model sees, for a model of transcripts cannot know a history that it is not told. A
transcript longer than the context loses its beginning, half a context at a time, so that not every move is read anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surpass.core import Observation, Proposal, Scored
from surpass.domains.chess.arena import LOST, RESIGN
from surpass.domains.chess.memory import Memory
from surpass.domains.chess.tokens import Moves, Play, Vocabulary
from surpass.errors import ConfigError, ModelError
from surpass.models.packing import Tokens, right_padded
from surpass.rollouts.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Choice:
    """How a move is drawn. Temperature 0 takes the likeliest; `top_p` and `typical` keep a set of that mass.

    Locally typical sampling (Meister et al. 2022, arXiv 2202.00666) keeps the moves whose surprise is nearest to the
    entropy. Both cuts are made after the temperature; the legal moves, where only they are wanted, are cut out before.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    typical: float = 1.0
    legal_only: bool = False
    resigns: bool = False  # among legal moves: it may resign, too, with the probability that it has raw

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < math.inf and 0 < self.top_p <= 1 and 0 < self.typical <= 1):
            raise ConfigError(f"expected temperature >= 0, and top_p and typical in (0, 1], found {self}")


def draw(logp: Tensor, numbers: Tensor, choice: Choice) -> Tensor:
    """Return the index [B] that each number in [0, 1) draws from log-probabilities [B, V]; -inf is never drawn."""
    if choice.temperature == 0:
        return logp.argmax(-1)
    mass = masses(logp, choice)
    heap = mass.cumsum(-1)
    index = torch.searchsorted(heap, numbers.double()[:, None] * heap[:, -1:], right=True)
    last = torch.where(mass > 0, torch.arange(mass.shape[-1], device=mass.device), 0).amax(-1, keepdim=True)
    return torch.minimum(index, last)[:, 0]  # a number that rounds up to the whole mass


def masses(logp: Tensor, choice: Choice) -> Tensor:
    """Return what log-probabilities [B, V] are drawn in proportion to; float64, their sums are at most 1."""
    if choice.temperature == 0:
        return torch.nn.functional.one_hot(logp.argmax(-1), logp.shape[-1]).double()
    # The greatest becomes 0, so that no temperature overflows.
    mass = ((logp.double() - logp.max(-1, keepdim=True).values) / choice.temperature).softmax(-1)
    if choice.top_p < 1:
        mass = _nearest(mass, -mass, choice.top_p)
    if choice.typical < 1:
        surprise = -mass.log()
        entropy = torch.where(mass > 0, mass * surprise, 0.0).sum(-1, keepdim=True)
        mass = _nearest(mass, (surprise - entropy).abs(), choice.typical)
    return mass


def _nearest(mass: Tensor, distance: Tensor, share: float) -> Tensor:
    """Keep the outcomes of least distance until they hold a share of the mass; the first always stays."""
    order = distance.argsort(dim=-1, stable=True)
    ranked = mass.gather(-1, order)
    heap = ranked.cumsum(-1)
    return torch.zeros_like(mass).scatter(-1, order, ranked * (heap - ranked < share * heap[:, -1:]))


class ModelPlayer:
    """A policy and scorer over chess observations in UCI notation, for a model with one token a move."""

    def __init__(
        self,
        network: PreTrainedModel,
        vocabulary: Moves,
        choice: Choice = Choice(),
        *,
        strengths: tuple[int | None, int | None] = (None, None),
        cached: bool = True,
    ) -> None:
        self.network, self.vocabulary, self.choice = network, vocabulary, choice
        network.train(False)
        self.strengths, self.cached = strengths, cached
        self.context = context(network, vocabulary)
        self._head = tuple(vocabulary.encode(Play((), "*", strengths))[:-1])
        self._memories = (Memory(network), Memory(network))  # new games by seat: what one call asks for stands together

    def with_choice(self, choice: Choice) -> Self:
        """Return a player with the same weights that draws its moves otherwise, with a memory of its own."""
        return type(self)(self.network, self.vocabulary, choice, strengths=self.strengths, cached=self.cached)

    def with_strengths(self, strengths: tuple[int | None, int | None]) -> Self:
        """Return a player that is told White's and Black's ratings, with a memory of its own."""
        return type(self)(self.network, self.vocabulary, self.choice, strengths=strengths, cached=self.cached)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` drawn moves for each observation; a token that is no move is proposed as it is spelt.

        The log-probability is that of the move at temperature 1, among the legal moves if only they are wanted.
        """
        if not observations:
            return []
        logits = self._logits(observations)
        logp, moves = self._distributions(
            observations, logits, legal_only=self.choice.legal_only, resigns=self.choice.resigns
        )
        numbers = [[derive_seed(seed, "draw", number) / 2**63 for number in range(n)] for seed in seeds]
        columns = list[tuple[list[int], list[float]]]()
        for column in zip(*numbers, strict=True):
            chosen = draw(logp, torch.tensor(column), self.choice)
            columns.append((chosen.tolist(), logp.gather(-1, chosen[:, None])[:, 0].tolist()))
        return [
            [Proposal(_said(moves[row][chosen[row]], one.seat), values[row]) for chosen, values in columns]
            for row, one in enumerate(observations)
        ]

    def chances(self, observations: Sequence[Observation], choices: Sequence[Choice]) -> list[list[dict[str, float]]]:
        """Return the probability of each legal move under each choice, by observation, then by choice.

        One draw is meant: what is missing to 1 goes to what is no legal move. Needs the legal moves of observations.
        """
        if not observations:
            return []
        logits = self._logits(observations)
        rows: list[list[dict[str, float]]] = [[] for _ in observations]
        for choice in choices:
            logp, moves = self._distributions(observations, logits, legal_only=choice.legal_only)
            mass = masses(logp, choice)
            shares = (mass / mass.sum(-1, keepdim=True)).tolist()
            for row, (one, share) in enumerate(zip(observations, shares, strict=True)):
                place = {move: at for at, move in enumerate(moves[row])} if choice.legal_only else self.vocabulary.place
                rows[row].append({move: share[place[move]] for move in one.legal or () if share[place[move]] > 0})
        return rows

    def prompts(self, observations: Sequence[Observation]) -> list[Tokens]:
        """Return what the network reads of each observation, cut to its context."""
        return [window(self._prompt(one.text), self.context, len(self._head)) for one in observations]

    def score(self, observations: Sequence[Observation]) -> list[Scored]:
        """Return the policy over the legal moves of each observation, and what each seat may expect of the result.

        Raises ModelError for an observation without legal moves.
        """
        if not observations:
            return []
        logits = self._logits(observations)
        logp, moves = self._distributions(observations, logits, legal_only=True)
        ends = self._ends(logits)
        return [
            Scored(tuple(row[: len(legal)]), (white + draw / 2, black + draw / 2))
            for row, legal, (white, draw, black) in zip(logp.exp().tolist(), moves, ends, strict=True)
        ]

    def results(self, observations: Sequence[Observation]) -> list[tuple[float, float, float]]:
        """Return how likely the model would write 1-0, 1/2-1/2 and 0-1, were the games to end now; they sum to 1."""
        return self._ends(self._logits(observations)) if observations else []

    def _ends(self, logits: Tensor) -> list[tuple[float, float, float]]:
        ids = [self.vocabulary.place[result] for result in ("1-0", "1/2-1/2", "0-1")]
        return [(white, draw, black) for white, draw, black in logits[:, ids].softmax(-1).tolist()]

    def _distributions(
        self, observations: Sequence[Observation], logits: Tensor, *, legal_only: bool, resigns: bool = False
    ) -> tuple[Tensor, list[Sequence[str]]]:
        """Return log-probabilities [B, M] and, by row, the moves that they are of: all tokens, or the legal moves."""
        if not legal_only:
            return logits.log_softmax(-1), [self.vocabulary.names] * len(observations)
        legal: list[Sequence[str]] = [one.legal or () for one in observations]
        if not all(legal):
            raise ModelError("choosing among legal moves needs the legal moves of every observation, found none in one")
        width = max(map(len, legal))
        ids = [[self.vocabulary.place[move] for move in moves] + [-1] * (width - len(moves)) for moves in legal]
        where = torch.tensor(ids)
        chosen = logits.gather(-1, where.clamp(min=0)).masked_fill(where < 0, -torch.inf)
        moving = chosen.log_softmax(-1)
        if not resigns:
            return moving, legal
        # To resign is as likely as raw: what is illegal goes to the moves alone, or few legal moves would mean despair.
        ends = torch.tensor([[self.vocabulary.place[LOST[one.seat]]] for one in observations])
        gives_up = logits.log_softmax(-1).gather(-1, ends)
        stays = torch.log1p(-gives_up.exp().clamp(max=1 - 1e-6))
        filled: list[Sequence[str]] = [
            (*moves, *[""] * (width - len(moves)), LOST[one.seat])
            for moves, one in zip(legal, observations, strict=True)
        ]
        return torch.cat([moving + stays, gives_up], dim=-1), filled

    @torch.inference_mode()
    def _logits(self, observations: Sequence[Observation]) -> Tensor:
        """Return the logits [B, V] of the next token, float32 on the CPU."""
        prompts = self.prompts(observations)
        size = self.vocabulary.size  # a network may have more outputs, to fill a block
        if self.cached:
            memory_of = [self._remembers(prompt, one.seat) for prompt, one in zip(prompts, observations, strict=True)]
            found = torch.empty(len(prompts), size)
            for memory in self._memories:
                rows = [row for row, one in enumerate(memory_of) if one is memory]
                if rows:
                    found[rows] = memory.read([prompts[row] for row in rows])[:, :size].cpu()
        else:
            ids, lengths = right_padded(prompts, self.vocabulary.pad)  # no token sees what stands behind it
            logits = self.network(input_ids=ids.to(self.network.device), use_cache=False).logits
            found = logits[torch.arange(len(prompts)), lengths - 1, :size].float().cpu()
        if not torch.isfinite(found).all():
            raise ModelError("the model gave logits that are not finite: its weights are damaged or diverged")
        return found

    def _prompt(self, text: str) -> Tokens:
        moves = text.partition("\n")[2] if text.startswith("[FEN") else text
        return (*self._head, *(self.vocabulary.place[move] for move in moves.split()))

    def _remembers(self, prompt: Tokens, seat: int) -> Memory:
        """Return the memory that a game is in or, if in none, should go to."""
        return next((one for one in self._memories if one.find(prompt) is not None), self._memories[seat])


def _said(word: str, seat: int) -> str:
    """Return what a drawn word means in the arena: the result in which one has lost is one's resignation."""
    return RESIGN if word == LOST[seat] else word


def context(network: PreTrainedModel, vocabulary: Vocabulary) -> int:
    """Return how many tokens a network reads. Raises ModelError where it does not fit the vocabulary."""
    config = network.config.to_dict()
    outputs = int(config.get("vocab_size") or 0)
    if outputs < vocabulary.size:
        raise ModelError(f"expected a network with {vocabulary.size} outputs for its vocabulary, found {outputs}")
    found = int(config.get("max_position_embeddings") or config.get("n_positions") or 1 << 30)
    if found < 16:
        raise ModelError(f"expected a context of 16 tokens or more, found {found}")
    return found


def window(tokens: Tokens, room: int, head: int) -> Tokens:
    """Return the first `head` tokens and the last ones, as many as a context holds, cut in steps of half a context.

    >>> window((0, 1, 2, 3, 4, 5), 5, 1)
    (0, 3, 4, 5)
    """
    over, half = len(tokens) - room, max(1, (room - head) // 2)
    return tokens if over <= 0 else (*tokens[:head], *tokens[head + half * -(-over // half) :])
