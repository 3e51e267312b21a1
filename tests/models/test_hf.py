"""Language models as policies: text and tokens, the layout of log-probabilities, weights, folders and their errors."""

import copy
import json
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BloomConfig, BloomForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer

from surpass.core import Observation, Policy, Proposal, Scorer, Trajectory
from surpass.errors import ConfigError, ModelError
from surpass.models.hf import LanguageModel, Layout, LoraSpec, Placement
from surpass.models.log_z import LogZ
from tests.models.tiny import TEXTS, causal, observations, save_byt5, trajectory

LINES = st.text().map(lambda text: " ".join(text.split("\n")).strip())


@pytest.fixture(scope="module")
def byt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_byt5(tmp_path_factory.mktemp("byt5"))


@pytest.fixture(scope="module")
def seq2seq(byt5: Path) -> LanguageModel:
    return LanguageModel.load(byt5)


@given(LINES)
@settings(deadline=None)
def test_actions_survive_their_tokens(seq2seq: LanguageModel, action: str) -> None:
    for policy in (causal(), seq2seq):
        tokens = policy.encode(action)
        assert policy.decode(tokens) == action
        assert tokens[-1] in policy.vocabulary.ends
        assert not policy.vocabulary.ends.intersection(tokens[:-1])
        assert not policy.truncated(Proposal(action, None, tokens))


def test_an_action_of_two_lines_is_refused() -> None:
    with pytest.raises(ModelError, match="one line"):
        causal().encode("intros.\nauto.")


def test_decoding_stops_at_the_newline_and_forgives_unnamed_ids() -> None:
    policy = causal()
    tokens = (*policy.encode("auto."), *policy.encode("ignored"), len(policy.tokenizer) + 5)
    assert policy.decode(tokens) == "auto."
    assert policy.decode(policy.encode("auto.")[:-1]) == "auto."  # truncated


def test_a_long_prompt_keeps_its_tail_and_separator(seq2seq: LanguageModel) -> None:
    policy = causal()
    [short], [long] = (policy.prompts([Observation(text)]) for text in ("tail", "head " * 500 + "tail"))
    assert len(long) == policy.layout.max_prompt
    assert long[0] == short[0] == policy.tokenizer.bos_token_id
    assert long[-len(short) + 1 :] == short[1:]
    assert policy.tokenizer.decode(list(short[1:])) == "tail\naction:\n"
    [encoded] = seq2seq.prompts([Observation("head " * 500 + "tail")])
    assert len(encoded) == 900
    assert seq2seq.tokenizer.decode(list(encoded[-5:])) == "tail</s>"


def test_a_prompt_of_no_tokens_is_refused() -> None:
    policy = LanguageModel(causal().weights, Layout("", 64, 16))
    policy._before = ()  # as where the tokenizer has no token that begins a text
    with pytest.raises(ModelError, match="separator"):
        policy.propose([Observation("x"), Observation("")], 1, seeds=[0, 1])


def test_logp_is_laid_out_by_step_with_gradient() -> None:
    policy = causal()
    first, second = observations(1, 2)
    demonstration, sampled = Proposal("auto."), policy.propose([second], 1, seeds=[7])[0][0]
    both, single = trajectory((first, demonstration), (second, sampled)), trajectory((second, sampled))
    empty: Trajectory = trajectory()
    found = policy.logp([both, single, empty])
    tokens = policy.encode("auto.")
    assert found.shape == (3, len(tokens) + len(sampled.tokens))
    expected = policy.logp_pairs(policy.prompts([first, second]), [tokens, sampled.tokens])
    torch.testing.assert_close(found[0], torch.cat(expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1, : len(sampled.tokens)], expected[1], atol=1e-4, rtol=0)
    assert found[1, len(sampled.tokens) :].eq(0).all()
    assert found[2].eq(0).all()
    gradients = torch.autograd.grad(found.sum(), list(policy.parameters()))
    assert any(bool(gradient.abs().sum() > 0) for gradient in gradients)
    assert policy.logp([]).shape == (0, 0)


