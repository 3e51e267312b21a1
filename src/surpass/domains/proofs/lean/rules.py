"""What a text may say to Lean: at most one tactic, in a vocabulary without commands and holes (trust level T0).

Lean reads commands anywhere, in mid-line too (`exact h theorem t : ...`), so words are judged one by one. Reading is
stricter than Lean's own: comments, quotations and unusual literals are refused, hence no word hides in them, and where
two readings of a text are possible the one with more words counts. That the text is *one* tactic, and is read to its
end, is for Lean to say: the REPL parses it in the category `tactic` and wants nothing behind it (T1).

Not here: what a proof rests on (`trust`), and Lean source files (`source`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from surpass.domains.proofs.lean.protocol import LIMITS

LONGEST = 4096  # characters

# Letters of Lean's identifiers beyond ASCII: Greek without lambda, Pi and Sigma; letter-like symbols; script and
# fraktur. Letters that only some versions of Lean take (accents) end a word here, so they can only make more words.
_LETTER = (
    r"A-Za-z_\u0391-\u039f\u03a1\u03a2\u03a4-\u03a9\u03b1-\u03ba\u03bc-\u03fb\u1f00-\u1ffe\u2100-\u214f"
    r"\U0001d49c-\U0001d59f"
)
_SUBSCRIPT = r"\u2080-\u2089\u2090-\u209c\u1d62-\u1d6a"
_TOKEN = re.compile(
    rf"""(?P<name>[{_LETTER}][{_LETTER}{_SUBSCRIPT}0-9'!?]*)
    |(?P<quoted>«[^»\n]*»)
    |(?P<number>[0-9]+)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<comment>--|/-|-/)
    |(?P<primed>''|⁻¹')
    |(?P<symbol>@\[|.|\n)""",
    re.VERBOSE | re.DOTALL,
)
_LIMIT = re.compile(LIMITS, re.IGNORECASE)  # or a failure of its own would be taken for one of ours
_CLOSING = {")": "(", "]": "[", "}": "{", "⟩": "⟨"}
_OPENING = frozenset(_CLOSING.values())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that leave a hole or speak of the axioms behind one.
_HOLES = _words("sorry admit stop sorryAx lcProof lcUnreachable hint says show_term")
# Words whose proofs rest on the compiler, on another program or on the network.
_TRUST = _words(
    """native_decide native ofReduceBool ofReduceNat reduceBool reduceNat trustCompiler bv_decide polyrith
    implemented_by extern csimp unsafe unsafeCast unsafeIO"""
)
# Words that run a program while Lean reads the proof, or reach into Lean itself.
_PROGRAMS = _words(
    """run_tac run_cmd run_elab run_meta by_elab eval_expr IO elabTerm evalTactic modifyEnv setEnv addDecl
    addDeclCore addDeclWithoutChecking addAndCompile Environment liftCommandElabM dbgTrace dbgSleep sleep unseal"""
)
# Words that begin, end or modify a command, or change how what follows is read.
_COMMANDS = _words(
    """abbrev add_decl_doc alias attribute axiom builtin_initialize class coinductive declare_syntax_cat
    decreasing_by def deriving elab elab_rules end erase_aux_discrs example export grind_pattern import include
    inductive infix infixl infixr init_quot initialize instance irreducible_def lemma library_note local macro
    macro_rules meta module mutual namespace noncomputable nonrec notation notation3 omit opaque open partial
    postfix prefix prelude private proof_wanted protected public recall register_builtin_option register_option
    scoped section set_option simproc structure suppress_compilation syntax termination_by theorem universe
    universes variable variables where"""
)


def normalise(text: str) -> str:
    r"""Return an action without blanks around it, without empty lines and without blanks at the end of a line.

    >>> normalise("  simp at h \r\n\n    trivial ")
    'simp at h\n    trivial'
    """
    lines = (line.rstrip(" \t") for line in re.split(r"\r\n|\r|\n", text))
    return "\n".join(line for line in lines if line).strip(" \t")


@lru_cache(maxsize=1 << 14)  # policies repeat themselves
def refusal(text: str) -> str | None:
    """Return why `text` may not be sent, None where it may. Total: any text has an answer.

    >>> refusal("rw [Nat.add_comm a b] at h"), refusal("rcases h with ⟨x, hx⟩ | h'")
    (None, None)
    >>> refusal("exact h theorem t : False := by trivial")
    "'theorem' is a command, not a tactic"
    >>> refusal("first | simp | sorry")
    "'sorry' leaves a hole"
    """
    if not text:
        return "expected a tactic, found none"
    if len(text) > LONGEST:
        return f"expected at most {LONGEST} characters, found {len(text)}"
    if odd := next((character for character in text if _odd(character)), None):
        return f"expected printable characters, plain blanks and line ends, found U+{ord(odd):04X}"
    if any(not line.startswith(" ") for line in text.split("\n")[1:]):
        return "expected lines after the first to be indented: they belong to its tactic"
    return next(_refusals(text), None) or _unbalanced(text)


def _odd(character: str) -> bool:
    return character not in " \n" and unicodedata.category(character)[0] in "CZ"


def _refusals(text: str) -> Iterator[str]:
    before = ""  # the text of the token before, adjacent or not
    for token in _TOKEN.finditer(text):
        word, after = token[0], text[token.end() : token.end() + 1]
        match token.lastgroup:
            case "name":
                yield from _word_refusals(word, text[max(0, token.start() - 2) : token.start()])
            case "quoted" if _LIMIT.search(word):
                yield "expected a name that does not speak of limits"
            case "quoted":
                yield from _named_refusals(word[1:-1])
            case "number" if re.match(r"[A-Za-z_'\"]", after):
                yield f"expected a plain number, found {word + after!r}"  # 0b1sorry: where does the number end?
            case "string" if before[-1:].isalnum() or before[-1:] in ("!", "#", "_", "'"):
                yield "expected a plain string, found a raw or interpolated one"
            case "string" if "\\" in word or _LIMIT.search(word):
                yield "expected a string without escapes that does not speak of limits"
            case "comment":
                yield "expected no comment"
            case "symbol" if word in ('"', "«", "»", "'", "`", "@[", "\\") and not (
                word == "\\" and after in (" ", "")
            ):
                yield f"{word!r} is not permitted: it opens a literal, a quotation or an attribute"
            case "symbol" if word == "#" and re.match(rf"[{_LETTER}]{{2}}", text[token.end() :]):
                yield "expected a tactic, found a command that begins with '#'"
            case _:
                pass
        before = word


def _word_refusals(word: str, before: str) -> Iterator[str]:
    """Judge a word by itself and the two characters before it."""
    yield from _named_refusals(word)
    field = re.search(rf"[{_LETTER}{_SUBSCRIPT}0-9'!?»)\]⟩]\.$", before)  # `h.end` is a field, `..end` is not
    if word in _COMMANDS and not field:
        yield f"{word!r} is a command, not a tactic"
    if word.endswith("?") and not field and re.fullmatch(r"[a-z_]+\?", word) and not before.endswith("?"):
        yield f"{word!r} asks Lean to search: what it finds is the action"
    if word == "Lean" and not before.endswith("."):
        yield "'Lean' is the namespace of Lean's own programs"


def _named_refusals(name: str) -> Iterator[str]:
    """Words that are refused wherever they stand, within a dotted name and in «» too."""
    for word in name.split("."):
        if word in _HOLES:
            yield f"{word!r} leaves a hole"
        if word in _TRUST:
            yield f"{word!r} rests on more than the kernel"
        if word in _PROGRAMS or word.startswith("dbg_"):
            yield f"{word!r} runs a program"


def _unbalanced(text: str) -> str | None:
    open_ = list[str]()
    for token in _TOKEN.finditer(text):
        if token[0] in _OPENING:
            open_.append(token[0])
        elif token[0] in _CLOSING and (not open_ or open_.pop() != _CLOSING[token[0]]):
            return f"expected balanced brackets, found {token[0]!r} that closes nothing"
    return f"expected balanced brackets, found {open_[-1]!r} left open" if open_ else None
