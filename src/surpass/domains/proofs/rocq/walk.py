"""Walking through a Rocq file in a live prover: every proof it holds, with the goals before each of its sentences.

`walk` executes the file and yields a `Replayed` for each proof, with the reason where it is no problem for a policy.
What is made of them is for `extraction` (a corpus) and `prove_file` (open lemmas). Statements are told apart by their
first words, proofs by the prover's answers; modules are followed by name, since names of lemmas carry them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from surpass.domains.proofs.rocq.assumptions import checks_off
from surpass.domains.proofs.rocq.protocol import CommandFailed, Exhausted, Goals, ProcessDied, Toplevel
from surpass.domains.proofs.rocq.rules import normalise, refusal
from surpass.domains.proofs.rocq.sentences import Sentence, without_comments
from surpass.errors import VerifierError

NESTED, UNENDED = "nested proof", "no end"  # reasons

_PREFIX = r"(?:#\[[^\]]*\]\s*)*(?:(?:Local|Global|Polymorphic|Monomorphic|Private)\s+)*"
_LEMMA = ("Theorem", "Lemma", "Fact", "Remark", "Corollary", "Proposition", "Property", "Example")
_CONTENT = ("Definition", "Let", "Fixpoint", "CoFixpoint", "SubClass")  # lemmas only where closed by Qed
_STATEMENT = re.compile(rf"{_PREFIX}(?P<kind>{'|'.join((*_LEMMA, *_CONTENT))})\s+(?P<name>[^\s:({{\[@]+)")
_SCOPE = re.compile(rf"{_PREFIX}(?P<kind>Section|Module\s+Type|Module)\s+(?:(?:Import|Export)\s+)?(?P<name>[\w']+)")
_WITH = re.compile(r"\bwith\s+(?:Definition|Module)\s+[\w.']+[^:=]*:=")
_END = re.compile(r"End\s+(?P<name>[\w']+)\s*\.")
_OPENING = re.compile(r"Proof\s*(?:\.|\s(?:with|using)\b)")
_TERM = re.compile(r"Proof\s+(?P<term>.*)\.", re.DOTALL)
_CLOSING = re.compile(r"(?:Qed|Defined|Save|Admitted|Abort)\b")


@dataclass(frozen=True, slots=True)
class Replayed:
    """One proof met while a file was replayed; `steps[i]` are the goals before `script[i]`."""

    name: str
    module: str  # the file and its open modules; sections leave no trace in names
    kind: str  # Lemma, Theorem, ...
    position: int  # index of the statement among the file's sentences
    statement: str
    opening: str  # `Proof.`, `Proof with auto.`, ... ; empty where there is none
    goals: str  # initial
    script: tuple[str, ...]
    steps: tuple[str, ...]
    closing: str  # `Qed.`, `Defined.`, `Proof term.`, ...; empty where the file ends before the proof
    reason: str  # why this is no problem; empty where it is one


@dataclass(slots=True)
class _Open:
    """The proof being replayed."""

    position: int
    statement: str
    goals: str
    module: str
    off: str  # which checks of the kernel are, as a reason
    opening: str = ""
    script: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    reason: str = ""

    def take(self, text: str, before: str) -> None:
        """Record one sentence that left the proof open."""
        plain = without_comments(text)
        if _OPENING.match(plain) and not self.script:
            self.opening = text
            return
        if _CLOSING.match(plain):
            self.reason = NESTED
        action = normalise(plain)
        if refused := refusal(action):
            self.reason = self.reason or f"sentence that no policy may say: {refused}"
        self.script.append(action)
        self.steps.append(before)

    def close(self, text: str) -> Replayed:
        """Return the finished record; `text` is the sentence that closed the proof."""
        statement = _STATEMENT.match(without_comments(self.statement))
        kind, name = (statement["kind"], statement["name"]) if statement else ("", "")
        if not statement:
            self.reason = f"no lemma: {_bare(self.statement)}"
        elif kind in _CONTENT and not text.startswith("Qed"):
            self.reason = f"transparent definition: {kind}"
        elif not text.startswith(("Qed", "Defined", "Proof")) and self.reason != NESTED:
            self.reason = text or UNENDED
        self.reason = self.off or self.reason
        return Replayed(
            name,
            self.module,
            kind,
            self.position,
            self.statement,
            self.opening,
            self.goals,
            tuple(self.script),
            tuple(self.steps),
            text,
            self.reason,
        )


class RefusedError(VerifierError):
    """A sentence of a file that does not run; `start` is its first character."""

    def __init__(self, sentence: Sentence, position: int, error: Exception) -> None:
        super().__init__(
            f"expected sentence {position}, {' '.join(sentence.text.split())[:80]!r}, to run, found "
            f"{type(error).__name__}: {error}; compile the file, and the libraries it requires, to see why"
        )
        self.start = sentence.start


def walk(top: Toplevel, sentences: Sequence[Sentence], library: str) -> Iterator[Replayed | str]:
    """Execute a file's sentences; yield each proof once it is closed, and the module's name just before its `End`.

    `library` is the logical name of the file; while the generator waits, the consumer may ask the prover anything that
    it undoes. A proof without an end is yielded last. Raises RefusedError for a sentence that does not run.
    """
    scopes, opened, goals = list[tuple[str, str]](), None, None
    for position, sentence in enumerate(sentences):
        text, plain = sentence.text, without_comments(sentence.text)
        if opened is None and _END.match(plain) and any(kind != "Section" for kind, _ in scopes[-1:]):
            yield _qualified(library, scopes)
        if opened and goals and not opened.script and (term := _proof_term(plain)):
            opened.take(f"exact ({term}).", goals.text)
            if not _closes(top, opened.script[-1]):
                opened.reason = "proof term that `exact` refuses"
        after = _execute(top, sentence, position)
        if opened is None and after is not None:
            opened = _Open(position, text, after.text, _qualified(library, scopes), checks_off(top))
        elif opened and goals and after is not None:
            opened.take(text, goals.text)
        elif opened:
            yield opened.close(text)
            opened = None
        else:
            follow(scopes, plain)
        goals = after
    if opened:
        yield opened.close("")


def _execute(top: Toplevel, sentence: Sentence, position: int) -> Goals | None:
    try:
        return top.run(sentence.text)
    except (CommandFailed, Exhausted, ProcessDied) as error:
        raise RefusedError(sentence, position, error) from error


def _closes(top: Toplevel, sentence: str) -> bool:
    """Tell whether one sentence finishes the proof at the tip; the tip stays."""
    tip = top.tip
    try:
        after = top.run(sentence)
    except (CommandFailed, Exhausted):
        return False
    top.edit_at(tip)
    return after is not None and after.done


def _bare(statement: str) -> str:
    """Return the first word of a statement after its attributes, where that is a command's name."""
    return re.sub(_PREFIX, "", without_comments(statement), count=1).split()[0].strip(".:")


