"""TRL's GRPOTrainer with a balance objective: train a language model as a GFlowNet by changing one import.

    from surpass.integrations.trl import GFlowNetConfig as GRPOConfig, GFlowNetTrainer as GRPOTrainer

Arguments, datasets, reward functions, LoRA, accelerate, checkpoints and trackers are TRL's. What is sampled, y given a
prompt x, is learned in proportion to a target instead of being pushed towards the best:

    P_F(y | x)  proportional to  p_ref(y | x) exp(r(x, y) / beta)

r: the weighted sum of the reward functions, taken as a log-reward, so r = log R gives p_ref R^(1/beta). beta: TRL's
argument with TRL's meaning, the weight of the KL to the reference (elsewhere in Surpass `beta` is the exponent of R,
its inverse). The target is the optimum of E r - beta KL(P_F, p_ref), which RLOO climbs too: with the default objective
and `num_iterations=1` the gradient is that of TRL's RLOOTrainer with the same beta, times 2 (n - 1) / (n beta) for n
completions of a prompt, and all that is said here of the target holds of that trainer (GRPO has another KL term and
other weights). They part where a generated batch is used again: RLOO then clips importance weights, log-variance needs
none, its fixed point does not depend on who sampled. And they part with another `objective`.

Space X: token sequences that end with the end marker. A completion cut at the limit is left out, so nothing says how
often the policy is cut, and that share (`gflownet/left_out`) can drift. To hold it down, let cut completions count
(`mask_truncated_completions=False`: X is then all sequences up to the limit) and reward them little.

A step takes two passes (`objectives/batch.py`): at the start of a sweep over the generated batch, log-probabilities
without gradient, the objective on whole groups gathered from all processes, and its gradient at every token; then one
backward pass per micro-batch, which may hold any part of a group. So the gradient is that of one large batch. Where the
only process holds the generated batch in one micro-batch, one pass gives the same.

Not here: replay, demonstrations and exploration, which balance objectives allow (`train.py` has them), a learned log Z
(`trajectory_balance` needs one, log-variance does not), the losses and clips of GRPO (its
`loss_type`, `epsilon`, `scale_rewards` and importance weights are not used: the objective is right off policy as it
stands), the balance of a router of experts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig
from trl import GRPOConfig, GRPOTrainer

from surpass.errors import ConfigError, DataError
from surpass.objectives.balance import log_variance
from surpass.objectives.batch import Batch, Metrics, Objective

PLAIN = {  # arguments that would change what is sampled or learned: the values that do not
    "temperature": (1.0,),
    "top_p": (1.0,),
    "top_k": (0,),
    "min_p": (None, 0.0),
    "repetition_penalty": (1.0,),
    "vllm_structured_outputs_regex": (None,),
    "multi_objective_aggregation": ("sum_then_normalize",),
    "off_policy_mask_threshold": (None,),
    "top_entropy_quantile": (1.0,),
    "entropy_coef": (0.0,),
    "use_adaptive_entropy": (False,),
    "sync_ref_model": (False,),  # the target would move
}
MECHANICS = (  # what `generation_kwargs` may say: nothing of it touches a probability
    "cache_config",
    "cache_implementation",
    "compile_config",
    "disable_compile",
    "max_cache_len",
    "prefill_chunk_size",
    "use_cache",
)
# Where TRL leaves None, `generate` takes the value of the model's own generation_config.
NEUTRAL = {  # these are said in its place
    "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "guidance_scale": 1.0,
    "min_length": 0,
    "min_p": 0.0,
    "no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "num_beams": 1,
    "num_return_sequences": 1,
    "remove_invalid_values": False,
    "token_healing": False,
    "typical_p": 1.0,
}
INHERITED = (  # these have no value that does nothing, so the model must not set them
    "bad_words_ids",
    "begin_suppress_tokens",
    "constraints",
    "dola_layers",
    "exponential_decay_length_penalty",
    "force_words_ids",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "max_time",
    "min_new_tokens",
    "penalty_alpha",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
    "top_h",
    "watermarking_config",
)
PICTURES = (  # what TRL's forward pass takes besides tokens
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


@dataclass
class GFlowNetConfig(GRPOConfig):  # type: ignore[misc]
    """GRPOConfig with the defaults of a GFlowNet. A plain GRPOConfig serves too, once its `beta` is not 0."""

    beta: float = field(
        default=1.0, metadata={"help": "Weight of the KL to the reference: the target is p_ref exp(reward / beta)."}
    )
    mask_truncated_completions: bool = field(
        default=True, metadata={"help": "Leave out completions cut at the limit; False: each is an outcome of its own."}
    )
    disable_dropout: bool = field(
        default=True, metadata={"help": "Switch dropout off: both passes must meet the same log-probabilities."}
    )


class GFlowNetTrainer(GRPOTrainer):  # type: ignore[misc]  # its types are not followed
    """A GRPOTrainer that learns by one of our objectives.

    `objective` is any function of a `Batch` (rows: completions; groups: those of one prompt; no log Z, no verdicts). By
    default log-variance trajectory balance relative to the reference at exponent 1 / `args.beta`. Without reference:
    `objective=partial(log_variance, beta=1.0, relative=False)`, over free text rarely what one wants.

    A completion for which every reward function returned None is left out of the objective, and so is a truncated one.
    Raises ConfigError for arguments under which the target would not be the stated one or a group would be learned in
    parts, DataError for a reward that is infinite.
    """

    # What TRL writes into model cards.
    _tag_names = ["surpass", "gflownet", "trl"]  # noqa: RUF012 - TRL's form
    _name = "GFlowNet"
    _paper = {  # noqa: RUF012
        "title": "Robust Scheduling with GFlowNets",
        "id": "2302.05446",
        "citation": "@inproceedings{zhang2023robust,\n"
        "    title     = {{Robust Scheduling with GFlowNets}},\n"
        "    author    = {Zhang, David W. and Rainone, Corrado and Peschl, Markus and Bondesan, Roberto},\n"
        "    year      = 2023,\n"
        "    booktitle = {International Conference on Learning Representations},\n"
        "    eprint    = {arXiv:2302.05446},\n}",
    }

    def __init__(
        self,
        model: str | nn.Module,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *rest: Any,
        objective: Objective | None = None,
        **named: Any,
    ) -> None:
        args = GFlowNetConfig(f"{_name_of(model)}-GFlowNet") if args is None else args
        check(args, default_objective=objective is None)
        self.objective = objective or partial(log_variance, beta=1 / args.beta, relative=True)
        self._rewards = torch.empty(0)
        super().__init__(model, reward_funcs, args, *rest, **named)
        if not self.use_vllm:  # which is told all that it does
            sample_plainly(self.generation_config, self.model.generation_config)
        if self.aux_loss_enabled:
            raise ConfigError(
                "the router of experts has a loss of its own, which is not part of the target; set its "
                "coefficient to 0: router_aux_loss_coef=0.0"
            )

    def _calculate_rewards(self, *given: Any) -> Tensor:
        """Keep the rewards of all processes: what TRL passes on are advantages, in which None is a 0."""
        self._rewards = super()._calculate_rewards(*given)
        return self._rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        unscored = self._rewards.isnan().all(dim=1)
        reward = (self._rewards * self.reward_weights.to(self._rewards.device)).nansum(dim=1)
        if reward.isinf().any():
            raise DataError(
                "a reward is infinite; rewards are log-rewards here: return a finite one, such as max(log(R), -20), or "
                "None to leave a completion out"
            )
        size = self.num_generations if self.model.training else self.num_generations_eval
        group = torch.arange(len(reward), device=reward.device) // size
        begin = self.accelerator.process_index * len(inputs)
        own = slice(begin, begin + len(inputs))
        return {**output, "log_reward": reward.masked_fill(unscored, torch.nan)[own], "group": group[own]}

    @property
    def _alone(self) -> bool:
        """Whether each micro-batch is a generated batch with all its groups."""
        return bool(self.accelerator.num_processes == 1 and self.args.steps_per_generation == 1)

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        if not self.model.training:
            self._first_pass([inputs])
        elif not self._alone and self._step % self.args.steps_per_generation == 0:  # the weights or the batch changed
            self._first_pass(self._buffered_inputs)
        return inputs

    @torch.no_grad()
    def _first_pass(self, parts: Sequence[dict[str, Any]]) -> None:
        for part in parts:
            part["logp"] = self._logp(self.model, part)
        self._weigh(parts)

    def _weigh(self, parts: Sequence[dict[str, Any]]) -> None:
        """Write the objective's value and its gradient at every token into the micro-batches of a generated batch."""
        for part in parts:
            part.setdefault("logp_old", part["logp"])  # of the first sweep
            part["mask"] = _mask(part)
        names = ("logp", "logp_old", "ref_per_token_logps", "mask", "log_reward", "group", "completion_ids")
        here = {name: torch.cat([part[name] for part in parts]) for name in names if name in parts[0]}
        wide = {
            name: self.accelerator.pad_across_processes(value, dim=1) if value.dim() > 1 else value
            for name, value in here.items()
        }
        loss, weight, metrics = weights(self.objective, self.accelerator.gather(wide))
        begin = self.accelerator.process_index * len(here["group"])
        own = weight[begin : begin + len(here["group"]), : here["logp"].shape[1]]
        for part, rows in zip(parts, torch.split(own, [len(part["group"]) for part in parts]), strict=True):
            part |= {"token_weight": rows, "objective_value": loss}
        kept = self._metrics["train" if self.model.training else "eval"]
        for name, value in metrics.items():
            kept[f"gflownet/{name}"].append(value)

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        if not self.model.training:
            value: Tensor = inputs["objective_value"]
            return value
        logp = self._logp(model, inputs)
        if self._alone:
            inputs["logp"] = logp.detach()
            self._weigh([inputs])
        # TRL adds up the losses of a step's micro-batches, and the processes' gradients are averaged.
        steps = self.current_gradient_accumulation_steps
        scale = self.accelerator.num_processes * self.args.steps_per_generation / steps
        inner = (logp * inputs["token_weight"]).sum() * scale
        total: Tensor = inputs["objective_value"] / steps + inner - inner.detach()
        return total

    def _logp(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Return log-probabilities of the completions' tokens [B, T], 0 where not `_mask`."""
        logp: Tensor = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            inputs["completion_ids"].size(1),
            **{name: inputs.get(name) for name in PICTURES},
        )[0]
        return logp.float().masked_fill(~_mask(inputs), 0.0)


