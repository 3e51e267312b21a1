from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.conformance import check_search
from surpass.core import (
    Apply,
    BudgetSpent,
    Lost,
    Observation,
    Proposal,
    Propose,
    Score,
    Scored,
    Status,
    Step,
    Trajectory,
    Verdict,
)
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.models.scripted import Automaton, Scripted, Uniform
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.rollouts.trace import Event
from surpass.search.evaluate import Opinion, by_rollouts, by_score
from surpass.search.mcts import Noise, mcts, perturb
from surpass.search.tree import Edge, Spot, back_up, reaches, refresh, select
from tests.automata import diamond, forest
from tests.games import GAME, Game, nim
from tests.search.test_best_first import graph
from tests.search.test_sampling import PROBLEM, at, talk

PLAYER = Uniform(seats=2)


def play(game: Game, **options: Any) -> Trajectory:
    search = partial(mcts, **{"evaluate": by_score, **options})
    (found,) = run(search, [GAME], game, PLAYER)
    return found


def tree_game(seed: int, *, seats: int = 2, depth: int = 3) -> Game:
    """A random game; its returns are distinct for each seat, so that its value is one."""
    chance = random.Random(seed)
    moves: dict[str, dict[str, str]] = {}
    returns: dict[str, tuple[float, ...]] = {}
    turn: dict[str, int] = {}
    nodes = [("root", 0)]
    while nodes:
        node, level = nodes.pop()
        if level and (level == depth or chance.random() < 0.2):
            returns[node] = tuple(round(chance.random(), 6) for _ in range(seats))
            continue
        turn[node] = chance.randrange(seats)
        moves[node] = {f"m{index}": f"{node}.{index}" for index in range(chance.randint(1, 3))}
        nodes += [(child, level + 1) for child in moves[node].values()]
    return Game(moves, turn, returns)


@pytest.mark.parametrize("sticks", range(1, 16))
@pytest.mark.parametrize("merges", [False, True])
def test_it_plays_nim_as_it_should(sticks: int, merges: bool) -> None:
    game = nim(sticks, merges=merges)
    found = play(game, simulations=3000)
    assert found.info["settled"]
    assert tuple(found.info["value"]) == game.value() == ((0.0, 1.0) if sticks % 4 == 0 else (1.0, 0.0))
    assert found.verdict.returns == game.value()
    if sticks % 4:
        assert found.actions[0] == f"take {sticks % 4}"


def test_merging_makes_a_game_small() -> None:
    merged, apart = (play(nim(14, merges=merges), simulations=3000).info["steps"] for merges in (True, False))
    assert merged <= 2 * 14 * 3  # positions by edges
    assert merged < apart / 4


@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(1, 9))
def test_a_settled_root_has_the_value_of_the_game(seed: int, seats: int, leaves: int) -> None:
    """Oracle: exhaustive search (minimax for two seats that exclude each other, max-n in general)."""
    game = tree_game(seed, seats=seats)
    search = partial(mcts, evaluate=by_score, simulations=20_000, leaves=leaves, c_puct=20.0)
    (found,) = run(search, [GAME], game, Uniform(seats=seats))
    assert found.info["settled"]
    assert tuple(found.info["value"]) == found.verdict.returns == game.value()


@pytest.mark.parametrize("sticks", [18, 22])
def test_visits_gather_on_the_best_move_before_the_root_is_settled(sticks: int) -> None:
    rollouts = partial(by_rollouts, n=2, max_steps=sticks)
    early, late = (play(nim(sticks), simulations=count, evaluate=rollouts, leaves=1) for count in (100, 800))
    assert not late.info["settled"]
    first, last = (found.info["visits"][0]["take 2"] / count for found, count in ((early, 100), (late, 800)))
    assert first < 0.3
    assert last > 0.45
    assert sum(late.info["visits"][0].values()) == 800


def test_a_batch_of_leaves_is_one_ask_of_each_kind() -> None:
    asked: list[Any] = []
    game = nim(12)
    conversation = mcts(game, GAME, game.start(GAME), evaluate=by_score, leaves=3, simulations=30)
    said: Any = next(conversation)
    while not isinstance(said, Trajectory):
        asked.append(said)
        if isinstance(said, Score):
            said = conversation.send(PLAYER.score(said.observations))
        else:
            said = conversation.send([game.step(*pair) for pair in said.pairs])
    kinds = [type(one) for one in asked]
    assert kinds[:5] == [Score, Apply, Score, Apply, Score]
    assert [len(one.pairs) for one in asked if isinstance(one, Apply)][:2] == [3, 3]


