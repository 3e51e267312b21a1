"""The configuration that a run folder was made with, read back: for resuming it, and for building on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from surpass.errors import DataError
from surpass.store import Run

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def stored_config(name: str, kind: type[DataclassInstance], run: Path) -> DataclassInstance:
    """Return the configuration that a run folder was made with. Raises DataError where it holds none that fits."""
    stored, path, hints = Run(run).config(), run / "config.json", get_type_hints(kind)
    if stored.get("experiment", name) != name:
        raise DataError(f"{path}: expected a run of {name}, found one of {stored['experiment']}")
    values = dict[str, Any]()
    for one in fields(kind):
        if one.init and one.name not in stored:
            raise DataError(f"{path}: expected the setting {one.name} of {name}, found none; start a new run")
        if one.init:
            try:
                values[one.name] = restored(stored[one.name], hints[one.name])
            except TypeError as error:
                raise DataError(f"{path}: {one.name}: {error}; start a new run") from error
    try:
        return kind(**values)
    except ValueError as error:
        raise DataError(f"{path}: {error}; start a new run") from error


def restored(value: object, hint: Any) -> object:
    """Return a JSON value as its annotation wants it: lists become tuples and texts become paths.

    Raises TypeError where a plain type was expected and something else found.
    """
    if hint in (bool, int, float, str) and not isinstance(value, int | float if hint is float else hint):
        raise TypeError(f"expected {hint.__name__}, found {value!r}")
    if isinstance(value, list):
        hints = _items(hint, len(value))
        if len(hints) != len(value):
            raise TypeError(f"expected {len(hints)} values, found {value}")
        return tuple(map(restored, value, hints))
    if isinstance(value, str) and "Path" in str(hint):
        return Path(value)
    return value


def _items(hint: Any, count: int) -> Sequence[Any]:
    """Return the annotations of the items of a tuple of `count`, or of one that may be None."""
    for one in (hint, *get_args(hint)):
        if get_origin(one) is tuple:
            items = get_args(one)
            return items[:1] * count if items[-1] is ... else items
    return (Any,) * count
