"""The trainer inside TRL, on a model whose completions can be enumerated: what it learns, and whose gradient it is."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, TrainerCallback

pytest.importorskip("trl", reason="needs the extra [trl]: pip install 'surpass[trl]'")

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from surpass.core import Observation, Problem, Proposal, Status, Step, Trajectory, Verdict
from surpass.errors import ConfigError, DataError
from surpass.integrations.trl import NEUTRAL, GFlowNetConfig, GFlowNetTrainer, check, sample_plainly, weights
from surpass.models.hf import LanguageModel, Layout
from surpass.objectives.balance import log_variance
from surpass.objectives.batch import collate, push
from surpass.objectives.gradient import grpo
from tests.integrations import tiny

# TRL and transformers still call each other by names that transformers renames.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CI", "1")  # TRL counts its users, but not in tests
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save(tmp_path_factory.mktemp("model"))


def reward(completions: list[str], **_: object) -> list[float]:
    return [1.5 * text.count("a") - 0.5 * text.count("b") for text in completions]


def partly(completions: list[str], **given: object) -> list[float | None]:
    """Unknown for words that begin with d."""
    return [
        None if text.startswith("d") else value for text, value in zip(completions, reward(completions), strict=True)
    ]


QUIET: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
}


def trainer(model: str | torch.nn.Module, out: Path, reward_funcs: object = reward, **settings: Any) -> GFlowNetTrainer:
    named = {name: settings.pop(name) for name in ("objective", "peft_config", "eval_dataset") if name in settings}
    defaults = QUIET | {
        "logging_steps": 1,
        "lr_scheduler_type": "constant",
        "num_generations": 8,
        "per_device_train_batch_size": 4,  # half a group: they are split and shuffled
        "gradient_accumulation_steps": 4,
        "max_completion_length": tiny.LIMIT,
        "learning_rate": 1e-2,
    }
    args = GFlowNetConfig(str(out), **{**defaults, **settings})
    return GFlowNetTrainer(model, reward_funcs, args, Dataset.from_dict({"prompt": tiny.PROMPTS * 4}), **named)


def parameters(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


class LastStep(TrainerCallback):
    """Keeps the weights and gradients of the last step, before the optimiser."""

    def on_pre_optimizer_step(self, args: object, state: object, control: object, **given: Any) -> None:
        model = given["model"]
        self.weights = parameters(model)
        self.gradient = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def trajectories(inputs: list[dict[str, Tensor]]) -> list[Trajectory]:
    """Return the complete completions of the generated batch, but for those that begin with d."""
    found = []
    for part in inputs:
        for row, group in enumerate(part["group"].tolist()):
            prompt, tokens = (
                tuple(part[f"{name}_ids"][row][part[f"{name}_mask"][row].bool()].tolist())
                for name in ("prompt", "completion")
            )
            if tokens and tokens[-1] == tiny.END and tokens[0] != tiny.LETTERS.index("d"):
                text = "".join(tiny.LETTERS[token] for token in prompt)
                action = "".join(tiny.LETTERS[token] for token in tokens[:-1])
                step = Step(Observation(text), Proposal(action, None, tokens))
                found.append(Trajectory(Problem(f"{text} {group}"), (step,), Verdict(Status.ACCEPTED, (1.0,))))
    return found


def exact(model: torch.nn.Module, prompt: str) -> Tensor:
    """Return log-probabilities of every completion of `tiny.OUTCOMES`, by one forward pass each."""
    ids = [tiny.LETTERS.index(letter) for letter in prompt]
    values = []
    with torch.no_grad():
        for outcome in tiny.OUTCOMES:
            logits = model(torch.tensor([[*ids, *outcome]])).logits[0].double().log_softmax(-1)
            values.append(torch.stack([logits[len(ids) - 1 + at, token] for at, token in enumerate(outcome)]).sum())
    return torch.stack(values)


def test_what_is_learned_is_the_reference_times_the_reward(folder: str, tmp_path: Path) -> None:
    beta = 0.7
    shaped = trainer(
        folder,
        tmp_path,
        beta=beta,
        mask_truncated_completions=False,  # the space is then all sequences up to the limit
        max_completion_length=2,
        num_generations=64,
        per_device_train_batch_size=128,
        gradient_accumulation_steps=1,
        max_steps=60,
        logging_steps=60,
        lr_scheduler_type="linear",
    )
    start = AutoModelForCausalLM.from_pretrained(folder)
    shaped.train()
    texts = ["".join(tiny.LETTERS[token] for token in outcome if token != tiny.END) for outcome in tiny.OUTCOMES]
    log_reward = torch.tensor(reward(texts), dtype=torch.float64)
    for prompt in tiny.PROMPTS:
        before, after = exact(start, prompt), exact(shaped.model.eval(), prompt)
        assert after.logsumexp(0).item() == pytest.approx(0, abs=1e-5)  # the outcomes are all there are
        target = (before + log_reward / beta).softmax(0)
        distances = [0.5 * (values.exp() - target).abs().sum().item() for values in (before, after)]
        assert distances[0] > 0.3
        assert distances[1] < 0.04, distances


@pytest.mark.parametrize(("iterations", "parts"), [(1, 4), (2, 4), (2, 1)])
def test_loss_and_gradient_are_those_of_our_own_collate(
    folder: str, tmp_path: Path, iterations: int, parts: int
) -> None:
    last = LastStep()
    settings = {"max_steps": iterations, "num_iterations": iterations, "max_grad_norm": 0.0}
    settings |= {"gradient_accumulation_steps": parts, "per_device_train_batch_size": 16 // parts}
    theirs = trainer(folder, tmp_path, partly, beta=0.5, **settings)
    theirs.add_callback(last)
    theirs.train()
    policy = LanguageModel.load(folder, layout=Layout("", 16, tiny.LIMIT))
    reference = policy.frozen_copy()
    policy.network.load_state_dict(last.weights, strict=False)
    plays = trajectories(theirs._buffered_inputs)
    assert 5 < len(plays) < 16

    def log_reward(some: list[Trajectory]) -> Tensor:
        return torch.tensor(reward([play.actions[0] for play in some]))

    batch = collate(policy, plays, log_reward, reference=reference)  # type: ignore[arg-type]
    loss, metrics = log_variance(batch, beta=1 / 0.5)
    loss.backward()  # type: ignore[no-untyped-call]
    push(policy, plays, batch)
    logged = theirs.state.log_history[iterations - 1]
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert logged["gflownet/log_z"] == pytest.approx(metrics["log_z"], rel=1e-4)
    assert logged["gflownet/left_out"] == pytest.approx(1 - len(plays) / 16)
    for name, parameter in policy.network.named_parameters():
        assert parameter.grad is not None
        error = (last.gradient[name] - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-6)
        assert error < 1e-4, name


def descended(kind: Any, config: Any, folder: str, out: Path, **settings: Any) -> tuple[Tensor, Any]:
    """Take steps of plain descent with a trainer of ours or TRL's; return its last gradient [weights], and it."""
    last = LastStep()
    args = config(
        str(out),
        num_generations=8,
        mask_truncated_completions=False,
        max_completion_length=4,
        per_device_train_batch_size=16,
        max_grad_norm=0.0,
        optim="sgd",
        lr_scheduler_type="constant",
        logging_steps=1,
        **settings,
        **QUIET,
    )
    made = kind(folder, reward, args, Dataset.from_dict({"prompt": tiny.PROMPTS * 4}))
    made.add_callback(last)
    made.train()
    return torch.cat([last.gradient[name].flatten() for name in sorted(last.gradient)]), made


