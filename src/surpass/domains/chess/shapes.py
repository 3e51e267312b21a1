"""Networks of transcripts from scratch, by name: from one that learns on a CPU in minutes to the paper's.

    tiny    moves       Llama   2 layers, width  32, context   64     0.1 M    for tests
    500k    moves       Llama   3 layers, width  96, context  256     0.5 M    a crowded CPU, minutes
    1m      moves       Llama   4 layers, width 128, context  256     1.1 M    a CPU, minutes to an hour
    2m      moves       Llama   6 layers, width 160, context  256     2.2 M
    8m      moves       Llama   8 layers, width 256, context  384     7.9 M
    50m     characters  GPT-2  16 layers, width 512, context 1023    51.0 M    the paper's: arXiv 2406.11741

The paper's network has no biases; GPT-2 as transformers writes it has them, 0.2 % of its weights. All tie the output
to the embedding and use no dropout. Not here: how they are trained (`pretrain.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from surpass.domains.chess.tokens import SPECIALS, Moves, Vocabulary


@dataclass(frozen=True, slots=True)
class Shape:
    """A network, and the numbers that it is trained with unless others are given."""

    tokens: Literal["moves", "characters"]  # the vocabulary that its pack must have
    kind: Literal["llama", "gpt2"]  # rotary positions, or learned ones
    layers: int
    width: int
    heads: int
    context: int  # tokens
    rows: int  # of a step
    learning_rate: float
    warmup: int  # steps
    decay_steps: int = 0  # at which the cosine has ended; 0: the last step
    least_rate: float = 0.1  # where it ends, as a share
    boundaries: Literal["games", "stream"] = "games"


SHAPES: Mapping[str, Shape] = {
    "tiny": Shape("moves", "llama", 2, 32, 2, 64, rows=8, learning_rate=3e-3, warmup=5),
    "500k": Shape("moves", "llama", 3, 96, 3, 256, rows=8, learning_rate=3e-3, warmup=50),
    "1m": Shape("moves", "llama", 4, 128, 4, 256, rows=16, learning_rate=2e-3, warmup=50),
    "2m": Shape("moves", "llama", 6, 160, 5, 256, rows=16, learning_rate=1.5e-3, warmup=100),
    "8m": Shape("moves", "llama", 8, 256, 8, 384, rows=32, learning_rate=1e-3, warmup=200),
    "50m": Shape(
        "characters",
        "gpt2",
        16,
        512,
        8,
        1023,
        rows=125,
        learning_rate=3e-4,
        warmup=2000,
        decay_steps=4_000_000,
        boundaries="stream",
    ),
}


def build(shape: Shape, vocabulary: Vocabulary, seed: int) -> PreTrainedModel:
    """Return an untrained network; the same seed gives the same weights, and no other random state moves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: PreTrainedModel
        if shape.kind == "llama":
            network = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=vocabulary.size,
                    hidden_size=shape.width,
                    intermediate_size=3 * shape.width,
                    num_hidden_layers=shape.layers,
                    num_attention_heads=shape.heads,
                    max_position_embeddings=shape.context,
                    tie_word_embeddings=True,
                    pad_token_id=None,
                    bos_token_id=vocabulary.start,
                    eos_token_id=None,
                )
            )
        else:
            network = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=vocabulary.size,
                    n_embd=shape.width,
                    n_layer=shape.layers,
                    n_head=shape.heads,
                    n_positions=shape.context,
                    activation_function="gelu",
                    resid_pdrop=0.0,
                    embd_pdrop=0.0,
                    attn_pdrop=0.0,
                    bos_token_id=vocabulary.start,
                    eos_token_id=None,
                )
            )
        if isinstance(vocabulary, Moves):
            _share_squares(network, vocabulary)
    network.train(False)  # no dropout anywhere: it is the same network that learns and that plays
    return network


@torch.no_grad()
def _share_squares(network: PreTrainedModel, vocabulary: Moves) -> None:
    """Let the embedding of a move begin as the sum of vectors of its two squares and of its promotion.

    Of 1968 moves most are rare; so what is learned of one is learned of all that leave or reach the same square.
    """
    weight = cast(nn.Embedding, network.get_input_embeddings()).weight
    squares = sorted({name[:2] for name in vocabulary.names[len(SPECIALS) :]})
    parts = ["from " + one for one in squares] + ["to " + one for one in squares] + [*"bnqr"]
    vectors = dict(zip(parts, torch.randn(len(parts), weight.shape[1]) * float(weight.std()), strict=True))
    for token, name in enumerate(vocabulary.names):
        if token >= len(SPECIALS):
            weight[token] = vectors["from " + name[:2]] + vectors["to " + name[2:4]]
            weight[token] += vectors[name[4:]] if name[4:] else 0.0