def check(args: GRPOConfig, *, default_objective: bool) -> None:
    """Raise ConfigError for arguments that change the target or split a group; warn of a cut that counts."""
    wrong = [
        f"{name}={getattr(args, name)} (set {allowed[0]})"
        for name, allowed in PLAIN.items()
        if getattr(args, name) not in allowed
    ]
    others = sorted(set(args.generation_kwargs or {}) - set(MECHANICS))
    wrong += [f"{name} in generation_kwargs (remove it)" for name in others]
    if wrong:
        raise ConfigError(f"these arguments change the distribution that is balanced: {', '.join(wrong)}")
    if default_objective and args.beta <= 0:
        raise ConfigError(
            f"expected beta > 0, found {args.beta}: the target is p_ref exp(reward / beta). Take a GFlowNetConfig, "
            "whose default is 1, or say beta; for a target without reference pass an objective"
        )
    if args.gradient_accumulation_steps % args.steps_per_generation:
        raise ConfigError(
            f"a generated batch lasts {args.steps_per_generation} micro-batches, and a step of the optimiser takes "
            f"{args.gradient_accumulation_steps}: groups would be learned in parts. Leave steps_per_generation and "
            "generation_batch_size unset, or let steps_per_generation divide gradient_accumulation_steps"
        )
    if not args.mask_truncated_completions and not isinstance(args, GFlowNetConfig):
        warnings.warn(
            "mask_truncated_completions is False: a completion cut at the limit is an outcome of its own in the "
            "target. Set it to True, or take a GFlowNetConfig, to leave it out",
            stacklevel=3,
        )


