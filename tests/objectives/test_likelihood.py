from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from surpass.objectives.batch import Batch
from surpass.objectives.likelihood import likelihood


def batch_of(logp: Tensor, lengths: list[int], accepted: list[bool]) -> Batch:
    mask = torch.arange(logp.shape[1])[None] < torch.tensor(lengths)[:, None]
    zeros = torch.zeros(len(lengths), dtype=torch.float64)
    return Batch(
        logp=(logp * mask).detach().requires_grad_(),
        logp_old=logp * mask,
        mask=mask,
        step_index=torch.where(mask, 0, -1),
        log_reward=zeros,
        log_pb=zeros,
        group=torch.arange(len(lengths)),
        seat=torch.zeros(len(lengths), dtype=torch.int64),
        accepted=torch.tensor(accepted),
    )


LOGP = -torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [0.5, 0.25, 0.0]], dtype=torch.float64)
EXAMPLE = batch_of(LOGP, [2, 3, 1], [True, False, True])


@pytest.mark.parametrize(
    ("objective", "loss", "weight"),
    [
        (likelihood, 3.5 / 2, [1 / 2, 0, 1 / 2]),
        (partial(likelihood, normalise="token"), 3.5 / 3, [1 / 3, 0, 1 / 3]),
        (partial(likelihood, accepted_only=False), 18.5 / 3, [1 / 3, 1 / 3, 1 / 3]),
        (partial(likelihood, accepted_only=False, normalise="token"), 18.5 / 6, [1 / 6, 1 / 6, 1 / 6]),
    ],
)
def test_closed_form(objective: partial[tuple[Tensor, dict[str, float]]], loss: float, weight: list[float]) -> None:
    batch = replace(EXAMPLE, logp=EXAMPLE.logp.detach().clone().requires_grad_())
    value, metrics = objective(batch)
    torch.autograd.backward(value)
    assert value.item() == pytest.approx(loss)
    assert batch.logp.grad is not None
    torch.testing.assert_close(batch.logp.grad, -torch.tensor(weight)[:, None].double() * batch.mask)
    assert metrics["nll_per_token"] * (3 if metrics["chosen_rows"] == 2 else 6) == pytest.approx(
        metrics["nll_per_trajectory"] * metrics["chosen_rows"]
    )


def test_without_an_accepted_row_nothing_moves() -> None:
    batch = batch_of(LOGP, [2, 3, 1], [False] * 3)
    loss, _ = likelihood(batch)
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert batch.logp.grad is not None
    assert not batch.logp.grad.any()


def test_gradient_descent_reaches_the_empirical_distribution() -> None:
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    seen = torch.tensor([0, 0, 0, 1, 1, 2])
    for _ in range(150):
        batch = batch_of(logits.log_softmax(0)[seen][:, None], [1] * 6, [True] * 6)
        torch.autograd.backward(likelihood(batch)[0])
        assert batch.logp.grad is not None
        (step,) = torch.autograd.grad((logits.log_softmax(0)[seen] * batch.logp.grad[:, 0]).sum(), logits)
        logits = (logits - step).detach().requires_grad_()
    torch.testing.assert_close(logits.softmax(0), torch.tensor([3 / 6, 2 / 6, 1 / 6]).double(), atol=1e-3, rtol=0)
