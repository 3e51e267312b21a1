from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import BudgetSpent, Lost, Proposal, Propose, Status
from surpass.models.scripted import Automaton, Scripted
from surpass.rollouts.runner import Budget, run
from surpass.search.beam import beam
from tests.automata import diamond, forest
from tests.search.test_best_first import graph
from tests.search.test_sampling import PROBLEM, at, talk

EDGES = {
    "a": {"ab": ("b", -1.0), "ac": ("c", -2.0)},
    "b": {"bd": ("d", -9.0), "be": ("e", -9.5)},
    "c": {"cf": ("goal", -0.1)},
    "d": {},
}


def test_a_level_is_one_ask_and_the_likeliest_go_on() -> None:
    domain = diamond()
    asked, (found,) = talk(
        beam(domain, PROBLEM, at(domain), width=2, beam=2),
        [
            [[Proposal("up", -1.0), Proposal("down", -0.5)]],
            [at(domain, "up"), at(domain, "down")],
            [[Proposal("join", -0.1)], [Proposal("join", -1.0), Proposal("stray", -2.0)]],
            [at(domain, "down", "join"), at(domain, "up", "join"), at(domain, "up", "stray")],
            [[Proposal("finish")], []],
            [at(domain, "down", "join", "finish")],
        ],
    )
    seen = [[one.key for one in said.observations] for said in asked if isinstance(said, Propose)]
    assert seen == [["a"], ["c", "b"], ["d", "e"]]
    assert found.actions == ("down", "join", "finish")
    assert (found.info["expansions"], found.info["merged"], found.info["pruned"]) == (5, 1, 0)


def test_a_narrow_beam_loses_what_a_wide_one_finds() -> None:
    domain, policy = graph(EDGES)
    (found,) = run(partial(beam, beam=1), [PROBLEM], domain, policy)
    assert (found.verdict.status, found.info["end"]) == (Status.UNKNOWN, "pruned")
    (found,) = run(partial(beam, beam=2), [PROBLEM], domain, policy)
    assert found.actions == ("ac", "cf")


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=16), st.integers(1, 4))
def test_a_wide_beam_is_exhaustive(edges: set[tuple[int, int]], depth: int) -> None:
    """Oracle: every path of at most `depth` actions from node 0 to the goal, node 6, in an automaton without keys."""
    moves: dict[str, dict[str, str]] = {"0": {}}
    for source, target in edges:
        moves.setdefault(str(source), {})[f"{source}-{target}"] = "goal" if target == 6 else str(target)
    domain = Automaton(moves, frozenset({"goal"}), {"train": ("0",)}, merges=False)
    policy = Scripted({node: list(out) for node, out in moves.items()})
    search = partial(beam, width=8, beam=10_000, max_depth=depth, solutions=10_000)
    found = list(run(search, domain.problems("train"), domain, policy))
    paths: list[tuple[tuple[str, ...], str]] = [((), "0")]
    complete = set[tuple[str, ...]]()
    for _ in range(depth):
        paths = [((*path, action), after) for path, node in paths for action, after in moves.get(node, {}).items()]
        complete |= {path for path, node in paths if node == "goal"}
    assert {one.actions for one in found if one.solved} == complete
    assert len(found) == max(1, len(complete))
    if not complete:
        assert found[0].verdict.status is Status.REJECTED


@pytest.mark.parametrize(
    ("options", "budget", "status", "end"),
    [
        ({}, Budget(), Status.REJECTED, "exhausted"),
        ({"max_depth": 1}, Budget(), Status.REJECTED, "depth"),
        ({"beam": 1}, Budget(), Status.UNKNOWN, "pruned"),
        ({}, Budget(steps=2), Status.UNKNOWN, "budget"),
    ],
)
def test_how_a_search_without_success_ends(options: dict[str, int], budget: Budget, status: Status, end: str) -> None:
    domain, policy = graph({"a": {"ab": ("b", -1), "ac": ("c", -2)}, "b": {"ba": ("a", -1)}, "c": {"cd": ("d", -1)}})
    (found,) = run(partial(beam, **options), [PROBLEM], domain, policy, budget=budget)  # type: ignore[arg-type]
    assert (found.verdict.status, found.info["end"], found.steps) == (status, end, ())


def test_an_unknown_or_lost_child_leaves_the_search_unknown() -> None:
    domain = Automaton({"a": {"go": "b"}}, frozenset({"goal"}), {"train": ("a",)}, faults={"late": "unknown"})
    (found,) = run(beam, [PROBLEM], domain, Scripted({"a": ["late", "go"]}))
    assert (found.verdict.status, found.info["end"], found.info["unknown"]) == (Status.UNKNOWN, "exhausted", 1)
    _, (lost,) = talk(beam(domain, PROBLEM, at(domain)), [[[Proposal("go")]], [Lost("gone")]])
    assert (lost.verdict.status, lost.info["lost"]) == (Status.UNKNOWN, 1)


def test_solutions_come_likeliest_first_and_no_more_than_asked() -> None:
    domain, policy = graph(
        {"a": {"poor": ("goal", -3), "good": ("goal", -1), "more": ("b", -1.5)}, "b": {"then": ("goal", -1)}}
    )
    everything = [("good",), ("poor",), ("more", "then")]
    for solutions, expected in ((1, everything[:1]), (2, everything[:2]), (9, everything)):
        found = list(run(partial(beam, solutions=solutions), [PROBLEM], domain, policy))
        assert [one.actions for one in found] == expected


def test_a_spent_budget_and_a_problem_that_is_over() -> None:
    domain = diamond()
    _, (found,) = talk(beam(domain, PROBLEM, at(domain)), [BudgetSpent("none")])
    assert (found.verdict.status, found.info["end"]) == (Status.UNKNOWN, "budget")
    over = forest().start(next(one for one in forest(40).problems("train") if one.key == "n31"))
    _, (found,) = talk(beam(forest(), PROBLEM, over), [])
    assert found.solved
