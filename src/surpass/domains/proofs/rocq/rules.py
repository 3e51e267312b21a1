"""What a text may say to the prover: exactly one tactic, bullet or brace (trust level T0). No process, no goals.

A policy's text reaches the prover only through `as_sentence`, which puts the tactic in parentheses of ours: no command
(`Axiom`, `Unset Guard Checking`, `Redirect`) parses there, and a text that the prover's lexer cut short would leave
the parenthesis open. So an accepted sentence was read to its end. `refusal` turns texts away before that.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from surpass.domains.proofs.rocq.sentences import Sentence, split
from surpass.errors import DataError

LONGEST = 4096  # characters; the longest tactic of the standard library has 3,853

# `par:` starts prover processes of its own.
_SELECTOR = re.compile(r"(?:all|!|\[ *[\w']+ *\]|\d+(?: *- *\d+)?(?: *, *\d+(?: *- *\d+)?)*) *:(?![:=])")
_DOTS = re.compile(r"\.{3}$|\.$")
# Commands begin with a capital; so do qualified tactics (`Z.order`), whose own name begins in lower case.
_CAPITAL = re.compile(r"[^\W\d_a-z][\w']*")
_QUALIFIED = re.compile(r"(?:[^\W\d_][\w']*\.)+[a-z_][\w']*(?![\w'.]*\w)")
_HIDDEN = re.compile(r'"[^"]*"|\(\*|\*\)')
# Tactics that leave a hole, defer checking to the end or run a compiler. `Qed` catches most of them; saying no early is
# cheaper, and `native_compute` starts processes that no limit of ours covers. `timeout` answers as our own limit does.
_FORBIDDEN = re.compile(r"(?<![\w'.])(?:admit|give_up|native_compute|par|timeout|\w*_no_check)(?![\w'])")


def normalise(text: str) -> str:
    r"""Return an action on one line, without blanks around it.

    >>> normalise(" rewrite H,\n    G. ")
    'rewrite H, G.'
    """
    if "\n" in text or "\r" in text:
        text = re.sub(r"[ \t]*[\r\n][ \t\r\n]*", " ", text)
    return text.replace("\t", " ").strip(" ")


@lru_cache(maxsize=1 << 14)  # policies repeat themselves
def refusal(text: str) -> str | None:
    """Return why `text` is not exactly one permitted action, None where it is one. Total: any text has an answer.

    >>> refusal("rewrite H."), refusal("-"), refusal("2:{"), refusal("Z.order.")
    (None, None, None, None)
    >>> refusal("exact I. Admitted.")
    'expected one sentence, found 2'
    >>> refusal("Axiom z : False.")
    'Axiom is a command, not a tactic'
    """
    if len(text) > LONGEST:
        return f"expected at most {LONGEST} characters, found {len(text)}"
    if odd := next((character for character in text if _odd(character)), None):
        return f"expected printable characters and plain blanks, found U+{ord(odd):04X}"
    try:
        sentences = split(text)
    except DataError as error:
        return str(error)
    if len(sentences) != 1:
        return f"expected one sentence, found {len(sentences)}"
    if sentences[0].text != text:
        return "expected nothing around the sentence, found blanks or comments"
    return None if sentences[0].undotted else _tactic_refusal(sentences[0])


@lru_cache(maxsize=1 << 14)  # a path is written anew at each step
def as_sentence(action: str) -> str:
    """Return the sentence that is sent for a permitted action: the tactic in parentheses, selector and dots outside.

    >>> as_sentence("auto."), as_sentence("2: split; auto..."), as_sentence("-")
    ('(auto).', '2: (split; auto)...', '-')
    """
    selector, tactic, dots = _parts(action)
    return f"{selector}{' ' if selector else ''}({tactic}){dots}" if dots else action


def _odd(character: str) -> bool:
    return character != " " and unicodedata.category(character)[0] in "CZ"


def _parts(action: str) -> tuple[str, str, str]:
    """Return selector, tactic and dots; the dots of a bullet or brace are empty."""
    if Sentence(action, 0, len(action)).undotted:
        return "", action, ""
    selector = _SELECTOR.match(action)
    dots = _DOTS.search(action)
    start = selector.end() if selector else 0
    assert dots is not None  # `split` found the end of the sentence there
    return action[:start].strip(), action[start : dots.start()].strip(), dots[0]


def _tactic_refusal(sentence: Sentence) -> str | None:
    _, tactic, _ = _parts(sentence.text)
    bare = _bare(tactic).strip()
    if not bare:
        return "expected a tactic, found none"
    if tactic.startswith("(*") or _SELECTOR.match(bare):
        return "expected a tactic after the selector, found a comment or another selector"
    if bare.endswith("."):
        return "expected one dot, or three, found more"
    if bare.startswith("#"):
        return "expected a tactic, found an attribute of a command"
    if (capital := _CAPITAL.match(bare)) and capital[0][0].isupper() and not _QUALIFIED.match(bare):
        return f"{capital[0]} is a command, not a tactic"
    if forbidden := _FORBIDDEN.search(bare):
        return f"{forbidden[0]} is not permitted"
    depth = 0
    for character in bare:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    return "expected balanced parentheses" if depth else None


def _bare(tactic: str) -> str:
    """Return the tactic without what strings and comments hold."""
    parts, depth, position = list[str](), 0, 0
    for token in _HIDDEN.finditer(tactic):
        if depth == 0:
            parts.append(tactic[position : token.start()])
            parts.append({'"': '""', "(": " "}.get(token[0][0], token[0]))  # `*)` outside comments: `(auto with *)`
        if token[0][0] != '"':
            depth = max(0, depth + (1 if token[0] == "(*" else -1))
        position = token.end()
    return "".join([*parts, tactic[position:]])
