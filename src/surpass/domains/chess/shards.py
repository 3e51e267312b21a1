"""Packs: games as tokens on disk, memory-mapped, written so that a killed writer goes on where it stopped.

    pack.json             vocabulary, source, the shards with how far into the source each of them reaches, the report
    00000.tokens.npy      uint16 [tokens]: every game once, from its start token to its result, one after the other
    00000.offsets.npy     int64 [games + 1]: where each game begins; the last one is the number of tokens
    00000.keys.npy        uint64 [games, 2]: `Game.moves_key`, which decides the split, and `Game.record_key`

A shard's files are complete before `pack.json` names it, each replaced atomically; what it does not name is not there.
So a pack is a beginning of its source at any moment, and no game is doubled, cut or lost by an interruption. (The code
of the Transcendence paper begins a game that does not fit again in the next block: openings twice, ends never.)
Not here: which rows a model is trained on (`blocks.py`).
"""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Game, Report, read
from surpass.domains.chess.readers import records
from surpass.domains.chess.rules import sans
from surpass.domains.chess.tokens import VOCABULARIES, Play, Vocabulary
from surpass.errors import DataError

INDEX, FORMAT = "pack.json", 1
SHARD_TOKENS = 1 << 22  # 8 MB; what an interruption costs at most to read again
PARTS = ("tokens", "offsets", "keys")
KINDS = (np.uint16, np.int64, np.uint64)


@dataclass(frozen=True)
class Pack:
    """A pack opened for reading. Games are numbered from 0, in the order of the source."""

    folder: Path
    index: Mapping[str, Any]
    shards: tuple[NDArray[np.uint16], ...]  # memory-mapped tokens
    firsts: NDArray[np.int64]  # [shards + 1] global position of each shard's first token; the last is their number
    starts: NDArray[np.int64]  # [games + 1] global position of each game's first token; the last is their number
    keys: NDArray[np.uint64]  # [games] `Game.moves_key`

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the tokenisation that the pack was written with."""
        vocabulary: Vocabulary = VOCABULARIES[self.index["vocabulary"]](**self.index["options"])
        return vocabulary

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Return the tokens at some global positions, of any shape."""
        shard = np.searchsorted(self.firsts, positions, side="right") - 1
        found = np.empty(positions.shape, dtype=np.uint16)
        for one in np.unique(shard):
            here = shard == one
            found[here] = self.shards[one][positions[here] - self.firsts[one]]
        return found

    def game(self, number: int) -> Play:
        """Return one game, decoded strictly."""
        return self.vocabulary.decode(self.take(np.arange(self.starts[number], self.starts[number + 1])).tolist())


def open_pack(folder: Path) -> Pack:
    """Open a pack, whole or still being written. Raises DataError where its files are not what `pack.json` says."""
    index = _read_index(folder)
    tokens: list[NDArray[np.uint16]] = []
    starts, keys, first = [np.zeros(1, np.int64)], [np.zeros(0, np.uint64)], 0
    for shard in index["shards"]:
        parts = _parts(folder, shard)
        tokens.append(parts[0])
        starts.append(np.asarray(parts[1][1:]) + first)
        keys.append(np.asarray(parts[2][:, 0]))
        first += shard["tokens"]
    firsts = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
    return Pack(folder, index, tuple(tokens), firsts, np.concatenate(starts), np.concatenate(keys))


def _parts(folder: Path, shard: Mapping[str, Any]) -> list[NDArray[Any]]:
    """Return a shard's tokens, offsets and keys, memory-mapped. Raises DataError where they are not what they must be.

    What the tokens are is not looked at: that would read all of them.
    """
    try:
        parts = [np.load(folder / f"{shard['name']}.{part}.npy", mmap_mode="r") for part in PARTS]
        found = [(part.dtype, part.shape) for part in parts]
        shapes = (shard["tokens"],), (shard["games"] + 1,), (shard["games"], 2)
        if found != list(zip(map(np.dtype, KINDS), shapes, strict=True)):
            raise ValueError(f"it holds {found}")
        if parts[1][0] != 0 or parts[1][-1] != shard["tokens"] or (np.diff(parts[1]) < 2).any():
            raise ValueError("offsets that are none")
    except (OSError, ValueError, KeyError, TypeError, EOFError, TokenError) as error:  # the last is of NumPy's headers
        raise DataError(f"{folder}: a shard is damaged or missing ({shard}: {error}); pack again") from error
    return parts


