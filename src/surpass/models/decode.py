"""Batched sampling with a key-value cache, one random stream per sample.

Each distinct prompt is read once. Its samples grow side by side in one cache row (see `packing.py`), so n samples cost
one prompt in memory and time; finished samples leave the batch, finished prompts leave the cache. A sequence-to-
sequence model reads the prompt once too, then takes one cache row per sample.

The token at step t of sample j under seed s inverts the cumulative distribution at the t-th number of the stream
Philox(s, j): what a sample becomes does not depend on what else is in the batch, except where rounding (about 1e-6 of
probability in float32) moves a boundary across that number. Log-probabilities are those of the untempered model
whatever temperature or nucleus was sampled from.

Legend: B rows, Q samples side by side, D samples alive, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import BaseModelOutput

from surpass.errors import ConfigError
from surpass.models.packing import (
    NOBODY,
    PROMPT,
    Tokens,
    additive,
    causal_visible,
    chunks,
    encoder_states,
    left_padded,
)

SIDE_BY_SIDE = 32  # samples of one prompt in one row; more take another row
ROOM = 256  # columns a cache row grows by; copying the cache at every token would cost more than attention


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest token; `top_p` keeps the smallest set of that mass."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new: int = 88  # tokens of an action, the end marker included

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_new < 1:
            raise ConfigError(f"Expected temperature >= 0, 0 < top_p <= 1 and max_new >= 1, found {self}.")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What decoding must know of a tokenizer: the padding id and the ids that end an action."""

    pad: int
    ends: frozenset[int]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled action. It is truncated when its last token is not an end."""

    tokens: Tokens
    logp: float


@dataclass(slots=True)
class _Draw:
    """One sample in the making."""

    numbers: np.ndarray[tuple[int], np.dtype[np.float64]]
    tokens: list[int] = field(default_factory=list)
    logp: float = 0.0


@torch.inference_mode()
def sample(
    network: PreTrainedModel,
    prompts: Sequence[Tokens],
    n: int,
    *,
    seeds: Sequence[int],
    sampling: Sampling,
    vocabulary: Vocabulary,
    budget: int,
) -> list[list[Sample]]:
    """Return `n` samples for each prompt; row i depends on prompts[i] and seeds[i] alone.

    A micro-batch holds at most `budget` padded tokens of prompts and samples. Autocast around the call is respected.
    """
    draws = [[_Draw(_stream(seed, number, sampling.max_new)) for number in range(n)] for seed in seeds]
    together: dict[Tokens, list[_Draw]] = {}
    for prompt, row in zip(prompts, draws, strict=True):
        together.setdefault(prompt, []).extend(row)
    rows = [
        (prompt, row[begin : begin + SIDE_BY_SIDE])
        for prompt, row in together.items()
        for begin in range(0, len(row), SIDE_BY_SIDE)
    ]
    decode = _decode_seq2seq if network.config.is_encoder_decoder else _decode_causal
    for batch in chunks([(len(prompt), 16 * len(row)) for prompt, row in rows], budget):
        decode(network, [rows[index] for index in batch], sampling, vocabulary)
    return [[Sample(tuple(draw.tokens), draw.logp) for draw in row] for row in draws]


def _stream(seed: int, number: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    key = np.array([seed % 2**64, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(length)


def choose(logits: Tensor, numbers: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return tokens [D] and their log-probabilities [D] at temperature 1; logits [D, V], numbers [D] in [0, 1)."""
    logp = logits.float().log_softmax(-1)
    if sampling.temperature == 0:
        tokens = logp.argmax(-1)
    else:
        mass = (logp / sampling.temperature).softmax(-1).double()
        if sampling.top_p < 1:
            ranked, order = mass.sort(-1, descending=True)
            kept = ranked.cumsum(-1) - ranked < sampling.top_p  # the likeliest token always stays
            mass = torch.zeros_like(mass).scatter(-1, order, ranked * kept)
        heap = mass.cumsum(-1)
        tokens = torch.searchsorted(heap, numbers[:, None] * heap[:, -1:], right=True)[:, 0]
        tokens = tokens.clamp(max=logits.shape[-1] - 1)  # a number that rounds up to the whole mass
    return tokens, logp.gather(-1, tokens[:, None])[:, 0]


def _advance(draws: list[_Draw], logits: Tensor, sampling: Sampling, vocabulary: Vocabulary) -> list[int]:
    """Give every draw its next token; return the indices of those that go on."""
    step = len(draws[0].tokens)
    numbers = torch.tensor([draw.numbers[step] for draw in draws], dtype=torch.float64, device=logits.device)
    tokens, logp = choose(logits, numbers, sampling)
    for draw, token, value in zip(draws, tokens.tolist(), logp.tolist(), strict=True):
        draw.tokens.append(token)
        draw.logp += value
    if step + 1 == sampling.max_new:
        return []
    return [index for index, draw in enumerate(draws) if draw.tokens[-1] not in vocabulary.ends]


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer with room to grow: new columns are written in place instead of copying all old ones."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room: list[Tensor] = []  # keys and values, with spare columns

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        new = (key_states, value_states)
        old = (self.keys, self.values)
        used = 0 if old[0] is None else old[0].shape[-2]
        end = used + key_states.shape[-2]
        if not self.room or self.room[0].shape[-2] < end:
            self.room = [_widened(before, states, end + ROOM) for before, states in zip(old, new, strict=True)]
        for room, states in zip(self.room, new, strict=True):
            room[:, :, used:end] = states
        self.keys, self.values = keys, values = self.room[0][:, :, :end], self.room[1][:, :, :end]
        self.is_initialized = True
        return keys, values

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.room = []


