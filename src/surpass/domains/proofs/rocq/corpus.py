"""Reading an extracted corpus as problems, de-duplicated and split.

De-duplication by initial goals comes before the split, so no goal of `test` was ever seen in `train`; the share of a
problem depends on a hash of its goals (or of its file) and the seed alone, so filters and newly extracted files move no
problem from one split to another. What writes a corpus is `extraction`; nothing here starts a prover.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from surpass.core import Problem
from surpass.errors import ConfigError, DataError

FORMAT = 1  # of the files of a corpus; raised when their meaning changes
SHARES = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0), "all": (0.0, 1.0)}

By = Literal["lemma", "file"]


def problems(
    corpus: Path | str,
    split: str,
    *,
    by: By = "lemma",
    seed: int = 0,
    max_sentences: int | None = None,
    max_chars: int | None = None,
    within: Sequence[str] = (),
) -> list[Problem]:
    """Return the problems of `split` (train, valid, test or all), ordered by file and position.

    `by` says what is hashed: the initial goals of each lemma, or its file (all lemmas of a file share a split).
    `max_sentences` bounds the human proof, `max_chars` the initial goals; `within` keeps logical names that equal or
    extend one of those given ("Coq.Lists" or "Coq.Lists.List").

    Raises DataError for an unknown or empty split and a missing or corrupt corpus, ConfigError for an unknown `by`.
    """
    if split not in SHARES:
        raise DataError(f"expected a split among {', '.join(SHARES)}, found {split!r}")
    if by not in ("lemma", "file"):
        raise ConfigError(f"expected by='lemma' or by='file', found {by!r}")
    low, high = SHARES[split]
    chosen = [
        problem
        for problem in _distinct(load(corpus))
        if low <= _fraction(problem.data["goals"] if by == "lemma" else problem.group, seed) < high
        and (max_sentences is None or len(problem.data["solution"]) <= max_sentences)
        and (max_chars is None or len(problem.data["goals"]) <= max_chars)
        and (not within or any(f"{problem.data['top']}.".startswith(f"{prefix}.") for prefix in within))
    ]
    if not chosen:
        raise DataError(
            f"expected problems in split {split!r} of {corpus}, found none after the filters (max_sentences="
            f"{max_sentences}, max_chars={max_chars}, within={list(within)}); loosen them, or extract more files with "
            f"{_remedy(corpus)}"
        )
    return chosen


def load(corpus: Path | str) -> list[Problem]:
    """Return every extracted lemma as a problem, duplicates included, ordered by file and position.

    Raises DataError where there is no corpus, or one of its files is corrupt.
    """
    files = sorted(Path(corpus, "files").glob("*.jsonl"))
    if not files:
        raise DataError(f"expected a corpus in {corpus}, found no files/*.jsonl; make one with {_remedy(corpus)}")
    return [problem for file in files for problem in _read(file)]


def _distinct(found: Sequence[Problem]) -> Iterator[Problem]:
    """Yield the first problem of each initial goal."""
    seen = set[str]()
    for problem in found:
        if problem.data["goals"] not in seen:
            seen.add(problem.data["goals"])
            yield problem


def _fraction(text: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on `text` and `seed` alone."""
    digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48


def _remedy(corpus: Path | str) -> str:
    return f"`surpass proofs extract --library stdlib --out {corpus}`"


def _read(file: Path) -> list[Problem]:
    try:
        with file.open(encoding="utf-8") as lines:  # not str.splitlines: goals may hold other line separators
            header, *records = map(json.loads, lines)
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']} where this version reads {FORMAT}")
        if len(records) != header["lemmas"]:
            raise ValueError(f"{len(records)} lemmas where its first line says {header['lemmas']}")
        return [_problem(header, record) for record in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"expected extracted lemmas in {file}, found {error!r}; delete that file and run "
            f"{_remedy(file.parent.parent)} again: files already there are not replayed"
        ) from error


def _problem(header: Mapping[str, Any], record: Mapping[str, Any]) -> Problem:
    shared = {field: header[field] for field in ("file", "top", "noinit", "options")}
    return Problem(key=record["key"], group=header["file"], data={**shared, **record})
