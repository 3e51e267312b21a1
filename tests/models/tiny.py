"""Tiny random language models for tests: a Llama-type decoder, and a ByT5-type encoder-decoder in a folder."""

from functools import cache
from pathlib import Path

import torch
from transformers import ByT5Tokenizer, T5Config, T5ForConditionalGeneration

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.models.hf import LanguageModel, Layout

torch.set_num_threads(1)  # a tiny model gains nothing from threads, and they fight on a busy machine

TEXTS = (
    "initial state:\nn, m : nat\n|- n + m = m + n\ntactics:\nintros n m.\ncurrent state:\n|- n + m = m + n",
    "rewrite Nat.add_comm.",
    "apply plus_n_Sm.",
    "induction n; simpl; auto.",
) * 8


def sharpened(policy: LanguageModel, factor: float) -> LanguageModel:
    """Scale all matrices: a fresh model is almost uniform, which would hide most mistakes."""
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.dim() > 1:
                parameter.mul_(factor)
    return policy


@cache
def causal() -> LanguageModel:
    policy = LanguageModel.from_scratch("tiny", TEXTS, seed=3)
    return sharpened(LanguageModel(policy.weights, Layout("\naction:\n", 64, 16)), 3.0)


def save_byt5(folder: Path, width: int = 32) -> Path:
    config = T5Config(
        vocab_size=384,
        d_model=width,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    config.decoder_start_token_id = 0
    config.tie_word_embeddings = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


def observations(*sizes: int) -> list[Observation]:
    return [Observation("|- n + m = " + "x + " * size) for size in sizes]


def trajectory(*steps: tuple[Observation, Proposal]) -> Trajectory:
    return Trajectory(Problem("p"), tuple(Step(*step) for step in steps), Verdict(Status.REJECTED, (0.0,)))
