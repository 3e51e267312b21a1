"""Random and adversarial text at the tactic parser: never a crash, never an accepted non-proof."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surpass.core import Problem, Status
from surpass.domains.proofs.rocq.domain import ProofState, Rocq
from surpass.domains.proofs.rocq.rules import as_sentence, normalise, refusal
from surpass.domains.proofs.rocq.sentences import split
from surpass.domains.proofs.rocq.session import SessionOptions
from tests.domains.proofs.rocq.lemmas import needs_rocq, problems

CHEATS = json.loads(Path("tests/cheats/rocq.json").read_text(encoding="utf-8"))
HOLES = ("R1", "R2", "R3", "R4", "R5", "R6", "R8", "injection", "spoofed output")
SHORT = [tactic for case in CHEATS for tactic in case["tactics"] if len(tactic) < 200 and case["expected"] != "unknown"]
TACTICS = [
    "intros.",
    "exact I.",
    "auto.",
    "split.",
    "idtac",
    "transitivity 5.",
    "assert (0 = 1).",
    "destruct (excluded (0 = 1))",
]
PIECES = [
    ".",
    ". ",
    "...",
    "(",
    ")",
    "(*",
    "*)",
    '"',
    "-",
    "{",
    "}",
    "1:",
    "all:",
    "2:{",
    " ",
    "\n",
    ";",
    "|",
    "[",
    "]",
]
WORDS = st.sampled_from(
    [*SHORT, *TACTICS, *PIECES, "Axiom z : 0 = 1.", "admit", "Qed.", "é", "\x00", "\u2028", "</value>"]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A cheat or a tactic with something put into it, or taken out."""
    text: str = draw(st.sampled_from([*SHORT, *TACTICS]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(WORDS) + text[at + draw(st.integers(0, 2)) :]
    return text


ADVERSARIAL = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=6).map("".join), mutated())


@given(ADVERSARIAL)
def test_what_the_rules_let_pass_is_one_sentence_of_ours(text: str) -> None:
    action = normalise(text)
    if refusal(action) is None:
        sentence = as_sentence(action)
        assert [found.text for found in split(sentence)] == [sentence]


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rocq, Problem]]:
    source = Path("tests/cheats/cheats.v").read_text(encoding="utf-8")
    found = problems(tmp_path_factory.mktemp("adversarial"), source)
    with Rocq(list(found.values()), options=SessionOptions(timeout=1)) as opened:
        yield opened, found["bad"]


@needs_rocq[0]
@needs_rocq[1]
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ADVERSARIAL, min_size=1, max_size=4))
def test_nothing_proves_what_has_no_proof(domain: tuple[Rocq, Problem], texts: list[str]) -> None:
    """The lemma is 0 = 1, which only a forbidden axiom gives: whatever is said, it must not be accepted."""
    rocq, problem = domain
    state: ProofState = rocq.start(problem)
    for text in texts:
        state = rocq.step(state, text)
        verdict = rocq.verify(state)
        if verdict is not None:
            assert verdict.status is not Status.ACCEPTED, texts
            return
        assert rocq.observe(state).text


def test_every_hole_has_its_cases_and_the_page_lists_them() -> None:
    cases = {hole: [case["name"] for case in CHEATS if case["hole"] == hole] for hole in HOLES}
    assert sum(map(len, cases.values())) == len(CHEATS) == len({case["name"] for case in CHEATS})
    assert all(len(found) >= 5 for found in cases.values())
    page = Path("docs/cheats.md").read_text(encoding="utf-8")
    for hole, names in cases.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {hole} |"))
        assert row.split("|")[4].strip() == str(len(names)), hole
        listed = re.findall(r"`([a-z0-9-]+)`", row.split("|")[5])
        assert listed == [name.removeprefix("cheat-") for name in names], hole
