"""Finding the policy that a run has left, and what stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from surpass.core import Observation
from surpass.errors import ConfigError, DataError
from surpass.models.fixed import ROCQ_AUTOMATION
from surpass.models.hf import LanguageModel
from surpass.models.mixture import Mixture
from surpass.models.saved import prover_policy, saved


def test_the_one_policy_below_a_run_is_loaded_with_automation_beside_it(tmp_path: Path) -> None:
    model = LanguageModel.from_scratch("tiny", ["intros n.", "auto."] * 20, 0)
    model.save(tmp_path / "run" / "policies" / "gfn-0")
    assert saved(tmp_path / "run") == tmp_path / "run" / "policies" / "gfn-0"
    mixed = prover_policy(tmp_path / "run")
    assert isinstance(mixed, Mixture)
    [row] = mixed.propose([Observation("goal")], 8, seeds=[1])
    assert len({one.action for one in row} & set(ROCQ_AUTOMATION)) >= 4
    alone = prover_policy(tmp_path / "run", automation=False)
    [[[mine]], [[theirs]]] = (policy.propose([Observation("goal")], 1, seeds=[1]) for policy in (model, alone))
    assert mine.tokens == theirs.tokens


def test_none_and_several_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"surpass\.json"):
        saved(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "surpass.json").touch()
    with pytest.raises(ConfigError, match="give one of"):
        saved(tmp_path)
    assert saved(tmp_path / "b") == tmp_path / "b"
