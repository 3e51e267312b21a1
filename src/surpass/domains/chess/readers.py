"""Files of games as streams of records: PGN, PGN.zst, CSV (also .zst), parquet. Nothing is held but the game at hand.

Whatever the file, a record's tags are named as in PGN. Columns are found by name, whatever their case and underscores:

    moves, transcript, movetext, pgn -> the movetext, SAN or UCI, with or without move numbers
    result, winner (white, black, draw) -> Result         victory_status, termination -> Termination
    white_rating, whiteElo -> WhiteElo, same for Black    time_control, increment_code (minutes) -> TimeControl
    turns, plies -> PlyCount    white, black -> the names    fen -> FEN    variant -> Variant    url, site, id -> Site

A file that is cut or corrupted yields what stands before the damage and then raises DataError, which says where.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from surpass.domains.chess.pgn import scan
from surpass.errors import DataError

SUFFIXES = (".pgn", ".pgn.zst", ".csv", ".csv.zst", ".parquet")
COLUMNS = {  # PGN's name -> columns that hold it, without case and underscores
    "moves": ("moves", "transcript", "movetext", "pgn"),
    "Result": ("result", "winner"),
    "WhiteElo": ("whiterating", "whiteelo"),
    "BlackElo": ("blackrating", "blackelo"),
    "Termination": ("victorystatus", "termination"),
    "TimeControl": ("timecontrol", "incrementcode"),
    "PlyCount": ("turns", "plies", "plycount"),
    "White": ("white", "whitename"),
    "Black": ("black", "blackname"),
    "FEN": ("fen",),
    "Variant": ("variant",),
    "Site": ("site", "url", "id"),
}
_WINNERS = {"white": "1-0", "black": "0-1", "draw": "1/2-1/2"}
_BLOCK = 1 << 20  # bytes read at a time
_LINE = 1 << 24  # bytes of a line, at most
_ROWS = 4096  # of a parquet file held at a time


@dataclass(frozen=True, slots=True)
class Record:
    """A game as its file states it; nothing about it is checked. Tags are named as in PGN, whatever the file."""

    source: str  # file:number, from 1
    movetext: str
    tags: Mapping[str, str]
    closed: bool = True  # False for the last game of a text file, which may have been cut there


def records(path: Path, *, needs_ratings: bool = False) -> Iterator[Record]:
    """Return the games of a file, in order. Raises DataError, at the first record, for a file of another kind, one that
    cannot be opened, or one without the column of the moves (or of the ratings, where they are needed)."""
    name = path.name.lower()
    if name.endswith((".pgn", ".pgn.zst")):
        return _pgn(path)
    if name.endswith((".csv", ".csv.zst")):
        return _csv(path, needs_ratings)
    if name.endswith(".parquet"):
        return _parquet(path, needs_ratings)
    raise DataError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")


def _pgn(path: Path) -> Iterator[Record]:
    """A game is given out once the next one begins, so that the last one is known as such."""
    waiting: Record | None = None
    try:
        for number, (tags, text) in enumerate(scan(lines(path)), 1):
            if waiting is not None:
                yield waiting
            waiting = Record(f"{path.name}:{number}", text, tags)
    except DataError:
        if waiting is not None:  # `scan` never gave out the game that the damage is in
            yield waiting
        raise
    if waiting is None:
        raise DataError(f"{path} holds no game in PGN")
    yield Record(waiting.source, waiting.movetext, waiting.tags, closed=False)


def _csv(path: Path, needs_ratings: bool) -> Iterator[Record]:
    reader = csv.reader((f"{line}\n" for line in lines(path)), strict=True)
    try:
        header = next(reader, [])
        columns = _columns(path, header, needs_ratings)
        for number, row in enumerate(reader, 1):
            if row:
                short = len(row) < len(header)
                cells = row + [""] * (len(header) - len(row))
                record = _row(f"{path.name}:{number}", {name: cells[place] for name, place in columns.items()}, header)
                yield Record(record.source, record.movetext, record.tags, closed=not short)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} is not CSV ({error}); the rows before it were read") from error


def _parquet(path: Path, needs_ratings: bool) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            columns = _columns(path, header, needs_ratings)
            wanted = [header[place] for place in columns.values()]
            for batch in file.iter_batches(_ROWS, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    cells = {
                        name: "" if row[header[place]] is None else str(row[header[place]])
                        for name, place in columns.items()
                    }
                    yield _row(f"{path.name}:{number}", cells, header)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no whole parquet file: {error}; {number} of its games were read") from error


def _columns(path: Path, header: list[str], needs_ratings: bool) -> dict[str, int]:
    """Return where each known column stands. Raises DataError where one that is needed is missing."""
    folded = {re.sub(r"[_\s]", "", name).casefold(): place for place, name in reversed(list(enumerate(header)))}
    found: dict[str, int] = {}
    for name, spellings in COLUMNS.items():
        for spelling in spellings:
            if spelling in folded:
                found.setdefault(name, folded[spelling])
    needed = ["moves", *(("WhiteElo", "BlackElo") if needs_ratings else ())]
    for name in needed:
        if name not in found:
            raise DataError(
                f"{path}: expected a column of {'the moves' if name == 'moves' else name} "
                f"({', '.join(COLUMNS[name])}), found {', '.join(header) or 'none'}"
            )
    return found


def _row(source: str, cells: dict[str, str], header: list[str]) -> Record:
    """Return the record of a table's row, its values in PGN's spelling."""
    text = cells.pop("moves")
    tags = {name: value.strip() for name, value in cells.items() if value and value.strip()}
    if "Result" in tags:
        tags["Result"] = _WINNERS.get(tags["Result"].casefold(), tags["Result"])
    control = re.fullmatch(r"([0-9]{1,9})\+([0-9]{1,9})", tags.get("TimeControl", ""))
    if control and "increment_code" in header and "time_control" not in header:
        tags["TimeControl"] = f"{60 * int(control[1])}+{control[2]}"
    return Record(source, text, tags)


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, decompressed where it ends in .zst, without their ends."""
    rest = b""
    for block in _blocks(path):
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _LINE:
            raise DataError(f"{path} has a line of more than {_LINE:,} bytes: no game set; what stands before was read")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
    if rest:
        yield rest.decode("utf-8", "replace").rstrip("\r")


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file. Raises DataError where it cannot be opened, or its compression is broken or cut."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".zst":
                yield from _decompressed(path, iter(lambda: file.read(_BLOCK), b""))
            else:
                yield from iter(lambda: file.read(_BLOCK), b"")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _decompressed(path: Path, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what zstandard frames hold, one after the other; the library does not mind that a cut file has no end."""
    import zstandard

    read, frame = 0, None
    try:
        for block in blocks:
            data = block
            while data:
                if frame is None:
                    frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
                yield frame.decompress(data)
                data, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
            read += len(block)
    except zstandard.ZstdError as error:
        raise DataError(f"{path} is damaged about {read:,} bytes in ({error}); what stands before was read") from error
    if frame is not None:
        raise DataError(f"{path} ends within its compressed data after {read:,} bytes: cut off; load it again")
