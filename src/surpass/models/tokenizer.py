"""A byte-level BPE trained in memory, for models that start from scratch.

Identifiers (`plus_n_Sm`, `Nat.add_comm`, `H'`) are never merged with what stands around them, so a name has the same
tokens wherever it appears and a model can copy it from the prompt into an action. Blanks belong to the symbols beside
them, and a newline is always a token of its own: it ends an action. Every byte is in the alphabet, so any text
survives encoding and decoding. Loading the tokenizer of a pre-trained model is `hf.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from surpass.errors import ModelError

PAD, START, END = "<pad>", "<s>", "</s>"
PIECES = r"[\p{L}\p{N}_][\p{L}\p{N}_']*(?:\.[\p{L}_][\p{L}\p{N}_']*)*|\n|[^\p{L}\p{N}_\n]+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE of at most `vocabulary` tokens, trained on `texts`; the same texts give the same tokens.

    Raises ModelError where `vocabulary` cannot hold the 256 bytes and the three special tokens.
    """
    special = [PAD, START, END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet) + len(special):
        raise ModelError(
            f"A byte-level vocabulary needs {len(alphabet) + len(special)} tokens; {vocabulary} were asked for."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=sorted(alphabet), show_progress=False
        ),
    )
    start = (START, tokenizer.token_to_id(START))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[start])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )
