"""Runs are folders: `{config.json, metrics.jsonl, trajectories.jsonl, checkpoint/, summary.json, report.html}`.

One JSON line per trajectory and per training step, appended; one checkpoint, replaced atomically, that knows how long
the two records were when it was written. Resuming cuts them back to that length, so a process may be killed at any
moment: at most the work since the last checkpoint is repeated and no line is lost or doubled.

Reading tolerates one torn last line (a crash, or a run still writing) and says so in the log; anything else that cannot
be read is a DataError. Not here: what a checkpoint holds (`train.py`), and what a report shows (`report.py`).
JSON keeps floats exactly, NaN and infinities in Python's spelling; tuples in `Problem.data` or `info` become lists.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.errors import ConfigError, DataError, SurpassError

log = logging.getLogger(__name__)
RECORDS = ("trajectories.jsonl", "metrics.jsonl")
_FRESH = ".new"  # behind the name of a file while it is written
# `default=dict` admits mappings that are not dicts; ASCII keeps lone surrogates and odd line ends out of the file
LINE = json.JSONEncoder(default=dict, separators=(",", ":"))


def reserve(name: str) -> Path:
    """Make an empty folder below `runs` that no other run has, named after what runs and the time; return it."""
    stamped, number = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", 1
    while True:
        path = Path("runs") / (stamped if number == 1 else f"{stamped}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


@contextmanager
def started(name: str, out: Path | None) -> Iterator[Path]:
    """Yield the empty folder of a run that starts: `out`, or a reserved one. A start that fails leaves none behind.

    It has failed where our own trouble finds nothing but a configuration there, or an interrupt nothing at all. Raises
    ConfigError where `out` holds something.
    """
    path, ours = out or reserve(name), True
    if out is not None:
        try:
            out.mkdir(parents=True)
        except FileExistsError:
            ours = False
            if not _empty(out):
                raise ConfigError(
                    f"{out} exists and nothing is overwritten: choose another --out, or --resume {out}"
                ) from None
    try:
        yield path
    except (SurpassError, KeyboardInterrupt) as error:
        written = {one.name for one in path.iterdir()}
        if ours and written <= ({"config.json"} if isinstance(error, SurpassError) else set()):
            (path / "config.json").unlink(missing_ok=True)
            path.rmdir()
        raise


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder. Only one process may write to it at a time; this is not checked."""

    path: Path

    @staticmethod
    def create(path: Path | str, config: Mapping[str, Any]) -> Run:
        """Make the folder of a new run. Raises DataError where the folder exists and is not empty."""
        path = Path(path)
        if path.exists() and not _empty(path):
            kind = "a run" if (path / "config.json").exists() else "something else"
            raise DataError(f"{path} already holds {kind}; choose another folder, resume it, or delete it first")
        path.mkdir(parents=True, exist_ok=True)
        run = Run(path)
        run.write_config(config)
        return run

    @staticmethod
    def open(path: Path | str) -> Run:
        """Open a run to read it or to resume it. Raises DataError where there is none, or its config is unreadable."""
        run = Run(Path(path))
        run.config()
        return run

    def config(self) -> dict[str, Any]:
        """Return what the run was created with."""
        return _read_object(self.path / "config.json")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace config.json: for settings that a run may change when it goes on."""
        _write(self.path / "config.json", json.dumps(dict(config), indent=2, default=str).encode())

    @property
    def trajectories_path(self) -> Path:
        return self.path / "trajectories.jsonl"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint" / "state.pt"

    def append(self, trajectories: Iterable[Trajectory]) -> None:
        """Write one line per trajectory."""
        _append(self.trajectories_path, _lines(trajectories))

    def rewrite(self, trajectories: Iterable[Trajectory]) -> None:
        """Replace the record of a run that has ended, in one step. A checkpoint, if any, no longer fits it."""
        fresh = self.trajectories_path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        _append(fresh, _lines(trajectories))
        fresh.replace(self.trajectories_path)

    def trajectories(self) -> Iterator[Trajectory]:
        """Yield what was appended; nothing for a run that has none yet."""
        return read_trajectories(self.trajectories_path) if self.trajectories_path.exists() else iter(())

    def log(self, metrics: Mapping[str, float | int]) -> None:
        """Write one line of metrics."""
        append_lines(self.metrics_path, [dict(metrics)])

    def metrics(self) -> list[dict[str, float]]:
        """Return all lines of metrics; none for a run that has none yet."""
        return [row for _, row in read_lines(self.metrics_path)] if self.metrics_path.exists() else []

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace summary.json."""
        _write(self.path / "summary.json", json.dumps(dict(summary), indent=2).encode())

    def summary(self) -> dict[str, Any]:
        """Return summary.json. Raises DataError for a run that has not ended."""
        return _read_object(self.path / "summary.json")

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by `state`: tensors, numbers, strings and containers of them.

        Beside it stand the global random states of Python, NumPy and torch, and the lengths of the records. The old
        checkpoint stays until the new one is whole on disk, and the records are on disk before either.
        """
        lengths = {name: _flushed(self.path / name) for name in RECORDS}
        self.checkpoint_path.parent.mkdir(exist_ok=True)
        fresh = self.checkpoint_path.with_suffix(".new")
        with fresh.open("wb") as file:
            torch.save({"state": dict(state), "random": _random_states(), "lengths": lengths}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.checkpoint_path)
        _sync_folder(fresh.parent)

    def load(self) -> dict[str, Any] | None:
        """Return the state of the checkpoint, None where there is none yet. Changes nothing on disk."""
        saved = self._load()
        state: dict[str, Any] | None = None if saved is None else saved["state"]
        return state

    def resume(self) -> dict[str, Any] | None:
        """Return the state of the checkpoint, set the random states and cut the records back to where they were then.

        None where there is no checkpoint and nothing recorded. Raises DataError for records without a checkpoint (they
        are not emptied; see `clear`), a checkpoint that cannot be read, or records shorter than it knew them.
        """
        saved = self._load()
        if saved is None:
            for path in (self.path / name for name in RECORDS):
                if path.exists() and path.stat().st_size:
                    raise DataError(
                        f"{path} holds records, but {self.path} no checkpoint that says how far they are done; nothing "
                        "is overwritten: start a new run in another folder, or bring the checkpoint back"
                    )
            return None
        for name, length in saved["lengths"].items():
            _truncate(self.path / name, length)
        _set_random_states(saved["random"])
        state: dict[str, Any] = saved["state"]
        return state

    def clear(self) -> None:
        """Empty the records, for work that begins again where it is interrupted and keeps no checkpoint."""
        for name in RECORDS:
            _truncate(self.path / name, 0)

    def _load(self) -> dict[str, Any] | None:
        if not self.checkpoint_path.exists():
            return None
        try:
            saved = torch.load(self.checkpoint_path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises almost anything from zip, pickle and torch
            raise DataError(
                f"{self.checkpoint_path} cannot be read ({type(error).__name__}: {error}); "
                "copy one from a backup, or start a new run in another folder"
            ) from error
        if not isinstance(saved, dict) or saved.keys() != {"state", "random", "lengths"}:
            raise DataError(
                f"{self.checkpoint_path} is not a checkpoint of this program; start a new run in another folder"
            )
        return saved


def read_trajectories(path: Path | str) -> Iterator[Trajectory]:
    """Yield the trajectories of a file. Raises DataError for a missing file or a line that is not a trajectory."""
    for number, row in read_lines(Path(path)):
        try:
            trajectory = trajectory_from_json(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}, line {number}: not a trajectory ({type(error).__name__}: {error})") from error
        yield trajectory


def trajectory_to_json(trajectory: Trajectory) -> dict[str, Any]:
    """Return a trajectory as JSON-able data."""
    steps = [_seen(step.observation) | _proposed(step.proposal) for step in trajectory.steps]
    return {"problem": _asked(trajectory.problem), **_told(trajectory), "steps": steps}


def _asked(problem: Problem) -> dict[str, Any]:
    return {"key": problem.key, "group": problem.group, "data": problem.data}


def _told(trajectory: Trajectory) -> dict[str, Any]:
    verdict = trajectory.verdict
    return {
        "verdict": {"status": verdict.status.value, "returns": verdict.returns, "evidence": verdict.evidence},
        "info": trajectory.info,
    }


def _seen(observation: Observation) -> dict[str, Any]:
    return {
        "text": observation.text,
        "legal": observation.legal,
        "seat": observation.seat,
        "key": observation.key,
    }


def _proposed(proposal: Proposal) -> dict[str, Any]:
    return {"action": proposal.action, "logp": proposal.logp, "tokens": proposal.tokens}


def _lines(trajectories: Iterable[Trajectory]) -> Iterator[str]:
    """Yield the texts of `trajectory_to_json`, in a sixth of the time: a long run writes millions of steps.

    What trajectories share is encoded once: observations and actions wherever they are, the problem of neighbours.
    """
    problem, asked = None, ""
    for trajectory in trajectories:
        if trajectory.problem is not problem:
            problem = trajectory.problem
            asked = LINE.encode(_asked(problem))
        told = LINE.encode(_told(trajectory))[1:-1]
        steps = ",".join([_seen_text(step.observation) + _proposed_text(step.proposal) for step in trajectory.steps])
        yield f'{{"problem":{asked},{told},"steps":[{steps}]}}'


@lru_cache(maxsize=1024)
def _seen_text(observation: Observation) -> str:
    return LINE.encode(_seen(observation))[:-1]


def _proposed_text(proposal: Proposal) -> str:
    logp = proposal.logp
    number = repr(float(logp)) if logp is not None and math.isfinite(logp) else LINE.encode(logp)
    action, tokens = _action_text(proposal.action, proposal.tokens)
    return action + number + tokens


@lru_cache(maxsize=1024)
def _action_text(action: str, tokens: tuple[int, ...]) -> tuple[str, str]:
    """Return what stands before and after the log-probability."""
    return f',"action":{LINE.encode(action)},"logp":', f',"tokens":{list(map(int, tokens))}}}'


def trajectory_from_json(row: Mapping[str, Any]) -> Trajectory:
    """Return the trajectory that `trajectory_to_json` wrote. Raises KeyError, TypeError or ValueError for others."""
    problem, verdict = row["problem"], row["verdict"]
    steps = tuple(
        Step(
            Observation(
                step["text"], None if step["legal"] is None else tuple(step["legal"]), step["seat"], step["key"]
            ),
            Proposal(step["action"], step["logp"], tuple(step["tokens"])),
        )
        for step in row["steps"]
    )
    return Trajectory(
        Problem(problem["key"], problem["group"], dict(problem["data"])),
        steps,
        Verdict(Status(verdict["status"]), tuple(verdict["returns"]), verdict["evidence"]),
        dict(row["info"]),
    )


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON line per row at the end of a file."""
    _append(path, map(LINE.encode, rows))


