from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.conformance import check_domain
from surpass.core import Problem, Status, Trajectory, replay
from surpass.domains.puzzles import game24_solutions
from surpass.domains.puzzles.enumeration import count_solutions, enumerate_solutions
from surpass.domains.puzzles.game24 import Game24, State, key, pose
from surpass.domains.puzzles.game24_rules import combine
from surpass.errors import DataError

CANONICAL, FREE = Game24(), Game24(canonical=False)
ALL = [problem for split in ("train", "valid", "test") for problem in CANONICAL.problems(split)]


def play(domain: Game24, numbers: list[int], *actions: str) -> State:
    state = domain.start(pose(numbers))
    for action in actions:
        state = domain.step(state, action)
    return state


@pytest.mark.parametrize("domain", [CANONICAL, FREE, Game24(history=False)])
def test_contract(domain: Game24) -> None:
    def wrong(problem: Problem) -> list[list[str]]:
        solution = problem.data["solution"]
        return [solution[::-1], solution[1:], [*solution[:-1], "24"], [*solution[:-1], "24 = 24"]]

    for split in ("train", "valid", "test"):
        check_domain(domain, split, wrong=wrong)


# --- the instances


@cache
def values(numbers: tuple[int, ...]) -> frozenset[Fraction]:
    """All that can be made of some numbers by splitting them into two parts: an algorithm that knows no plays."""
    if len(numbers) == 1:
        return frozenset([Fraction(numbers[0])])
    found: set[Fraction] = set()
    for chosen in range(1, 2 ** len(numbers) - 1):
        left = tuple(n for i, n in enumerate(numbers) if chosen >> i & 1)
        right = tuple(n for i, n in enumerate(numbers) if not chosen >> i & 1)
        for x in values(left):
            for y in values(right):
                found |= {x + y, x - y, x * y} | ({x / y} if y else set())
    return frozenset(found)


def test_the_solvable_hands_are_the_1362_that_another_algorithm_finds() -> None:
    hands = game24_solutions.solvable()
    assert len(hands) == len(set(hands)) == 1362

    def reaches(numbers: tuple[int, ...]) -> bool:
        """Whether 24 can be made: the last operation joins one number with three, or two with two."""
        for chosen in range(1, 8):  # the part without the last number
            left = values(tuple(n for i, n in enumerate(numbers) if chosen >> i & 1))
            right = values(tuple(n for i, n in enumerate(numbers) if not chosen >> i & 1))
            for x in left if len(left) < len(right) else right:
                wanted = {24 - x, 24 + x, x - 24} | ({24 / x, x / 24, 24 * x} if x else set())
                if not wanted.isdisjoint(right if len(left) < len(right) else left):
                    return True
        return False

    assert [hand for hand in combinations_with_replacement(range(1, 14), 4) if reaches(hand)] == hands