def test_logp_has_the_gradient_of_separate_rows() -> None:
    """Shared prompts, packed actions and equal rows computed once must not change the gradient."""
    policy = causal()
    first, second = observations(1, 6)
    rows = [trajectory((seen, Proposal(text))) for seen in (first, second) for text in ("auto.", "auto.", "apply x.")]
    parameters = list(policy.parameters())
    together = torch.autograd.grad(policy.logp(rows).sum(), parameters)
    apart = [torch.autograd.grad(policy.logp([row]).sum(), parameters) for row in rows]
    for number, gradient in enumerate(together):
        torch.testing.assert_close(gradient, sum(one[number] for one in apart), atol=2e-3, rtol=1e-3)


def test_scores_renormalise_over_legal_actions() -> None:
    policy = causal()
    seen = Observation("|- a", legal=("auto.", "x"))
    [scored] = policy.score([seen])
    totals = [
        float(one.sum().detach())
        for one in policy.logp_pairs(policy.prompts([seen]) * 2, [*map(policy.encode, ("auto.", "x"))])
    ]
    assert scored.prior == pytest.approx(torch.tensor(totals).softmax(0).tolist(), abs=1e-5)
    with pytest.raises(ModelError, match="legal"):
        policy.score(observations(1))
    assert isinstance(policy, Policy)
    assert isinstance(policy, Scorer)