def _append(path: Path, lines: Iterable[str]) -> None:
    text = "".join(line + "\n" for line in lines)
    with path.open("ab") as file:
        file.write(text.encode("ascii"))


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object); skip a torn last line."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected one JSON object per line") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                log.warning("%s, line %d: torn (%d bytes), skipped", path, number, len(line))
                return
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{path}, line {number}: not JSON ({error}); restore the file or cut the line"
                ) from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
            yield number, row


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); is {path.parent} the folder of a run, and has it come so far?"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); the folder is damaged, start a new run") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}; start a new run")
    return value


def _empty(folder: Path) -> bool:
    """Tell whether this is a folder that holds nothing: what a kill left of its first file is nothing."""
    return folder.is_dir() and all(one.name == f"config.json{_FRESH}" for one in folder.iterdir())


def _write(path: Path, content: bytes) -> None:
    """Replace a small file atomically."""
    fresh = path.with_name(path.name + _FRESH)
    fresh.write_bytes(content + b"\n")
    fresh.replace(path)


def _flushed(path: Path) -> int:
    """Put a record on disk and return its length."""
    with path.open("ab") as file:
        os.fsync(file.fileno())
        return file.tell()


def _truncate(path: Path, length: int) -> None:
    size = path.stat().st_size if path.exists() else 0
    if size < length:
        raise DataError(f"{path} has {size} bytes, its checkpoint knew {length}; restore the file or start a new run")
    if size > length:
        os.truncate(path, length)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _random_states() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state(legacy=True)  # a list, as a checkpoint holds no NumPy arrays
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: Mapping[str, Any]) -> None:
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
