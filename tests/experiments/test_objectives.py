"""The comparison in its tiny preset: fair where it says so, the same after an interruption, honest in its tables."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surpass.core import Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.core import replay as played
from surpass.domains.proofs.rocq.extraction import ExtractConfig, extract
from surpass.domains.puzzles.game24 import Game24, pose
from surpass.errors import ConfigError, DataError
from surpass.evaluation.statistics import hierarchical
from surpass.experiments import objectives_table
from surpass.experiments.objectives import PRESETS, Config, main
from surpass.experiments.objectives_arms import ARMS, ON_ROCQ, arms_of, check, seeds_of
from surpass.experiments.objectives_table import SPENT, outcome, show
from surpass.experiments.objectives_tasks import EMBEDDED, KEYS, opened
from surpass.experiments.records import Unit, correct, passes, solved
from surpass.objectives.batch import Batch
from surpass.store import Run
from surpass.verify import verify_run

TINY = PRESETS["tiny"]
assert isinstance(TINY, Config)
CAPS = {name: vars(TINY)[name] for name in SPENT}
TRAINED = [arm for arm in ARMS if ARMS[arm].objective is not None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "run")


def training(folder: Path, arm: str, domain: str = "game24") -> list[dict[str, float]]:
    return Run.open(folder / domain / "train" / f"{arm}-0").metrics()


def test_a_run_ends_with_every_arm_of_every_domain_and_a_page(finished: Path) -> None:
    summary = Run.open(finished).summary()
    assert list(summary["domains"]) == list(TINY.domains)
    for domain, found in summary["domains"].items():
        assert list(found["arms"]) == list(ARMS) == list(found["settings"])
        for row in found["arms"].values():
            assert row["problems"] == TINY.test_problems
            assert row["ci95"][0] <= row["solve_rate"] <= row["ci95"][1]
            assert list(row["pass_at_k"]) == ["1", "2"]
            assert row["measures"]["pass@1"]["mean"] == pytest.approx(row["pass_at_k"]["1"])
            assert row["proposals"] <= TINY.width * (1 + TINY.width * (TINY.expansions - 1))
        assert found["checked"]["proofs"] == found["checked"]["standing"]
        assert Run.open(finished / domain).summary()["arms"] == found["arms"]
        page = (finished / domain / "report.html").read_text(encoding="utf-8")
        assert all(arm in page for arm in ARMS)
        assert "log2 k" in page
        assert len(show(domain, found)) == 5
        assert list(found["variety"]) == list(ARMS)


@pytest.mark.parametrize("arm", TRAINED)
def test_an_arm_ends_with_the_step_that_reaches_a_cap(finished: Path, arm: str) -> None:
    """What it spent is in the table, and no arm spends more than one step beyond a cap."""
    rows = training(finished, arm)
    reached = [name for name in SPENT if rows[-1][name] >= CAPS[name]]
    assert reached
    assert all(row[name] < CAPS[name] for row in rows[:-1] for name in SPENT)
    shown = Run.open(finished).summary()["domains"]["game24"]["arms"][arm]
    assert shown["ended_by"].keys() - {"minutes"} == set(reached)
    assert {name: shown[name] for name in SPENT} == {name: rows[-1][name] for name in SPENT}


def test_an_arm_owes_nothing_to_the_arms_before_it(finished: Path, tmp_path: Path) -> None:
    """Alone, the last arm ends as it did after all the others: it begins at the start and has its own chance."""
    alone = main(replace(TINY, domains=("game24",), arms=("log_variance_plain",)), out=tmp_path / "run")
    last, base = ("log_variance_plain-0", "base-0")
    for kind in ("train", "search", "samples"):
        found = [list(Run.open(one / "game24" / kind / last).trajectories()) for one in (alone, finished)]
        assert found[0] == found[1] != []
    others = list(Run.open(finished / "game24" / "samples" / base).trajectories())
    assert [play.actions for play in found[0]] != [play.actions for play in others]


def test_policy_gradients_see_fresh_samples_and_nothing_else(finished: Path) -> None:
    for arm in TRAINED:
        rows, demonstrated = training(finished, arm), ARMS[arm].acts and not ARMS[arm].fresh
        if not ARMS[arm].acts:
            assert rows[-1]["sampled_tokens"] == rows[-1]["verifier_steps"] == 0 < rows[-1]["gradient_tokens"]
        elif ARMS[arm].fresh:
            assert all(row["temperature"] == 1.0 and row["replayed"] == 0.0 for row in rows)
            assert rows[-1]["gradient_tokens"] <= ARMS[arm].passes * rows[-1]["sampled_tokens"]
        assert ("replay_size" in rows[-1]) == demonstrated
    tempered = [row["temperature"] for arm in ("expert_iteration", "log_variance") for row in training(finished, arm)]
    assert min(tempered) < 1.0


def test_training_and_held_out_problems_are_different() -> None:
    for domain in EMBEDDED:
        with opened(replace(TINY, test_problems=1000), domain) as task:
            train, test = ({problem.key for problem in some} for some in (task.train, task.test))
            assert not train & test
            assert {problem.key for problem in task.explore} <= train == task.demonstrations.keys()
            assert len(task.explore) == TINY.explore_problems
            assert all(play.solved and len(play.steps) <= task.max_steps for play in task.demonstrations.values())


def test_stored_successes_stand(finished: Path) -> None:
    """The record of a success is planted, as the policies of this preset hardly have any."""
    problem = next(iter(Game24().problems("test")))
    run = Run.open(finished / "game24" / "samples" / "base-0")
    run.append([played(Game24(), problem, problem.data["solution"])])
    try:
        checks = verify_run(finished)
        assert checks
        assert all(check.stands for check in checks)
    finally:
        run.rewrite(list(run.trajectories())[:-1])


def test_resuming_repeats_only_what_is_missing(finished: Path, tmp_path: Path) -> None:
    """A copy that lost an arm, and a finished training, ends as the whole run did."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "summary.json").unlink()
    (copy / "game24" / "train" / "grpo-0" / "summary.json").unlink()
    for kind in ("search", "samples"):
        shutil.rmtree(copy / "game24" / kind / "grpo-0")
    kept = copy / "game24" / "train" / "sft-0" / "metrics.jsonl"
    before = kept.stat().st_mtime_ns
    main(TINY, resume=copy)
    assert kept.stat().st_mtime_ns == before
    assert timeless(Run.open(copy).summary()) == timeless(Run.open(finished).summary())


