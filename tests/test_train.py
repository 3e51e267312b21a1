from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

import pytest
import torch
from torch import Tensor

from surpass.core import Conversation, Domain, Problem, Proposal, Status, Trajectory, Verdict, apply
from surpass.core import replay as played
from surpass.errors import ConfigError, DataError, ModelError
from surpass.objectives.balance import ProblemLogZ, log_variance, trajectory_balance
from surpass.objectives.batch import Batch, Heads, Metrics, collate, log_return, push, with_tokens
from surpass.objectives.gradient import grpo
from surpass.objectives.likelihood import likelihood
from surpass.recipe import judged, warmth
from surpass.replay import Replay
from surpass.rollouts import runner
from surpass.rollouts.runner import RunOptions
from surpass.rollouts.workers import Workers
from surpass.schedules import Constant, Linear
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from tests.learning import ACTIONS, PROBLEMS, TEXTS, TinyDomain, TinyPolicy, TinyState, play, rollouts

DEMONSTRATIONS = {p.key: [played(TinyDomain(), p, p.data["solution"])] for p in PROBLEMS}
KEYS = [problem.key for problem in PROBLEMS]
CONFIG = TrainConfig(steps=6, problems_per_step=2, learning_rate=0.05, checkpoint_every=100)


def searching(**changes: object) -> Parts[TinyState]:
    policy = TinyPolicy(TEXTS)
    parts: Parts[TinyState] = Parts(
        policy=policy,
        problems=PROBLEMS,
        objective=partial(log_variance, beta=0.5),
        reward=log_return,
        domain=TinyDomain(),
        search=partial(play, n=4),
        reference=policy.frozen_copy(),
    )
    return replace(parts, **changes)  # type: ignore[arg-type]


def supervised() -> Parts[TinyState]:
    return Parts(TinyPolicy(TEXTS), PROBLEMS, likelihood, log_return, demonstrations=DEMONSTRATIONS)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 3, 64])
def test_two_passes_are_one(micro_batch: int, keep: bool) -> None:
    """The gradient of policy and log Z is that of the loss computed through the model at once."""
    policy, log_z = TinyPolicy(TEXTS), ProblemLogZ(KEYS, initial=0.3)
    plays = [t for t in rollouts(policy, n=5) if t.verdict.status is not Status.UNKNOWN]
    plays += DEMONSTRATIONS[KEYS[0]]
    reference = TinyPolicy(TEXTS, seed=1)
    for objective in (
        partial(log_variance, beta=0.7),
        partial(trajectory_balance, beta=0.7),
        partial(trajectory_balance, beta=0.7, relative=False),
        likelihood,
    ):
        heads = Heads(log_z=log_z)
        batch = collate(policy, plays, log_return, reference=reference, heads=heads, micro_batch=micro_batch, keep=keep)
        assert (batch.graph is not None) == (keep and micro_batch >= len(plays))
        loss, _ = objective(batch)
        torch.autograd.backward(loss)
        tokens = push(policy, plays, batch, heads=Heads(log_z=log_z), micro_batch=micro_batch)
        assert 0 < tokens <= int(batch.mask.sum())
        filled = replace(batch, logp=policy_values(policy, plays), log_z=log_z(plays))
        parameters = [policy.table, log_z.values]
        expected = torch.autograd.grad(objective(filled)[0], parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, expected, strict=True):
            if gradient is None:
                assert parameter.grad is None
            else:
                assert gradient.abs().max() > 1e-3
                torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-12)
            parameter.grad = None


def policy_values(policy: TinyPolicy, plays: Sequence[Trajectory]) -> Tensor:
    return policy.logp(with_tokens(policy, plays))


def test_supervised_learning_imitates_the_demonstrations(tmp_path: Path) -> None:
    parts = supervised()
    last = train(replace(CONFIG, steps=150), parts, Run.create(tmp_path / "run", {}))
    assert isinstance(parts.policy, TinyPolicy)
    for problem in PROBLEMS:
        for depth, action in enumerate(problem.data["solution"]):
            found = parts.policy.probabilities(f"{problem.key}/{depth}")
            assert found[ACTIONS.index(action)] > 0.95
    assert last["nll_per_trajectory"] < 0.1
    assert last["sampled"] == last["verifier_steps"] == 0
    # two steps of an action and its end: "a", "aa" is five tokens; both problems in every step
    assert last["gradient_tokens"] == 150 * 2 * 5


