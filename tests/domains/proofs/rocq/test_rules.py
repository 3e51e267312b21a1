from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.proofs.rocq.rules import LONGEST, as_sentence, normalise, refusal
from surpass.domains.proofs.rocq.sentences import split

CHEATS = json.loads(Path("tests/cheats/rocq.json").read_text())
PIECES = [
    "idtac",
    ".",
    ". ",
    "(",
    ")",
    "(*",
    "*)",
    '"',
    "...",
    "..",
    "-",
    "{",
    "}",
    "1:",
    "all:",
    " ",
    "\n",
    "Axiom",
    "Z.a",
]
ADVERSARIAL = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ("auto.", "(auto)."),
        ("intros n m; simpl in *.", "(intros n m; simpl in *)."),
        ("eauto using f with *.", "(eauto using f with *)."),
        ("2: split; auto...", "2: (split; auto)..."),
        ("1, 3-4: idtac.", "1, 3-4: (idtac)."),
        ("all: try lia.", "all: (try lia)."),
        ("[x]: idtac.", "[x]: (idtac)."),
        ("!: idtac.", "!: (idtac)."),
        ("exact (f (* . *) x).", "(exact (f (* . *) x))."),
        ('idtac ". (".', '(idtac ". (").'),
        ("Z.order.", "(Z.order)."),
        ("Coq.Numbers.Z.order x.", "(Coq.Numbers.Z.order x)."),
        ("élim x.", "(élim x)."),
        ("-", "-"),
        ("+++", "+++"),
        ("{", "{"),
        ("}", "}"),
        ("2:{", "2:{"),
    ],
)
def test_permitted_actions_are_wrapped(action: str, sentence: str) -> None:
    assert refusal(action) is None
    assert as_sentence(action) == sentence


@pytest.mark.parametrize("case", [case for case in CHEATS if case["level"] == "T0"], ids=lambda case: str(case["name"]))
def test_cheats_are_refused_by_text_alone(case: dict[str, list[str]]) -> None:
    assert any(refusal(normalise(action)) for action in case["tactics"])


@pytest.mark.parametrize("action", ["admitted_lemma.", "apply par_f.", "apply M.admit.", "exact my_native_compute."])
def test_names_that_only_contain_a_forbidden_word_pass(action: str) -> None:
    assert refusal(action) is None


def test_length_has_a_limit() -> None:
    assert refusal("idtac" + " " * (LONGEST - 6) + ".") is None
    assert "at most" in str(refusal("idtac" + " " * LONGEST + "."))


def test_newlines_become_blanks() -> None:
    assert normalise("\n a\n\t b,\r\n c. ") == "a b, c."


@given(ADVERSARIAL)
def test_any_text_has_an_answer_and_what_passes_is_one_closed_sentence(text: str) -> None:
    action = normalise(text)
    if refusal(action) is None:
        sentence = as_sentence(action)
        assert [found.text for found in split(sentence)] == [sentence]
        assert normalise(action) == action
        assert not action[:1].isupper() or "." in action[:-1]
