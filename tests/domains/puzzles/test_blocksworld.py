from __future__ import annotations

import heapq
import random
from itertools import count, pairwise
from math import comb, factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.conformance import check_domain
from surpass.core import Problem, Status, replay
from surpass.domains.puzzles.blocksworld import BlocksWorld, State, key, pose, task
from surpass.domains.puzzles.blocksworld_generate import NAMES, Recipe, mark, shapes, towers
from surpass.domains.puzzles.blocksworld_plans import explore, shortest
from surpass.domains.puzzles.blocksworld_rules import Task, World, apply, atom, legal, show
from surpass.domains.puzzles.enumeration import count_solutions, enumerate_solutions
from surpass.domains.puzzles.splits import SPLITS
from surpass.errors import ConfigError, DataError

RECIPE = Recipe(train=40, held_out=10)
WORLD = BlocksWorld(recipe=RECIPE)
ALL = [problem for split in SPLITS for problem in WORLD.problems(split)]


# --- a second opinion: towers as lists, without atoms or schemas

Piles = tuple[tuple[tuple[str, ...], ...], str]  # towers from the bottom upwards, sorted, and what the hand holds


def piles(world: World) -> Piles:
    above = {lower: upper for name, *rest in world if name == "on" for upper, lower in [rest]}
    found = []
    for bottom in (rest[0] for name, *rest in world if name == "ontable"):
        tower = [bottom]
        while tower[-1] in above:
            tower.append(above[tower[-1]])
        found.append(tuple(tower))
    return tuple(sorted(found)), next((rest[0] for name, *rest in world if name == "holding"), "")


def successors(state: Piles) -> dict[str, Piles]:
    standing, hand = state
    found: dict[str, Piles] = {}
    for i, tower in enumerate(standing):
        others, top = standing[:i] + standing[i + 1 :], tower[-1]
        if hand:
            found[f"(stack {hand} {top})"] = tuple(sorted((*others, (*tower, hand)))), ""
        elif len(tower) == 1:
            found[f"(pick-up {top})"] = others, top
        else:
            found[f"(unstack {top} {tower[-2]})"] = tuple(sorted((*others, tower[:-1]))), top
    if hand:
        found[f"(put-down {hand})"] = tuple(sorted((*standing, (hand,)))), ""
    return found


def holds(goal: World, state: Piles) -> bool:
    return all(_true(one, state) for one in goal)


def _true(one: tuple[str, ...], state: Piles) -> bool:
    standing, hand = state
    match one:
        case ("on", upper, lower):
            return any(pair == (lower, upper) for tower in standing for pair in pairwise(tower))
        case ("ontable", block):
            return any(tower[0] == block for tower in standing)
        case ("clear", block):
            return any(tower[-1] == block for tower in standing)
        case ("holding", block):
            return hand == block
    return not hand


def a_star(asked: Task) -> int | None:
    """The length of a shortest plan, by A* with an admissible estimate: one action for each unmet goal on a block."""

    def estimate(state: Piles) -> int:
        return sum(not _true(one, state) for one in asked.goal if one[0] in ("on", "ontable"))

    start, tie = piles(asked.init), count()
    best, queue = {start: 0}, [(estimate(start), next(tie), start)]
    while queue:
        _, _, state = heapq.heappop(queue)
        if holds(asked.goal, state):
            return best[state]
        for after in successors(state).values():
            if best[state] + 1 < best.get(after, 10**9):
                best[after] = best[state] + 1
                heapq.heappush(queue, (best[after] + estimate(after), next(tie), after))
    return None


def count_plans(asked: Task, length: int) -> list[int]:
    """The number of plans of each length, layer by layer; a plan ends where the goal first holds."""
    layer, counts = {piles(asked.init): 1}, []
    for _ in range(length + 1):
        counts.append(sum(ways for state, ways in layer.items() if holds(asked.goal, state)))
        following: dict[Piles, int] = {}
        for state, ways in layer.items():
            for after in successors(state).values() if not holds(asked.goal, state) else ():
                following[after] = following.get(after, 0) + ways
        layer = following
    return counts


# --- the domain


@pytest.mark.parametrize(
    "domain",
    [WORLD, BlocksWorld(canonical=False, recipe=RECIPE), BlocksWorld(history=False, slack=None, recipe=RECIPE)],
)
def test_contract(domain: BlocksWorld) -> None:
    def wrong(problem: Problem) -> list[list[str]]:
        solution = problem.data["solution"]
        return [solution[1:], solution[:-1], [*solution[:-1], "(stack a a)"], ["(put-down a)"], ["(stack a b)"]]

    for split in SPLITS:
        check_domain(domain, split, wrong=wrong)