def _qualified(library: str, scopes: Sequence[tuple[str, str]]) -> str:
    return ".".join((library, *(name for kind, name in scopes if kind != "Section")))


def follow(scopes: list[tuple[str, str]], text: str) -> None:
    """Keep track of the sections and modules that a sentence outside a proof opens or closes."""
    if end := _END.match(text):
        if not scopes or scopes[-1][1] != end["name"]:
            raise VerifierError(
                f"expected the end of {scopes[-1:] or 'nothing'}, found {text!r}: the names would be wrong"
            )
        scopes.pop()
    elif (scope := _SCOPE.match(text)) and ":=" not in _WITH.sub("", text):  # `Module M := N.` opens nothing
        scopes.append((scope["kind"], scope["name"]))


def is_open(met: Replayed) -> bool:
    """Tell whether a file leaves this proof open."""
    return met.closing.startswith(("Admitted", "Abort")) or not met.closing


def is_statement(text: str) -> bool:
    """Tell whether a sentence states a lemma, without a body."""
    plain = without_comments(text)
    return _STATEMENT.match(plain) is not None and ":=" not in plain


def stated(text: str) -> str:
    """Return the name of the lemma that a sentence states, empty where it states none."""
    found = _STATEMENT.match(without_comments(text))
    return found["name"] if found else ""


def _proof_term(text: str) -> str:
    term = None if _OPENING.match(text) else _TERM.fullmatch(text)
    return term["term"].strip() if term else ""
