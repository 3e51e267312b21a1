"""Batched sampling with a key-value cache, one random stream per sample.

Each distinct prompt is read once. Its samples grow side by side in one row (`ragged.py`), so n samples cost one prompt
in memory and time. Samples are one *branch* while their tokens are equal: a branch is computed once, and sees the
columns of its beginning; a finished branch costs nothing more, and finished prompts leave the rows. A sequence-to-
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
from torch.nn.functional import pad as pad_columns
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from surpass.errors import ConfigError
from surpass.models.packing import Tokens, chunks, encoder_states
from surpass.models.prefix import PrefixCache, waiting
from surpass.models.ragged import BLOCK, ROOM, Rows

SIDE_BY_SIDE = 32  # samples of one prompt in one row; more take another row


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


def _prompted(
    network: PreTrainedModel, prompts: Sequence[Tokens], pad: int, prefixes: PrefixCache | None
) -> tuple[Rows, Tensor]:
    """Read prompts, what is known of them from the cache; return their rows and the logits after each [B, V]."""
    rows = Rows(network, len(prompts), max(map(len, prompts)) + ROOM, pad=pad)
    if prefixes is None:
        return rows, _read(rows, prompts, range(len(prompts)))
    prefixes.attend(network)
    late = waiting(prompts, [len(prefixes.find(prompt)) for prompt in prompts])
    soon = sorted({*range(len(prompts))}.difference(late))
    logits = None
    for numbers in filter(None, (soon, late)):
        found = {number: prefixes.find(prompts[number]) for number in numbers}
        prefixes.load(rows, found)
        prefixes.tokens += sum(len(prompts[number]) for number in numbers)
        prefixes.reused += BLOCK * sum(map(len, found.values()))
        some = _read(rows, prompts, numbers)
        logits = some.new_empty(len(prompts), some.shape[1]) if logits is None else logits
        logits[numbers] = some
        prefixes.keep(rows, {number: prompts[number] for number in numbers})
    assert logits is not None
    return rows, logits


def _read(rows: Rows, prompts: Sequence[Tokens], numbers: Sequence[int]) -> Tensor:
    """Read what rows of these numbers, in order, do not hold yet of their prompts; return the last logits [n, V]."""
    begins = [int(rows.filled[number]) for number in numbers]
    rest = [prompts[number][begin:] for number, begin in zip(numbers, begins, strict=True)]
    places = rows.place(np.repeat(np.array(numbers), [len(one) for one in rest]))
    device = rows.network.device
    visible = torch.arange(places.columns, device=device) <= torch.from_numpy(places.column).to(device)[:, None]
    tokens = np.array([token for one in rest for token in one])
    ends = np.cumsum([len(one) for one in rest]) - 1
    return rows.read(tokens, places, places.column, visible=visible, wanted=ends)


def _decode_causal(
    network: PreTrainedModel,
    asked: Sequence[tuple[Tokens, list[_Draw]]],
    sampling: Sampling,
    vocabulary: Vocabulary,
    *,
    prefixes: PrefixCache | None,
) -> None:
    device = network.device
    rows, flat = _prompted(network, [prompt for prompt, _ in asked], vocabulary.pad, prefixes)
    size = flat.shape[-1]
    lengths = rows.filled
    draws = [draw for _, row in asked for draw in row]
    branch_of = np.repeat(
        np.arange(len(asked)), [len(row) for _, row in asked]
    )  # [D]: samples with equal tokens so far
    row_of = np.arange(len(asked))  # of each branch, sorted
    seen = (torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]).to(device)  # by each branch [T, K]
    while alive := _advance(draws, flat[torch.from_numpy(branch_of).to(device)], sampling, vocabulary):
        draws = [draws[index] for index in alive]
        longer = branch_of[alive] * size + np.array([draw.tokens[-1] for draw in draws])
        codes, branch_of = np.unique(longer, return_inverse=True)
        parents, tokens = codes // size, codes % size
        row_of = row_of[parents]
        kept, packed = np.unique(row_of, return_inverse=True)
        if len(kept) <= 0.75 * len(rows):
            rows.select(kept)
            lengths, row_of = lengths[kept], packed
        places = rows.place(row_of)
        # A branch sees what its beginning saw, and itself.
        seen = seen[torch.from_numpy(parents).to(device)]
        seen = pad_columns(seen, (0, places.columns - seen.shape[1]))
        seen.scatter_(1, torch.from_numpy(places.column).to(device)[:, None], True)
        here = lengths[row_of] + len(draws[0].tokens) - 1
        flat = rows.read(tokens, places, here, visible=seen, wanted=np.arange(len(tokens)))


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
