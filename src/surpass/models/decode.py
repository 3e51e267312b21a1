"""Batched sampling with a key-value cache, one random stream per sample.

Each distinct prompt is read once. Its samples grow side by side in one cache row (see `packing.py`), so n samples cost
one prompt in memory and time. Samples are one *branch* while their tokens are equal: a branch is computed once, and
sees the columns of its beginning; finished branches leave the batch, finished prompts leave the cache. A sequence-to-
sequence model reads the prompt once too, then takes one cache row per sample.

The token at step t of sample j under seed s inverts the cumulative distribution at the t-th number of the stream
Philox(s, j): what a sample becomes does not depend on what else is in the batch, except where rounding (about 1e-6 of
probability in float32) moves a boundary across that number. Log-probabilities are those of the untempered model
whatever temperature or nucleus was sampled from.

Legend: B rows, P columns, Q branches side by side, D samples alive, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

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
    causal_visible,
    chunks,
    encoder_states,
    layer_masks,
    left_padded,
)
from surpass.models.prefix import BLOCK, PrefixCache, blocks, groups

SIDE_BY_SIDE = 32  # samples of one prompt in one row; more take another row
ROOM = 256  # columns a cache row grows by; copying the cache at every token would cost more than attention


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest token; `top_p` keeps the smallest set of that mass.

    With chance `epsilon` a token is uniform among the possible ones instead, whatever the others say.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new: int = 88  # tokens of an action, the end marker included
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_new < 1 or not 0 <= self.epsilon <= 1:
            expected = "temperature >= 0, 0 < top_p <= 1, max_new >= 1 and 0 <= epsilon <= 1"
            raise ConfigError(f"Expected {expected}, found {self}.")


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
def sample(  # noqa: PLR0913 - the last is a cache, not an option
    network: PreTrainedModel,
    prompts: Sequence[Tokens],
    n: int,
    *,
    seeds: Sequence[int],
    sampling: Sampling,
    vocabulary: Vocabulary,
    budget: int,
    prefixes: PrefixCache | None = None,
) -> list[list[Sample]]:
    """Return `n` samples for each prompt; row i depends on prompts[i] and seeds[i] alone.

    A micro-batch holds at most `budget` padded tokens of prompts and samples. Autocast around the call is respected.
    Beginnings of prompts that `prefixes` knows are not computed again (causal models; `prefix.py`).
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
    decode = _decode_seq2seq if network.config.is_encoder_decoder else partial(_decode_causal, prefixes=prefixes)
    for batch in chunks([(len(prompt), 16 * len(row)) for prompt, row in rows], budget):
        decode(network, [rows[index] for index in batch], sampling, vocabulary)
    return [[Sample(tuple(draw.tokens), draw.logp) for draw in row] for row in draws]


