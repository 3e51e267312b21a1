"""Language models as policies: any causal or sequence-to-sequence checkpoint, LoRA or not, or one from scratch.

What is here: text to tokens and back, teacher-forced log-probabilities laid out as `core.Trainable` wants them, and
weights in memory. Reading and writing folders is `checkpoint.py`, what frames a text is `layout.py`, sampling is
`decode.py` and `ragged.py`, masks and micro-batches are `packing.py`, sizes are `presets.py`.

A prompt is the observation's text, cut on the left so that its tail (the current state) stays, then a separator; for a
chat model both are a user's message and the action is the answer. An action is one line: its tokens, then the end
marker, whose log-probability counts: a newline where the tokenizer has one, else, and always in a chat, the end of
sequence. Networks stay in evaluation mode, so no dropout, LoRA's included, makes a log-probability random; a gradient
flows all the same. `Observation.legal` does not restrict what is sampled: the checker judges.

Exactness: in float32, sampled log-probabilities equal teacher-forced ones, and rows are independent of their batch,
within 1e-4. Under bfloat16 (weights or autocast) expect differences of 1e-2 per token.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from surpass.core import Observation, Proposal, Scored, Trajectory
from surpass.errors import ModelError
from surpass.models import checkpoint
from surpass.models.checkpoint import CPU, LoraSpec, Placement, Weights
from surpass.models.decode import Sampling, sample
from surpass.models.layout import Layout, frame, ids, vocabulary
from surpass.models.packing import Pack, Tokens, chunks, likelihood, mean_states
from surpass.models.prefix import PrefixCache
from surpass.models.presets import preset
from surpass.models.probe import probe
from surpass.models.tokenizer import train_tokenizer

__all__ = ["CPU", "LanguageModel", "Layout", "LoraSpec", "Placement"]

SEPARATOR = "\naction:\n"  # for models whose training we decide; a pre-trained one says its own


class LanguageModel:
    """A policy that writes actions token by token. Make one with `load`, `wrap` or `from_scratch`."""

    def __init__(self, weights: Weights, layout: Layout, *, placement: Placement = CPU) -> None:
        self.weights, self.layout, self.placement = weights, layout, placement
        self.network = weights.network
        self.network.train(False)
        if not checkpoint.placed(self.network):
            nn.Module.to(self.network, placement.device)
        if placement.recompute:
            checkpoint.let_recompute(self.network)
        self.tokenizer = weights.tokenizer
        self.sampling = Sampling(max_new=layout.max_new)
        self.prefixes: PrefixCache | None = None
        self._before, self._after = frame(self.tokenizer, layout, encoder=self.network.config.is_encoder_decoder)
        self._separator = ids(self.tokenizer, [layout.separator])[0] if layout.separator else ()
        self._room = layout.max_prompt - len(self._before) - len(self._separator) - len(self._after)
        if self._room < 1:
            taken = layout.max_prompt - self._room
            raise ModelError(f"The frame of a text takes {taken} tokens of max_prompt={layout.max_prompt}: raise that.")
        self.vocabulary = vocabulary(self.tokenizer, self.network)
        newline = () if layout.chat is not None else ids(self.tokenizer, ["\n"])[0]
        self._end = newline[-1] if newline and newline[-1] in self.vocabulary.ends else self.tokenizer.eos_token_id
        if self._end is None:
            raise ModelError("A chat ends with the end of sequence, and the tokenizer has none: set its `eos_token`.")
        checkpoint.check_fit(weights, layout)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        lora: LoraSpec | None = None,
        placement: Placement = CPU,
        layout: Layout | None = None,
        base: str | None = None,
        **loading: Any,
    ) -> Self:
        """Return the model in a folder or under a hub name; `lora` puts fresh adapters on it.

        `layout` overrides the saved one; `base` says where the base of saved adapters lies if it has moved. `loading`
        is for transformers' `from_pretrained`: revision, trust_remote_code, dtype, attn_implementation, device_map,
        quantization_config, ... A `dtype` there counts before the placement's, and what a `device_map` or quantisation
        has placed stays there. Raises ModelError where files are missing, architecture and weights disagree, adapters
        belong to another base, or the network cannot be run on packed actions (`probe.py`; flash attention cannot).
        """
        loading.setdefault("dtype", loading.pop("torch_dtype", placement.dtype))
        weights, found = checkpoint.read(str(path), lora=lora, base=base, loading=loading)
        device = placement.device if loading.get("device_map") is None else str(weights.network.device)
        placement = replace(placement, device=device, dtype=weights.network.dtype)
        return cls(weights, layout or found, placement=placement)._probed()

    @classmethod
    def wrap(
        cls,
        network: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        layout: Layout | None = None,
        placement: Placement | None = None,
    ) -> Self:
        """Return the policy of a model that is loaded already, a peft model with LoRA included; nothing is copied.

        It stays on its device and in its precision unless a `placement` is given. Raises ModelError where it cannot be
        run on packed actions (`probe.py`), or trains what is neither the network's nor LoRA's.
        """
        weights = checkpoint.wrapped(network, tokenizer)
        if placement is None:
            placement = Placement(str(weights.network.device), weights.network.dtype)
        elif not checkpoint.placed(weights.network):
            nn.Module.to(weights.network, placement.dtype)
        return cls(weights, layout or checkpoint.default_layout(weights.network), placement=placement)._probed()

    def _probed(self) -> Self:
        longest = self.layout.max_prompt + self.layout.max_new
        probe(self.network, pad=self.vocabulary.pad, longest=longest, scoring=self._recomputing)
        return self

    @classmethod
    def from_scratch(
        cls, size: str, texts: Iterable[str], seed: int = 0, *, placement: Placement = CPU, separator: str = SEPARATOR
    ) -> Self:
        """Return an untrained Llama-type model of a preset `size`, with a tokenizer trained on `texts`.

        The same texts and seed give the same weights.
        """
        shape = preset(size)
        tokenizer = train_tokenizer([*texts, *[separator] * 100], shape.vocabulary)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.inner,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=shape.max_prompt + shape.max_new,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = LlamaForCausalLM(config)
        nn.Module.to(network, placement.dtype)
        layout = Layout(separator, shape.max_prompt, shape.max_new)
        return cls(Weights(network, tokenizer), layout, placement=placement)

    def save(self, path: str | Path) -> None:
        """Write weights (adapters only, where there are any), tokenizer and layout into a folder."""
        checkpoint.write(path, self.weights, self.layout)

    # Text and tokens

    def prompts(self, observations: Sequence[Observation]) -> list[Tokens]:
        """Return the prompt of each observation: the end of its text, as much as fits, and the separator.

        Raises ModelError for a prompt of no tokens: no text, where the layout and the tokenizer add nothing.
        """
        texts = list(dict.fromkeys(observation.text for observation in observations))
        rows = ids(self.tokenizer, texts) if texts else []
        body = {text: row[-self._room :] for text, row in zip(texts, rows, strict=True)}
        found = [
            (*self._before, *body[observation.text], *self._separator, *self._after) for observation in observations
        ]
        if not all(found):
            raise ModelError("A prompt needs a token, found an observation without text: give the layout a separator.")
        return found

    def encode(self, action: str) -> tuple[int, ...]:
        """Return the tokens of an action, the end marker included; raises ModelError for more than one line."""
        action = action.strip()
        if "\n" in action:
            raise ModelError(f"An action is one line, found {action!r}: replace its newlines by spaces.")
        return (*ids(self.tokenizer, [action])[0], self._end) if action else (self._end,)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the action that tokens spell: their text up to the first newline, stripped."""
        known = [token for token in tokens if token < len(self.tokenizer)]  # embeddings may be padded beyond the names
        return str(self.tokenizer.decode(known, skip_special_tokens=True)).partition("\n")[0].strip()

    def truncated(self, proposal: Proposal) -> bool:
        """Tell whether a proposal stopped at the token limit instead of an end marker."""
        return bool(proposal.tokens) and proposal.tokens[-1] not in self.vocabulary.ends

    # Policy

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` sampled proposals for each observation, equal ones included; row i depends on row i alone."""
        with self._precision():
            samples = sample(
                self.network,
                self.prompts(observations),
                n,
                seeds=seeds,
                sampling=self.sampling,
                vocabulary=self.vocabulary,
                budget=self.placement.micro_tokens,
                prefixes=self.prefixes,
            )
        spelt = {tokens: self.decode(tokens) for tokens in {one.tokens for row in samples for one in row}}
        return [[Proposal(spelt[one.tokens], one.logp, one.tokens) for one in row] for row in samples]

    def tempered(self, temperature: float, *, top_p: float = 1.0) -> Self:
        """Return a view that shares the weights and samples at that temperature; `logp` stays at temperature 1."""
        view = copy.copy(self)
        view.sampling = replace(self.sampling, temperature=temperature, top_p=top_p)
        return view

    def roaming(self, epsilon: float) -> Self:
        """Return a view that shares the weights and draws each token uniformly with that chance."""
        view = copy.copy(self)
        view.sampling = replace(self.sampling, epsilon=epsilon)
        return view

    def remembering(self, megabytes: float = 256.0) -> Self:
        """Return a view that shares the weights and keeps what it computed of prompts, for those that begin alike.

        What it proposes is the same up to rounding. Raises ModelError for an encoder-decoder, whose prompts have no
        reusable beginnings.
        """
        if self.network.config.is_encoder_decoder:
            raise ModelError(f"{type(self.network).__name__} is an encoder-decoder: only causal models reuse prefixes.")
        view = copy.copy(self)
        view.prefixes = PrefixCache(megabytes)
        return view

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log-probabilities [B, T] at temperature 1, with gradient; a step without tokens is encoded."""
        return self._by_trajectory(trajectories)

    def log_stop(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return the log-probability [B, T] that an action would end, by any end marker, in the place of each token."""
        return self._by_trajectory(trajectories, among=self.vocabulary.ends)

    def _by_trajectory(self, trajectories: Sequence[Trajectory], *, among: frozenset[int] | None = None) -> Tensor:
        steps = [step for trajectory in trajectories for step in trajectory.steps]
        prompts = self.prompts([step.observation for step in steps])
        actions = [step.proposal.tokens or self.encode(step.proposal.action) for step in steps]
        pieces = iter(self.logp_pairs(prompts, actions, among=among))
        empty = torch.zeros(0, device=self.network.device)
        rows = [torch.cat([empty, *(next(pieces) for _ in trajectory.steps)]) for trajectory in trajectories]
        return pad_sequence(rows, batch_first=True) if rows else empty.reshape(0, 0)

    def logp_pairs(
        self, prompts: Sequence[Tokens], actions: Sequence[Tokens], *, among: frozenset[int] | None = None
    ) -> list[Tensor]:
        """Return log-probabilities [tokens] of each action after its prompt; what is equal is computed once.

        With `among`, that any of those tokens stands in the place of each.
        """
        together: dict[Tokens, dict[Tokens, None]] = {}
        for prompt, action in zip(prompts, actions, strict=True):
            together.setdefault(prompt, {})[action] = None
        packs = [pack for prompt, group in together.items() for pack in _packs(prompt, list(group))]
        found: dict[tuple[Tokens, Tokens], Tensor] = {}
        for batch in chunks([(len(p.prompt), sum(map(len, p.actions))) for p in packs], self.placement.micro_tokens):
            chosen = [packs[index] for index in batch]
            with self._precision(), self._recomputing() if torch.is_grad_enabled() else nullcontext():
                rows = likelihood(
                    self.network,
                    chosen,
                    pad=self.vocabulary.pad,
                    dtype=self.placement.autocast or self.network.dtype,
                    among=among,
                )
            for pack, row in zip(chosen, rows, strict=True):
                found.update({(pack.prompt, action): piece for action, piece in zip(pack.actions, row, strict=True)})
        return [found[pair] for pair in zip(prompts, actions, strict=True)]

    @torch.no_grad()
    def score(self, observations: Sequence[Observation]) -> list[Scored]:
        """Return the policy over each observation's legal actions, renormalised; ModelError where there are none."""
        for observation in observations:
            if not observation.legal:
                raise ModelError(f"Scoring needs the legal actions of an observation, found none: {observation!r}.")
        legal = [
            (prompt, seen.legal or ()) for prompt, seen in zip(self.prompts(observations), observations, strict=True)
        ]
        pairs = [(prompt, self.encode(action)) for prompt, actions in legal for action in actions]
        totals = iter(piece.sum() for piece in self.logp_pairs(*zip(*pairs, strict=True))) if pairs else iter(())
        priors = [torch.stack([next(totals) for _ in actions]).softmax(0) for _, actions in legal]
        return [Scored(prior=tuple(prior.tolist())) for prior in priors]

    def hidden(self, observations: Sequence[Observation], *, gradient: bool = False) -> Tensor:
        """Return the last hidden states of each prompt, averaged over its tokens: [B, d], float32."""
        prompts = self.prompts(observations)
        distinct = list(dict.fromkeys(prompts))
        found: dict[Tokens, Tensor] = {}
        with torch.set_grad_enabled(gradient), self._precision():
            for batch in chunks([(len(prompt), 0) for prompt in distinct], self.placement.micro_tokens):
                chosen = [distinct[index] for index in batch]
                means = mean_states(self.network, chosen, self.vocabulary.pad).float()
                found.update(zip(chosen, means, strict=True))
        return torch.stack([found[prompt] for prompt in prompts])

    def _precision(self) -> AbstractContextManager[object]:
        if self.placement.autocast is None:
            return nullcontext()
        return torch.autocast(self.network.device.type, self.placement.autocast)

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """Let layers keep no activations for the backward pass, if so placed. Their parts stay in evaluation mode."""
        parts = self.network.modules() if self.placement.recompute else ()
        layers = [part for part in parts if isinstance(part, GradientCheckpointingLayer)]
        for layer in layers:
            layer.training = True  # what transformers asks of a layer before it recomputes
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False

    # Weights

    @property
    def width(self) -> int:
        """The size d of a hidden state."""
        return int(self.network.config.get_text_config().hidden_size)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what training changes: all weights, or the adapters alone; nothing for a frozen copy."""
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights, or the adapters alone where there are any; the tensors are not copied."""
        state = self.network.state_dict()
        return {name: value for name, value in state.items() if self.weights.adapter is None or checkpoint.LORA in name}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` gave; raises ModelError where names or shapes differ."""
        own = self.state_dict()
        wrong = sorted(set(own) ^ set(state)) or [key for key in own if own[key].shape != state[key].shape]
        if wrong:
            raise ModelError(
                f"These weights are not of this model: {len(wrong)} of {len(own)} differ, first {wrong[0]}."
            )
        self.network.load_state_dict(dict(state), strict=False)

    def frozen_copy(self) -> Self:
        """Return a copy that training does not change; weights that are frozen already are shared, not copied."""
        shared = {id(parameter): parameter for parameter in self.network.parameters() if not parameter.requires_grad}
        twin = copy.copy(self)
        twin.weights = self.weights.copied(shared)
        twin.network = twin.weights.network.requires_grad_(False)
        twin.prefixes = None
        return twin


def _packs(prompt: Tokens, actions: Sequence[Tokens]) -> Iterator[Pack]:
    """Yield the actions of a prompt in packs whose actions together are not much longer than the prompt."""
    room = max(128, len(prompt))
    group: list[Tokens] = []
    for action in actions:
        if group and sum(map(len, group)) + len(action) > room:
            yield Pack(prompt, tuple(group))
            group = []
        group.append(action)
    yield Pack(prompt, tuple(group))
