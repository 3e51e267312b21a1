"""The text of a game: numbered moves in standard algebraic notation (SAN), as `1.e4 e5 2.Nf3`.

This is the form that character models of chess are trained on (Transcendence, arXiv 2406.11741): no space after a move
number, one space between words, check marks kept, no comments and no result. It uses 31 of the 32 characters of
`tokens.CHARACTERS`; the last one, `;`, begins a game. Not here: which moves are legal (`rules.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from surpass.errors import DataError

SAN = re.compile(r"(?:O-O(?:-O)?|[KQRBN]?[a-h]?[1-8]?x?[a-h][1-8](?:=[QRBN])?)[+#]?")  # whether or not it is legal
_NUMBER = re.compile(r"(\d+)(\.\.\.|\.)(.*)", re.DOTALL)


def numbered(sans: Sequence[str], *, first: int = 0) -> str:
    """Return the transcript of moves whose first is half-move number `first` (0 is White's first move).

    >>> numbered(["e4", "e5", "Nf3"]), numbered(["e5", "Nf3"], first=1)
    ('1.e4 e5 2.Nf3', '1...e5 2.Nf3')
    """
    return "".join(prompt(ply, first=first) + san for ply, san in enumerate(sans, first))


def prompt(ply: int, *, first: int = 0) -> str:
    """Return what stands between the move before half-move `ply` and that move itself.

    >>> prompt(0), prompt(1), prompt(2), prompt(1, first=1)
    ('1.', ' ', ' 2.', '1...')
    """
    blank = "" if ply == first else " "
    if ply % 2 == 0:
        return f"{blank}{ply // 2 + 1}."
    return blank or f"{ply // 2 + 1}..."


def unnumbered(text: str, *, first: int = 0) -> tuple[str, ...]:
    """Return the moves of a transcript. Strict: `numbered` of them is the text again, or DataError is raised.

    >>> unnumbered("1.e4 e5 2.Nf3")
    ('e4', 'e5', 'Nf3')
    """
    words = text.split(" ") if text else []
    sans = tuple(match[3] if (match := _NUMBER.fullmatch(word)) else word for word in words)
    if numbered(sans, first=first) != text or not all(map(SAN.fullmatch, sans)):
        raise DataError(f"expected a transcript such as '1.e4 e5 2.Nf3', found {text[:80]!r}")
    return sans