@pytest.mark.parametrize("head", [False, True])
def test_a_search_learns_what_the_checker_accepts(tmp_path: Path, head: bool) -> None:
    parts = searching()
    if head:
        parts = replace(parts, objective=partial(trajectory_balance, beta=0.5), heads=Heads(log_z=ProblemLogZ(KEYS)))
    run = Run.create(tmp_path / "run", {})
    config = replace(CONFIG, steps=150, head_learning_rate=0.2)
    last = train(config, parts, run)
    rows = run.metrics()
    early, late = (sum(row["accepted"] for row in part) for part in (rows[:30], rows[-30:]))
    assert late > 1.8 * early
    assert last == rows[-1] == run.summary()
    plays = list(run.trajectories())
    assert len(plays) == 150 * 8 == sum(row["sampled"] for row in rows)
    assert last["verifier_steps"] == sum(len(t.steps) for t in plays)
    assert last["sampled_tokens"] == sum(len(s.proposal.tokens) for t in plays for s in t.steps)
    assert sum(row["unknown"] for row in rows) == sum(t.verdict.status is Status.UNKNOWN for t in plays)
    for module in parts.heads.modules().values():
        assert all(value.abs() > 0.3 for value in next(module.parameters()).detach())


def test_the_target_is_learned_exactly_from_any_trajectories(tmp_path: Path) -> None:
    """All actions of both problems in every batch: the policy becomes the enumerated p_ref R^beta / Z."""
    domain = TinyDomain(length=1)
    plays = {p.key: [played(domain, p, [action]) for action in ACTIONS if action != "aaa"] for p in PROBLEMS}
    parts = searching(domain=None, search=None, demonstrations=plays)
    config = replace(CONFIG, steps=300, learning_rate=0.1, schedule="cosine", clip=10.0)
    last = train(config, parts, Run.create(tmp_path / "run", {}))
    assert isinstance(parts.policy, TinyPolicy)
    assert isinstance(parts.reference, TinyPolicy)
    known = torch.tensor([action != "aaa" for action in ACTIONS])  # an UNKNOWN has no reward: nothing is learned of it
    for problem in PROBLEMS:
        log_reward = torch.tensor([0.0 if action.startswith(problem.key[-1]) else -10.0 for action in ACTIONS])
        target = (parts.reference.probabilities(f"{problem.key}/0").log() + 0.5 * log_reward)[known].softmax(0)
        learned = parts.policy.probabilities(f"{problem.key}/0")[known]
        assert (learned / learned.sum() - target).abs().sum() / 2 < 0.01
    assert last["loss"] < 1e-3


def test_replay_fires_from_the_second_step_on_and_remembers_only_what_was_found(tmp_path: Path) -> None:
    memory = Replay(capacity=4)
    parts = searching(replay=memory, demonstrations=DEMONSTRATIONS)
    run = Run.create(tmp_path / "run", {})
    train(replace(CONFIG, steps=4, replay_probability=1.0, replay_draw=3), parts, run)
    rows = run.metrics()
    assert [row["sampled"] for row in rows] == [8, 0, 0, 0]
    assert rows[0]["replayed"] == 0
    replayed = sum(min(3, len(memory.stored(key))) for key in KEYS)  # of every problem of a step
    assert all(row["replayed"] == replayed > 3 for row in rows[1:])
    assert rows[1]["verifier_steps"] == rows[3]["verifier_steps"]  # replay costs the checker nothing
    assert rows[3]["gradient_tokens"] > rows[1]["gradient_tokens"]
    found = list(run.trajectories())
    for key in KEYS:
        assert 0 < len(memory.stored(key)) <= 4
        for log_reward, trajectory in memory.stored(key):
            assert trajectory in found
            assert log_reward == float(log_return([trajectory]))


@pytest.mark.parametrize(("terminal", "shown"), [("xterm", True), ("dumb", False)])
def test_progress_is_shown_where_it_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: str, shown: bool
) -> None:
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setenv("FORCE_COLOR", "1")
    train(replace(CONFIG, steps=1), supervised(), Run.create(tmp_path / "run", {}))
    assert ("train loss" in capsys.readouterr().err) == shown


