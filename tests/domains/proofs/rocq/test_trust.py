from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from surpass.core import Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.domains.proofs.rocq import trust
from surpass.domains.proofs.rocq.assumptions import IMPREDICATIVE, Rests, read
from surpass.domains.proofs.rocq.corpus import load
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.extraction import BYPASS, ExtractConfig, extract
from surpass.domains.proofs.rocq.rules import as_sentence
from surpass.domains.proofs.rocq.session import Place, Pool, SessionOptions
from surpass.domains.proofs.rocq.trust import beyond, needs_human, open_braces, recheck
from surpass.errors import DataError
from tests.domains.proofs.rocq.lemmas import needs_rocq, problems

CHEATS = json.loads(Path("tests/cheats/rocq.json").read_text())
OPTIONS = SessionOptions(timeout=1)


@pytest.fixture(scope="module")
def tempting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Problem]:
    """Lemmas posed by hand, which may rest on nothing, and those of a file as they are extracted."""
    folder = tmp_path_factory.mktemp("extracted")
    report = extract(ExtractConfig(path="tests/cheats/extracted.v", out=str(folder), jobs=1))
    assert report.skipped == {BYPASS: 1, "stated where a check of the kernel is off (check_guarded: false)": 1}
    extracted = {problem.key.rpartition(".")[2]: problem for problem in load(folder)}
    posed = problems(tmp_path_factory.mktemp("cheats"), Path("tests/cheats/cheats.v").read_text())
    assert not posed.keys() & extracted.keys()
    return posed | extracted


def claim(problem: Problem, tactics: list[str]) -> Trajectory:
    """A trajectory that says it is a proof."""
    observation = Rocq([problem]).observe(Rocq([problem]).start(problem))
    steps = tuple(Step(observation, Proposal(tactic)) for tactic in tactics)
    return Trajectory(problem, steps, Verdict(Status.ACCEPTED, (1.0,), "so it says"))


