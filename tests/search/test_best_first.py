from __future__ import annotations

import heapq
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Apply, BudgetSpent, Lost, Observation, Problem, Proposal, Propose, Scored, Status
from surpass.errors import ConfigError
from surpass.models.scripted import Automaton, Scripted, Uniform
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.rollouts.trace import Event, tree
from surpass.search.best_first import best_first
from tests.automata import diamond, forest
from tests.search.test_sampling import PROBLEM, at, talk

GOLDEN = Path(__file__).parent.parent / "goldens" / "best_first_tree.json"


def graph(edges: Mapping[str, Mapping[str, tuple[str, float]]], *, merges: bool = True) -> tuple[Automaton, Scripted]:
    """An automaton from a to goal, and the policy whose log-probabilities stand beside its moves."""
    moves = {node: {action: target for action, (target, _) in out.items()} for node, out in edges.items()}
    logps = {action: logp for out in edges.values() for action, (_, logp) in out.items()}
    domain = Automaton(moves, frozenset({"goal"}), {"train": ("a",)}, merges=merges)
    return domain, Scripted({node: list(out) for node, out in edges.items()}, logps)


def expanded(domain: Automaton, policy: Scripted, **options: float) -> list[str]:
    events: list[Event] = []
    list(run(partial(best_first, **options), [PROBLEM], domain, policy, options=RunOptions(trace=events.append)))  # type: ignore[arg-type]
    return [seen["key"] for event in events if event["kind"] == "propose" for seen in event["observations"]]


def test_the_likeliest_path_goes_first() -> None:
    domain, policy = graph(
        {
            "a": {"ab": ("b", -1.0), "ac": ("c", -2.0)},
            "b": {"bd": ("d", -0.5), "be": ("e", -1.5)},
            "c": {"cf": ("f", -0.1)},
            "d": {},
        }
    )
    assert expanded(domain, policy) == ["a", "b", "d", "c", "f", "e"]
    assert expanded(domain, policy, width=1) == ["a", "b", "d"]
    assert expanded(domain, policy, nodes_per_ask=2) == ["a", "b", "c", "d", "f", "e"]
    assert expanded(domain, policy, expansions=3) == ["a", "b", "d"]
    assert expanded(domain, policy, max_depth=1) == ["a"]


def test_a_length_penalty_favours_long_paths() -> None:
    domain, policy = graph(
        {"a": {"ab": ("b", -1.0), "ac": ("c", -1.4)}, "b": {"bd": ("d", -1.1)}, "c": {"cf": ("f", -9.0)}}
    )
    assert expanded(domain, policy) == ["a", "b", "c", "d", "f"]
    assert expanded(domain, policy, length_penalty=1.0) == ["a", "b", "d", "c", "f"]


def test_equal_keys_are_one_node_and_the_best_path_is_kept() -> None:
    edges = {
        "a": {"ab": ("b", -0.1), "ac": ("c", -1.0)},
        "b": {"bd": ("d", -5.0)},
        "c": {"cd": ("d", -0.5)},
        "d": {"dg": ("goal", -7.0), "da": ("a", -0.1)},
    }
    domain, policy = graph(edges)
    assert expanded(domain, policy) == ["a", "b", "c", "d"]
    (found,) = run(best_first, [PROBLEM], domain, policy)
    assert found.actions == ("ac", "cd", "dg")
    assert found.info["merged"] == 1  # the second path to d
    domain, policy = graph(edges, merges=False)
    both = list(run(partial(best_first, solutions=2, max_depth=3), [PROBLEM], domain, policy))
    assert [(one.actions[:2], one.info["merged"]) for one in both] == [(("ac", "cd"), 0), (("ab", "bd"), 0)]


def test_a_node_asks_once_for_each_action_and_keeps_the_likeliest() -> None:
    domain = diamond()
    row = [Proposal("up", -3.0), Proposal("up", -1.0, (7,)), Proposal("down", -2.0), Proposal("up", -2.5)]
    asked, _ = talk(
        best_first(domain, PROBLEM, at(domain), expansions=2),
        [[row], [at(domain, "up"), at(domain, "down")], [[Proposal("join", -9.0)]], [at(domain, "up", "join")]],
    )
    assert asked[1] == Apply(((at(domain), "up"), (at(domain), "down")))
    assert isinstance(asked[2], Propose)
    assert asked[2].observations[0].key == "b"  # up at -1, not at -3


