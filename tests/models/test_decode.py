"""Sampling: its log-probabilities are teacher-forced ones, its rows depend on nothing but themselves."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from surpass.core import Problem, Status, Step, Trajectory, Verdict
from surpass.errors import ConfigError
from surpass.models import decode, ragged
from surpass.models.decode import Sampling, choose
from surpass.models.hf import LanguageModel, Layout
from surpass.models.packing import Pack, chunks, likelihood
from tests.models.tiny import causal, observations, save_byt5, sharpened


@pytest.fixture(scope="module", params=["causal", "seq2seq"])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageModel]:
    if request.param == "causal":
        yield causal()
    else:
        folder: Path = save_byt5(tmp_path_factory.mktemp("byt5"))
        yield sharpened(LanguageModel.load(folder, layout=Layout("", 64, 16)), 1.5)


@torch.no_grad()
def naive(policy: LanguageModel, prompt: tuple[int, ...], action: tuple[int, ...]) -> Tensor:
    """One row alone, all columns, no mask, no padding, no cache."""
    if policy.network.config.is_encoder_decoder:
        start = policy.network.config.decoder_start_token_id
        logits = policy.network(
            input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([(start, *action[:-1])])
        )
        rows = logits.logits[0]
    else:
        rows = policy.network(input_ids=torch.tensor([prompt + action])).logits[0, len(prompt) - 1 : -1]
    found: Tensor = rows.log_softmax(-1).gather(-1, torch.tensor(action)[:, None])[:, 0]
    return found


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.3, 1.0), (1.5, 0.7), (0.0, 1.0)])
def test_sampled_logp_is_teacher_forced_at_temperature_one(
    policy: LanguageModel, temperature: float, top_p: float
) -> None:
    seen = observations(1, 9, 3, 1)
    rows = policy.tempered(temperature, top_p=top_p).propose(seen, 5, seeds=[1, 2, 3, 4])
    assert [len(row) for row in rows] == [5] * 4
    for prompt, row in zip(policy.prompts(seen), rows, strict=True):
        for proposal in row[:2]:
            assert proposal.logp == pytest.approx(float(naive(policy, prompt, proposal.tokens).sum()), abs=1e-4)


@torch.no_grad()
def test_packed_scoring_is_one_row_alone(policy: LanguageModel) -> None:
    prompts = policy.prompts(observations(1, 9))
    actions = [policy.encode(text) for text in ("auto.", "rewrite Nat.add_comm.", "", "x")]
    packs = [Pack(prompts[0], tuple(actions)), Pack(prompts[1], (actions[1],))]
    found = likelihood(policy.network, packs, pad=policy.vocabulary.pad, dtype=torch.float32)
    for pack, row in zip(packs, found, strict=True):
        for action, piece in zip(pack.actions, row, strict=True):
            torch.testing.assert_close(piece, naive(policy, pack.prompt, action), atol=1e-4, rtol=0)


def test_rows_do_not_depend_on_their_batch(policy: LanguageModel) -> None:
    seen, seeds = observations(1, 9, 3, 1, 20), [5, 6, 7, 8, 9]
    together = policy.propose(seen, 6, seeds=seeds)
    apart = [policy.propose([one], 6, seeds=[seed])[0] for one, seed in zip(seen, seeds, strict=True)]
    for left, right in zip(together, apart, strict=True):
        assert [one.tokens for one in left] == [one.tokens for one in right]
        assert [one.logp for one in left] == pytest.approx([one.logp for one in right], abs=1e-4)
    fewer = policy.propose(seen[:1], 2, seeds=seeds[:1])[0]
    assert [one.tokens for one in fewer] == [one.tokens for one in together[0][:2]]
    assert together[0] != together[3]  # the same prompt under another seed


def test_equal_beginnings_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, widths = causal(), list[int]()
    forward = policy.network.forward

    def heard(**given: Any) -> Any:
        widths.append(given["input_ids"].shape[1])
        return forward(**given)

    monkeypatch.setattr(policy.network, "forward", heard)
    seen = observations(9)
    (row,) = policy.tempered(0.3).propose(seen, 24, seeds=[3])
    longest = max(len(one.tokens) for one in row)
    distinct = [len({one.tokens[:step] for one in row if len(one.tokens) > step}) for step in range(1, longest)]
    assert widths[1:] == distinct
    assert 1 < distinct[0] < distinct[-1] < 24  # some begin alike and part later
    for proposal in set(row):
        expected = float(naive(policy, policy.prompts(seen)[0], proposal.tokens).sum())
        assert proposal.logp == pytest.approx(expected, abs=1e-4)
    widths.clear()
    (greedy,) = policy.tempered(0.0).propose(seen, 24, seeds=[3])
    assert set(widths[1:]) == {1}
    assert len(set(greedy)) == 1


def test_small_batches_and_crowded_prompts_change_nothing(
    policy: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = observations(1, 4)
    whole = policy.propose(seen, 5, seeds=[1, 2])
    monkeypatch.setattr(decode, "SIDE_BY_SIDE", 2)
    monkeypatch.setattr(ragged, "ROOM", 1)
    monkeypatch.setattr(policy, "placement", replace(policy.placement, micro_tokens=64))
    parts = policy.propose(seen, 5, seeds=[1, 2])
    assert [[one.tokens for one in row] for row in parts] == [[one.tokens for one in row] for row in whole]


def test_an_action_ends_at_its_first_end_or_the_limit(policy: LanguageModel) -> None:
    ends = policy.vocabulary.ends
    lengths = set()
    for row in policy.propose(observations(1, 2, 3, 4), 16, seeds=[1, 2, 3, 4]):
        for proposal in row:
            assert not ends.intersection(proposal.tokens[:-1])
            assert policy.truncated(proposal) == (proposal.tokens[-1] not in ends)
            assert len(proposal.tokens) == 16 or not policy.truncated(proposal)
            lengths.add(len(proposal.tokens))
    assert len(lengths) > 1  # samples of several lengths left the batch at several steps


def test_greedy_agrees_with_the_library(policy: LanguageModel) -> None:
    seen = observations(2)
    prompt = torch.tensor(policy.prompts(seen))
    [[greedy]] = policy.tempered(0.0).propose(seen, 1, seeds=[0])
    stops = sorted(policy.vocabulary.ends)
    out = policy.network.generate(  # type: ignore[operator]
        input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=16, eos_token_id=stops
    )
    skipped = 1 if policy.network.config.is_encoder_decoder else prompt.shape[1]
    assert tuple(out[0, skipped:].tolist()) == greedy.tokens


def test_choice_follows_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.2, 0.0, 0.3])
    numbers = torch.from_numpy((np.arange(1000) + 0.5) / 1000)
    logits = probabilities.log().expand(1000, 4)
    for sampling, expected in (
        (Sampling(), [500, 200, 0, 300]),
        (Sampling(temperature=0.5), [658, 105, 0, 237]),  # 25 : 4 : 9 of 38
        (Sampling(top_p=0.6), [625, 0, 0, 375]),
        (Sampling(top_p=0.5), [1000, 0, 0, 0]),
        (Sampling(temperature=0.0), [1000, 0, 0, 0]),
        (Sampling(epsilon=0.3), [450, 240, 0, 310]),  # 0.7 of the policy's, 0.1 for each possible token
        (Sampling(temperature=0.0, epsilon=0.3), [800, 100, 0, 100]),
        (Sampling(top_p=0.5, epsilon=1.0), [333, 333, 0, 333]),
    ):
        tokens, logp = choose(logits, numbers, sampling)
        assert tokens.bincount(minlength=4).tolist() == pytest.approx(expected, abs=1)
        torch.testing.assert_close(logp, probabilities.log()[tokens])


def test_bad_sampling_is_refused() -> None:
    for temperature, top_p in ((-1.0, 1.0), (1.0, 0.0), (1.0, 1.1)):
        with pytest.raises(ConfigError):
            Sampling(temperature, top_p)
    with pytest.raises(ConfigError, match="epsilon <= 1"):
        Sampling(epsilon=1.1)


def test_a_roaming_view_samples_otherwise_and_scores_the_same(policy: LanguageModel) -> None:
    seen = observations(2)
    roaming = policy.tempered(0.2).roaming(0.5)
    assert (roaming.sampling.temperature, roaming.sampling.epsilon, policy.sampling.epsilon) == (0.2, 0.5, 0.0)
    rows = roaming.propose(seen, 6, seeds=range(len(seen)))
    assert rows != policy.tempered(0.2).propose(seen, 6, seeds=range(len(seen)))
    assert rows == policy.tempered(0.2).roaming(0.5).propose(seen, 6, seeds=range(len(seen)))
    for observation, row in zip(seen, rows, strict=True):
        for proposal in row:
            play = Trajectory(Problem("p"), (Step(observation, proposal),), Verdict(Status.REJECTED, (0.0,), "none"))
            assert proposal.logp == pytest.approx(float(policy.logp([play]).detach().sum()), abs=1e-3)


def test_chunks_hold_everything_once_within_the_budget() -> None:
    sizes = [(length, length % 7) for length in (5, 90, 31, 31, 2, 77, 64, 1)]
    batches = chunks(sizes, 130)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    for batch in batches:
        width = max(sizes[i][0] for i in batch) + max(sizes[i][1] for i in batch)
        assert len(batch) == 1 or width * len(batch) <= 130
