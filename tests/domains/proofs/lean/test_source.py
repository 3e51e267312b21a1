from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Problem
from surpass.domains.proofs.lean.place import Place
from surpass.domains.proofs.lean.source import blocks, holes, mask
from surpass.errors import DataError

SOURCE = """import Mathlib
/-! A module: sorry -/
open Nat in
/-- It is sorry. -/
@[simp]
theorem a (n : ℕ) : n = n := by
  sorry -- later

lemma b.{u} : True := sorry
/- theorem t := /- nested -/ sorry -/
theorem c' (h : 'a' = "sorry") : True ∧ True := by
  constructor
  · sorry
  · trivial

def d : Nat := sorry
theorem e : True ∧ True := ⟨sorry, sorry⟩
theorem f : True ∧ True := ⟨sorry, trivial⟩
theorem g (n : Nat) : n = n := by
  induction n with
  | zero => sorry
  | succ n ih => rfl
theorem sorry_free : True := trivial

namespace X
private theorem h : True := by sorry
end X
"""
PIECES = [
    "theorem",
    " t",
    " : p",
    " := ",
    "by",
    "sorry",
    "\n",
    "  ",
    "--",
    "/-",
    "-/",
    '"',
    "'",
    "\\",
    "/--",
    "@[",
    "]",
    "·",
]


def test_theorems_with_one_hole_and_what_is_left_out() -> None:
    found, skipped = holes(SOURCE)
    assert [hole.name for hole in found] == ["a", "b", "c'", "g", "h"]
    assert [(one.name, one.line) for one in skipped] == [("d", 16), ("e", 17), ("f", 18)]
    assert [hole.indent for hole in found] == [2, 2, 4, 4, 2]
    assert found[0].before.startswith("open Nat in\n/-- It is sorry. -/\n@[simp]\ntheorem a")
    assert found[1].before == "lemma b.{u} : True := by"
    assert found[2].after == "\n  · trivial"


def test_a_filled_hole_changes_nothing_else() -> None:
    found, _ = holes(SOURCE)
    text = SOURCE
    for hole in reversed(found):
        place = Place("", "", hole.before, hole.after, hole.name, hole.indent)
        text = text[: hole.start] + place.filled(place.script(["trivial"])) + text[hole.end :]
    assert "\n  · trivial\n" in text
    assert "  ·\n    trivial\n  · trivial\n" in text
    assert "theorem a (n : ℕ) : n = n := by\n  trivial -- later\n" in text
    assert "lemma b.{u} : True := by\n  trivial\n/- theorem t" in text
    assert "  | zero =>\n    trivial\n  | succ n ih => rfl\n" in text
    assert text.count("sorry") == SOURCE.count("sorry") - len(found)
    assert holes(text)[0] == []


def test_line_ends_of_another_system_stay() -> None:
    (hole,), _ = holes("theorem a : True := by\r\n  sorry\r\n\r\ntheorem b : True := trivial\r\n")
    assert (hole.before, hole.after) == ("theorem a : True := by", "")


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_masks_and_blocks_keep_every_position(text: str) -> None:
    masked = mask(text)
    assert len(masked) == len(text)
    assert [i for i, one in enumerate(text) if one == "\n"] == [i for i, one in enumerate(masked) if one == "\n"]
    spans = list(blocks(masked))
    assert "".join(text[start:end] for start, end in spans) == text
    for hole in holes(text)[0]:
        assert text[hole.start :].startswith(hole.before.removesuffix("by").rstrip())
        assert text[: hole.end].endswith(hole.after)


@pytest.mark.parametrize(
    "wrong", [{"indent": "x"}, {"indent": None}, {"axioms": 1}, {"file": "A.lean", "position": "x"}]
)
def test_a_damaged_record_is_told(wrong: dict[str, object]) -> None:
    data = {"before": "theorem t : True := by", "name": "t", **({} if "file" in wrong else {"context": ""})}
    assert Place.of(Problem("p", data={"context": "", **data})).name == "t"
    with pytest.raises(DataError, match="the record is damaged"):
        Place.of(Problem("p", data=data | wrong))
    with pytest.raises(DataError, match="'name'"):
        Place.of(Problem("p", data={"before": "", "context": ""}))
