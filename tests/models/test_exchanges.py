"""Records of exchanges: what is found again, and files that are none."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from surpass.errors import DataError
from surpass.models.endpoint import Reply
from surpass.models.exchanges import NAME, Exchanges, Spent, digest

BODY = {"model": "m", "messages": [{"role": "user", "content": "How much?\ud800"}], "seed": 3}


def test_an_exchange_is_found_by_what_was_asked_alone(tmp_path: Path) -> None:
    record = Exchanges(tmp_path / "run" / NAME)
    assert record.find(BODY) is None
    record.add(BODY, (Reply("7", "stop", 2, 1, "m-1"), 4), url="http://here/v1")
    turned = dict(reversed(BODY.items()))
    for later in (record, Exchanges(tmp_path / "run" / NAME), Exchanges.replay(tmp_path / "run")):
        assert later.find(turned) == Reply("7", "stop", 2, 1, "m-1")
        assert later.find({**BODY, "seed": 4}) is None
        assert later.spent == Spent(1, 4, 0, 2, 1, 0)
        assert len(later) == 1
    [row] = map(json.loads, (tmp_path / "run" / NAME).read_text().splitlines())
    assert (row["url"], row["request"], row["key"]) == ("http://here/v1", BODY, digest(BODY))


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = Exchanges()
    record.add(BODY, (Reply("7"), 0), url="")
    assert (record.spent.untold, list(tmp_path.iterdir())) == (1, [])


def test_a_torn_line_is_cut_when_written_on_and_left_when_replayed(tmp_path: Path) -> None:
    path = tmp_path / NAME
    Exchanges(path).add(BODY, (Reply("7"), 0), url="")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "ab')
    assert len(Exchanges.replay(path)) == 1
    assert path.read_bytes() == whole + b'{"key": "ab'
    assert len(Exchanges(path)) == 1
    assert path.read_bytes() == whole
    path.write_bytes(whole[:20])
    assert len(Exchanges(path)) == 0
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": "0" * 32}, "not an exchange"),
        ({"reply": {"text": "7"}}, "not an exchange"),
        ({"reply": None}, "not an exchange"),
        ({"reply": asdict(Reply("7")) | {"text": None}}, "not an exchange"),
        ({"request": None, "key": digest({})}, "not an exchange"),
        ({"retries": "many"}, "not an exchange"),
    ],
)
def test_a_record_that_was_changed_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    path = tmp_path / NAME
    Exchanges(path).add(BODY, (Reply("7"), 0), url="")
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    for read in (Exchanges, Exchanges.replay):
        with pytest.raises(DataError, match=f"{NAME}, line 1: {told}"):
            read(path)


def test_where_nothing_was_recorded_it_says_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.jsonl"):
        with pytest.raises(DataError, match=r"expected recorded exchanges in .*, found no file"):
            Exchanges.replay(path)
    (tmp_path / NAME).write_text("no JSON\n")
    with pytest.raises(DataError, match="line 1: not JSON"):
        Exchanges.replay(tmp_path)


def test_a_record_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        Exchanges(tmp_path / "run" / NAME).add(BODY, (Reply("7"), 0), url="")