def test_without_log_probabilities_a_row_is_uniform() -> None:
    """a has three actions, b one: the child of b (-log 3) ties with those of a and came later."""
    domain, policy = graph(
        {
            "a": {"ab": ("b", 0), "ac": ("c", 0), "ad": ("d", 0)},
            "b": {"be": ("e", 0)},
            "c": {"cf": ("f", 0), "cg": ("g", 0)},
        }
    )
    assert expanded(domain, Scripted(policy.answers)) == ["a", "b", "c", "d", "e", "f", "g"]


@pytest.mark.parametrize(
    ("options", "budget", "status", "end"),
    [
        ({}, Budget(), Status.REJECTED, "exhausted"),
        ({"max_depth": 2}, Budget(), Status.REJECTED, "depth"),
        ({"expansions": 2}, Budget(), Status.UNKNOWN, "expansions"),
        ({}, Budget(proposals=12), Status.UNKNOWN, "budget"),
        ({"expansions": 6}, Budget(), Status.REJECTED, "exhausted"),  # exactly enough
    ],
)
def test_how_a_search_without_success_ends(options: dict[str, int], budget: Budget, status: Status, end: str) -> None:
    domain, policy = graph(
        {
            "a": {"ab": ("b", -1), "ac": ("c", -2)},
            "b": {"bd": ("d", -1)},
            "c": {"ce": ("e", -1)},
            "d": {"df": ("f", -1)},
        }
    )
    (found,) = run(partial(best_first, **options), [PROBLEM], domain, policy, budget=budget)  # type: ignore[arg-type]
    assert (found.verdict.status, found.info["end"], found.steps) == (status, end, ())
    assert found.verdict.returns == (() if status is Status.UNKNOWN else (0.0,))


def test_an_unknown_or_lost_child_leaves_the_search_unknown() -> None:
    domain = Automaton({"a": {"go": "b"}}, frozenset({"goal"}), {"train": ("a",)}, faults={"late": "unknown"})
    (found,) = run(best_first, [PROBLEM], domain, Scripted({"a": ["late", "go"]}))
    assert (found.verdict.status, found.info["end"], found.info["unknown"]) == (Status.UNKNOWN, "exhausted", 1)
    _, (lost,) = talk(best_first(domain, PROBLEM, at(domain)), [[[Proposal("go")]], [Lost("gone")]])
    assert (lost.verdict.status, lost.info["lost"], lost.info["unknown"]) == (Status.UNKNOWN, 1, 0)


def test_a_proof_found_by_the_last_expansion_counts() -> None:
    domain, policy = graph({"a": {"ab": ("b", -1)}, "b": {"bg": ("goal", -1)}})
    (found,) = run(partial(best_first, expansions=2), [PROBLEM], domain, policy, budget=Budget(proposals=16, steps=2))
    assert found.solved
    assert (found.info["expansions"], found.actions) == (2, ("ab", "bg"))
    (found,) = run(partial(best_first, expansions=1), [PROBLEM], domain, policy)
    assert found.verdict.status is Status.UNKNOWN


def test_solutions_are_distinct_best_first_and_no_more_than_asked() -> None:
    domain, policy = graph(
        {"a": {"poor": ("goal", -3), "good": ("goal", -1), "more": ("b", -1.5)}, "b": {"then": ("goal", -1)}}
    )
    everything = [("good",), ("poor",), ("more", "then")]
    for solutions, expected in ((1, everything[:1]), (2, everything[:2]), (9, everything)):
        found = list(run(partial(best_first, solutions=solutions), [PROBLEM], domain, policy))
        assert [one.actions for one in found] == expected
        assert all(one.solved for one in found)


def test_a_spent_budget_after_a_success_adds_nothing() -> None:
    domain, policy = graph({"a": {"good": ("goal", -1), "more": ("b", -2)}})
    (found,) = run(partial(best_first, solutions=2), [PROBLEM], domain, policy, budget=Budget(proposals=8))
    assert found.solved


def test_a_problem_that_is_over_needs_no_search() -> None:
    _, (found,) = talk(best_first(forest(), Problem("n31"), forest().start(Problem("n31"))), [])
    assert found.solved
    assert found.steps == ()


def test_a_budget_spent_at_the_first_ask() -> None:
    domain = diamond()
    _, (found,) = talk(best_first(domain, PROBLEM, at(domain)), [BudgetSpent("none")])
    assert (found.verdict.status, found.info["end"]) == (Status.UNKNOWN, "budget")


