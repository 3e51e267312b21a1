from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from surpass.core import Problem
from surpass.domains.proofs.rocq.extraction import library_root
from surpass.domains.proofs.rocq.protocol import DeadlinePassed, ProcessDied, Toplevel
from surpass.domains.proofs.rocq.session import Place, Pool, SessionOptions, Source, sentences
from surpass.errors import DataError, VerifierError
from tests.domains.proofs.rocq.lemmas import needs_rocq, problems

pytestmark = needs_rocq


def provers() -> list[psutil.Process]:
    """Return those that live; this process may have other children."""
    return [child for child in psutil.Process().children() if child.name().startswith("coqidetop")]


@pytest.fixture(scope="module")
def lemmas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Problem]:
    return problems(tmp_path_factory.mktemp("small"))


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(SessionOptions(timeout=5)) as opened:
        yield opened


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences that were run, in order."""
    said = list[str]()
    run = Toplevel.run

    def listen(top: Toplevel, sentence: str) -> object:
        said.append(sentence)
        return run(top, sentence)

    monkeypatch.setattr(Toplevel, "run", listen)
    return said


def test_any_order_of_visits_gives_the_same_answers(lemmas: dict[str, Problem]) -> None:
    visits = []
    for problem in lemmas.values():
        path = [str(sentence) for sentence in problem.data["solution"]]
        visits += [(Place.of(problem), tuple(path[:i]), path[i]) for i in range(len(path))]
        visits += [(Place.of(problem), tuple(path[:i]), "fail.") for i in range(len(path))]
    with Pool() as one:
        straight = {visit: one.run(*visit) for visit in visits}
    rng = random.Random(0)
    with Pool() as other:
        for visit in rng.sample(visits, len(visits)) + rng.sample(visits, len(visits)):
            assert other.run(*visit) == straight[visit]
            if rng.random() < 0.05:
                other.close()


def test_beginning_ahead_changes_no_answer(lemmas: dict[str, Problem]) -> None:
    visits = []
    for problem in lemmas.values():
        path = [str(sentence) for sentence in problem.data["solution"]]
        tries = [*path, "fail.", "rewrite )", "idtac."]
        visits += [(Place.of(problem), tuple(path[:i]), tactic) for i in range(len(path)) for tactic in tries]
    with Pool() as one:
        straight = {visit: one.run(*visit) for visit in visits}
    rng, begun = random.Random(1), 0
    with Pool() as other:
        order = visits + rng.sample(visits, len(visits))  # siblings in a row, then anything after anything
        for index, visit in enumerate(order):
            for likely in (visit, *order[index + 1 : index + 2], *rng.sample(order, rng.randrange(2))):
                begun += other.ahead(*likely)
            assert other.run(*visit) == straight[visit]
            if rng.random() < 0.05:
                other.close()
    assert begun > len(visits)


def test_beginning_ahead_does_not_disturb_the_end_of_a_proof(lemmas: dict[str, Problem], pool: Pool) -> None:
    for problem in lemmas.values():
        place, path = Place.of(problem), [str(sentence) for sentence in problem.data["solution"]]
        name = str(problem.data["name"]).rpartition(".")[2]
        pool.run(place, path[:-1], path[-1])
        expected = pool.finish(place, path, name)
        pool.ahead(place, path[:-1], "idtac.")  # a no is due where the lemma before dropped what had begun
        pool.run(place, path[:-1], "idtac.")
        for tactic in (path[-1], "idtac.", "fail."):
            assert pool.ahead(place, path[:-1], tactic)
        assert pool.run(place, path[:-1], path[-1]).goals is not None
        assert pool.finish(place, path, name) == expected
        assert pool.run(place, path[:-1], "fail.").goals is None


def test_a_finished_proof_does_not_answer_for_a_sibling_that_never_ends(lemmas: dict[str, Problem]) -> None:
    place, path = Place.of(lemmas["second"]), [str(sentence) for sentence in lemmas["second"].data["solution"]]
    with Pool(SessionOptions(timeout=1, grace=0)) as pool:
        pool.run(place, path[:-1], "idtac.")
        for tactic in (path[-1], "do 1000000000 idtac."):
            assert pool.ahead(place, path[:-1], tactic)
        assert pool.run(place, path[:-1], path[-1]).goals is not None
        assert not pool.finish(place, path, "second")[0].exhausted
        assert pool.run(place, path[:-1], "do 1000000000 idtac.").exhausted


def test_who_counts_what_has_begun_hears_that_it_was_dropped(lemmas: dict[str, Problem], pool: Pool) -> None:
    place, path = Place.of(lemmas["last"]), [str(sentence) for sentence in lemmas["last"].data["solution"]]
    pool.run(place, path[:-1], "idtac.")
    for tactic in (path[-1], "fail."):
        assert pool.ahead(place, path[:-1], tactic)
    pool.run(place, path[:-1], path[-1])
    pool.finish(place, path, "last")  # "fail." has gone
    assert not pool.ahead(place, path[:-1], "idtac.")  # it would be answered behind "fail."
    pool.run(place, path[:-1], "fail.")
    assert pool.ahead(place, path[:-1], "idtac.")


def test_a_sibling_costs_one_sentence_and_a_cousin_replays_its_branch(
    lemmas: dict[str, Problem], pool: Pool, spoken: list[str]
) -> None:
    place = Place.of(lemmas["last"])
    pool.run(place, [], "induction n.")
    spoken.clear()
    pool.run(place, [], "intros n.")
    pool.run(place, [], "intros n m.")
    assert spoken == ["intros n.", "intros n m."]
    spoken.clear()
    pool.run(place, ["intros n m."], "simpl.")
    assert spoken == ["simpl."]
    pool.run(place, ["intros n."], "intros k.")
    assert spoken == ["simpl.", "intros n.", "intros k."]


def test_only_what_stands_before_a_lemma_is_known_there(lemmas: dict[str, Problem], pool: Pool) -> None:
    assert pool.run(Place.of(lemmas["last"]), [], "pose proof first.").goals is not None
    place = Place.of(lemmas["first"])
    for name in ("first", "Small.first", "third", "Small.third", "two", "last", "Small.last"):
        outcome = pool.run(place, [], f"pose proof {name}.")
        assert outcome.goals is None
        assert not outcome.exhausted
        assert "not found" in outcome.message


def test_a_lemma_of_the_standard_library_is_not_known_at_itself(pool: Pool) -> None:
    file = str(library_root() / "theories" / "Bool" / "Bool.v")
    position = next(i for i, text in enumerate(sentences(file)) if text.startswith("Lemma andb_comm "))
    place = Place(Source(file, "Coq.Bool.Bool"), position, (sentences(file)[position], "Proof."))
    assert pool.run(place, [], "pose proof orb_comm.").goals is not None
    for name in ("andb_comm", "Bool.andb_comm", "Coq.Bool.Bool.andb_comm", "andb_assoc", "Coq.Bool.Bool.andb_assoc"):
        assert "not found" in pool.run(place, [], f"pose proof {name}.").message


def test_a_killed_prover_loses_nothing(lemmas: dict[str, Problem], pool: Pool) -> None:
    place = Place.of(lemmas["last"])
    before = pool.run(place, ["intros n m."], "simpl.")
    for child in provers():
        os.kill(child.pid, signal.SIGKILL)
    assert pool.run(place, ["intros n m."], "simpl.") == before
    assert pool.restarts == 1


@pytest.mark.parametrize(("death", "tries"), [(ProcessDied, 2), (DeadlinePassed, 1)])
def test_a_deadly_sentence_is_quarantined(
    lemmas: dict[str, Problem], pool: Pool, monkeypatch: pytest.MonkeyPatch, death: type[ProcessDied], tries: int
) -> None:
    run, deaths = Toplevel.run, list[str]()

    def die(top: Toplevel, sentence: str) -> object:
        if sentence != "deadly.":
            return run(top, sentence)
        deaths.append(sentence)
        top.close()
        raise death("gone")

    monkeypatch.setattr(Toplevel, "run", die)
    place = Place.of(lemmas["first"])
    for _ in range(3):
        assert pool.run(place, [], "deadly.").exhausted
        assert pool.run(place, [], "intros k.").goals is not None
    assert len(deaths) == tries


def test_a_loop_is_exhausted_and_so_is_a_long_qed(lemmas: dict[str, Problem]) -> None:
    place = Place.of(lemmas["first"])
    with Pool(SessionOptions(timeout=1)) as pool:
        outcome = pool.run(place, [], "repeat (pose 0).")
        assert outcome.exhausted
        assert outcome.goals is None
        assert pool.run(place, [], "auto.").goals is not None


def test_qed_is_undone(lemmas: dict[str, Problem], pool: Pool) -> None:
    place = Place.of(lemmas["classic"])
    path = ["destruct (choice True); [left | right].", "exact I.", "exact I."]
    path = ["destruct (choice True); left; exact I."]
    for sentence in path:
        assert pool.run(place, path[: path.index(sentence)], sentence).goals is not None
    for _ in range(3):
        outcome, rests = pool.finish(place, path, "classic", ["choice"])
        assert outcome.message == ""
        assert (rests.axioms, rests.extra) == (("Small.choice",), ())
        assert pool.finish(place, path, "classic")[1].extra == ("Small.choice",)
    assert pool.run(place, [], "exact classic.").goals is None


def test_the_pool_keeps_its_bounds(lemmas: dict[str, Problem], tmp_path: Path) -> None:
    others = problems(tmp_path)
    with Pool(SessionOptions(processes=1)) as pool:
        for _ in range(2):
            for problem in (lemmas["first"], others["first"]):
                assert pool.run(Place.of(problem), [], "intros k.").goals is not None
                assert len(provers()) == 1
    assert provers() == []


def test_a_process_that_grew_starts_anew(lemmas: dict[str, Problem]) -> None:
    place, pids = Place.of(lemmas["first"]), set[int]()
    with Pool(SessionOptions(resident=1)) as pool:
        for _ in range(130):
            assert pool.run(place, ["intros k."], "simpl.").goals is not None
            pids |= {child.pid for child in provers()}
    assert len(pids) >= 2


def test_a_changed_file_is_data_trouble(lemmas: dict[str, Problem], tmp_path: Path, pool: Pool) -> None:
    data = {**lemmas["first"].data, "statement": "Lemma first : 0 = 0."}
    with pytest.raises(DataError, match="the file has changed"):
        pool.goals(Place.of(Problem("x", data=data)))
    with pytest.raises(DataError, match="extract the corpus again"):
        Place.of(Problem("x", data={"file": "x.v"}))
    broken = tmp_path / "Broken.v"
    broken.write_text("Check nothing.\nLemma a : True.\nProof. exact I. Qed.\n")
    with pytest.raises(VerifierError, match="expected to replay"):
        pool.goals(Place(Source(str(broken), "Broken"), 1, ("Lemma a : True.",)))
