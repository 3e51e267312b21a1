"""Predicting tactics while a file is read: the proofs before a lemma are examples for it, those behind it are not.

This is how Tactician works in an editor (Blaauwbroek, Urban, Geuvers 2020, arXiv 2008.00120): nothing is trained
beforehand; the proofs of required files are known when a file is opened, and each proof of the file itself is taken in
once it has been passed. What is asked for a lemma is answered by `models.neighbours` from exactly these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from surpass.core import Problem
from surpass.domains.proofs.rocq.rules import normalise, refusal
from surpass.models.neighbours import Neighbours


def as_read(
    problems: Sequence[Problem], wanted: Collection[str], requires: Mapping[str, Collection[str]]
) -> Iterator[tuple[Problem, Neighbours]]:
    """Yield the problems whose keys are wanted, by file and position, each with what is known on reaching it.

    `problems` are all lemmas with their human proofs; `requires` says which files each file builds on, in any number of
    steps (`requires.requires`). The policy that is yielded learns on afterwards: use it before taking the next.
    """
    files = dict[str, list[Problem]]()
    for problem in problems:
        files.setdefault(problem.group, []).append(problem)
    for file, lemmas in files.items():
        if not any(lemma.key in wanted for lemma in lemmas):
            continue
        required = [lemma for other in files if other in requires.get(file, ()) for lemma in files[other]]
        memory = Neighbours()
        memory.learn(pair for lemma in required for pair in examples(lemma))
        for lemma in sorted(lemmas, key=lambda one: int(one.data["position"])):
            if lemma.key in wanted:
                yield lemma, memory
            memory.learn(examples(lemma))


def examples(problem: Problem) -> list[tuple[str, str]]:
    """Return the (goals, tactic) pairs of a recorded human proof that a policy may say."""
    pairs = zip(problem.data["steps"], map(normalise, problem.data["solution"]), strict=True)
    return [(goals, tactic) for goals, tactic in pairs if not refusal(tactic)]