@pytest.mark.parametrize("iterations", [1, 2])
def test_on_fresh_samples_the_gradient_is_that_of_rloo(folder: str, tmp_path: Path, iterations: int) -> None:
    """TRL's own RLOOTrainer with the same beta, seed and so completions; a second pass over them is another matter."""
    beta, n, gradients, said = 0.5, 8, [], []
    for kind, config in ((GFlowNetTrainer, GFlowNetConfig), (RLOOTrainer, RLOOConfig)):
        rate = 0.1 * (1 if kind is GFlowNetTrainer else 2 * (n - 1) / n / beta)
        settings = {"beta": beta, "num_iterations": iterations, "max_steps": iterations, "learning_rate": rate}
        gradient, made = descended(kind, config, folder, tmp_path, **settings)
        gradients.append(gradient)
        said.append(made._buffered_inputs[0]["completion_ids"])
    assert torch.equal(*said)
    ours, theirs = gradients[0], 2 * (n - 1) / (n * beta) * gradients[1]
    error = ((ours - theirs).norm() / ours.norm()).item()
    assert error < 1e-4 if iterations == 1 else error > 1e-3


def test_our_grpo_is_that_of_trl(folder: str, tmp_path: Path) -> None:
    """TRL's own GRPOTrainer: the same losses and gradients, in the second pass, where ratios are clipped, too."""
    gradients, losses = [], []
    ours = partial(GFlowNetTrainer, objective=partial(grpo, clip=0.2, kl=0.5, scale="none"))
    for kind, config in ((ours, GFlowNetConfig), (GRPOTrainer, GRPOConfig)):
        gradient, made = descended(
            kind,
            config,
            folder,
            tmp_path,
            beta=0.5,
            epsilon=0.2,
            loss_type="grpo",
            scale_rewards="none",
            use_bias_correction_kl=False,  # TRL's default weighs the KL term by the ratio; the published one does not
            num_iterations=2,
            max_steps=2,
            learning_rate=1.0,
        )
        gradients.append(gradient)
        losses.append([line["loss"] for line in made.state.log_history if "loss" in line])
        if kind is ours:
            assert [line["gflownet/clipped"] > 0 for line in made.state.log_history[:2]] == [False, True]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-6)
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[1].norm()


