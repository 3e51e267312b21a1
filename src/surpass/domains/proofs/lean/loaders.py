"""Problems from what people keep them in: Lean files, miniF2F as JSON Lines, LeanDojo's benchmark.

    Lean files        one, or a folder of them: every theorem with one `sorry`; a file's problems share its group
    miniF2F           lines with `formal_statement`, and where they are given `header`, `name` (or `id`), `split` and
                      `solution`, a list of tactics
    LeanDojo          a JSON list with `file_path`, `full_name`, `start`, `end`, `traced_tactics`, and a checkout of the
                      repository it was traced from; the traced tactics go into data["traced"], not into
                      data["solution"]: that they run one after the other has to be tried first

No prover is asked: whether a theorem can be stated shows when it is started. What cannot be posed is counted with its
reason. Not here: writing proofs back (`prove_file`).
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from surpass.core import Problem
from surpass.domains.proofs.lean.place import source_text
from surpass.domains.proofs.lean.source import Hole, blocks, head, holes, mask
from surpass.domains.proofs.rewrite import Skipped
from surpass.errors import DataError

_SPLITS = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "test": "test"}
_PROJECT = ("lakefile.toml", "lakefile.lean")
_PROOF = re.compile(r":=\s*by\b")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Problems in the order of their source, and how many entries gave none, by reason."""

    problems: tuple[Problem, ...]
    skipped: Counter[str]


def load(path: Path | str, *, project: str = "") -> Loaded:
    """Read a Lean file, a folder of them, or miniF2F's JSON Lines. Raises DataError where nothing can be posed.

    `project` is the folder of the Lake project whose toolchain and libraries count, for texts that stand in no file.
    """
    source = Path(path)
    if source.suffix in (".jsonl", ".json"):
        loaded = _from_records(_records(source), source, project)
    else:
        files = sorted(source.rglob("*.lean")) if source.is_dir() else [source]
        found = [in_file(file, source if source.is_dir() else None) for file in files]
        reasons = Counter(skipped.reason for _, skips in found for skipped in skips)
        loaded = Loaded(tuple(problem for problems, _ in found for problem in problems), reasons)
    return _checked(loaded, source)


def in_file(path: Path | str, root: Path | str | None = None) -> tuple[list[Problem], list[Skipped]]:
    """Return the theorems of a file that have one hole, and what else is open; keys name the file as below `root`.

    Raises DataError where the file cannot be read.
    """
    file = Path(path).resolve()
    called = file.relative_to(Path(root or file.parent).resolve()).with_suffix("").as_posix()
    text = source_text(str(file))
    found, skipped = holes(text)
    names = Counter(hole.name for hole in found)
    split = _SPLITS.get(file.stem.lower())
    problems = list[Problem]()
    for hole in found:
        line = text.count("\n", 0, hole.start) + 1
        key = f"{called}:{hole.name}" + (f":{line}" if names[hole.name] > 1 else "")
        place = {"file": str(file), "position": hole.start, "end": hole.end, "project": lake_project(file)}
        problems.append(Problem(key, str(file), _data(hole) | place | ({"split": split} if split else {})))
    return problems, skipped


def lean_dojo(path: Path | str, root: Path | str) -> Loaded:
    """Read one JSON file of LeanDojo's benchmark; `root` is the checkout of the traced repository, built with Lake.

    Raises DataError where the file is none, or nothing in it can be posed.
    """
    source, checkout = Path(path), Path(root).resolve()
    problems, skipped = list[Problem](), Counter[str]()
    for index, record in enumerate(_records(source)):
        try:
            problem = _traced(record, checkout, index, _SPLITS.get(source.stem))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"expected file_path, full_name, start, end and traced_tactics in entry {index} of {source}, "
                f"found {sorted(record)} ({error!r})"
            ) from error
        if isinstance(problem, str):
            skipped[problem] += 1
        else:
            problems.append(problem)
    return _checked(Loaded(tuple(problems), skipped), source)


def lake_project(file: Path) -> str:
    """Return the nearest folder above a file that holds a Lake project, or nothing."""
    return next((str(up) for up in file.parents if any((up / name).is_file() for name in _PROJECT)), "")


def _data(hole: Hole) -> dict[str, Any]:
    return {"name": hole.name, "before": hole.before, "after": hole.after, "indent": hole.indent}