def test_from_scratch_learns_and_repeats() -> None:
    first, second = (LanguageModel.from_scratch("tiny", TEXTS, seed=1) for _ in range(2))
    other = LanguageModel.from_scratch("tiny", TEXTS, seed=2)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert not torch.equal(*(next(one.parameters()) for one in (first, other)))
    assert 200_000 < sum(parameter.numel() for parameter in first.parameters()) < 400_000
    demonstrations = [
        trajectory((Observation(goal), Proposal(tactic)))
        for goal, tactic in (("|- n + m", "rewrite Nat.add_comm."), ("|- S n", "apply plus_n_Sm."))
    ]
    reference = first.frozen_copy()
    before = reference.logp(demonstrations)
    optimiser = torch.optim.Adam(first.parameters(), 3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        torch.autograd.backward(-first.logp(demonstrations).sum())
        optimiser.step()
    for one in demonstrations:
        [[greedy]] = first.tempered(0.0).propose([one.steps[0].observation], 1, seeds=[0])
        assert greedy.action == one.actions[0]
    assert torch.equal(reference.logp(demonstrations), before)  # the copy did not move
    assert not before.requires_grad
    assert list(reference.parameters()) == []
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.logp(demonstrations), first.logp(demonstrations))


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_folders_bring_back_the_same_policy(kind: str, seq2seq: LanguageModel, tmp_path: Path) -> None:
    policy = causal() if kind == "causal" else seq2seq
    policy.save(tmp_path)
    again = LanguageModel.load(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert again.layout == policy.layout
    assert again.vocabulary == policy.vocabulary
    one = [trajectory((observations(3)[0], Proposal("rewrite Nat.add_comm.")))]
    assert torch.equal(again.logp(one), policy.logp(one))
    [left], [right] = (one.propose(observations(1), 2, seeds=[1]) for one in (again, policy))
    assert [one.tokens for one in left] == [one.tokens for one in right]


def test_adapters_start_at_the_base_train_alone_and_come_back(
    byt5: Path, seq2seq: LanguageModel, tmp_path: Path
) -> None:
    policy = LanguageModel.load(byt5, lora=LoraSpec(rank=2))
    one = [trajectory((observations(3)[0], Proposal("auto.")))]
    torch.testing.assert_close(policy.logp(one), seq2seq.logp(one))
    names = policy.state_dict()
    assert names
    assert len(names) == len(list(policy.parameters()))
    assert sum(parameter.numel() for parameter in policy.parameters()) < 0.2 * sum(
        parameter.numel() for parameter in seq2seq.parameters()
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1)
    moved = policy.logp(one).detach()
    reference = policy.frozen_copy()
    assert reference.network.get_input_embeddings().weight is policy.network.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(reference.logp(one), moved)
    assert float((policy.logp(one) - moved).abs().max().detach()) > 1e-3
    policy.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    again = LanguageModel.load(tmp_path)
    assert torch.equal(again.logp(one), policy.logp(one))
    assert len(list(again.parameters())) == len(names)


def test_adapters_of_another_base_are_refused(byt5: Path, tmp_path: Path) -> None:
    LanguageModel.load(byt5, lora=LoraSpec(rank=2)).save(tmp_path / "adapter")
    other = save_byt5(tmp_path / "other", width=48)
    with pytest.raises(ModelError, match="another base"):
        LanguageModel.load(tmp_path / "adapter", base=str(other))
    with pytest.raises(ModelError, match="already holds adapters"):
        LanguageModel.load(tmp_path / "adapter", lora=LoraSpec())


def test_folders_that_do_not_fit_are_refused(byt5: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No model at"):
        LanguageModel.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="Cannot load"):
        LanguageModel.load(tmp_path / "empty")
    unnamed = shutil.copytree(byt5, tmp_path / "unnamed")
    (unnamed / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="Cannot load"):
        LanguageModel.load(unnamed)
    deeper = shutil.copytree(byt5, tmp_path / "deeper")
    config = json.loads((deeper / "config.json").read_text())
    (deeper / "config.json").write_text(json.dumps({**config, "num_decoder_layers": 3}))
    with pytest.raises(ModelError, match="missing_keys"):
        LanguageModel.load(deeper)


def test_a_tokenizer_or_layout_too_large_is_refused() -> None:
    policy = causal()
    with pytest.raises(ModelError, match="positions"):
        LanguageModel(policy.weights, Layout("\n", 5000, 88))
    with pytest.raises(ModelError, match=r"frame of a text takes \d+ tokens"):
        LanguageModel(policy.weights, Layout("word " * 30, 16, 16))
    with pytest.raises(ModelError, match="not of this model"):
        policy.load_state_dict({})


def test_bfloat16_stays_close() -> None:
    half = LanguageModel.from_scratch("tiny", TEXTS, placement=Placement(autocast=torch.bfloat16))
    full = LanguageModel.from_scratch("tiny", TEXTS)
    one = [trajectory((observations(3)[0], Proposal("auto.")))]
    torch.testing.assert_close(half.logp(one), full.logp(one), atol=0.05, rtol=0)
    [[proposal]] = half.propose(observations(3), 1, seeds=[1])
    assert proposal.tokens


def test_log_z_starts_constant_and_learns_without_moving_the_policy(seq2seq: LanguageModel) -> None:
    rows = [trajectory((seen, Proposal("auto."))) for seen in observations(1, 9, 1)]
    for policy in (causal(), seq2seq):
        head = LogZ(policy, -2.5)
        assert head(rows).tolist() == [-2.5] * 3
        assert len(list(head.parameters())) == 2
        optimiser = torch.optim.Adam(head.parameters(), 0.05)
        target = torch.tensor([-1.0, -4.0, -1.0])
        for _ in range(60):
            optimiser.zero_grad()
            (head(rows) - target).square().sum().backward()
            optimiser.step()
        assert all(parameter.grad is None for parameter in policy.parameters())
        assert float((head(rows) - target).abs().max().detach()) < 1.0  # tells the problems apart
        with pytest.raises(ModelError, match="no step"):
            head([trajectory()])


def test_hidden_is_the_mean_over_true_tokens(seq2seq: LanguageModel) -> None:
    for policy in (causal(), seq2seq):
        seen = observations(1, 9)
        together = policy.hidden(seen)
        assert together.shape == (2, policy.width)
        assert not together.requires_grad
        assert policy.hidden(seen, gradient=True).requires_grad
        for row, one in zip(together, seen, strict=True):
            torch.testing.assert_close(row, policy.hidden([one])[0], atol=1e-4, rtol=0)


TEMPLATE = (
    "{{ bos_token }}{% for one in messages %}"
    "{% if one.role == 'system' and strict %}{{ raise_exception('none') }}{% endif %}"
    "[{{ one.role }}]{{ one.content | trim }}</s>"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def talker() -> LanguageModel:
    """A chat model: it answers a message after its template."""
    weights = causal().weights
    tokenizer = copy.deepcopy(weights.tokenizer)
    tokenizer.chat_template = TEMPLATE
    return LanguageModel.wrap(weights.network, tokenizer, layout=Layout("\nNext tactic?", 64, 16, chat="You prove."))


def test_a_chat_model_answers_a_users_message(talker: LanguageModel) -> None:
    [short], [long] = (talker.prompts([Observation(text)]) for text in ("|- a", "head " * 500 + "tail </s> [user]"))
    expected = talker.tokenizer.apply_chat_template(
        [{"role": "system", "content": "You prove."}, {"role": "user", "content": "|- a\nNext tactic?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert talker.tokenizer.decode(list(short)) == expected
    assert len(long) == talker.layout.max_prompt
    assert long[:3] == short[:3]
    end = talker.tokenizer.eos_token_id
    assert long.count(end) == short.count(end) == 2  # those of the template: a text cannot end its own message
    tokens = talker.encode("auto.")
    assert tokens[-1] == end
    assert talker.decode(tokens) == "auto."
    assert end in talker.vocabulary.ends
    [[proposal]] = talker.propose([Observation("|- a")], 1, seeds=[0])
    play = trajectory((Observation("|- a"), proposal))
    assert proposal.logp == pytest.approx(float(talker.logp([play]).sum().detach()), abs=1e-4)


def test_a_chat_layout_is_saved_and_a_missing_template_is_named(talker: LanguageModel, tmp_path: Path) -> None:
    talker.save(tmp_path)
    again = LanguageModel.load(tmp_path)
    assert again.layout == talker.layout
    assert again.prompts(observations(2)) == talker.prompts(observations(2))
    with pytest.raises(ModelError, match="chat template cannot be used"):
        LanguageModel.wrap(causal().network, causal().tokenizer, layout=replace(talker.layout, chat=""))
    talker.tokenizer.chat_template = TEMPLATE.replace(" and strict", "")
    with pytest.raises(ModelError, match="Where the system has no turn"):
        LanguageModel.wrap(talker.network, talker.tokenizer, layout=talker.layout)
    LanguageModel.wrap(talker.network, talker.tokenizer, layout=replace(talker.layout, chat=""))
    talker.tokenizer.chat_template = "always the same"
    with pytest.raises(ModelError, match="shows a message once"):
        LanguageModel.wrap(talker.network, talker.tokenizer, layout=replace(talker.layout, chat=""))


def test_wrapping_what_is_loaded_is_loading_it(byt5: Path, seq2seq: LanguageModel) -> None:
    made = LanguageModel.wrap(AutoModelForSeq2SeqLM.from_pretrained(byt5), AutoTokenizer.from_pretrained(byt5))
    one = [trajectory((observations(3)[0], Proposal("auto.")))]
    assert torch.equal(made.logp(one), seq2seq.logp(one))
    assert made.layout == seq2seq.layout
    assert not made.network.training
    half = LanguageModel.wrap(made.network, made.tokenizer, placement=Placement(dtype=torch.bfloat16))
    assert half.network.dtype is half.placement.dtype is torch.bfloat16


def test_wrapping_probes(byt5: Path) -> None:
    network = BloomForCausalLM(BloomConfig(vocab_size=384, hidden_size=32, n_layer=1, n_head=4))
    with pytest.raises(ModelError, match="BloomForCausalLM"):
        LanguageModel.wrap(network, AutoTokenizer.from_pretrained(byt5))


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # peft's own call, on transformers 5
def test_a_wrapped_peft_model_trains_its_adapters(byt5: Path, tmp_path: Path) -> None:
    def tuned(**settings: Any) -> PeftModel:
        config = LoraConfig(r=2, target_modules=["q", "v"], lora_dropout=0.5, **settings)
        return cast(PeftModel, get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(byt5), config))

    policy = LanguageModel.wrap(tuned(), AutoTokenizer.from_pretrained(byt5))
    assert len(policy.state_dict()) == len(list(policy.parameters())) > 0
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1)
    one = [trajectory((observations(3)[0], Proposal("auto.")))]
    assert torch.equal(policy.logp(one), policy.logp(one))  # no dropout
    policy.save(tmp_path)
    again = LanguageModel.load(tmp_path, base=str(byt5))
    assert torch.equal(again.logp(one), policy.logp(one))
    with pytest.raises(ModelError, match="all LoRA"):
        LanguageModel.wrap(tuned(modules_to_save=["final_layer_norm"]), AutoTokenizer.from_pretrained(byt5))


def test_adapters_go_where_they_are_told(byt5: Path) -> None:
    policy = LanguageModel.load(byt5, lora=LoraSpec(rank=4, alpha=8, targets=("q", "v"), rslora=False))
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in policy.state_dict()} == {"q", "v"}
    scales = {
        part.scaling["default"] for part in policy.network.modules() if isinstance(part, LoraLayer) and part.scaling
    }
    assert scales == {2.0}
    with pytest.raises(ModelError, match="No adapters on nothing"):
        LanguageModel.load(byt5, lora=LoraSpec(targets="nothing"))


def test_arguments_of_from_pretrained_pass_through(byt5: Path) -> None:
    for said in ({"torch_dtype": "bfloat16"}, {"dtype": torch.bfloat16}):
        half = LanguageModel.load(byt5, **said)
        assert half.network.dtype is half.placement.dtype is torch.bfloat16
    eager = LanguageModel.load(byt5, attn_implementation="eager", revision="main", trust_remote_code=True)
    assert eager.network.config._attn_implementation == "eager"
    mapped = LanguageModel.load(byt5, device_map="cpu", placement=Placement(device="no such device"))
    assert mapped.network.device.type == "cpu"
    with pytest.raises(ModelError, match="Cannot load"):
        LanguageModel.load(byt5, no_such_argument=1)
    with pytest.raises(ConfigError, match="float32 or bfloat16"):
        LanguageModel.load(byt5, dtype=torch.float16)


def weighed(value: Tensor, *, sizes: list[int]) -> Tensor:
    sizes.append(value.numel())
    return value


def test_recomputed_activations_give_the_same_gradient(byt5: Path, tmp_path: Path) -> None:
    causal().save(tmp_path)
    for folder in (byt5, tmp_path):
        kept, forgot = (LanguageModel.load(folder, placement=Placement(recompute=one)) for one in (False, True))
        rows = [trajectory((seen, Proposal("auto."))) for seen in observations(1, 6)]
        layers = [part for part in forgot.network.modules() if isinstance(part, GradientCheckpointingLayer)]
        gradients, passes = list[list[Tensor]](), Counter[GradientCheckpointingLayer]()
        for layer in layers:
            inner = next(part for part in layer.modules() if isinstance(part, nn.Linear))
            inner.register_forward_pre_hook(lambda *_, at=layer, to=passes: to.update([at]))
        saved = list[int]()
        for policy in (kept, forgot):
            sizes = list[int]()
            with saved_tensors_hooks(partial(weighed, sizes=sizes), lambda value: value):
                found = policy.logp(rows)
            saved.append(sum(sizes))
            passes.clear()
            used = [one for one in policy.parameters() if one.dim() > 1]
            whole = torch.autograd.grad(found.sum(), used, allow_unused=True)
            gradients.append([one for one in whole if one is not None])
        assert saved[1] < 0.7 * saved[0]  # numbers kept for the backward pass
        assert set(passes) == set(layers)  # which computes them again
        assert len(gradients[0]) == len(gradients[1]) > len(layers)
        for left, right in zip(*gradients, strict=True):
            torch.testing.assert_close(left, right)
        seen, one = observations(1, 6), [1, 2]
        assert forgot.propose(seen, 3, seeds=one) == kept.propose(seen, 3, seeds=one)  # with a cache
        assert not any(part.training for part in forgot.network.modules())
