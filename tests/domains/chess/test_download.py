"""Downloads from a server of our own: whole, continued after broken connections, checked, and honest when they fail."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from surpass import cli
from surpass.domains.chess.download import DownloadOptions, fetch
from surpass.errors import ConfigError, DataError

NAME = "lichess_db_standard_rated_2013-01.pgn.zst"
DATA = bytes(range(256)) * 4000  # about 1 MB


@dataclass
class Source:
    """A server, and how it behaves."""

    data: bytes = DATA
    sums: str = f"{hashlib.sha256(DATA).hexdigest()}  {NAME}\n{'0' * 64}  lichess_db_standard_rated_2024-12.pgn.zst\n"
    breaks: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    ranges: bool = True
    deaf: bool = False  # answers with a range, but always with the first
    errors: list[int] = field(default_factory=list)  # codes of the next answers
    asked: list[str] = field(default_factory=list)  # the Range of each request for data
    url: str = ""


@pytest.fixture
def source() -> Iterator[Source]:
    state = Source()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/standard/sha256sums.txt":
                self.answer(200, state.sums.encode())
                return
            state.asked.append(self.headers.get("Range", ""))
            if state.errors:
                self.answer(state.errors.pop(0), b"")
                return
            match = re.fullmatch(r"bytes=(\d+)-", state.asked[-1])
            first = int(match[1]) if match and state.ranges else 0
            if state.deaf and match:
                self.answer(206, state.data, f"bytes 0-{len(state.data) - 1}/{len(state.data)}")
                return
            if first >= len(state.data):
                self.answer(416, b"", f"bytes */{len(state.data)}")
            elif first:
                self.answer(206, state.data[first:], f"bytes {first}-{len(state.data) - 1}/{len(state.data)}")
            else:
                self.answer(200, state.data)

        def answer(self, code: int, body: bytes, stated: str = "") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            if stated:
                self.send_header("Content-Range", stated)
            self.end_headers()
            if code in (200, 206) and state.breaks and self.path.endswith(".zst"):
                body = body[: state.breaks.pop(0)]
            self.wfile.write(body)  # the connection closes behind it: HTTP/1.0

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/standard/"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def options(source: Source, folder: Path, tries: int = 3) -> DownloadOptions:
    return DownloadOptions(("2013-01",), folder, source.url, tries, timeout=10, pause=0.001)


def test_a_whole_file(source: Source, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = fetch("2013-01", options(source, tmp_path), lambda done, total: told.append((done, total)))
    assert path == tmp_path / NAME
    assert path.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
    fetch("2013-01", options(source, tmp_path))
    assert source.asked == [""]  # what is there is checked, not fetched again


def test_broken_connections_are_continued_where_they_broke(source: Source, tmp_path: Path) -> None:
    source.breaks = [300_000, 1, 0, 250_000]
    source.errors = [503]
    assert fetch("2013-01", options(source, tmp_path)).read_bytes() == DATA
    assert source.asked == ["", "", "bytes=300000-", "bytes=300001-", "bytes=300001-", "bytes=550001-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(source: Source, tmp_path: Path) -> None:
    source.breaks = [400_000, 0, 0]
    with pytest.raises(DataError, match=r"broke off 3 times .* 400,000 bytes; the same command goes on"):
        fetch("2013-01", options(source, tmp_path))
    [part] = tmp_path.iterdir()
    assert part.read_bytes() == DATA[:400_000]
    assert fetch("2013-01", options(source, tmp_path)).read_bytes() == DATA
    assert source.asked[-1] == "bytes=400000-"


def test_a_source_without_ranges_sends_everything_again(source: Source, tmp_path: Path) -> None:
    source.breaks, source.ranges = [400_000], False
    assert fetch("2013-01", options(source, tmp_path)).read_bytes() == DATA


def test_a_source_that_sends_another_range_is_not_believed(source: Source, tmp_path: Path) -> None:
    source.breaks, source.deaf = [400_000], True
    assert fetch("2013-01", options(source, tmp_path)).read_bytes() == DATA


def test_a_part_that_is_whole_already_or_too_long(source: Source, tmp_path: Path) -> None:
    part = tmp_path / f"{NAME}.{hashlib.sha256(DATA).hexdigest()[:12]}.part"
    part.write_bytes(DATA)
    assert fetch("2013-01", options(source, tmp_path)).read_bytes() == DATA
    (tmp_path / NAME).unlink()
    part.write_bytes(DATA + b"x")
    assert fetch("2013-01", options(source, tmp_path)).read_bytes() == DATA


def test_a_file_that_changed_at_its_source_is_not_continued(source: Source, tmp_path: Path) -> None:
    source.breaks = [400_000, 0, 0]
    with pytest.raises(DataError):
        fetch("2013-01", options(source, tmp_path))
    source.data = DATA[::-1]
    source.sums = f"{hashlib.sha256(source.data).hexdigest()}  {NAME}\n"
    assert fetch("2013-01", options(source, tmp_path)).read_bytes() == source.data
    assert source.asked[-1] == ""


def test_a_wrong_checksum_is_not_kept(source: Source, tmp_path: Path) -> None:
    source.data = DATA[:-1] + b"\x00"
    with pytest.raises(DataError, match="came with checksum"):
        fetch("2013-01", options(source, tmp_path))
    assert not list(tmp_path.iterdir())
    (tmp_path / NAME).write_bytes(b"something else")
    with pytest.raises(DataError, match="is not the file that"):
        fetch("2013-01", options(source, tmp_path))
    assert (tmp_path / NAME).read_bytes() == b"something else"


def test_a_refusal_is_not_tried_again(source: Source, tmp_path: Path) -> None:
    source.errors = [403]
    with pytest.raises(DataError, match="403"):
        fetch("2013-01", options(source, tmp_path))
    assert len(source.asked) == 1


def test_a_full_disk_is_seen_before_anything_comes(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(DataError, match="has 5 bytes free"):
        fetch("2013-01", options(source, tmp_path))


def test_without_a_network_one_message_says_what_else_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chess", "download", "2013-01", "--source", "http://127.0.0.1:9/", "--out", str(tmp_path)]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "downloading needs the internet" in said
    assert "chess experts" in said


def test_the_command_fetches_and_says_where(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chess", "download", "2013-01", "--source", source.url, "--out", str(tmp_path)]) == 0
    assert NAME in capsys.readouterr().out
    assert cli.main(["chess", "download", "2012-12", "--source", source.url, "--out", str(tmp_path)]) == 2
    assert "it has 2013-01 to 2024-12" in capsys.readouterr().err


@pytest.mark.parametrize("months", [(), ("2013",), ("2013-13",), ("../2013-01",)])
def test_months_are_months(months: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="expected months such as 2013-01"):
        DownloadOptions(months)
