"""The norm with a gradient of its own is the norm of Llama."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from surpass.domains.chess.norms import RMSNorm, swap_norms


def test_values_and_gradients_are_those_of_llama() -> None:
    torch.manual_seed(0)
    theirs = LlamaRMSNorm(24, eps=1e-3)
    torch.nn.init.normal_(theirs.weight)
    given, gradient = torch.randn(3, 5, 24) * torch.tensor([1e-3, 1.0, 100.0])[:, None, None], torch.randn(3, 5, 24)
    found = list[tuple[torch.Tensor, ...]]()
    for norm in (theirs, RMSNorm(theirs)):
        hidden = given.clone().requires_grad_()
        said = norm(hidden)
        found.append((said, *torch.autograd.grad(said, (hidden, theirs.weight), gradient)))
    for ours, their in zip(*found, strict=True):
        torch.testing.assert_close(ours, their, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(1)
    norm = RMSNorm(LlamaRMSNorm(6).double())
    hidden = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (hidden,))
    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)

    def by_weight(given: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = torch.func.functional_call(norm, {"weight": given}, (hidden.detach(),))
        return said

    assert torch.autograd.gradcheck(by_weight, (weight,))


def test_a_network_keeps_the_names_of_its_weights_and_what_it_says() -> None:
    torch.manual_seed(2)
    shape = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    network = LlamaForCausalLM(shape).train(False)
    names, tokens = list(network.state_dict()), torch.arange(6)[None]
    with torch.no_grad():
        before = network(tokens).logits
        swap_norms(network)
        after = network(tokens).logits
    assert list(network.state_dict()) == names
    assert not any(type(module) is LlamaRMSNorm for module in network.modules())
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-6)