def write_pack(
    paths: Sequence[Path],
    folder: Path,
    vocabulary: Vocabulary,
    *,
    keep: Filter,
    games: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    tell: Callable[[Report], None] = lambda report: None,
) -> tuple[Pack, Report]:
    """Write the games of files that pass the filter, at most `games` of them, and return the pack and what was read.

    Called again with the same arguments after an interruption, it goes on; a finished pack is left as it is. Raises
    DataError for a file that cannot be read at all (before anything is written), and for a folder that holds a pack of
    something else.
    """
    for path in paths:
        next(records(path, needs_ratings=keep.needs_ratings), None)
    index = _begin(paths, folder, vocabulary, keep, games)
    report = _stored(index["report"])
    known = {int(key) for shard in index["shards"] for key in _parts(folder, shard)[2][:, 1]}
    if not index["complete"]:
        room = None if games is None else games - report.kept
        stream = read(paths, keep, report, skip=report.read, known=known)
        shard = _Shard(folder, index)
        for game in _first(stream, room):
            shard.add(game, vocabulary.encode(play_of(game, vocabulary.notation)))
            if shard.size >= shard_tokens:
                shard.close(report)
            if report.read % 1000 == 0:
                tell(report)
        shard.close(report, complete=True)
    return open_pack(folder), report


def play_of(game: Game, notation: str) -> Play:
    """Return what a vocabulary of this notation ("uci" or "san") writes of a game."""
    moves = game.moves if notation == "uci" else tuple(sans(game.moves, game.fen))
    return Play(moves, game.result, (game.white_rating, game.black_rating))


class _Shard:
    """The shard being written; `close` puts it on disk and begins the next."""

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self._folder, self._index = folder, index
        self._tokens = array("H")
        self._offsets = [0]
        self._keys: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        return len(self._tokens)

    def add(self, game: Game, tokens: Sequence[int]) -> None:
        self._tokens.extend(tokens)
        self._offsets.append(len(self._tokens))
        self._keys.append((game.moves_key, game.record_key))

    def close(self, report: Report, *, complete: bool = False) -> None:
        shards = self._index["shards"]
        if self._keys:
            name = f"{len(shards):05}"
            for part, kind, rows in zip(PARTS, KINDS, (self._tokens, self._offsets, self._keys), strict=True):
                _save(self._folder / f"{name}.{part}.npy", np.asarray(rows, dtype=kind))
            shards.append({"name": name, "tokens": self.size, "games": len(self._keys)})
        self._index.update(complete=complete, report=_plain(report))
        _write(self._folder / INDEX, json.dumps(self._index, indent=1).encode())
        self._tokens, self._offsets, self._keys = array("H"), [0], []


def _begin(
    paths: Sequence[Path], folder: Path, vocabulary: Vocabulary, keep: Filter, games: int | None
) -> dict[str, Any]:
    """Return the index of a new pack, or of the one in the folder where it is of the same source."""
    name = next(name for name, kind in VOCABULARIES.items() if isinstance(vocabulary, kind))
    index: dict[str, Any] = {
        "format": FORMAT,
        "vocabulary": name,
        "options": asdict(vocabulary),  # type: ignore[call-overload]  # both vocabularies are dataclasses
        "files": [{"name": path.name, "bytes": path.stat().st_size} for path in paths],
        "filter": asdict(keep) | {"speeds": list(keep.speeds), "outcomes": list(keep.outcomes)},
        "games": games,
    }
    if (folder / INDEX).exists():
        stored = _read_index(folder)
        for field, value in index.items():
            if stored.get(field) != value:
                raise DataError(
                    f"{folder} holds a pack with {field} {stored.get(field)}, not {value}: choose another folder, "
                    "or repeat the command that made it"
                )
        return stored
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is no pack; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    index |= {"complete": False, "report": _plain(Report()), "shards": []}
    _write(folder / INDEX, json.dumps(index, indent=1).encode())
    return index


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != FORMAT or index["vocabulary"] not in VOCABULARIES:
            raise ValueError(f"format {index['format']}, vocabulary {index['vocabulary']}")
        if missing := {"options", "complete", "report", "shards"} - set(index):
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        VOCABULARIES[index["vocabulary"]](**index["options"])
    except FileNotFoundError as error:
        raise DataError(f"{folder} is no pack (no {INDEX}); make one with: surpass chess pack") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a pack of format {FORMAT}: {error}; pack again") from error
    return dict(index)


def _plain(report: Report) -> dict[str, Any]:
    """Return a report as JSON holds it. Not `asdict`, which cannot copy a Counter."""
    return {one.name: getattr(report, one.name) for one in fields(report)}


def _stored(report: Mapping[str, Any]) -> Report:
    """Return the report of the reading so far."""
    return Report(**{**report, "dropped": Counter(report["dropped"]), "bad": Counter(report["bad"])})


def _first(games: Iterable[Game], room: int | None) -> Iterator[Game]:
    """Yield at most `room` games, and read none beyond: the report counts what was used."""
    if room == 0:
        return
    for number, game in enumerate(games, 1):
        yield game
        if number == room:
            return


def _save(path: Path, array: NDArray[Any]) -> None:
    data = BytesIO()
    np.save(data, array)
    _write(path, data.getvalue())


def _write(path: Path, data: bytes) -> None:
    """Replace a file in one step, and only with what has reached the disk."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
