"""The network of the in-context policymaker: a small Llama-type transformer over the tokens of `reading.py`.

As a policy of the core its observations are histories and its actions are shares, so it is trained by the project's one
loop and sampled by its one decoder. Its numbers begin as waves, so that near ones look alike from the start; the rest
begins at random. Not here: text and tokens, and what it learns from (`teaching.py`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from surpass.core import Observation, Proposal, Trajectory
from surpass.domains.economy.principals.in_context.reading import (
    COUNT,
    LEVELS,
    MOVE,
    PAD,
    SHARE,
    SIZE,
    WELFARE,
    answer_text,
    answer_tokens,
    prompt_tokens,
    start,
)
from surpass.errors import ModelError
from surpass.models.decode import Sampling, Vocabulary, sample
from surpass.models.packing import additive, chunks

WIDTH, LAYERS, HEADS, INNER = 64, 2, 4, 176
POSITIONS = 256  # tokens of the longest text: 20 terms of five rates, with contexts and a reminder
WAVES = 40
SAMPLED = 1 << 14  # padded tokens of a pass of sampling
SCORED = 1 << 11  # nodes of a pass of scoring: as many as one core likes best


class Policymaker:
    """A policy that continues histories. Make one with `untrained` or `load`."""

    def __init__(self, network: LlamaForCausalLM) -> None:
        self.network = network
        self.network.train(False)
        self.temperature = 1.0

    @classmethod
    def untrained(cls, seed: int) -> Self:
        """Return a model that has learned nothing; equal seeds give equal weights."""
        config = LlamaConfig(
            vocab_size=SIZE,
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=None,
        )
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            network = LlamaForCausalLM(config)
            table = network.model.embed_tokens.weight
            table[WELFARE:MOVE] = _waves(MOVE - WELFARE)
            table[MOVE:] = _waves(SIZE - MOVE)
            shares = _waves(LEVELS)
            for begin in range(SHARE, WELFARE, LEVELS):  # of each rate: alike, and moved together
                table[begin : begin + LEVELS] = shares + 0.02 * torch.randn(WIDTH)
        return cls(network)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the frozen model whose weights are in a file. Raises ModelError where it holds none of this shape."""
        model = cls.untrained(0)
        try:
            weights = load_file(path)
        except Exception as error:  # safetensors raises a dozen kinds for a file that is not what it should be
            raise ModelError(
                f"{path} holds no policymaker ({error}); make one with surpass economy policymaker"
            ) from error
        model.load_state_dict({name: value.float() for name, value in weights.items()})
        model.network.requires_grad_(False)
        return model

    def save(self, path: Path) -> None:
        """Write the weights into a file, in half precision."""
        save_file({name: value.half().contiguous() for name, value in self.state_dict().items()}, path)

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return `n` sampled proposals for each observation; row i depends on row i alone."""
        prompts = [prompt_tokens(one.text) for one in observations]
        found: dict[int, list[Proposal]] = {}
        for first in sorted({prompt[0] for prompt in prompts}):  # an answer has as many tokens as there are rates
            rows = [row for row, prompt in enumerate(prompts) if prompt[0] == first]
            samples = sample(
                self.network,
                [prompts[row] for row in rows],
                n,
                seeds=[seeds[row] for row in rows],
                sampling=Sampling(self.temperature, max_new=first - COUNT + 1),
                vocabulary=Vocabulary(PAD, frozenset()),
                budget=SAMPLED,
            )
            for row, some in zip(rows, samples, strict=True):
                begin = start(prompts[row])
                found[row] = [Proposal(answer_text(one.tokens, begin), one.logp, one.tokens) for one in some]
        return [found[row] for row in range(len(prompts))]

    def tempered(self, temperature: float) -> Self:
        """Return a view that shares the weights and samples at that temperature; 0 takes the likeliest numbers."""
        view = copy.copy(self)
        view.temperature = temperature
        return view

    def encode(self, action: str) -> tuple[int, ...]:
        """Raise ModelError: moves depend on what they answer, so a proposal must come with its tokens."""
        raise ModelError(f"policymaker: expected the tokens of an answer, found none for {action[:80]!r}")

    def logp(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """Return log-probabilities [B, T] at temperature 1, with gradient.

        All that the trajectories of one problem have in common is computed once: their tokens are one tree.
        """
        trees = dict[str, _Tree]()
        places = list[list[tuple[str, int, int]]]()  # of each token of each trajectory: tree, node before it, token
        for trajectory in trajectories:
            key = trajectory.problem.key
            tree, row = trees.setdefault(key, _Tree()), list[tuple[str, int, int]]()
            for step in trajectory.steps:
                prompt = prompt_tokens(step.observation.text)
                node = tree.grow(-1, prompt)
                tokens = step.proposal.tokens or answer_tokens(step.proposal.action, start(prompt))
                for number, token in enumerate(tokens, start=1):
                    row.append((key, node, token))
                    if number < len(tokens):  # nothing follows the last token, so it need not be read
                        node = tree.grow(node, (token,))
            places.append(row)
        states = self._states(trees)
        flat = [place for row in places for place in row]
        logits = self.network.lm_head(torch.stack([states[key][node] for key, node, _ in flat])).float()
        logp = -cross_entropy(logits, torch.tensor([token for *_, token in flat]), reduction="none")
        return pad_sequence(list(torch.split(logp, [len(row) for row in places])), batch_first=True)

    def _states(self, trees: Mapping[str, _Tree]) -> dict[str, Tensor]:
        """Return the last hidden states [nodes, d] of every tree, by its key; padding may follow."""
        keys, found = list(trees), dict[str, Tensor]()
        for batch in chunks([(len(trees[key].tokens), 0) for key in keys], SCORED):
            some = [trees[keys[index]] for index in batch]
            length = max(len(tree.tokens) for tree in some)
            ids, depths = (torch.zeros(len(some), length, dtype=torch.long) for _ in range(2))
            seen = torch.eye(length, dtype=torch.bool).repeat(len(some), 1, 1)  # padding sees itself
            for row, tree in enumerate(some):
                size = len(tree.tokens)
                ids[row, :size], depths[row, :size] = torch.tensor(tree.tokens), torch.tensor(tree.depths)
                seen[row, :size, :size] = tree.ancestors()
            states = self.network.model(
                input_ids=ids,
                attention_mask=additive(seen, self.network.dtype),
                position_ids=depths,
                use_cache=False,
            ).last_hidden_state
            found.update({keys[index]: states[row] for row, index in enumerate(batch)})
        return found

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what training changes."""
        return self.network.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights by name, tied ones once; the tensors are not copied."""
        return {name: value for name, value in self.network.state_dict().items() if name != "lm_head.weight"}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` gave; raises ModelError where names or shapes differ."""
        own = self.state_dict()
        wrong = sorted(set(own) ^ set(state)) or [name for name in own if own[name].shape != state[name].shape]
        if wrong:
            raise ModelError(f"these weights are not a policymaker's: {len(wrong)} differ, first {wrong[0]}")
        self.network.load_state_dict(dict(state), strict=False)


