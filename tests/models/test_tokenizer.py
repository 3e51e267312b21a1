"""The tokenizer of models from scratch: nothing is lost, names stay whole, a newline stands alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.errors import ConfigError, ModelError
from surpass.models.presets import PRESETS, preset
from surpass.models.tokenizer import train_tokenizer
from tests.models.tiny import TEXTS

TOKENIZER = train_tokenizer(TEXTS, 400)


def ids(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


@given(st.text())
@settings(deadline=None)
def test_any_text_survives(text: str) -> None:
    assert TOKENIZER.decode(ids(text)) == text


@given(st.text(), st.text())
@settings(deadline=None)
def test_newline_is_a_token_of_its_own(left: str, right: str) -> None:
    assert ids(left + "\n" + right) == ids(left) + ids("\n") + ids(right)
    assert len(ids("\n")) == 1


@pytest.mark.parametrize("name", ["Nat.add_comm", "plus_n_Sm"])
def test_a_name_has_the_same_tokens_wherever_it_stands(name: str) -> None:
    assert len(ids(name)) == 1
    for around in ("({})", "rewrite {}.", "{},", "<- {}", "\n{}\n"):
        assert ids(name)[0] in ids(around.format(name))


def test_the_final_full_stop_is_no_part_of_a_name() -> None:
    assert ids("rewrite Nat.add_comm.")[-1] == ids(".")[0]


def test_training_is_deterministic() -> None:
    assert train_tokenizer(TEXTS, 400).get_vocab() == TOKENIZER.get_vocab()


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(ModelError, match="259"):
        train_tokenizer(TEXTS, 258)


def test_presets_by_name() -> None:
    assert preset("tiny") is PRESETS["tiny"]
    assert all(shape.width % shape.heads == 0 for shape in PRESETS.values())
    with pytest.raises(ConfigError, match=", ".join(PRESETS)):
        preset("huge")
