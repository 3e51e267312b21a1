"""Sizes of models that start from scratch. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from surpass.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Preset:
    """The shape of a Llama-type decoder with tied embeddings; every head has its own keys and values."""

    vocabulary: int  # at most; few texts give fewer tokens
    width: int
    layers: int
    heads: int
    inner: int  # width of the gated feed-forward
    max_prompt: int  # tokens of a prompt; longer ones lose their beginning
    max_new: int = 88  # tokens of an action, the end marker included


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "tiny": Preset(512, 96, 2, 3, 256, max_prompt=256),  # 0.3 M: tests, trains in seconds
        "mini": Preset(2048, 128, 4, 4, 344, max_prompt=256, max_new=64),  # 1 M: minutes on two CPU cores
        "small": Preset(4096, 256, 4, 4, 704, max_prompt=384),  # 4 M: hours on two CPU cores
        "medium": Preset(4096, 256, 6, 4, 704, max_prompt=384),  # 6 M, 5 with few tokens: hours, too
        "base": Preset(8192, 512, 8, 8, 1408, max_prompt=768),  # 30 M: many cores, or any GPU
        "large": Preset(16384, 1024, 24, 16, 2816, max_prompt=900),  # 325 M: one large GPU
    }
)


def preset(name: str) -> Preset:
    """Return the preset of that name; raises ConfigError with the known names for any other."""
    if name not in PRESETS:
        raise ConfigError(f"Unknown model preset {name!r}: expected one of {', '.join(PRESETS)}.")
    return PRESETS[name]
