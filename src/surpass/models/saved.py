"""The policy that a run has left behind, for proving with it.

A run saves a policy as a folder (`LanguageModel.save`): weights, tokenizer, `surpass.json`. It is found by that file
and loaded without the run's corpus or configuration. What a run saves, and of which arm, is the experiment's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from surpass.core import Policy
from surpass.errors import ConfigError, DataError
from surpass.models.checkpoint import SIDECAR
from surpass.models.fixed import ROCQ_AUTOMATION, Fixed
from surpass.models.mixture import Mixture


def prover_policy(run: Path | None, *, automation: bool = True, tactics: Sequence[str] = ROCQ_AUTOMATION) -> Policy:
    """Return a run's policy, with automation `tactics` beside it in equal weight, or these alone without a run.

    Raises ConfigError where there is nothing to propose or more than one policy to choose from, DataError where a run
    holds none, ModelError where it cannot be loaded.
    """
    if run is None:
        if not automation:
            raise ConfigError("expected a run or automation, found neither; give --run DIR")
        return Fixed(tactics)
    from surpass.models.hf import LanguageModel

    policy = LanguageModel.load(saved(run))
    return Mixture([(policy, 1.0), (Fixed(tactics), 1.0)]) if automation else policy


def saved(run: Path) -> Path:
    """Return the folder of the one policy in a run. Raises DataError for none, ConfigError for several."""
    if not run.is_dir():
        raise DataError(f"expected a run folder in {run}, found none; give the folder that `surpass run` has printed")
    found = sorted(path.parent for path in run.rglob(SIDECAR))
    if not found:
        raise DataError(f"expected a saved policy ({SIDECAR}) in {run} or below, found none; has the run finished?")
    if len(found) > 1:
        raise ConfigError(
            f"expected one saved policy in {run}, found {len(found)}: give one of {', '.join(map(str, found))}"
        )
    return found[0]
