"""Rows of unequal length without padding: spans cover every new token once, and answers are those of padded rows."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from surpass.models import decode
from surpass.models.decode import Sampling, sample
from surpass.models.hf import LanguageModel
from surpass.models.ragged import CALL, Rows, _spans
from tests.models.tiny import causal, observations


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), min_size=1, max_size=40))
def test_spans_hold_every_new_token_once_and_cost_no_more_than_one(sizes: list[tuple[int, int]]) -> None:
    counts = np.array([new for new, _ in sizes])
    columns = np.array([new + before if new else 0 for new, before in sizes])
    spans = _spans(counts, columns, torch.device("cpu"))
    tokens = [(row, at) for row, new in enumerate(counts) for at in range(new)]
    found = list[tuple[int, int]]()
    for span in spans:
        rows = range(span.rows.start, span.rows.stop)
        asked = tokens[span.tokens]
        grid = span.places if span.places is not None else torch.arange(len(rows) * span.queries)
        assert len(grid) == len(asked)
        for (row, at), place in zip(asked, grid.tolist(), strict=True):
            # The last token of a row asks in the last place.
            assert (rows[place // span.queries], place % span.queries - span.queries) == (row, at - counts[row])
        assert span.columns == columns[rows].max()
        found += asked
    assert found == tokens

    def cost(parts: list[tuple[int, int, int]]) -> int:
        return sum(rows * queries * most + CALL for rows, queries, most in parts)

    # No worse than a call for each row that asks.
    each = [(1, int(new), int(wide)) for new, wide in zip(counts, columns, strict=True) if new]
    assert cost([(s.rows.stop - s.rows.start, s.queries, s.columns) for s in spans]) <= cost(each)


@pytest.fixture
def policy() -> LanguageModel:
    return causal()


def test_nothing_is_padded(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = list[tuple[int, ...]]()
    forward = policy.network.forward

    def heard(**given: Any) -> Any:
        shapes.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(policy.network, "forward", heard)
    prompts = policy.prompts(observations(1, 9, 3, 20))
    rows = sample(
        policy.network, prompts, 6, seeds=range(4), sampling=policy.sampling, vocabulary=policy.vocabulary, budget=10**6
    )
    begun = [
        {
            (prompt, one.tokens[:step])
            for prompt, row in zip(prompts, rows, strict=True)
            for one in row
            if one.tokens[step:]
        }
        for step in range(policy.sampling.max_new)
    ]
    expected = [sum(map(len, prompts)), *(len(branches) for branches in begun[1:] if branches)]
    assert shapes == [(1, tokens) for tokens in expected]


def test_a_network_without_the_interface_gets_padded_rows_and_says_the_same(policy: LanguageModel) -> None:
    prompts = policy.prompts(observations(1, 9, 3, 20, 1))
    found = []
    for attention in ("sdpa", "eager"):
        policy.network.set_attn_implementation(attention)
        found.append(
            sample(
                policy.network,
                prompts,
                6,
                seeds=range(5),
                sampling=Sampling(max_new=16),
                vocabulary=policy.vocabulary,
                budget=10**6,
            )
        )
    policy.network.set_attn_implementation("sdpa")
    for row, other in zip(*found, strict=True):
        assert [one.tokens for one in row] == [one.tokens for one in other]
        assert [one.logp for one in row] == pytest.approx([one.logp for one in other], abs=1e-4)


def test_a_network_on_several_devices_gets_padded_rows_and_no_indices(
    policy: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = LlamaForCausalLM(
        LlamaConfig(vocab_size=8, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1)
    )
    assert not Rows(network, 2, 4, pad=0).padded
    network.lm_head.to("meta")
    assert Rows(network, 2, 4, pad=0).padded
    kept = list[object]()
    forward = policy.network.forward

    def heard(**given: Any) -> Any:
        kept.append(given["logits_to_keep"])
        return forward(**given)

    monkeypatch.setattr(policy.network, "forward", heard)
    policy.propose(observations(3), 4, seeds=[0])  # one row, which is not padded
    assert kept[0] == 1
    assert {type(one) for one in kept} == {int}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_what_was_decoded_is_free_without_a_collection(
    policy: LanguageModel, monkeypatch: pytest.MonkeyPatch, attention: str
) -> None:
    made = list[weakref.ref[Rows]]()

    def noted(*given: Any, **named: Any) -> Rows:
        rows = Rows(*given, **named)
        made.append(weakref.ref(rows))
        return rows

    monkeypatch.setattr(decode, "Rows", noted)
    monkeypatch.setattr(policy.network.config, "_attn_implementation", attention)
    gc.collect()
    gc.disable()
    try:
        policy.remembering().propose(observations(1, 9, 3), 4, seeds=[0, 1, 2])
        assert [rows() for rows in made] == [None]
    finally:
        gc.enable()


def test_attention_is_put_back_when_a_pass_fails(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(policy.network, "forward", broken)
    with pytest.raises(RuntimeError, match="memory"):
        policy.propose(observations(1), 1, seeds=[0])
    assert policy.network.config._attn_implementation == "sdpa"
