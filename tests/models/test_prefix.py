"""The prefix cache: proposals stay the same, only what is new is computed, and memory is bounded."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from surpass.conformance import check_policy
from surpass.core import Observation, Proposal
from surpass.errors import ConfigError, ModelError
from surpass.models import prefix
from surpass.models.hf import LanguageModel, Layout
from surpass.models.prefix import PASS, PrefixCache, blocks, waiting
from surpass.models.ragged import BLOCK, Rows
from surpass.objectives.batch import log_return
from surpass.objectives.likelihood import likelihood
from surpass.recipe import Parts, TrainConfig
from surpass.store import Run
from surpass.train import train
from tests.models.tiny import causal, observations, save_byt5, trajectory

TINY: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": 4,
    "intermediate_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
}
SEEN = observations(1, 9, 3, 20, 1, 12)
SEEDS = [5, 6, 7, 8, 9, 10]


@pytest.fixture
def policy() -> LanguageModel:
    return causal()


def alike(first: list[list[Proposal]], second: list[list[Proposal]]) -> None:
    for row, other in zip(first, second, strict=True):
        assert [one.tokens for one in row] == [one.tokens for one in other]
        assert [one.logp for one in row] == pytest.approx([one.logp for one in other], abs=1e-4)


def read(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Listen to the network: the shape of the tokens of every pass."""
    shapes: list[tuple[int, ...]] = []
    forward = policy.network.forward

    def heard(**given: Any) -> Any:
        shapes.append(tuple(given["input_ids"].shape))
        return forward(**given)

    monkeypatch.setattr(policy.network, "forward", heard)
    return shapes


def test_proposals_are_those_without_a_cache(policy: LanguageModel) -> None:
    plain = policy.propose(SEEN, 6, seeds=SEEDS)
    view = policy.remembering()
    alike(view.propose(SEEN, 6, seeds=SEEDS), plain)  # an empty cache
    alike(view.propose(SEEN, 6, seeds=SEEDS), plain)  # all of it known
    alike(view.propose(SEEN[::-1], 6, seeds=SEEDS[::-1])[::-1], plain)
    half = policy.remembering()
    half.propose(SEEN[::2], 6, seeds=SEEDS[::2])
    alike(half.propose(SEEN, 6, seeds=SEEDS), plain)  # some known, some new
    check_policy(view, SEEN)


