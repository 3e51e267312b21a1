"""Spaces small enough to list, with policies that can be anything on them: a tree of steps and the words of one action.

A `Space` is a batch of every trajectory, once each, as differentiable functions of the policy and the heads; an
objective is applied to any selection of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from surpass.core import Observation, Problem, Proposal, Step, Trajectory
from surpass.models.heads import StateTable
from surpass.models.tabular import Tabular
from surpass.objectives.balance import ProblemLogZ
from surpass.objectives.batch import Batch, Heads, Objective, collate, push
from tests.learning import ACCEPTED, ACTIONS, LONGEST, TinyPolicy

HISTORIES = ["a", "ba", "bb", "caa", "cab", "cb"]  # the leaves of a tree: one letter a step, of one to three steps
PROBLEMS = [Problem("left"), Problem("right")]
REWARDS = {
    "left": [-1.0, 0.5, -2.0, 1.0, -0.5, 0.0],
    "right": [1.5, -3.0, 0.0, -1.0, 2.0, 3.0],
}


def tree() -> list[Trajectory]:
    """Return every trajectory of both problems; an observation shows the history."""
    plays = []
    for problem in PROBLEMS:
        for leaf in HISTORIES:
            steps = []
            for i, letter in enumerate(leaf):
                legal = tuple(sorted({h[i] for h in HISTORIES if h.startswith(leaf[:i]) and len(h) > i}))
                seen = Observation(f"{problem.key}: {leaf[:i]}", legal)
                steps.append(Step(seen, Proposal(letter, None, (legal.index(letter),))))
            plays.append(Trajectory(problem, tuple(steps), ACCEPTED, {"end": "verdict"}))
    return plays


def words() -> list[Trajectory]:
    """Return every word of at most three letters as one action of one problem."""
    encode = TinyPolicy(["w"]).encode
    return [
        Trajectory(Problem("w"), (Step(Observation("w"), Proposal(word, None, encode(word))),), ACCEPTED)
        for word in ACTIONS
    ]


def tree_reward(plays: Sequence[Trajectory]) -> Tensor:
    values = [REWARDS[play.problem.key][HISTORIES.index("".join(play.actions))] for play in plays]
    return torch.tensor(values, dtype=torch.float64)


def word_reward(word: str) -> float:
    return 0.7 * word.count("a") - 1.1 * word.count("b") + (1.5 if word.endswith("ab") else 0.0)


def prefix_reward(plays: Sequence[Trajectory]) -> Tensor:
    """Return log R [B, T] of the word that ends before each token."""
    rows = [[word_reward(play.actions[0][:i]) for i in range(len(play.steps[0].proposal.tokens))] for play in plays]
    return nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.float64) for row in rows], batch_first=True)


@dataclass
class Space:
    """Every trajectory, a policy and its reference, and heads with numbers of their own."""

    plays: list[Trajectory]
    policy: Tabular | TinyPolicy
    reference: Tabular | TinyPolicy
    heads: Heads
    reward: Callable[[Sequence[Trajectory]], Tensor]

    @cached_property
    def batch(self) -> Batch:
        return self.collated()

    def forget(self) -> None:
        """Collate anew when asked next: the policy or its heads have changed."""
        self.__dict__.pop("batch", None)

    def collated(self) -> Batch:
        return collate(
            self.policy, self.plays, self.reward, reference=self.reference, heads=self.heads, micro_batch=1024
        )

    def parameters(self) -> list[nn.Parameter]:
        own = [parameter for module in self.heads.modules().values() for parameter in module.parameters()]
        return [*self.policy.parameters(), *own]

    def logp(self) -> Tensor:
        """Return log P_F of every trajectory [N], with gradient."""
        return self.policy.logp(self.plays).sum(1)

    def log_ref(self) -> Tensor:
        with torch.no_grad():
            return self.reference.logp(self.plays).sum(1)

    def slope(self, objective: Objective, rows: Sequence[int] | None = None) -> tuple[float, dict[str, Tensor]]:
        """Return the loss of the rows (all) and its gradient on each leaf of the batch that has one."""
        batch = self.batch
        found, leaves = (batch if rows is None else select(batch, rows)), batch.leaves()
        loss, _ = objective(found)
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return loss.item(), {name: grad for name, grad in zip(leaves, grads, strict=True) if grad is not None}

    def solve(self, objective: Objective, *, steps: int = 60) -> None:
        """Descend with every trajectory in the batch, in two passes, until the gradient is nothing."""
        optimiser = torch.optim.LBFGS(self.parameters(), max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

        def closure() -> float:
            optimiser.zero_grad()
            batch = self.collated()
            loss, _ = objective(batch)
            torch.autograd.backward(loss)
            push(self.policy, self.plays, batch, heads=self.heads, micro_batch=1024)
            return loss.item()

        optimiser.step(closure)  # type: ignore[no-untyped-call]


def select(batch: Batch, rows: Sequence[int]) -> Batch:
    """Return the rows, repeated where repeated, attached to the leaves of `batch`; groups are numbered anew."""
    index = torch.tensor(rows)
    values = {field.name: object.__getattribute__(batch, field.name) for field in fields(batch)}
    chosen = {name: value[index] for name, value in values.items() if isinstance(value, Tensor)}
    chosen["group"] = torch.unique(chosen["group"], return_inverse=True)[1]
    return replace(batch, **chosen)


def tree_space(*, seed: int = 4) -> Space:
    policy = Tabular(rows=16, width=3, scale=1.0, seed=seed).double()
    reference = Tabular(rows=16, width=3, scale=1.0, seed=11).double().frozen_copy()
    log_z, flow, value = ProblemLogZ([p.key for p in PROBLEMS]), StateTable(rows=16), StateTable(rows=16)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for numbers in (log_z.values, flow.values, value.values):
            numbers.copy_(torch.randn(numbers.shape, generator=generator))
    return Space(
        tree(),
        policy,
        reference,
        Heads(
            log_z=log_z.double(), log_flow=flow.double(), value=value.double(), state_reward=partial(_guess, seed=seed)
        ),
        tree_reward,
    )


def bandit_space(rewards: Sequence[float]) -> Space:
    """Return one problem whose trajectories are one step of one token, with these log-rewards."""
    legal = tuple("abcdef"[: len(rewards)])
    seen = Observation("bandit", legal)
    plays = [
        Trajectory(Problem("bandit"), (Step(seen, Proposal(action, None, (i,))),), ACCEPTED)
        for i, action in enumerate(legal)
    ]
    policy, reference = (Tabular(rows=1, width=len(legal), scale=1.0, seed=seed).double() for seed in (4, 11))
    worth = dict(zip(legal, rewards, strict=True))
    return Space(
        plays,
        policy,
        reference.frozen_copy(),
        Heads(),
        lambda some: torch.tensor([worth[play.actions[0]] for play in some], dtype=torch.float64),
    )


def _guess(plays: Sequence[Trajectory], *, seed: int) -> Tensor:
    """Return any numbers for the states [B, S], the same for the same state."""
    rows = [
        [torch.tensor(float(sum(map(ord, step.observation.text)) + seed)).sin().item() for step in play.steps]
        for play in plays
    ]
    return nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.float64) for row in rows], batch_first=True)


def word_space(*, seed: int = 4) -> Space:
    policy, reference = TinyPolicy(["w"], seed=seed), TinyPolicy(["w"], seed=9).frozen_copy()
    heads = Heads(log_stop=policy.log_stop, log_stop_ref=reference.log_stop, prefix_reward=prefix_reward)
    return Space(
        words(),
        policy,
        reference,
        heads,
        lambda plays: torch.tensor([word_reward(play.actions[0]) for play in plays], dtype=torch.float64),
    )


def put(space: Space, log_target: Tensor, *, per: Tensor | None = None, beta: float, relative: bool) -> None:
    """Make the policy the normalised target [N] and the heads its exact flows, by sums over the tree.

    `log_target` is not normalised: its sum over a problem is Z. A flow is divided by `p_ref` of its state if
    `relative`, and by what `state_reward` credits if `per` is given.
    """
    if isinstance(space.policy, TinyPolicy):
        mass = log_target.softmax(0)
        with torch.no_grad():
            for row, prefix in enumerate(p for p in ACTIONS if len(p) < LONGEST):
                for token, word in enumerate((prefix, prefix + "a", prefix + "b")):
                    chosen = [a == word if token == 0 else a.startswith(word) for a in ACTIONS]
                    space.policy.table[0, row, token] = mass[torch.tensor(chosen)].sum().log()
        return
    with torch.no_grad():
        ref = space.reference.logp(space.plays)
        parts: dict[str, list[Tensor]] = {}  # the log target of what passes through a state, divided by p_ref(state)
        taken: dict[tuple[str, int], list[Tensor]] = {}
        credit: dict[str, Tensor] = {}
        for n, play in enumerate(space.plays):
            for i, step in enumerate(play.steps):
                text = step.observation.text
                taken.setdefault((text, step.proposal.tokens[0]), []).append(log_target[n])
                parts.setdefault(text, []).append(log_target[n] - (ref[n, :i].sum() if relative else 0.0))
                credit[text] = beta * per[n, i] if per is not None else torch.zeros(())
        space.policy.logp(space.plays)  # meets every observation
        for (text, token), logs in taken.items():
            space.policy.table[space.policy.met[text][0], token] = torch.stack(logs).logsumexp(0)
        flow, log_z = space.heads.log_flow, space.heads.log_z
        assert isinstance(flow, StateTable)
        assert isinstance(log_z, ProblemLogZ)
        flow(space.plays)
        for text, logs in parts.items():
            flow.values[flow.met[text]] = torch.stack(logs).logsumexp(0) - credit[text]
        for problem in PROBLEMS:
            own = torch.tensor([play.problem.key == problem.key for play in space.plays])
            log_z.values[log_z.rows[problem.key]] = log_target[own].logsumexp(0)


def distance(space: Space, log_target: Tensor) -> float:
    """Return the largest total variation between policy and target over problems: exact, over the whole space."""
    with torch.no_grad():
        keys = [play.problem.key for play in space.plays]
        found = []
        for key in dict.fromkeys(keys):
            own = torch.tensor([k == key for k in keys])
            policy = space.logp()[own].exp()
            assert abs(float(policy.sum()) - 1) < 1e-6
            found.append(float((policy - log_target[own].softmax(0)).abs().sum() / 2))
        return max(found)
