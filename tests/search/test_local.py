"""Local search: the chain's stationary distribution is the one it says, and it does what it says by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from surpass.core import Status, Trajectory
from surpass.domains.proofs.kernel.domain import Kernel, State, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.errors import ConfigError
from surpass.models.scripted import Automaton, Scripted, Uniform
from surpass.models.tabular import Tabular
from surpass.objectives.balance import log_variance
from surpass.rollouts.runner import Budget, RunOptions, run
from surpass.search.local import _log_q, greedy, local_search, log_return, metropolis
from surpass.search.play import Play
from surpass.store import Run
from surpass.train import Parts, TrainConfig, train
from tests.automata import ACTIONS, forest

DEPTH = 6
PROBLEM = pose("A -> ~ A -> B")
SPACE = trajectories(Kernel(), PROBLEM, DEPTH)
AT = {leaf.actions: row for row, leaf in enumerate(SPACE)}


def log_reward(trajectory: Trajectory) -> float:
    return -0.3 * len(trajectory.steps) if trajectory.solved else -3.0


def policy() -> Tabular:
    return Tabular(rows=256, width=8, scale=0.5, seed=1).double().frozen_copy()


def prior() -> Tensor:
    return policy().logp(SPACE).sum(1).exp()


def target(beta: float) -> Tensor:
    return (prior().log() + beta * torch.tensor([log_reward(leaf) for leaf in SPACE], dtype=torch.float64)).softmax(0)


def transitions(accept: Callable[[float, float], float], back: int | None) -> Tensor:
    """The chain's matrix [from, to], from its definition: a cut, a suffix by the policy, a move or none."""
    steps = policy().logp(SPACE)
    matrix = torch.zeros(len(SPACE), len(SPACE), dtype=torch.float64)
    plays: list[Play[State]] = [Play((), leaf.steps) for leaf in SPACE]
    for i, old in enumerate(SPACE):
        cuts = range(0 if back is None else max(0, len(old.steps) - back), len(old.steps))
        for cut in cuts:
            for j, new in enumerate(SPACE):
                if new.actions[:cut] == old.actions[:cut]:
                    suffix = float(steps[j, cut : len(new.steps)].sum().exp())
                    gain = log_reward(new) - log_reward(old)
                    move = accept(gain, _log_q(plays[j], cut, back) - _log_q(plays[i], cut, back))
                    matrix[i, j] += suffix * move / len(cuts)
    return matrix + torch.diag(1 - matrix.sum(1))


@pytest.mark.parametrize("back", [None, 1, 2])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_metropolis_leaves_the_target_unchanged(beta: float, back: int | None) -> None:
    matrix = transitions(partial(metropolis, beta=beta), back)
    wanted = target(beta)
    torch.testing.assert_close(matrix.sum(1), torch.ones(len(SPACE), dtype=torch.float64))
    torch.testing.assert_close(wanted @ matrix, wanted, rtol=1e-9, atol=1e-12)
    for wrong in (lambda gain, _: metropolis(gain, 0.0, beta=beta + 1), lambda gain, _: metropolis(beta * gain, 0.0)):
        assert (
            float((wanted @ transitions(wrong, None) - wanted).abs().sum()) > 1e-3
        )  # without the lengths, or with more


def last_of_chains(plays: list[Trajectory]) -> list[Trajectory]:
    current: dict[tuple[int, int], Trajectory] = {}
    for one in plays:
        if one.info["kept"]:
            current[one.info["replica"], one.info["chain"]] = one
    return list(current.values())


@pytest.mark.parametrize("back", [None, 3])
def test_chains_run_end_in_the_target(back: int | None) -> None:
    accept = partial(metropolis, beta=1.0)
    search = partial(
        local_search, chains=50, rounds=4, back=back, max_steps=DEPTH, accept=accept, log_reward=log_reward
    )
    plays = list(run(search, [PROBLEM], Kernel(), policy(), options=RunOptions(replicas=10)))
    assert len(plays) == 10 * 50 * 5
    ends = last_of_chains(plays)
    assert len(ends) == 500
    found = torch.bincount(torch.tensor([AT[one.actions] for one in ends]), minlength=len(SPACE)) / 500
    exact = prior()
    for _ in range(4):
        exact = exact @ transitions(accept, back)
    firsts = [AT[one.actions] for one in plays if one.info["round"] == 0]
    start = torch.bincount(torch.tensor(firsts), minlength=len(SPACE)) / 500
    assert distance(start, prior()) < 0.08  # 500 samples of a space of this size miss by about 0.05
    assert distance(found, exact) < 0.08
    assert distance(found, prior()) > 0.15
    assert distance(found, target(1.0)) < 0.7 * distance(start, target(1.0))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().sum() / 2)


def test_the_space_is_one_of_many_lengths() -> None:
    assert {len(leaf.steps) for leaf in SPACE} == {1, 2, 4, 5, 6}
    assert len(SPACE) == 27


