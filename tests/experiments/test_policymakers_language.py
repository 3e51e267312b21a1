"""Rows of language models: there where one is configured, recorded, replayed without it, and absent otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surpass.errors import ConfigError, DataError
from surpass.experiments.policymakers import PRESETS, main
from surpass.experiments.policymakers_language import LANGUAGE
from surpass.models import endpoint
from surpass.models.scripted_server import ChatServer
from surpass.store import Run

TINY = replace(
    PRESETS["tiny"],
    societies=("settled_room",),
    room_principals=("random",),
    settled_terms=3,
    price_in=1.0,
    price_out=2.0,
)


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (endpoint.MODEL, endpoint.URL, endpoint.KEY):
        monkeypatch.delenv(name, raising=False)


def test_without_a_model_there_are_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Run.open(main(TINY, out=tmp_path / "run"))
    assert "no rows of language models" in capsys.readouterr().err
    assert list(found.summary()["societies"]["settled_room"]["arms"]) == ["fixed", "oracle", "random"]
    assert "language" not in found.summary()


def test_rows_are_asked_for_recorded_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted model pays for the live lever where it reads which one it is, and otherwise names no rates."""

    def answer(body: Mapping[str, Any]) -> str:
        told = " ".join(message["content"] for message in body["messages"])
        return "$2 2 2 0 0$" if "lever" in told else "I do not know"

    config = replace(TINY, language=("llm", "llm_without_names"))
    with ChatServer(answer) as server:
        monkeypatch.setenv(endpoint.MODEL, "scripted")
        monkeypatch.setenv(endpoint.URL, server.url)
        first = Run.open(main(config, out=tmp_path / "run"))
        asked = len(server.asked)
        assert asked > 0
    arms = first.summary()["societies"]["settled_room"]["arms"]
    assert list(arms) == ["fixed", "oracle", "random", *config.language]
    rows = first.path / "settled_room" / "arms" / "llm" / "metrics.jsonl"
    assert all(json.loads(line)["rates"] == [2, 2, 2, 0, 0] for line in rows.read_text().splitlines())
    said = first.summary()["language"]
    assert (said["model"], said["requests"]) == ("scripted", asked)
    for name in (endpoint.MODEL, endpoint.URL):
        monkeypatch.delenv(name)
    again = Run.open(main(replace(config, replay=first.path), out=tmp_path / "again"))
    found = again.summary()["societies"]["settled_room"]["arms"]
    assert found == arms
    rows.unlink()
    (first.path / "settled_room" / "summary.json").unlink()
    main(config, resume=first.path)
    assert first.summary()["societies"]["settled_room"]["arms"] == arms, "what was recorded is not asked again"
    with pytest.raises(DataError, match="no such exchange"):
        main(replace(config, replay=first.path, settled_terms=4), out=tmp_path / "longer")


def test_every_ablation_of_the_table_is_one_of_the_principal() -> None:
    from surpass.domains.economy.principals.language import ABLATIONS

    removed = [part for name, options in LANGUAGE.values() for part in options.get("without", ())]  # type: ignore[attr-defined]
    assert sorted(removed) == sorted(ABLATIONS)
    with pytest.raises(ConfigError, match="language: expected some of llm, evollm"):
        replace(TINY, language=("oracle",))
