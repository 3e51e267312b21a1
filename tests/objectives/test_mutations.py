"""The checks of `checks.py` can fail: each objective is changed in its source, and its check must refuse the mutant."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from surpass.errors import SurpassError
from surpass.objectives import OBJECTIVES
from tests.objectives.checks import CHECKS, Function

TB_RESIDUAL = "batch.log_ratio(relative=relative).sum(dim=1) - beta * batch.log_reward.double()"
STEP_RATIO = "batch.by_step(batch.log_ratio(relative=relative), width)"
ADVANTAGE = "(reward - group_mean(batch, reward)) * count / (count - 1).clamp(min=1)"
MUTATIONS: dict[str, list[tuple[str, str]]] = {
    "log_variance": [
        (TB_RESIDUAL, TB_RESIDUAL.replace(" - beta", " + beta")),  # the sign of the reward
        (TB_RESIDUAL, TB_RESIDUAL.replace("relative=relative", "relative=False")),  # no reference
        (TB_RESIDUAL, TB_RESIDUAL.replace("beta * ", "")),  # no beta
        (TB_RESIDUAL, TB_RESIDUAL.split(" - ", maxsplit=1)[0]),  # no reward
        ("mean[batch.group]", "residual.mean()"),  # the wrong group
        ("-mean.detach().mean()", "mean.detach().mean()"),  # log Z recorded with the wrong sign
    ],
    "trajectory_balance": [
        (TB_RESIDUAL, TB_RESIDUAL.replace(" - beta", " + beta")),
        (TB_RESIDUAL, TB_RESIDUAL.replace("relative=relative", "relative=False")),
        (TB_RESIDUAL, TB_RESIDUAL.replace("beta * ", "")),
        ("(log_z + _residual", "(0 * log_z + _residual"),  # no log Z
        ("(log_z + _residual", "(-log_z + _residual"),
        ("(log_z + _residual", "(log_z.detach() + _residual"),  # a log Z that does not learn
    ],
    "subtrajectory_balance": [
        ("end = beta * batch", "end = -beta * batch"),
        ("end = beta * batch", "end = batch"),
        (STEP_RATIO, STEP_RATIO.replace("relative=relative", "relative=False")),
        (STEP_RATIO, f"-{STEP_RATIO}"),
        ("phi - torch.nn.functional.pad(gone, (1, 0))", "phi - torch.nn.functional.pad(gone, (0, 1))"),
        (".scatter(1, steps, end[:, None])", ".scatter(1, steps - 1, end[:, None])"),  # the end one step early
        ("pad(flow, (0, 1))", "pad(flow.detach(), (0, 1))"),  # flows that do not learn
        ("flow, beta=beta, lam=lam", "-flow, beta=beta, lam=lam"),
    ],
    "detailed_balance": [
        ("end = beta * batch", "end = -beta * batch"),
        (STEP_RATIO, STEP_RATIO.replace("relative=relative", "relative=False")),
        (STEP_RATIO, f"-{STEP_RATIO}"),
        ("flow, beta=beta, lam=0.0", "0 * flow, beta=beta, lam=0.0"),
    ],
    "forward_looking": [
        ("left + beta * earned", "left"),
        ("left + beta * earned", "left - beta * earned"),
        ("left + beta * earned", "left + earned"),
        ("left + beta * earned", "beta * earned"),
        ("end = beta * batch", "end = -beta * batch"),
        (STEP_RATIO, STEP_RATIO.replace("relative=relative", "relative=False")),
    ],
    "modified_subtb": [
        ("- torch.where(ends, stop, 0)", ""),
        ("- torch.where(ends, stop, 0)", "+ torch.where(ends, stop, 0)"),
        ("phi = phi + needed", "phi = phi - needed"),
        ("phi = phi + needed", "phi = phi + 0 * needed"),
        ("phi = beta * needed", "phi = -beta * needed"),
        ("phi - (ratio.cumsum(dim=1) - ratio)", "phi - ratio.cumsum(dim=1)"),  # one token too far
        ("batch.log_ratio(relative=relative) * batch.mask", "batch.log_ratio(relative=False) * batch.mask"),
        ("ends = batch.mask &", "ends = (batch.mask | True) &"),  # prefixes that are not there
    ],
    "flowrl": [
        ("- beta * reward", "+ beta * reward"),
        ("log_z + mean_ratio", "mean_ratio"),
        ("relative=relative) * batch.mask", "relative=False) * batch.mask"),
        (".sum(dim=1) / length", ".sum(dim=1)"),  # trajectory balance
        ("weight * residual", "residual"),
        ("clamp(max=math.log(largest_weight))", "clamp(max=99.0)"),
        ("(batch.logp.detach() - batch.logp_old)", "(batch.logp - batch.logp_old)"),  # a gradient through the weight
    ],
    "reinforce": [
        ("loss = -(advantage", "loss = (advantage"),
        (ADVANTAGE, "reward"),  # no baseline: more variance and no bias, but a group of one must teach nothing
        (ADVANTAGE, "(reward - group_mean(batch, reward))"),
        (ADVANTAGE, "(reward - reward.mean()) * count / (count - 1).clamp(min=1)"),
        ("reward = reward - kl *", "reward = reward + kl *"),
        ("reward = reward - kl *", "reward = reward - 0 * kl *"),
        ("batch.log_ratio().detach()", "batch.log_ratio(relative=False).detach()"),
        ("utility(batch.log_reward.double())", "utility(-batch.log_reward.double())"),
    ],
    "grpo": [
        ("return -(sums", "return (sums"),
        ("advantage = reward - group_mean(batch, reward)\n    if", "advantage = reward - reward.mean()\n    if"),
        ("advantage = advantage / (group_mean", "advantage = advantage * (group_mean"),
        ("gain - kl * penalty", "gain + kl * penalty"),
        ("torch.expm1(-x) + x", "torch.expm1(x) - x"),  # the ratio upside down
        ("torch.expm1(-x) + x", "x"),  # k1 in the loss: no gradient at all on average
        ("sums / batch.mask.sum(dim=1)", "sums"),
        ("torch.minimum(free, held)", "torch.maximum(free, held)"),
        ("torch.minimum(free, held)", "free"),
        ("torch.minimum(free, held)", "held"),
        ("clamp(1 - clip, 1 + clip)", "clamp(1 - clip, 9)"),
        ("clamp(1 - clip, 1 + clip)", "clamp(0, 1 + clip)"),
    ],
    "ppo": [
        ("- (gain * taken)", "+ (gain * taken)"),
        ("(place == steps - 1, reward", "(place == 0, reward"),
        ("earned = earned - kl", "earned = earned + kl"),
        ("pad(known, (0, 1))[:, 1:] - known", "pad(known, (0, 1))[:, 1:] + known"),
        ("torch.nn.functional.pad(known, (0, 1))[:, 1:] - known", "-known"),
        ("+= lam * advantage[:, k + 1]", "-= lam * advantage[:, k + 1]"),
        ("+= lam * advantage[:, k + 1]", "+= 0 * advantage[:, k + 1]"),
        ("value - known - advantage", "value - known + advantage"),
        ("value_weight * wrong", "wrong"),
        ("torch.minimum(free, held)", "free"),
        ("torch.minimum(free, held)", "torch.maximum(free, held)"),
    ],
    "dpo": [
        ("-label * logsigmoid(margin)", "label * logsigmoid(margin)"),
        ("slope[:, None] - slope[None, :]", "slope[None, :] - slope[:, None]"),
        ("batch.log_ratio().sum(dim=1))\n    margin", "batch.log_ratio(relative=False).sum(dim=1))\n    margin"),
        ("margin = beta * ", "margin = "),
        ("(lead > 0).double()", "(lead >= 0).double()"),  # ties as pairs
        ("batch.group[:, None] == batch.group[None, :]", "batch.group[:, None] >= batch.group[None, :]"),
        ("torch.sigmoid(strength * lead)", "torch.sigmoid(lead)"),
    ],
    "likelihood": [
        ("total = -batch.logp", "total = batch.logp"),
        ("batch.mask & batch.accepted[:, None]", "batch.mask"),
        ("max(1, rows if", "max(1, tokens if"),
    ],
    "confidence_limited": [
        ("loss = -torch.where", "loss = torch.where"),
        ("n * _log1mexp(common)", "_log1mexp(common)"),
        ("_log1mexp(n * _log1mexp(common))", "_log1mexp(n * common)"),
        ("chosen = batch.accepted if accepted_only", "chosen = torch.ones_like(batch.accepted) if accepted_only"),
    ],
    "reward_ranked": [
        ("loss = -batch", "loss = batch"),
        (
            "batch.log_reward[None, :] > batch.log_reward[:, None]",
            "batch.log_reward[None, :] < batch.log_reward[:, None]",
        ),
        ("(batch.group[:, None] == batch.group[None, :]) &", ""),
        ("chosen = allowed & ", "chosen = "),
        (".ceil()", ".floor()"),
        (" & allowed[None, :]", ""),
    ],
}


def mutant(name: str, old: str, new: str) -> Function:
    """Return the objective with `old` replaced in its module's source; the module itself stays as it is."""
    path, _, function = OBJECTIVES[name].partition(":")
    module = import_module(path)
    assert module.__file__ is not None
    source = Path(module.__file__).read_text()
    assert old in source, f"{path} no longer says {old!r}: renew the mutation"
    changed = ModuleType("mutant")
    exec(compile(source.replace(old, new), f"mutant of {module.__file__}", "exec"), changed.__dict__)
    found: Function = changed.__dict__[function]
    return found


def test_every_objective_is_mutated() -> None:
    assert set(MUTATIONS) == set(OBJECTIVES)


@pytest.mark.parametrize("name", ["reward_ranked", "log_variance", "flowrl", "ppo", "dpo"])
def test_an_unchanged_copy_passes(name: str) -> None:
    CHECKS[name](mutant(name, "from __future__ import annotations", "from __future__ import annotations"))


@pytest.mark.parametrize(("name", "old", "new"), [(name, *pair) for name, pairs in MUTATIONS.items() for pair in pairs])
def test_a_mutant_is_refused(name: str, old: str, new: str) -> None:
    with pytest.raises((AssertionError, SurpassError, RuntimeError, IndexError)):
        CHECKS[name](mutant(name, old, new))
