"""Learning agents: the arithmetic of PPO, populations that share nothing, and (slow) that they learn what they must."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from surpass.domains.economy.agents import PPO, Core, Episode, Heads, advantages, learn, play
from surpass.domains.economy.learning import LearningCommons, load_core
from surpass.domains.economy.rules import AHEAD, ASIDE, MOST_AGENTS, WHO, rules_of
from surpass.domains.economy.simulator import Commons
from surpass.domains.economy.society import JudgedBy, SocietyError, surface, terms
from surpass.errors import ConfigError
from surpass.threads import one_thread

RULES = replace(rules_of("harvest"), length=20)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def episode(seeds: list[int], core: Core, heads: Heads, games: int = 1) -> Episode:
    commons = Commons(RULES, [seed * 10 + game for seed in seeds for game in range(games)])
    return play(commons, core, heads, torch.zeros(len(seeds), games, 3), seeds=seeds, keep=True)


def test_advantages_are_those_of_the_definition() -> None:
    chance, ppo = np.random.default_rng(0), PPO(gamma=0.9, lam=0.7)
    rewards, values = chance.standard_normal(6), chance.standard_normal(6)
    after = np.append(values[1:], 0)
    deltas = rewards + 0.9 * after - values
    expected = [sum((0.9 * 0.7) ** k * deltas[t + k] for k in range(6 - t)) for t in range(6)]
    found = advantages(torch.tensor(rewards)[:, None], torch.tensor(values)[:, None], ppo)
    assert found[:, 0].numpy() == pytest.approx(np.array(expected))


def test_a_play_records_what_was_seen_and_done() -> None:
    core, heads = Core(), Heads(7, [0, 1])
    played = episode([0, 1], core, heads, games=2)
    assert played.views.shape == (20, 2, 14, 11, 11)
    assert played.actions.shape == played.logp.shape == played.values.shape == (20, 2, 14)
    own = played.views[0, :, :, AHEAD, ASIDE] // WHO % WHO - 1
    players = played.features[0, :, :, -MOST_AGENTS - 3 : -3].argmax(-1).numpy()
    assert np.array_equal(own, players), "each row knows which player it is"
    logits, values = heads(played.features[3])
    logs = torch.log_softmax(logits, -1).gather(-1, played.actions[3][..., None])[..., 0]
    assert torch.allclose(logs, played.logp[3], atol=1e-5)
    assert torch.allclose(values, played.values[3], atol=1e-5)
    counts = np.bincount(played.actions.flatten().numpy(), minlength=7)
    assert counts.min() > counts.sum() / 7 * 0.6, "fresh heads act at random"


def test_populations_share_nothing() -> None:
    """Two populations in one batch learn what each of them learns alone."""
    torch.manual_seed(0)
    core, ppo = Core().requires_grad_(False), PPO(minibatch=32, lr=0.01)

    def learned(seeds: list[int]) -> Heads:
        heads = Heads(7, seeds)
        played = episode(seeds, core, heads)
        rewards = torch.from_numpy(played.ate.astype(np.float32)).flatten(2) + played.actions / 10
        learn(played, rewards, None, heads, torch.optim.Adam(heads.parameters(), lr=ppo.lr), ppo, seeds=seeds)
        return heads

    both = learned([3, 4])
    for index, alone in enumerate((learned([3]), learned([4]))):
        assert torch.allclose(both.actor[index], alone.actor[0], atol=1e-4)
        assert torch.allclose(both.critic_bias[index], alone.critic_bias[0], atol=1e-4)
    assert not torch.allclose(both.actor[0], both.actor[1], atol=1e-2)


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_rewarded_is_done_more_often(whole: bool) -> None:
    """Turning left is paid; nothing else is. The core learns too, unless it is frozen."""
    torch.manual_seed(0)
    core, heads, ppo = Core(), Heads(7, [0]), PPO(lr=3e-3)
    before = core.first.weight.detach().clone()
    learned = [*heads.parameters(), *(core.parameters() if whole else ())]
    optimiser, shares = torch.optim.Adam(learned, lr=ppo.lr), list[float]()
    for update in range(8):
        played = episode([update], core, heads)
        turned = (played.actions == 5).float()
        shares.append(float(turned.mean()))
        learn(played, turned, core if whole else None, heads, optimiser, ppo, seeds=[update])
    assert shares[0] < 0.25
    assert shares[-1] > 0.4
    assert torch.equal(before, core.first.weight) != whole


def test_a_term_is_told_in_numbers_and_repeats() -> None:
    society = LearningCommons(RULES, load_core(), episodes=2, games=2)
    terms = society.steps([(0, 0, 0), (0, 0.5, 1)], [1, 2])
    assert terms.welfare.shape == (3, 2)
    assert terms.apples.shape == (3, 20, 2)
    assert terms.metrics == society.steps([(0, 0, 0), (0, 0.5, 1)], [1, 2]).metrics
    assert [one.welfare for one in terms.metrics] == terms.welfare[-1].tolist()
    told = dict(terms.metrics[0].values)
    assert told["cost"] == 0
    assert told["apples after 100%"] == terms.apples[-1, -1, 0]
    assert society.step((0, 0, 0), seed=1).welfare >= 0
    games = Commons(RULES, [game for those in terms.games for game in those])
    ate = [games.step(actions.reshape(4, 7)).ate for actions in terms.actions]
    assert np.sum(ate, axis=0).reshape(2, 2, 7).mean((1, 2)) == pytest.approx(terms.welfare[-1]), "seen again"


def test_clean_up_is_played_for_incentives() -> None:
    rules = replace(rules_of("cleanup"), length=20)
    metrics = LearningCommons(rules, load_core(), episodes=1).step((0, 0, 1), seed=0)
    told = dict(metrics.values)
    assert told["cost"] > 0
    assert metrics.welfare <= 0.1 * told["eaten"]
    judged = JudgedBy(LearningCommons(rules, load_core(society="cleanup"), episodes=1), "eaten")
    (again,) = terms(judged, [(0, 3, 0)], [1])
    assert again == judged.step((0, 3, 0), seed=1)
    assert again.welfare == pytest.approx(10 * (dict(again.values)["own welfare"] + dict(again.values)["cleaned"]))
    assert [rate.name for rate in LearningCommons(rules, load_core()).rates] == ["eating", "cleaning", "neither"]


@pytest.mark.parametrize("field", ["episodes", "games"])
def test_terms_without_length_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        LearningCommons(RULES, load_core(), **{field: 0})  # type: ignore[arg-type]


def test_a_society_is_not_judged_by_what_it_does_not_tell() -> None:
    with pytest.raises(SocietyError, match="expected a metric 'apples', found none"):
        JudgedBy(surface(0), "apples").step((0, 0, 0), seed=0)
    assert JudgedBy(surface(0), "apples").context(0) == ()


def test_what_cannot_be_learned_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="one length"):
        LearningCommons(rules_of("harvest", "melting_pot"), load_core())
    society = LearningCommons(RULES, load_core())
    with pytest.raises(ConfigError, match="low income: expected a number from 0 to 1, found nan"):
        society.step((float("nan"), 0, 0), seed=0)
    with pytest.raises(ConfigError, match="seeds"):
        society.steps([(0, 0, 0)], [])
    for field in ("lr", "clip", "epochs", "minibatch", "gamma"):
        with pytest.raises(ConfigError, match=field):
            PPO(**{field: -1})


@pytest.mark.slow  # three minutes of one core
def test_without_a_policy_they_deplete_the_commons_and_under_a_tax_they_do_not() -> None:
    society = LearningCommons(rules_of("harvest"), load_core())
    policies = [(0.0, 0.0, 0.0)] * 8 + [(0.0, 0.5, 1.0)] * 8
    terms = society.steps(policies, [*range(8)] * 2)
    free, taxed = terms.welfare[-1, :8], terms.welfare[-1, 8:]
    error = float(np.sqrt((free.var(ddof=1) + taxed.var(ddof=1)) / 8))
    assert taxed.mean() - free.mean() > 3 * error
    assert terms.welfare[0, :8].mean() > free.mean() + 5, "learning to eat faster, they earn less"
    halfway = terms.apples[-1, 500]
    assert halfway[:8].mean() < 5
    assert halfway[8:].mean() > 10
