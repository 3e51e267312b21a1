"""The network as a policy: one tree of tokens is as good as one row for each step; weights go to a file and back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from surpass.core import Observation
from surpass.domains.economy.principals.in_context.model import POSITIONS, Policymaker
from surpass.domains.economy.principals.in_context.reading import LEVELS, MOST_RATES, SHARE, TERMS
from surpass.domains.economy.principals.in_context.teaching import example, lessons
from surpass.errors import ModelError


@pytest.fixture(scope="module")
def model() -> Policymaker:
    return Policymaker.untrained(1)


def test_a_tree_says_what_its_branches_say(model: Policymaker) -> None:
    some = [one for seed in range(3) for one in lessons(str(seed), example(seed), seed)]
    together = model.logp(some)
    assert together.requires_grad
    for row, trajectory in zip(together.detach(), some, strict=True):
        alone = torch.cat([model.logp([replace(trajectory, steps=(step,))])[0] for step in trajectory.steps]).detach()
        torch.testing.assert_close(row[: len(alone)], alone, rtol=0, atol=1e-5)
        assert not row[len(alone) :].any()


def test_what_is_sampled_has_the_log_probability_that_is_told(model: Policymaker) -> None:
    _, best = lessons("0", example(5), 5)
    step = best.steps[-1]
    [[proposal]] = model.propose([step.observation], 1, seeds=[3])
    assert len(proposal.tokens) == len(step.proposal.action.split())
    taken = replace(best, steps=(replace(step, proposal=proposal),))
    assert float(model.logp([taken]).detach().sum()) == pytest.approx(proposal.logp, abs=1e-4)


def test_an_answer_needs_its_tokens_only_where_it_is_not_said_to_what(model: Policymaker) -> None:
    _, best = lessons("0", example(6), 6)
    bare = [replace(step, proposal=replace(step.proposal, tokens=())) for step in best.steps]
    torch.testing.assert_close(model.logp([replace(best, steps=tuple(bare))]), model.logp([best]))
    with pytest.raises(ModelError, match="expected the tokens of an answer"):
        model.encode("$0.50$")


def test_a_row_depends_on_itself_alone(model: Policymaker) -> None:
    seen = [step.observation for seed in range(3) for step in lessons("0", example(seed), 0)[0].steps[5:8]]
    together = model.propose(seen, 2, seeds=range(len(seen)))
    for seed, (one, row) in enumerate(zip(seen, together, strict=True)):
        alone = model.propose([one], 2, seeds=[seed])[0]
        assert [proposal.tokens for proposal in alone] == [proposal.tokens for proposal in row]
    greedy = model.tempered(0.0)
    assert greedy.propose(seen[:1], 1, seeds=[0]) == greedy.propose(seen[:1], 1, seeds=[1])
    assert model.temperature == 1.0


def test_numbers_that_are_near_look_alike(model: Policymaker) -> None:
    table = model.network.model.embed_tokens.weight.detach()[SHARE : SHARE + LEVELS]
    alike = torch.nn.functional.cosine_similarity(table[:-20], table[20:]).mean()
    near = torch.nn.functional.cosine_similarity(table[:-1], table[1:]).mean()
    assert near > 0.95
    assert near > alike + 0.2


def test_equal_seeds_give_equal_weights_and_chance_elsewhere_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, third = (Policymaker.untrained(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_weights_in_a_file(model: Policymaker, tmp_path: Path) -> None:
    path = tmp_path / "policymaker.safetensors"
    model.save(path)
    assert path.stat().st_size < 3e6
    loaded = Policymaker.load(path)
    assert not any(one.requires_grad for one in loaded.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(ModelError, match="surpass economy policymaker"):
        Policymaker.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="surpass economy policymaker"):
        Policymaker.load(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="not a policymaker's"):
        Policymaker.load(path)


def test_the_longest_text_fits(model: Policymaker) -> None:
    assert 1 + TERMS * (1 + 1 + MOST_RATES + 1 + 1) + MOST_RATES + 1 <= POSITIONS
    text = f"rates: {MOST_RATES}\n"
    reminder = "".join(f"[best {rate} 1] " for rate in range(1, MOST_RATES + 1))
    text += "".join(f"{n}. [context 1] $1.00 1.00 1.00 1.00 1.00$ -> {n}; best\n" for n in range(1, TERMS))
    assert model.propose([Observation(f"{text}{TERMS}. [context 1] {reminder}[aim 1] ")], 1, seeds=[0])
