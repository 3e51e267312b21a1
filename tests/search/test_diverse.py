from __future__ import annotations

from functools import partial

import pytest

from surpass.core import BudgetSpent, Lost, Proposal, Propose, Status
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.models.scripted import Automaton, Scripted, Uniform
from surpass.rollouts.runner import Budget, run
from surpass.search.best_first import best_first
from surpass.search.diverse import diverse
from tests.automata import diamond, forest
from tests.search.test_best_first import graph
from tests.search.test_sampling import PROBLEM, at, talk

SEVERAL = (r"A -> A \/ A", "(A -> A) -> A -> A", r"(A -> B) -> A -> B \/ A", r"A /\ A -> A")


@pytest.mark.parametrize("statement", SEVERAL)
@pytest.mark.parametrize("history", [True, False])
def test_it_finds_every_proof_where_best_first_finds_one(statement: str, history: bool) -> None:
    """Oracle: all proofs of at most five tactics, by enumeration."""
    domain, problem = Kernel(history=history), pose(statement)
    every = {one.actions for one in trajectories(domain, problem, 5) if one.solved}
    assert len(every) > 1
    search = partial(diverse, expansions=5000, max_depth=5, solutions=1000, width=16)
    found = list(run(search, [problem], domain, Uniform()))
    assert {one.actions for one in found} == every
    assert len(found) == len(every)
    one = list(run(partial(best_first, max_depth=5), [problem], domain, Uniform()))
    merged = list(run(partial(best_first, expansions=5000, max_depth=5, solutions=1000), [problem], domain, Uniform()))
    assert len(one) == 1
    assert len(merged) <= len(every)
    if statement == SEVERAL[1]:
        assert len(merged) == 1 < len(every)  # for it paths that meet are one


def test_cells_take_turns_and_the_likeliest_of_a_cell_goes_first() -> None:
    """Two openings, one of which is far likelier all along: both are followed."""
    edges = {
        "a": {"ab": ("b", -0.1), "ac": ("c", -9.0)},
        "b": {"b1": ("d", -0.1), "b2": ("e", -0.2)},
        "c": {"c1": ("f", -0.1)},
        "d": {"d1": ("d", -0.1)},
        "e": {},
        "f": {"fg": ("goal", -0.1)},
    }
    domain, policy = graph(edges, merges=False)
    search = partial(diverse, expansions=6, cell=lambda steps: steps[0].proposal.action if steps else "")
    (found,) = run(search, [PROBLEM], domain, policy)
    assert found.actions == ("ac", "c1", "fg")
    (greedy,) = run(partial(best_first, expansions=6), [PROBLEM], domain, policy)
    assert not greedy.solved


def test_a_path_is_asked_again_but_an_action_is_tried_once() -> None:
    domain = diamond()
    asked, (found,) = talk(
        diverse(domain, PROBLEM, at(domain), width=2, expansions=4, cell=lambda steps: not steps),
        [
            [[Proposal("no", -1.0)]],
            [at(domain, "no")],
            [[Proposal("no", -1.0), Proposal("up", -2.0)]],
            [at(domain, "up")],
            [[Proposal("stray")]],
            [at(domain, "up", "stray")],
            [[]],  # e was tried less often than b
            [],
        ],
    )
    assert [one.observations[0].key for one in asked if isinstance(one, Propose)] == ["a", "a", "b", "e"]
    assert (found.verdict.status, found.info["end"], found.info["cells"]) == (Status.UNKNOWN, "expansions", 2)


@pytest.mark.parametrize(
    ("options", "budget", "status", "end"),
    [
        ({}, Budget(), Status.REJECTED, "exhausted"),
        ({"max_depth": 1}, Budget(), Status.REJECTED, "depth"),
        ({"expansions": 2}, Budget(), Status.UNKNOWN, "expansions"),
        ({}, Budget(steps=2), Status.UNKNOWN, "budget"),
    ],
)
def test_how_a_search_without_success_ends(options: dict[str, int], budget: Budget, status: Status, end: str) -> None:
    domain, policy = graph({"a": {"ab": ("b", -1), "ac": ("c", -2)}, "b": {"bd": ("d", -1)}, "c": {"cd": ("d", -1)}})
    (found,) = run(partial(diverse, **options), [PROBLEM], domain, policy, budget=budget)  # type: ignore[arg-type]
    assert (found.verdict.status, found.info["end"], found.steps) == (status, end, ())


def test_an_unknown_or_lost_child_leaves_the_search_unknown() -> None:
    domain = Automaton({"a": {"go": "b"}}, frozenset({"goal"}), {"train": ("a",)}, faults={"late": "unknown"})
    (found,) = run(diverse, [PROBLEM], domain, Scripted({"a": ["late", "go"]}))
    assert (found.verdict.status, found.info["end"], found.info["unknown"]) == (Status.UNKNOWN, "exhausted", 1)
    go = [[Proposal("go")]]
    _, (lost,) = talk(diverse(domain, PROBLEM, at(domain)), [go, [Lost("gone")], go, [], go, []])
    assert (lost.verdict.status, lost.info["lost"]) == (Status.UNKNOWN, 1)


def test_no_more_solutions_than_asked_and_spent_budgets() -> None:
    domain, policy = graph({"a": {"one": ("goal", -1), "two": ("goal", -2), "three": ("goal", -3)}})
    for solutions in (1, 2, 9):
        found = list(run(partial(diverse, solutions=solutions), [PROBLEM], domain, policy))
        assert len({one.actions for one in found}) == len(found) == min(3, solutions)
    _, (none,) = talk(diverse(domain, PROBLEM, at(domain)), [BudgetSpent("none")])
    assert (none.verdict.status, none.info["end"]) == (Status.UNKNOWN, "budget")
    over = forest().start(next(one for one in forest(40).problems("train") if one.key == "n31"))
    _, (done,) = talk(diverse(forest(), PROBLEM, over), [])
    assert done.solved
