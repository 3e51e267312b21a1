"""Networks of several families: packed, cached and in batches they compute what they compute alone, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoConfig,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from surpass.errors import ModelError
from surpass.models.decode import Sampling, Vocabulary, sample
from surpass.models.packing import Pack, likelihood
from surpass.models.prefix import PrefixCache
from surpass.models.probe import probe
from tests.models.tiny import causal

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.5,  # a fresh model is almost uniform, which would hide most mistakes
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
MIXED: dict[str, Any] = SIZES | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256} | {
    name: SIZES[name] for name in ("vocab_size", "initializer_range", "bos_token_id", "eos_token_id")
}
FAMILIES: dict[str, PretrainedConfig] = {
    "mistral": MistralConfig(**SIZES, sliding_window=8),
    "gemma3": Gemma3TextConfig(**MIXED),
    "qwen2": Qwen2Config(**MIXED, use_sliding_window=True),
    "qwen3": Qwen3Config(**SIZES),
    "llama": LlamaConfig(**SIZES),
    "llama4": Llama4TextConfig(
        **SIZES,
        intermediate_size_mlp=64,
        attention_chunk_size=8,
        num_local_experts=2,
        moe_layers=[],
        no_rope_layers=[1, 0],
    ),
    "gpt2": GPT2Config(**GPT),
}
PROMPTS = tuple(tuple((7 * at + at * at * shift) % 63 + 1 for at in range(41 - 9 * shift)) for shift in range(3))
ACTIONS = ((5, 9, 11, 2, 40, 8, 8, 1, 30, 31, 17), (5, 9, 60), (22,))
VOCABULARY = Vocabulary(pad=0, ends=frozenset({3}))


def network(config: PretrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        made: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    made.train(False)
    return made


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> PreTrainedModel:
    return network(FAMILIES[request.param])


def alone(model: PreTrainedModel, prompt: tuple[int, ...], action: tuple[int, ...]) -> Tensor:
    """The network's own answer: one row, no mask, no padding, no cache."""
    rows = model(input_ids=torch.tensor([prompt + action])).logits[0, len(prompt) - 1 : -1]
    found: Tensor = rows.log_softmax(-1).gather(-1, torch.tensor(action)[:, None])[:, 0]
    return found


def test_packed_scores_and_gradients_are_those_of_rows_alone(family: PreTrainedModel) -> None:
    packs = [Pack(PROMPTS[0], ACTIONS), Pack(PROMPTS[1], ACTIONS[:2]), Pack(PROMPTS[2], ACTIONS[1:])]
    found = torch.cat([one for row in likelihood(family, packs, pad=0, dtype=torch.float32) for one in row])
    expected = torch.cat([alone(family, pack.prompt, action) for pack in packs for action in pack.actions])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    weight = torch.linspace(-1, 1, len(found))
    parameters = [one for one in family.parameters() if one.requires_grad]
    ours, plain = (
        torch.autograd.grad((weight * one).sum(), parameters, allow_unused=True) for one in (found, expected)
    )
    for left, right in zip(ours, plain, strict=True):
        if right is not None:
            scale = float(right.abs().max())
            torch.testing.assert_close(left, right, atol=1e-4 * scale + 1e-5, rtol=1e-3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])  # rows without padding, and padded
@pytest.mark.parametrize("remembering", [False, True])
def test_samples_have_the_scores_of_rows_alone(family: PreTrainedModel, remembering: bool, attention: str) -> None:
    prefixes = PrefixCache() if remembering else None
    family.set_attn_implementation(attention)
    for _ in range(2):  # the second time all prompts are known
        rows = sample(
            family,
            [*PROMPTS, PROMPTS[0][:20]],
            4,
            seeds=[1, 2, 3, 4],
            sampling=Sampling(max_new=14),
            vocabulary=VOCABULARY,
            budget=300,
            prefixes=prefixes,
        )
        for prompt, row in zip(PROMPTS, rows, strict=False):
            for one in row:
                expected = float(alone(family, prompt, one.tokens).sum().detach())
                assert one.logp == pytest.approx(expected, abs=1e-3)
    assert family.config._attn_implementation == attention
    family.set_attn_implementation("sdpa")


def test_the_probe_accepts_them(family: PreTrainedModel) -> None:
    probe(family, pad=0, longest=200)


@pytest.mark.parametrize(
    "config",
    [
        BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.5),  # ALiBi
        GPTNeoConfig(  # a window over columns, not positions
            vocab_size=64,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=8,
            max_position_embeddings=256,
            initializer_range=0.5,
        ),
        MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4),  # a memory that no mask reaches
    ],
    ids=lambda config: config.model_type,
)
def test_the_probe_refuses_what_would_be_computed_otherwise(config: PretrainedConfig) -> None:
    with pytest.raises(ModelError, match="attention"):
        probe(network(config), pad=0, longest=200)


def test_attention_without_masks_is_refused_untried() -> None:
    model = network(FAMILIES["llama"])
    model.set_attn_implementation("flex_attention")
    with pytest.raises(ModelError, match=r'by flex_attention.*load it with attn_implementation="sdpa"'):
        probe(model, pad=0, longest=200)


def test_a_window_that_no_prompt_reaches_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of thousands of tokens would make loading slow for nothing."""
    model, lengths = network(MistralConfig(**{**SIZES, "sliding_window": 100})), list[int]()
    forward = model.forward

    def heard(**given: Any) -> Any:
        lengths.append(given["input_ids"].shape[1])
        return forward(**given)

    monkeypatch.setattr(model, "forward", heard)
    probe(model, pad=0, longest=64)
    assert max(lengths) < 30
    probe(model, pad=0, longest=200)
    assert max(lengths) > 100


def test_what_is_made_here_is_probed_too() -> None:
    probe(causal().network, pad=0, longest=64)