def test_one_seat_finds_a_proof_and_records_its_visits() -> None:
    domain, policy = graph({"a": {"ab": ("b", -2.0), "ac": ("c", -0.1)}, "b": {"bg": ("goal", -0.1)}, "c": {}})
    for proofs, visits in ((False, [{"ab", "ac"}, {"bg"}]), (True, [set(), set()])):  # by the first rollout of all
        search = partial(mcts, evaluate=partial(by_rollouts, proofs=proofs))
        (found,) = run(search, [PROBLEM], domain, policy)
        assert found.solved
        assert found.actions == ("ab", "bg")
        assert [set(step) for step in found.info["visits"]] == visits
        assert found.steps[0].proposal.logp == -2.0  # as the policy proposed it


def test_proofs_of_rollouts_are_yielded_once_and_the_tree_goes_on() -> None:
    """All that was accepted in the domain is yielded, whoever met it, for one seat and not for two."""
    problem = pose(r"A -> A \/ (A \/ A)")
    for depth, most in ((5, 99), (128, 2)):
        accepted = list[tuple[str, ...]]()
        events = list[Event]()
        search = partial(mcts, simulations=60, solutions=most, max_depth=depth, c_puct=5.0)
        found = list(run(search, [problem], Kernel(), Uniform(), seed=2, options=RunOptions(trace=events.append)))
        ways: dict[int, tuple[str, ...]] = {0: ()}
        for pair in (pair for event in events if event["kind"] == "apply" for pair in event["pairs"]):
            way = (*ways[pair["source"]], pair["action"])
            ways.setdefault(pair["node"], way)
            if pair["status"] == "accepted" and way not in accepted and len(way) <= depth:
                accepted.append(way)
        assert len(found) == min(most, len(accepted)) >= 2
        assert {one.actions for one in found} <= set(accepted)
        assert len({one.actions for one in found}) == len(found)
        assert any(not all(one.info["visits"]) for one in found)  # a rollout's
        assert all(len(one.info["visits"]) == len(one.steps) for one in found)
    rollouts = partial(by_rollouts, max_steps=5)
    assert len(list(run(partial(mcts, evaluate=rollouts, simulations=9, solutions=9), [GAME], nim(4), PLAYER))) == 1


def test_proofs_that_were_paid_for_are_yielded_when_the_budget_ends() -> None:
    """One of two rollouts is accepted, and the budget ends while the other plays on."""
    domain = diamond()
    b, d = at(domain, "up"), at(domain, "up", "join")
    search = mcts(domain, PROBLEM, at(domain), evaluate=partial(by_rollouts, n=2, max_steps=9))
    answers = [
        [[Proposal("up")]],  # of the root
        [[Proposal("up")], [Proposal("up")]],
        [b, b],
        [[Proposal("join")], [Proposal("join")]],
        [d, d],
        [[Proposal("finish")], [Proposal("no")]],
        [at(domain, "up", "join", "finish"), d],
        BudgetSpent("none"),
    ]
    _, found = talk(search, answers)
    assert [(one.solved, one.actions) for one in found] == [(True, ("up", "join", "finish"))]


@pytest.mark.parametrize(
    ("options", "budget", "status", "end"),
    [
        ({}, Budget(), Status.REJECTED, "exhausted"),
        ({"max_depth": 2}, Budget(), Status.REJECTED, "depth"),
        ({"simulations": 2}, Budget(), Status.UNKNOWN, "simulations"),
        ({}, Budget(steps=3), Status.UNKNOWN, "budget"),
    ],
)
def test_how_a_search_without_success_ends(options: dict[str, Any], budget: Budget, status: Status, end: str) -> None:
    domain, policy = graph(
        {
            "a": {"ab": ("b", -1), "ac": ("c", -2)},
            "b": {"bd": ("d", -1)},
            "c": {"ca": ("a", -1)},
            "d": {"dx": ("x", -1)},
        }
    )
    (found,) = run(partial(mcts, **options), [PROBLEM], domain, policy, budget=budget)
    assert (found.verdict.status, found.info["end"]) == (status, end)
    assert not found.steps or status is Status.UNKNOWN


def test_a_loop_is_closed_and_paths_that_meet_are_one() -> None:
    domain, policy = graph(
        {
            "a": {"ab": ("b", -1), "ac": ("c", -1)},
            "b": {"bc": ("c", -1)},
            "c": {"cb": ("b", -1), "cd": ("d", -1)},
            "d": {"dx": ("x", -1)},
            "x": {},
        }
    )
    (found,) = run(partial(mcts, simulations=500), [PROBLEM], domain, policy)
    assert (found.verdict.status, found.info["end"]) == (Status.REJECTED, "exhausted")
    assert found.info["simulations"] < 20
    assert found.info["merged"] == 2  # b -> c or c -> b is an edge, the other one would be a loop


