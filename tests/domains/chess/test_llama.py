"""Parts of Llama with gradients of their own say what Llama says, with its gradients."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm

from surpass.domains.chess.llama import Attention, RMSNorm, _Rotation, quicken


def network(implementation: str = "sdpa") -> PreTrainedModel:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=11,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
    )
    shape._attn_implementation = implementation
    made: PreTrainedModel = LlamaForCausalLM(shape).double().train(False)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_network_says_the_same_with_the_same_gradients(implementation: str, apart: bool) -> None:
    theirs = network(implementation)
    ours = copy.deepcopy(theirs)
    quicken(ours)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert {type(module) for module in ours.modules()} & {LlamaRMSNorm, LlamaAttention} == set()
    tokens, position, mask = torch.arange(10).view(2, 5), None, None
    if apart:  # two games in a row
        position = torch.tensor([[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]])
        before = torch.ones(5, 5, dtype=torch.bool).tril()
        game = torch.tensor([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]])
        seen = (before & (game[:, :, None] == game[:, None, :]))[:, None]
        mask = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -torch.inf)
    said = [one(tokens, attention_mask=mask, position_ids=position, use_cache=False).logits for one in (theirs, ours)]
    torch.testing.assert_close(*said, rtol=1e-5, atol=1e-5)
    for logits in said:
        torch.autograd.backward(logits.square().sum())
    for (name, weight), own in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(own.grad, weight.grad, rtol=1e-4, atol=1e-5, msg=name)  # theirs norms in float32


def test_with_a_cache_the_answers_are_those_without() -> None:
    ours = network()
    quicken(ours)
    tokens = torch.arange(10).view(2, 5)
    with torch.no_grad():
        whole = ours(tokens, use_cache=False).logits
        first = ours(tokens[:, :3], use_cache=True)
        rest = ours(tokens[:, 3:], past_key_values=first.past_key_values, use_cache=True).logits
    torch.testing.assert_close(torch.cat([first.logits, rest], 1), whole)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    norm = LlamaRMSNorm(6).double()
    norm.__class__ = RMSNorm
    hidden = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (hidden,))
    states = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    angle = torch.randn(1, 1, 4, 3, dtype=torch.float64).repeat(1, 1, 1, 2)

    def turned(given: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = _Rotation.apply(given, angle.cos(), angle.sin())  # type: ignore[no-untyped-call]
        return said

    assert torch.autograd.gradcheck(turned, (states,))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_are_as_exact_as_theirs_in_lower_precision(kind: torch.dtype) -> None:
    torch.manual_seed(2)
    theirs = LlamaRMSNorm(64)
    ours = copy.deepcopy(theirs)
    ours.__class__ = RMSNorm
    hidden = 300 * torch.randn(5, 64)  # whose squares float16 does not hold
    given = [hidden.to(kind).requires_grad_() for _ in range(2)]
    with torch.autocast("cpu", torch.bfloat16):
        said = [norm(one) for norm, one in zip((theirs, ours), given, strict=True)]
        for one in said:
            torch.autograd.backward(one.square().sum() + one[:, 0].sum())
    assert said[0].dtype == said[1].dtype
    alike = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    alike(*said)
    alike(given[1].grad, given[0].grad)
    alike(ours.weight.grad, theirs.weight.grad)


def test_what_is_quick_already_stays() -> None:
    ours = network()
    quicken(ours)
    quicken(ours)
    assert sum(type(module) is Attention for module in ours.modules()) == 2
    assert sum(type(module) is RMSNorm for module in ours.modules()) == 5