def test_by_default_the_policy_itself_acts_so_that_policy_gradients_are_not_biased(tmp_path: Path) -> None:
    """What is learned from was sampled at temperature 1: the recorded log-probabilities are the policy's own."""
    run = Run.create(tmp_path / "run", {})
    parts = searching(objective=partial(grpo, kl=0.0), reference=None, search=partial(play, n=3))
    train(TrainConfig(steps=30, problems_per_step=2), parts, run)
    assert {row["temperature"] for row in run.metrics()} == {1.0}
    assert all(row["replayed"] == 0 for row in run.metrics())


def test_tempering_is_drawn_as_configured(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    train(replace(CONFIG, steps=60, temper_probability=0.666), searching(search=partial(play, n=1)), run)
    drawn = [row["temperature"] for row in run.metrics()]
    tempered = [value for value in drawn if value != 1.0]
    assert all(0.25 <= value <= 1.0 for value in drawn)
    assert 28 <= len(tempered) <= 52  # 60 draws at 0.666
    assert max(tempered) - min(tempered) > 0.5


def test_a_step_without_data_is_skipped_and_counted(tmp_path: Path) -> None:
    policy = TinyPolicy(TEXTS)
    with torch.no_grad():
        policy.table[:, :, 1] = 50.0  # says "aaa", which crashes the checker
    start = policy.table.detach().clone()
    parts = searching(policy=policy, search=partial(play, n=2))
    run = Run.create(tmp_path / "run", {})
    last = train(replace(CONFIG, steps=3), parts, run)
    assert last["skipped_without_data"] == 3
    assert last["unknown"] == last["sampled"] == 4
    assert last["gradient_tokens"] == 0
    assert torch.equal(policy.table, start)
    assert len(list(run.trajectories())) == 12


def broken(batch: Batch, *, good: int, calls: list[int]) -> tuple[Tensor, Metrics]:
    loss, metrics = log_variance(batch, beta=0.5)
    calls.append(1)
    return (loss if len(calls) % 3 < good else loss * float("nan")), metrics


def test_steps_that_are_not_finite_are_skipped_and_then_fatal(tmp_path: Path) -> None:
    parts = searching(objective=partial(broken, good=1, calls=[]))
    last = train(replace(CONFIG, patience=3), parts, Run.create(tmp_path / "a", {}))
    assert last["skipped_not_finite"] == 4
    assert isinstance(parts.policy, TinyPolicy)
    assert torch.isfinite(parts.policy.table).all()
    parts = searching(objective=partial(broken, good=0, calls=[]))
    start = TinyPolicy(TEXTS).table
    with pytest.raises(ModelError, match="not finite 3 steps in a row"):
        train(replace(CONFIG, patience=3), parts, Run.create(tmp_path / "b", {}))
    assert isinstance(parts.policy, TinyPolicy)
    assert torch.equal(parts.policy.table, start)


def faint(batch: Batch) -> tuple[Tensor, Metrics]:
    """A gradient that is there and moves nothing: far below Adam's epsilon."""
    assert batch.log_z is not None
    return 1e-30 * (batch.logp.sum() + batch.log_z.sum()), {}


def test_weights_decay_but_log_z_does_not(tmp_path: Path) -> None:
    parts = searching(heads=Heads(log_z=ProblemLogZ(KEYS, initial=2.0)), objective=faint)
    assert isinstance(parts.policy, TinyPolicy)
    start = parts.policy.table.detach().clone()
    train(replace(CONFIG, steps=3, weight_decay=0.5), parts, Run.create(tmp_path / "run", {}))
    torch.testing.assert_close(parts.policy.table.detach(), start * (1 - 0.05 * 0.5) ** 3)
    assert next(parts.heads.modules()["log_z"].parameters()).tolist() == [2.0, 2.0]


def test_evaluation_is_recorded_when_due_and_at_the_end(tmp_path: Path) -> None:
    steps: list[int] = []

    def evaluate(step: int) -> Metrics:
        steps.append(step)
        return {"solved": step / 10}

    run = Run.create(tmp_path / "run", {})
    last = train(replace(CONFIG, steps=5, evaluate_every=2), searching(evaluate=evaluate), run)
    assert steps == [2, 4, 5]
    assert last["eval/solved"] == 0.5
    assert ["eval/solved" in row for row in run.metrics()] == [False, True, False, True, True]


def test_sharpness_anneals_the_reward_and_nothing_else(tmp_path: Path) -> None:
    """What is trained with the factor 1/2 throughout is what half of beta gives; the record keeps the rewards."""
    found = {}
    for name, beta, sharpness in (
        ("half", 0.5, Constant(0.5)),
        ("beta", 0.25, Constant(1.0)),
        ("ramp", 0.5, Linear(0, 1, 4)),
    ):
        parts = searching(objective=partial(log_variance, beta=beta), sharpness=sharpness)
        run = Run.create(tmp_path / name, {})
        train(CONFIG, parts, run)
        assert isinstance(parts.policy, TinyPolicy)
        found[name] = parts.policy.table.detach(), run.metrics()
    torch.testing.assert_close(found["half"][0], found["beta"][0])
    assert [row["log_reward"] for row in found["half"][1]] == [row["log_reward"] for row in found["beta"][1]]
    assert [row["sharpness"] for row in found["ramp"][1]] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert not torch.allclose(found["ramp"][0], found["beta"][0])


@pytest.mark.parametrize("total", ["sampled_tokens", "gradient_tokens", "verifier_steps"])
def test_a_run_ends_with_the_step_that_reaches_a_cap(tmp_path: Path, total: str) -> None:
    """It is the beginning of the run without a cap, and stays ended when it is resumed."""
    train(CONFIG, searching(), Run.create(tmp_path / "whole", {}))
    rows = Run.open(tmp_path / "whole").metrics()
    assert rows[1][total] < rows[2][total] < rows[-1][total]
    folder = Run.create(tmp_path / "capped", {})
    capped = replace(CONFIG, **{f"most_{total}": rows[1][total] + 1})  # type: ignore[arg-type]
    row = train(capped, searching(), folder)
    assert (row["step"], row[total], row["loss"]) == (3, rows[2][total], rows[2]["loss"])
    assert train(replace(capped, steps=100), searching(), folder) == row == folder.summary()
    assert len(folder.metrics()) == 3


def test_what_the_checker_could_not_decide_is_left_out_or_a_failure(tmp_path: Path) -> None:
    """Learned as a failure it becomes rare; what was lost or cut short by a budget is never learned from."""
    chances = {}
    for reject in (False, True):
        policy = TinyPolicy(TEXTS)
        parts = searching(policy=policy, domain=TinyDomain(length=1), search=partial(play, n=8))
        run = Run.create(tmp_path / f"{reject}", {})
        train(replace(CONFIG, steps=60, reject_unknown=reject), parts, run)
        chances[reject] = max(float(policy.probabilities(f"{key}/0")[ACTIONS.index("aaa")]) for key in KEYS)
        unknown = [one for one in run.trajectories() if one.verdict.status is Status.UNKNOWN]
        assert len(unknown) > 5  # the record keeps what was said
        if reject:
            assert [one.verdict.status for one in judged(CONFIG, unknown)] == []
            failed = judged(replace(CONFIG, reject_unknown=True), unknown)
            assert [one.verdict for one in failed] == [Verdict(Status.REJECTED, (0.0,), "tiny")] * len(unknown)
            lost = [replace(one, info={"end": end}) for one in unknown for end in ("lost", "budget")]
            assert judged(replace(CONFIG, reject_unknown=True), lost) == []
    assert chances[True] < 0.5 * chances[False]


class Cut(TinyPolicy):
    """A policy whose third letter stands at its limit."""

    def truncated(self, proposal: Proposal) -> bool:
        return len(proposal.action) == 3


@pytest.mark.parametrize("reject", [False, True])
def test_actions_that_were_cut_are_counted_and_rejected_where_asked(tmp_path: Path, reject: bool) -> None:
    run = Run.create(tmp_path / "run", {})
    train(replace(CONFIG, steps=12, reject_truncated=reject), searching(policy=Cut(TEXTS)), run)
    plays = list(run.trajectories())
    cut = [play for play in plays if any(len(action) == 3 for action in play.actions)]
    assert all(play.info["truncated"] == sum(len(action) == 3 for action in play.actions) for play in plays)
    assert sum(row["truncated"] for row in run.metrics()) == len(cut) > 3
    statuses = {play.verdict.status for play in cut}
    assert statuses == ({Status.REJECTED} if reject else set(Status))


def test_a_policy_that_cannot_tell_marks_nothing(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    train(replace(CONFIG, steps=2, reject_truncated=True), searching(), run)
    assert not any("truncated" in play.info for play in run.trajectories())


def test_workers_are_started_once_for_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(Workers[TinyState]):
        started = 0

        def __enter__(self) -> Self:
            Counted.started += 1
            return super().__enter__()

    monkeypatch.setattr(runner, "Workers", Counted)
    alone, together = Run.create(tmp_path / "alone", {}), Run.create(tmp_path / "together", {})
    last = train(replace(CONFIG, steps=3), searching(options=RunOptions(workers=1)), together)
    assert Counted.started == 1
    assert last["loss"] == train(replace(CONFIG, steps=3), searching(), alone)["loss"]


def test_a_search_that_goes_on_after_its_last_record_is_billed_whole(tmp_path: Path) -> None:
    def search(domain: Domain[TinyState], problem: Problem, state: TinyState, /) -> Conversation[None]:
        yield from play(domain, problem, state, n=1)
        yield from apply([(state, action) for action in ACTIONS])

    domain = TinyDomain()
    config = replace(CONFIG, most_verifier_steps=60)
    last = train(config, searching(domain=domain, search=search), Run.create(tmp_path / "run", {}))
    assert last["verifier_steps"] == domain.calls
    assert last["step"] == 2  # two problems, 16 or 17 calls each: by the last records alone it would be ten steps


def test_records_that_are_not_its_own_are_not_emptied(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    found = list(rollouts(TinyPolicy(TEXTS), n=4))
    run.append(found)
    with pytest.raises(DataError, match="no checkpoint"):
        train(CONFIG, searching(), run)
    assert list(run.trajectories()) == found


def test_a_run_ends_when_its_seconds_are_spent(tmp_path: Path) -> None:
    assert train(replace(CONFIG, most_seconds=1e-9), searching(), Run.create(tmp_path / "run", {}))["step"] == 1


def test_learning_rate() -> None:
    config = TrainConfig(steps=10, warmup=3)
    assert [warmth(config, step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    cosine = replace(config, schedule="cosine", warmup=0)
    assert [warmth(cosine, step) for step in (0, 5, 10)] == pytest.approx([1.0, 0.5, 0.0])
    floor = replace(cosine, decay_steps=4, least_rate=0.1)  # it may end before the run does, or go on after
    assert [warmth(floor, step) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert warmth(replace(floor, decay_steps=40), 20) == pytest.approx(0.55)


def test_lessons_are_learned_by_step_and_not_recorded(tmp_path: Path) -> None:
    """What step n learns from depends on n alone, whatever the problems; there need be none."""
    asked = list[int]()

    def lessons(step: int) -> Sequence[Trajectory]:
        asked.append(step)
        return DEMONSTRATIONS[KEYS[step % 2]]

    parts = replace(supervised(), problems=(), demonstrations={}, lessons=lessons)
    run = Run.create(tmp_path / "run", {})
    last = train(replace(CONFIG, steps=3), parts, run)
    train(replace(CONFIG, steps=5), replace(parts, policy=TinyPolicy(TEXTS)), run)
    assert asked == [0, 1, 2, 3, 4]
    assert last["chosen_rows"] == 1
    assert not list(run.trajectories())


def test_the_betas_of_the_optimiser_are_those_asked_for(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    train(replace(CONFIG, steps=1, betas=(0.5, 0.7)), supervised(), run)
    state = run.load()
    assert state is not None
    assert state["optimiser"]["param_groups"][0]["betas"] == (0.5, 0.7)


@pytest.mark.parametrize("cap", [0, -1, float("nan")])
def test_a_cap_that_cannot_be_is_named(tmp_path: Path, cap: float) -> None:
    with pytest.raises(ConfigError, match="most_verifier_steps > 0"):
        train(replace(CONFIG, most_verifier_steps=cap), searching(), Run.create(tmp_path / "run", {}))


def test_parts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    for config, parts, message in (
        (CONFIG, searching(problems=[]), "no problems"),
        (CONFIG, searching(domain=None), "a search needs a domain"),
        (CONFIG, searching(domain=None, search=None), "nothing to learn from"),
        (replace(CONFIG, micro_batch=0), searching(), "micro_batch >= 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(config, parts, run)
