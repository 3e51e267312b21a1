"""PGN, the text form of games: scanned line by line without a limit on the size of a file, and written.

`scan` splits a stream into games and `words` a movetext into moves. Neither knows the rules, so both are fast and
nothing that a file holds can stop them: what is odd is found by playing the moves (`games.play`). Comments, variations,
annotation glyphs and move numbers are dropped. Source: the PGN standard of 1994, sections 8 and 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

RESULTS = frozenset({"1-0", "0-1", "1/2-1/2", "*"})
ROSTER = ("Event", "Site", "Date", "Round", "White", "Black", "Result")  # the seven tags that come first
LONGEST = 1 << 20  # characters of a movetext: the longest game there can be, of 5898 moves, takes a tenth

_TAG = re.compile(r'\s*\[\s*(\w+)\s+"((?:[^"\\]|\\.)*)"\s*\]\s*')
_COMMENT = re.compile(r"\{[^}]*(?:\}|\Z)|;[^\n]*|^%[^\n]*", re.MULTILINE)
_BRACKET = re.compile(r"[()]")
_NUMBER = re.compile(r"(?<!\S)\d+\.+|\$\d+")


def scan(lines: Iterable[str]) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the tags and the movetext of each game.

    A tag line ends a movetext. Within an open comment only an Event does, so that a comment never closed costs one game
    and not the rest of the file. Of a movetext beyond a million characters no more is kept than `words` needs to refuse
    it.
    """
    tags: dict[str, str] = {}
    text: list[str] = []
    size, commented = 0, False
    for line in lines:
        begins = line.startswith('[Event "') if commented else line.lstrip().startswith("[")
        if begins and (match := _TAG.fullmatch(line)):
            if text:
                yield tags, "\n".join(text)
                tags, text, size, commented = {}, [], 0, False
            tags[match[1]] = re.sub(r"\\(.)", r"\1", match[2])
        elif line.strip() and size <= LONGEST:
            size += len(line) + 1
            text.append(line.strip("\r\n") if size <= LONGEST else "{ too long")
            if not line.startswith("%"):
                commented = line.rfind("{") > line.rfind("}") or (commented and "}" not in line)
    if tags or text:
        yield tags, "\n".join(text)


def words(movetext: str) -> tuple[list[str], str]:
    """Return the moves as they are written and the result that ends them, empty where none does.

    What stands behind the result is not read. Raises ValueError for a comment or variation that is not closed.

    >>> words("1. e4! {best by test} e5 (1... c5 2. Nf3) 2. Nf3 $1 1-0")
    (['e4', 'e5', 'Nf3'], '1-0')
    """
    text = _COMMENT.sub(_blank, movetext) if any(mark in movetext for mark in "{;%") else movetext
    if "(" in text:
        text = _main_line(text)
    moves: list[str] = []
    for word in _NUMBER.sub(" ", text).split():
        if word in RESULTS:
            return moves, word
        if move := word.rstrip("!?"):
            moves.append(move)
    return moves, ""


def _blank(comment: re.Match[str]) -> str:
    """Return what stands for a comment. Raises ValueError for one that is not closed."""
    if comment[0][0] == "{" and comment[0][-1] != "}":
        raise ValueError("a comment is not closed")
    return " "


def _main_line(text: str) -> str:
    """Return a text without its variations, however deep, in one pass. Raises ValueError for one that is not closed."""
    kept, depth, begin = list[str](), 0, 0
    for bracket in _BRACKET.finditer(text):
        if bracket[0] == "(":
            if not depth:
                kept.append(text[begin : bracket.start()])
            depth += 1
        elif depth:  # one that closes nothing stays, and is no move
            depth, begin = depth - 1, bracket.end()
    if depth:
        raise ValueError("a variation is not closed")
    return " ".join([*kept, text[begin:]])


def write(tags: Mapping[str, str], text: str) -> str:
    """Return a game in export format: the roster, the other tags in their order, the movetext, an empty line.

    `text` is the movetext with its result; it is broken into lines of less than 80 characters.
    """
    rows = {name: tags.get(name, "????.??.??" if name == "Date" else "?") for name in ROSTER} | dict(tags)
    head = "".join(f'[{name} "{_quoted(value)}"]\n' for name, value in rows.items())
    return f"{head}\n" + "\n".join(wrap(text, 79, break_long_words=False, break_on_hyphens=False)) + "\n\n"


def movetext(sans: Sequence[str], result: str, *, first: int = 0) -> str:
    """Return numbered moves and their result as PGN spaces them; `first` as in `transcript.numbered`.

    >>> movetext(["e4", "e5", "Nf3"], "*")
    '1. e4 e5 2. Nf3 *'
    """
    parts = []
    for ply, san in enumerate(sans, first):
        number = f"{ply // 2 + 1}." if ply % 2 == 0 else f"{ply // 2 + 1}..." if ply == first else ""
        parts.append(f"{number} {san}".lstrip())
    return " ".join([*parts, result])


def _quoted(value: str) -> str:
    return " ".join(value.split()).replace("\\", "\\\\").replace('"', '\\"')