@given(st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, 7)), st.floats(-9, -0.01), max_size=24))
def test_it_finds_the_likeliest_path(costs: dict[tuple[int, int], float]) -> None:
    """Oracle: with sums of log-probabilities and merging it is Dijkstra's algorithm, but for the last edge."""
    edges: dict[str, dict[str, tuple[str, float]]] = {"a": {"start": ("0", 0.0)}}
    for (source, target), logp in costs.items():
        edges.setdefault(str(source), {})[f"{source}-{target}"] = (str(target), logp)
    edges.setdefault("7", {})["end"] = ("goal", 0.0)
    domain, policy = graph(edges)
    (found,) = run(partial(best_first, width=9), [PROBLEM], domain, policy)
    best = {0: 0.0}
    heap = [(0.0, 0)]
    while heap:
        cost, node = heapq.heappop(heap)
        for (source, target), logp in costs.items():
            if source == node and cost - logp < best.get(target, math.inf):
                best[target] = cost - logp
                heapq.heappush(heap, (best[target], target))
    assert found.solved == (7 in best)
    if found.solved:
        assert -sum(step.proposal.logp or 0.0 for step in found.steps) == pytest.approx(best[7])
    else:
        assert (found.verdict.status, found.info["end"]) == (Status.REJECTED, "exhausted")


@dataclass(frozen=True, slots=True)
class Critic:
    """A scripted policy whose score knows the value of each node."""

    policy: Scripted
    values: Mapping[str, float]

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return self.policy.propose(observations, n, seeds=seeds)

    def score(self, observations: Sequence[Observation]) -> list[Scored]:
        return [Scored(values=(self.values.get(one.key, 0.0),)) for one in observations]


def test_a_perfect_critic_expands_the_way_alone() -> None:
    domain = forest()
    way = {"n0": 1.0, "n1": 1.0, "n3": 1.0, "n8": 1.0, "n18": 1.0}  # n38 is a goal
    policy = Scripted({}, {"l": -9.0, "r": -1.0}, otherwise=("l", "r"))
    (problem,) = (one for one in domain.problems("train") if one.key == "n0")
    events: list[Event] = []
    options = RunOptions(trace=events.append)
    search = partial(best_first, critic=1e3)
    (found,) = run(search, [problem], domain, Critic(policy, way), options=options)
    asked = [seen["key"] for event in events if event["kind"] == "propose" for seen in event["observations"]]
    assert found.solved
    assert asked == list(way)
    assert sum(event["kind"] == "score" for event in events) == len(way) - 1  # the children of the last are over
    (blind,) = run(best_first, [problem], domain, policy)
    assert blind.info["expansions"] > len(way)


def test_a_critic_weighs_against_the_log_probability() -> None:
    edges = {"a": {"ab": ("b", -1.0), "ac": ("c", -2.0)}, "b": {"bd": ("d", -5.0)}, "c": {"ce": ("e", -5.0)}}
    domain, policy = graph(edges)
    for weight, first in ((0.5, "b"), (3.0, "c")):
        events: list[Event] = []
        search = partial(best_first, critic=weight, expansions=2)
        list(run(search, [PROBLEM], domain, Critic(policy, {"c": 0.5}), options=RunOptions(trace=events.append)))
        assert [e["observations"][0]["key"] for e in events if e["kind"] == "propose"] == ["a", first]


def test_a_policy_without_values_is_no_critic() -> None:
    domain, _ = graph({"a": {"ab": ("b", -1.0)}})
    with pytest.raises(ConfigError, match="seat 0"):
        list(run(partial(best_first, critic=1.0), [PROBLEM], domain, Uniform(("ab",), seats=0)))


def test_the_tree_is_the_stored_one() -> None:
    """A golden: a search by seed, drawn from its trace. After a change that is meant, write the new one by
    `python -c "from tests.search.test_best_first import GOLDEN, golden; GOLDEN.write_text(golden())"`.
    """
    assert golden() == GOLDEN.read_text()


def golden() -> str:
    events: list[Event] = []
    domain, policy = forest(), Uniform(("l", "r", "x"))
    list(run(partial(best_first, width=3), [Problem("n1")], domain, policy, options=RunOptions(trace=events.append)))
    lines = [
        f"{node.number} <- {node.parent} by {node.action or '-'} {node.key} {node.status} order {node.order}"
        for node in tree(events).nodes
    ]
    return json.dumps(lines, indent=0) + "\n"
