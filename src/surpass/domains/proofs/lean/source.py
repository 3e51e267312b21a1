"""Holes in Lean source: the theorems of a file whose proof, or one place in it, is `sorry`.

Commands of a file begin at the left margin: a *block* reaches from one such line to the next, attributes, modifiers,
`open ... in` and the documentation before it included. Lean itself judges whether a block is a declaration, so a file
written otherwise gives theorems that cannot be stated, never wrong ones. Comments and strings are blanked before any
word is looked for. Not here: what is permitted in a proof (`rules`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from surpass.domains.proofs.rewrite import Skipped

_NESTED = re.compile(r"/-|-/")
_HIDDEN = re.compile(r'--[^\n]*|/-|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\\n]|\\[^\n]{1,8}?)\'', re.DOTALL)
_MODIFIER = r"(?:private|protected|public|noncomputable|nonrec|unsafe|partial|local|scoped|meta)\b"
_BEGIN = re.compile(r"^(?=[^\s|·.)\]}⟩])", re.MULTILINE)
_PREFIX = re.compile(
    rf"(?:/--\s*|@\[[^\]]*\]\s*|{_MODIFIER}\s*|(?:open|set_option|variable|omit|include|attribute)\b[^\n]*\bin\s+)+\Z"
)
_KIND = re.compile(
    rf"(?:/--\s*|@\[[^\]]*\]\s*|{_MODIFIER}\s*|(?:open|set_option|variable|omit|include|attribute)\b[^\n]*?\bin\s+)*"
    r"(?P<kind>[a-z_]+)\s*(?P<name>(?:«[^»]*»|[^\s:({\[⦃«])*)"
)
_SORRY = re.compile(r"(?<![\w.'!?«])sorry(?![\w'!?»])")
_TACTIC = re.compile(r"(?:\bby|=>|·)\Z")


@dataclass(frozen=True, slots=True)
class Hole:
    """A theorem with one hole: `text[start:end]` is its block, `before` what stands in it before the proof wanted."""

    name: str
    start: int
    end: int
    before: str
    after: str
    indent: int  # column of the tactics


def mask(text: str) -> str:
    """Return the text with comments, strings and characters blanked, every position and line end kept.

    >>> mask('theorem t : "sorry" = s -- sorry')
    'theorem t :         = s         '
    """
    parts, position = list[str](), 0
    while found := _HIDDEN.search(text, position):
        quoted = found[0][0] == "'"
        if quoted and found.start() and re.match(r"[\w'!?⁻¹]", text[found.start() - 1]):  # h', f'
            parts.append(text[position : found.start() + 1])
            position = found.start() + 1
            continue
        end = _end_of_comment(text, found.end()) if found[0] == "/-" else found.end()
        parts.append(text[position : found.start()])
        hidden = text[found.start() : end]
        opener = "/--" if hidden.startswith("/--") else ""  # a declaration's documentation belongs to its block
        parts.append(opener + re.sub(r"[^\n]", " ", hidden[len(opener) :]))
        position = end
    return "".join([*parts, text[position:]])


def holes(text: str) -> tuple[list[Hole], list[Skipped]]:
    """Return the theorems with exactly one hole, in order, and what else is left open, with the reason."""
    masked, found, skipped = mask(text), list[Hole](), list[Skipped]()
    for start, end in blocks(masked):
        sorries = list(_SORRY.finditer(masked, start, end))
        if not sorries:
            continue
        kind, name = head(masked, start, end)
        place = None
        if kind not in ("theorem", "lemma") or not name:
            reason = f"expected a theorem or lemma with a name, found {kind or 'something else'}"
        elif len(sorries) > 1:
            reason = f"expected one sorry in the declaration, found {len(sorries)}: fill them one at a time"
        else:
            place = _hole(text, masked, name, (start, end), sorries[0].span())
            reason = "expected sorry where a tactic, or the whole proof, stands; found it inside a term"
        if place:
            found.append(place)
        else:
            skipped.append(Skipped(name or kind, text.count("\n", 0, sorries[0].start()) + 1, reason))
    return found, skipped


def head(masked: str, start: int, end: int) -> tuple[str, str]:
    """Return the kind and the name of the declaration in a block, empty where it has none."""
    found = _KIND.match(masked, start, end)
    return (found["kind"], found["name"].rstrip(".")) if found else ("", "")


def _end_of_comment(text: str, position: int) -> int:
    """Return where a block comment that begins before `position` ends; they nest."""
    depth = 1
    for token in _NESTED.finditer(text, position):
        depth += 1 if token[0] == "/-" else -1
        if not depth:
            return token.end()
    return len(text)


def blocks(masked: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each block of a masked text; together they are all of it."""
    begins = [found.start() for found in _BEGIN.finditer(masked)]
    start = 0
    for begin in begins:
        if begin > start and not _PREFIX.fullmatch(masked, start, begin):
            yield start, begin
            start = begin
    if start < len(masked):
        yield start, len(masked)


def _hole(text: str, masked: str, name: str, block: tuple[int, int], sorry: tuple[int, int]) -> Hole | None:
    start, end = block
    line = masked.rfind("\n", 0, sorry[0]) + 1
    margin = len(masked[line : sorry[0]]) - len(masked[line : sorry[0]].lstrip())
    before = masked[start : sorry[0]].rstrip()
    first = not masked[line : sorry[0]].strip()
    whole = before.endswith(":=")
    if not (first or whole or _TACTIC.search(before)):
        return None
    indent = sorry[0] - line if (first and not whole) or before.endswith("·") else margin + 2
    written = text[start : start + len(before)] + (" by" if whole else "")
    after = text[sorry[1] : end].rstrip()
    return Hole(name, start, sorry[1] + len(after), written, after, max(indent, 1))
