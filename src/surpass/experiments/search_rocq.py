"""The rows of `search` that read Rocq files: neighbours as a file is read, retrieved premises, CoqHammer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from surpass.core import Domain, Policy, Problem, Trajectory
from surpass.domains.proofs.retrieval import BM25, Premise, Retriever
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq.by_name import ByName
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.premises import Library
from surpass.domains.proofs.rocq.reading import as_read
from surpass.domains.proofs.rocq.requires import requires
from surpass.errors import DataError, VerifierError
from surpass.models.mixture import Mixture

READER = 2.0  # weight of the neighbours beside one for each other source


def read_along(
    corpus: Path,
    attempt: Callable[[Policy, Sequence[Problem]], Iterable[Trajectory]],
    others: Sequence[Policy],
    problems: Sequence[Problem],
) -> Iterator[Trajectory]:
    """Attempt each problem with what a reader of its file knows there, `others` mixed in.

    Problems must be ordered by file and position, as a corpus gives them: so they are answered in their own order.
    """
    lessons = corpora.problems(corpus, "all")
    wanted = {problem.key: problem for problem in problems}
    for lemma, memory in as_read(lessons, wanted, requires(lessons)):
        policy = Mixture([(memory, READER), *((one, 1.0) for one in others)]) if others else memory
        yield from attempt(policy, [wanted[lemma.key]])


def offering(corpus: Path, domain: Domain[Hashable], k: int) -> tuple[Domain[Hashable], Policy]:
    """Return a view of the domain that offers the `k` best premises of each state, and a policy that uses them."""
    assert isinstance(domain, Rocq)
    library = Library(corpus)
    known: set[Premise] = {one for problem in corpora.problems(corpus, "all") for one in library(problem)}
    view = domain.offering(Retriever(library, BM25(sorted(known, key=lambda one: one.line)), k))
    return cast("Domain[Hashable]", view), ByName()


def hammered(
    attempt: Callable[[Sequence[Problem]], Iterable[Trajectory]], problems: Sequence[Problem]
) -> Iterator[Trajectory]:
    """Attempt problems with CoqHammer's tactics loaded, or as they are where its library does not load."""
    for problem in problems:
        loaded = replace(problem, data={**problem.data, "preamble": ["From Hammer Require Import Tactics."]})
        try:  # under a key of its own: the domain knows places by key
            found = list(attempt([replace(loaded, key=f"{problem.key} (hammer)")]))
        except (VerifierError, DataError):
            yield from attempt([problem])
        else:
            yield from (replace(trajectory, problem=loaded) for trajectory in found)