class _Tree:
    """Token sequences that begin alike, as one row. A node is a token after those above it."""

    def __init__(self) -> None:
        self.tokens, self.depths = list[int](), list[int]()
        self._above = list[int]()
        self._below = dict[tuple[int, int], int]()

    def grow(self, node: int, tokens: Sequence[int]) -> int:
        """Return the node that tokens lead to from a node, or from above the root, -1; what is missing is added."""
        for token in tokens:
            below = self._below.setdefault((node, token), len(self.tokens))
            if below == len(self.tokens):
                self.tokens.append(token)
                self.depths.append(0 if node < 0 else self.depths[node] + 1)
                self._above.append(node)
            node = below
        return node

    def ancestors(self) -> Tensor:
        """Return which nodes each node sees [nodes, nodes]: itself and those above."""
        seen = np.eye(len(self.tokens), dtype=np.bool_)
        for node, above in enumerate(self._above):
            if above >= 0:
                seen[node] |= seen[above]
        return torch.from_numpy(seen)


def _waves(count: int) -> Tensor:
    """Return embeddings [count, width] of evenly spaced numbers: waves over their range, fast ones fainter, mixed."""
    places, waves = torch.linspace(0, math.pi, count), torch.arange(1, WAVES + 1)
    angles = places[:, None] * waves
    mixed = torch.cat([angles.cos(), angles.sin()], 1) / waves.sqrt().repeat(2) @ torch.randn(2 * WAVES, WIDTH)
    return 0.02 * mixed / mixed.std()
