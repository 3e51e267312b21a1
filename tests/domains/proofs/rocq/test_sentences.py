from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.proofs.rocq.sentences import SentenceError, split
from surpass.errors import DataError

rocq = [
    pytest.mark.rocq,
    pytest.mark.skipif(shutil.which("coqidetop.opt") is None, reason="needs coqidetop.opt: apt-get install coq"),
]


def texts(source: str) -> list[str]:
    return [sentence.text for sentence in split(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", []),
        (" (* only (* nested *) blanks *)\n", []),
        ("Proof. auto.", ["Proof.", "auto."]),
        ("- rewrite H. -- + *** now f.", ["-", "rewrite H.", "--", "+", "***", "now f."]),
        ("-+*{}", ["-", "+", "*", "{", "}"]),
        ("{ split. } 2:{ auto. }", ["{", "split.", "}", "2:{", "auto.", "}"]),
        ("2 : { auto. }", ["2 : {", "auto.", "}"]),
        ("[goal']: { auto. }", ["[goal']: {", "auto.", "}"]),
        ("2: auto. all: auto.", ["2: auto.", "all: auto."]),
        ("apply Nat.add_comm. exact (1.5).", ["apply Nat.add_comm.", "exact (1.5)."]),
        ("exact 1.", ["exact 1."]),
        ("auto... auto.", ["auto...", "auto."]),
        ('Notation "[ a ; .. ; b ]" := (f a .. (f b n) .. ).', ['Notation "[ a ; .. ; b ]" := (f a .. (f b n) .. ).']),
        ('idtac "a. b (* "". ". auto.', ['idtac "a. b (* "". ".', "auto."]),
        ('(* " *) (* " (* *) a. *) b.', ["b."]),
        ("a (* c. *) b. c.", ["a (* c. *) b.", "c."]),
        ("a.(* glued *) b.", ["a.(* glued *) b."]),
        ("(*) a. *) b.", ["b."]),
        ("a - b. x * y.", ["a - b.", "x * y."]),
        ("a.\tb.\rc.\nd.", ["a.", "b.", "c.", "d."]),
    ],
)
def test_split_examples(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


@pytest.mark.parametrize(
    ("source", "what", "offset"),
    [
        ("a.\n(* b (* *)", "comment", 3),
        ('a. idtac "b', "string", 9),
        ('(* " *) a.', "string", 3),
        ("a. b", "sentence", 3),
        ("a. b..", "sentence", 3),
        ("auto (* . ", "comment", 5),
    ],
)
def test_an_unfinished_text_says_what_and_where(source: str, what: str, offset: int) -> None:
    with pytest.raises(DataError, match=f"end of the {what}") as caught:
        split(source)
    assert isinstance(caught.value, SentenceError)
    assert caught.value.offset == offset


def test_undotted_marks_bullets_and_braces_alone() -> None:
    assert [s.undotted for s in split("- { 3:{ a. } +++ b - c.")] == [True, True, True, False, True, True, False]


PIECES = st.sampled_from(
    [".", "..", "...", " ", "\n", "(*", "*)", '"', "-", "+", "*", "{", "}", "2:{", "a", "Nat.add", "1.5", ":=", "é"]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_sentences_are_ordered_slices_and_splitting_is_stable(source: str) -> None:
    try:
        sentences = split(source)
    except SentenceError:
        return  # the examples above say where
    ends = [0, *(s.end for s in sentences)]
    for end, sentence in zip(ends, sentences, strict=False):
        assert end <= sentence.start < sentence.end <= len(source)
        assert sentence.text == source[sentence.start : sentence.end] == sentence.text.strip(" \t\r\n")
        gap = source[end : sentence.start]
        assert not split(gap), "what lies between two sentences holds none"
    again = "\n".join(s.text for s in sentences)
    assert texts(again) == [s.text for s in sentences]


@given(st.lists(st.sampled_from(["auto.", "-", "{", "}", "2:{", "f...", 'p "(*. ".', "x (* y. *) z."])))
def test_joining_then_splitting_gives_the_sentences_back(sentences: list[str]) -> None:
    assert texts(" (* c. *)\n".join(sentences)) == sentences


class TestAgainstTheProver:
    pytestmark = rocq

    # Init/Logic is -noinit; Ascii is not ASCII, so characters and bytes differ.
    @pytest.mark.parametrize("name", ["Init.Logic", "Bool.Bool", "Logic.Classical_Prop", "Strings.Ascii"])
    def test_ranges_are_those_that_coqc_prints(self, name: str, tmp_path: Path) -> None:
        library = Path(subprocess.run(["coqc", "-where"], capture_output=True, text=True, check=True).stdout.strip())
        source = library.joinpath("theories", *name.split(".")).with_suffix(".v")
        if not source.is_file():
            pytest.skip(f"the sources of the standard library are not installed: no {source}")
        copy = tmp_path / source.name
        copy.write_bytes(source.read_bytes())
        flags = ["-q", "-time", "-w", "none", "-top", f"Coq.{name}", *(["-noinit"] if name.startswith("Init.") else [])]
        printed = subprocess.run(
            ["coqc", *flags, copy], capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout
        expected = [(int(a), int(b)) for a, b in re.findall(r"^Chars (\d+) - (\d+) ", printed, re.MULTILINE)]
        text = source.read_text(encoding="utf-8")
        found = [(len(text[: s.start].encode()), len(text[: s.end].encode())) for s in split(text)]
        assert expected
        assert found == expected
