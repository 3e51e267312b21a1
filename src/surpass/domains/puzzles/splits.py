"""Which split a problem belongs to: by what it is, not by when it was drawn, so no split ever leaks into another.

Not here: how a problem is drawn; each puzzle has its own generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b

from surpass.core import Problem
from surpass.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")


def digest(text: str) -> str:
    """Return twelve hexadecimal digits that depend on the text alone."""
    return blake2b(text.encode(), digest_size=6).hexdigest()


def split_of(mark: str) -> str:
    """Return the split of whatever has this signature: eight of ten in train, one each in valid and test."""
    bucket = int.from_bytes(blake2b(mark.encode(), digest_size=8).digest(), "big") % 10
    return SPLITS[max(0, bucket - 7)]


def require(split: str, puzzle: str) -> None:
    """Raise DataError for a split that there is not."""
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, found {split!r}: {puzzle} has no other")


def fill(
    draws: Iterable[tuple[str, Callable[[], Problem]] | None], *, train: int, held_out: int
) -> Mapping[str, tuple[Problem, ...]]:
    """Return the splits, filled with different problems from draws (signature, maker); None is a draw in vain.

    Raises ConfigError where a split is to be empty, or where the draws end before all are full.
    """
    if train < 1 or held_out < 1:
        raise ConfigError(f"expected 1 or more problems in each split, found train={train}, held_out={held_out}")
    wanted = {"train": train, "valid": held_out, "test": held_out}
    found: dict[str, list[Problem]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for drawn in draws:
        if drawn is None or drawn[0] in seen:
            continue
        mark, make = drawn
        seen.add(mark)
        split = split_of(mark)
        if len(found[split]) < wanted[split]:
            found[split].append(make())
            if all(len(found[one]) == wanted[one] for one in SPLITS):
                return {one: tuple(problems) for one, problems in found.items()}
    counts = {split: len(found[split]) for split in SPLITS}
    raise ConfigError(f"expected {wanted} different problems, found {counts}: widen Recipe or ask for fewer")


def signature(relations: Iterable[tuple[str, ...]]) -> str:
    """Return a text that depends on named relations among objects, but neither on their order nor on objects' names.

    >>> signature([("on", "a", "b"), ("on", "b", "c")]) == signature([("on", "x", "a"), ("on", "b", "x")])
    True

    A relation is its name and then its objects. Colour refinement (Weisfeiler and Leman 1968): equal up to names
    implies equal signatures. The converse can fail for very regular structures, which then count as one: never a leak.
    """
    facts = sorted(set(relations))
    colours = {name: 0 for _, *objects in facts for name in objects}
    trail = repr([relation for relation, *objects in facts if not objects])
    for _ in range(len(colours)):
        around: dict[str, list[tuple[str | int, ...]]] = {name: [] for name in colours}
        for relation, *objects in facts:
            seen: tuple[str | int, ...] = (relation, *(colours[name] for name in objects))
            for place, name in enumerate(objects):
                around[name].append((place, *seen))
        looks = {name: (colours[name], tuple(sorted(around[name]))) for name in colours}  # says nothing of names
        trail = digest(trail + repr(sorted(looks.values())))
        ranks = {look: rank for rank, look in enumerate(sorted(set(looks.values())))}
        stable = len(ranks) == len(set(colours.values()))
        colours = {name: ranks[look] for name, look in looks.items()}
        if stable:
            break
    return trail
