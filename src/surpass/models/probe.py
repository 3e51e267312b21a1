"""Does a network compute, packed, cached and in batches, what it computes of a row alone? Tried when one is loaded.

`packing.py` and `ragged.py` hand a network masks and positions and trust it to heed them. What does not (state-space
layers, ALiBi and other positions counted by column, attention patterns unknown to `packing.layer_masks`) would give
wrong log-probabilities without a word, so it is refused here. Tried on random tokens and a few actions, on a prompt
longer than any window of the network that prompts can outgrow; patterns that show only at greater length go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers import PreTrainedModel

from surpass.errors import ModelError
from surpass.models.decode import Sampling, Vocabulary, sample
from surpass.models.packing import Pack, Tokens, likelihood

ACTION, BEYOND = 4, 4  # tokens of an action; of a prompt past a window
ROOMY = 10**6  # tokens: all prompts in one batch, the short ones padded
MASKED = ("sdpa", "eager")  # flex attention given such a mask takes the process down; flash attention has none
STRANGE = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


@torch.no_grad()
def probe(
    network: PreTrainedModel,
    *,
    pad: int,
    longest: int,
    scoring: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Raise ModelError unless log-probabilities are those of plain rows; rows have at most `longest` tokens.

    `scoring` surrounds what is scored packed, as it does later where a gradient is wanted.
    """
    attention = network.config._attn_implementation
    if attention not in MASKED:
        raise ModelError(
            f"{type(network).__name__} computes attention by {attention}, which takes no masks of packed actions: load "
            f'it with attn_implementation="{MASKED[0]}".'
        )
    expected = "expected a decoder whose attention heeds masks and positions that are given, or an encoder-decoder"
    try:
        error = _error(network, pad, longest, scoring)
    except STRANGE as strange:
        first = next(iter(str(strange).strip().splitlines()), "")
        raise ModelError(
            f"{type(network).__name__} cannot be run on packed actions ({type(strange).__name__}: {first}): {expected}."
        ) from strange
    exact = network.dtype is torch.float32 and torch.get_float32_matmul_precision() == "highest"
    if not error <= (1e-3 if exact else 0.3):
        raise ModelError(
            f"{type(network).__name__} computes other log-probabilities for packed or cached actions than for each "
            f"alone (they differ by {error:.2g}): {expected}."
        )


def _error(
    network: PreTrainedModel, pad: int, longest: int, scoring: Callable[[], AbstractContextManager[object]]
) -> float:
    """Return the largest difference between a row alone and the same packed, or sampled with a cache."""
    embeddings = network.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    ids = torch.randint(embeddings.num_embeddings, (_length(network, longest),), generator=torch.Generator())
    prompt = tuple(ids[ids != pad].tolist())
    prompts = [prompt, prompt[-5:]]
    uniform = Sampling(epsilon=1.0, max_new=ACTION)  # two samples of a prompt must part
    rows = sample(
        network, prompts, 2, seeds=[1, 2], sampling=uniform, vocabulary=Vocabulary(pad, frozenset()), budget=ROOMY
    )
    packs = [Pack(prompt, tuple(one.tokens for one in row)) for prompt, row in zip(prompts, rows, strict=True)]
    with scoring():
        together = likelihood(network, packs, pad=pad, dtype=network.dtype)
    errors = list[float]()
    for pack, row, packed in zip(packs, rows, together, strict=True):
        for one, found in zip(row, packed, strict=True):
            plain = _alone(network, pack.prompt, one.tokens)
            errors += [float((found - plain).abs().max()), abs(one.logp - float(plain.sum()))]
    return max(errors)


def _length(network: PreTrainedModel, longest: int) -> int:
    """Return the length of a prompt that is longer than every window or chunk below `longest`."""
    config = vars(network.config.get_text_config())
    named = [value for name, value in config.items() if any(part in name for part in ("window", "chunk", "local"))]
    spans = [value for value in named if isinstance(value, int) and value < longest]
    return max([12, *(min(span + BEYOND, longest - ACTION) for span in spans)])


def _alone(network: PreTrainedModel, prompt: Tokens, action: Tokens) -> Tensor:
    """Return the log-probabilities [tokens] of an action after its prompt as the network itself has them: one row, no
    mask, no positions, no padding and no cache."""
    device = network.device
    if network.config.is_encoder_decoder:
        inputs = torch.tensor([(int(network.config.decoder_start_token_id), *action[:-1])], device=device)
        logits = network(input_ids=torch.tensor([prompt], device=device), decoder_input_ids=inputs).logits[0]
    else:
        logits = network(input_ids=torch.tensor([prompt + action[:-1]], device=device), use_cache=False).logits[0]
    chosen = torch.tensor(action, device=logits.device)[:, None]
    found: Tensor = logits[-len(action) :].float().log_softmax(-1).gather(-1, chosen)[:, 0]
    return found