def test_unknown_and_lost_children_leave_the_search_unknown() -> None:
    domain = Automaton({"a": {"go": "b"}}, frozenset({"goal"}), {"train": ("a",)}, faults={"late": "unknown"})
    (found,) = run(mcts, [PROBLEM], domain, Scripted({"a": ["late", "go"]}))
    assert (found.verdict.status, found.info["end"], found.info["unknown"]) == (Status.UNKNOWN, "exhausted", 1)
    rollouts = partial(by_rollouts, max_steps=0)
    _, (lost,) = talk(mcts(domain, PROBLEM, at(domain), evaluate=rollouts), [[[Proposal("go")]], [Lost("gone")]])
    assert (lost.verdict.status, lost.info["lost"]) == (Status.UNKNOWN, 1)


def test_several_solutions_and_no_more_than_asked() -> None:
    domain, policy = graph(
        {"a": {"one": ("goal", -1), "two": ("goal", -2), "more": ("b", -1)}, "b": {"x": ("goal", 0)}}
    )
    for solutions in (1, 2, 9):
        found = list(run(partial(mcts, solutions=solutions), [PROBLEM], domain, policy))
        assert len({one.actions for one in found}) == len(found) == min(solutions, 3)
        assert all(one.solved for one in found)


def test_values_lead_the_search() -> None:
    """With a perfect critic hardly more than the way is walked, whatever the prior says."""
    domain = forest()
    path = domain.shortest("n2")
    assert path == ["l", "r", "l", "r"]

    class Knows:
        def propose(self, observations: Any, n: int, *, seeds: Any) -> list[list[Proposal]]:
            return [[Proposal("l", -1.0), Proposal("r", -2.0)][:n] for _ in observations]

        def score(self, observations: Any) -> list[Scored]:
            return [Scored(values=(float(one.key in {"n2", "n5", "n12", "n25"}),)) for one in observations]

    (problem,) = (one for one in domain.problems("train") if one.key == "n2")
    search = partial(mcts, evaluate=by_score, leaves=1, c_puct=0.2)
    (found,) = run(search, [problem], domain, Knows())
    (blind,) = run(partial(search, evaluate=partial(by_rollouts, max_steps=0)), [problem], domain, Knows())
    assert found.actions == blind.actions == tuple(path)
    assert found.info["steps"] <= 2 * len(path) < blind.info["steps"]


def test_rollouts_value_states_by_their_mean_return() -> None:
    domain = diamond()
    b, d = at(domain, "up"), at(domain, "up", "join")
    conversation = by_rollouts(domain, PROBLEM, [b, d], width=1, n=2, max_steps=1)
    assert next(conversation) == Propose((domain.observe(b), domain.observe(d)), 1)
    join, finish, stray = Proposal("join", -1.0), Proposal("finish", -2.0), Proposal("stray")
    said = conversation.send([[join], [finish]])
    assert isinstance(said, Propose)
    assert [one.key for one in said.observations] == ["b", "b", "d", "d"]
    assert isinstance(conversation.send([[join], [stray], [finish], []]), Apply)
    with pytest.raises(StopIteration) as stopped:
        conversation.send([d, at(domain, "up", "no"), at(domain, "up", "join", "finish")])
    first, second = stopped.value.value
    assert first == Opinion((join,), (1.0,), (0.0,))  # one unfinished, one rejected
    proof = ((Step(domain.observe(d), finish),), Verdict(Status.ACCEPTED, (1.0,), "automaton"))
    assert second == Opinion((finish,), (1.0,), (0.5,), (proof,))  # accepted, and without an action, which counts 0


def test_a_loss_does_not_count_and_what_is_unfinished_does() -> None:
    domain = diamond()
    d, join = at(domain, "up", "join"), Proposal("finish")
    conversation = by_rollouts(domain, PROBLEM, [d], width=1, n=3, max_steps=1)
    next(conversation)
    conversation.send([[join]])
    conversation.send([[join]] * 3)
    with pytest.raises(StopIteration) as stopped:
        conversation.send([Lost("gone"), domain.step(d, "finish"), d])
    assert stopped.value.value[0].values == (0.5,)


def test_scores_need_no_proposals_where_they_give_a_prior() -> None:
    game = nim(5)
    conversation = by_score(game, GAME, [game.start(GAME)])
    assert isinstance(next(conversation), Score)
    with pytest.raises(StopIteration) as stopped:
        conversation.send([Scored((0.5, 0.25, 0.25), (0.7, 0.3))])
    (opinion,) = stopped.value.value
    assert (opinion.prior, opinion.values) == ((0.5, 0.25, 0.25), (0.7, 0.3))
    assert [one.action for one in opinion.actions] == ["take 1", "take 2", "take 3"]