def test_what_is_seen() -> None:
    problem = pose(Task(("a", "b"), towers((2,), "ab"), frozenset([("on", "b", "a")]), "swap"))
    assert problem.data["solution"] == ["(unstack a b)", "(put-down a)", "(pick-up b)", "(stack b a)"]
    state = WORLD.step(WORLD.start(problem), "(unstack a b)")
    seen = WORLD.observe(state)
    assert seen.key == "goal: (on b a)\nstate: (clear b) (holding a) (ontable b)\nactions left: 5\n"
    assert seen.text == seen.key.replace("state:", "actions:\n(unstack a b)\nstate:")
    assert seen.legal == ("(put-down a)", "(stack a b)")
    assert BlocksWorld(history=False).observe(state).text == seen.key
    assert "left" not in BlocksWorld(slack=None).observe(BlocksWorld(slack=None).start(problem)).key


@given(st.integers(0, 10**6))
def test_the_schemas_do_what_towers_do(seed: int) -> None:
    rng = random.Random(seed)
    blocks = tuple(NAMES[: rng.randint(1, 6)])
    world = towers(rng.choice(shapes(len(blocks))), "".join(rng.sample(blocks, len(blocks))))
    for _ in range(12):
        expected, actions = successors(piles(world)), legal(world, blocks)
        assert [action.text for action in actions] == sorted(expected)
        assert {action.text: piles(apply(world, action)) for action in actions} == expected
        world = apply(world, rng.choice(actions))


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_the_number_of_worlds(blocks: int) -> None:
    """Sets of n ordered towers are counted by the Lah numbers; one block may be in the hand instead."""

    def standing(n: int) -> int:
        return sum(comb(n - 1, k - 1) * factorial(n) // factorial(k) for k in range(1, n + 1)) if n else 1

    reached = explore(towers((blocks,), NAMES), tuple(NAMES[:blocks]))
    assert len(reached) == standing(blocks) + blocks * standing(blocks - 1)


def test_shortest_plans_are_as_short_as_those_of_another_planner() -> None:
    for problem in ALL:
        asked = task(problem)
        assert problem.data["length"] == len(problem.data["solution"]) == a_star(asked)
        assert len(shortest(asked) or []) == problem.data["length"]


def test_all_plans_are_as_many_as_another_count_finds() -> None:
    optimal = BlocksWorld(slack=0)
    for problem in random.Random(0).sample(ALL, 15):
        asked, length = task(problem), problem.data["length"]
        counted = count_solutions(WORLD, problem, length + 2)
        assert list(counted) == count_plans(asked, length + 2)
        assert not any(counted[:length])
        plans = enumerate_solutions(optimal, problem, length)
        assert len(set(plans)) == len(plans) == counted[length]
        assert tuple(problem.data["solution"]) in plans
        assert all(replay(optimal, problem, plan).solved for plan in plans)


def test_problems_are_of_the_kind_that_was_asked_for() -> None:
    recipe = Recipe(blocks=(3, 4), length=(4, 8), partial=1.0, train=30, held_out=8, seed=3)
    problems = {split: list(BlocksWorld(recipe=recipe).problems(split)) for split in SPLITS}
    assert [len(part) for part in problems.values()] == [30, 8, 8]
    for problem in (one for part in problems.values() for one in part):
        assert 4 <= problem.data["length"] <= 8
        assert len(problem.data["blocks"]) in (3, 4)
        assert all(text.startswith("(on ") for text in problem.data["goal"])
    whole = Recipe(partial=0.0, train=10, held_out=2)
    for problem in BlocksWorld(recipe=whole).problems("train"):
        assert len(problem.data["goal"]) == len(problem.data["blocks"])
    everything = {problem.data["length"] for problem in BlocksWorld().problems("train")}
    assert everything == {2, 4, 6, 8, 10, 12}


def test_splits_share_no_task_up_to_names_under_any_recipe() -> None:
    marks: dict[str, set[str]] = {split: set() for split in SPLITS}
    for recipe in (RECIPE, Recipe(train=60, held_out=10, seed=1), Recipe(blocks=(3, 4), train=50, held_out=5, seed=2)):
        for split in SPLITS:
            found = [mark(task(problem)) for problem in BlocksWorld(recipe=recipe).problems(split)]
            assert len(set(found)) == len(found)
            marks[split] |= set(found)
    assert sum(map(len, marks.values())) == len(set.union(*marks.values()))


@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_names_do_not_change_the_mark(problem: Problem, seed: int) -> None:
    asked, rng = task(problem), random.Random(seed)
    mixed = dict(zip(asked.blocks, rng.sample(NAMES, len(asked.blocks)), strict=True))

    def rename(atoms: World) -> World:
        return frozenset((name, *(mixed[block] for block in blocks)) for name, *blocks in atoms)

    renamed = Task(tuple(sorted(mixed.values())), rename(asked.init), rename(asked.goal))
    assert mark(renamed) == mark(asked)
    turned = Task(asked.blocks, asked.init, frozenset([("on", *asked.blocks[:2])]) ^ asked.goal)
    assert mark(turned) != mark(asked)


def test_recipes_that_cannot_be_met() -> None:
    for recipe in (
        Recipe(blocks=(1, 3)),
        Recipe(blocks=(3, 7)),
        Recipe(length=(0, 4)),
        Recipe(length=(8, 4)),
        Recipe(train=0),
    ):
        with pytest.raises(ConfigError, match="expected"):
            list(BlocksWorld(recipe=recipe).problems("train"))
    for recipe in (Recipe(length=(3, 3), train=1, held_out=1), Recipe(blocks=(2, 2), train=40, held_out=5)):
        with pytest.raises(ConfigError, match="widen Recipe"):
            list(BlocksWorld(recipe=recipe).problems("train"))


# --- plans that are none


@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_mutants_of_a_plan_are_judged_as_towers_judge_them(problem: Problem, seed: int) -> None:
    rng, asked = random.Random(seed), task(problem)
    plan, blocks = list(problem.data["solution"]), asked.blocks
    place = rng.randrange(len(plan))
    match rng.randrange(4):
        case 0:
            del plan[place]
        case 1:
            plan.insert(place, rng.choice(plan))
        case 2:
            name, *chosen = atom(plan[place])
            chosen[rng.randrange(len(chosen))] = rng.choice(blocks)
            plan[place] = show((name, *chosen))
        case _:
            other = rng.randrange(len(plan))
            plan[place], plan[other] = plan[other], plan[place]
    state, verdict = piles(asked.init), None
    for played, action in enumerate(plan):
        following = successors(state)
        if action not in following or played >= problem.data["length"] + 2:
            verdict = Status.REJECTED
            break
        state = following[action]
        if holds(asked.goal, state):
            verdict = Status.ACCEPTED
            break
    found = replay(WORLD, problem, plan)
    assert found.verdict.status is (verdict or Status.REJECTED)
    assert found.solved == (verdict is Status.ACCEPTED)


TOWER = pose(Task(("a", "b", "c"), towers((3,), "abc"), frozenset([("on", "b", "c"), ("ontable", "a")])))


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("(unstack b c)", "needs (clear b)"),
        ("(pick-up a)", "needs (ontable a)"),
        ("(put-down a)", "needs (holding a)"),
        ("(stack a a)", "expected one of (pick-up ?x)"),
        ("(unstack a z)", "different blocks among a b c, found '(unstack a z)'"),
        ("unstack a b", "expected one of"),
        ("(UNSTACK A B)", "expected one of"),
        ("(unstack a b) (put-down a)", "expected one of"),
    ],
)
def test_a_wrong_action_is_rejected_with_its_reason(action: str, reason: str) -> None:
    state = WORLD.step(WORLD.start(TOWER), action)
    assert state.status is Status.REJECTED
    assert reason in state.refusal
    assert WORLD.step(state, "(unstack a b)") == state


