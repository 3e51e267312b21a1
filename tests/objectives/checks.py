"""What each objective promises, as functions that take the objective: the tests run them, mutants must not survive
them.

Balance: loss and gradient vanish at the enumerated target, and descent from elsewhere reaches it. Policy gradients: the
expected gradient over all samples is the enumerated gradient. Preferences and imitation: optima in closed form.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from surpass.models.tabular import Tabular
from surpass.objectives import preference
from surpass.objectives.batch import Metrics
from tests.objectives.spaces import Space, bandit_space, distance, put, select, tree_space, word_space

Function = Callable[..., tuple[Tensor, Metrics]]
BETA, KL = 0.7, 0.3


# Balance


def posterior(space: Space, *, relative: bool) -> Tensor:
    """Return log p_ref + beta log R of every trajectory, not normalised."""
    return BETA * space.reward(space.plays) + (space.log_ref() if relative else 0.0)


def length_weighted(space: Space, *, relative: bool) -> Tensor:
    """Return FlowRL's fixed point, log p_ref + |tau| (beta log R - log Z), and with it log Z, found by bisection."""
    lengths = torch.tensor([sum(len(s.proposal.tokens) for s in play.steps) for play in space.plays]).double()
    base, reward = (space.log_ref() if relative else torch.zeros(len(lengths)).double()), space.reward(space.plays)
    keys = [play.problem.key for play in space.plays]
    answer = torch.zeros_like(base)
    for key in dict.fromkeys(keys):
        own = torch.tensor([k == key for k in keys])
        low, high = -50.0, 50.0
        for _ in range(200):
            middle = (low + high) / 2
            total = (base + lengths * (BETA * reward - middle))[own].logsumexp(0)
            low, high = (middle, high) if total > 0 else (low, middle)
        answer[own] = (base + lengths * (BETA * reward - low))[own]
    return answer


def check_balance(function: Function, *, make: Callable[[], Space] = tree_space, credited: bool = False) -> None:
    """The posterior is where loss and gradient vanish, it is what descent finds, and the record names its log Z."""
    for relative in (True, False):
        objective, space = partial(function, beta=BETA, relative=relative), make()
        log_target = posterior(space, relative=relative)
        assert distance(space, log_target) > 0.1
        put(space, log_target, per=space.batch.state_reward if credited else None, beta=BETA, relative=relative)
        space.forget()
        vanishes(space, objective)
        if not credited:  # the record of credited flows is of what is left
            z = [log_target[r].logsumexp(0) for r in rows_by_problem(space)]
            recorded = objective(space.batch)[1]["log_z"]
            assert math.isclose(recorded, float(torch.stack(z).mean()), abs_tol=1e-6), recorded
        one = make()
        assert one.slope(objective)[0] > 0.05
        one.solve(objective)
        assert distance(one, log_target) < 0.01, distance(one, log_target)
        assert distance(one, posterior(space, relative=not relative)) > 0.1


def check_log_variance(function: Function) -> None:
    check_balance(function)
    check_groups(partial(function, beta=BETA))


def check_flowrl(function: Function) -> None:
    for relative in (True, False):
        objective, space = partial(function, beta=BETA, relative=relative), tree_space()
        log_target = length_weighted(space, relative=relative)
        assert all(abs(float(log_target[rows].logsumexp(0))) < 1e-9 for rows in rows_by_problem(space))
        assert distance(space, log_target) > 0.1
        space.solve(objective)
        assert distance(space, log_target) < 0.01
        assert distance(space, posterior(space, relative=relative)) > 0.05  # the posterior it is not
        assert space.slope(objective)[0] < 1e-6
    check_weight(function)


def check_weight(function: Function) -> None:
    """Rows whose probability has risen count more, up to the largest weight, without a gradient through the weight."""
    space = tree_space()
    batch = select(space.batch, [0])
    fresh, _ = function(batch, beta=BETA)
    batch = replace(batch, logp_old=batch.logp.detach() - math.log(3.0))
    moved, _ = function(batch, beta=BETA)
    assert math.isclose(moved.item(), 3 * fresh.item())
    slopes = [torch.autograd.grad(loss, space.batch.logp, retain_graph=True)[0] for loss in (fresh, moved)]
    torch.testing.assert_close(slopes[1], 3 * slopes[0])
    batch = replace(batch, logp_old=batch.logp.detach() - 100.0)
    assert math.isclose(function(batch, beta=BETA, largest_weight=5.0)[0].item(), 5 * fresh.item())