def _widened(old: Tensor | None, new: Tensor, columns: int) -> Tensor:
    wide = new.new_empty(*new.shape[:2], columns, new.shape[-1])
    if old is not None:
        wide[:, :, : old.shape[-2]] = old
    return wide


def _decode_causal(
    network: PreTrainedModel, rows: Sequence[tuple[Tokens, list[_Draw]]], sampling: Sampling, vocabulary: Vocabulary
) -> None:
    device, dtype = network.device, _score_dtype(network)
    ids, prompt_lengths = left_padded([prompt for prompt, _ in rows], vocabulary.pad)
    place = torch.arange(ids.shape[1]) - (ids.shape[1] - prompt_lengths)[:, None]
    owner = torch.where(place < 0, NOBODY, PROMPT).to(device)
    cache = Cache(layers=[_RoomyLayer() for _ in range(network.config.num_hidden_layers)])
    logits = network(
        input_ids=ids.to(device),
        attention_mask=additive(causal_visible(owner), dtype),
        position_ids=place.clamp(min=0).to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    draws = [draw for _, row in rows for draw in row]
    row_of = np.repeat(np.arange(len(rows)), [len(row) for _, row in rows])  # [D], sorted
    names = np.arange(len(draws))  # a sample owns its cache columns under its name
    flat = logits[torch.from_numpy(row_of).to(device), 0]
    while alive := _advance(draws, flat, sampling, vocabulary):
        draws, row_of, names = [draws[index] for index in alive], row_of[alive], names[alive]
        kept, packed = np.unique(row_of, return_inverse=True)
        if len(kept) <= 0.75 * len(owner):
            chosen = torch.from_numpy(kept).to(device)
            cache.batch_select_indices(chosen)
            owner, prompt_lengths, row_of = owner[chosen], prompt_lengths[torch.from_numpy(kept)], packed
        slot = np.arange(len(draws)) - np.searchsorted(row_of, row_of)  # its place among the samples of its row
        shape = (len(owner), int(slot.max()) + 1)
        tokens, name = np.full(shape, vocabulary.pad), np.full(shape, NOBODY)
        tokens[row_of, slot] = [draw.tokens[-1] for draw in draws]
        name[row_of, slot] = names
        name_of = torch.from_numpy(name).to(device)
        owner = torch.cat([owner, name_of], 1)
        key, query = owner[:, None, :], name_of[:, :, None]
        step = len(draws[0].tokens) - 1
        logits = network(
            input_ids=torch.from_numpy(tokens).to(device),
            attention_mask=additive((key == PROMPT) | ((key == query) & (key != NOBODY)), dtype),
            position_ids=(prompt_lengths[:, None] + step).expand(shape).to(device),
            past_key_values=cache,
            use_cache=True,
        ).logits
        flat = logits[torch.from_numpy(row_of).to(device), torch.from_numpy(slot).to(device)]


def _decode_seq2seq(
    network: PreTrainedModel, rows: Sequence[tuple[Tokens, list[_Draw]]], sampling: Sampling, vocabulary: Vocabulary
) -> None:
    device = network.device
    hidden, mask = encoder_states(network, [prompt for prompt, _ in rows], vocabulary.pad)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    draws = [draw for _, row in rows for draw in row]
    row_of = torch.tensor([row for row, (_, of) in enumerate(rows) for _ in of], device=device)
    tokens = torch.full((len(rows), 1), int(network.config.decoder_start_token_id), device=device)
    spread = False
    while True:
        logits = network(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=mask,
            decoder_input_ids=tokens,
            past_key_values=cache,
            use_cache=True,
        ).logits[row_of, -1]
        alive = _advance(draws, logits, sampling, vocabulary)
        if not alive:
            return
        draws, row_of = [draws[index] for index in alive], row_of[torch.tensor(alive, device=device)]
        # The start token was read once per prompt; from then on a sample has a row of its own.
        if not spread or len(alive) <= 0.75 * len(tokens):
            cache.batch_select_indices(row_of)
            hidden, mask = hidden[row_of], mask[row_of]
            row_of, spread = torch.arange(len(draws), device=device), True
        tokens = torch.full((len(hidden), 1), vocabulary.pad, device=device)
        tokens[row_of, 0] = torch.tensor([draw.tokens[-1] for draw in draws], device=device)


def _score_dtype(network: PreTrainedModel) -> torch.dtype:
    kind = network.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else network.dtype
