"""Every objective of the name table: a scalar, attached, finite, blind to the order of rows and to padding."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module

import pytest
import torch
from torch import Tensor

from surpass.objectives import OBJECTIVES
from surpass.objectives.batch import Batch, Metrics
from tests.objectives.examples import example


def load(name: str) -> Callable[[Batch], tuple[Tensor, Metrics]]:
    module, _, function = OBJECTIVES[name].partition(":")
    found = vars(import_module(module))[function]
    needs = {"beta": 0.5} if "beta" in inspect.signature(found).parameters else {}
    return lambda batch: found(batch, **needs)


def gradient(objective: Callable[[Batch], tuple[Tensor, Metrics]], batch: Batch) -> tuple[Tensor, Tensor]:
    leaf = batch.logp.detach().clone().requires_grad_()
    loss, _ = objective(replace(batch, logp=leaf))
    (found,) = torch.autograd.grad(loss, [leaf])
    return loss.detach(), found


def rearranged(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    tensors = {field.name: tensor_of(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: change(tensor) for name, tensor in tensors.items() if tensor is not None})


def tensor_of(batch: Batch, name: str) -> Tensor | None:
    value = object.__getattribute__(batch, name)
    assert value is None or isinstance(value, Tensor)
    return value


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_is_a_finite_attached_scalar_and_metrics_are_numbers(name: str) -> None:
    loss, metrics = load(name)(example(name))
    assert loss.shape == ()
    assert loss.requires_grad
    assert math.isfinite(loss.item())
    assert metrics
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_do_not_change_the_batch(name: str) -> None:
    batch, twin = example(name), example(name)
    load(name)(batch)
    for field in fields(batch):
        before, after = tensor_of(twin, field.name), tensor_of(batch, field.name)
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert torch.equal(before, after)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_order_of_rows_does_not_matter(name: str) -> None:
    batch = example(name)
    order = torch.randperm(len(batch.group), generator=torch.Generator().manual_seed(1))
    loss, grad = gradient(load(name), batch)
    shuffled_loss, shuffled_grad = gradient(load(name), rearranged(batch, lambda t: t.detach()[order]))
    torch.testing.assert_close(loss, shuffled_loss)
    torch.testing.assert_close(grad[order], shuffled_grad)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_does_not_matter(name: str) -> None:
    batch = example(name)
    width = batch.logp.shape[1]

    def pad(value: Tensor) -> Tensor:
        if value.ndim == 1:
            return value.detach()
        fill = -1 if value.dtype is torch.int64 else 0
        return torch.nn.functional.pad(value.detach(), (0, 3), value=fill)

    loss, grad = gradient(load(name), batch)
    padded_loss, padded_grad = gradient(load(name), rearranged(batch, pad))
    torch.testing.assert_close(loss, padded_loss)
    torch.testing.assert_close(grad[batch.mask], padded_grad[:, :width][batch.mask])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_single_trajectory_is_enough(name: str) -> None:
    loss, grad = gradient(load(name), rearranged(example(name), lambda t: t.detach()[:1]))
    assert math.isfinite(loss.item())
    assert torch.isfinite(grad).all()