def vanishes(space: Space, objective: Function) -> None:
    loss, slopes = space.slope(objective)
    assert loss < 1e-16, loss
    for name, slope in slopes.items():
        assert slope.abs().max() < 1e-8, name


def rows_by_problem(space: Space) -> list[list[int]]:
    keys = [play.problem.key for play in space.plays]
    return [[i for i, k in enumerate(keys) if k == key] for key in dict.fromkeys(keys)]


# Policy gradients


def expected(space: Space, objective: Function, n: int, rows: list[int]) -> Tensor:
    """Return the expectation of the gradient on `logp` [N, T] over all samples of n among `rows`."""
    with torch.no_grad():
        p = space.logp().exp()
    total = torch.zeros_like(space.batch.logp)
    for chosen in itertools.product(rows, repeat=n):
        probability = math.prod(float(p[i]) for i in chosen)
        total += probability * space.slope(objective, chosen)[1].get("logp", torch.zeros_like(total))
    return total


def through_policy(space: Space, slope: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad((space.policy.logp(space.plays) * slope).sum(), list(space.policy.parameters()))
    return grad


def exact(space: Space, rows: list[int], *, kl: float) -> Tensor:
    """Return the gradient of -(E[log R] - kl KL(P_F || p_ref)), by enumeration."""
    logp = space.logp()[rows]
    gain = space.reward(space.plays)[rows] - kl * (logp - space.log_ref()[rows])
    (grad,) = torch.autograd.grad(-(logp.exp() * gain).sum(), list(space.policy.parameters()))
    return grad


def check_reinforce(function: Function) -> None:
    space = tree_space()
    rows = rows_by_problem(space)[0]
    check_groups(function)
    check_utility(function)
    for n, kl in ((2, 0.0), (2, KL), (3, KL)):
        found = through_policy(space, expected(space, partial(function, kl=kl), n, rows))
        torch.testing.assert_close(found, exact(space, rows, kl=kl), atol=1e-7, rtol=1e-5)
    assert not space.slope(function, [0])[1]["logp"].any()  # one trajectory has no baseline


def check_groups(function: Function) -> None:
    """Two problems in a batch teach what they teach alone, in equal parts."""
    space = tree_space()
    left, right = [0, 3, 1], [6, 8, 10]  # of different mean rewards
    apart = [space.slope(function, rows)[1]["logp"] for rows in (left, right)]
    together = space.slope(function, left + right)[1]["logp"]
    torch.testing.assert_close(together, (apart[0] + apart[1]) / 2)


def check_utility(function: Function) -> None:
    """What is maximised is the utility of log R; a constant in it does not matter."""
    space = tree_space()
    plain, thrice = (
        space.slope(partial(function, utility=utility), [0, 3])[1]["logp"]
        for utility in (lambda log_r: log_r, lambda log_r: 3.0 * log_r + 1.0)
    )
    torch.testing.assert_close(thrice, 3 * plain)
    assert plain.abs().max() > 0.1


def check_grpo(function: Function) -> None:
    space = tree_space()
    rows = rows_by_problem(space)[0]
    plain = partial(function, scale="none", lengths="sum")
    check_groups(function)
    check_clip(function)
    check_grpo_fixed_point(plain)
    for n in (2, 3):  # the baseline holds the sample itself: (n - 1) / n of the gradient
        found = through_policy(space, expected(space, plain, n, rows))
        torch.testing.assert_close(found, (n - 1) / n * exact(space, rows, kl=0.0), atol=1e-7, rtol=1e-5)
    with_kl = through_policy(space, expected(space, partial(plain, kl=KL), 2, rows))
    torch.testing.assert_close(
        with_kl - through_policy(space, expected(space, plain, 2, rows)),
        KL * forward_kl_along(space, rows),
        atol=1e-7,
        rtol=1e-5,
    )
    for lengths in ("mean", "sum"):  # two samples, divided by their deviation: only who is better counts
        found = through_policy(space, expected(space, partial(function, lengths=lengths), 2, rows))
        torch.testing.assert_close(found, win_rate_slope(space, rows, lengths=lengths), atol=1e-3, rtol=1e-3)


def check_grpo_fixed_point(plain: Function) -> None:
    """P_F = p_ref k / (k + E[r] - r) on single tokens, with E[r] found by bisection."""
    space, kl, n = bandit_space([0.5, -0.2, 0.1]), 1.5, 2
    ref, reward, k = space.log_ref().exp(), space.reward(space.plays), kl * n / (n - 1)
    low, high = float(reward.max()), float(reward.max()) + k  # of k + E[r]
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (ref * k / (middle - reward)).sum() > 1 else (low, middle)
    assert isinstance(space.policy, Tabular)
    with torch.no_grad():
        space.policy.logp(space.plays)
        space.policy.table[0] = (ref * k / (low - reward)).log()
    slope = through_policy(space, expected(space, partial(plain, kl=kl), n, [0, 1, 2]))
    assert slope.abs().max() < 1e-9
    assert (space.logp().exp() - (space.log_ref() + reward / kl).softmax(0)).abs().max() > 1e-2  # not the posterior


def forward_kl_along(space: Space, rows: list[int]) -> Tensor:
    """Return the gradient of the sum over visited states of KL(p_ref || P_F) there, visits held fixed."""
    models = [model for model in (space.policy, space.reference) if isinstance(model, Tabular)]
    total = torch.zeros(())
    with torch.no_grad():
        p = space.logp().exp()
    for i in rows:
        for step in space.plays[i].steps:
            legal = len(step.observation.legal or ())
            ours, theirs = (m.table[m.met[step.observation.text][0], :legal].log_softmax(0) for m in models)
            total = total + p[i] * (theirs.exp() * (theirs - ours)).sum()
    (grad,) = torch.autograd.grad(total, list(space.policy.parameters()))
    return grad


def win_rate_slope(space: Space, rows: list[int], *, lengths: str) -> Tensor:
    logp, reward = space.logp()[rows], space.reward(space.plays)[rows]
    p = logp.exp().detach()
    lead = torch.sign(reward[:, None] - reward[None, :]) @ p
    size = torch.tensor([len(space.plays[i].steps) if lengths == "mean" else 1 for i in rows])
    (grad,) = torch.autograd.grad(-(p * lead * logp / size).sum(), list(space.policy.parameters()))
    return grad


def check_clip(function: Function) -> None:
    """Beyond 1 + clip a ratio has no gradient where it gains, and keeps it where it loses; below 1 - clip, reversed."""
    space = tree_space()
    pair = [3, 4]  # of three steps each: the first is better
    advantage = torch.tensor([1.0, -1.0])
    for shift, inside in ((0.5, False), (-0.5, False), (0.1, True), (-0.1, True)):
        batch = select(space.batch, pair)
        batch = replace(batch, logp_old=batch.logp.detach() - shift * batch.mask)
        if batch.value is not None:  # a baseline that gives these two advantages of either sign
            batch = replace(batch, value=torch.zeros_like(batch.value).requires_grad_())
            batch = replace(batch, log_reward=advantage.double())
        (slope,) = torch.autograd.grad(function(batch)[0], space.batch.logp)
        moves = slope[pair].abs().sum(1) > 1e-9
        held = [shift > 0, shift < 0]
        assert [bool(m) for m in moves] == ([True, True] if inside else [not h for h in held]), (shift, moves)


def check_ppo(function: Function) -> None:
    space = tree_space()
    rows = rows_by_problem(space)[0]
    for kl in (0.0, KL):  # any values: lam = 1 is without bias
        found = through_policy(space, expected(space, partial(function, lam=1.0, kl=kl), 1, rows))
        torch.testing.assert_close(found, exact(space, rows, kl=kl), atol=1e-7, rtol=1e-5)
    set_values(space, rows, kl=KL)
    for lam in (0.0, 0.6):  # exact values: any lam is
        found = through_policy(space, expected(space, partial(function, lam=lam, kl=KL), 1, rows))
        torch.testing.assert_close(found, exact(space, rows, kl=KL), atol=1e-7, rtol=1e-5)
    with torch.no_grad():
        p = space.logp().exp()
    drift = 0.0  # exact values are where the value loss is least
    for row in rows:
        slope = space.slope(partial(function, lam=1.0, kl=KL), [row])[1]["value"]
        drift += float(p[row] * slope.sum()) * count(space, row)
    assert abs(drift) < 1e-9
    batch = select(space.batch, rows)
    assert batch.value is not None
    taken = torch.arange(batch.value.shape[1]) < batch.steps()[:, None]
    high = (batch.value + taken).detach().requires_grad_()
    loss, _ = function(replace(batch, value=high), lam=1.0, kl=KL, value_weight=0.5)
    (up,) = torch.autograd.grad(loss, high)
    torch.testing.assert_close(up, (high.detach() - returns(space, rows, kl=KL)) * taken / taken.sum())
    check_clip(partial(function, value_weight=0.0, lam=1.0))


def count(space: Space, row: int) -> int:
    return len(space.plays[row].steps)


def returns(space: Space, rows: list[int], *, kl: float) -> Tensor:
    """Return what each state of a trajectory still earns [N, S], by hand."""
    answer = torch.zeros(len(rows), space.batch.logp.shape[1], dtype=torch.float64)
    ratio = space.batch.log_ratio().detach()
    for n, row in enumerate(rows):
        still = float(space.batch.log_reward[row])
        for i in reversed(range(count(space, row))):
            still -= kl * float(ratio[row, i])
            answer[n, i] = still
    return answer


def set_values(space: Space, rows: list[int], *, kl: float) -> None:
    """Put the expected return of every state into the value head, by enumeration."""
    back = returns(space, rows, kl=kl)
    head = space.heads.value
    with torch.no_grad():
        p = space.logp().exp()
        texts: dict[str, list[tuple[float, float]]] = {}
        for n, row in enumerate(rows):
            for i, step in enumerate(space.plays[row].steps):
                texts.setdefault(step.observation.text, []).append((float(p[row]), float(back[n, i])))
        for text, pairs in texts.items():
            mean = sum(w * r for w, r in pairs) / sum(w for w, _ in pairs)
            head.values[head.met[text]] = mean  # type: ignore[union-attr]
    space.forget()


# Preferences

DIVERGENCES: dict[str, tuple[preference.Divergence, Callable[[Tensor], Tensor]]] = {  # f' of the library, f by hand
    "reverse_kl": (preference.reverse_kl, lambda u: u * u.log()),
    "forward_kl": (preference.forward_kl, lambda u: -u.log()),
    "jensen_shannon": (preference.jensen_shannon, lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log()),
    "alpha": (
        partial(preference.alpha_divergence, alpha=0.4),
        lambda u: (u**0.6 - 0.6 * u - 0.4) / (0.4 * (0.4 - 1)),
    ),
}


def check_dpo(function: Function) -> None:
    space = tree_space()
    log_target = posterior(space, relative=True)
    agreeing = partial(function, beta=1.0, strength=BETA)
    put(space, log_target, beta=BETA, relative=True)
    assert all(slope.abs().max() < 1e-9 for slope in space.slope(agreeing)[1].values())
    one = tree_space()
    one.solve(agreeing)
    assert distance(one, log_target) < 0.01
    check_hard_pairs(function)
    check_groups(partial(function, beta=BETA))
    for name in DIVERGENCES:
        check_divergence(function, name)


def check_hard_pairs(function: Function) -> None:
    """- log s(beta (h_better - h_worse)) for the pairs of a problem, none for a tie, by hand."""
    space = tree_space()
    rows = [0, 1, 3, 3]  # log R -1, 0.5, 1, 1
    ratio = (space.logp() - space.log_ref()).detach()[rows].tolist()
    pairs = [(1, 0), (2, 0), (3, 0), (2, 1), (3, 1)]
    by_hand = sum(math.log1p(math.exp(-BETA * (ratio[a] - ratio[b]))) for a, b in pairs) / len(pairs)
    loss, metrics = function(select(space.batch, rows), beta=BETA)
    assert math.isclose(loss.item(), by_hand, rel_tol=1e-9)
    assert metrics["pairs"] == len(pairs)


def check_divergence(function: Function, name: str) -> None:
    """The optimum of labels of strength s is that of  s E[log R] - beta D_f(P_F || p_ref),  found without pairs."""
    slope_of, f = DIVERGENCES[name]
    space = tree_space()
    keys = [rows_by_problem(space)[0]]
    space.plays = [space.plays[i] for i in keys[0]]
    ref, reward = space.log_ref().exp(), space.reward(space.plays)
    logits = torch.zeros(len(ref), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure() -> float:
        optimiser.zero_grad()
        p = logits.softmax(0)
        loss = -(0.3 * p @ reward - 0.5 * (ref * f(p / ref)).sum())
        torch.autograd.backward(loss)
        return loss.item()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    put(space, logits.detach().log_softmax(0), beta=BETA, relative=True)
    _, slopes = space.slope(partial(function, beta=0.5, strength=0.3, divergence=slope_of))
    assert through_policy(space, slopes["logp"]).abs().max() < 1e-5, name


# Imitation


def check_likelihood(function: Function) -> None:
    space = tree_space()
    rows = [0, 0, 0, 3, 3, 5]
    assert_close(function(select(space.batch, rows))[0], -space.logp().detach()[rows].mean())
    batch = select(space.batch, rows)
    batch = replace(batch, accepted=torch.tensor([True, False, True, True, False, False]))
    assert_close(function(batch)[0], -space.logp().detach()[[0, 0, 3]].mean())
    lengths = torch.tensor([1, 1, 3]).sum()
    assert_close(function(batch, normalise="token")[0], -space.logp().detach()[[0, 0, 3]].sum() / lengths)
    assert_close(function(batch, accepted_only=False)[0], -space.logp().detach()[rows].mean())


def assert_close(found: Tensor, by_hand: Tensor) -> None:
    assert math.isclose(found.item(), by_hand.item(), rel_tol=1e-9), (found.item(), by_hand.item())


def check_confidence(function: Function) -> None:
    space = tree_space()
    rows = [0, 3, 5]
    p = space.logp().detach()[rows].exp()
    for n in (1, 2, 16):
        assert_close(function(select(space.batch, rows), n=n)[0], -(1 - (1 - p) ** n).log().mean())
        weight = n * p * (1 - p) ** (n - 1) / (1 - (1 - p) ** n)
        slope = space.slope(partial(function, n=n), rows)[1]["logp"]
        torch.testing.assert_close((slope * space.batch.mask)[rows], -weight[:, None] / 3 * space.batch.mask[rows])
    batch = select(space.batch, rows)
    batch = replace(batch, accepted=torch.tensor([True, False, True]))
    assert_close(function(batch, n=4)[0], -(1 - (1 - p[[0, 2]]) ** 4).log().mean())
    seen = [0] * 6 + [1] * 3 + [2]
    learned = tree_space()
    learned.plays = [learned.plays[i] for i in seen]
    learned.solve(partial(function, n=4), steps=100)
    p = learned.logp().detach().exp()[[0, 6, 9]]
    pressure = torch.tensor([0.6, 0.3, 0.1]).double() * 4 * (1 - p) ** 3 / (1 - (1 - p) ** 4)
    assert abs(float(p.sum()) - 1) < 1e-3
    assert float(pressure.max() / pressure.min()) < 1.05
    assert float(p[0]) < 0.55  # flatter than the demonstrations


def check_reward_ranked(function: Function) -> None:
    space = tree_space()
    rows = [0, 1, 2, 3, 3, 6, 7, 8, 9, 10]  # log R: -1 .5 -2 1 1 | 1.5 -3 0 -1 2
    for fraction, chosen in ((0.2, [3, 3, 10]), (0.4, [3, 3, 10, 6]), (0.5, [3, 3, 1, 10, 6, 8]), (1.0, rows)):
        found = function(select(space.batch, rows), fraction=fraction)[0]
        assert_close(found, -space.logp().detach()[chosen].mean())
    batch = select(space.batch, rows)
    batch = replace(batch, accepted=torch.tensor([True, True, True, False, False, *[False] * 5]))
    assert_close(function(batch, fraction=0.3)[0], -space.logp().detach()[[1]].mean())
    assert_close(function(batch, fraction=0.2, accepted_only=False)[0], -space.logp().detach()[[3, 3, 10]].mean())


CHECKS: dict[str, Callable[[Function], None]] = {
    "likelihood": check_likelihood,
    "confidence_limited": check_confidence,
    "reward_ranked": check_reward_ranked,
    "log_variance": check_log_variance,
    "trajectory_balance": check_balance,
    "subtrajectory_balance": check_balance,
    "detailed_balance": check_balance,
    "forward_looking": partial(check_balance, credited=True),
    "modified_subtb": partial(check_balance, make=word_space),
    "flowrl": check_flowrl,
    "reinforce": check_reinforce,
    "grpo": check_grpo,
    "ppo": check_ppo,
    "dpo": check_dpo,
}
