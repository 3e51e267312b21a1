"""Balance objectives against exact targets: a proof space small enough to list, a policy that can represent anything.

The space X is that of token histories up to a depth: every sequence of legal tactics that ends in a verdict or at the
depth. Total variation is computed over the whole of X, not from samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from surpass.core import Trajectory
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.domains.proofs.kernel.enumeration import trajectories
from surpass.models.tabular import Tabular
from surpass.objectives.balance import ProblemLogZ, log_variance, trajectory_balance
from surpass.objectives.batch import Heads, Metrics, Objective, Reward, collate
from surpass.rollouts.runner import RunOptions, run
from surpass.search.sampling import sample
from surpass.threads import one_thread

BETA = 0.7
DEPTH = 6
PROBLEMS = [pose(r"A /\ B -> A /\ B -> B /\ A"), pose(r"A -> ~ A -> B")]
SPACES = [trajectories(Kernel(), problem, DEPTH) for problem in PROBLEMS]
SPACE = [leaf for space in SPACES for leaf in space]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors: threads only wait for each other."""
    with one_thread():
        yield


def log_reward(leaves: Sequence[Trajectory]) -> Tensor:
    """Proofs differ too: shorter ones are worth more. Unfinished ones beat dead ends."""
    values = [-0.3 * len(t.steps) if t.solved else -3.0 if t.info["end"] == "depth" else -5.0 for t in leaves]
    return torch.tensor(values, dtype=torch.float64)


def reference() -> Tabular:
    return Tabular(rows=512, width=8, scale=1.0, seed=11).double().frozen_copy()


def exact(policy: Tabular, leaves: Sequence[Trajectory]) -> Tensor:
    """Return log p of every leaf [N]; over a whole space the probabilities sum to one."""
    with torch.no_grad():
        return policy.logp(leaves).sum(1)


def target(leaves: Sequence[Trajectory], *, relative: bool) -> Tensor:
    weight = BETA * log_reward(leaves)
    return (weight + exact(reference(), leaves) if relative else weight).softmax(0)


def distances(policy: Tabular, *, relative: bool) -> list[float]:
    """Return the total variation between policy and target, for each problem."""
    pairs = [(exact(policy, leaves).exp(), target(leaves, relative=relative)) for leaves in SPACES]
    assert all(float(p.sum()) == pytest.approx(1.0) for p, _ in pairs)
    return [float((p - q).abs().sum() / 2) for p, q in pairs]


def start() -> Tabular:
    """A policy that is neither the reference nor the target."""
    return Tabular(rows=512, width=8, scale=0.5, seed=4).double()


def slope(
    objective: Objective, policy: Tabular, plays: Sequence[Trajectory], reward: Reward, log_z: ProblemLogZ
) -> Tensor:
    """Return the loss, and leave its gradient on the parameters: two passes, as in training."""
    batch = collate(policy, plays, reward, reference=reference(), heads=Heads(log_z=log_z), micro_batch=1024)
    assert batch.log_z is not None
    loss, _ = objective(batch)
    by_logp, by_log_z = torch.autograd.grad(loss, [batch.logp, batch.log_z], allow_unused=True)
    surrogate = (policy.logp(plays) * by_logp).sum()
    if by_log_z is not None:
        surrogate = surrogate + (log_z(plays) * by_log_z).sum()
    torch.autograd.backward(surrogate)
    return loss.detach()


