"""A `proof_flow` run as what another experiment starts from: given, or made first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from surpass.errors import ConfigError
from surpass.experiments import proof_flow
from surpass.experiments.stored import stored_config


@dataclass(frozen=True, slots=True)
class Flow:
    """The run whose policies are used, and what it was configured with."""

    path: Path
    config: proof_flow.Config


def flow_of(run: Path | None, path: Path, own: proof_flow.Config, *, arms: Sequence[str]) -> Flow:
    """Return the run that was given, or a run at `path` as `own` says, made or gone on with where it is not finished.

    Raises DataError for a folder that is no `proof_flow` run, ConfigError where it has not trained the `arms` that are
    asked for, with the seeds of `own`.
    """
    if run is None and not (path / "summary.json").exists():
        proof_flow.main(own, out=path, resume=path if (path / "config.json").exists() else None)
    found = run or path
    stored = cast("proof_flow.Config", stored_config("proof_flow", proof_flow.Config, found))
    trained = [found / "train" / f"{arm}-{seed}" for arm in arms for seed in own.seeds]
    if missing := [str(one) for one in trained if not (one / "summary.json").exists()]:
        raise ConfigError(f"expected finished training in {', '.join(missing)}, found none; choose other arms or seeds")
    return Flow(found, stored)
