"""Words: the smallest domains whose spaces can be listed, letter by letter or whole, for tables and language models.

A word is worth what `worth` says, everything else is worth nothing. `Letters` has one action for each letter and says
which are legal (a language model may write others, which are wrong); `Word` has one action, any text. `small_model` is
a transformer over a few tokens, so few that all it can do is listed by `texts`: an action is one token for each letter
and an end, or cut at the limit, and no two token sequences spell the same text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from surpass.core import Domain, Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.models.checkpoint import Weights
from surpass.models.hf import LanguageModel, Layout
from surpass.models.presets import preset

PROMPT = ":"  # the last that a language model reads; as a letter it is wrong
# What comes before it, where nothing was written yet. A transformer with rotary positions that has read one letter n
# times has the same states for every n: after ":" alone it could not tell "" from ":", nor learn every target.
START = "\n"


@dataclass(frozen=True, slots=True)
class State:
    """What was written, and whether it is done."""

    problem: str  # Problem.key
    text: str = ""
    done: bool = False


def judged(text: str, worth: Mapping[str, float], solved: float) -> Verdict:
    """Return the verdict on a text: accepted where it is worth at least `solved`."""
    value = worth.get(text, 0.0)
    return Verdict(Status.ACCEPTED if value >= solved else Status.REJECTED, (value,), "words 1; T3")


@dataclass(frozen=True, slots=True)
class Letters:
    """Write a word of a given length, a letter at a time; a `surpass.core.Domain` over `State`."""

    letters: tuple[str, ...]
    length: int
    worth: Mapping[str, float] = field(hash=False)
    solved: float  # the return from which a word counts as a solution

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the one problem there is, whatever the split."""
        del split
        yield Problem("letters")

    def start(self, problem: Problem) -> State:
        return State(problem.key)

    def observe(self, state: State) -> Observation:
        """Return what is written so far."""
        return Observation(f"word: {state.text}", () if state.done else self.letters, 0, state.text)

    def step(self, state: State, action: str) -> State:
        """Return the text with one more letter, or a rejected state."""
        if state.done or action not in self.letters:
            return State(state.problem, state.text + "?", done=True)
        text = state.text + action
        return State(state.problem, text, done=len(text) == self.length)

    def verify(self, state: State) -> Verdict | None:
        return judged(state.text, self.worth, self.solved) if state.done else None


@dataclass(frozen=True, slots=True)
class Word:
    """Write a word at once; a `surpass.core.Domain` over `State`. What is legal is not said."""

    worth: Mapping[str, float] = field(hash=False)
    solved: float
    shown: str = ""  # all that is observed

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the one problem there is, whatever the split."""
        del split
        yield Problem("word")

    def start(self, problem: Problem) -> State:
        return State(problem.key)

    def observe(self, state: State) -> Observation:
        return Observation(self.shown, None, 0, state.text)

    def step(self, state: State, action: str) -> State:
        """Return the finished state; a second word is rejected."""
        return State(state.problem, "?" if state.done else action, done=True)

    def verify(self, state: State) -> Verdict | None:
        return judged(state.text, self.worth, self.solved) if state.done else None


def small_model(letters: str, longest: int, *, seed: int) -> LanguageModel:
    """Return an untrained transformer of the preset "tiny" over these letters, the prompt's and an end marker.

    An action has at most `longest` tokens, the end included. Text in other letters has no tokens.
    """
    shape = preset("tiny")
    names = {START: 0, PROMPT: 1, **{letter: 2 + i for i, letter in enumerate(letters)}}
    raw = Tokenizer(models.BPE(vocab=names, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw, eos_token="\n", pad_token="\n", clean_up_tokenization_spaces=False
    )
    config = LlamaConfig(
        vocab_size=len(names),
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=16 + longest,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LlamaForCausalLM(config)
    return LanguageModel(Weights(network, tokenizer), Layout(PROMPT, 16, longest))


def texts(domain: Domain[State], policy: LanguageModel) -> Iterator[Trajectory]:
    """Yield everything that the policy can do in the one problem there is.

    An action is one of V^longest or so of V tokens, in order of length; what follows it, if anything, comes before the
    next one.
    """
    (problem,) = domain.problems("train")
    longest = policy.sampling.max_new
    (end,) = policy.vocabulary.ends
    inner = [token for token in range(len(policy.tokenizer)) if token != end]
    written = [
        letters if length == longest else (*letters, end)
        for length in range(longest + 1)
        for letters in itertools.product(inner, repeat=length)
    ]
    actions = [Proposal(policy.decode(tokens), None, tokens) for tokens in written]

    def after(state: State, steps: tuple[Step, ...]) -> Iterator[Trajectory]:
        verdict = domain.verify(state)
        if verdict is not None:
            yield Trajectory(problem, steps, verdict, {"end": "verdict"})
            return
        seen = domain.observe(state)
        for proposal in actions:
            yield from after(domain.step(state, proposal.action), (*steps, Step(seen, proposal)))

    yield from after(domain.start(problem), ())


def prefix_reward(trajectories: Sequence[Trajectory], *, domain: Word, policy: LanguageModel, floor: float) -> Tensor:
    """Return log R [B, T] of the text that ends before each token, at least `floor`, for `Heads.prefix_reward`."""
    from surpass.objectives.batch import log_return

    rows = []
    for trajectory in trajectories:
        (step,) = trajectory.steps
        cuts = [policy.decode(step.proposal.tokens[:t]) for t in range(len(step.proposal.tokens))]
        prefixes = [Trajectory(trajectory.problem, (step,), judged(text, domain.worth, domain.solved)) for text in cuts]
        rows.append(log_return(prefixes, floor=floor))
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)