def solved(objective: Objective, reward: Reward) -> Tabular:
    """Minimise over the whole space at once: every trajectory in the batch, in equal parts."""
    policy, log_z = start(), ProblemLogZ([problem.key for problem in PROBLEMS]).double()
    parameters = [*policy.parameters(), *log_z.parameters()]
    optimiser = torch.optim.LBFGS(parameters, max_iter=50, history_size=30, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        return slope(objective, policy, SPACE, reward, log_z).item()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return policy


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("objective", [log_variance, trajectory_balance])
def test_the_fixed_point_is_the_target(objective: Callable[..., tuple[Tensor, Metrics]], relative: bool) -> None:
    policy = solved(partial(objective, beta=BETA, relative=relative), log_reward)
    assert max(distances(policy, relative=relative)) < 0.002
    assert min(distances(policy, relative=not relative)) > 0.5  # the two targets have little in common


def test_trajectories_the_policy_samples_lead_there_too() -> None:
    """On-policy, through runner and search, with the domain as judge; a rate that falls to zero."""
    policy, problem, steps = start(), PROBLEMS[1], 100
    objective = partial(log_variance, beta=BETA)
    unused = ProblemLogZ([problem.key]).double()
    optimiser = torch.optim.Adam(policy.parameters(), lr=0.2, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        search = partial(sample, n=32, max_steps=DEPTH)
        plays = list(run(search, [problem], Kernel(), policy, seed=5, options=RunOptions(step=step)))
        optimiser.zero_grad()
        slope(objective, policy, plays, log_reward, unused)
        optimiser.step()
        schedule.step()
    assert distances(policy, relative=True)[1] < 0.02


def test_log_z_is_the_exact_partition_function() -> None:
    fixed, problem_log_z = reference(), ProblemLogZ([problem.key for problem in PROBLEMS]).double()
    exact_z = [torch.logsumexp(exact(fixed, leaves) + BETA * log_reward(leaves), 0) for leaves in SPACES]
    policy = at_target()
    with torch.no_grad():
        problem_log_z.values.copy_(torch.stack(exact_z))
    batch = collate(policy, SPACE, log_reward, reference=fixed, heads=Heads(log_z=problem_log_z), micro_batch=1024)
    loss, _ = trajectory_balance(batch, beta=BETA)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    variance, metrics = log_variance(batch, beta=BETA)
    assert variance.item() == pytest.approx(0.0, abs=1e-12)
    assert metrics["log_z"] == pytest.approx(float(torch.stack(exact_z).mean()))


def at_target() -> Tabular:
    """Return the policy that is the relative target, built by summing the target over the tree from the leaves."""
    mass: dict[str, dict[int, float]] = {}
    width: dict[str, int] = {}
    for leaves in SPACES:
        for leaf, probability in zip(leaves, target(leaves, relative=True).tolist(), strict=True):
            for step in leaf.steps:
                text, (token,) = step.observation.text, step.proposal.tokens
                mass.setdefault(text, {}).setdefault(token, 0.0)
                mass[text][token] += probability
                width[text] = len(step.observation.legal or ())
    policy = Tabular(rows=512, width=8).double()
    policy.logp(SPACE)  # meets every observation
    with torch.no_grad():
        for text, tokens in mass.items():
            row, _ = policy.met[text]
            policy.table[row, : width[text]] = torch.tensor(
                [tokens[i] for i in range(width[text])], dtype=torch.float64
            ).log()
    return policy


def test_the_target_is_a_policy() -> None:
    """The target has an exact table: so total variation zero is reachable, and `distances` knows it."""
    assert max(distances(at_target(), relative=True)) < 1e-9


WRONG: dict[str, tuple[Objective, Reward]] = {
    "the sign of log R": (partial(log_variance, beta=BETA), lambda leaves: -log_reward(leaves)),
    "no reference": (partial(log_variance, beta=BETA, relative=False), log_reward),
    "half of beta": (partial(trajectory_balance, beta=BETA / 2), log_reward),
    "no reward": (partial(trajectory_balance, beta=BETA), lambda leaves: torch.zeros(len(leaves))),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_in_the_target_misses_it(mistake: str) -> None:
    assert max(distances(solved(*WRONG[mistake]), relative=True)) > 0.1


def test_before_training_the_policy_is_far_from_the_target() -> None:
    assert min(distances(start(), relative=True)) > 0.1


def test_the_problems_are_not_trivial() -> None:
    assert min(map(len, SPACES)) > 25
    assert all(0 < sum(leaf.solved for leaf in space) < len(space) for space in SPACES)
