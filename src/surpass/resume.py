"""What of a training run a checkpoint holds, and what must be given again in the same way to go on with it.

A checkpoint holds all that a step changes: weights, optimiser, replay, curriculum. What a run is made of besides
(objective, reward, search, reference) is made again by whoever resumes; a checkpoint holds a description of it, so
that a run does not go on as another one. Not here: random states and files (`store.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from hashlib import blake2b
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Protocol, runtime_checkable

import torch
from torch.optim import Optimizer

from surpass.core import State
from surpass.curriculum import Curriculum
from surpass.errors import ConfigError
from surpass.objectives.batch import Metrics
from surpass.recipe import Parts, TrainConfig
from surpass.replay import Memory

DESCRIBED = ("objective", "reward", "search", "budget", "exploration", "sharpness")


@runtime_checkable
class Weighed(Protocol):
    """A reference whose weights can be read."""

    def state_dict(self) -> Mapping[str, Any]: ...


def made_of(parts: Parts[State]) -> dict[str, str]:
    """Describe the parts that a checkpoint does not put back: functions with the numbers that are bound to them (of
    what else is bound, the type), and a digest of the reference's weights.
    """
    words = {name: _words(getattr(parts, name)) for name in DESCRIBED}
    reference = parts.reference
    return words | {"reference": _digest(reference) if isinstance(reference, Weighed) else _words(reference)}


def checkpoint(
    config: TrainConfig, parts: Parts[State], optimiser: Optimizer, *, row: Metrics, made: Mapping[str, str]
) -> dict[str, Any]:
    """Return all that a step changes, to be stored after the line `row` of the metrics, and what must not change."""
    return {
        "config": asdict(config),
        "made_of": dict(made),
        "row": row,
        "policy": dict(parts.policy.state_dict()),
        "optimiser": optimiser.state_dict(),
        "heads": {name: dict(head.state_dict()) for name, head in parts.heads.modules().items()},
        **{name: None if part is None else part.state_dict() for name, part in _remembering(parts).items()},
    }


def restore(
    state: Mapping[str, Any], config: TrainConfig, parts: Parts[State], optimiser: Optimizer, *, made: Mapping[str, str]
) -> Metrics:
    """Put back what `checkpoint` returned, and return its `row`.

    Raises ConfigError where numbers (other than `steps`) or parts are not those of the checkpoint.
    """
    stored = asdict(TrainConfig()) | state["config"]  # what an older version did not know had its default
    before, now = (_lasting(numbers) | dict(of) for numbers, of in ((stored, {}), (asdict(config), made)))
    before |= {name: state.get("made_of", made).get(name, now[name]) for name in made}
    changed = [f"{name} was {before[name]}, is {value}" for name, value in now.items() if before[name] != value]
    heads, known = parts.heads.modules(), state.get("heads", {})
    if set(known) != set(heads):
        changed.append(f"heads were {sorted(known) or 'none'}, are {sorted(heads) or 'none'}")
    for name, part in _remembering(parts).items():
        if (state.get(name) is None) != (part is None):
            changed.append(f"{name} was {'absent' if part is not None else 'present'}")
    if changed:
        raise ConfigError(f"cannot resume with other settings ({'; '.join(changed)}); use the old ones or a new folder")
    parts.policy.load_state_dict(state["policy"])
    optimiser.load_state_dict(state["optimiser"])
    for name, head in heads.items():
        head.load_state_dict(known[name])
    for name, part in _remembering(parts).items():
        if part is not None:
            part.load_state_dict(state[name])
    return dict(state["row"])


def _lasting(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that a run keeps: all but `steps`, and where a cosine ends, which `steps` says by default."""
    ends = numbers["decay_steps"] or (numbers["steps"] if numbers["schedule"] == "cosine" else 0)
    return {**numbers, "decay_steps": ends, "steps": None}


def _remembering(parts: Parts[State]) -> dict[str, Memory | Curriculum | None]:
    """Return the parts that change from step to step besides the weights, by name."""
    return {"replay": parts.replay, "curriculum": parts.curriculum}


def _digest(reference: Weighed) -> str:
    """Return a digest of weights: of all entries of a tensor, or of about a million that are spread over it evenly."""
    digest = blake2b(digest_size=8)
    for name, value in sorted(reference.state_dict().items()):
        if isinstance(value, torch.Tensor):
            some = value.detach().flatten()[:: max(1, value.numel() >> 20)].contiguous().cpu()
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _words(value: object) -> str:
    """Describe a part: the same for whatever another process makes in the same way.

    >>> _words(partial(sorted, key=None, weights={"a": (1, 2.5)}))
    'sorted(key=None, weights={a: (1, 2.5)})'
    """
    if isinstance(value, partial):
        bound = [*map(_words, value.args), *(f"{name}={_words(one)}" for name, one in sorted(value.keywords.items()))]
        return f"{_words(value.func)}({', '.join(bound)})"
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_words, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_words(one)}' for name, one in value.items())}}}"
    if is_dataclass(value) and not isinstance(value, type):
        bound = [f"{one.name}={_words(getattr(value, one.name))}" for one in fields(value)]
        return f"{type(value).__qualname__}({', '.join(bound)})"
    if isinstance(value, FunctionType | MethodType | BuiltinFunctionType | type):
        return value.__qualname__
    return type(value).__qualname__