def test_the_splits_are_all_of_them_once() -> None:
    parts = [list(CANONICAL.problems(split)) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [1096, 126, 140]
    assert sorted(tuple(problem.data["numbers"]) for problem in ALL) == game24_solutions.solvable()
    assert len({problem.key for problem in ALL}) == 1362


def test_every_known_solution_is_accepted() -> None:
    for problem in ALL:
        for domain in (CANONICAL, FREE):
            assert replay(domain, problem, problem.data["solution"]).solved


def test_the_stated_chance_is_that_of_uniform_play() -> None:
    def by_play(state: State) -> Fraction:
        if state.status is not None:
            return Fraction(state.status is Status.ACCEPTED)
        legal = CANONICAL.observe(state).legal
        assert legal
        return sum((by_play(CANONICAL.step(state, action)) for action in legal), Fraction()) / len(legal)

    for problem in [*random.Random(0).sample(ALL, 4), pose([0, 0, 3, 8]), pose([5, 5, 5, 5])]:
        assert float(by_play(CANONICAL.start(problem))) == pytest.approx(problem.data["chance"], rel=1e-12)
    assert pose([1, 1, 1, 1]).data == {"numbers": [1, 1, 1, 1], "chance": 0.0}


def test_the_short_cut_for_two_numbers_is_the_share_of_their_moves() -> None:
    numbers = sorted({(n, d) for n in (0, 1, 3, 4, 8, 12, 24, 30, 48, 576) for d in (1,)} | {(8, 3), (1, 3), (1, 24)})
    for x in numbers:
        for y in numbers:
            results = [move.result for move in combine(x, y)]
            assert game24_solutions.chance((x, y)) == results.count((24, 1)) / len(results), (x, y)


# --- the rules


def test_a_solution_with_fractions() -> None:
    state = play(CANONICAL, [3, 3, 8, 8], "8 / 3 = 8/3", "3 - 8/3 = 1/3")
    assert CANONICAL.observe(state).text == ("make 24 of: 3 3 8 8\nmoves:\n8 / 3 = 8/3\n3 - 8/3 = 1/3\nleft: 1/3 8\n")
    assert CANONICAL.observe(state).key == Game24(history=False).observe(state).text == "left: 1/3 8\n"
    assert CANONICAL.step(state, "8 / 1/3 = 24").status is Status.ACCEPTED


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("13 - 9 = 5", "expected '13 - 9 = 4', found '13 - 9 = 5'"),
        ("13 - 8 = 5", "expected two of the numbers 4 9 10 13, found 13 and 8"),
        ("13 - 13 = 0", "expected two of the numbers 4 9 10 13, found 13 and 13"),
        ("13 ^ 9 = 4", "expected 'a op b = c'"),
        ("13 - 9", "expected 'a op b = c'"),
        ("13-9 = 4", "expected 'a op b = c'"),
        ("13 - 9 = 4/0", "no denominator of 0"),
        ("9 / 0 = 9", "a divisor other than 0"),
        ("9999999999999999 - 9 = 4", "expected 'a op b = c'"),
        ("１３ - 9 = 4", "expected 'a op b = c'"),  # digits, but not ours
        ("13 - 9 = 4 (left: 4 4 9)", "expected '(left: 4 4 10)'"),
        ("__import__('os')", "expected 'a op b = c'"),
    ],
)
def test_a_wrong_move_is_rejected_with_its_reason(action: str, reason: str) -> None:
    for domain in (CANONICAL, FREE):
        state = play(domain, [4, 9, 10, 13], action)
        assert state.status is Status.REJECTED
        assert reason in state.refusal
        verdict = domain.verify(state)
        assert verdict is not None
        assert verdict.returns == (0.0,)
        assert domain.step(state, "13 - 9 = 4") == state


@pytest.mark.parametrize(
    "action",
    ["9 + 13 = 22", "9 - 13 = -4", " 13 - 9  =4 ", "13 - 9 = 4 (left: 10 4 4)", "13 - 9 = 8/2", "4 / 10 = 2/5\n"],
)
def test_free_spelling_is_for_the_free_mode_alone(action: str) -> None:
    assert play(FREE, [4, 9, 10, 13], action).status is None
    refused = play(CANONICAL, [4, 9, 10, 13], action)
    assert refused.refusal.startswith("canonical: expected ")
    told = refused.refusal.split("'")[1]
    assert told in (CANONICAL.observe(play(CANONICAL, [4, 9, 10, 13])).legal or ())


def test_other_ends() -> None:
    assert (
        "expected 24, made 36" in play(CANONICAL, [4, 9, 10, 13], "13 + 10 = 23", "23 + 9 = 32", "32 + 4 = 36").refusal
    )
    done = play(FREE, [24, 1], "24 * 1 = 24", "24 * 1 = 24")
    assert done.refusal == "nothing is left to do"
    assert play(FREE, [1, 23], "-1 + 24 = 23").status is Status.REJECTED
    assert FREE.observe(play(FREE, [1, 23])).legal is None


@pytest.mark.parametrize("numbers", [None, "4 9", [4], [1] * 6, [4, -1], [4, 101], [4, 2.5], [4, True], [4, "9"]])
def test_data_that_poses_nothing(numbers: object) -> None:
    with pytest.raises(DataError, match="2 to 5 whole numbers from 0 to 100"):
        CANONICAL.start(Problem("p", data={"numbers": numbers}))