@pytest.mark.rocq
@pytest.mark.skipif(needs_rocq[1].args[0], reason="needs coqidetop.opt (apt-get install coq)")
class TestCheats:
    def test_live_verdicts(self, tempting: dict[str, Problem]) -> None:
        with Rocq(list(tempting.values()), options=OPTIONS) as domain:
            for case in CHEATS:
                trajectory = replay(domain, tempting[case["lemma"]], case["tactics"])
                verdict, level = trajectory.verdict, case["level"]
                assert verdict.status == case["expected"], (case, verdict)
                assert (f"; {level};" in verdict.evidence) or (trajectory.info["end"], level) == ("depth", "open"), case

    def test_the_wrapped_sentence_alone_opens_no_way_around(self, tempting: dict[str, Problem]) -> None:
        """With the text rules taken away: no command runs, and nothing can be finished."""
        with Pool(OPTIONS) as pool:
            for case in CHEATS:
                if case["level"] != "T0" or not case["tactics"][0].rstrip().endswith("."):
                    continue
                place = Place.of(tempting[case["lemma"]])
                outcome = pool.run(place, [], as_sentence(case["tactics"][0]))
                if outcome.goals is not None:
                    finished, rests = pool.finish(place, [as_sentence(case["tactics"][0])], case["lemma"])
                    assert finished.message or rests.extra, case
                assert pool.run(place, [], "(pose proof z).").goals is None, case

    def test_recheck_rejects_every_claim_and_accepts_the_human_proofs(self, tempting: dict[str, Problem]) -> None:
        claims = [claim(tempting[case["lemma"]], case["tactics"]) for case in CHEATS]
        honest = claim(tempting["truth"], ["exact I."])
        *verdicts, last, first = recheck([*claims, honest, claim(tempting["truth"], ["auto."])], timeout=1)
        assert last.solved if isinstance(last, Trajectory) else last.status is Status.ACCEPTED
        assert first.status is Status.ACCEPTED
        assert "T3" in first.evidence
        for case, verdict in zip(CHEATS, verdicts, strict=True):
            expected = Status.UNKNOWN if case["expected"] == "unknown" else Status.REJECTED
            assert verdict.status is expected, (case, verdict)

    def test_human_proofs_of_the_extracted_file_are_accepted(self, tempting: dict[str, Problem]) -> None:
        """Those that need an axiom or a hypothesis of the section too, and other proofs that need the same."""
        known = {name: problem for name, problem in tempting.items() if problem.key.startswith("extracted.")}
        honest = [claim(problem, list(problem.data["solution"])) for problem in known.values()]
        honest += [
            claim(known["with_contra"], ["exfalso; discriminate contra."]),
            claim(known["with_oops"], ["pose proof oops as H.", "exact H."]),
            claim(known["inside"], ["split; auto."]),
        ]
        assert {verdict.status for verdict in recheck(honest)} == {Status.ACCEPTED}
        with Rocq(list(known.values()), options=OPTIONS) as domain:
            assert all(replay(domain, one.problem, one.actions).solved for one in honest)

    def test_without_a_human_proof_that_replays_nobody_knows(self, tempting: dict[str, Problem]) -> None:
        data = {**tempting["with_oops"].data, "solution": ["exact nothing."]}
        problem = replace(tempting["with_oops"], data=data)
        [verdict] = recheck([claim(problem, ["exact oops."])])
        with Rocq([problem], options=OPTIONS) as domain:
            live = replay(domain, problem, ["exact oops."]).verdict
        for found in (verdict, live):
            assert found.status is Status.UNKNOWN
            assert "the human proof, which says what a proof may rest on, was not replayed" in found.evidence

    def test_problems_of_one_key_share_no_verdict(self, tempting: dict[str, Problem]) -> None:
        same = [replace(tempting[name], key="same") for name in ("truth", "bad")]
        with pytest.raises(DataError, match="two different ones under 'same'"):
            Rocq(same)
        with Rocq([tempting["truth"]], options=OPTIONS) as domain:
            verdicts = [replay(domain, problem, ["exact I."]).verdict.status for problem in (*same, same[0])]
        assert verdicts == [Status.ACCEPTED, Status.REJECTED, Status.ACCEPTED]

    def test_a_command_that_the_rules_let_through_is_not_accepted(
        self, tempting: dict[str, Problem], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trust, "refusal", lambda tactic: None)
        told = ["1: (**) Check I.", "1: (**) Fail idtac.", "Check I.", "Axiom z : True."]
        verdicts = recheck([claim(tempting["truth"], [text, "exact I."]) for text in told])
        assert {verdict.status for verdict in verdicts} == {Status.REJECTED}

    def test_recheck_is_in_the_order_asked(self, tmp_path: Path) -> None:
        found = problems(tmp_path)
        trajectories = [claim(problem, list(problem.data["solution"])) for problem in found.values()]
        trajectories.append(claim(found["classic"], ["fail."]))
        trajectories.reverse()
        statuses = [verdict.status for verdict in recheck(trajectories)]
        assert statuses == [Status.REJECTED, *[Status.ACCEPTED] * len(found)]


def test_assumptions_are_read_line_by_line() -> None:
    message = (
        "Section Variables:\nh\n: forall x : A,\n  x = x\nA : Type\nAxioms:\nM.choice\n  : forall P : Prop,\n    P\n"
        "other : 0 = 0\nf is assumed to be guarded.\n"
    )
    assert read([message]) == (["M.choice", "other"], ["h", "A"], ["f is assumed to be guarded."])
    assert read(["Closed under the global context"]) == ([], [], [])
    assert read([f"Axioms:\nx : 0 = 0\nTheory:\n{IMPREDICATIVE}"]) == (["x"], [], [IMPREDICATIVE])


def test_the_human_proof_bounds_axioms_and_hypotheses() -> None:
    human = Rests(("A.ax",), ("v",))
    assert beyond(Rests(("A.ax",), ("v",)), human) == []
    found = beyond(Rests(("A.ax", "B.ax"), ("v", "w"), ("C.ax", "f is assumed to be guarded.")), human)
    assert [text.partition(",")[0] for text in found] == ["C.ax", "f is assumed to be guarded.", "B.ax", "w"]


def test_the_human_proof_is_asked_only_where_it_matters() -> None:
    assert needs_human(Rests(("ax",)), ["auto."], ["exact ax."])
    assert needs_human(Rests((), ("v",)), ["auto."], ["exact v."])
    assert not needs_human(Rests(), ["auto."], ["exact ax."])  # it rests on nothing
    assert not needs_human(Rests(("ax",)), ["exact ax."], ["exact\n ax."])  # it is the human proof
    assert not needs_human(Rests(("ax",)), ["auto."], [])  # there is none: an open lemma


def test_braces_are_counted() -> None:
    assert open_braces(["{", "auto.", "}", "2:{", "-"]) == 1
