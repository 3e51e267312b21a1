from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from surpass.core import Observation, Proposal, Trajectory
from surpass.errors import ModelError
from surpass.models.heads import HiddenHead, StateTable
from surpass.models.hf import LanguageModel
from surpass.models.log_z import LogZ
from surpass.objectives.batch import Batch, Heads, collate, push
from surpass.objectives.flows import modified_subtb, subtrajectory_balance
from tests.models.tiny import causal, observations, save_byt5, sharpened, trajectory


@pytest.fixture(scope="module", params=["causal", "seq2seq"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    if request.param == "causal":
        return causal()
    folder: Path = tmp_path_factory.mktemp("byt5")
    return sharpened(LanguageModel.load(save_byt5(folder)), 3.0)


def plays(model: LanguageModel) -> list[Trajectory]:
    one, two, three = observations(1, 2, 7)
    actions = [Proposal(text, None, model.encode(text)) for text in ("auto.", "intros n m.", "")]
    cut = Proposal("rewri", None, model.encode("rewrite")[:-1])  # stopped at the token limit
    return [
        trajectory((one, actions[0]), (two, actions[1]), (three, actions[2])),
        trajectory((two, actions[2])),
        trajectory((one, actions[0]), (two, cut)),
        trajectory((three, actions[1])),
    ]


def test_a_table_has_a_number_for_each_observation_wherever_it_stands() -> None:
    table = StateTable(rows=3, initial=0.5)
    first, second, third = (Observation(text, key="k") for text in "abc")
    some = [trajectory((first, Proposal("x")), (second, Proposal("y"))), trajectory((second, Proposal("x")))]
    with torch.no_grad():
        table(some)
        table.values[table.met["b"]] = 2.0
    assert table(some).tolist() == [[0.5, 2.0], [2.0, 0.0]]
    table(some).sum().backward()
    assert table.values.grad is not None
    assert table.values.grad.tolist() == [1.0, 2.0, 0.0]
    twin = StateTable(rows=3)
    twin.load_state_dict(table.state_dict())
    assert twin(some[::-1]).tolist() == [[2.0, 0.0], [0.5, 2.0]]
    merged = StateTable(rows=1, merge=True)
    assert merged(some).shape == (2, 2)
    assert merged.met == {"k": 0}
    with pytest.raises(ModelError, match="at most 3"):
        table([trajectory((third, Proposal("x")), (Observation("d"), Proposal("x")))])
    with pytest.raises(ModelError, match="at least one step"):
        table([*some, trajectory()])


def test_a_head_on_hidden_states_starts_constant_and_learns_without_moving_the_policy(model: LanguageModel) -> None:
    head = HiddenHead(model, 1.5)
    values = head(plays(model))
    assert values.tolist() == [[1.5, 1.5, 1.5], [1.5, 0.0, 0.0], [1.5, 1.5, 0.0], [1.5, 0.0, 0.0]]
    torch.autograd.backward(values.square().sum())
    assert head.linear.weight.grad is not None
    assert head.linear.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(head.state_dict()) == {"linear.weight", "linear.bias"}
    with torch.no_grad():
        head.linear.weight.normal_()
    alone = [head([play]) for play in plays(model)]
    for row, one in zip(head(plays(model)), alone, strict=True):
        torch.testing.assert_close(row[: one.shape[1]], one[0], atol=1e-4, rtol=1e-4)


def test_log_stop_is_the_mass_of_all_end_markers_in_the_place_of_each_token(model: LanguageModel) -> None:
    ends = sorted(model.vocabulary.ends)
    with torch.no_grad():
        stops = model.log_stop(plays(model))
        for row, play in zip(stops, plays(model), strict=True):
            column = 0
            for step in play.steps:
                (prompt,) = model.prompts([step.observation])
                tokens = step.proposal.tokens
                for t in range(len(tokens)):
                    closed = [(*tokens[:t], end) for end in ends]
                    last = torch.stack([one[-1] for one in model.logp_pairs([prompt] * len(ends), closed)])
                    torch.testing.assert_close(row[column], last.logsumexp(0), atol=1e-4, rtol=1e-4)
                    column += 1
            assert not row[column:].any()


def reward(some: Sequence[Trajectory]) -> Tensor:
    return torch.tensor([-1.0 * len(play.steps) for play in some])


def prefix_reward(some: Sequence[Trajectory]) -> Tensor:
    longest = max(sum(len(step.proposal.tokens) for step in play.steps) for play in some)
    return -0.1 * torch.arange(longest).expand(len(some), longest)


def one_pass(batch: Batch, model: LanguageModel, heads: Heads, some: list[Trajectory]) -> Batch:
    assert heads.log_z is not None
    assert heads.log_flow is not None
    return replace(
        batch,
        logp=model.logp(some),
        log_z=heads.log_z(some),
        log_flow=heads.log_flow(some),
        log_stop=model.log_stop(some),
    )


@pytest.mark.parametrize("micro_batch", [1, 64])
@pytest.mark.parametrize("name", ["flows", "ends"])
def test_two_passes_through_a_language_model_are_one(model: LanguageModel, name: str, micro_batch: int) -> None:
    """Flows on hidden states, with the gradient through them into the policy, and the policy's own end markers."""
    flow = HiddenHead(model, 0.3, through=True)
    with torch.no_grad():
        flow.linear.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    heads = Heads(log_z=LogZ(model), log_flow=flow, log_stop=model.log_stop, prefix_reward=prefix_reward)
    objective = {"flows": subtrajectory_balance, "ends": modified_subtb}[name]
    some = plays(model) if name == "flows" else plays(model)[1::2]
    parameters = [*model.parameters(), *flow.parameters()]
    batch = collate(model, some, reward, heads=heads, micro_batch=micro_batch)
    loss, _ = objective(batch, beta=1.0, relative=False)
    torch.autograd.backward(loss)
    push(model, some, batch, heads=heads, micro_batch=micro_batch)
    twice = [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in parameters]
    whole, _ = objective(one_pass(batch, model, heads, some), beta=1.0, relative=False)
    once = torch.autograd.grad(whole, parameters, materialize_grads=True)
    for parameter in parameters:
        parameter.grad = None
    assert whole.item() == pytest.approx(loss.item(), rel=1e-5)
    scale = max(float(gradient.abs().max()) for gradient in once)
    assert max(float((a - b).abs().max()) for a, b in zip(twice, once, strict=True)) <= 1e-5 * scale
    assert float(twice[-1].abs().max()) > 0 or name == "ends"