@given(st.integers(0, 10**6))
def test_legal_is_exactly_what_is_accepted(seed: int) -> None:
    rng = random.Random(seed)
    state = CANONICAL.start(rng.choice(ALL))
    while state.status is None:
        legal = CANONICAL.observe(state).legal
        assert legal
        left = [Fraction(*number) for number in state.left]
        x, y = rng.sample(left, 2)
        found = {"+": x + y, "-": x - y, "*": x * y} | ({"/": x / y} if y else {})
        for op, result in found.items():
            text = f"{x} {op} {y} = {result}"
            assert (text in legal) == (op == "/" or (op == "-" and x >= y) or (op in "+*" and x >= y)), text
            assert (CANONICAL.step(state, text).refusal.startswith("canonical")) == (text not in legal)
        for action in legal:
            after = CANONICAL.step(state, action)
            assert not after.refusal or (len(after.left) == 1 and after.refusal.startswith("expected 24, made"))
        state = CANONICAL.step(state, rng.choice(legal))


PIECES = st.sampled_from([*"0123456789", " ", "  ", "+", "-", "*", "/", "=", "(left: ", ")", "13", "9", "4", "\n", "٣"])


@given(st.lists(st.text(max_size=20) | st.lists(PIECES, max_size=14).map("".join), max_size=4))
def test_text_of_any_kind_gives_a_state(actions: list[str]) -> None:
    for domain in (CANONICAL, FREE):
        state = play(domain, [4, 9, 10, 13], *actions)
        assert domain.verify(state) is None or state.refusal or state.left == ((24, 1),)
        domain.observe(state)


@given(st.sampled_from(ALL), st.integers(0, 2), st.integers(0, 10**6))
def test_mutants_of_a_solution_are_rejected(problem: Problem, place: int, seed: int) -> None:
    """One number or the operator of one move is replaced: the equation is wrong, or its numbers are not there."""
    rng = random.Random(seed)
    solution = list(problem.data["solution"])
    words = solution[place].split()
    slot = rng.randrange(5)
    if slot == 3:
        return
    words[slot] = rng.choice([one for one in ("+-*/" if slot == 1 else map(str, range(40))) if one != words[slot]])
    solution[place] = " ".join(words)
    x, op, y, _, result = words
    holds = operate(op, Fraction(x), Fraction(y)) == Fraction(result)
    mutant = replay(FREE, problem, solution)
    if not holds:
        assert mutant.verdict.status is Status.REJECTED
        assert len(mutant.actions) == place + 1
    elif mutant.solved:  # such as 2 * 2 = 4 for 2 + 2 = 4
        assert evaluate(key(mutant)) == 24


# --- all solutions


def evaluate(expression: str) -> Fraction:
    numbers = "".join(f"Fraction({part})" if part.isdigit() else part for part in _split(expression))
    return Fraction(eval(numbers, {"Fraction": Fraction}))


def _split(expression: str) -> list[str]:
    return "".join(char if char.isdigit() else f" {char} " for char in expression).split()


def test_all_solutions_of_some_hands_by_hand() -> None:
    def solutions(*numbers: int) -> set[str]:
        problem = pose(list(numbers))
        return {key(replay(CANONICAL, problem, actions)) for actions in enumerate_solutions(CANONICAL, problem, 3)}

    assert solutions(3, 3, 8, 8) == {"8 / (3 - 8 / 3)"}
    assert solutions(1, 5, 5, 5) == {"5 * (5 - 1 / 5)"}
    assert solutions(4, 9, 10, 13) == {"(10 - 4) * (13 - 9)", "(10 + 9 - 13) * 4"}
    assert solutions(1, 1, 1, 1) == set()


