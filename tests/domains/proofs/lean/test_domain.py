from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from surpass.conformance import check_domain
from surpass.core import Problem, Status, Verdict, replay
from surpass.domains.proofs.lean.domain import Lean
from surpass.domains.proofs.lean.protocol import Json, Repl
from surpass.domains.proofs.lean.replay import Recorded, Replay
from surpass.domains.proofs.lean.session import SessionOptions
from surpass.domains.proofs.lean.trust import CHECK, recheck
from surpass.errors import DataError, VerifierError
from tests.domains.proofs.lean import recordings
from tests.domains.proofs.lean.recordings import GOAL, SWAP, exchanges, message, ran, stated

SOLUTION = ["constructor", "exact h.2", "exact h.1"]
CHEATS = [row for row in json.loads(Path("tests/cheats/lean.json").read_text()) if row["level"] != "T0"]
Pairs = list[tuple[dict[str, Any], dict[str, Any]]]


class Watched:
    """Starts replays and keeps them, to be asked what went through them."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs, self.started = pairs, list[Recorded]()

    def __call__(self, project: str) -> Repl:
        self.started.append(Recorded(self.pairs))
        return self.started[-1]

    @property
    def requests(self) -> list[Json]:
        return [request for one in self.started for request in one.requests]


def problem(**data: object) -> Problem:
    fields = {"context": SWAP.context, "before": SWAP.before, "after": "", "name": "swap", "project": ""}
    return Problem("swap", "", fields | data)


def judged(pairs: Pairs, actions: list[str], **data: object) -> Verdict:
    with Lean([problem(**data)], Watched(pairs)) as domain:
        return replay(domain, problem(**data), actions).verdict


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[Lean]:
    recording = recordings.write(tmp_path / "recording.jsonl", exchanges())
    with Lean(recordings.records(tmp_path / "problems.jsonl"), Replay(recording)) as made:
        yield made


def test_contract_in_recorded_answers(domain: Lean) -> None:
    check_domain(domain, "all", wrong=lambda one: [one.data["solution"][:-1]])


def test_a_proof_step_by_step(domain: Lean) -> None:
    swap = next(iter(domain.problems("test")))
    played = replay(domain, swap, SOLUTION)
    assert played.verdict == Verdict(Status.ACCEPTED, (1.0,), "lean-replay recorded; T2; sandbox=rlimit")
    assert played.steps[0].observation.text == f"initial state:\n{GOAL}\ntactics:\ncurrent state:\n{GOAL}\n"
    assert "tactics:\nconstructor\ncurrent state:\ncase left" in played.steps[1].observation.text
    assert replay(domain, swap, ["exact ⟨h.2, h.1⟩"]).solved


def test_splits_are_those_of_the_records(domain: Lean) -> None:
    names = {split: [one.key for one in domain.problems(split)] for split in ("valid", "test", "all")}
    assert names == {"valid": ["same"], "test": ["swap"], "all": ["swap", "same"]}
    with pytest.raises(DataError, match="'train'"):
        list(domain.problems("train"))


def test_each_tactic_is_asked_once_and_a_path_is_replayed_after_a_restart() -> None:
    opener = Watched(exchanges())
    with Lean([problem()], opener) as domain:
        assert replay(domain, problem(), SOLUTION).solved
        tactics = [request["tactic"] for request in opener.requests if "tactic" in request]
        assert tactics == SOLUTION, "branching and replaying cost nothing while the process lives"
        state = domain.step(domain.step(domain.start(problem()), "constructor"), "exact h.2")
        domain.pool.close()
        assert domain.verify(domain.step(state, "exact h.1")) == domain.verify(
            domain.step(domain.step(domain.step(domain.start(problem()), "constructor"), "exact h.2"), "exact h.1")
        )
    assert [request.get("tactic") for request in opener.started[-1].requests if "tactic" in request] == SOLUTION


def test_theorems_of_one_key_share_no_verdict() -> None:
    other = problem(before="theorem swap : 0 = 1 := by")
    with pytest.raises(DataError, match="two different ones under 'swap'"):
        Lean([problem(), other], Watched(exchanges()))
    with Lean([problem()], Watched(exchanges())) as domain:
        assert replay(domain, problem(), SOLUTION).solved
        with pytest.raises(VerifierError):  # nothing was recorded of it: it is not taken for the other
            replay(domain, other, SOLUTION)


def test_a_process_that_has_done_its_share_starts_anew() -> None:
    opener = Watched(exchanges())
    with Lean([problem()], opener, options=SessionOptions(requests=1)) as domain:
        assert replay(domain, problem(), SOLUTION).solved
    assert len(opener.started) > 2
    assert all(not one._alive for one in opener.started), "each was ended"


def test_environments_are_pickled_once_and_read_by_the_next_process(tmp_path: Path) -> None:
    opener = Watched(exchanges())
    for _ in range(2):
        with Lean([problem()], opener, options=SessionOptions(pickles=tmp_path / "kept")) as domain:
            assert replay(domain, problem(), SOLUTION).solved
    asked = [next(iter(set(request) & {"pickleTo", "unpickleEnvFrom"}), "") for request in opener.requests]
    assert [one for one in asked if one] == ["pickleTo", "unpickleEnvFrom"]
    assert sum(request.get("cmd") == SWAP.context for request in opener.requests) == 1


@pytest.mark.parametrize("cheat", [row for row in CHEATS if row["level"] == "T1"], ids=lambda row: str(row["name"]))
def test_cheats_that_a_live_step_shows(cheat: dict[str, Any]) -> None:
    pairs: Pairs = [
        ({"cmd": SWAP.context}, {"env": 0}),
        ({"cmd": SWAP.open, "env": 0}, stated(GOAL, 1, 0)),
        ({"tactic": cheat["tactic"], "proofState": 0}, cheat["answer"]),
    ]
    verdict = judged(pairs, [cheat["tactic"]])
    assert verdict.status == cheat["expected"], verdict
    assert "; T1; " in verdict.evidence


@pytest.mark.parametrize("cheat", [row for row in CHEATS if row["level"] == "T2"], ids=lambda row: str(row["name"]))
def test_cheats_that_the_finished_proof_shows(cheat: dict[str, Any]) -> None:
    statement = {"env": 8, "messages": [message("info", "@goal : ∀ (p : Prop), p → p")]}
    found = statement if cheat["statement"] is None else {"env": 8, "messages": [message("info", cheat["statement"])]}
    goal = problem(before="theorem goal : ∀ p : Prop, p → p := by", name="goal")
    pairs: Pairs = [
        ({"cmd": SWAP.context}, {"env": 0}),
        ({"cmd": f"{goal.data['before']}\n  sorry", "env": 0}, stated("⊢ ∀ p, p → p", 1, 0)),
        ({"tactic": "trivial", "proofState": 0}, ran(1)),
        ({"cmd": f"{goal.data['before']}\n  (trivial)", "env": 0}, cheat["declared"]),
        ({"cmd": f"{goal.data['before']}\n  trivial", "env": 0}, cheat["declared"]),
        ({"cmd": CHECK + "goal", "env": 1}, statement),
        ({"cmd": CHECK + "goal", "env": 5}, found),
        ({"cmd": "#print axioms goal", "env": 5}, cheat["axioms"]),
    ]
    with Lean([goal], Watched(pairs)) as domain:
        played = replay(domain, goal, ["trivial"])
    assert played.verdict.status == cheat["expected"], played.verdict
    assert "; T2; " in played.verdict.evidence
    (fresh,) = recheck([played], opener=Watched(pairs))
    assert fresh.status == cheat["expected"], "the second opinion is no weaker"
    assert "; T3; " in fresh.evidence


def test_an_axiom_that_the_problem_allows() -> None:
    pairs = [
        (request, {"env": 98, "messages": [message("info", "'swap' depends on axioms: [choose]")]})
        if str(request.get("cmd", "")).startswith("#print axioms")
        else (request, response)
        for request, response in exchanges()
    ]
    assert judged(pairs, SOLUTION).status is Status.REJECTED
    assert judged(pairs, SOLUTION, axioms=["choose"]).status is Status.ACCEPTED
    open_ = [(r, json.loads(json.dumps(a).replace("[choose]", "[sorryAx]"))) for r, a in pairs]
    assert judged(open_, SOLUTION, axioms=["sorryAx"]).status is Status.REJECTED, "whatever a problem allows"


def test_a_finished_proof_is_elaborated_in_parentheses_of_ours_and_once_more_as_written() -> None:
    opener = Watched(exchanges())
    with Lean([problem()], opener) as domain:
        played = replay(domain, problem(), SOLUTION)
    guarded = SWAP.filled("  (constructor)\n  (exact h.2)\n  (exact h.1)")
    plain = SWAP.filled("  constructor\n  exact h.2\n  exact h.1")
    assert [guarded in map(str, (r.get("cmd") for r in opener.requests))] == [True]
    again = Watched(exchanges())
    assert recheck([played], opener=again)[0].evidence == "lean-replay recorded; T3; sandbox=rlimit"
    commands = [request.get("cmd") for request in again.requests]
    assert (plain in commands, guarded in commands) == (True, False)


def test_a_process_that_dies_once_costs_nothing() -> None:
    class Fragile(Watched):
        def __call__(self, project: str) -> Repl:
            fallen = [(r, {"died": "once"} if r.get("tactic") == "exact h.2" else a) for r, a in self.pairs]
            self.started.append(Recorded(self.pairs if self.started else fallen))
            return self.started[-1]

    opener = Fragile(exchanges())
    with Lean([problem()], opener) as domain:
        assert replay(domain, problem(), SOLUTION).solved
        assert domain.pool.restarts == 1


def test_a_deadly_tactic_is_not_tried_again() -> None:
    pairs = [(request, {"timeout": True} if request.get("tactic") == "exact h.2" else a) for request, a in exchanges()]
    opener = Watched(pairs)
    with Lean([problem()], opener) as domain:
        for _ in range(3):
            assert replay(domain, problem(), SOLUTION).verdict.status is Status.UNKNOWN
    assert len(opener.started) <= 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"message": "unknown package 'Mathlib'"}, "unknown package"),
        ({"env": 0, "messages": [message("error", "unknown namespace")]}, "unknown namespace"),
        ({"died": "out of memory"}, "out of memory"),
        ({"environment": 0}, "'env'"),
    ],
)
def test_a_context_that_lean_refuses_is_our_trouble(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(VerifierError, match=reason):
        judged([({"cmd": SWAP.context}, answer)], SOLUTION)


def test_a_recorded_goal_must_be_the_one_that_lean_states() -> None:
    assert judged(exchanges(), SOLUTION, goals=GOAL).status is Status.ACCEPTED
    with pytest.raises(DataError, match="read the problems again"):
        judged(exchanges(), SOLUTION, goals="⊢ False")


def test_states_whose_goals_lean_abbreviates_are_never_merged() -> None:
    pairs = [*exchanges(), ({"tactic": "skip", "proofState": 0}, ran(7, "h : ⋯\n⊢ q ∧ p"))]
    with Lean([problem()], Watched(pairs)) as domain:
        start = domain.start(problem())
        assert domain.observe(start).key == GOAL
        assert domain.observe(domain.step(start, "skip")).key == ""
