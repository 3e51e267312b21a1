"""Keys of problems that are given by hand: whoever counts, draws and reports goes by them."""

from __future__ import annotations

from collections.abc import Sequence

from surpass.core import Problem
from surpass.errors import DataError


def check_keys(problems: Sequence[Problem]) -> None:
    """Raise DataError where two problems of one key say different things; one problem may be there twice."""
    known = dict[str, Problem]()
    for problem in problems:
        if known.setdefault(problem.key, problem).data != problem.data:
            raise DataError(f"expected problems under unique keys, found two different ones under {problem.key!r}")
