"""The experiment on a small development of our own: what each arm sees, whole, gone on with, and wrong settings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from surpass.core import Domain, Policy, Problem, Step
from surpass.domains.proofs.text import offered, without_premises
from surpass.errors import ConfigError
from surpass.experiments import teaching
from surpass.experiments.premise_reading import ARMS, PRESETS, main
from surpass.models.hf import LanguageModel
from surpass.recipe import TrainConfig
from surpass.store import Run
from tests.domains.proofs.rocq.developments import numbers

TINY = replace(PRESETS["tiny"], arms=ARMS, k=3, jobs=1)


@pytest.mark.rocq
def test_only_the_arms_with_premises_see_any_and_only_accessible_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, corpus=numbers(tmp_path, tmp_path / "corpus"))
    taught, met = dict[str, list[Step]](), dict[str, list[tuple[str, str]]]()
    teach, search = teaching.teach, teaching.search

    def teaches(path: Path, policy: LanguageModel, numbers: TrainConfig, what: teaching.Taught) -> Mapping[str, float]:
        taught[path.name] = [step for proofs in what.proofs.values() for one in proofs for step in one.steps]
        return teach(path, policy, numbers, what)

    def searches(
        path: Path, problems: Sequence[Problem], domain: Domain[Hashable], policy: Policy, how: teaching.Search
    ) -> None:
        met[path.name] = [(one.key, domain.observe(domain.start(one)).text) for one in problems]
        search(path, problems, domain, policy, how)

    monkeypatch.setattr(teaching, "teach", teaches)
    monkeypatch.setattr(teaching, "search", searches)
    folder = main(config, out=tmp_path / "run")
    summary = Run.open(folder).summary()
    assert set(summary["arms"]) == set(ARMS)
    assert set(summary["comparisons"]) == {"with - without", "chance - without", "with - chance"}
    for arm in ARMS:
        assert Run.open(folder / "train" / f"{arm}-0").summary()["step"] == config.steps
        texts = [step.observation.text for step in taught[f"{arm}-0"]] + [text for _, text in met[f"{arm}-0"]]
        offers = [offered(text) for text in texts]
        assert {len(one) for one in offers} == ({0} if arm == "without" else {config.k})
        assert [without_premises(text) for text in texts] == [step.observation.text for step in taught["without-0"]] + [
            text for _, text in met["without-0"]
        ]
        for key, text in met[f"{arm}-0"]:
            assert key.rpartition(".")[2] not in offered(text)
    tokens = {arm: Run.open(folder / "train" / f"{arm}-0").summary()["gradient_tokens"] for arm in ARMS}
    assert len(set(tokens.values())) == 1  # the same tactics, whatever stands above them
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("state.pt")}
    main(config, resume=folder)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("state.pt")}


@pytest.mark.parametrize("wrong", [{"arms": ()}, {"arms": ("other",)}, {"seeds": ()}, {"k": 0}, {"steps": 0}])
def test_wrong_settings_are_told(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        main(replace(TINY, **wrong), out=tmp_path / "run")  # type: ignore[arg-type]