def test_the_free_mode_does_not_mind_case_spaces_and_parentheses() -> None:
    free = BlocksWorld(canonical=False)
    plan = ["unstack  A b", " ( Put-Down a )\n"]
    assert replay(free, TOWER, plan).solved
    assert key(replay(free, TOWER, plan)) == ("(unstack a b)", "(put-down a)") == tuple(TOWER.data["solution"])
    assert not replay(WORLD, TOWER, plan).solved
    assert free.observe(free.start(TOWER)).legal is None
    for bad in ("(unstack a b", "(unstack (a) b)", "unstack a b c", "(())"):
        assert replay(free, TOWER, [bad]).verdict.status is Status.REJECTED


def test_a_play_ends_where_the_goal_holds_or_actions_are_spent() -> None:
    assert TOWER.data["length"] == 2
    there_and_back = ["(unstack a b)", "(stack a b)"] * 2
    for slack, actions in ((0, 2), (1, 3), (2, 4)):
        played = replay(BlocksWorld(slack=slack), TOWER, there_and_back)
        assert len(played.actions) == actions
        assert played.info["end"] == "verdict"
        assert "no action is left" in played.verdict.evidence
        assert played.verdict.returns == (0.0,)
    graded = replay(BlocksWorld(partial=0.1, slack=0), TOWER, there_and_back).verdict
    assert graded.status is Status.REJECTED
    assert graded.returns == (0.05,)  # b is on c
    assert replay(BlocksWorld(partial=0.1), TOWER, ["(pick-up c)"]).verdict.returns == (0.0,)
    assert replay(BlocksWorld(slack=None), TOWER, there_and_back * 50).info["end"] == "depth"
    late = BlocksWorld().step(play(BlocksWorld(), "(unstack a b)", "(put-down a)"), "(pick-up a)")
    assert late.refusal == "nothing is left to do"


