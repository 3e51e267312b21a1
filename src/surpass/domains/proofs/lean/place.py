"""Where a proof is wanted: a declaration with one hole, and all that stands before it.

    context       Lean source before the declaration: imports, open namespaces, earlier declarations
    before, after the declaration around its hole: `theorem t : p := by`; nothing, or the rest of a longer proof

A problem carries these texts, or the file and the position that they are read from. Tactics are laid out here, in the
two ways they are elaborated: as people write them, and each in parentheses of ours, which no text permitted by `rules`
can leave. Not here: how holes are found in a file (`source`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from surpass.core import Problem
from surpass.errors import DataError


@dataclass(frozen=True, slots=True)
class Place:
    """A hole to fill."""

    project: str  # folder of the Lake project, or empty
    context: str
    before: str
    after: str
    name: str  # of the theorem, as it is called at its own place
    indent: int = 2  # column of the tactics
    axioms: tuple[str, ...] = ()  # that a proof may rest on, beyond the usual three

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Read the place from the data of a problem.

        Raises DataError where a field is missing or of another kind, or the file has changed.
        """
        data = problem.data
        try:
            context = str(data["context"]) if "context" in data else _context(problem)
            return cls(
                str(data.get("project", "")),
                context,
                str(data["before"]),
                str(data.get("after", "")),
                str(data["name"]),
                int(data.get("indent", 2)),
                tuple(map(str, data.get("axioms", ()))),
            )
        except KeyError as error:
            raise DataError(
                f"problem {problem.key}: expected data[{error}] (see lean/README.md), found {sorted(data)}"
            ) from error
        except (TypeError, ValueError) as error:
            raise DataError(
                f"problem {problem.key}: expected data as lean/README.md says, found {error}; the record is damaged"
            ) from error

    def filled(self, block: str) -> str:
        """Return the declaration with `block`, whole lines, in its hole."""
        return f"{self.before}\n{block}{self.after}"

    @property
    def open(self) -> str:
        """The declaration with `sorry` in its hole."""
        return self.filled(" " * self.indent + "sorry")

    def script(self, tactics: Sequence[str], *, guarded: bool = False) -> str:
        r"""Return tactics as lines for the hole; `guarded`: each in parentheses, its lines in line as before.

        >>> place = Place("", "", "theorem t : p := by", "", "t")
        >>> place.script(["intro h", "cases h with\n  | a => simp"], guarded=True)
        '  (intro h)\n  (cases h with\n     | a => simp)'
        """
        margin = " " * self.indent
        opening, closing = ("(", ")") if guarded else ("", "")
        joint = "\n" + margin + " " * len(opening)
        return "\n".join(f"{margin}{opening}{tactic.replace(chr(10), joint)}{closing}" for tactic in tactics)


def _context(problem: Problem) -> str:
    """Return the text of the file before the declaration. Raises DataError where the file states something else."""
    file, position = str(problem.data["file"]), int(problem.data["position"])
    text = source_text(file)
    stated = str(problem.data["before"]).removesuffix("by").rstrip()  # the file may say `:= sorry`
    if not text.startswith(stated, position):
        raise DataError(
            f"problem {problem.key}: expected {stated[:80]!r} at character {position} of {file}, found "
            f"{text[position : position + 80]!r}; the file has changed: read the problems again"
        )
    return text[:position]


@lru_cache(maxsize=64)
def source_text(file: str) -> str:
    """Return the text of a Lean file, line ends as they are. Raises DataError where it cannot be read."""
    try:
        with Path(file).open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected Lean source in {file}, found {error}; give the path of a .lean file") from error