def test_noise_depends_on_its_seed_alone() -> None:
    def visits(noise: Noise | None) -> dict[str, int]:
        found = play(nim(30), simulations=40, noise=noise)
        counts: dict[str, int] = found.info["visits"][0]
        return counts

    assert visits(Noise(1)) == visits(Noise(1))
    assert len({tuple(visits(Noise(seed)).items()) for seed in range(5)} | {tuple(visits(None).items())}) > 3
    assert visits(Noise(1, share=0.0)) == visits(None)


def test_noise_keeps_a_prior_a_prior() -> None:
    root: Spot[str] = Spot("s", Observation("s"))
    root.edges = [Edge(Proposal(name), prior) for name, prior in (("a", 0.6), ("b", 0.3), ("c", 0.1))]
    perturb(root, Noise(3, share=0.4), "key")
    assert sum(edge.prior for edge in root.edges) == pytest.approx(1.0)
    assert all(edge.prior >= 0.6 * prior for edge, prior in zip(root.edges, (0.6, 0.3, 0.1), strict=True))


def test_selection_is_puct_and_pending_visits_spread_it() -> None:
    root: Spot[str] = Spot("s", Observation("s"))
    root.edges = [Edge(Proposal("a"), 0.6), Edge(Proposal("b"), 0.3), Edge(Proposal("c"), 0.1)]
    paths = [select(root, 1.0) for _ in range(4)]
    assert [path[0][1].action.action for path in paths[:3]] == ["a", "b", "c"]
    assert paths[3] == []  # all are waiting
    for path, value in zip(paths, (0.2, 0.9, 0.0), strict=False):
        edge = path[0][1]
        edge.child = Spot("t", Observation("t"), value=(value,), mean=(value,))
        edge.child.edges = [Edge(Proposal("d"), 1.0)]
        back_up(path, 1.0)
    assert root.visits == 4
    assert root.mean == pytest.approx((1.1 / 4,))
    bounds = {"a": 0.2 + 0.6 * 2 / 2, "b": 0.9 + 0.3 * 2 / 2, "c": 0.1 * 2 / 2}
    assert select(root, 1.0)[0][1].action.action == max(bounds, key=lambda one: bounds[one]) == "b"
    root.edges[1].child = Spot("u", Observation("u"), mean=(0.9,), edges=[Edge(Proposal(x), 0.5) for x in "ef"])
    assert [select(root, 2.0)[0][1].action.action for _ in range(2)] == ["a", "b"]  # 1.54 to 1.35, then 1.18 to 1.39


def test_a_node_is_settled_by_a_win_or_by_all_its_edges() -> None:
    spot: Spot[str] = Spot("s", Observation("s", seat=1), value=(0.5, 0.5))
    lost, won = (
        Spot(name, Observation(name), mean=mean, settled=True) for name, mean in (("l", (1, 0)), ("w", (0, 1)))
    )
    spot.edges = [Edge(Proposal("a"), 0.5, lost, visits=1), Edge(Proposal("b"), 0.5)]
    refresh(spot, 1.0)
    assert not spot.settled
    assert spot.mean == (0.75, 0.25)
    spot.edges[1].child = won
    refresh(spot, 1.0)
    assert (spot.settled, spot.mean) == (True, (0, 1))
    spot.edges[1].closed = True
    refresh(spot, 1.0)
    assert (spot.settled, spot.mean) == (True, (1, 0))
    assert reaches(spot, lost)
    assert not reaches(spot, won)


def test_contract_on_games_and_on_proofs_with_their_history() -> None:
    for merges, history in ((False, False), (True, False), (True, True)):
        game = nim(9, merges=merges)
        game = Game(game.moves, game.seats, game.returns, merges, history)
        check_search(partial(mcts, evaluate=by_score, simulations=60), game, [GAME], PLAYER)
        check_search(partial(mcts, simulations=9), game, [GAME], PLAYER)
    problems = [pose(r"A /\ B -> B /\ A"), pose("(A -> B) -> (B -> C) -> A -> C"), pose(r"A \/ A -> A")]
    for domain in (Kernel(), Kernel(history=False)):
        check_search(partial(mcts, evaluate=by_score), domain, problems, Uniform())
        check_search(partial(mcts, simulations=40), domain, problems, Uniform())


def test_a_budget_spent_at_the_first_ask() -> None:
    domain = diamond()
    _, (found,) = talk(mcts(domain, PROBLEM, at(domain)), [BudgetSpent("none")])
    assert (found.verdict.status, found.info["end"]) == (Status.UNKNOWN, "budget")
