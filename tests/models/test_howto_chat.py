"""The page on chat models runs as it stands, against a server that knows the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from surpass.models.scripted_server import ChatServer

PAGE = Path(__file__).parents[2] / "docs" / "howto-chat.md"


def answer(body: Mapping[str, Any]) -> str:
    first, last = (str(body["messages"][place]["content"]) for place in (0, -1))
    if first.startswith("You prove theorems"):
        return "```\nexact h1\n```" if "exact h1" in last else "`intro h1`"
    live = re.search(r"opens the door is lever (\d)", first)
    assert live is not None
    return json.dumps({f"lever {n}": 2 * (n == int(live[1])) for n in (1, 2, 3)} | {"door": 0, "start": 0})


def test_the_howto_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SURPASS_CHAT_MODEL", "scripted")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    space: dict[str, object] = {"__name__": "howto"}
    with ChatServer(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for block in blocks:
            exec(compile(block, PAGE.name, "exec"), space)
    told = capsys.readouterr().out.splitlines()
    assert len(blocks) == 3
    assert told[0] == "[140.0, 140.0, 140.0]"
    assert re.fullmatch(r"Spent\(requests=3, .*\) 0\.000\d+", told[1])
    assert told[2] == "True"
    assert told[3] == "accepted ('intro h1', 'exact h1')"
    assert all(b"sk-secret" not in path.read_bytes() for path in tmp_path.iterdir())
