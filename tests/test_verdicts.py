"""What is remembered is what was said, never an UNKNOWN, and never in the way."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surpass import verdicts
from surpass.core import Status, Verdict
from surpass.verdicts import Verdicts, remembered

YES = Verdict(Status.ACCEPTED, (1.0,), "rocq 8; T3")
NO = Verdict(Status.REJECTED, (0.0,), "rocq 8; T3; fail")
UNSURE = Verdict(Status.UNKNOWN, (), "rocq 8; T3; Timeout!")


def test_what_was_said_is_recalled_and_counted(tmp_path: Path) -> None:
    known = Verdicts(tmp_path / "deep" / "verdicts.sqlite")
    assert known.recall(["a", "b"]) == {}
    known.remember({"a": YES, "b": NO, "c": UNSURE})
    again = Verdicts(known.path)
    assert again.recall(["b", "a", "c", "d"]) == {"a": YES, "b": NO}
    assert (again.asked, again.hits, known.asked, known.hits) == (4, 2, 2, 0)


def test_many_keys_are_asked_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_BATCH", 3)
    known = Verdicts(tmp_path / "verdicts.sqlite")
    said = {f"key {index}": (YES, NO)[index % 2] for index in range(20)}
    known.remember(said)
    assert known.recall([*said, "other"]) == said


def test_a_file_that_cannot_be_used_is_said_and_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken").write_text("this is no database, it is a text that is long enough to be read as one" * 20)
    (tmp_path / "odd").mkdir()
    for name in ("broken", "odd", "broken/below"):
        caplog.clear()
        known = Verdicts(tmp_path / name)
        with caplog.at_level(logging.WARNING):
            known.remember({"a": YES})
            assert known.recall(["a"]) == {}
        assert "verdicts are not remembered" in caplog.text
        assert "SURPASS_VERDICTS" in caplog.text


WRITER = """
import sys
from pathlib import Path
from surpass.core import Status, Verdict
from surpass.verdicts import Verdicts
known, name, index = Verdicts(Path(sys.argv[1])), sys.argv[2], 0
while True:
    said = {f"{name} {index} {part}": Verdict(Status.ACCEPTED, (1.0,), f"{index}") for part in range(5)}
    known.remember(said)
    print(index, flush=True)
    index += 1
"""


def test_writers_that_are_killed_leave_whole_answers(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
    told = [writer.communicate()[0].split() for writer in writers]
    for name, lines in zip("ab", told, strict=True):
        last = int(lines[-1]) if lines else 0
        for index in (last, last + 1):
            found = Verdicts(path).recall([f"{name} {index} {part}" for part in range(5)])
            assert len(found) in ((5,) if index == last else (0, 5))


def test_where_it_lies_is_said_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(verdicts.PLACE, "none")
    assert remembered() is None
    monkeypatch.setenv(verdicts.PLACE, str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = remembered()
    assert found is not None
    assert found.path == tmp_path / "mine"
    monkeypatch.delenv(verdicts.PLACE)
    found = remembered()
    assert found is not None
    assert found.path == tmp_path / "surpass" / "verdicts.sqlite"


def test_a_user_without_a_home_remembers_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (verdicts.PLACE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 1_999_999_999)
    assert remembered() is None
    assert verdicts.PLACE in caplog.text