@pytest.mark.slow
def test_two_processes_follow_the_gradient_of_one_large_batch(folder: str, tmp_path: Path) -> None:
    """Two processes with half of the group each: gathered, weighed and averaged as in one `collate` of all."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, "-m", "tests.integrations.across", folder, str(tmp_path)], check=True, timeout=300)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert [one["processes"] for one in found] == [2, 2]
    assert {int(group) for one in found for part in one["met"] for group in part["group"]} == {0}
    plays = trajectories([part for one in found for part in one["met"]])
    assert 5 < len(plays) < 16
    policy = LanguageModel.load(folder, layout=Layout("", 16, tiny.LIMIT))

    def log_reward(some: list[Trajectory]) -> Tensor:
        return torch.tensor(reward([play.actions[0] for play in some]))

    batch = collate(policy, plays, log_reward, reference=policy.frozen_copy())  # type: ignore[arg-type]
    loss, _ = log_variance(batch, beta=1 / 0.5)
    loss.backward()  # type: ignore[no-untyped-call]
    push(policy, plays, batch)
    for name, parameter in policy.network.named_parameters():
        assert parameter.grad is not None
        for one in found:
            error = (one["gradient"][name] - parameter.grad).norm() / parameter.grad.norm().clamp(min=1e-6)
            assert error < 1e-4, name


def test_a_resumed_run_ends_as_the_whole_one(folder: str, tmp_path: Path) -> None:
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = trainer(folder, tmp_path / "whole", **settings)
    whole.train()
    resumed = trainer(folder, tmp_path / "again", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == 4
    start = parameters(AutoModelForCausalLM.from_pretrained(folder))
    for name, value in whole.model.named_parameters():
        assert not torch.equal(value, start[name])
        assert torch.equal(value, resumed.model.get_parameter(name)), name


def test_adapters_are_trained_and_the_base_is_the_reference(folder: str, tmp_path: Path) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    tuned = trainer(folder, tmp_path, peft_config=lora, max_steps=2)
    before = parameters(tuned.model)
    tuned.train()
    moved = {name for name, value in tuned.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    first, second = (tuned.state.log_history[at]["gflownet/log_ratio"] for at in (0, 1))
    assert first == pytest.approx(0, abs=1e-5)
    assert abs(second) > 1e-4
    tuned.save_model()
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_a_batch_without_any_reward_changes_nothing(folder: str, tmp_path: Path) -> None:
    def unknown(completions: list[str], **_: object) -> list[None]:
        return [None] * len(completions)

    idle = trainer(folder, tmp_path, unknown, max_steps=1)
    before = parameters(idle.model)
    idle.train()
    assert idle.state.log_history[0]["loss"] == 0
    assert idle.state.log_history[0]["gflownet/left_out"] == 1
    assert all(torch.equal(value, before[name]) for name, value in idle.model.named_parameters())


def test_an_infinite_reward_is_refused(folder: str, tmp_path: Path) -> None:
    def zero(completions: list[str], **_: object) -> list[float]:
        return [-math.inf] * len(completions)

    with pytest.raises(DataError, match="max\\(log\\(R\\), -20\\)"):
        trainer(folder, tmp_path, zero, max_steps=1).train()


def test_evaluation_and_a_target_without_reference(folder: str, tmp_path: Path) -> None:
    plain = trainer(
        folder,
        tmp_path,
        objective=partial(log_variance, beta=1.0, relative=False),
        beta=0.0,  # no reference is loaded
        max_steps=1,
        per_device_eval_batch_size=16,
        eval_dataset=Dataset.from_dict({"prompt": tiny.PROMPTS}),
    )
    assert plain.ref_model is None
    plain.train()
    assert "gflownet/log_ratio" not in plain.state.log_history[0]
    answer = plain.evaluate()
    assert answer["eval_loss"] > 0
    assert plain.state.log_history[-1]["eval_gflownet/residual_rms"] > 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": 0.7}, "temperature=0.7"),
        ({"top_p": 0.9}, "top_p=0.9"),
        ({"top_k": 50}, "top_k=50"),
        ({"repetition_penalty": 1.1}, "repetition_penalty=1.1"),
        ({"top_k": None}, "top_k=None"),  # `generate` would take its own default, 50
        ({"min_p": 0.1}, "min_p=0.1"),
        ({"vllm_structured_outputs_regex": "[ab]*"}, "vllm_structured_outputs_regex"),
        *(
            ({"generation_kwargs": {name: value}}, f"{name} in generation_kwargs")
            for name, value in {
                "temperature": 0.5,
                "do_sample": False,
                "num_beams": 4,
                "typical_p": 0.9,
                "epsilon_cutoff": 0.1,
                "no_repeat_ngram_size": 2,
                "suppress_tokens": [1],
                "max_new_tokens": 3,
                "structured_outputs": {"regex": "[ab]*"},
            }.items()
        ),
        ({"entropy_coef": 0.1}, "entropy_coef=0.1"),
        ({"sync_ref_model": True}, "sync_ref_model=True"),
        ({"beta": 0.0}, "beta > 0"),
        ({"steps_per_generation": 8}, "learned in parts"),
    ],
)
def test_arguments_that_change_the_target_are_refused(settings: dict[str, Any], named: str) -> None:
    args = GFlowNetConfig("x", use_cpu=True, bf16=False, gradient_accumulation_steps=4, **settings)
    with pytest.raises(ConfigError, match=named):
        check(args, default_objective=True)


OWN: dict[str, Any] = {  # what a generation_config.json may say
    "temperature": 0.5,
    "top_k": 2,
    "top_p": 0.5,
    "min_p": 0.3,
    "top_h": 0.4,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
    "repetition_penalty": 1.5,
    "encoder_repetition_penalty": 1.5,
    "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 1,
    "bad_words_ids": [[1]],
    "min_length": 9,
    "min_new_tokens": 9,
    "num_beams": 2,
    "num_return_sequences": 2,
    "forced_bos_token_id": 1,
    "forced_eos_token_id": 1,
    "exponential_decay_length_penalty": (1, 1.5),
    "suppress_tokens": [1],
    "begin_suppress_tokens": [1],
    "sequence_bias": [[[1], -5.0]],
    "guidance_scale": 2.0,
    "stop_strings": "a",
    "max_time": 1e-3,
}


def test_a_models_own_way_of_generating_is_overruled_or_refused(folder: str, tmp_path: Path) -> None:
    """The oracle is the library: what it would put between the logits and the draw changes nothing."""
    kept = {"temperature", "top_k", "top_p", "repetition_penalty", *NEUTRAL}
    shaped = trainer(folder, tmp_path)
    tokens, logits = torch.tensor([[0, 1, 2, 1]]), torch.linspace(-3, 3, tiny.END + 1)[None]
    for name, value in OWN.items():
        own = GenerationConfig(do_sample=True, **{name: value})  # type: ignore[no-untyped-call]
        said = GenerationConfig(**shaped.generation_kwargs)  # type: ignore[no-untyped-call]
        if name in kept:
            sample_plainly(said, own)
            shaped.model.generation_config = own
            found = shaped.model._prepare_generation_config(said)[0]
            shaped.model._prepare_special_tokens(found, kwargs_has_attention_mask=True, device="cpu")
            processed = shaped.model._get_logits_processor(found, input_ids_seq_length=2)(tokens, logits)
            assert torch.equal(processed, logits), name
            assert (found.num_beams, found.num_return_sequences, found.do_sample) == (1, 1, True), name
        else:
            with pytest.raises(ConfigError, match=f"model.generation_config.{name}"):
                sample_plainly(said, own)


def test_a_trainer_looks_at_its_models_generation_config(folder: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.min_p = 0.3
    assert trainer(model, tmp_path).generation_config.min_p == 0.0
    model.generation_config.suppress_tokens = [1]
    with pytest.raises(ConfigError, match="suppress_tokens, now"):
        trainer(model, tmp_path)


def test_a_plain_config_serves_with_a_beta_and_warns_of_cut_completions() -> None:
    with pytest.raises(ConfigError, match="beta > 0, found 0"):
        check(GRPOConfig("x", use_cpu=True, bf16=False), default_objective=True)
    with pytest.warns(UserWarning, match="cut at the limit"):
        check(GRPOConfig("x", use_cpu=True, bf16=False, beta=0.04), default_objective=True)


def test_equal_rewards_lone_rows_and_rows_left_out_give_no_nan() -> None:
    mask = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    short = mask & torch.tensor([True, False])
    logp = torch.tensor([[-1.0, -2.0], [-0.5, -torch.inf], [torch.nan, torch.nan], [-1.0, -1.0]])
    rows = {
        "logp": logp,
        "logp_old": logp,
        "ref_per_token_logps": logp.nan_to_num(),
        "mask": mask,
        "completion_ids": torch.tensor([[1, 2], [1, 7], [0, 0], [1, 1]]),
        "log_reward": torch.tensor([0.0, 0.0, 1.0, torch.nan]),
        "group": torch.tensor([3, 3, 3, 7]),
    }
    loss, gradient, metrics = weights(partial(log_variance, beta=1.0, relative=False), rows)
    assert loss.item() == pytest.approx(1.25**2)  # residuals -3 and -0.5
    assert metrics["left_out"] == 0.5
    assert metrics["distinct"] == 2
    again = weights(
        partial(log_variance, beta=1.0), rows | {"completion_ids": torch.tensor([[1, 0]] * 4), "mask": short}
    )
    assert again[2]["distinct"] == 1  # what follows the end is no part of an answer
    assert gradient.isfinite().all()
    assert gradient[~mask].eq(0).all()
    assert gradient[3].eq(0).all()
    assert gradient[0, 0].item() == pytest.approx(2 * -1.25 / 2)
    lone = {name: value[:1] for name, value in rows.items()}
    assert weights(partial(log_variance, beta=1.0), lone)[0].item() == 0
