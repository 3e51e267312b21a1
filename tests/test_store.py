from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.errors import DataError
from surpass.store import Run, read_trajectories, started, trajectory_from_json, trajectory_to_json
from tests.learning import TEXTS, TinyPolicy, rollouts

texts = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates and all line ends included
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
json_objects = st.dictionaries(texts, json_values, max_size=2)
observations = st.builds(
    Observation, texts, st.none() | st.lists(texts, max_size=2).map(tuple), st.integers(0, 3), texts
)
proposals = st.builds(
    Proposal, texts, st.none() | st.floats(allow_nan=False), st.lists(st.integers(0, 99), max_size=3).map(tuple)
)
trajectories = st.builds(
    Trajectory,
    st.builds(Problem, texts, texts, json_objects),
    st.lists(st.builds(Step, observations, proposals), max_size=3).map(tuple),
    st.builds(Verdict, st.sampled_from(Status), st.lists(st.floats(allow_nan=False), max_size=2).map(tuple), texts),
    json_objects,
)


@given(trajectories)
def test_trajectories_survive_exactly(trajectory: Trajectory) -> None:
    text = json.dumps(trajectory_to_json(trajectory))
    back = trajectory_from_json(json.loads(text))
    assert back == trajectory
    assert back.problem.data == trajectory.problem.data
    assert back.info == trajectory.info
    assert type(back.verdict.status) is Status


@given(st.lists(trajectories, max_size=3))
def test_one_line_each_whatever_the_text(tmp_path_factory: pytest.TempPathFactory, plays: list[Trajectory]) -> None:
    run = Run.create(tmp_path_factory.mktemp("run") / "a", {})
    run.append(plays[:1])
    run.append(plays[1:])
    assert list(run.trajectories()) == plays
    content = run.trajectories_path.read_bytes()
    lines = content.decode().splitlines()
    assert content.count(b"\n") == len(plays) == len(lines)
    assert [json.loads(line) for line in lines] == [json.loads(json.dumps(trajectory_to_json(play))) for play in plays]


def test_neighbours_of_one_name_keep_their_own_data(tmp_path: Path) -> None:
    plays = [Trajectory(Problem("same", data={"n": n}), (), Verdict(Status.UNKNOWN)) for n in (1, 1, 2)]
    run = Run.create(tmp_path / "run", {})
    run.append(plays)
    assert [play.problem.data["n"] for play in run.trajectories()] == [1, 1, 2]


