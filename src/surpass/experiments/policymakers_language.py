"""Language models in the experiment `policymakers`: which rows there are, and the record of what was said.

Rows of language models are there only where the environment names a chat model, or a recorded run is replayed. All rows
of a run share one record, `exchanges.jsonl` in its folder: what is in it is never asked again, so an interrupted run
goes on exactly, and a finished one is analysed again without a key. Not here: prompts, and talking to servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from surpass.models.chat import Chat, open_chat
from surpass.models.endpoint import configured
from surpass.models.exchanges import NAME

LANGUAGE: dict[str, tuple[str, Mapping[str, object]]] = {  # row: principal, and its options
    "llm": ("llm", {}),
    "evollm": ("evollm", {}),
    "llm_without_history": ("llm", {"without": ("history",)}),
    "llm_without_observations": ("llm", {"without": ("observations",)}),
    "llm_without_context": ("llm", {"without": ("context",)}),
    "llm_without_names": ("llm", {"without": ("names",)}),
}


def available(folder: Path, replay: Path | None) -> bool:
    """Whether there is a model to ask, or a record to ask instead."""
    return replay is not None or configured() or (folder / NAME).exists()


def conversation(
    folder: Path, replay: Path | None, *, price_in: float | None = None, price_out: float | None = None
) -> Chat:
    """Return the chat of a run: it asks the configured model and keeps the record, or answers from a record alone."""
    if replay is None and configured():
        return open_chat(folder / NAME, price_in=price_in, price_out=price_out)
    return open_chat(replay=replay or folder, price_in=price_in, price_out=price_out)


def spent(chat: Chat) -> dict[str, Any]:
    """Return what a chat has come to, for the summary; no cost where no prices were given."""
    came = chat.exchanges.spent
    return {"model": chat.endpoint.model, **asdict(came), "cost": came.cost(chat.endpoint)}
