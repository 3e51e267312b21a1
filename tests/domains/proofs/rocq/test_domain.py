from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from surpass.conformance import check_domain
from surpass.core import Problem, Status, replay
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.protocol import Limits
from surpass.domains.proofs.rocq.session import SessionOptions
from surpass.domains.proofs.rocq.trust import recheck
from surpass.errors import DataError
from tests.domains.proofs.rocq.lemmas import needs_rocq, problems

pytestmark = needs_rocq


@pytest.fixture(scope="module")
def lemmas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Problem]:
    return problems(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def domain(lemmas: dict[str, Problem]) -> Iterator[Rocq]:
    with Rocq(list(lemmas.values()), options=SessionOptions(timeout=1)) as opened:
        yield opened


def test_the_contract_holds(domain: Rocq) -> None:
    check_domain(domain, "train")


def test_human_proofs_are_accepted_and_broken_ones_are_not(lemmas: dict[str, Problem], domain: Rocq) -> None:
    for problem in lemmas.values():
        solution = list(problem.data["solution"])
        verdict = replay(domain, problem, solution).verdict
        assert verdict.status is Status.ACCEPTED
        assert verdict.returns == (1.0,)
        assert verdict.evidence.startswith("rocq ")
        assert "; T2; sandbox=" in verdict.evidence
        for i in range(len(solution)):
            broken = [*solution[:i], "apply nothing.", *solution[i + 1 :]]
            trajectory = replay(domain, problem, broken)
            assert trajectory.verdict.status is Status.REJECTED
            assert "T1" in trajectory.verdict.evidence
            assert not replay(domain, problem, solution[:i]).solved


def test_an_axiom_counts_only_where_the_human_proof_used_it(lemmas: dict[str, Problem], domain: Rocq) -> None:
    tactic = "destruct (choice True); reflexivity."
    assert "rests on Small.choice" in replay(domain, lemmas["first"], ["intros n.", tactic]).verdict.evidence
    solution = ["destruct (choice True); [left | right]; auto."]
    assert replay(domain, lemmas["classic"], solution).solved


def test_a_statement_takes_what_it_takes_and_one_that_takes_too_much_stops_nothing_else(tmp_path: Path) -> None:
    wait = "forall x : ltac:(try (timeout {} (repeat (pose 0))); exact nat), x = x"

    def posed(name: str, statement: str) -> Problem:
        file, stated = tmp_path / f"{name}.v", f"Lemma {name} : {statement}."
        file.write_text(f"{stated} Abort.", encoding="utf-8")
        data = {"file": str(file), "top": name, "noinit": False, "options": [], "opening": "", "position": 0}
        return Problem(
            name, data={**data, "name": f"{name}.{name}", "statement": stated, "goals": "|- forall x : nat, x = x"}
        )

    slow, endless, quick = (
        posed("slow", wait.format(2)),
        posed("endless", wait.format(60)),
        posed("quick", "forall x : nat, x = x"),
    )
    with Rocq([slow], options=SessionOptions(timeout=1)) as domain:
        played = replay(domain, slow, ["reflexivity."])
    assert played.solved
    assert recheck([played], timeout=1)[0].status is Status.ACCEPTED
    with Rocq([endless, quick], options=SessionOptions(timeout=1, limits=Limits(call=4.0))) as domain:
        began = time.monotonic()
        for _ in range(3):
            verdict = replay(domain, endless, ["reflexivity."]).verdict
            assert verdict.status is Status.UNKNOWN
            assert "stating the lemma: the prover was killed after 4 s" in verdict.evidence
        assert time.monotonic() - began < 3 * 4, "it is asked once"
        assert replay(domain, quick, ["reflexivity."]).solved


def test_a_resource_that_ends_is_unknown(lemmas: dict[str, Problem], domain: Rocq) -> None:
    verdict = replay(domain, lemmas["first"], ["repeat (pose 0)."]).verdict
    assert verdict.status is Status.UNKNOWN
    assert verdict.returns == ()
    assert "Timeout" in verdict.evidence


def test_a_proof_is_open_until_its_last_brace(lemmas: dict[str, Problem], domain: Rocq) -> None:
    state = domain.start(lemmas["first"])
    for tactic in ("{", "auto."):
        state = domain.step(state, tactic)
        assert domain.verify(state) is None
    assert state.goals == "no goals"
    assert domain.step(state, "}").status is Status.ACCEPTED


def test_a_tactic_without_effect_is_legal_and_keeps_the_key(lemmas: dict[str, Problem], domain: Rocq) -> None:
    start = domain.start(lemmas["last"])
    after = domain.step(start, "idtac.")
    assert domain.verify(after) is None
    assert domain.observe(after).key == domain.observe(start).key
    assert domain.observe(after).text != domain.observe(start).text


def test_bullets_tell_states_apart(lemmas: dict[str, Problem], domain: Rocq) -> None:
    split = domain.step(domain.start(lemmas["last"]), "induction n.")
    keys = {domain.observe(domain.step(split, bullet)).key for bullet in ("-", "+", "{", "idtac.")}
    assert len(keys) == 4


def test_observations_show_history_only_when_asked(lemmas: dict[str, Problem]) -> None:
    problem = lemmas["first"]
    goals = "|- forall n : nat, n = n"
    text = f"initial state:\n{goals}\ntactics:\ncurrent state:\n{goals}\n"
    for history, expected in ((True, text), (False, goals)):
        domain = Rocq([problem], history=history)
        assert domain.observe(domain.start(problem)).text == expected


def test_it_pickles_as_its_configuration(lemmas: dict[str, Problem], domain: Rocq) -> None:
    assert replay(domain, lemmas["first"], ["auto."]).solved
    before = len(psutil.Process().children())
    with pickle.loads(pickle.dumps(domain)) as copy:
        assert len(psutil.Process().children()) == before
        assert copy.pool.options == domain.pool.options
        assert replay(copy, lemmas["first"], ["auto."]).verdict == replay(domain, lemmas["first"], ["auto."]).verdict
        assert len(psutil.Process().children()) == before + 1
    assert len(psutil.Process().children()) == before


def test_a_corpus_of_another_prover_is_noticed(lemmas: dict[str, Problem], domain: Rocq) -> None:
    problem = Problem("changed", data={**lemmas["first"].data, "goals": "|- forall n : nat, n == n"})
    with pytest.raises(DataError, match="extract the corpus again"):
        domain.step(domain.start(problem), "intros n.")


def test_an_unknown_split_is_refused(domain: Rocq) -> None:
    with pytest.raises(DataError, match="expected a split"):
        domain.problems("dev")


def test_a_state_survives_a_journey(lemmas: dict[str, Problem], domain: Rocq) -> None:
    state = domain.step(domain.start(lemmas["last"]), "induction n.")
    copy = pickle.loads(pickle.dumps(state))
    assert copy == state
    assert copy.problem.data == state.problem.data
    assert domain.observe(copy) == domain.observe(state)
    assert domain.step(copy, "auto.") == domain.step(state, "auto.")
