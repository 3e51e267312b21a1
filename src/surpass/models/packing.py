"""How token rows become tensors: micro-batches, shared prompts and the attention masks that keep actions apart.

A *pack* is one prompt with several actions behind it in the same row. A mask lets each action see the prompt and
itself only, and its positions continue the prompt's, so a prompt that many samples share is computed once:

    prompt prompt prompt | a0 a0 a0 | a1 a1 | a2 a2 a2 a2

Used for causal models by teacher-forced scoring (`likelihood`); sampling grows the actions one token at a time and
keeps them beside their prompt likewise, in rows without padding (`ragged.py`). Layers that attend to a sliding window
or within chunks do so by position, as in a row alone, each type of layer under its own mask. A sequence-to-sequence
model shares its encoder instead. No tokenizer and no text here, and no proof that a network heeds the masks: `probe.py`
tries it.

Legend: B rows, P prompt columns, S action columns, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from surpass.errors import ModelError

Tokens = tuple[int, ...]
PROMPT, NOBODY = -1, -2  # owners of a column; an action owns its columns by its number, 0 and up


@dataclass(frozen=True, slots=True)
class Pack:
    """A prompt and the actions behind it."""

    prompt: Tokens
    actions: tuple[Tokens, ...]


def chunks(sizes: Sequence[tuple[int, int]], budget: int) -> list[list[int]]:
    """Return the indices of `sizes` in micro-batches of similar rows, each costing at most `budget` padded tokens.

    A size is (prompt tokens, action tokens); a row larger than the budget stands alone.
    """
    order = sorted(range(len(sizes)), key=lambda index: (sum(sizes[index]), sizes[index], index), reverse=True)
    batches: list[list[int]] = []
    width = (0, 0)
    for index in order:
        wider = (max(width[0], sizes[index][0]), max(width[1], sizes[index][1]))
        if batches and sum(wider) * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
            width = wider
        else:
            batches.append([index])
            width = sizes[index]
    return batches


def left_padded(rows: Sequence[Tokens], pad: int) -> tuple[Tensor, Tensor]:
    """Return token ids and true lengths, [B, P] and [B]; the rows end in the last column."""
    width = max(map(len, rows))
    ids = torch.tensor([(pad,) * (width - len(row)) + row for row in rows], dtype=torch.long)
    return ids, torch.tensor([len(row) for row in rows])


def right_padded(rows: Sequence[Tokens], pad: int) -> tuple[Tensor, Tensor]:
    """Return token ids and true lengths, [B, S] and [B]; the rows begin in the first column."""
    width = max(map(len, rows))
    ids = torch.tensor([row + (pad,) * (width - len(row)) for row in rows], dtype=torch.long).reshape(len(rows), width)
    return ids, torch.tensor([len(row) for row in rows])


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask [B, 1, Q, K] that a model adds to its attention scores; `visible` is [B, Q, K]."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -torch.inf)[:, None]


def causal_visible(owner: Tensor) -> Tensor:
    """Return [B, L, L]: a column is seen from itself and, unless it is padding, from later ones of its own action;
    the prompt is seen from all later ones."""
    length = owner.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=owner.device).tril()
    query, key = owner[:, :, None], owner[:, None, :]
    seen = (key == PROMPT) | ((key == query) & (key != NOBODY))
    # Padding sees itself: a row of a softmax must not be empty.
    return (seen & earlier) | torch.eye(length, dtype=torch.bool, device=owner.device)


def layer_masks(
    network: PreTrainedModel, visible: Tensor, positions: Callable[[], tuple[Tensor, Tensor]], *, dtype: torch.dtype
) -> Tensor | dict[str, Tensor]:
    """Return what the layers of a causal network add to their attention scores: one mask, or one by type of layer.

    visible [B, Q, K]; positions of the queries [B, Q, 1] and of their columns [B, 1 or Q, K], asked for where a layer
    goes by them. The types are those by which transformers itself makes masks (its `masking_utils`); under one that is
    not known here nothing is hidden.
    """
    config = vars(network.config.get_text_config())
    window, chunk = (int(config.get(name) or 0) for name in ("sliding_window", "attention_chunk_size"))
    only = "sliding_attention" if window else "chunked_attention" if chunk else "full_attention"
    masks = dict[str, Tensor]()
    for kind in set(config.get("layer_types") or [only]):
        near = visible
        if kind == "sliding_attention" and window:
            query, key = positions()
            near = visible & (query - key < window)
        elif kind == "chunked_attention" and chunk:
            query, key = positions()
            near = visible & (query // chunk == key // chunk)
        masks[kind] = additive(near, dtype)
    return masks if len(masks) > 1 else next(iter(masks.values()))


def likelihood(
    network: PreTrainedModel,
    packs: Sequence[Pack],
    *,
    pad: int,
    dtype: torch.dtype,
    among: frozenset[int] | None = None,
) -> list[list[Tensor]]:
    """Return log-probabilities [tokens] of every action of every pack, at temperature 1, with gradient.

    With `among`, that any of those tokens stands in the place of each token. `packs` is one micro-batch. Logits are
    computed at action columns only. `dtype` is that of the attention scores.
    """
    predict = _seq2seq_logits if network.config.is_encoder_decoder else _causal_logits
    logits = predict(network, packs, pad, dtype).float()
    if among is None:
        flat = -cross_entropy(logits, _targets(packs, network.device), reduction="none")
    else:
        flat = logits.log_softmax(dim=1)[:, sorted(among)].logsumexp(dim=1)
    lengths = [len(action) for pack in packs for action in pack.actions]
    if not flat.isfinite().all():
        raise ModelError("The model gave log-probabilities that are not finite: its weights are damaged or diverged.")
    pieces = iter(torch.split(flat, lengths))
    return [[next(pieces) for _ in pack.actions] for pack in packs]


def _targets(packs: Sequence[Pack], device: torch.device) -> Tensor:
    return torch.tensor([token for pack in packs for action in pack.actions for token in action], device=device)


def _causal_logits(network: PreTrainedModel, packs: Sequence[Pack], pad: int, dtype: torch.dtype) -> Tensor:
    """Return the logits [all tokens of all actions, V] that predict each token."""
    device = network.device
    prompts, lengths = left_padded([pack.prompt for pack in packs], pad)
    columns = prompts.shape[1]
    rows: list[int] = []
    sources: list[int] = []  # the kept column whose logits predict a token; 0 is the last of the prompt
    suffixes, owners, offsets = list[Tokens](), list[Tokens](), list[Tokens]()
    for row, pack in enumerate(packs):
        suffix, owner, offset = list[int](), list[int](), list[int]()
        for number, action in enumerate(pack.actions):
            begin = len(suffix)
            sources += [0, *range(begin + 1, begin + len(action))]
            rows += [row] * len(action)
            suffix += action[:-1]  # nothing follows the last token, so it need not be read
            owner += [number] * (len(action) - 1)
            offset += range(len(action) - 1)
        suffixes.append(tuple(suffix))
        owners.append(tuple(owner))
        offsets.append(tuple(offset))
    ids = torch.cat([prompts, right_padded(suffixes, pad)[0]], 1).to(device)
    place = torch.arange(columns) - (columns - lengths)[:, None]
    owner_of = torch.cat([torch.where(place < 0, NOBODY, PROMPT), right_padded(owners, NOBODY)[0]], 1).to(device)
    positions = torch.cat([place.clamp(min=0), lengths[:, None] + right_padded(offsets, 0)[0]], 1).to(device)
    logits = network(
        input_ids=ids,
        attention_mask=layer_masks(
            network, causal_visible(owner_of), lambda: (positions[:, :, None], positions[:, None]), dtype=dtype
        ),
        position_ids=positions,
        use_cache=False,
        logits_to_keep=ids.shape[1] - columns + 1,
    ).logits
    chosen: Tensor = logits[torch.tensor(rows, device=device), torch.tensor(sources, device=device)]
    return chosen


def _seq2seq_logits(network: PreTrainedModel, packs: Sequence[Pack], pad: int, _: torch.dtype) -> Tensor:
    """Return the logits [all tokens of all actions, V] that predict each token."""
    device = network.device
    hidden, mask = encoder_states(network, [pack.prompt for pack in packs], pad)
    rows = torch.tensor([row for row, pack in enumerate(packs) for _ in pack.actions], device=device)
    start = int(network.config.decoder_start_token_id)
    actions = [action for pack in packs for action in pack.actions]
    inputs, lengths = right_padded([(start, *action[:-1]) for action in actions], pad)
    logits = network(
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden[rows]),
        attention_mask=mask[rows],
        decoder_input_ids=inputs.to(device),
        use_cache=False,
    ).logits
    kept: Tensor = logits[(torch.arange(inputs.shape[1]) < lengths[:, None]).to(device)]
    return kept


def encoder_states(network: PreTrainedModel, prompts: Sequence[Tokens], pad: int) -> tuple[Tensor, Tensor]:
    """Return an encoder's last hidden states [B, P, d] and the mask [B, P] of true tokens."""
    ids, lengths = right_padded(prompts, pad)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(network.device)
    return network.get_encoder()(input_ids=ids.to(network.device), attention_mask=mask).last_hidden_state, mask


def mean_states(network: PreTrainedModel, prompts: Sequence[Tokens], pad: int) -> Tensor:
    """Return the last hidden states of each prompt, averaged over its tokens: [B, d]."""
    if network.config.is_encoder_decoder:
        hidden, mask = encoder_states(network, prompts, pad)
    else:
        ids, lengths = right_padded(prompts, pad)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(network.device)
        # Right padding under a causal mask: no true token sees any of it.
        hidden = network.base_model(input_ids=ids.to(network.device), use_cache=False).last_hidden_state
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)
