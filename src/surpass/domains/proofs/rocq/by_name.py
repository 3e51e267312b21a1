"""A policy that uses premises by their names: apply or rewrite with what an observation offers.

It knows nothing but the offer, so what it proves measures retrieval: the i-th premise has probability ~ 1 / (1 + i),
split among the tactics below. Not here: which premises are offered (`Rocq.offering`, `retrieval.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from surpass.core import Observation, Proposal
from surpass.domains.proofs.text import offered

# How human proofs of the standard library use a lemma that they name, commonest first.
FORMS: tuple[tuple[str, float], ...] = (
    ("apply {}.", 0.4),
    ("rewrite {}.", 0.3),
    ("now apply {}.", 0.1),
    ("rewrite <- {}.", 0.1),
    ("eapply {}; eauto.", 0.1),
)


class ByName:
    """Propose tactics that name an offered premise, likeliest first; deterministic, seeds are not used."""

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return up to `n` tactics each; none where nothing is offered."""
        return [_ranked(offered(observation.text))[:n] for observation in observations]


def _ranked(names: Sequence[str]) -> list[Proposal]:
    total = sum(1 / (1 + i) for i in range(len(names)))
    found = [
        Proposal(form.format(name), math.log(share / (1 + i) / total))
        for i, name in enumerate(names)
        for form, share in FORMS
    ]
    return sorted(found, key=lambda one: -(one.logp or 0.0))
