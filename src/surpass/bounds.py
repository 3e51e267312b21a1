"""Numbers that make sense: what options are held to, so that a senseless one is a message and no strange result.

Option dataclasses say their bounds in `__post_init__`, and the command line holds every number it reads to what all of
them have in common. Not here: choices among names, and options that depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from numbers import Real
from typing import cast

from surpass.errors import ConfigError


def at_least(options: object, **least: float) -> None:
    """Raise ConfigError where a field is below its least value, infinite or no number; None, for "not given", passes.

    >>> from types import SimpleNamespace
    >>> at_least(SimpleNamespace(jobs=2, seeds=(0, 1)), jobs=1, seeds=0)  # all values of a tuple

    Raises it too where a tuple is empty.
    """
    for name, bound in least.items():
        given = getattr(options, name)
        if (isinstance(given, tuple) and not given) or not all(
            bound <= number < math.inf for number in _numbers(given)
        ):
            raise ConfigError(f"{name}: expected {bound:g} or more, found {given}")


def above(options: object, **bounds: float) -> None:
    """Raise ConfigError where a field is not above its bound, infinite or no number; None passes."""
    for name, bound in bounds.items():
        given = getattr(options, name)
        if not all(bound < number < math.inf for number in _numbers(given)):
            raise ConfigError(f"{name}: expected a number above {bound:g}, found {given}")


def plausible(options: object) -> None:
    """Raise ConfigError for a number that no option wants: infinite, none at all, or below 0 where its default is not.

    Looks into the option dataclasses that a dataclass holds; a field without a default may be below 0.
    """
    if not is_dataclass(options):
        return
    for field in fields(options):
        given = getattr(options, field.name)
        plausible(given)
        usual = [*_numbers(field.default)]
        least = 0.0 if usual and min(usual) >= 0 else -math.inf
        for number in _numbers(given):
            if number not in usual and not (least <= number < math.inf and number > -math.inf):
                bound = "a number" if least else "0 or more"
                raise ConfigError(f"{field.name}: expected {bound}, found {given}")


def _numbers(value: object) -> Iterator[float]:
    """Yield the numbers in an option's value: itself, or those in a tuple."""
    if isinstance(value, tuple):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, Real):
        yield cast(float, value)
