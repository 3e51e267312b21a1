"""A trained chess model as a folder: weights as transformers saves them, and `chess.json`, which says what they speak.

    config.json  model.safetensors  chess.json = {"vocabulary": "moves" | "characters", its options}

Training writes it into its run folder, and every player reads it: the arena, the UCI engine, the experiments. Nothing
heavy is imported before weights are read, for a UCI engine must answer before.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from surpass.domains.chess.tokens import VOCABULARIES, Characters, Moves
from surpass.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIDECAR = "chess.json"


def save(folder: Path, network: PreTrainedModel, vocabulary: Moves | Characters) -> None:
    """Write a model into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(str(folder))
    name = next(name for name, kind in VOCABULARIES.items() if isinstance(vocabulary, kind))
    (folder / SIDECAR).write_text(json.dumps({"vocabulary": name, **asdict(vocabulary)}) + "\n", encoding="utf-8")


def find(run: Path) -> Path:
    """Return the folder of the one model in a run, or the run itself where it is one.

    Raises DataError where there is none, ConfigError where there are several to choose from.
    """
    if not run.is_dir():
        raise DataError(f"expected a run folder in {run}, found none; give the folder that `surpass run` has printed")
    found = sorted(path.parent for path in run.rglob(SIDECAR))
    if not found:
        raise DataError(f"expected a chess model ({SIDECAR}) in {run} or below, found none; has the run finished?")
    if len(found) > 1 and run not in found:
        raise ConfigError(
            f"expected one chess model in {run}, found {len(found)}: give one of {', '.join(map(str, found))}"
        )
    return run if run in found else found[0]


def spoken(folder: Path) -> Moves | Characters:
    """Return the vocabulary of a model's folder, without its weights. Raises ModelError where it is described badly."""
    try:
        described = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
        vocabulary: Moves | Characters = VOCABULARIES[described.pop("vocabulary")](**described)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / SIDECAR} does not describe a vocabulary of chess: {error!r}") from error
    return vocabulary


def load(run: Path, *, device: str = "cpu") -> tuple[PreTrainedModel, Moves | Characters]:
    """Return the model of a run and its vocabulary.

    Raises ModelError where weights and description are damaged, ConfigError for a device that is not here.
    """
    import torch
    from torch import nn
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    from surpass.models.checkpoint import usable

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one for each model of a match would drown its table
    folder = find(run)
    vocabulary, device = spoken(folder), usable(device)
    try:
        config = AutoConfig.from_pretrained(str(folder))
        loaded = AutoModelForCausalLM.from_pretrained(
            str(folder), config=config, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"cannot load the model in {folder}: {str(error).splitlines()[0]}") from error
    network: PreTrainedModel
    info: dict[str, object]
    network, info = loaded  # type: ignore[misc]  # the library types only the answer without loading info
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ModelError(f"the weights in {folder} do not fit its config.json; save the model again")
    nn.Module.to(network, device)
    network.train(False)
    return network, vocabulary