def timeless(summary: dict[str, Any]) -> object:
    return json.loads(json.dumps(summary), object_hook=lambda row: {k: v for k, v in row.items() if k != "minutes"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domains": ()}, "domains among kernel"),
        ({"domains": ("kernel", "kernel")}, "different domains"),
        ({"arms": ("sft", "ppo")}, "arms among base, sft"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "each once"),
        ({"sampled_tokens": 0}, "sampled_tokens > 0"),
        ({"minutes": float("nan")}, "minutes > 0"),
        ({"beta": float("inf")}, "beta > 0 and finite"),
        ({"draws": 0}, "draws > 0"),
        ({"jobs": -1}, "jobs >= 0"),
        ({"model": "huge"}, "Unknown model preset"),
        ({"domains": ("rocq",), "arms": ("reinforce",)}, "for rocq"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_made(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(replace(TINY, **change), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused(finished: Path) -> None:
    with pytest.raises(DataError, match="already holds a run"):
        main(TINY, out=finished)


def test_rocq_gets_fewer_arms_and_seeds() -> None:
    check(replace(TINY, domains=("rocq",), arms=tuple(ARMS)))
    assert arms_of(replace(TINY, arms=tuple(ARMS)), "rocq") == ON_ROCQ
    assert seeds_of(replace(TINY, seeds=(5, 4, 3, 2)), "rocq") == (5, 4, 3)
    assert seeds_of(replace(TINY, seeds=(5, 4, 3, 2)), "game24") == (5, 4, 3, 2)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_one_arm_stands_for_reinforce_and_log_variance_on_fresh_samples(beta: float) -> None:
    """Their gradients are in the ratio 2 beta (n - 1) / n, n samples of each problem."""
    problems, n, tokens = 3, 4, 5
    rng = torch.Generator().manual_seed(0)
    shape, rows = (problems * n, tokens), problems * n
    logp, reference = (-torch.rand(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    batch = Batch(
        logp=logp.requires_grad_(),
        logp_old=logp.detach(),
        mask=torch.ones(shape, dtype=torch.bool),
        step_index=torch.zeros(shape, dtype=torch.int64),
        log_reward=-10 * torch.rand(rows, generator=rng, dtype=torch.float64),
        log_pb=torch.zeros(rows),
        group=torch.arange(rows) // n,
        seat=torch.zeros(rows, dtype=torch.int64),
        accepted=torch.zeros(rows, dtype=torch.bool),
        logp_ref=reference,
    )
    makers = [ARMS[arm].objective for arm in ("log_variance", "reinforce")]
    (ours,), (theirs,) = (torch.autograd.grad(make(beta)(batch)[0], [logp]) for make in makers if make is not None)
    torch.testing.assert_close(ours, theirs * 2 * beta * (n - 1) / n)


def hand(problem: Problem, *moves: str) -> Trajectory:
    return played(Game24(canonical=False), problem, moves)


def test_solutions_are_counted_up_to_their_normal_form() -> None:
    """Two problems, three samples each: two spellings of one solution and another one; failures."""
    easy, hard = pose([1, 1, 4, 6]), pose([1, 1, 1, 8])
    won = [
        hand(easy, "6 * 4 = 24", "24 * 1 = 24", "24 * 1 = 24"),
        hand(easy, "4 * 6 = 24", "1 * 24 = 24", "24 * 1 = 24"),
        hand(easy, "1 - 1 = 0", "6 * 4 = 24", "24 + 0 = 24"),
    ]
    unknown = Trajectory(hard, (Step(Game24().observe(Game24().start(hard)), Proposal("")),), Verdict(Status.UNKNOWN))
    lost = [hand(hard, "8 * 1 = 9"), hand(hard, "8 / 1 = 8"), unknown]
    assert [play.solved for play in won + lost] == [True] * 3 + [False] * 3
    units = [Unit(0, [lost[0], won[0]], won + lost, {}), Unit(1, lost[:2], lost + lost, {})]
    keys = [easy.key, hard.key]
    values = objectives_table._values(replace(TINY, draws=3), "game24", units, keys)
    assert values["distinct"].tolist() == [[2.0, 0.0], [0.0, 0.0]]
    assert values["pass@1"].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert values["search"].tolist() == solved(units, keys).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert correct(units, keys).tolist() == [[3, 0], [0, 0]]
    assert passes(units, keys) == {"1": 0.25, "2": 0.25}


def test_variety_is_counted_over_solutions_and_among_arms() -> None:
    """Of two arms one has two solutions of a problem, the other the first of them alone."""
    easy = pose([1, 1, 4, 6])
    first = hand(easy, "6 * 4 = 24", "24 * 1 = 24", "24 * 1 = 24")
    second = hand(easy, "1 - 1 = 0", "6 * 4 = 24", "24 + 0 = 24")
    units = {"sft": [Unit(0, [], [first, second], {})], "grpo": [Unit(0, [], [first, first], {})]}
    found = objectives_table._variety(units, KEYS["game24"])
    assert {arm: (row["diversity"], row["creativity"]) for arm, row in found.items()} == {
        "sft": (2.0, 0.5),
        "grpo": (1.0, 0.0),
    }
    assert found["sft"]["vendi"]["1"] > found["grpo"]["vendi"]["1"] == pytest.approx(1)


def test_an_outcome_needs_an_interval_without_zero_and_something_to_compare() -> None:
    ones, zeros = np.ones((3, 20)), np.zeros((3, 20))
    assert outcome(hierarchical(ones)) == "wins"
    assert outcome(hierarchical(-ones)) == "loses"
    assert outcome(hierarchical(np.tile([1.0, -1.0], (3, 10)))) == "ties"
    values = {
        "sft": {"solved": zeros, "nothing": zeros},
        "log_variance": {"solved": ones, "nothing": zeros},
        "log_variance_plain": {"solved": zeros, "nothing": zeros},
    }
    found = objectives_table._comparisons(values)
    assert list(found) == ["log_variance - sft", "log_variance - log_variance_plain", "log_variance_plain - sft"]
    assert found["log_variance - sft"]["solved"]["outcome"] == "wins"
    assert "nothing" not in found["log_variance - sft"]
    assert found["log_variance_plain - sft"] == {}
    assert list(objectives_table._comparisons(dict.fromkeys(("base", "sft"), values["sft"]))) == ["sft - base"]


@pytest.mark.rocq
@pytest.mark.slow
def test_rocq_lemmas_are_one_more_domain(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    extract(ExtractConfig(out=str(corpus), subset="Bool"))
    wanted = replace(TINY, domains=("rocq",), corpus=corpus, arms=("base", "sft", "log_variance", "reinforce"))
    folder = main(replace(wanted, start_steps=40, seeds=(0, 1, 2, 3)), out=tmp_path / "run")
    found = Run.open(folder).summary()["domains"]["rocq"]
    assert list(found["arms"]) == ["base", "sft", "log_variance"]
    assert {row["seeds"] for row in found["arms"].values()} == {3}
    assert found["arms"]["log_variance"]["verifier_steps"] > 0
    assert found["checked"]["proofs"] == found["checked"]["standing"]
    assert all("replay_admitted" in row for row in Run.open(folder / "rocq" / "train" / "log_variance-0").metrics())
