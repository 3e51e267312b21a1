"""A Llama-type model with a tokenizer of twelve tokens: its completions of two tokens can be enumerated."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LETTERS = "abcdefghijk"
END = len(LETTERS)
LIMIT = 16  # tokens, at which most completions have ended
PROMPTS = ["ab", "cda"]
OUTCOMES = [(END,), *itertools.product(range(END), range(END + 1))]  # all that two tokens can be: 133


def save(folder: Path, *, sharpness: float = 3.0) -> str:
    """Write the model: one token a letter, the end of sequence for padding; `sharpness` scales its matrices."""
    vocabulary = {name: index for index, name in enumerate([*LETTERS, "</s>"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    names = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "</s>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **names)  # type: ignore[no-untyped-call]
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=END,
        eos_token_id=END,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(sharpness)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
