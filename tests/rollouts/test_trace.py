from __future__ import annotations

import json
from functools import partial

from surpass.core import Problem
from surpass.models.scripted import Automaton, Scripted, Uniform
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.rollouts.trace import Event, tree
from surpass.search.best_first import best_first
from surpass.search.sampling import sample
from tests.automata import ACTIONS, diamond, forest

LOGPS = {"up": -0.5, "down": -1.0, "join": -0.1, "stray": -3.0, "finish": -0.2}
POLICY = Scripted({"a": ["up", "down"], "b": ["join", "stray", "?"], "c": ["join"], "d": ["finish"]}, LOGPS)


def traced(budget: Budget) -> list[Event]:
    events: list[Event] = []
    domain = diamond()
    options = RunOptions(trace=events.append, replicas=2)
    list(run(best_first, domain.problems("train"), domain, POLICY, budget=budget, options=options))
    return events


def test_events_are_json_and_tell_each_ask_in_turn() -> None:
    events = [event for event in traced(Budget()) if event["replica"] == 1]
    assert json.loads(json.dumps(events)) == events
    kinds = ["start", *["propose", "apply"] * 3, "trajectory"]
    assert [event["kind"] for event in events] == kinds
    assert [event["ask"] for event in events] == [0, 1, 2, 3, 4, 5, 6, 6]
    assert {event["problem"] for event in events} == {"a"}
    assert events[1]["answers"] == [[{"action": "up", "logp": -0.5}, {"action": "down", "logp": -1.0}]]
    assert events[-1]["actions"] == ["up", "join", "finish"]
    assert (events[-1]["status"], events[-1]["end"]) == ("accepted", "verdict")


def test_a_refused_ask_is_told() -> None:
    events = traced(Budget(steps=2))
    assert [event["reason"] for event in events if event["kind"] == "budget"] == [
        "steps: 5 asked in all, 2 allowed"
    ] * 2


def test_the_tree_of_a_search() -> None:
    events = traced(Budget())
    drawn = tree(events)
    assert drawn == tree(events, problem="a", replica=0)
    assert [
        (node.number, node.parent, node.action, node.logp, node.key, node.status, node.order) for node in drawn.nodes
    ] == [
        (0, None, "", None, "a", "open", 0),
        (1, 0, "up", -0.5, "b", "open", 1),
        (2, 0, "down", -1.0, "c", "open", None),
        (3, 1, "join", -0.1, "d", "open", 2),
        (4, 1, "stray", -3.0, "e", "open", None),
        (5, 1, "?", None, "b", "rejected", None),
        (6, 3, "finish", -0.2, "goal", "accepted", None),
    ]
    assert [node.depth for node in drawn.nodes] == [0, 1, 1, 2, 2, 2, 3]
    assert drawn.edges == ((0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (3, 6))
    assert tree(events, problem="b").nodes == tree([]).nodes == ()


def test_the_tree_of_samples_joins_equal_states() -> None:
    events: list[Event] = []
    options = RunOptions(trace=events.append)
    found = list(run(partial(sample, n=90, max_steps=2), [Problem("n0")], forest(), Uniform(ACTIONS), options=options))
    drawn = tree(events)
    assert {one.actions for one in found} == {
        ("x",), ("l", "l"), ("l", "r"), ("l", "x"), ("r", "l"), ("r", "r"), ("r", "x")
    }  # fmt: skip
    assert len(drawn.nodes) == 1 + 3 + 6
    assert len(drawn.edges) == 9


def test_lost_children_are_nodes_of_their_own() -> None:
    events: list[Event] = []
    domain = Automaton({}, frozenset(), {"train": ("a",)}, faults={"x": "crash", "y": "crash"})
    options = RunOptions(trace=events.append, workers=1)
    list(run(best_first, domain.problems("train"), domain, Scripted({"a": ["x", "y"]}), options=options))
    assert [(node.action, node.status) for node in tree(events).nodes] == [("", "open"), ("x", "lost"), ("y", "lost")]
