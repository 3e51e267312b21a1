"""Folders of weights: reading, writing, adapters, and the checks that a checkpoint fits what it is loaded into.

The formats are those of transformers and peft (safetensors); beside them lies `surpass.json` with the prompt layout
and, for adapters, a digest of the base they were trained on. What a model computes is `hf.py`'s.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

from surpass.errors import ConfigError, ModelError
from surpass.models.layout import Layout

SIDECAR = "surpass.json"
LORA = "lora_"  # in the names of adapters' weights
WHERE = ("revision", "code_revision", "subfolder", "trust_remote_code", "token", "cache_dir", "local_files_only")
logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one per folder read or written would drown a run's own


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """Low-rank adapters; the base is frozen and shared by copies. No dropout: two passes must meet the same values."""

    rank: int = 16
    alpha: int = 32
    seed: int = 0  # of the adapters' random half
    targets: str | tuple[str, ...] = "all-linear"  # layers by the end of their names, or one pattern for whole names
    rslora: bool = True  # scale by alpha / sqrt(rank), or else by alpha / rank


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how precisely a network computes."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32  # of the weights: float32 or bfloat16
    autocast: torch.dtype | None = None  # of matrix products
    micro_tokens: int = 8192  # padded tokens of one forward pass
    recompute: bool = False  # a layer's activations in the backward pass: less memory, one more forward pass

    def __post_init__(self) -> None:
        if self.dtype not in (torch.float32, torch.bfloat16):  # float16 would need loss scaling, which nothing does
            raise ConfigError(f"Expected weights in float32 or bfloat16, found {self.dtype}.")


CPU = Placement()


def usable(device: str) -> str:
    """Return a device that computes here, as torch names it. Raises ConfigError for any other."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        raise ConfigError(
            f"device: expected one that computes here, as cpu or cuda:0, found {device!r}: {str(error).splitlines()[0]}"
        ) from error
    return device


@dataclass(frozen=True, slots=True)
class Base:
    """What adapters sit on."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Weights:
    """A network and the tokenizer whose ids it speaks; `adapter` wraps the same network where LoRA is on it."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapter: PeftModel | None = None
    base: Base | None = None

    def copied(self, shared: dict[int, torch.nn.Parameter]) -> Weights:
        """Return a copy in which the parameters `shared`, by id, are the same tensors."""
        if self.adapter is None:
            return Weights(copy.deepcopy(self.network, dict(shared)), self.tokenizer)
        adapter = copy.deepcopy(self.adapter, dict(shared))
        return Weights(_under(adapter), self.tokenizer, adapter, self.base)


def read(path: str, *, lora: LoraSpec | None, base: str | None, loading: Mapping[str, Any]) -> tuple[Weights, Layout]:
    """Return the weights in a folder or under a hub name, and their layout; `lora` adds fresh adapters."""
    folder = Path(path)
    if (path.startswith((".", "/", "~")) or len(folder.parts) > 2) and not folder.is_dir():
        raise ModelError(f"No model at {path}: expected a folder with config.json or adapter_config.json.")
    adapted = folder / "adapter_config.json"
    sidecar = json.loads((folder / SIDECAR).read_text()) if (folder / SIDECAR).is_file() else {}
    if adapted.is_file() and lora is not None:
        raise ModelError(f"{path} already holds adapters: load it without `lora` to train them on.")
    origin = (base or json.loads(adapted.read_text())["base_model_name_or_path"]) if adapted.is_file() else path
    network = _network(origin, loading)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **_where(loading))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"No usable tokenizer in {path}: {_first_line(error)}") from error
    weights = Weights(network, tokenizer)
    if adapted.is_file():
        weights = _with_saved_adapter(weights, path, Base(origin, digest(network)), sidecar.get("base_digest"))
    elif lora is not None:
        weights = _with_fresh_adapter(weights, lora, origin)
    layout = Layout(**sidecar["layout"]) if "layout" in sidecar else default_layout(network)
    return weights, layout