def play(domain: BlocksWorld, *actions: str) -> State:
    state = domain.start(TOWER)
    for action in actions:
        state = domain.step(state, action)
    return state


def test_a_goal_may_hold_at_once_or_while_something_is_held() -> None:
    init = towers((2,), "ab")
    at_once = pose(Task(("a", "b"), init, frozenset([("on", "a", "b")])))
    assert at_once.data["solution"] == []
    assert WORLD.start(at_once).status is Status.ACCEPTED
    assert WORLD.observe(WORLD.start(at_once)).legal == ()
    held = pose(Task(("a", "b"), init, frozenset([("clear", "b")])))
    assert held.data["solution"] == ["(unstack a b)"]
    assert replay(WORLD, held, held.data["solution"]).solved
    nothing = pose(Task(("a",), towers((1,), "a"), frozenset()))
    assert WORLD.start(nothing).status is Status.ACCEPTED


@given(st.lists(st.text(max_size=20) | st.lists(st.sampled_from("()ab- "), max_size=9).map("".join), max_size=3))
def test_text_of_any_kind_gives_a_state(actions: list[str]) -> None:
    for domain in (WORLD, BlocksWorld(canonical=False)):
        state = play(domain, *actions)
        assert domain.verify(state) is None or state.refusal or state.status is Status.ACCEPTED
        domain.observe(state)


# --- tasks that are none


def a_task(init: str, goal: str = "(on a b)", blocks: str = "a b") -> Task:
    before, after = (frozenset(map(atom, one.split(")")[:-1])) for one in (init, goal))
    return Task(tuple(blocks.split()), before, after)


FINE = "(on a b) (ontable b) (clear a) (handempty)"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (a_task(FINE, blocks="a B"), "lower case"),
        (a_task(FINE, blocks="b a"), "in order"),
        (a_task("(handempty)", blocks=""), "one or more"),
        (a_task(FINE, "(above a b)"), "expected an atom among"),
        (a_task(FINE, "(on a)"), "expected an atom among"),
        (a_task(FINE, "(on a c)"), "found 'c' in (on a c)"),
        (a_task(FINE, blocks="a b c"), "a b placed"),
        (a_task("(on a b) (ontable b) (clear a)"), "(handempty)] missing"),
        (a_task(FINE + "(clear b)"), "(clear b)] too much"),
        (a_task(FINE + "(ontable a)"), "too much"),
        (a_task("(on a b) (on b a) (handempty)"), "every block once"),
        (a_task("(ontable a) (on a a) (ontable b) (clear b) (handempty)"), "every block once"),
        (a_task("(holding a) (holding b)"), "the only one in the hand"),
        (a_task("(holding a) (ontable b) (clear b) (handempty)"), "(handempty)] too much"),
        (a_task("(on a b) (on c b) (ontable b) (clear a) (clear c) (handempty)", blocks="a b c"), "every block once"),
        (a_task(FINE, "(on a a)"), "a goal that can be reached"),
        (a_task(FINE, "(on a b) (on b a)"), "a goal that can be reached"),
    ],
)
def test_a_task_that_makes_no_sense_says_why(bad: Task, reason: str) -> None:
    with pytest.raises(DataError) as refused:
        pose(bad)
    assert reason in str(refused.value)


def test_data_that_poses_nothing() -> None:
    for data in ({}, {"blocks": ["a"], "init": "(ontable a)", "goal": []}, {"blocks": [1], "init": [], "goal": []}):
        with pytest.raises(DataError, match="expected"):
            WORLD.start(Problem("p", data=data))


@pytest.mark.parametrize("bad", [{"slack": -1}, {"partial": 1.0}, {"partial": -0.1}, {"partial": float("nan")}])
def test_a_domain_that_cannot_be(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected slack"):
        BlocksWorld(**bad)  # type: ignore[arg-type]


def test_a_planner_that_meets_too_much_says_so() -> None:
    big = Task(tuple(NAMES), towers((8,), NAMES), frozenset([("on", "h", "a")]))
    with pytest.raises(ConfigError, match="at most 1000 worlds of 8 blocks"):
        pose(big, limit=1000)
