"""One training of an audit: the loop that everything else uses (`train`), in a folder that is thrown away.

Samples come from the runner and the search `sample`, at temperature 1, without replay: what policy gradients assume,
and as good as any for the others. Imitation learns from demonstrations instead, all of them in every batch.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from surpass.core import Trainable, Trajectory
from surpass.objectives.batch import Heads, Metrics, Objective
from surpass.recipe import Parts, TrainConfig
from surpass.search.sampling import sample
from surpass.store import Run
from surpass.threads import one_thread
from surpass.train import train

if TYPE_CHECKING:
    from surpass.audits.tasks import Task


def learn(
    task: Task,
    objective: Objective,
    config: TrainConfig,
    *,
    heads: Heads | None = None,
    group: int = 0,
    demonstrations: Sequence[Trajectory] = (),
    reference: Trainable | None = None,
) -> Metrics:
    """Train `task.policy` in place, on `group` samples a step and on all demonstrations; return the last metrics."""
    config = replace(
        config,
        temper_probability=0.0,
        replay_probability=0.0,
        micro_batch=4096,
        checkpoint_every=config.steps,
        evaluate_every=config.steps,
    )
    parts = Parts(
        task.policy,
        [task.problem],
        objective,
        task.reward,
        domain=task.domain if group else None,
        search=partial(sample, n=group, max_steps=task.max_steps) if group else None,
        demonstrations={task.problem.key: demonstrations} if demonstrations else {},
        reference=reference,
        heads=heads or Heads(),
    )
    with tempfile.TemporaryDirectory() as folder, _quiet(), one_thread():
        return train(config, parts, Run.create(Path(folder) / "run", {}))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loop's own progress off the screen: an audit has one of its own, and two cannot share a terminal."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
