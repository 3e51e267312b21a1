"""Iterative refinement: after an error, show the model what it wrote and what the checker said, and let it try again.

    text of the state
    rejected:   the action
    error:      what the checker said

Repair from error messages is Baldur's (arXiv 2303.04910); whole-proof provers do it in rounds (Goedel-Prover-V2, arXiv
2508.03613). Here the valid beginning is kept (`whole.py`), so the message is about the state that the model sees.
"""

from __future__ import annotations

from dataclasses import replace

from surpass.core import Conversation, Domain, Observation, Problem, State
from surpass.search.whole import Split, lines, whole

EVIDENCE = 400  # characters of an error message that are shown: its beginning says what is wrong


def with_error(observation: Observation, action: str, evidence: str) -> Observation:
    r"""Return the observation with the rejected action and the error behind its text, and without a key.

    >>> with_error(Observation("|- A\n"), "auto.", "no such goal").text
    '|- A\nrejected:\nauto.\nerror:\nno such goal\n'
    """
    error = evidence if len(evidence) <= EVIDENCE else f"{evidence[:EVIDENCE]}..."
    return replace(observation, text=f"{observation.text}rejected:\n{action}\nerror:\n{error}\n", key="")


def refine(
    domain: Domain[State],
    problem: Problem,
    state: State,
    *,
    n: int = 4,
    rounds: int = 16,
    max_depth: int = 32,
    split: Split = lines,
) -> Conversation[None]:
    """Make `n` attempts, each written for at most `rounds` times, errors shown; yield one trajectory for each.

    Records and their ends are those of `whole`. Only the last error is shown: a model that repeats a mistake sees it
    again, and the prompt stays short.
    """
    yield from whole(domain, problem, state, n=n, rounds=rounds, max_depth=max_depth, split=split, show=with_error)
