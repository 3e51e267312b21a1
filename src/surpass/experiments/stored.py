"""The configuration that a run folder was made with, read back: for resuming it, and for building on it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from surpass.errors import DataError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def stored_config(name: str, kind: type[DataclassInstance], run: Path) -> DataclassInstance:
    """Return the configuration that a run folder was made with. Raises DataError where it holds none that fits."""
    path = run / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.get("experiment", name) != name:
            raise ValueError(f"it belongs to {stored['experiment']}")
        hints = get_type_hints(kind)
        values = {one.name: restored(stored[one.name], hints[one.name]) for one in fields(kind) if one.init}
        return kind(**values)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} not found: expected a run folder, as printed when the run began") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not hold a configuration of {name}: {error!r}; start a new run") from error


def restored(value: object, hint: Any) -> object:
    """Return a JSON value as its annotation wants it: lists become tuples and texts become paths.

    Raises TypeError where a plain type was expected and something else found.
    """
    if hint in (bool, int, float, str) and not isinstance(value, int | float if hint is float else hint):
        raise TypeError(f"expected {hint.__name__}, found {value!r}")
    if isinstance(value, list):
        return tuple(restored(item, Any) for item in value)
    if isinstance(value, str) and "Path" in str(hint):
        return Path(value)
    return value
