"""Compare the speed of several ways to do the same where the machine's own speed drifts by more than they differ.

One after another, the last to be measured meets another machine than the first. Here all are alive at once, each in a
process of its own that waits while another has the turn, and every turn is one step: what is compared lies a second
apart. Not here: how memory compares, and ways that use more than one process.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from random import Random
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from surpass.errors import SurpassError
from surpass.rollouts.processes import end_with_parent, kill_tree

Found = TypeVar("Found")
Way = Callable[[Callable[[], None]], Found]  # calls what it is given at the end of each step


def in_turns(
    ways: Mapping[str, Way[Found]], steps: int, *, seed: int = 0
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Found]]:
    """Return the seconds of each step but the first [steps - 1], and what each way returns, by name.

    In every turn all ways take a step, in an order drawn from the seed. The first step is left out, as it holds all
    that a way does to begin. Ways and what they return must be picklable. Raises SurpassError with the traceback of a
    way that fails or ends too early; the others are killed then.
    """
    context, rng, names = multiprocessing.get_context("spawn"), Random(seed), list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        pipes: dict[str, Connection[None, Any]] = {}
        for name in names:
            ours, theirs = context.Pipe()
            pipes[name] = stack.enter_context(closing(ours))
            process = context.Process(target=_alone, args=(ways[name], theirs), daemon=True)
            process.start()
            assert process.pid is not None
            stack.callback(process.join)
            stack.callback(kill_tree, process.pid)
            theirs.close()
        for _ in range(steps):
            for name in rng.sample(names, len(names)):
                seconds[name].append(_turn(name, pipes[name], "step"))
        found = dict[str, Found]()
        for name in names:  # what comes after the last step
            found[name] = _turn(name, pipes[name], "end")
    return {name: np.array(seconds[name][1:]) for name in names}, found


def _turn(name: str, pipe: Connection[None, Any], expected: str) -> Any:
    """Let a way go on; return what it tells when it stops."""
    try:
        pipe.send(None)
        kind, told = pipe.recv()
    except (EOFError, OSError):  # the latter where it died before its turn
        kind, told = "died", "its process has died"
    if kind != expected:
        told = told if kind in ("failed", "died") else f"expected its {expected}, found its {kind}"
        raise SurpassError(f"{name}: {told}")
    return told


def _alone(way: Way[Any], pipe: Connection[Any, None]) -> None:
    """Do one way's steps, each when it is told to, and say how long each took."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it
    pipe.recv()
    began = time.perf_counter()

    def ended() -> None:
        nonlocal began
        pipe.send(("step", time.perf_counter() - began))
        pipe.recv()
        began = time.perf_counter()

    try:
        pipe.send(("end", way(ended)))
    except Exception:  # noqa: BLE001  # the parent tells it
        pipe.send(("failed", traceback.format_exc()))
