"""Every domain of the name table, held to its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from surpass.conformance import check_domain
from surpass.core import Domain, Problem, Status, replay
from surpass.domains import DOMAINS
from surpass.models.scripted import Scripted
from surpass.rollouts.runner import RunOptions, run
from surpass.search.best_first import best_first
from tests.domains.proofs.lean import recordings

SOURCE = """
Lemma same : forall n : nat, n = n.
Proof. intros n. reflexivity. Qed.
Lemma both : True /\\ (False -> 0 = 1).
Proof. split. - exact I. - intros f. destruct f. Qed.
Lemma sum : forall n m : nat, n + m = m + n.
Proof. induction n; simpl. { auto. } { intros m; rewrite IHn; auto. } Qed.
"""


def small_corpus(folder: Path) -> tuple[str, ...]:
    """What Rocq is made from here: a corpus of three lemmas of our own."""
    from surpass.domains.proofs.rocq.extraction import ExtractConfig, extract

    (folder / "Small.v").write_text(SOURCE)
    report = extract(ExtractConfig(path=str(folder), out=str(folder / "corpus"), jobs=1))
    assert report.lemmas == 3
    return (report.out,)


def recorded_answers(folder: Path) -> tuple[object, ...]:
    """What Lean is made from here: two theorems, and recorded answers in place of Lean."""
    from surpass.domains.proofs.lean.replay import Replay

    return recordings.records(folder / "two.jsonl"), Replay(
        recordings.write(folder / "recording.jsonl", recordings.exchanges())
    )


def nothing(folder: Path) -> tuple[object, ...]:
    return ()


ARGUMENTS: dict[str, Callable[[Path], tuple[object, ...]]] = {  # for domains that need some
    "rocq": small_corpus,
    "lean": recorded_answers,
}
SPLITS = {"rocq": "all", "lean": "all"}  # otherwise "test"
MARKS = {"rocq": [pytest.mark.rocq]}  # what a domain cannot do without
Case = tuple[Domain[Any], str]


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in DOMAINS])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    module, _, name = DOMAINS[request.param].partition(":")
    arguments = ARGUMENTS.get(request.param, nothing)(tmp_path_factory.mktemp(request.param))
    make: Callable[..., Domain[Any]] = getattr(import_module(module), name)
    domain = make(*arguments)
    with domain if isinstance(domain, AbstractContextManager) else nullcontext():
        yield domain, SPLITS.get(request.param, "test")


def cut(problem: Problem) -> list[list[str]]:
    """A known solution without its last action, and with nonsense in its place."""
    solution = list(problem.data.get("solution", []))
    return [solution[:-1], [*solution[:-1], "no such action"]]


def test_contract(case: Case) -> None:
    domain, split = case
    check_domain(domain, split, limit=3, wrong=cut)


def test_known_solutions_are_found_in_a_worker_as_here(case: Case) -> None:
    domain, split = case
    problems = [one for one in islice(domain.problems(split), 3) if one.data.get("solution")]
    assert problems, "a domain knows some solutions"
    answers: dict[str, list[str]] = {}
    for problem in problems:
        for step in replay(domain, problem, problem.data["solution"]).steps:
            answers.setdefault(step.observation.text, []).append(step.proposal.action)
    policy = Scripted(answers)
    found = list(run(partial(best_first, width=8), problems, domain, policy, options=RunOptions(workers=1)))
    assert [one.verdict.status for one in found] == [Status.ACCEPTED] * len(problems)
    assert found == list(run(partial(best_first, width=8), problems, domain, policy))
