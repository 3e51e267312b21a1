"""The vLLM policy against a stand-in that answers as vLLM's documentation says, computed by a tiny model of our own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from surpass.core import Observation, Policy, Problem, Status, Step, Trajectory, Verdict
from surpass.errors import ConfigError, ModelError
from surpass.models.hf import LanguageModel
from surpass.models.vllm import Vllm, engine
from tests.models.tiny import causal

SEEN = [Observation("current state:\n|- n = n\n"), Observation("current state:\n|- True\n")]


@dataclass
class Params:
    """`vllm.SamplingParams`, as far as it is used; an unknown name raises as there."""

    n: int
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    stop_token_ids: list[int]
    logprobs: int
    detokenize: bool


class StandIn:
    """`vllm.LLM`: samples by our own decoder, answers in vLLM's form."""

    def __init__(self, model: str = "", **options: object) -> None:
        self.model, self.options = model, options
        self.asked: list[tuple[list[int], Params]] = []
        self.short = False  # leave a log-probability out

    def generate(
        self, prompts: Sequence[Mapping[str, Any]], sampling_params: Sequence[Params], *, use_tqdm: bool
    ) -> Any:
        assert not use_tqdm
        answers = []
        for prompt, asked in zip(prompts, sampling_params, strict=True):
            self.asked.append((prompt["prompt_token_ids"], asked))
            policy = causal()
            at = next(one for one in SEEN if list(policy.prompts([one])[0]) == prompt["prompt_token_ids"])
            rows = policy.propose([at], asked.n, seeds=[asked.seed])[0]
            outputs = []
            for one in rows:
                step = Step(at, one)
                logps = policy.logp([Trajectory(Problem("p"), (step,), Verdict(Status.UNKNOWN))])[0].tolist()
                found = [
                    {token: SimpleNamespace(logprob=value)} for token, value in zip(one.tokens, logps, strict=True)
                ]
                outputs.append(SimpleNamespace(token_ids=list(one.tokens), logprobs=found[self.short :]))
            answers.append(SimpleNamespace(outputs=outputs))
        return answers


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(LLM=StandIn, SamplingParams=Params, TokensPrompt=dict)
    monkeypatch.setitem(sys.modules, "vllm", module)


def test_proposals_are_those_of_the_language_model() -> None:
    text = causal()
    policy: Policy = Vllm(text, StandIn())
    ours = policy.propose(SEEN, 3, seeds=[5, 2**64 - 1])
    theirs = text.propose(SEEN, 3, seeds=[5, (2**64 - 1) % 2**63])
    assert [[one.action for one in row] for row in ours] == [[one.action for one in row] for row in theirs]
    assert [[one.tokens for one in row] for row in ours] == [[one.tokens for one in row] for row in theirs]
    for mine, other in zip((one for row in ours for one in row), (one for row in theirs for one in row), strict=True):
        assert mine.logp == pytest.approx(other.logp, abs=1e-4)


def test_each_prompt_has_its_own_seed_and_ends_at_any_end_marker() -> None:
    text, stand_in = causal(), StandIn()
    Vllm(text, stand_in, temperature=0.5).propose(SEEN, 2, seeds=[1, 2])
    assert [ids for ids, _ in stand_in.asked] == [list(ids) for ids in text.prompts(SEEN)]
    assert [asked.seed for _, asked in stand_in.asked] == [1, 2]
    for _, asked in stand_in.asked:
        assert (asked.n, asked.temperature, asked.max_tokens) == (2, 0.5, text.layout.max_new)
        assert set(asked.stop_token_ids) == text.vocabulary.ends


def test_an_answer_without_its_log_probabilities_is_refused() -> None:
    broken = StandIn()
    broken.short = True
    with pytest.raises(ModelError, match="log-probability of every sampled token"):
        Vllm(causal(), broken).propose(SEEN, 1, seeds=[0, 0])


def test_the_engine_serves_a_folder_with_untempered_log_probabilities() -> None:
    made = engine("runs/NAME/policies/gfn-0", gpu_memory_utilization=0.5)
    assert isinstance(made, StandIn)
    assert made.model == "runs/NAME/policies/gfn-0"
    assert made.options == {"logprobs_mode": "raw_logprobs", "gpu_memory_utilization": 0.5}


def test_without_vllm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"surpass\[vllm\]"):
        engine("x")


def test_an_encoder_decoder_is_refused() -> None:
    class Encoder:
        network = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=True))

    with pytest.raises(ConfigError, match="causal"):
        Vllm(Encoder(), StandIn())  # type: ignore[arg-type]


def test_it_has_no_log_probabilities_to_train_on() -> None:
    assert not hasattr(Vllm(causal(), StandIn()), "logp")
    assert isinstance(causal(), LanguageModel)