def _records(path: Path) -> Sequence[Mapping[str, Any]]:
    """Read a JSON list, or one JSON object a line."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if text.lstrip().startswith("[") else list(map(json.loads, _lines(text)))
    except (OSError, ValueError) as error:
        raise DataError(f"expected JSON, or JSON Lines, in {path}, found {error}") from error
    if not all(isinstance(record, dict) for record in found):
        raise DataError(f"expected JSON objects in {path}, found {type(found[0]).__name__} and others")
    return list(found)


def _lines(text: str) -> Iterable[str]:
    return (line for line in text.split("\n") if line.strip())  # not splitlines: U+2028 may stand in a JSON string


def _from_records(records: Sequence[Mapping[str, Any]], source: Path, project: str) -> Loaded:
    problems, skipped = list[Problem](), Counter[str]()
    for index, record in enumerate(records):
        if "traced_tactics" in record:
            raise DataError(f"{source} is a LeanDojo benchmark: read it with loaders.lean_dojo({source.name!r}, root)")
        if not isinstance(record.get("formal_statement"), str):
            raise DataError(f"expected formal_statement in entry {index + 1} of {source}, found {sorted(record)}")
        text = f"{record.get('header') or ''}\n{_opened(record['formal_statement'])}\n".lstrip("\n")
        found, refused = holes(text)
        if len(found) != 1 or refused:
            skipped[refused[0].reason if refused else f"expected one theorem, found {len(found)}"] += 1
            continue
        data = _data(found[0]) | {"context": text[: found[0].start], "project": project}
        if split := _SPLITS.get(str(record.get("split", "")).lower()):
            data["split"] = split
        if "solution" in record:
            data["solution"] = [str(tactic) for tactic in record["solution"]]
        problems.append(Problem(str(record.get("name") or record.get("id") or found[0].name), source.name, data))
    return Loaded(tuple(problems), skipped)


def _opened(statement: str) -> str:
    """Return a statement that ends in `sorry`; some collections end at `:=` or at `by`."""
    bare = statement.rstrip()
    if "sorry" in mask(bare):
        return bare
    return f"{bare} sorry" if bare.endswith(":=") or re.search(r"\bby\Z", bare) else f"{bare} := by sorry"


def _traced(record: Mapping[str, Any], root: Path, index: int, split: str | None) -> Problem | str:
    """Return one theorem of LeanDojo's benchmark, or why there is none."""
    tactics = [str(step["tactic"]) for step in record["traced_tactics"]]
    name, file = str(record["full_name"]), root / str(record["file_path"])
    if not tactics:
        return "expected a proof by tactics, found a term"
    if not file.is_file():
        return "expected the file in the checkout, found none"
    text, masked, starts, lines = _read(str(file))
    begin, end = (_offset(lines, *record[side]) for side in ("start", "end"))
    start = starts[max(0, bisect_right(starts, begin) - 1)]
    proof = _PROOF.search(masked, begin, end)
    kind, stated = head(masked, start, end)
    if proof is None or kind not in ("theorem", "lemma"):
        return "expected `theorem ... := by`, found something else; is the checkout at the traced commit?"
    if not f".{name}".endswith(f".{stated}"):
        return "expected the traced theorem at its position, found another; is the checkout at the traced commit?"
    data = _data(Hole(stated, start, end, text[start : proof.end()], "", 2)) | {
        "file": str(file),
        "position": start,
        "project": str(root),
        "traced": tactics,
    }
    return Problem(f"{name}:{index}", str(file), data | ({"split": split} if split else {}))


@lru_cache(maxsize=256)
def _read(file: str) -> tuple[str, str, list[int], list[int]]:
    """Return a file's text, the same masked, and where its blocks and its lines begin."""
    text = source_text(file)
    masked = mask(text)
    lines = [0, *(found.end() for found in re.finditer("\n", text))]
    return text, masked, [start for start, _ in blocks(masked)] or [0], lines


def _offset(lines: Sequence[int], line: int, column: int) -> int:
    """Return the position of a line and a column, both counted from 1, the column in code points."""
    return lines[min(max(line, 1), len(lines)) - 1] + column - 1


def _checked(loaded: Loaded, source: Path) -> Loaded:
    if not loaded.problems:
        reasons = "; ".join(f"{count} times: {reason}" for reason, count in loaded.skipped.most_common(3))
        raise DataError(
            f"expected theorems with one sorry in {source}, found none" + (f" ({reasons})" if reasons else "")
        )
    if twice := [key for key, times in Counter(p.key for p in loaded.problems).items() if times > 1]:
        raise DataError(f"expected every name in {source} once, found twice: {', '.join(twice[:5])}")
    return loaded