def _stream(seed: int, number: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    key = np.array([seed % 2**64, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(length)


def choose(logits: Tensor, numbers: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return tokens [D] and their log-probabilities [D] at temperature 1; logits [D, V], numbers [D] in [0, 1)."""
    logp = logits.float().log_softmax(-1)
    if sampling.temperature == sampling.epsilon == 0:
        tokens = logp.argmax(-1)
    else:
        heap = _mass(logp, sampling).cumsum(-1)
        tokens = torch.searchsorted(heap, numbers[:, None] * heap[:, -1:], right=True)[:, 0]
        tokens = tokens.clamp(max=logits.shape[-1] - 1)  # a number that rounds up to the whole mass
    return tokens, logp.gather(-1, tokens[:, None])[:, 0]


def _mass(logp: Tensor, sampling: Sampling) -> Tensor:
    """Return what each token is drawn in proportion to [D, V], in float64."""
    if sampling.temperature == 0:
        mass = torch.zeros_like(logp, dtype=torch.float64).scatter(-1, logp.argmax(-1, keepdim=True), 1.0)
    else:
        mass = (logp / sampling.temperature).softmax(-1).double()
    if sampling.top_p < 1:
        ranked, order = mass.sort(-1, descending=True)
        kept = ranked.cumsum(-1) - ranked < sampling.top_p  # the likeliest token always stays
        mass = torch.zeros_like(mass).scatter(-1, order, ranked * kept)
    if sampling.epsilon:
        possible = logp.isfinite().double()  # what the policy cannot say has no likelihood to learn from
        uniform = possible / possible.sum(-1, keepdim=True)
        mass = (1 - sampling.epsilon) * mass / mass.sum(-1, keepdim=True) + sampling.epsilon * uniform
    return mass


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

    def begin(self, states: Tensor) -> None:
        """Start from keys and values [2, B, H, P, d]; they are copied when more come."""
        self.keys, self.values = states
        self.is_initialized = True

    @property
    def states(self) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, P, d]."""
        assert self.keys is not None is not self.values
        return self.keys, self.values

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
        """Keep the rows `indices`, copied once: into fresh room."""
        if self.keys is None or self.values is None:
            return
        used = self.keys.shape[-2]
        fresh = [
            states.new_empty(len(indices), states.shape[1], used + ROOM, states.shape[-1])
            for states in (self.keys, self.values)
        ]
        for room, states in zip(fresh, (self.keys, self.values), strict=True):
            torch.index_select(states, 0, indices, out=room[:, :, :used])
        self.room = fresh
        self.keys, self.values = (room[:, :, :used] for room in fresh)


def _widened(old: Tensor | None, new: Tensor, columns: int) -> Tensor:
    wide = new.new_empty(*new.shape[:2], columns, new.shape[-1])
    if old is not None:
        wide[:, :, : old.shape[-2]] = old
    return wide


@dataclass(slots=True)
class _Memory:
    """What a network has read."""

    layers: list[_RoomyLayer]
    owner: Tensor  # of each column [B, P]
    positions: Tensor  # of each column [B, P]
    logits: Tensor  # after the last token [B, V]


def _prompted(network: PreTrainedModel, prompts: Sequence[Tokens], pad: int, prefixes: PrefixCache | None) -> _Memory:
    """Read prompts, what is known of them from the cache."""
    if prefixes is None:
        return _read(network, prompts, None, [()] * len(prompts), pad)
    prefixes.attend(network)
    missing = [(blocks(prompt) - len(prefixes.find(prompt))) * BLOCK for prompt in prompts]
    prefixes.tokens += sum(map(len, prompts))
    prefixes.reused += sum(blocks(prompt) * BLOCK for prompt in prompts) - sum(missing)
    # Whole blocks first, rows of like length together: one long new prompt must not make all others as long.
    for group in groups(missing) if prefixes.holds(prompts) else ():
        known = {index: prefixes.find(prompts[index]) for index in group}
        known = {index: slots for index, slots in known.items() if len(slots) < blocks(prompts[index])}
        if not known:
            continue  # the groups before had the same beginnings
        whole = [prompts[index][: blocks(prompts[index]) * BLOCK] for index in known]
        layers = _read(network, whole, prefixes, list(known.values()), pad).layers
        begins = [len(slots) * BLOCK for slots in known.values()]
        prefixes.keep([prompts[index] for index in known], begins, [layer.states for layer in layers])
    return _read(network, prompts, prefixes, [prefixes.find(prompt) for prompt in prompts], pad)


def _read(
    network: PreTrainedModel,
    prompts: Sequence[Tokens],
    prefixes: PrefixCache | None,
    known: Sequence[Sequence[int]],
    pad: int,
) -> _Memory:
    """Run the network over what follows the known blocks of each prompt."""
    device, dtype = network.device, _score_dtype(network)
    begins = torch.tensor([len(slots) * BLOCK for slots in known])
    ids, lengths = left_padded([prompt[begin:] for prompt, begin in zip(prompts, begins.tolist(), strict=True)], pad)
    place = torch.arange(ids.shape[1]) - (ids.shape[1] - lengths)[:, None]
    owner = torch.where(place < 0, NOBODY, PROMPT)
    positions = (place + begins[:, None]).clamp(min=0)
    layers = [_RoomyLayer() for _ in range(network.config.get_text_config().num_hidden_layers)]
    if prefixes is not None and begins.any():
        index, before = prefixes.columns(known)
        for number, layer in enumerate(layers):
            layer.begin(prefixes.load(number, index))
        owner = torch.cat([before, owner], 1)
        positions = torch.cat([torch.arange(before.shape[1]).expand(before.shape), positions], 1)
    owner, positions = owner.to(device), positions.to(device)
    logits = network(
        input_ids=ids.to(device),
        attention_mask=layer_masks(network, causal_visible(owner)[:, -ids.shape[1] :], positions, dtype),
        position_ids=positions[:, -ids.shape[1] :],
        past_key_values=Cache(layers=[*layers]),
        use_cache=True,
        logits_to_keep=1,
    ).logits
    return _Memory(layers, owner, positions, logits[:, 0])


def _decode_causal(
    network: PreTrainedModel,
    rows: Sequence[tuple[Tokens, list[_Draw]]],
    sampling: Sampling,
    vocabulary: Vocabulary,
    *,
    prefixes: PrefixCache | None,
) -> None:
    device, dtype = network.device, _score_dtype(network)
    prompts = [prompt for prompt, _ in rows]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    memory = _prompted(network, prompts, vocabulary.pad, prefixes)
    cache = Cache(layers=[*memory.layers])
    draws = [draw for _, row in rows for draw in row]
    branch_of = np.repeat(np.arange(len(rows)), [len(row) for _, row in rows])  # [D]: samples with equal tokens so far
    row_of, slot_of = np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64)  # of each branch, sorted by row
    seen = (memory.owner == PROMPT)[:, None]  # the columns of its row that a branch sees [B, Q, P]
    positions = memory.positions
    flat, size = memory.logits, memory.logits.shape[-1]
    while alive := _advance(draws, flat[torch.from_numpy(branch_of).to(device)], sampling, vocabulary):
        draws = [draws[index] for index in alive]
        longer = branch_of[alive] * size + [draw.tokens[-1] for draw in draws]
        codes, branch_of = np.unique(longer, return_inverse=True)
        parents, tokens = codes // size, codes % size
        row_of, origin_of = row_of[parents], slot_of[parents]
        kept, packed = np.unique(row_of, return_inverse=True)
        if len(kept) <= 0.75 * len(seen):
            chosen = torch.from_numpy(kept).to(device)
            cache.batch_select_indices(chosen)
            seen, positions, lengths, row_of = seen[chosen], positions[chosen], lengths[chosen], packed
        slot_of = np.arange(len(codes)) - np.searchsorted(row_of, row_of)  # its place among the branches of its row
        shape = (len(seen), int(slot_of.max()) + 1)
        ids, origin = np.full(shape, vocabulary.pad), np.zeros(shape, dtype=np.int64)
        ids[row_of, slot_of], origin[row_of, slot_of] = tokens, origin_of
        before = torch.from_numpy(origin).to(device)[:, :, None].expand(*shape, seen.shape[2])
        itself = torch.eye(shape[1], dtype=torch.bool, device=device).expand(len(seen), -1, -1)
        seen = torch.cat([seen.gather(1, before), itself], 2)
        here = (lengths[:, None] + len(draws[0].tokens) - 1).expand(shape)
        positions = torch.cat([positions, here], 1)
        logits = network(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=layer_masks(network, seen, positions, dtype),
            position_ids=here,
            past_key_values=cache,
            use_cache=True,
        ).logits
        flat = logits[torch.from_numpy(row_of).to(device), torch.from_numpy(slot_of).to(device)]


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
