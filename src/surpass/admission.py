"""Admission: proofs wait for a fresh checker, and only what it accepts too enters the replay buffer.

    found ── not accepted ────────────────────────────────> buffer
      └───── accepted ── waiting ── fresh check, every n steps ── accepted ──> buffer
                                                  └── refused or unknown: dropped, counted, named in the log

A live prover's word is enough for the reward of one step (trust level T2). A buffer hands the same trajectory out again
and again, so what it calls a proof should stand by itself (T3: a fresh process read the whole script). What was not
accepted claims no proof and passes. Starting a checker costs far more than a proof, hence the wait: the proofs of
several steps go to it together. Nothing is asked twice; an UNKNOWN answer is an answer for this, and no refusal.
Not here: checkers (`verify.judge_again` knows all of ours), and what the buffer keeps (`replay.py`).
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import Any

from surpass.core import Status, Trajectory, Verdict
from surpass.errors import ConfigError, VerifierError
from surpass.objectives.batch import Metrics
from surpass.replay import Replay
from surpass.store import trajectory_from_json, trajectory_to_json

log = logging.getLogger(__name__)
Check = Callable[[Sequence[Trajectory]], Sequence[Verdict]]  # fresh verdicts, in order


class Admission:
    """A replay buffer behind a door: a `replay.Memory` whose accepted trajectories carry the verdict of `check`."""

    def __init__(self, memory: Replay, check: Check, *, every: int = 10) -> None:
        """Check what waits after every `every` steps: more makes it cheaper, and replay later."""
        if every < 1:
            raise ConfigError(f"Admission: expected every >= 1 (steps), found {every}")
        self.memory, self.every = memory, every
        self._check = check
        self._waiting: dict[str, tuple[float, Trajectory]] = {}  # by identity, in order of arrival
        self._known: dict[str, Verdict] = {}  # every answer so far, by identity
        self._seconds = 0.0

    def add(self, trajectory: Trajectory, log_reward: float) -> None:
        """Offer a trajectory: an accepted one waits unless its fresh verdict is known, any other passes at once."""
        if not trajectory.solved:
            self.memory.add(trajectory, log_reward)
            return
        identity = _identity(trajectory)
        if identity in self._known:
            self._pass(trajectory, log_reward, self._known[identity])
        else:
            self._waiting.setdefault(identity, (log_reward, trajectory))

    def settle(self, step: int) -> Metrics:
        """Check what waits if that is due after `step` steps; return the sizes and, since the start, the tallies.

        Raises VerifierError for a check that does not give one verdict for each trajectory, and what the check raises.
        """
        if step % self.every == 0 and self._waiting:
            began = time.monotonic()
            self._judge()
            self._seconds += time.monotonic() - began
        said = [verdict.status for verdict in self._known.values()]
        return {
            **self.memory.settle(step),
            "replay_waiting": float(len(self._waiting)),
            "replay_admitted": float(said.count(Status.ACCEPTED)),
            "replay_refused": float(said.count(Status.REJECTED)),
            "replay_unknown": float(said.count(Status.UNKNOWN)),
            "admission_seconds": self._seconds,
        }

    def draw(self, key: str, n: int, *, rng: random.Random) -> list[Trajectory]:
        """Return up to `n` different trajectories of one problem, as the buffer draws them; none that waits."""
        return self.memory.draw(key, n, rng=rng)

    def state_dict(self) -> dict[str, Any]:
        """Return buffer, queue, answers and costs as strings and numbers."""
        waiting = [(log_reward, trajectory_to_json(trajectory)) for log_reward, trajectory in self._waiting.values()]
        known = {identity: asdict(verdict) for identity, verdict in self._known.items()}
        return {
            "every": self.every,
            "memory": self.memory.state_dict(),
            "waiting": json.dumps(waiting, default=dict),
            "known": json.dumps(known),
            "seconds": self._seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`. Raises ConfigError where that was checked at another interval, or not at all."""
        if state.get("every") != self.every:
            found = f"every was {state.get('every', 'absent')}, is {self.every}"
            raise ConfigError(f"cannot resume with another admission ({found}); use the old one or a new folder")
        self.memory.load_state_dict(state["memory"])
        rows = [(log_reward, trajectory_from_json(row)) for log_reward, row in json.loads(state["waiting"])]
        self._waiting = {_identity(trajectory): (log_reward, trajectory) for log_reward, trajectory in rows}
        self._known = {
            identity: Verdict(Status(row["status"]), tuple(row["returns"]), row["evidence"])
            for identity, row in json.loads(state["known"]).items()
        }
        self._seconds = state["seconds"]

    def _judge(self) -> None:
        waiting = list(self._waiting.items())
        verdicts = self._check([trajectory for _, (_, trajectory) in waiting])
        if len(verdicts) != len(waiting):
            raise VerifierError(f"Admission: expected {len(waiting)} verdicts of the check, found {len(verdicts)}")
        for (identity, (log_reward, trajectory)), verdict in zip(waiting, verdicts, strict=True):
            self._known[identity] = verdict
            self._pass(trajectory, log_reward, verdict)
            if verdict.status is not Status.ACCEPTED:
                said = f"{trajectory.verdict.evidence!r} first, then {verdict.evidence!r}"
                log.warning("%s: %s is not replayed: %s", trajectory.problem.key, list(trajectory.actions), said)
        self._waiting = {}

    def _pass(self, trajectory: Trajectory, log_reward: float, verdict: Verdict) -> None:
        if verdict.status is Status.ACCEPTED:
            self.memory.add(replace(trajectory, verdict=verdict), log_reward)


def _identity(trajectory: Trajectory) -> str:
    """Return a digest of what a verdict is about: the problem with its data, and the script."""
    problem = trajectory.problem
    what = json.dumps([problem.key, problem.data, trajectory.actions], default=dict, sort_keys=True)
    return blake2b(what.encode(), digest_size=16).hexdigest()
