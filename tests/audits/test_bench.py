from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from surpass.audits import bench
from surpass.audits.arms import ARMS
from surpass.audits.bench import BenchConfig, audit, cells, main
from surpass.audits.rows import Cell, Outcome
from surpass.audits.tasks import FLOOR, TASKS, WHOLE, WRITTEN
from surpass.errors import ConfigError
from surpass.objectives import OBJECTIVES

TABLES = [name for name in TASKS if name not in WRITTEN]


def test_every_objective_is_audited() -> None:
    assert {arm.objective for arm in ARMS.values()} == set(OBJECTIVES)
    asked = {(task, ARMS[arm].objective) for task, arm, _ in cells(BenchConfig())}
    assert {objective for task, objective in asked if task in WRITTEN} == set(OBJECTIVES)
    for task in TASKS:
        left_out = set(OBJECTIVES) - {objective for name, objective in asked if name == task}
        flows = {"subtrajectory_balance", "detailed_balance", "forward_looking"}
        assert left_out == (flows if task in WHOLE else {"modified_subtb"})


@pytest.mark.parametrize("name", TABLES)
def test_targets_are_distributions_far_from_where_a_table_starts(name: str) -> None:
    task = TASKS[name](0)
    assert 0 < sum(leaf.solved for leaf in task.leaves) < len(task.leaves)
    assert float(task.space.log_reward.min()) >= FLOOR
    for chosen, arm in ARMS.items():
        if arm.written:
            continue
        log_q = arm.target(task).log_q
        assert float(log_q.exp().sum()) == pytest.approx(1.0), chosen


def test_samples_lead_a_table_to_the_posterior_and_the_record_names_log_z() -> None:
    outcome = audit(("bits", "log_variance", 0), steps=70)
    (before,), (after,) = outcome.before.values(), outcome.after.values()
    assert before.total_variation > 0.3
    assert after.total_variation < 0.05
    assert outcome.log_z_error is not None
    assert outcome.log_z_error < 0.1


def test_a_space_and_its_classes_are_both_measured() -> None:
    outcome = audit(("game24", "log_variance", 0), steps=150)
    assert list(outcome.after) == ["token sequences", "solutions up to normal form"]
    plays, solutions = outcome.after.values()
    assert solutions.total_variation <= plays.total_variation < 0.01


@pytest.mark.parametrize("options", [{"beta": -1.0}, {"beta": 0.3}, {"beta": 1.0, "relative": False}])
def test_a_wrong_objective_is_caught(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "log_variance", replace(ARMS["log_variance"], options=options))
    (after, _) = audit(("game24", "log_variance", 0), steps=80).after.values()
    assert after.total_variation > 0.2


def test_a_small_transformer_learns_from_what_it_samples() -> None:
    outcome = audit(("bit_words", "log_variance", 0), steps=40)
    (before,), (after,) = outcome.before.values(), outcome.after.values()
    assert before.elsewhere > 0.1 > after.elsewhere_target
    assert after.elsewhere < before.elsewhere / 2


def test_flows_over_steps_are_learned_by_a_small_transformer() -> None:
    task = TASKS["letters"](0)
    assert len(task.leaves) == 7 * 11 + 8
    assert {len(leaf.steps) for leaf in task.leaves} == {1, 2, 3}
    assert sum(leaf.solved for leaf in task.leaves) == 6
    outcome = audit(("letters", "detailed_balance", 0), steps=20)
    (before,), (after,) = outcome.before.values(), outcome.after.values()
    assert after.total_variation < before.total_variation


def test_rows_are_written_and_printed(tmp_path: Path) -> None:
    path, page = tmp_path / "rows.json", tmp_path / "rows.md"
    names = ("dpo", "modified_subtb", "reward_ranked")
    config = BenchConfig(("game24",), names, seeds=2, steps=2, workers=0, json=path, markdown=page)
    threads = torch.get_num_threads()
    report = main(config)
    assert torch.get_num_threads() == threads
    assert [(row.objective, row.space, row.seeds) for row in report.rows] == [
        ("reward_ranked", "token sequences", 2),
        ("reward_ranked", "solutions up to normal form", 2),
        ("dpo", "token sequences", 2),
        ("dpo", "solutions up to normal form", 2),
    ]
    rows = json.loads(path.read_text())
    assert {"task", "space", "objective", "converges", "total_variation", "log_z_error", "coverage"} <= set(rows[0])
    assert "no unique" in rows[0]["converges"]
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(report.table())
    printed = screen.export_text()
    assert all(f"{row['total_variation']:.3f}" in printed and row["arm"] in printed for row in rows)
    assert "…" not in printed
    lines = page.read_text().splitlines()
    assert len(lines) == 2 + 4
    assert {line.count("|") for line in lines} == {12}
    assert f"| ({rows[0]['total_variation']:.4f}) |" in lines[2]


def test_an_interrupted_audit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = BenchConfig(("bits",), ("likelihood", "dpo"), seeds=2, steps=1, workers=0, run=tmp_path / "runs" / "a")
    trained: list[Cell] = []

    def interrupted(cell: Cell, steps: int) -> Outcome:
        if len(trained) == 3:
            trained.clear()
            raise KeyboardInterrupt
        trained.append(cell)
        return audit(cell, steps)

    monkeypatch.setattr(bench, "audit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(asked)
    report = main(asked)
    assert trained == [("bits", "dpo", 1)]
    monkeypatch.undo()
    assert report == main(replace(asked, run=None))
    assert main(replace(asked, seeds=1)) == main(replace(asked, seeds=1, run=None))
    with pytest.raises(ConfigError, match="steps"):
        main(replace(asked, steps=2))


@pytest.mark.parametrize(
    "config",
    [
        BenchConfig(tasks=("nothing",)),
        BenchConfig(objectives=("nothing",)),
        BenchConfig(tasks=()),
        BenchConfig(tasks=("bits",), objectives=("modified_subtb",)),
        BenchConfig(seeds=0),
        BenchConfig(steps=-1),
        BenchConfig(tasks=("integer",), objectives=("detailed_balance",)),
        BenchConfig(json=Path("no/such/folder/rows.json")),
        BenchConfig(markdown=Path("no/such/folder/rows.md")),
    ],
)
def test_what_cannot_be_audited_is_refused(config: BenchConfig) -> None:
    with pytest.raises(ConfigError):
        main(config)
