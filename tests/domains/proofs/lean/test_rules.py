from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.proofs.lean.rules import LONGEST, normalise, refusal

CHEATS = [row for row in json.loads(Path("tests/cheats/lean.json").read_text()) if row["level"] == "T0"]
PERMITTED = [
    "simp",
    "intro h",
    "rw [Nat.add_comm a b] at h ⊢",
    "rcases h with ⟨x, hx⟩ | h'",
    "exact ⟨_, fun x hx => (f x).2 hx⟩",
    "refine ⟨?left, ?_⟩",
    "constructor <;> simp_all",
    "exact (Set.image_subset f '' h).trans h'",
    "show f ⁻¹' s = t",
    "simp [List.head?_cons, xs.get?]",
    "exact xs.head?",
    "norm_num [Real.sqrt_eq_iff'] at h₁",
    "nlinarith [sq_nonneg (a - b), mul_self_nonneg (a + b)]",
    "induction n with\n  | zero => simp\n  | succ n ih => simp [ih]",
    "calc a = b := h\n  _ = c := by ring",
    "· simp",
    "show #s = 1",
    "exact s \\ t",
    "exact h.«end»",
    'exact String.append_assoc "theorem" "sorry" x',
    "simp (config := { decide := true })",
    "all_goals omega",
    "conv => lhs; rw [h]",
    "have key : ∀ ε > 0, ∃ δ > 0, ∀ x, |x| < δ → |f x| < ε := by intro ε hε; exact h ε hε",
    "let rec f := 1",
    "by_contra! h",
    "use 2 * x, 1.5",
]
PIECES = [
    *(
        "simp",
        "sorry",
        "theorem t : False := by",
        "exact",
        "'",
        '"',
        "\\",
        "«",
        "»",
        "a",
        "λ",
        "é",
        "₁",
        "0b1",
        "2",
        "0x",
    ),
    *(
        "--",
        "/-",
        "-/",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "⟨",
        "⟩",
        "\n",
        "\n  ",
        " ",
        ".",
        "..",
        "#",
        "eval",
        "`",
        "@[",
        "s!",
    ),
    *("''", "⁻¹'", "?", "!", "native", "set_option", "open", "in", ";", "<;>", "·", "=>", "by", "exact?", "_", "|"),
]
ADVERSARIAL = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@pytest.mark.parametrize("action", PERMITTED)
def test_what_proofs_are_made_of_is_permitted(action: str) -> None:
    assert refusal(action) is None
    assert normalise(action) == action


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: str(cheat["name"]))
def test_cheats_are_refused(cheat: dict[str, str]) -> None:
    assert refusal(normalise(cheat["tactic"]))


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("exact h\naxiom", "indented"),
        ("simp" * LONGEST, "at most 4096 characters, found 16384"),
        ("exact h)", "closes nothing"),
        ("exact [h", "left open"),
        ("rw [h]?, simp -- done", "comment"),
        ("exact x\u00a0y", "U\\+00A0"),
    ],
)
def test_a_refusal_says_what_is_wrong(action: str, reason: str) -> None:
    assert re.search(reason, refusal(action) or "")


@given(ADVERSARIAL)
def test_any_text_has_an_answer(text: str) -> None:
    action = normalise(text)
    assert normalise(action) == action
    said = refusal(action)
    assert said is None or said


@given(ADVERSARIAL)
def test_no_word_of_a_hole_stands_outside_a_string(text: str) -> None:
    """An oracle of its own: strings cut out by a loop, then words between characters that no name has."""
    action = normalise(text)
    if refusal(action) is not None:
        return
    bare, position, inside = list[str](), 0, False
    while position < len(action):
        if inside and action[position] == "\\":
            position += 2
            continue
        inside ^= action[position] == '"'
        bare.append(" " if inside else action[position])
        position += 1
    assert not re.search(r"(?<![\w'?!])(?:sorry|native)(?![\w'?!])", "".join(bare))
    assert not re.search(r"(?<![\w'?!.»)\]⟩])(?:theorem|set_option|open)(?![\w'?!])", "".join(bare))
    assert not {"--", "/-"} & {action[i : i + 2] for i in range(len(action)) if '"' not in action}


@given(st.sampled_from(PERMITTED), st.sampled_from([row["tactic"] for row in CHEATS if row["tactic"].strip()]))
def test_a_cheat_behind_a_tactic_is_refused(action: str, cheat: str) -> None:
    assert refusal(normalise(f"{action} {cheat}"))


@given(ADVERSARIAL)
def test_brackets_of_ours_stay_closed(text: str) -> None:
    """In `(tactic)` nothing that is permitted closes our bracket early, or leaves it open."""
    action = normalise(text)
    if refusal(action) is None and '"' not in action and "«" not in action:
        depth = 0
        for character in action:
            depth += {"(": 1, ")": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
