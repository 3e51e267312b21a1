"""A file is replaced in one step and in its text alone, or left as it is with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from surpass.domains.proofs.rewrite import changed, difference, replace_file, unwritable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "A.v"
    path.write_bytes(b"old\n")
    return path


def test_only_the_text_is_replaced(file: Path) -> None:
    file.chmod(0o640)
    os.utime(file, (1, 1))
    try:
        os.setxattr(file, "user.mark", b"mine")
    except OSError:
        pytest.skip("this file system keeps no extended attributes")
    if os.getuid() == 0:
        os.chown(file, 1234, 4321)
    before = file.stat()
    assert replace_file(file, "old\n", "old\n", "new\r\n") == ""
    after = file.stat()
    assert file.read_bytes() == b"new\r\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert os.getxattr(file, "user.mark") == b"mine"
    assert after.st_mtime > before.st_mtime  # build tools must see it
    assert [*file.parent.iterdir()] == [file]


def test_a_file_that_may_not_be_written_is_left_alone(file: Path) -> None:
    file.chmod(0o444)
    for refused in (unwritable(file), replace_file(file, "old\n", "old\n", "new\n")):
        assert "read-only; nothing was written" in refused
    file.chmod(0o644)
    (file.parent / "B.v").hardlink_to(file)
    for refused in (unwritable(file), replace_file(file, "old\n", "old\n", "new\n")):
        assert "2 (hard links); nothing was written" in refused
    assert file.read_bytes() == b"old\n"


@pytest.mark.parametrize("trouble", [OSError("disk full"), KeyboardInterrupt()])
def test_a_replacement_that_fails_leaves_nothing_behind(
    file: Path, trouble: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(os, "replace", fails)
    try:
        assert "disk full; nothing was written" in replace_file(file, "old\n", "old\n", "new\n")
    except KeyboardInterrupt:
        assert isinstance(trouble, KeyboardInterrupt)
    assert [*file.parent.iterdir()] == [file]
    assert file.read_bytes() == b"old\n"


def test_changed_lines_end_as_the_text_does() -> None:
    assert changed("a\r\nb\r\n", {(3, 4): "x\ny\r\nz"}) == "a\r\nx\r\ny\r\nz\r\n"
    assert changed("a\nb\r\n", {(2, 3): "x\ny"}) == "a\nx\ny\r\n"
    assert difference(Path("A.v"), "a\r\nb", "a\r\nc").splitlines()[3:] == [" a", "-b", "+c"]