def test_solutions_are_expressions_of_the_given_numbers_that_make_24() -> None:
    for problem in random.Random(1).sample(ALL, 8):
        actions = enumerate_solutions(CANONICAL, problem, 3)
        assert len(set(actions)) == len(actions) == sum(count_solutions(CANONICAL, problem, 3))
        assert tuple(problem.data["solution"]) in actions
        for one in {key(replay(CANONICAL, problem, those)) for those in actions}:
            assert evaluate(one) == 24
            assert sorted(int(part) for part in _split(one) if part.isdigit()) == problem.data["numbers"]


PRIME = 2**61 - 1
POINTS = [[random.Random(seed).randrange(1, PRIME) for _ in range(4)] for seed in range(3)]
Tree = int | tuple[str, "Tree", "Tree"]  # the place of a given number, or an operation


def trees(leaves: tuple[int, ...]) -> Iterator[Tree]:
    """Every expression over some leaves, in every order and shape."""
    if len(leaves) == 1:
        yield leaves[0]
    for cut in range(1, len(leaves)):
        for left in trees(leaves[:cut]):
            for right in trees(leaves[cut:]):
                for op in "+-*/":
                    yield op, left, right


def value(tree: Tree, numbers: list[int]) -> Fraction | None:
    if isinstance(tree, int):
        return Fraction(numbers[tree])
    op, x, y = tree[0], value(tree[1], numbers), value(tree[2], numbers)
    return None if x is None or y is None else operate(op, x, y)


def operate(op: str, x: Fraction, y: Fraction) -> Fraction | None:
    if op == "/":
        return x / y if y else None
    return x + y if op == "+" else x - y if op == "-" else x * y


def fingerprint(tree: Tree, point: list[int]) -> int:
    """The value at random places of a finite field: equal (almost surely) for equal rational functions alone."""
    if isinstance(tree, int):
        return point[tree]
    op, x, y = tree[0], fingerprint(tree[1], point), fingerprint(tree[2], point)
    return (x + y if op == "+" else x - y if op == "-" else x * y if op == "*" else x * pow(y, -1, PRIME)) % PRIME


def moves(tree: Tree, numbers: list[int]) -> list[str]:
    if isinstance(tree, int):
        return []
    op, x, y = tree
    last = f"{value(x, numbers)} {op} {value(y, numbers)} = {value(tree, numbers)}"
    return [*moves(x, numbers), *moves(y, numbers), last]


@pytest.mark.parametrize(
    "numbers", [[4, 9, 10, 13], [2, 3, 5, 12], [1, 2, 6, 10], [1, 3, 4, 6], [2, 4, 7, 8], [2, 3, 9, 16]]
)
def test_normal_forms_are_the_rational_functions_of_the_given_numbers(numbers: list[int]) -> None:
    """Each number occurs once, so equal functions are equal up to the laws of the normal form: a second opinion.

    Plays that show two equal numbers are read in one way of several and left out of the bijection.
    """
    problem, keys = pose(numbers), defaultdict[tuple[int, ...], set[str]](set)
    for order in permutations(range(4)):
        for tree in trees(order):
            if value(tree, numbers) != 24:
                continue
            played = replay(FREE, problem, moves(tree, numbers))
            assert played.solved
            if not shows_equals(played):
                keys[tuple(fingerprint(tree, point) for point in POINTS)].add(key(played))
    assert keys
    assert all(len(forms) == 1 for forms in keys.values())
    forms = [form for (form,) in keys.values()]
    assert len(set(forms)) == len(forms)
    canonical = [replay(CANONICAL, problem, actions) for actions in enumerate_solutions(CANONICAL, problem, 3)]
    assert set(forms) <= {key(one) for one in canonical}
    assert {key(one) for one in canonical if not shows_equals(one)} <= set(forms)


def shows_equals(played: Trajectory) -> bool:
    tables = [step.observation.key.removeprefix("left: ").split() for step in played.steps]
    return any(len(set(table)) < len(table) for table in tables)


