"""An interrupted run ends as an uninterrupted one: weights bit for bit, records line for line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surpass.admission import Admission
from surpass.core import Status, Trajectory, Verdict
from surpass.core import replay as played
from surpass.curriculum import Curriculum, learnable, success
from surpass.errors import ConfigError
from surpass.exploration import Exploration
from surpass.objectives.balance import ProblemLogZ, trajectory_balance
from surpass.objectives.batch import Heads, log_return
from surpass.replay import Replay, by_recency
from surpass.schedules import Constant, Cosine, Linear
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from tests.learning import PROBLEMS, REJECTED, TEXTS, TinyDomain, TinyPolicy, TinyState, play

CONFIG = TrainConfig(steps=6, learning_rate=0.05, warmup=2, schedule="cosine", replay_probability=0.5)
TIMED = ("seconds", "verifier_seconds")
CLOCKS = {*TIMED, *(f"total_{name}" for name in TIMED), "search_seconds", "learn_seconds", "admission_seconds"}


class Noisy(TinyPolicy):
    """A policy whose scores draw from torch's global generator, as dropout does."""

    def logp(self, trajectories: Any) -> Tensor:
        return super().logp(trajectories) * (1.0 + 0.01 * torch.rand(()))


def strict(plays: Sequence[Trajectory]) -> list[Verdict]:
    """A fresh checker that refuses what ends in aa."""
    return [
        REJECTED if play.actions[-1].endswith("aa") else Verdict(Status.ACCEPTED, (1.0,), "fresh") for play in plays
    ]


def parts(seed: int = 0) -> Parts[TinyState]:
    """Fresh parts as a new process would make them; other seeds give other initial weights."""
    policy = Noisy(TEXTS, seed=seed)
    return Parts(
        policy=policy,
        problems=PROBLEMS,
        objective=partial(trajectory_balance, beta=0.5),
        reward=log_return,
        domain=TinyDomain(),
        search=partial(play, n=3),
        demonstrations={p.key: [played(TinyDomain(), p, p.data["solution"])] for p in PROBLEMS},
        reference=TinyPolicy(TEXTS, seed=9),
        heads=Heads(log_z=ProblemLogZ([problem.key for problem in PROBLEMS])),
        curriculum=Curriculum(success, learnable),
        exploration=Exploration(Linear(0.9, 0.1, 6), Constant(0.25), Constant(1.0)),
        sharpness=Cosine(0.2, 1.0, 5),
        replay=Admission(Replay(capacity=5, prefer=by_recency), strict, every=2),
    )


class Killed(BaseException):
    """The end of a process."""


def weights(made: Parts[TinyState]) -> list[Tensor]:
    assert isinstance(made.policy, TinyPolicy)
    assert isinstance(made.heads.log_z, ProblemLogZ)
    return [made.policy.table.detach(), made.heads.log_z.values.detach()]


def timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in CLOCKS}


def record(run: Run) -> tuple[list[Any], list[dict[str, Any]]]:
    return [(t, timeless(t.info)) for t in run.trajectories()], [timeless(row) for row in run.metrics()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Tensor], Any]:
    run = Run.create(tmp_path_factory.mktemp("whole") / "run", {})
    torch.manual_seed(0)
    made = parts()
    train(CONFIG, made, run)
    found = record(run)
    assert len(found[1]) == CONFIG.steps
    assert any(row["replayed"] for row in found[1])
    assert any(row["replay_waiting"] for row in found[1])  # some are killed while a proof waits
    assert found[1][-1]["replay_refused"] > 0 < found[1][-1]["replay_admitted"]
    return weights(made), found


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("moment", ["append", "log", "save"])
def test_killed_at_every_step_and_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[list[Tensor], Any], moment: str, every: int
) -> None:
    """`moment`: the last thing a process does before it dies, while writing the line that follows."""
    expected, expected_record = whole
    real = vars(Run)[moment]
    for at in range(CONFIG.steps):
        run = Run.create(tmp_path / f"{at}", {})
        calls = 0

        def dying(self: Run, *args: Any, at: int = at) -> None:
            nonlocal calls
            real(self, *args)
            calls += 1
            if calls > at:
                for path in (self.trajectories_path, self.metrics_path):
                    with path.open("ab") as file:
                        file.write(b'{"torn": ')
                raise Killed

        torch.manual_seed(0)
        with monkeypatch.context() as patch:
            patch.setattr(Run, moment, dying)
            config = replace(CONFIG, checkpoint_every=every)
            if moment == "save" and every > 1 and at >= 3:  # saved at the start, after steps 4 and 6
                train(config, parts(), run)
            else:
                with pytest.raises(Killed):
                    train(config, parts(), run)
        torch.manual_seed(123)  # another process
        made = parts(seed=7)
        train(config, made, Run.open(run.path))
        for ours, theirs in zip(weights(made), expected, strict=True):
            assert torch.equal(ours, theirs)
        assert record(run) == expected_record