def test_only_what_is_new_is_computed(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    view = policy.remembering()
    shapes = read(view, monkeypatch)
    text = "z q k w v j z q k w v j"
    first, longer = Observation(text), Observation(text + " y y y x x y x x y x")
    prompts = view.prompts([first, longer])
    common = next(at for at, (a, b) in enumerate(zip(*prompts, strict=False)) if a != b) // BLOCK * BLOCK
    view.propose([first], 1, seeds=[0])
    shapes.clear()
    view.propose([longer], 1, seeds=[0])
    assert common > 0
    assert shapes[0] == (1, len(prompts[1]) - common)
    assert view.prefixes is not None
    assert view.prefixes.tokens == sum(map(len, prompts))
    assert view.prefixes.reused == common
    shapes.clear()
    view.propose([longer], 1, seeds=[1])
    assert shapes[0] == (1, len(prompts[1]) - blocks(prompts[1]) * BLOCK)  # the end, whose logits are wanted


def test_a_beginning_that_many_lack_is_computed_once(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = "z q k w v j " * 3
    seen = [Observation(begin + end) for end in ("x", "y", "x y", "y y", "x x", "y x", "z")]
    seeds = range(len(seen))
    plain = policy.propose(seen, 3, seeds=seeds)
    view = policy.remembering()
    shapes = read(view, monkeypatch)
    alike(view.propose(seen, 3, seeds=seeds), plain)
    prompts = view.prompts(seen)
    common = next(at for at, tokens in enumerate(zip(*prompts, strict=False)) if len(set(tokens)) > 1) // BLOCK * BLOCK
    saved = common * (len(seen) - 1)
    assert saved > PASS
    assert shapes[0][1] + shapes[1][1] == sum(map(len, prompts)) - saved
    assert view.prefixes is not None
    assert view.prefixes.reused == saved


def test_other_weights_are_noticed(policy: LanguageModel) -> None:
    twin = policy.frozen_copy()
    view = twin.remembering()
    before = view.propose(SEEN, 4, seeds=SEEDS)
    with torch.no_grad():
        for parameter in twin.network.parameters():
            parameter.add_(0.05 * torch.sin(torch.arange(parameter.numel()).reshape(parameter.shape)))
    after = twin.propose(SEEN, 4, seeds=SEEDS)
    assert [[one.tokens for one in row] for row in after] != [[one.tokens for one in row] for row in before]
    alike(view.propose(SEEN, 4, seeds=SEEDS), after)
    assert view.frozen_copy().prefixes is None


def test_a_step_of_training_is_noticed(tmp_path: Path) -> None:
    view = copy.deepcopy(causal()).remembering()
    before = view.propose(SEEN, 4, seeds=SEEDS)
    shown = trajectory((SEEN[0], before[0][0]))
    parts: Parts[Hashable] = Parts(
        view, (), partial(likelihood, accepted_only=False), log_return, lessons=lambda step: [shown]
    )
    train(TrainConfig(steps=1, learning_rate=0.03), parts, Run.create(tmp_path / "run", {}))
    found = view.propose(SEEN, 4, seeds=SEEDS)
    view.prefixes = None
    after = view.propose(SEEN, 4, seeds=SEEDS)
    assert [[one.tokens for one in row] for row in after] != [[one.tokens for one in row] for row in before]
    alike(found, after)


def test_blocks_that_were_not_copied_are_forgotten(policy: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    view = policy.remembering()

    def interrupted(_: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prefix, "_pieces", interrupted)
        with pytest.raises(KeyboardInterrupt):
            view.propose(SEEN, 3, seeds=SEEDS)
    assert view.prefixes is not None
    assert len(view.prefixes) == 0
    alike(view.propose(SEEN, 3, seeds=SEEDS), policy.propose(SEEN, 3, seeds=SEEDS))


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_a_small_cache_forgets_and_stays_right(policy: LanguageModel, slots: int) -> None:
    config = policy.network.config
    block = 2 * 4 * BLOCK * config.num_hidden_layers * config.hidden_size
    plain = policy.propose(SEEN, 3, seeds=SEEDS)
    view = policy.remembering(megabytes=(slots + 0.5) * block / 2**20)
    for begin in (0, 2, 4, 1, 3, 0):
        part = slice(begin, begin + 2)
        alike(view.propose(SEEN[part], 3, seeds=SEEDS[part]), plain[part])
        assert view.prefixes is not None
        assert len(view.prefixes) <= slots
    alike(view.propose(SEEN, 3, seeds=SEEDS), plain)


def test_the_block_used_longest_ago_gives_way() -> None:
    cache = PrefixCache(megabytes=3 * 2 * 4 * BLOCK / 2**20)  # three blocks of one layer and head of size 1
    network = LlamaForCausalLM(LlamaConfig(**TINY))
    one, two, other = (tuple(range(begin, begin + BLOCK)) for begin in (0, 100, 200))

    def rows(count: int) -> Rows:
        found = Rows(network, count, 3 * BLOCK, pad=0)
        found.layers[0].open([torch.zeros(1, 1), torch.zeros(1, 1)])  # keys and values of one head of size 1
        return found

    def keep(prompt: tuple[int, ...]) -> None:
        row = rows(1)
        for room in row.layers[0].rooms:
            room[0, : len(prompt), 0, 0] = torch.tensor(prompt)
        cache.keep(row, {0: prompt})

    keep((*one, *two, 0))
    keep((*other, 0))
    assert len(cache) == 3
    slots = cache.find((*one, *two, 7))
    assert len(slots) == 2
    loaded = rows(2)
    cache.load(loaded, {0: slots, 1: cache.find((*other, 0))})
    for room in loaded.layers[0].rooms:
        assert room.flatten().tolist() == [*one, *two, *[0] * BLOCK, *other, *[0] * 2 * BLOCK]
    assert loaded.filled.tolist() == [2 * BLOCK, BLOCK]
    cache.find((*one, *two, 0))
    keep((*two, 0))  # equal tokens in another place are another block, and `other` was used longest ago
    assert cache.find((*other, 0)) == []
    assert len(cache.find((*one, *two, 0))) == 2
    keep((*other, 0))
    assert cache.find((*two, 0)) == []
    assert cache.find((*one, *two, 0)) == slots  # a block outlives those behind it


@given(st.lists(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=60).map(tuple), max_size=9))
def test_who_waits_finds_what_it_lacks(prompts: list[tuple[int, ...]]) -> None:
    late = waiting(prompts, [0] * len(prompts))
    soon = [index for index in range(len(prompts)) if index not in late]
    begun = {prompts[index][:BLOCK] for index in soon}
    assert all(prompts[index][:BLOCK] in begun for index in late)
    read = {prompt[: at * BLOCK] for prompt in prompts for at in range(1, blocks(prompt) + 1)}
    apart = sum(map(blocks, prompts))
    if apart - len(read) <= PASS // BLOCK:  # not even all that is equal is worth a pass
        assert not late


def test_what_cannot_be_cached_is_refused(tmp_path: Path) -> None:
    for megabytes in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="megabytes"):
            PrefixCache(megabytes)
    model = LanguageModel.load(save_byt5(tmp_path / "byt5"), layout=Layout("", 64, 16))
    with pytest.raises(ModelError, match="encoder-decoder"):
        model.remembering()