def test_create_and_open(tmp_path: Path) -> None:
    config = {"lr": 1e-4, "out": tmp_path, "layers": [1, 2]}
    run = Run.create(tmp_path / "deep" / "run", config)
    assert Run.open(tmp_path / "deep" / "run").config() == {"lr": 1e-4, "out": str(tmp_path), "layers": [1, 2]}
    assert list(run.trajectories()) == []
    assert run.metrics() == []
    assert run.load() is None
    with pytest.raises(DataError, match="already holds a run"):
        Run.create(run.path, config)
    (tmp_path / "other").mkdir()
    Run.create(tmp_path / "other", {})  # an empty folder will do
    with pytest.raises(DataError, match="something else"):
        Run.create(tmp_path / "deep", {})
    with pytest.raises(DataError, match="folder of a run"):
        Run.open(tmp_path / "absent")
    (run.path / "config.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        Run.open(run.path)
    (run.path / "config.json").write_text("[]")
    with pytest.raises(DataError, match="JSON object"):
        Run.open(run.path)


def test_a_kill_while_the_config_was_written_leaves_a_folder_that_can_begin_again(tmp_path: Path) -> None:
    for name in ("made", "named"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json.new").write_text('{"lr":')
    Run.create(tmp_path / "made", {"lr": 1})
    assert [one.name for one in (tmp_path / "made").iterdir()] == ["config.json"]
    with started("name", tmp_path / "named") as folder:
        Run.create(folder, {"lr": 2})
    assert Run.open(tmp_path / "named").config() == {"lr": 2}
    (tmp_path / "named" / "config.json").rename(tmp_path / "named" / "notes.json")
    with pytest.raises(DataError, match="something else"):
        Run.create(tmp_path / "named", {})


def test_summary_and_metrics(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    with pytest.raises(DataError, match="come so far"):
        run.summary()
    run.write_summary({"solved": 0.5})
    run.write_summary({"solved": 0.75})
    assert run.summary() == {"solved": 0.75}
    run.log({"step": 1, "loss": 0.1})
    run.log({"step": 2, "loss": float("inf")})
    assert run.metrics() == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": float("inf")}]


def test_a_torn_last_line_is_skipped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.create(tmp_path / "run", {})
    plays = list(rollouts(TinyPolicy(TEXTS), n=2))
    run.append(plays)
    whole = run.trajectories_path.read_bytes()
    end_of_first = whole.index(b"\n") + 1
    for cut in (len(whole) - 1, len(whole) - 20, end_of_first + 1):
        run.trajectories_path.write_bytes(whole[:cut])
        with caplog.at_level(logging.WARNING):
            assert list(run.trajectories()) == plays[: whole[:cut].count(b"\n")]
        assert "torn" in caplog.text
        caplog.clear()
    run.trajectories_path.write_bytes(whole)
    assert list(run.trajectories()) == plays
    assert not caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{]", "not JSON"),
        (b"[1]", "JSON object"),
        (b'{"problem": {"key": "p"}}', "not a trajectory"),
        (b"", "not JSON"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    run = Run.create(tmp_path / "run", {})
    plays = list(rollouts(TinyPolicy(TEXTS), n=1))
    run.append(plays)
    with run.trajectories_path.open("ab") as file:
        file.write(line + b"\n")
    found = read_trajectories(run.trajectories_path)
    assert [next(found) for _ in plays] == plays
    with pytest.raises(DataError, match=f"line {len(plays) + 1}.*{message}"):
        next(found)
    with pytest.raises(DataError, match="cannot be read"):
        next(read_trajectories(tmp_path / "absent.jsonl"))


def test_resume_cuts_the_records_and_sets_the_random_states(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    plays = list(rollouts(TinyPolicy(TEXTS), n=2))
    run.append(plays[:2])
    run.log({"step": 1})
    run.save({"weights": torch.arange(3), "name": "x"})
    expected = random.random(), np.random.rand(), torch.rand(2).tolist()
    run.append(plays[2:])
    run.log({"step": 2})
    with run.trajectories_path.open("ab") as file:
        file.write(b'{"torn')
    assert run.load() is not None
    assert len(run.metrics()) == 2  # load changes nothing
    state = Run.open(run.path).resume()
    assert state is not None
    assert state["weights"].tolist() == [0, 1, 2]
    assert (random.random(), np.random.rand(), torch.rand(2).tolist()) == expected
    assert list(run.trajectories()) == plays[:2]
    assert run.metrics() == [{"step": 1}]


def test_records_without_a_checkpoint_are_not_emptied_by_resuming(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    assert run.resume() is None
    plays = list(rollouts(TinyPolicy(TEXTS), n=1))
    run.append(plays)
    with pytest.raises(DataError, match=r"trajectories.jsonl holds records.*no checkpoint.*another folder"):
        run.resume()
    assert list(run.trajectories()) == plays
    run.clear()
    assert list(run.trajectories()) == []
    assert run.resume() is None
    run.log({"step": 1})
    with pytest.raises(DataError, match=r"metrics.jsonl holds records"):
        run.resume()


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "run", {})
    run.save({"step": 1})

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space"):
            run.save({"step": 2})
    assert run.load() == {"step": 1}
    run.save({"step": 3})
    assert run.load() == {"step": 3}
    assert [path.name for path in run.checkpoint_path.parent.iterdir()] == ["state.pt"]


def test_damaged_checkpoints_and_lost_records_are_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    run.append(rollouts(TinyPolicy(TEXTS), n=1))
    run.save({"step": 1})
    whole = run.checkpoint_path.read_bytes()
    run.checkpoint_path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read") as told:
        run.load()
    assert "delete" not in str(told.value)
    torch.save({"other": 1}, run.checkpoint_path)
    with pytest.raises(DataError, match="not a checkpoint"):
        run.load()
    run.checkpoint_path.write_bytes(whole)
    run.trajectories_path.write_bytes(b"")
    with pytest.raises(DataError, match="its checkpoint knew"):
        run.resume()