def wrapped(network: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> Weights:
    """Return a network and a tokenizer that are loaded already. Raises ModelError for adapters other than LoRA."""
    if not isinstance(network, PeftModel):
        return Weights(network, tokenizer)
    under = _under(network)
    lost = [name for name, one in under.named_parameters() if one.requires_grad and LORA not in name]
    if lost:
        raise ModelError(
            f"Expected a peft model whose adapters are all LoRA, found {lost[0]} and {len(lost) - 1} others that "
            "train besides: checkpoints would lose them."
        )
    return Weights(under, tokenizer, network)


def placed(network: PreTrainedModel) -> bool:
    """Tell whether a device map or quantisation has put the network where it must stay."""
    return any(vars(network).get(name) is not None for name in ("hf_device_map", "hf_quantizer"))


def let_recompute(network: PreTrainedModel) -> None:
    """Prepare a network for recomputed activations. Raises ModelError where it has no layers that can."""
    layers = [part for part in network.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not (layers and network.supports_gradient_checkpointing):
        raise ModelError(f"{type(network).__name__} has no layers that recompute: leave out Placement(recompute=True).")
    network.activation_checkpointing_enable()


def write(path: str | Path, weights: Weights, layout: Layout) -> None:
    """Write weights, tokenizer and layout into a folder, which is made."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    (weights.adapter or weights.network).save_pretrained(str(folder))
    weights.tokenizer.save_pretrained(folder)
    sidecar = {"layout": asdict(layout), "base_digest": weights.base.digest if weights.base else None}
    (folder / SIDECAR).write_text(json.dumps(sidecar, indent=2) + "\n")


def digest(network: PreTrainedModel) -> str:
    """Return a fingerprint of names, shapes and some values; equal whether loaded in float32 or bfloat16."""
    hasher = blake2b(digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        sampled = value.flatten()[:256].to("cpu", torch.bfloat16).float()
        hasher.update(f"{name} {tuple(value.shape)}".encode() + sampled.numpy().tobytes())
    return hasher.hexdigest()


def check_fit(weights: Weights, layout: Layout) -> None:
    """Raise ModelError where tokenizer, layout and network do not fit each other."""
    rows = _embedded(weights.network)
    if len(weights.tokenizer) > rows:
        raise ModelError(
            f"The tokenizer has {len(weights.tokenizer)} tokens but the network embeds {rows}: "
            "they belong to different checkpoints."
        )
    positions = weights.network.config.get_text_config().to_dict().get("max_position_embeddings")
    if positions is not None and layout.max_prompt + layout.max_new > positions:
        raise ModelError(
            f"A prompt of {layout.max_prompt} and an action of {layout.max_new} tokens exceed the network's "
            f"{positions} positions: pass a smaller `layout`."
        )


def _embedded(network: PreTrainedModel) -> int:
    embeddings = network.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    return embeddings.num_embeddings


def _where(loading: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the arguments of `from_pretrained` says where files are and whether to run code among them."""
    return {name: value for name, value in loading.items() if name in WHERE}


def _network(origin: str, loading: Mapping[str, Any]) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(origin, **_where(loading))
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        loaded = kind.from_pretrained(origin, output_loading_info=True, **loading)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError) as error:
        raise ModelError(f"Cannot load a language model from {origin}: {_first_line(error)}") from error
    network: PreTrainedModel
    network, info = loaded  # type: ignore[misc]  # the library types only the answer without loading info
    for trouble in ("missing_keys", "mismatched_keys"):
        if info[trouble]:
            first = sorted(map(str, info[trouble]))[0]
            raise ModelError(
                f"{origin} does not fit {type(network).__name__}: {len(info[trouble])} {trouble}, {first}."
            )
    return network


def _with_fresh_adapter(weights: Weights, spec: LoraSpec, origin: str) -> Weights:
    base = Base(str(Path(origin).resolve()) if Path(origin).is_dir() else origin, digest(weights.network))
    weights.network.name_or_path = base.path  # peft writes this into the adapter's folder
    targets = spec.targets if isinstance(spec.targets, str) else list(spec.targets)
    config = LoraConfig(r=spec.rank, lora_alpha=spec.alpha, target_modules=targets, use_rslora=spec.rslora)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        try:
            with _peft_on_transformers_5():
                adapter = get_peft_model(weights.network, config)
        except ValueError as error:
            raise ModelError(f"No adapters on {spec.targets} of {origin}: {_first_line(error)}") from error
    return Weights(_under(adapter), weights.tokenizer, adapter, base)


def _with_saved_adapter(weights: Weights, path: str, base: Base, expected: str | None) -> Weights:
    if expected is not None and expected != base.digest:
        raise ModelError(
            f"The adapters in {path} were trained on another base than {base.path}: pass the right `base`."
        )
    try:
        with _peft_on_transformers_5():
            adapter = PeftModel.from_pretrained(weights.network, path, is_trainable=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The adapters in {path} do not fit {base.path}: {_first_line(error)}") from error
    return Weights(_under(adapter), weights.tokenizer, adapter, base)


@contextmanager
def _peft_on_transformers_5() -> Iterator[None]:
    """Silence one deprecation: peft 0.21 reads a property that transformers 5 renames. Nothing else is hidden."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _under(adapter: PeftModel) -> PreTrainedModel:
    """Return the network that holds the adapters: calling it runs them, without peft's wrapper around."""
    network = adapter.get_base_model()
    assert isinstance(network, PreTrainedModel)
    return network


def default_layout(network: PreTrainedModel) -> Layout:
    """Return a layout that fits the network."""
    separator = "" if network.config.is_encoder_decoder else "\n"
    positions = network.config.get_text_config().to_dict().get("max_position_embeddings") or 10**9
    return Layout(separator, max_prompt=max(16, min(900, positions - 88)))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
