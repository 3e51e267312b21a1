from __future__ import annotations

from surpass.core import Observation, Problem
from surpass.domains.proofs.rocq.reading import as_read, examples


def lemma(file: str, position: int, tactic: str) -> Problem:
    goals = f"|- {file} {position}"
    data = {"position": position, "solution": [tactic, "Admitted."], "steps": [goals, goals]}
    return Problem(f"{file}.{position}", file, data)


LEMMAS = [lemma("a", 0, "a0."), lemma("b", 9, "b9."), lemma("b", 2, "b2."), lemma("b", 4, "b4."), lemma("c", 0, "c0.")]
REQUIRES = {"b": {"a"}, "a": set[str](), "c": {"a", "b"}}


def known(wanted: set[str]) -> dict[str, set[str]]:
    """What a reader knows on reaching each wanted lemma."""
    return {
        one.key: {p.action for p in memory.propose([Observation("|- x")], 99, seeds=[0])[0]}
        for one, memory in as_read(LEMMAS, wanted, REQUIRES)
    }


def test_what_stands_before_a_lemma_is_known_and_nothing_else() -> None:
    everything = {one.key for one in LEMMAS}
    expected = {"a.0": set[str](), "b.2": {"a0."}, "b.4": {"a0.", "b2."}, "b.9": {"a0.", "b2.", "b4."}}
    expected["c.0"] = {"a0.", "b2.", "b4.", "b9."}
    assert known(everything) == expected


def test_what_is_known_does_not_depend_on_what_is_asked() -> None:
    assert known({"b.9"}) == {"b.9": {"a0.", "b2.", "b4."}}
    assert known(set()) == {}


def test_sentences_that_no_policy_may_say_are_no_examples() -> None:
    assert examples(lemma("a", 0, " a0. ")) == [("|- a 0", "a0.")]
