"""A language model's proposals computed by vLLM, for GPUs: the prompts, actions and log-probabilities of `hf.py`.

    text = LanguageModel.load(FOLDER)            its tokenizer, layout and ends; on the CPU
    policy = Vllm(text, engine(FOLDER))          vLLM serves the same folder, or the same hub name

The offline engine (`vllm.LLM.generate`) takes token ids and one `SamplingParams` for each observation, so a row keeps
its own seed; prompts that begin alike share vLLM's own prefix cache. Log-probabilities are those of the untempered
model (`logprobs_mode` "raw_logprobs", vLLM's default since 0.10). Needs the extra [vllm]: no build for CPUs alone.

**Not run here against vLLM itself**, for want of a GPU. The tests hold this file to vLLM's documented calls and answers
with a stand-in engine. What a sample becomes depends on vLLM's kernels and batches; only seeds are promised, not equal
results. For training, copy the new weights to the folder and open a new engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from surpass.core import Observation, Proposal
from surpass.errors import ConfigError, ModelError
from surpass.models.hf import LanguageModel

_SEEDS = 2**63  # vLLM's seeds are signed


class Completion(Protocol):
    """One sample, as vLLM answers it."""

    token_ids: Sequence[int]
    logprobs: Sequence[Mapping[int, Any]] | None  # of each token: id -> an object with `logprob`


class Answer(Protocol):
    """The samples of one prompt."""

    outputs: Sequence[Completion]


class Engine(Protocol):
    """What is used of `vllm.LLM`."""

    def generate(self, prompts: Any, sampling_params: Any, *, use_tqdm: bool) -> Sequence[Answer]: ...


def engine(model: Path | str, **options: object) -> Engine:
    """Return vLLM's offline engine for a saved policy or a hub name; `options` are those of `vllm.LLM`.

    Raises ConfigError where vLLM is not installed.
    """
    found: Engine = _vllm().LLM(model=str(model), **{"logprobs_mode": "raw_logprobs", **options})
    return found


class Vllm:
    """A policy: `LanguageModel`'s text, vLLM's computing. It proposes; it cannot be trained."""

    def __init__(self, text: LanguageModel, engine: Engine, *, temperature: float = 1.0, top_p: float = 1.0) -> None:
        """Take the text side of a policy and an engine that serves the same weights."""
        if text.network.config.is_encoder_decoder:
            raise ConfigError("vLLM: expected a causal model, found an encoder-decoder")
        self.text, self.engine = text, engine
        self.temperature, self.top_p = temperature, top_p

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` sampled proposals for each observation. Raises ModelError for an answer that does not fit."""
        vllm = _vllm()
        ends = sorted(self.text.vocabulary.ends)
        prompts = [vllm.TokensPrompt(prompt_token_ids=list(ids)) for ids in self.text.prompts(observations)]
        each: Callable[..., object] = vllm.SamplingParams
        asked = [
            each(
                n=n,
                seed=seed % _SEEDS,
                temperature=self.temperature,
                top_p=self.top_p,
                max_tokens=self.text.layout.max_new,
                stop_token_ids=ends,
                logprobs=0,  # of the sampled token alone
                detokenize=False,
            )
            for seed in seeds
        ]
        answers = self.engine.generate(prompts, asked, use_tqdm=False)
        if [len(one.outputs) for one in answers] != [n] * len(observations):
            found = [len(one.outputs) for one in answers]
            raise ModelError(f"vLLM: expected {n} samples for each of {len(observations)} prompts, found {found}")
        return [[self._proposal(one) for one in answer.outputs] for answer in answers]

    def _proposal(self, sample: Completion) -> Proposal:
        tokens = tuple(sample.token_ids)
        values = sample.logprobs
        if values is None or len(values) != len(tokens) or not all(t in v for t, v in zip(tokens, values, strict=True)):
            raise ModelError("vLLM: expected the log-probability of every sampled token, found fewer")
        logp = sum(float(value[token].logprob) for token, value in zip(tokens, values, strict=True))
        return Proposal(self.text.decode(tokens), logp, tokens)


def _vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(
            f"expected vLLM, found {error}; pip install 'surpass[vllm]' on a machine with a GPU, or use LanguageModel"
        ) from error
    return vllm
