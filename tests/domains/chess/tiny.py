"""Tiny random chess models for tests: a Llama-type decoder over either vocabulary."""

from functools import cache
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from surpass.domains.chess.saved import save
from surpass.domains.chess.tokens import Characters, Moves

MOVES = Moves()
CHARACTERS = Characters()


@cache
def network(size: int, *, kind: str = "llama", positions: int = 256, seed: int = 0) -> PreTrainedModel:
    """A decoder whose weights are large enough for its distributions not to be flat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel
        if kind == "llama":
            config = LlamaConfig(
                vocab_size=size,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=positions,
                tie_word_embeddings=True,
            )
            model = LlamaForCausalLM(config)
        else:
            model = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=size,
                    n_embd=32,
                    n_layer=2,
                    n_head=2,
                    n_positions=positions,
                    bos_token_id=0,
                    eos_token_id=0,
                )
            )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    model.train(False)
    return model


def run_folder(folder: Path, vocabulary: Moves | Characters = MOVES) -> Path:
    """A run that holds a model."""
    save(folder / "model", network(vocabulary.size), vocabulary)
    return folder
