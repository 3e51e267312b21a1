"""The experiment on two small developments of our own: what is taught, kept, measured and gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq import library
from surpass.domains.proofs.rocq.domain import Rocq
from surpass.domains.proofs.rocq.lessons import lessons
from surpass.errors import ConfigError
from surpass.experiments.lifelong import PRESETS, Config, main
from surpass.store import Run
from tests.domains.proofs.rocq.developments import numbers

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = []
    for name in ("One", "Two"):
        root = tmp_path_factory.mktemp(name)
        made.append(numbers(root, root / "corpus", more=30 if name == "One" else 26, name=name))
    return replace(TINY, corpora=tuple(made))


@pytest.mark.rocq
def test_every_stage_is_measured_on_every_library_and_what_is_finished_is_kept(config: Config, tmp_path: Path) -> None:
    folder = main(config, out=tmp_path / "run")
    summary = Run.open(folder).summary()
    assert set(summary["lifelong"]) == {"naive", "replay"}
    for row in summary["lifelong"].values():
        for kind in ("solved", "nats"):
            table = row[kind]["table"]
            assert [len(line) for line in table] == [2, 2]
            assert row[kind]["backward"] == pytest.approx(table[1][0] - table[0][0])
            low, high = row[kind]["backward_ci95"]
            assert low - 1e-9 <= row[kind]["backward"] <= high + 1e-9
    naive, replayed = (summary["lifelong"][arm]["nats"]["table"] for arm in ("naive", "replay"))
    assert naive[0] == replayed[0]  # the first stage is the same
    assert naive[1] != replayed[1]  # half of the second is not
    assert set(summary["comparisons"]) == {
        f"replay - naive, {name} libraries, {kind}" for name in ("earlier", "last") for kind in ("solved", "nats")
    }
    taught = sum(one["taught"] for one in summary["stages"])
    assert summary["lifelong"]["naive"]["library"]["proofs"] >= taught
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("state.pt")}
    main(config, resume=folder)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("state.pt")}
    assert Run.open(folder).summary()["lifelong"] == summary["lifelong"]
    _lessons_come_easiest_first(config, folder)


def _lessons_come_easiest_first(config: Config, folder: Path) -> None:
    known = {one.key for one in corpora.problems(config.corpora[0], "train")}
    with library.opened(folder / "proofs" / "naive-0.sqlite") as base, Rocq([]) as domain:
        found = lessons(base, domain, {}, known)  # nothing recorded: all goals are met again
        shortest = {one.problem.key: one.script for one in reversed(list(library.proofs(base)))}
    assert found
    assert {one.trajectory.problem.key for one in found} <= known
    order = [(-one.difficulty.rate, one.difficulty.shortest) for one in found]
    assert order == sorted(order)
    for one in found:
        assert one.trajectory.solved
        assert len(one.trajectory.actions) == one.difficulty.shortest
        assert one.trajectory.actions == shortest[one.trajectory.problem.key]
        assert one.trajectory.steps[0].observation.key == one.trajectory.problem.data["goals"]


WRONG: list[dict[str, object]] = [
    {"arms": ("other",)},
    {"seeds": ()},
    {"corpora": (Path("a"),), "libraries": ("a",), "subsets": ("",)},
    {"corpora": (Path("a"), Path("a"))},
    {"libraries": ("stdlib",)},
    {"steps": 0},
    {"batch": 1},
    {"explore": -1},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_settings_are_told(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        main(replace(TINY, **wrong), out=tmp_path / "run")  # type: ignore[arg-type]
