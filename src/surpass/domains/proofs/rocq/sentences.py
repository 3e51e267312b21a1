"""Splitting Rocq source into sentences, as its own lexer does between two commands.

A sentence ends at `.` or `...` followed by a blank or the end of the text (`..` never ends one); a bullet, a brace and
a brace with a goal selector (`2:{`, `[name]:{`) are sentences of their own. Comments nest, and strings hide what they
hold, also inside comments. Nothing here parses a sentence: whether it means anything is for the prover to say. The
tests hold this to the ranges that `coqc -time` prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from surpass.errors import DataError

# Two adjacent strings stand for the escape `""`: for splitting the difference does not matter.
_STRING = r'"[^"]*"'
_BLANKS = re.compile(r"[ \t\r\n]+")
_COMMENT = re.compile(rf'\(\*|\*\)|{_STRING}|"')
_TOKEN = re.compile(rf'\(\*|{_STRING}|"|\.+')
_UNDOTTED = re.compile(r"-+|\++|\*+|[{}]|(?:[0-9]+|\[[ \t\r\n]*[\w'.]+[ \t\r\n]*\])[ \t\r\n]*:[ \t\r\n]*\{")


class SentenceError(DataError):
    """A comment, string or sentence without an end; `offset` is where it began."""

    def __init__(self, what: str, text: str, offset: int) -> None:
        line = text.count("\n", 0, offset) + 1
        super().__init__(
            f"expected the end of the {what} that begins on line {line} (character {offset}), "
            "found the end of the text; close it"
        )
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence without the blanks and comments before it; `text == source[start:end]`."""

    text: str
    start: int
    end: int

    @property
    def undotted(self) -> bool:
        """Whether this is a bullet or a brace."""
        return _UNDOTTED.fullmatch(self.text) is not None


def split(text: str) -> list[Sentence]:
    """Return the sentences of `text` in order; blanks and comments between them are dropped.

    >>> [s.text for s in split("(* a. *) - rewrite H.x, (f 1.5). 2:{ now auto... }")]
    ['-', 'rewrite H.x, (f 1.5).', '2:{', 'now auto...', '}']

    Raises SentenceError for a comment, string or sentence without an end.
    """
    sentences, position = list[Sentence](), _skip_blanks(text, 0)
    while position < len(text):
        undotted = _UNDOTTED.match(text, position)
        end = undotted.end() if undotted else _dotted_end(text, position)
        sentences.append(Sentence(text[position:end], position, end))
        position = _skip_blanks(text, end)
    return sentences


def without_comments(sentence: str) -> str:
    """Return a sentence with a blank for each of its comments and the blanks around it.

    >>> without_comments('Lemma (* why *) a : s = "(*".')
    'Lemma a : s = "(*".'
    """
    kept, start, position = list[str](), 0, 0
    while token := _TOKEN.search(sentence, position):
        position = token.end()
        if token[0] == "(*":
            kept.append(sentence[start : token.start()].rstrip())
            start = position = _skip_blanks(sentence, token.start())
    return " ".join([*kept, sentence[start:]])


def commented(sentence: str) -> str:
    """Return a sentence inside a comment; what would end the comment too early is taken apart.

    >>> commented("rewrite H in (n |- *).")
    '(* rewrite H in (n |- * ). *)'
    """
    comment = f"(* {sentence} *)"
    try:
        whole = not split(comment)
    except SentenceError:
        whole = False
    return comment if whole else f"(* {sentence.replace('*)', '* )').replace('(*', '( *')} *)"


def _skip_blanks(text: str, position: int) -> int:
    """Return the position of the first character at or after `position` that is in neither a blank nor a comment."""
    while True:
        if blanks := _BLANKS.match(text, position):
            position = blanks.end()
        elif text.startswith("(*", position):
            position = _comment_end(text, position)
        else:
            return position


def _comment_end(text: str, start: int) -> int:
    depth, position = 0, start
    while token := _COMMENT.search(text, position):
        if token[0] == '"':
            raise SentenceError("string", text, token.start())
        depth += {"(*": 1, "*)": -1}.get(token[0], 0)
        position = token.end()
        if depth == 0:
            return position
    raise SentenceError("comment", text, start)


def _dotted_end(text: str, start: int) -> int:
    position = start
    while token := _TOKEN.search(text, position):
        if token[0] == '"':
            raise SentenceError("string", text, token.start())
        position = token.end()
        if token[0] == "(*":
            position = _comment_end(text, token.start())
        elif token[0][0] == "." and len(token[0]) != 2 and text[position : position + 1] in ("", " ", "\t", "\r", "\n"):
            return position
    raise SentenceError("sentence", text, start)
