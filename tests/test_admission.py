"""What a fresh checker does not accept never comes out of the buffer, whatever the live one said."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.admission import Admission
from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.errors import ConfigError, DataError, VerifierError
from surpass.objectives.balance import log_variance
from surpass.objectives.batch import log_return
from surpass.replay import Replay
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from surpass.verify import judge_again
from tests.domains.proofs.rocq.lemmas import problems as lemmas
from tests.learning import ACCEPTED, PROBLEMS, REJECTED, TEXTS, UNKNOWN, TinyDomain, TinyPolicy, play

FRESH = Verdict(Status.ACCEPTED, (1.0,), "fresh; T3")


@dataclass
class Fresh:
    """A checker that refuses some last actions, is unsure of others, and remembers what it was asked."""

    refused: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    asked: list[list[tuple[str, ...]]] = field(default_factory=list)

    def __call__(self, plays: Sequence[Trajectory]) -> list[Verdict]:
        self.asked.append([one.actions for one in plays])
        return [self.judge(one.actions[-1]) for one in plays]

    def judge(self, action: str) -> Verdict:
        return REJECTED if action in self.refused else UNKNOWN if action in self.unsure else FRESH


def claim(*actions: str, key: str = "p", verdict: Verdict = ACCEPTED) -> Trajectory:
    return Trajectory(Problem(key), tuple(Step(Observation(""), Proposal(action)) for action in actions), verdict)


def stored(admission: Admission, key: str = "p") -> list[tuple[str, ...]]:
    drawn = admission.draw(key, 100, rng=random.Random(0))
    assert len(drawn) == len(admission.memory.stored(key))
    return sorted(one.actions for one in drawn)


def test_only_what_the_fresh_checker_accepts_enters(caplog: pytest.LogCaptureFixture) -> None:
    check = Fresh(refused=frozenset({"cheat"}), unsure=frozenset({"slow"}))
    admission = Admission(Replay(tolerance=0.0), check, every=3)
    for action in ("honest", "cheat", "slow"):
        admission.add(claim(action), 0.0)
    admission.add(claim("failed", verdict=REJECTED), -10.0)
    assert stored(admission) == [("failed",)]  # it claims nothing; the others wait
    for step in (1, 2):
        assert admission.settle(step)["replay_waiting"] == 3
    with caplog.at_level(logging.WARNING):
        found = admission.settle(3)
    assert check.asked == [[("honest",), ("cheat",), ("slow",)]]
    assert stored(admission) == [("failed",), ("honest",)]
    assert {name: found[f"replay_{name}"] for name in ("size", "waiting", "admitted", "refused", "unknown")} == {
        "size": 2.0,
        "waiting": 0.0,
        "admitted": 1.0,
        "refused": 1.0,
        "unknown": 1.0,
    }
    assert found["admission_seconds"] > 0
    assert ["cheat" in line or "slow" in line for line in caplog.messages] == [True, True]


def test_the_buffer_carries_the_fresh_verdict_and_the_old_reward() -> None:
    admission = Admission(Replay(), Fresh(), every=1)
    admission.add(claim("honest"), -0.25)
    admission.settle(1)
    ((log_reward, kept),) = admission.memory.stored("p")
    assert (log_reward, kept.verdict) == (-0.25, FRESH)


def test_nothing_is_asked_twice() -> None:
    check = Fresh(refused=frozenset({"cheat"}), unsure=frozenset({"slow"}))
    admission = Admission(Replay(capacity=1, tolerance=0.0), check, every=1)
    for step in range(4):
        for action in ("good", "cheat", "slow", "good"):
            admission.add(claim(action), -float(step))
        admission.settle(step)
    assert check.asked == [[("good",), ("cheat",), ("slow",)]]
    assert stored(admission) == [("good",)]
    admission.add(claim("better"), 1.0)  # drives the other out
    admission.settle(5)
    assert stored(admission) == [("better",)]
    admission.add(claim("good"), 2.0)  # comes back by what is known of it
    assert stored(admission) == [("good",)]
    assert len(check.asked) == 2


def test_a_verdict_belongs_to_the_statement_and_the_script() -> None:
    check = Fresh()
    admission = Admission(Replay(tolerance=0.0), check, every=1)
    first = claim("auto")
    other = replace(first, problem=Problem("p", data={"statement": "B"}))
    for one in (first, other, claim("auto", key="q"), claim("a", "uto"), first):
        admission.add(one, 0.0)
    admission.settle(1)
    assert [len(asked) for asked in check.asked] == [4]


def test_a_check_that_says_too_little_is_told() -> None:
    admission = Admission(Replay(), lambda plays: [FRESH], every=1)
    admission.add(claim("a"), 0.0)
    admission.add(claim("b"), 0.0)
    with pytest.raises(VerifierError, match="expected 2 verdicts of the check, found 1"):
        admission.settle(1)
    with pytest.raises(ConfigError, match="every >= 1"):
        Admission(Replay(), Fresh(), every=0)


def test_state_of_another_interval_or_none_is_refused() -> None:
    state = Admission(Replay(), Fresh(), every=2).state_dict()
    with pytest.raises(ConfigError, match="every was 2, is 3"):
        Admission(Replay(), Fresh(), every=3).load_state_dict(state)
    with pytest.raises(ConfigError, match="every was absent, is 3"):
        Admission(Replay(), Fresh(), every=3).load_state_dict(Replay().state_dict())


@given(
    st.lists(st.tuples(st.text(max_size=3), st.booleans(), st.floats(-30, 0)), max_size=10),
    st.integers(0, 10),
    st.integers(1, 4),
)
def test_whatever_comes_the_buffer_holds_fresh_proofs_alone_and_a_restored_one_goes_on_equally(
    offers: list[tuple[str, bool, float]], interruption: int, every: int
) -> None:
    def admission() -> Admission:
        return Admission(Replay(capacity=3), Fresh(refused=frozenset("ab"), unsure=frozenset("c")), every=every)

    whole, broken = admission(), admission()
    for step, (action, solved, log_reward) in enumerate(offers):
        if step == interruption:
            state = broken.state_dict()
            broken = admission()
            broken.load_state_dict(state)
        rows = []
        for one in (whole, broken):
            one.add(claim(action, verdict=ACCEPTED if solved else REJECTED), log_reward)
            rows.append({name: value for name, value in one.settle(step).items() if name != "admission_seconds"})
        assert rows[0] == rows[1]
        assert whole.memory.stored("p") == broken.memory.stored("p")
        for _, kept in whole.memory.stored("p"):
            assert kept.verdict == (FRESH if kept.solved else REJECTED)
            assert not kept.solved or kept.actions[0] not in {"a", "b", "c"}


def test_in_training_what_is_replayed_was_judged_afresh(tmp_path: Path) -> None:
    """The live checker accepts words that end in b, the fresh one never does."""

    def check(plays: Sequence[Trajectory]) -> list[Verdict]:
        return [REJECTED if one.actions[-1].endswith("b") else FRESH for one in plays]

    admission = Admission(Replay(), check, every=3)
    policy = TinyPolicy(TEXTS)
    parts = Parts(
        policy,
        PROBLEMS,
        partial(log_variance, beta=0.5),
        log_return,
        domain=TinyDomain(),
        search=partial(play, n=8),
        reference=policy.frozen_copy(),
        replay=admission,
    )
    run = Run.create(tmp_path / "run", {})
    last = train(TrainConfig(steps=12, problems_per_step=2, replay_probability=0.3), parts, run)
    live = {(t.problem.key, t.actions) for t in run.trajectories() if t.solved}
    assert any(actions[-1].endswith("b") for _, actions in live)
    kept = [t for problem in PROBLEMS for _, t in admission.memory.stored(problem.key)]
    assert any(t.solved for t in kept)
    assert all(t.verdict == FRESH and not t.actions[-1].endswith("b") for t in kept if t.solved)
    assert last["replay_refused"] > 0
    assert [row["replay_waiting"] for row in run.metrics()][2::3] == [0.0] * 4


def test_the_kernel_judges_again_in_threads_as_in_one() -> None:
    problems = [pose("A -> A", key="one"), pose("A -> B -> A", key="two")]
    scripts = [["intro a", "exact a"], ["intro a", "intro b", "exact a"]]
    plays = [replay(Kernel(canonical=False), one, script) for one, script in zip(problems, scripts, strict=True)]
    plays = [replace(one, problem=replace(one.problem, group=one.problem.key)) for one in plays]
    forged = replace(plays[0], steps=plays[1].steps)
    for workers in (1, 3):
        said = judge_again([plays[0], forged, plays[1]], workers=workers)
        assert [one.status for one in said] == [Status.ACCEPTED, Status.REJECTED, Status.ACCEPTED]
    with pytest.raises(DataError, match="found 'my word'"):
        judge_again([replace(forged, verdict=Verdict(Status.ACCEPTED, (1.0,), "my word"))], workers=2)
    assert judge_again([]) == []


@pytest.mark.rocq
def test_rocq_lets_in_only_what_a_fresh_process_proves(tmp_path: Path) -> None:
    found = {}
    for name in ("one", "two"):  # two source files, judged at once
        (tmp_path / name).mkdir()
        found[name] = lemmas(tmp_path / name)["first"]
    admission = Admission(Replay(tolerance=0.0), partial(judge_again, workers=2), every=1)
    live = Verdict(Status.ACCEPTED, (1.0,), "rocq 8; T2")
    for name, problem in found.items():
        for script in (["auto."], ["intros n.", "reflexivity."], ["intros n."], ["exact I."], ["admit."]):
            play = claim(*script, key=name, verdict=live)
            admission.add(replace(play, problem=replace(problem, key=name)), 0.0)
    said = admission.settle(1)
    assert (said["replay_admitted"], said["replay_refused"], said["replay_unknown"]) == (4, 6, 0)
    for name in found:
        assert stored(admission, name) == [("auto.",), ("intros n.", "reflexivity.")]
        assert all("; T3;" in t.verdict.evidence for _, t in admission.memory.stored(name))
