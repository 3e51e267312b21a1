"""`surpass chess download 2013-01`: monthly games of Lichess, continued after a broken connection, and checked.

This needs the internet and nothing else here does: without it, use game sets of your own or `surpass chess experts`.
The files are CC0 (database.lichess.org) and range from 17 MB (2013-01) to 30 GB compressed; reading never unpacks one
to disk (`readers.py`). What is not whole is called .part and carries the beginning of the checksum that it must reach,
so that a file which has changed at its source is not continued.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from surpass.errors import ConfigError, DataError

LICHESS = "https://database.lichess.org/standard/"
SUMS = "sha256sums.txt"
_BLOCK = 1 << 18  # bytes received at a time
_BROKEN = (OSError, http.client.HTTPException)  # URLError, timeouts and resets are OSErrors
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR}

Tell = Callable[[int, int], None]  # bytes so far, bytes in all (0: not known)


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """Fetch months of Lichess's rated games; needs the internet."""

    months: Annotated[tuple[str, ...], tyro.conf.Positional]  # such as 2013-01, the first and smallest
    out: Path = Path("data")  # the folder to put them in
    source: str = LICHESS  # where they are, with their sha256sums.txt; a mirror of yours, perhaps
    tries: int = 5  # without a byte of progress, before giving up
    timeout: float = 30.0  # seconds without an answer that count as a broken connection
    pause: float = 1.0  # seconds before the second try, doubled each time

    def __post_init__(self) -> None:
        for month in self.months or ("",):
            if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", month):
                raise ConfigError(f"expected months such as 2013-01, found {month!r}")
        if not self.source.startswith(("http://", "https://")):
            raise ConfigError(f"expected --source to begin with http:// or https://, found {self.source!r}")
        if self.tries < 1 or self.timeout <= 0 or self.pause < 0:
            raise ConfigError("expected --tries of at least 1, --timeout above 0 and --pause of at least 0")


def main(options: DownloadOptions) -> int:
    """Fetch each month and print where it is."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    for month in options.months:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(month, total=None)

            def tell(done: int, total: int, task: object = task) -> None:
                bar.update(task, completed=done, total=total or None)  # type: ignore[arg-type]  # rich's own TaskID

            path = fetch(month, options, tell)
        print(path)
    return 0


def fetch(month: str, options: DownloadOptions, tell: Tell = lambda done, total: None) -> Path:
    """Return the file of a month, whole and checked; one that is there already is checked again.

    Raises DataError where the source cannot be reached, has no such month, breaks off too often (what has come stays,
    and the same call goes on) or sends a file with another checksum, and where the disk is full.
    """
    name = f"lichess_db_standard_rated_{month}.pgn.zst"
    wanted = _checksum(name, options)
    options.out.mkdir(parents=True, exist_ok=True)
    whole = options.out / name
    if whole.exists():
        if _sha256(whole) != wanted:
            raise DataError(f"{whole} is not the file that {options.source} has (checksum); move it away and try again")
        return whole
    part = options.out / f"{name}.{wanted[:12]}.part"
    _receive(options.source.rstrip("/") + "/" + name, part, options, tell)
    found = _sha256(part)
    if found != wanted:
        part.unlink()
        raise DataError(f"{name} came with checksum {found}, expected {wanted}: deleted; try again")
    return part.rename(whole)


def _checksum(name: str, options: DownloadOptions) -> str:
    """Return the checksum that the source states for a file."""
    url = options.source.rstrip("/") + "/" + SUMS
    try:
        with urllib.request.urlopen(url, timeout=options.timeout) as answer:
            text = answer.read(1 << 24).decode("utf-8", "replace")
    except _BROKEN as error:
        raise DataError(
            f"cannot reach {url} ({error}): downloading needs the internet. Without it, read game sets of your own "
            "(surpass chess pack) or make some (surpass chess experts)"
        ) from error
    sums = {match[2]: match[1] for match in re.finditer(r"^([0-9a-f]{64})[ *]+(\S+)\s*$", text, re.MULTILINE)}
    if name not in sums:
        months = sorted(re.findall(r"\d{4}-\d{2}", " ".join(sums)))
        there = f"has {months[0]} to {months[-1]}" if months else f"{SUMS} names no files"
        raise DataError(f"{options.source} states no {name}; it {there}")
    return sums[name]


def _receive(url: str, part: Path, options: DownloadOptions, tell: Tell) -> None:
    """Append to `part` until it is as long as the source says, over as many connections as it takes."""
    tries, trouble = 0, ""
    while tries < options.tries:
        if tries:
            time.sleep(options.pause * 2 ** (tries - 1))
        before = part.stat().st_size if part.exists() else 0
        try:
            if _continue(url, part, options.timeout, tell):
                return
            trouble = "the connection was closed"
        except urllib.error.HTTPError as error:
            if 400 <= error.code < 500 and error.code not in (408, 416, 429):
                raise DataError(f"{url}: {error}") from error
            trouble = str(error)
        except _BROKEN as error:
            if not isinstance(
                error, urllib.error.URLError | http.client.HTTPException | ConnectionError | TimeoutError
            ):
                raise DataError(f"cannot write {part}: {error}") from error
            trouble = str(error) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        tries = 1 if after > before else tries + 1
    raise DataError(f"{url} broke off {options.tries} times ({trouble}) at {after:,} bytes; the same command goes on")


def _continue(url: str, part: Path, timeout: float, tell: Tell) -> bool:
    """Ask for the rest of a file, once; return whether it is whole now."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 416:
                raise
            if error.headers.get("Content-Range", "") == f"bytes */{have}":
                return True
            part.unlink()  # longer than the source's file, or not a beginning of it
            return False
    with answer:
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        goes_on = answer.status == 206 and stated is not None and int(stated[1]) == have
        if not goes_on:  # a source without ranges sends everything again
            have = 0
        total = int(stated[2]) if goes_on and stated else int(answer.headers.get("Content-Length") or 0)
        free = shutil.disk_usage(part.parent).free
        if total - have > free:
            raise DataError(f"{part.parent} has {free:,} bytes free, {url} needs {total - have:,}")
        with part.open("ab" if goes_on else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                have += len(block)
                tell(have, total)
        return have == total if total else True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
