"""Finding the source of a record on another machine, or where a folder was moved to.

A record names its file as it was when the corpus was extracted. Nothing is believed of a file that is found: whoever
checks a proof compares what it states (`session.check_statement`). A record may come from anywhere, so what it holds is
looked at here too. Not here: getting sources, or compiling them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from surpass.core import Problem
from surpass.domains.proofs.rocq.extraction import library_root
from surpass.errors import DataError

_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("file", "top", "statement", "name", "opening"), str),
    **dict.fromkeys(("options", "solution", "preamble", "assumptions"), list),
    "noinit": bool,
    "position": int,
}
_MAY_LACK = ("opening", "solution", "preamble", "assumptions")


def relocated(problem: Problem, sources: Path | None = None) -> Problem:
    """Return the problem with its file and load path where they are now, itself where nothing has moved.

    A file of the standard library is looked for in the one installed; any other below `sources`, by the end of its
    path. Raises DataError where it is not found, or the problem is none of Rocq's.
    """
    _check(problem)
    file = Path(str(problem.data["file"]))
    top, options = str(problem.data["top"]), list(problem.data["options"])
    if sources is None and file.is_file():
        return problem
    if not options and top.startswith("Coq."):
        return _with(problem, file=str(library_root().joinpath("theories", *top.split(".")[1:]).with_suffix(".v")))
    if sources is None:
        raise DataError(f"{problem.key}: expected its source {file}, found none; if it was moved, say --sources FOLDER")
    parts = file.parts[1:]
    for length in range(len(parts), 0, -1):
        found = sources.resolve().joinpath(*parts[-length:])
        if found.is_file():
            old, new = Path(*file.parts[:-length]), sources.resolve()
            return _with(problem, file=str(found), options=[_moved(word, old, new) for word in options])
    raise DataError(f"{problem.key}: expected {file.name} in {sources}, found no file there that ends as {file} does")


def _check(problem: Problem) -> None:
    """Raise DataError unless the data of a problem is of the kinds that Rocq's have (see rocq/README.md)."""
    for name, kind in _KINDS.items():
        if name in problem.data:
            value = problem.data[name]
            value = [*value] if isinstance(value, tuple) else value  # JSON has lists alone
            texts = value if kind is list else [value] if kind is str else []
            if type(value) is kind and all(_is_text(one) for one in texts):
                continue
        elif name in _MAY_LACK:
            continue
        found = ascii(problem.data.get(name))[:80] if name in problem.data else "none"
        expected = "a list of texts" if kind is list else {str: "a text", bool: "true or false", int: "a number"}[kind]
        raise DataError(f"{problem.key}: expected {expected} as data[{name!r}], found {found}; the record is damaged")


def _is_text(value: object) -> bool:
    """Tell whether a program can be told a value: a string without NUL or half a character."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= one <= "\udfff" for one in value)


def _moved(word: str, old: Path, new: Path) -> str:
    """Return a load path argument with the folder `old` replaced by `new`."""
    path = Path(word)
    return str(new / path.relative_to(old)) if path.is_absolute() and path.is_relative_to(old) else word


def _with(problem: Problem, **changes: Any) -> Problem:
    data: Mapping[str, Any] = {**problem.data, **changes}
    return replace(problem, data=data)