def test_at_most_the_current_step_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "run", {})
    domain = TinyDomain()
    learned: list[int] = []
    real = Run.append

    def dying(self: Run, trajectories: Any) -> None:
        real(self, trajectories)
        learned.append(domain.calls)
        if len(learned) == 4:
            raise Killed

    monkeypatch.setattr(Run, "append", dying)
    with pytest.raises(Killed):
        train(CONFIG, replace(parts(), domain=domain), run)
    before, last_step = learned[2], learned[3] - learned[2]
    domain.calls = 0
    train(CONFIG, replace(parts(), domain=domain), run)
    total = sum(len(t.steps) for t in run.trajectories())
    assert domain.calls == total - before
    assert last_step <= domain.calls


def test_a_finished_run_only_answers_and_can_be_extended(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    constant = replace(CONFIG, schedule="constant")
    made = parts()
    last = train(constant, made, run)
    again = parts(seed=5)
    assert train(constant, again, run) == last
    assert all(torch.equal(a, b) for a, b in zip(weights(made), weights(again), strict=True))
    longer = train(replace(constant, steps=8), again, run)
    assert longer["step"] == 8
    assert [row["step"] for row in run.metrics()] == list(range(1, 9))


def test_other_settings_cannot_resume(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    train(replace(CONFIG, steps=1), parts(), run)
    with pytest.raises(ConfigError, match=r"learning_rate was 0.05, is 0.1"):
        train(replace(CONFIG, learning_rate=0.1), parts(), run)
    with pytest.raises(ConfigError, match="curriculum was present"):
        train(replace(CONFIG, steps=1), replace(parts(), curriculum=None), run)
    with pytest.raises(ConfigError, match="replay was present"):
        train(CONFIG, replace(parts(), replay=None), run)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"objective": partial(trajectory_balance, beta=2.0)}, r"objective was .*beta=0.5\), is .*beta=2.0\)"),
        ({"reference": TinyPolicy(TEXTS, seed=8)}, "reference was"),
        ({"reference": None}, "reference was .*, is None"),
        ({"reward": partial(log_return, floor=-3.0)}, r"reward was log_return, is log_return\(floor=-3.0\)"),
        ({"search": partial(play, n=4)}, r"search was play\(n=3\), is play\(n=4\)"),
        ({"sharpness": Cosine(0.2, 1.0, 6)}, "sharpness was"),
    ]
    for change, message in changes:
        with pytest.raises(ConfigError, match=message):
            train(CONFIG, replace(parts(), **change), run)
    with pytest.raises(ConfigError, match="decay_steps was 1, is 6"):  # a cosine that ended with the last step
        train(CONFIG, parts(), run)
    train(replace(CONFIG, decay_steps=1), parts(), run)


def main(folder: str) -> None:
    """Train slowly in a process of its own, to be killed."""
    path = Path(folder)
    run = Run.open(path) if (path / "config.json").exists() else Run.create(path, {})

    def wait(step: int) -> dict[str, float]:
        time.sleep(0.15)
        return {}

    torch.manual_seed(0)
    train(replace(CONFIG, evaluate_every=1), replace(parts(), evaluate=wait), run)


def test_kill_minus_nine(tmp_path: Path, whole: tuple[list[Tensor], Any]) -> None:
    path = tmp_path / "run"
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, f"{root}/src"])}
    command = [sys.executable, "-c", f"from tests.test_resume import main; main({str(path)!r})"]
    process = subprocess.Popen(command, env=environment, cwd=root)
    try:
        deadline = time.monotonic() + 120
        while not (path / "metrics.jsonl").exists() or (path / "metrics.jsonl").read_bytes().count(b"\n") < 3:
            assert process.poll() is None, "the process ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    made = parts(seed=7)
    run = Run.open(path)
    assert len(run.metrics()) < CONFIG.steps
    train(replace(CONFIG, evaluate_every=1), made, run)
    expected, expected_record = whole
    for ours, theirs in zip(weights(made), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert record(run) == expected_record