def sample_plainly(generation: GenerationConfig, own: GenerationConfig) -> None:
    """Say neutral values in `generation` where the model's `own` would count; ConfigError where there is none."""
    given, inherited = vars(generation), vars(own)
    for name, value in NEUTRAL.items():
        if inherited.get(name) is not None:
            setattr(generation, name, value)
    wrong = [name for name in INHERITED if given.get(name) is None and inherited.get(name) is not None]
    if wrong:
        raise ConfigError(
            "the model's generation_config changes the distribution that is balanced: set to None "
            + ", ".join(f"model.generation_config.{name}, now {inherited[name]}" for name in wrong)
        )


def weights(objective: Objective, rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Metrics]:
    """Return an objective's value, its gradient with respect to `logp` [B, T] and its metrics.

    `rows`: logp, logp_old, mask, completion_ids, perhaps ref_per_token_logps [B, T]; log_reward (NaN: unknown) and
    group [B]. Rows without reward or tokens are left out of the objective and get a gradient of zero; without any other
    the value is 0.
    """
    kept = rows["mask"].any(dim=1) & ~rows["log_reward"].isnan()
    gradient = torch.zeros_like(rows["logp"])
    metrics = {"left_out": 1.0 - kept.double().mean().item()}
    if not kept.any():
        return gradient.sum(), gradient, metrics
    batch = as_batch({name: value[kept] for name, value in rows.items()})
    with torch.enable_grad():
        loss, found = objective(batch)
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    if batch.logp.grad is not None:
        gradient[kept] = batch.logp.grad * batch.mask
    return loss.detach().float(), gradient, metrics | found


def as_batch(rows: Mapping[str, Tensor]) -> Batch:
    """Return the `Batch` of these rows (see `weights`): one step each, on a tree, everything accepted."""
    mask = rows["mask"]
    floats = {name: rows[name].float().masked_fill(~mask, 0.0) for name in rows if "logp" in name}
    said = torch.cat([rows["group"][:, None], rows["completion_ids"].masked_fill(~mask, -1)], 1)
    zeros = torch.zeros_like(rows["group"])
    return Batch(
        logp=floats["logp"].requires_grad_(),
        logp_old=floats["logp_old"],
        mask=mask,
        step_index=torch.where(mask, 0, -1),
        log_reward=rows["log_reward"].float(),
        log_pb=zeros.float(),
        group=torch.unique(rows["group"], return_inverse=True)[1],
        seat=zeros,
        accepted=torch.ones_like(zeros, dtype=torch.bool),
        logp_ref=floats.get("ref_per_token_logps"),
        outcome=torch.unique(said, dim=0, return_inverse=True)[1],
    )


def _mask(inputs: Mapping[str, Any]) -> Tensor:
    """Return the tokens that the policy wrote [B, T]: no padding, no answers of tools, no truncated completion."""
    mask: Tensor = inputs["completion_mask"].bool()
    return mask & inputs["tool_mask"].bool() if "tool_mask" in inputs else mask


def _name_of(model: str | nn.Module) -> str:
    name = model if isinstance(model, str) else str(getattr(model.config, "_name_or_path", "") or "model")
    return name.rstrip("/").rsplit("/", 1)[-1]
