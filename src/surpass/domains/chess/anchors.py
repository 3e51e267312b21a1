"""Ratings of opponents that anybody can start, measured in our own arena: what `surpass chess match --measured` holds.

`anchors.json` is the standing of one match of all of them, one of them at 1000 by convention. It says how it was made,
and each 95 % interval, which an anchored fit does not know of: it takes the ratings as exact. Ratings are of the whole
game from random openings; from another start, or by another Stockfish, the same words are another player.

Published anchors are for other limits (0.1 s a move, 120 s a game) and stand in the README: give them by --anchor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from surpass.domains.chess.players import SPEC


@cache
def measured() -> Mapping[str, float]:
    """Return the Elo of each measured opponent, as it is typed behind `expert:`."""
    table = json.loads(files("surpass.domains.chess").joinpath("anchors.json").read_text(encoding="utf-8"))
    return {one["name"]: float(one["elo"]) for one in table["players"]}


def known(specs: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return the ratings of those players of a match, given as they are typed, that are measured.

    >>> known(["random", "one=expert:stockfish  nodes=50,threads=2", "model:RUN"], ["random", "one", "m"]).keys()
    dict_keys(['random', 'one'])
    """
    found = {}
    for spec, name in zip(specs, names, strict=True):
        match = SPEC.fullmatch(spec.strip())
        typed = "" if match is None else match["value"] if match["kind"] == "expert" else match["kind"]
        if (elo := measured().get(" ".join(typed.split()))) is not None:
            found[name] = elo
    return found