def named_and_possible(numbers: list[int]) -> tuple[set[str], set[str]]:
    """The expressions that canonical plays name, and those of all expressions' plays."""
    problem = pose(numbers)
    named = {key(replay(CANONICAL, problem, actions)) for actions in enumerate_solutions(CANONICAL, problem, 3)}
    makes = [tree for order in permutations(range(4)) for tree in trees(order) if value(tree, numbers) == 24]
    return named, {key(replay(FREE, problem, moves(tree, numbers))) for tree in makes}


UNNAMED = {
    (2, 4, 6, 10): "(10 - 4) * (6 - 2)",
    (3, 5, 8, 11): "(11 - 3) * (8 - 5)",
    (3, 8, 11, 11): "(11 - 3) * (11 - 8)",
    (4, 6, 10, 10): "(10 - 4) * (10 - 6)",
}


def test_canonical_plays_name_all_expressions_but_few() -> None:
    for hand, missing in UNNAMED.items():
        named, possible = named_and_possible(list(hand))
        assert possible - named == {missing}
    for problem in random.Random(3).sample(ALL, 8):
        named, possible = named_and_possible(problem.data["numbers"])
        assert named == possible or tuple(problem.data["numbers"]) in UNNAMED


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_how_many_expressions_canonical_plays_name() -> None:
    both = [named_and_possible(problem.data["numbers"]) for problem in ALL]
    assert all(named <= possible for named, possible in both)
    assert [sum(map(len, part)) for part in zip(*both, strict=True)] == [4066, 4070]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (["13 - 9 = 4", "10 - 4 = 6", "4 * 6 = 24"], ["10 + 9 = 19", "19 - 13 = 6", "6 * 4 = 24"], True),
        (["9 - 13 = -4", "4 - 10 = -6", "-4 * -6 = 24"], ["10 - 4 = 6", "13 - 9 = 4", "6 * 4 = 24"], True),
        (["10 - 13 = -3", "9 + -3 = 6", "4 * 6 = 24"], ["10 + 9 = 19", "19 - 13 = 6", "6 * 4 = 24"], True),
        (["13 - 10 = 3", "9 - 3 = 6", "6 * 4 = 24"], ["10 + 9 = 19", "19 - 13 = 6", "6 * 4 = 24"], True),
        (["13 - 10 = 3", "9 - 3 = 6", "6 * 4 = 24"], ["10 - 4 = 6", "13 - 9 = 4", "6 * 4 = 24"], False),
    ],
)
def test_which_plays_are_the_same_solution(first: list[str], second: list[str], same: bool) -> None:
    problem = pose([4, 9, 10, 13])
    one, other = (replay(FREE, problem, actions) for actions in (first, second))
    assert one.solved
    assert other.solved
    assert (key(one) == key(other)) == same


def test_of_equal_numbers_the_newest_is_meant() -> None:
    problem = pose([1, 3, 4, 7])
    newest = replay(CANONICAL, problem, ["4 - 1 = 3", "7 * 3 = 21", "21 + 3 = 24"])
    assert key(newest) == "7 * (4 - 1) + 3"
    assert key(replay(CANONICAL, problem, ["7 * 3 = 21", "4 - 1 = 3", "21 + 3 = 24"])) == "7 * 3 + 4 - 1"


def test_a_difference_of_equals_has_one_form() -> None:
    problem = pose([2, 2, 4, 24])
    plays = [["2 * 2 = 4", "4 - 4 = 0", "24 + 0 = 24"], ["2 + 2 = 4", "4 - 4 = 0", "24 - 0 = 24"]]
    assert [key(replay(CANONICAL, problem, one)) for one in plays] == ["24 + 2 * 2 - 4", "24 + 4 - 2 - 2"]


def test_only_accepted_plays_are_solutions() -> None:
    problem = pose([4, 9, 10, 13])
    for actions in (["13 - 9 = 4"], ["13 + 9 = 22", "22 + 10 = 32", "32 + 4 = 36"]):
        with pytest.raises(DataError, match="expected 24 at the end"):
            key(replay(CANONICAL, problem, actions))
    with pytest.raises(DataError, match="only accepted plays"):
        key(replay(CANONICAL, problem, ["13 - 9 = 5"]))
