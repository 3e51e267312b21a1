"""The experiment on the kernel: whole, resumed in the middle of a record, and with wrong settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict, replay
from surpass.domains.proofs.kernel.domain import Kernel
from surpass.errors import ConfigError
from surpass.experiments.search import PRESETS, Config, check, main
from surpass.experiments.search_arms import ROWS, SEARCHES
from surpass.experiments.search_table import Found
from surpass.models.scripted import Uniform
from surpass.recorded import record_problems
from surpass.rollouts.runner import Budget, run
from surpass.search.again import again
from surpass.search.sampling import sample
from surpass.store import Run
from surpass.verify import verify_run
from tests.automata import ACTIONS, forest

TINY = replace(PRESETS["tiny"], policies=("sft",), searches=("mcts_score",), problems=3, budgets=(3, 6))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main(TINY, out=tmp_path_factory.mktemp("runs") / "search")


def test_every_row_keeps_to_its_budget_and_is_shown(finished: Path) -> None:
    summary = Run.open(finished).summary()
    assert set(summary["arms"]) == {"mcts_score+sft", "automation"}
    for row in summary["arms"].values():
        assert row["problems"] == TINY.problems
        assert 0 < row["steps"] <= TINY.budgets[-1]
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "mcts_score+sft" in page
    assert "<svg" in page


def test_what_counts_is_what_a_fresh_checker_accepts(finished: Path, tmp_path: Path) -> None:
    """A proof, found after 5 calls, and a lie are put into a finished record: one of them is counted, and where."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    kept = Run(copy / "search" / "automation-0")
    first, second, *rest = kept.trajectories()
    true = replay(Kernel(canonical=False), first.problem, first.problem.data["solution"])
    lie = Step(Observation("a goal"), Proposal("exact nothing"))
    forged = replace(second, steps=(lie,), verdict=Verdict(Status.ACCEPTED, (1.0,), "kernel 1; T2"))
    kept.rewrite([replace(true, info={**first.info, "steps": 5}), forged, *rest])
    main(TINY, resume=copy)
    summary = Run.open(copy).summary()
    row = summary["arms"]["automation"]
    assert [row["at"][str(calls)]["solved"] for calls in TINY.budgets] == [0, 1]
    assert (row["solved"], row["calls_to_first"], row["distinct_proofs"]) == (1, 5, 1)
    assert summary["checked"] == {"proofs": 2, "standing": 1, "unknown": 0}
    assert [one.stands for one in verify_run(copy)] == [True]


def test_a_finished_run_is_not_run_again(finished: Path) -> None:
    paths = sorted(finished.glob("search/*/checkpoint/state.pt"))
    assert len(paths) == 2
    before = [path.stat().st_mtime_ns for path in paths]
    summary = Run.open(finished).summary()
    main(TINY, resume=finished)
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert Run.open(finished).summary()["arms"] == summary["arms"]


class Tried:
    """Attempts at problems of an automaton, which remember what they were asked and may break off."""

    def __init__(self, stop_after: int = 1 << 30) -> None:
        self.asked: list[str] = []
        self.left = stop_after

    def __call__(self, problems: Sequence[Problem]) -> Iterator[Trajectory]:
        self.asked += [problem.key for problem in problems]
        search = partial(again, search=partial(sample, n=3, max_steps=5), rounds=4, solutions=9)
        for trajectory in run(search, problems, forest(), Uniform(ACTIONS), budget=Budget(steps=40)):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield trajectory


def records(path: Path) -> list[tuple[str, tuple[str, ...], str, int]]:
    return [(one.problem.key, one.actions, one.verdict.status, one.info["steps"]) for one in Run(path).trajectories()]


@pytest.mark.parametrize("stop_after", [0, 1, 4, 8, 11])
def test_an_interrupted_record_repeats_no_finished_problem(tmp_path: Path, stop_after: int) -> None:
    problems = list(forest().problems("train"))
    record_problems(tmp_path / "whole", problems, Tried())
    with pytest.raises(KeyboardInterrupt):
        record_problems(tmp_path / "cut", problems, Tried(stop_after))
    kept = Run.open(tmp_path / "cut")
    state = kept.load() or {"finished": 0}
    with kept.trajectories_path.open("ab") as file:
        file.write(b'{"problem": {"key"')  # torn in the middle of a line
    attempts = Tried()
    record_problems(tmp_path / "cut", problems, attempts)
    assert attempts.asked == [problem.key for problem in problems[state["finished"] :]]
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    record_problems(tmp_path / "cut", problems, attempts)  # finished: nothing is asked
    assert len(attempts.asked) == len(problems) - state["finished"]


def test_a_record_of_other_problems_is_not_gone_on_with(tmp_path: Path) -> None:
    problems = list(forest().problems("train"))
    with pytest.raises(KeyboardInterrupt):
        record_problems(tmp_path / "cut", problems, Tried(8))
    with pytest.raises(ConfigError, match="other problems"):
        record_problems(tmp_path / "cut", problems[1:], Tried())
    record_problems(tmp_path / "whole", problems[:3], Tried())
    with pytest.raises(ConfigError, match="other problems"):
        record_problems(tmp_path / "whole", problems, Tried())
    record_problems(tmp_path / "whole", problems[:3], Tried())


def test_one_run_at_the_largest_budget_holds_those_at_smaller_ones() -> None:
    """What counts as found within b calls is what a run with a budget of b calls finds."""
    problems = list(forest().problems("train"))
    search = partial(again, search=partial(sample, n=2, max_steps=5), rounds=99, solutions=99)

    def proofs(calls: int) -> list[Trajectory]:
        return list(run(search, problems, forest(), Uniform(ACTIONS), budget=Budget(steps=calls)))

    largest = Found(proofs(60), {})
    for calls in (1, 7, 20, 41):
        smaller = [(one.problem.key, one.actions) for one in proofs(calls) if one.solved]
        assert [(one.problem.key, one.actions) for one in largest.within(calls)] == smaller
    assert largest.within(20)


def test_every_search_can_be_made() -> None:
    for make in SEARCHES.values():
        assert callable(make(Config()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"searches": ("dfs",)}, "found dfs"),
        ({"rows": ("coffee",)}, "found coffee"),
        ({"budgets": ()}, "rising order"),
        ({"budgets": (8, 8)}, "rising order"),
        ({"budgets": (0,)}, "rising order"),
        ({"policies": (), "rows": ()}, "found neither"),
    ],
)
def test_wrong_settings_are_told(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(replace(TINY, **wrong))  # type: ignore[arg-type]


def test_a_run_without_the_policies_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected finished training in .*gfn-0"):
        main(replace(TINY, run=finished / "proof_flow", policies=("gfn",)), out=tmp_path / "run")


def test_presets_pass_their_own_check() -> None:
    for preset in PRESETS.values():
        check(preset)
    assert set(ROWS) >= set(PRESETS["full"].rows)
