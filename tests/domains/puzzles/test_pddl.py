from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.domains.puzzles.blocksworld import BlocksWorld, pose, task
from surpass.domains.puzzles.blocksworld_pddl import (
    Node,
    parse,
    read_domain,
    read_problem,
    write,
    write_domain,
    write_problem,
)
from surpass.domains.puzzles.blocksworld_rules import SCHEMAS
from surpass.errors import DataError

THEIRS = """
; a file in the style of a planning competition: other names, other order, types, capitals
(DEFINE (DOMAIN blocks)
  (:requirements :strips :typing)
  (:types block)
  (:predicates (on ?a - block ?b - block) (ontable ?a - block) (clear ?a - block) (handempty) (holding ?a - block))
  (:action unstack
    :parameters (?top - block ?below - block)
    :precondition (and (handempty) (on ?top ?below) (clear ?top))
    :effect (and (not (clear ?top)) (holding ?top) (clear ?below) (not (on ?top ?below)) (not (handempty))))
  (:action stack
    :parameters (?top ?below - block)
    :precondition (and (clear ?below) (holding ?top))
    :effect (and (not (holding ?top)) (not (clear ?below)) (clear ?top) (handempty) (on ?top ?below)))
  (:action put-down :parameters (?B) :precondition (holding ?B)
    :effect (and (ontable ?B) (handempty) (clear ?b) (not (holding ?B))))
  (:action pick-up :parameters (?b) :precondition (and (handempty) (ontable ?b) (clear ?b))
    :effect (and (not (ontable ?b)) (not (clear ?b)) (holding ?b) (not (handempty)))))
"""
PROBLEM = """(define (problem Two-Towers) (:domain blocks)
  (:objects C A b - block)  ; in any order
  (:INIT (handempty) (ontable a) (on b a) (clear b)
         (ontable c) (clear c))
  (:goal (on a c)))"""


def test_problems_survive_writing_and_reading() -> None:
    for problem in BlocksWorld().problems("test"):
        asked = task(problem)
        text = write_problem(asked)
        assert read_problem(text) == asked
        again = pose(read_problem(text.upper().replace(" ", "\n ")))
        assert again.key == problem.key
        assert {**again.data, "solution": []} == {**problem.data, "solution": []}  # another plan of the same length


def test_a_problem_file_of_others() -> None:
    asked = read_problem(PROBLEM)
    assert asked.name == "two-towers"
    assert asked.blocks == ("a", "b", "c")
    assert asked.goal == {("on", "a", "c")}
    plan = ["(unstack b a)", "(put-down b)", "(pick-up a)", "(stack a c)"]
    assert len(pose(asked).data["solution"]) == 4
    domain, state = BlocksWorld(), BlocksWorld().start(pose(asked))
    for action in plan:
        state = domain.step(state, action)
    assert state.status == "accepted"


