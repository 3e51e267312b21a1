"""What of a row is not the policy's to choose: what frames a text, in plain models and chat models, and what ends an
action. Tokenizers only; cutting long texts and encoding actions is `hf.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surpass.errors import ConfigError, ModelError
from surpass.models.decode import Vocabulary
from surpass.models.packing import Tokens

MARK = "OBSERVATION"


@dataclass(frozen=True, slots=True)
class Layout:
    """How text becomes token rows."""

    separator: str = ""  # between the observation and the action; an encoder needs none
    max_prompt: int = 900  # tokens, separator included
    max_new: int = 88  # tokens of an action, end marker included
    chat: str | None = None  # what the system says under the tokenizer's chat template, perhaps ""; None: plain text

    def __post_init__(self) -> None:
        if self.max_prompt < 16 or self.max_new < 1:
            raise ConfigError(f"Expected max_prompt >= 16 and max_new >= 1, found {self}.")


def ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[Tokens]:
    """Return the tokens of texts as they are: none is added, and none is read as special."""
    return [tuple(row) for row in tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]]


def frame(tokenizer: PreTrainedTokenizerBase, layout: Layout, *, encoder: bool) -> tuple[Tokens, Tokens]:
    """Return the tokens before a text and those after it and its separator, up to where an action begins."""
    return _special(tokenizer, encoder=encoder) if layout.chat is None else _chat(tokenizer, layout.chat)


def _special(tokenizer: PreTrainedTokenizerBase, *, encoder: bool) -> tuple[Tokens, Tokens]:
    """Return the special tokens that the tokenizer puts around a text; a decoder's prompt must stay open."""
    plain = ids(tokenizer, ["a"])[0]
    dressed = tuple(tokenizer("a")["input_ids"])
    begin = next((at for at in range(len(dressed)) if dressed[at : at + len(plain)] == plain), 0)
    return dressed[:begin], dressed[begin + len(plain) :] if encoder else ()


def _chat(tokenizer: PreTrainedTokenizerBase, system: str) -> tuple[Tokens, Tokens]:
    """Return what the chat template puts around a user's message, the opening of the answer included."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": MARK}]
    try:
        # An action is one line, so a template that can open a chain of thought is asked not to.
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except (ImportError, ValueError, TemplateError) as error:
        raise ModelError(
            f"The tokenizer's chat template cannot be used ({str(error).splitlines()[0]}): expected one that takes "
            f"{' and '.join(message['role'] for message in messages)} messages. Where the system has no turn, "
            'say chat="" and put the instruction into `separator`; for a model without template leave `chat` out.'
        ) from error
    before, found, after = str(text).partition(MARK)
    if not found or MARK in after:
        raise ModelError(f"Expected a chat template that shows a message once, found {text!r}: pass another template.")
    first, last = tokenizer([before, after], add_special_tokens=False)["input_ids"]
    return tuple(first), tuple(last)


def vocabulary(tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel) -> Vocabulary:
    """Return the padding id and every id that ends an action: end of sequence, and any token with a newline in it."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    ends = {token for token, text in enumerate(texts) if "\n" in text}
    generation = network.generation_config
    for stop in (tokenizer.eos_token_id, generation.eos_token_id if generation else None):
        ends.update(stop if isinstance(stop, list) else [] if stop is None else [stop])
    if not ends:
        raise ModelError("The tokenizer has neither a newline nor an end of sequence: an action could not end.")
    pad = tokenizer.pad_token_id
    return Vocabulary(pad=0 if pad is None else int(pad), ends=frozenset(ends))
