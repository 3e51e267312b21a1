from __future__ import annotations

import json
from pathlib import Path

import pytest

from surpass.core import Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.rules import as_sentence
from surpass.domains.proofs.rocq.session import Place, Pool, SessionOptions
from surpass.domains.proofs.rocq.trust import axioms, excess, open_braces, recheck
from tests.domains.proofs.rocq.lemmas import needs_rocq, problems

CHEATS = json.loads(Path("tests/cheats/rocq.json").read_text())
OPTIONS = SessionOptions(timeout=1)


@pytest.fixture(scope="module")
def tempting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Problem]:
    return problems(tmp_path_factory.mktemp("cheats"), Path("tests/cheats/cheats.v").read_text())


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
                    finished, messages = pool.finish(place, [as_sentence(case["tactics"][0])], case["lemma"])
                    assert finished.message or excess(axioms(messages), []), case
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

    def test_recheck_is_in_the_order_asked(self, tmp_path: Path) -> None:
        found = problems(tmp_path)
        trajectories = [claim(problem, list(problem.data["solution"])) for problem in found.values()]
        trajectories.append(claim(found["classic"], ["fail."]))
        trajectories.reverse()
        statuses = [verdict.status for verdict in recheck(trajectories)]
        assert statuses == [Status.REJECTED, *[Status.ACCEPTED] * len(found)]


def test_assumptions_are_read_without_section_variables() -> None:
    message = (
        "Section Variables:\nh\n: forall x : A,\n  x = x\nA : Type\nAxioms:\nM.choice\n  : forall P : Prop,\n    P\n"
        "other : 0 = 0\nf is assumed to be guarded.\n"
    )
    assert axioms([message]) == ["M.choice", "other", "f is assumed to be guarded."]
    assert axioms(["Closed under the global context"]) == []
    assert axioms(["Axioms:\nTheory: Set is impredicative"]) == ["Theory: Set is impredicative"]


def test_names_agree_by_whole_components() -> None:
    assert excess(["M.choice", "other"], ["choice", "A.other"]) == []
    assert excess(["M.mychoice", "choice"], ["M.choice"]) == ["M.mychoice"]


def test_braces_are_counted() -> None:
    assert open_braces(["{", "auto.", "}", "2:{", "-"]) == 1