def test_the_domain_file() -> None:
    ours = tuple(sorted(SCHEMAS, key=lambda schema: schema.name))
    assert read_domain(write_domain()) == ours
    theirs = read_domain(THEIRS)
    assert [schema.name for schema in theirs] == [schema.name for schema in ours]
    assert theirs[3].variables == ("?top", "?below")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("(not (handempty))))\n  (:action stack", "))\n  (:action stack", "expected unstack that needs"),
        ("(and (clear ?below) (holding ?top))", "(holding ?top)", "expected stack that needs"),
        ("(clear ?b) (not (holding ?B))", "(not (holding ?B))", "expected put-down that needs"),
        (":parameters (?B)", ":parameters (?B ?B)", "different names of parameters"),
        (":parameters (?top ?below", ":parameters (?below ?top", "expected stack"),
        ("(:types block)", "(:functions (cost))", "expected :requirements"),
        (":precondition (holding ?B)", ":precondition (not (handempty))", "expected an atom"),
        (":precondition (holding ?B)", ":precondition (forall (?x) (clear ?x))", "expected an atom"),
        (":precondition (holding ?B)", "", "expected (:action NAME"),
        ("(not (holding ?B))", "(not)", "(not ATOM)"),
        ("action put-down", "action putdown", "expected the actions pick-up"),
        ("(:action put-down", "(:action stack", "expected the actions pick-up"),
        ("(DOMAIN blocks)", "(PROBLEM blocks)", "expected (define (domain NAME)"),
        ("(DEFINE", "(DEFINE (DEFINE", "is never closed"),
    ],
)
def test_a_domain_file_that_says_something_else_is_refused(old: str, new: str, reason: str) -> None:
    assert old in THEIRS
    with pytest.raises(DataError) as refused:
        read_domain(THEIRS.replace(old, new, 1))
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("(on b a) ", "", "[(clear a)] missing"),
        ("(on b a)", "(on b)", "expected an atom among on/2"),
        ("(on b a)", "(not (on b a))", "expected an atom such as"),
        ("(on b a)", "(= (cost) 3)", "expected an atom such as"),
        ("(on b a)", "()", "expected an atom such as"),
        ("(:goal (on a c))", "", "expected :goal, found none"),
        ("(:goal (on a c))", "(:goal)", "expected one goal"),
        ("(:goal (on a c))", "(:goal (on a c) (on c b))", "expected one goal"),
        ("(:goal (on a c))", "(:goal (or (on a c)))", "expected an atom such as"),
        ("(:goal (on a c))", "(:goal (and (on a d)))", "found 'd'"),
        ("(:goal", "(:metric minimize) (:goal", "expected :domain, :goal"),
        ("(:goal", "(:domain blocks) (:goal", "once each"),
        ("(:goal", "goal (:goal", "a bare word"),
        ("(:objects C A b - block)", "(:objects C A b a - block)", "different names of objects"),
        ("(:objects C A b - block)", "(:objects C A b -)", "types after '-'"),
        ("(:objects C A b - block)", "(:objects C A (b))", "expected names of objects"),
        ("(:objects C A b - block)", "(:objects C A b ?x)", "lower case letters"),
        ("(problem Two-Towers)", "(problem)", "expected (define (problem NAME)"),
        ("(define", "define (define", "expected one list"),
    ],
)
def test_a_problem_file_that_makes_no_sense_says_why(old: str, new: str, reason: str) -> None:
    assert old in PROBLEM
    with pytest.raises(DataError) as refused:
        read_problem(PROBLEM.replace(old, new, 1))
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "found 0 expressions"),
        ("; nothing", "found 0 expressions"),
        ("word", "expected one list"),
        ("(a) (b)", "found 2 expressions"),
        ("(a\n(b\n(c)", "line 2: expected ')'"),
        ("(a)\n)", "line 2: expected '(' before ')'"),
        ("\n" + "(" * 60, "line 2: expected at most 50 levels"),
    ],
)
def test_broken_parentheses_are_told_with_their_line(text: str, reason: str) -> None:
    for read in (parse, read_problem, read_domain):
        with pytest.raises(DataError) as refused:
            read(text)
        assert reason in str(refused.value)


WORDS = st.text("abc-:?", min_size=1, max_size=4)
TREES: st.SearchStrategy[Node] = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=12
)


@given(st.lists(TREES, max_size=4).map(tuple))
def test_what_is_written_is_read(tree: Node) -> None:
    assert parse(write(tree)) == tree
    assert parse(write(tree).replace("(", " ;(\n( ").upper()) == tree


PIECES = [
    *"()-;\na",
    "define",
    "(problem p)",
    "(domain d)",
    "(:objects a)",
    "(:init",
    "(:goal",
    "(:action stack",
    "and",
]
PIECES += [":init", ":goal", "not", "on", ":parameters", ":precondition", ":effect", "(ontable a)", "?x", "(and)"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join))
def test_text_of_any_kind_is_read_or_refused(text: str) -> None:
    """Nothing else is raised."""
    for read in (parse, read_problem, read_domain):
        for one in (text, f"(define (problem p) {text})", f"(define (domain d) {text})"):
            with suppress(DataError):
                read(one)
