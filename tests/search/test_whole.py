"""Whole scripts and their refinement."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from surpass.core import Apply, BudgetSpent, Lost, Observation, Proposal, Propose, Status
from surpass.models.scripted import Automaton, Scripted
from surpass.rollouts.runner import Budget, run
from surpass.search.refine import EVIDENCE, refine, with_error
from surpass.search.whole import whole
from tests.automata import diamond, forest
from tests.search.test_sampling import PROBLEM, at, talk


def test_a_script_is_cut_at_its_first_error_and_written_on_from_there() -> None:
    policy = Scripted({"a": ["up\n  finish\n\nnever"], "b": ["join\nfinish\nbeyond the end"]})
    (found,) = run(partial(whole, n=1), [PROBLEM], diamond(), policy)
    assert found.solved
    assert found.actions == ("up", "join", "finish")
    assert (found.info["rounds"], found.info["cuts"], found.info["end"]) == (2, 1, "verdict")
    assert (found.info["proposals"], found.info["steps"]) == (2, 4)  # two scripts; the rejected line was asked too
    assert all(step.proposal.tokens == () and step.proposal.logp is None for step in found.steps)


def test_one_action_keeps_its_tokens_and_a_script_that_runs_out_goes_on() -> None:
    domain = diamond()
    up, two = Proposal("up", -0.5, (1, 2)), Proposal("join\nfinish", -1.0, (3,))
    asked, (found,) = talk(
        whole(domain, PROBLEM, at(domain), n=1),
        [[[up]], [at(domain, "up")], [[two]], [at(domain, "up", "join")], [at(domain, "up", "join", "finish")]],
    )
    assert [step.proposal for step in found.steps] == [up, Proposal("join"), Proposal("finish")]
    assert [type(one) for one in asked] == [Propose, Apply, Propose, Apply, Apply]
    assert found.info["cuts"] == 0


def test_attempts_share_their_asks() -> None:
    domain = diamond()
    up, down, join, finish = (Proposal(action) for action in ("up", "down", "join", "finish"))
    after = [at(domain, "up", "join"), at(domain, "down", "join")]
    done = [domain.step(one, "finish") for one in after]
    asked, found = talk(
        whole(domain, PROBLEM, at(domain), n=3),
        [[[up, up, down]], [at(domain, "up"), at(domain, "down")], [[join]] * 3, after, [[finish]] * 3, done],
    )
    assert asked[0] == Propose((domain.observe(at(domain)),), 3)
    assert asked[1] == Apply(((at(domain), "up"), (at(domain), "down")))  # equal pairs are asked once
    assert isinstance(asked[2], Propose)
    assert [one.key for one in asked[2].observations] == ["b", "b", "c"]
    assert [one.actions for one in found] == [("up", "join", "finish")] * 2 + [("down", "join", "finish")]


@pytest.mark.parametrize(
    ("answers", "options", "budget", "end", "status", "kept"),
    [
        ({"a": ["no"]}, {"rounds": 3}, Budget(), "rounds", Status.REJECTED, ()),
        ({"a": ["up\nno"], "b": ["no"]}, {"rounds": 3}, Budget(), "rounds", Status.REJECTED, ("up",)),
        ({"a": ["up\njoin\nfinish"]}, {"max_depth": 2}, Budget(), "depth", Status.REJECTED, ("up", "join")),
        ({"a": ["up"]}, {}, Budget(), "silent", Status.REJECTED, ("up",)),
        ({"a": [" \n "]}, {}, Budget(), "silent", Status.REJECTED, ()),
        ({"a": ["up\njoin\nfinish"]}, {}, Budget(steps=2), "budget", Status.UNKNOWN, ("up", "join")),
    ],
)
def test_how_an_attempt_ends(
    answers: dict[str, list[str]],
    options: dict[str, int],
    budget: Budget,
    end: str,
    status: Status,
    kept: tuple[str, ...],
) -> None:
    (found,) = run(partial(whole, n=1, **options), [PROBLEM], diamond(), Scripted(answers), budget=budget)  # type: ignore[arg-type]
    assert (found.info["end"], found.verdict.status, found.actions) == (end, status, kept)
    if end == "rounds":
        assert found.info["cuts"] == found.info["rounds"] == 3


def test_an_unknown_verdict_and_a_loss_end_an_attempt() -> None:
    domain = Automaton({"a": {"go": "b"}}, frozenset({"goal"}), {"train": ("a",)}, faults={"late": "unknown"})
    (found,) = run(partial(whole, n=1), [PROBLEM], domain, Scripted({"a": ["go\nlate\ngo"]}))
    assert (found.verdict.status, found.actions) == (Status.UNKNOWN, ("go", "late"))
    _, (lost,) = talk(whole(domain, PROBLEM, at(domain), n=1), [[[Proposal("go\nlate")]], [Lost("gone")]])
    assert (lost.verdict.status, lost.info["end"], lost.actions) == (Status.UNKNOWN, "lost", ("go",))


def test_a_spent_budget_and_a_problem_that_is_over() -> None:
    domain = diamond()
    _, found = talk(whole(domain, PROBLEM, at(domain), n=2), [BudgetSpent("none")])
    assert [one.info["end"] for one in found] == ["budget"] * 2
    over = forest().start(replace(PROBLEM, key="n31"))
    _, found = talk(whole(forest(), PROBLEM, over, n=2), [])
    assert [one.solved for one in found] == [True] * 2


def test_refinement_shows_the_error_and_records_the_state() -> None:
    domain = diamond()
    first, second = domain.observe(at(domain)), domain.observe(at(domain, "up"))
    told = with_error(second, "finish", "automaton")
    assert told.text == "brejected:\nfinish\nerror:\nautomaton\n"
    policy = Scripted({"a": ["up"], "b": ["finish"], told.text: ["join\nfinish"]})
    (found,) = run(partial(refine, n=1), [PROBLEM], domain, policy)
    assert found.solved
    assert [step.observation for step in found.steps[:2]] == [first, second]  # what the domain shows
    (stuck,) = run(partial(whole, n=1), [PROBLEM], domain, policy)
    assert stuck.info["end"] == "rounds"  # it is the message that helped


def test_what_was_written_with_an_error_in_sight_is_no_sample_of_the_state() -> None:
    domain = diamond()
    bad, good = Proposal("no", -1.0, (1,)), Proposal("up", -1.0, (2,))
    rejected = at(domain, "no")
    asked, (found,) = talk(
        refine(domain, PROBLEM, at(domain), n=1),
        [[[bad]], [rejected], [[good]], [at(domain, "up")], [[]]],
    )
    assert isinstance(asked[2], Propose)
    assert asked[2].observations[0].text.endswith("rejected:\nno\nerror:\nautomaton\n")
    assert isinstance(asked[4], Propose)
    assert asked[4].observations[0] == domain.observe(at(domain, "up"))  # the message goes with its state
    assert found.steps[0].proposal == Proposal("up")


def test_a_long_message_is_cut() -> None:
    shown = with_error(Observation("s", key="k"), "a", "x" * 9999)
    assert (len(shown.text), shown.key) == (len("srejected:\na\nerror:\n...\n") + EVIDENCE, "")
