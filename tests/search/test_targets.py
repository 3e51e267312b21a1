from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surpass.core import Conversation, Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.errors import ConfigError
from surpass.models.scripted import Scripted, Uniform
from surpass.models.tabular import Tabular
from surpass.objectives.batch import collate, log_return
from surpass.objectives.likelihood import likelihood
from surpass.rollouts.runner import Budget, run
from surpass.search.best_first import best_first
from surpass.search.evaluate import by_rollouts
from surpass.search.in_turn import in_turn
from surpass.search.mcts import mcts
from surpass.search.sampling import sample
from surpass.search.targets import targets, visit_targets
from tests.automata import by_seed, diamond, forest

ROOT = Observation("root", ("l", "r", "x"))
VISITED = Trajectory(
    Problem("p"),
    (Step(ROOT, Proposal("l")), Step(Observation("after l", ("l", "r", "x")), Proposal("r"))),
    Verdict(Status.ACCEPTED, (1.0,)),
    {"visits": [{"l": 6, "r": 2, "x": 0}, {"r": 3, "l": 1}]},
)


def test_visits_become_shares_of_n_steps() -> None:
    made = list(targets(VISITED, ROOT, 8))
    assert Counter((one.steps[0].observation.text, one.actions) for one in made) == {
        ("root", ("l",)): 6,
        ("root", ("r",)): 2,
        ("after l", ("r",)): 6,
        ("after l", ("l",)): 2,
    }
    assert {one.verdict.status for one in made} == {Status.REJECTED}  # no target claims to be a proof


def test_without_steps_the_visits_are_those_of_the_root() -> None:
    bare = Trajectory(Problem("p"), (), Verdict(Status.REJECTED, (0.0,)), {"visits": [{"r": 5}]})
    assert [(one.steps[0].observation, one.actions) for one in targets(bare, ROOT, 3)] == [(ROOT, ("r",))] * 3
    assert list(targets(Trajectory(Problem("p"), (), bare.verdict), ROOT, 3)) == []


@given(st.dictionaries(st.sampled_from("lrx"), st.integers(0, 50), min_size=1), st.integers(3, 40))
def test_shares_are_those_of_the_visits(visits: dict[str, int], n: int) -> None:
    record = Trajectory(Problem("p"), (), Verdict(Status.REJECTED, (0.0,)), {"visits": [visits]})
    made = Counter(one.actions[0] for one in targets(record, ROOT, n))
    total = sum(visits.values())
    assert sum(made.values()) == (n if total else 0)
    for action, times in made.items():
        assert abs(times / n - visits[action] / total) <= 2 / n


def test_likelihood_of_the_targets_has_the_visits_as_its_fixed_point() -> None:
    """A table trained on them ends at the visit distribution of every state, and asks for nothing else."""
    policy = Tabular(rows=4, width=3).double()
    made = list(targets(VISITED, ROOT, 8))
    optimiser = torch.optim.Adam(policy.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        batch = collate(policy, made, log_return)
        loss, _ = likelihood(batch, accepted_only=False)
        torch.autograd.backward(loss)
        assert batch.logp.grad is not None
        torch.autograd.backward(policy.logp(made), batch.logp.grad)
        optimiser.step()
    steps = [Trajectory(Problem("p"), (Step(ROOT, Proposal(action)),), VISITED.verdict) for action in "lrx"]
    assert policy.logp(steps).exp()[:, 0].tolist() == pytest.approx([0.75, 0.25, 0.0], abs=0.01)


def test_a_tree_search_is_run_and_charged() -> None:
    domain, policy = by_seed(forest())
    problems = list(domain.problems("train"))[:2]
    tree = partial(mcts, simulations=20, solutions=9, evaluate=partial(by_rollouts, proofs=False))
    found = list(run(partial(visit_targets, search=tree, n=8), problems, domain, policy, seed=3))
    plain = list(run(tree, problems, domain, policy, seed=3))
    assert {one.problem.key for one in found} == {one.key for one in problems}
    assert all(len(one.steps) == 1 for one in found)
    for problem in problems:
        last = [one for one in plain if one.problem.key == problem.key][-1]
        mine = [one for one in found if one.problem.key == problem.key]
        assert len(mine) == 8 * len(last.info["visits"])
        (steps,) = {one.info["steps"] for one in mine}
        assert steps >= last.info["steps"]  # the tree may grow on after its last proof


def test_the_proof_of_a_rollout_does_not_hide_the_visits() -> None:
    bare = Trajectory(Problem("p"), VISITED.steps, VISITED.verdict, {"visits": [{}, {}]})

    def search(domain: object, problem: Problem, state: object, /) -> Conversation[None]:
        yield from (bare, VISITED, bare)

    domain = diamond()
    (problem,) = domain.problems("train")
    made = list(visit_targets(domain, problem, domain.start(problem), search=search, n=8))
    assert made == list(targets(VISITED, domain.observe(domain.start(problem)), 8))


def test_a_search_that_counts_no_visits_keeps_its_record() -> None:
    domain = diamond()
    policy = Scripted({"a": ["up"], "b": ["join"], "d": ["finish"]})
    (found,) = run(partial(visit_targets, search=best_first), domain.problems("train"), domain, policy)
    assert found.solved
    with pytest.raises(ConfigError, match="n=0"):
        list(run(partial(visit_targets, search=best_first, n=0), domain.problems("train"), domain, policy))


def test_searches_in_turn_share_a_budget_and_lose_nothing() -> None:
    domain = diamond()
    policy = Uniform(("up", "down", "join", "finish"))
    first, second = partial(sample, n=3, max_steps=2), partial(best_first, width=8, solutions=2)
    found = list(run(partial(in_turn, searches=(first, second)), domain.problems("train"), domain, policy, seed=1))
    alone = list(run(first, domain.problems("train"), domain, policy, seed=1))
    assert [one.actions for one in found[:3]] == [one.actions for one in alone]
    assert any(one.solved for one in found[3:])
    assert found[-1].info["steps"] > found[0].info["steps"]
    cut = partial(in_turn, searches=(first, second))
    spent = list(run(cut, domain.problems("train"), domain, policy, budget=Budget(steps=7), seed=1))
    assert max(one.info["steps"] for one in spent) <= 7
    assert spent[-1].verdict.status is Status.UNKNOWN
    with pytest.raises(ConfigError, match="found none"):
        list(run(partial(in_turn, searches=()), domain.problems("train"), domain, policy))