def test_greedy_only_climbs() -> None:
    search = partial(local_search, chains=6, rounds=6, max_steps=DEPTH, accept=greedy, log_reward=log_reward)
    plays = list(run(search, [PROBLEM], Kernel(), policy(), seed=2))
    climbed = 0
    for chain in range(6):
        moves = [log_reward(one) for one in plays if one.info["chain"] == chain and one.info["kept"]]
        assert moves == sorted(set(moves))
        climbed += len(moves) - 1
    assert climbed >= 3


def test_a_chain_goes_back_on_its_own_steps() -> None:
    """Every candidate begins as the trajectory it was cut from, and loses at most `back` steps of it."""
    search = partial(local_search, chains=5, rounds=8, back=2, max_steps=DEPTH, log_reward=log_reward)
    current: dict[int, Trajectory] = {}
    shared = set()
    for one in run(search, [PROBLEM], Kernel(), policy(), seed=2):
        old = current.get(one.info["chain"])
        if old is not None:
            kept = max(0, len(old.steps) - 2)
            assert one.steps[:kept] == old.steps[:kept]
            shared.add(kept)
        if one.info["kept"]:
            current[one.info["chain"]] = one
    assert len(shared) > 1


def test_an_unknown_is_never_moved_to_and_always_left() -> None:
    domain = Automaton(
        {"a": {"go": "goal", "fog": "a"}}, frozenset({"goal"}), {"train": ("a",)}, faults={"fog": "unknown"}
    )
    search = partial(local_search, chains=8, rounds=12)
    plays = list(run(search, domain.problems("train"), domain, Uniform(("go", "fog"))))
    assert {one.verdict.status for one in plays} == {Status.ACCEPTED, Status.UNKNOWN}
    assert all(one.info["kept"] == one.solved for one in plays)  # all that is known is equally good
    began = {one.info["chain"] for one in plays if one.info["round"] == 0 and not one.solved}
    assert began
    assert {one.info["chain"] for one in plays if one.solved} == set(range(8))


def test_ends() -> None:
    domain = forest()
    problem = next(iter(domain.problems("train")))
    silent = list(run(partial(local_search, chains=2, rounds=1), [problem], domain, Scripted({})))
    assert [(one.info["end"], one.steps) for one in silent] == [("silent", ())] * 4
    short = list(run(partial(local_search, max_steps=1), [problem], domain, Uniform(("l", "r"))))
    assert {one.info["end"] for one in short} == {"depth"}
    spent = list(run(local_search, [problem], domain, Uniform(ACTIONS), budget=Budget(steps=14)))
    assert spent[-1].info["end"] == "budget"
    assert len(spent) < 16
    over = Automaton({}, frozenset({"a"}), {"train": ("a",)})
    (done,) = run(local_search, over.problems("train"), over, Uniform(ACTIONS))
    assert done.solved
    for wrong in ({"chains": 0}, {"rounds": -1}, {"back": 0}, {"max_steps": 0}):
        with pytest.raises(ConfigError, match="expected chains, back"):
            list(run(partial(local_search, **wrong), [problem], domain, Uniform(ACTIONS)))  # type: ignore[arg-type]


def test_other_seeds_other_coins_equal_seeds_equal_ones() -> None:
    def played(seed: int) -> list[tuple[str, ...]]:
        search = partial(local_search, chains=3, rounds=5, max_steps=DEPTH, log_reward=log_reward, seed=seed)
        return [one.actions for one in run(search, [PROBLEM], Kernel(), policy())]

    assert played(0) == played(0) != played(1)


def test_the_usual_reward_is_the_return() -> None:
    solved, failed = (next(leaf for leaf in SPACE if leaf.solved == wanted) for wanted in (True, False))
    assert (log_return(solved), log_return(failed), log_return(failed, floor=-3.0)) == (0.0, -10.0, -3.0)


def test_training_learns_from_all_that_a_local_search_played(tmp_path: Path) -> None:
    learner = Tabular(rows=256, width=8).double()
    parts = Parts(
        learner,
        [PROBLEM],
        partial(log_variance, beta=1.0),
        lambda plays: torch.tensor([log_reward(one) for one in plays], dtype=torch.float64),
        domain=Kernel(),
        search=partial(local_search, chains=4, rounds=3, max_steps=DEPTH, log_reward=log_reward),
        reference=learner.frozen_copy(),
    )
    run_folder = Run.create(tmp_path / "run", {})
    first = exact_distance(learner)
    last = train(TrainConfig(steps=30, learning_rate=0.2, schedule="cosine", clip=10.0), parts, run_folder)
    assert exact_distance(learner) < 0.5 * first
    plays = list(run_folder.trajectories())
    assert len(plays) == 30 * 4 * 4
    assert last["sampled_tokens"] < sum(len(one.steps) for one in plays)  # prefixes that stayed were paid for once


def exact_distance(learner: Tabular) -> float:
    """Total variation to the relative target of a uniform reference."""
    with torch.no_grad():
        uniform = Tabular(rows=256, width=8).double().logp(SPACE).sum(1)
        logp = learner.logp(SPACE).sum(1)
    rewards = torch.tensor([log_reward(leaf) for leaf in SPACE], dtype=torch.float64)
    return distance(logp.exp(), (uniform + rewards).softmax(0))
