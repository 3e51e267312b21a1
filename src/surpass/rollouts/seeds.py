"""Seeds for every row a policy is asked for: the same whatever the order of work, the process or the machine."""

from __future__ import annotations

import json
from hashlib import blake2b


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on the parts and their order alone.

    >>> derive_seed(0, "and_comm", 1) == derive_seed(0, "and_comm", 1) != derive_seed("0", "and_comm", 1)
    True
    """
    return int.from_bytes(blake2b(json.dumps(parts).encode(), digest_size=8).digest(), "big") >> 1


def derive_seeds(*parts: int | str, rows: int) -> list[int]:
    """Return `derive_seed(*parts, row)` for each row from 0, with what the parts share digested once.

    >>> derive_seeds(0, "and_comm", rows=2) == [derive_seed(0, "and_comm", 0), derive_seed(0, "and_comm", 1)]
    True
    """
    shared = blake2b(json.dumps(parts)[:-1].encode(), digest_size=8)
    seeds = []
    for row in range(rows):
        digest = shared.copy()
        digest.update(b", %d]" % row)
        seeds.append(int.from_bytes(digest.digest(), "big") >> 1)
    return seeds
