"""Deduction from stated rules, the logic: sentences, what follows from them, and every proof of it.

    fact        Max is a zorvel.          Max is loud.            Max is not loud.
    rule        Every zorvel is a tamrik. Each tamrik is not loud.
    question    Max is not loud.          asked as true or false

One sentence says one literal of one individual, or that all of a kind have it. Modus ponens on a stated rule is the
only inference: from `Max is a zorvel` and the first rule, `Max is a tamrik`. Nothing follows from what is not said (the
world is open), and a theory from which both a literal and its negation follow is refused. Words are letters alone; a
predicate with an article is a kind, one without is a quality. Not here: several individuals, conjunctions, rules with
`not` or a quality in front of `is`, plural forms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from surpass.errors import ConfigError, DataError

SENTENCE = re.compile(
    r"(?:(?P<all>Every|Each) (?P<kind>[a-z]+)|(?P<name>[A-Z][a-z]*))"
    r" is (?P<negative>not )?(?P<article>an? )?(?P<word>[a-z]+)\."
)


@dataclass(frozen=True, slots=True, order=True)
class Literal:
    """What is said of an individual: `is a zorvel`, `is not loud`."""

    word: str
    noun: bool  # a kind of thing (`a zorvel`), or else a quality (`loud`)
    positive: bool = True

    @property
    def text(self) -> str:
        """The words after the subject."""
        article = ("an " if self.word[0] in "aeiou" else "a ") if self.noun else ""
        return f"is {'' if self.positive else 'not '}{article}{self.word}"

    def negation(self) -> Literal:
        """Return the opposite."""
        return Literal(self.word, self.noun, not self.positive)


@dataclass(frozen=True, slots=True)
class Rule:
    """All of a kind have a literal; its text is the sentence exactly as it was stated."""

    kind: str
    conclusion: Literal
    text: str


@dataclass(frozen=True, slots=True)
class Theory:
    """What is stated of one individual, and what is asked."""

    name: str
    facts: tuple[Literal, ...]
    rules: tuple[Rule, ...]
    question: Literal


def read(sentence: str) -> tuple[str, Literal] | Rule:
    """Return what one sentence says: (individual, literal), or a rule. Raises DataError for any other text.

    >>> read("Max is not loud.")
    ('Max', Literal(word='loud', noun=False, positive=False))
    """
    match = SENTENCE.fullmatch(sentence)
    if match is None or match["word"] in ("a", "an", "not") or match["name"] in ("Every", "Each"):
        raise DataError(
            f"expected a sentence such as 'Max is a zorvel.' or 'Every zorvel is not loud.', found {sentence[:120]!r}"
        )
    literal = Literal(match["word"], bool(match["article"]), not match["negative"])
    return Rule(match["kind"], literal, sentence) if match["all"] else (match["name"], literal)


def theory(sentences: Sequence[str], question: str) -> Theory:
    """Return the theory of some sentences in any order, and of a question about the individual they are about.

    Raises DataError where they speak of several individuals, say the same twice, or contradict each other.
    """
    said = [read(sentence) for sentence in sentences]
    asked = read(question)
    facts = [one for one in said if not isinstance(one, Rule)]
    rules = [one for one in said if isinstance(one, Rule)]
    if isinstance(asked, Rule) or {name for name, _ in facts} != {asked[0]}:
        names = ", ".join(sorted({name for name, _ in facts})) or "no one"
        raise DataError(f"expected facts and a question about one individual, found {names} and {question[:80]!r}")
    if len({(rule.kind, rule.conclusion) for rule in rules}) < len(rules) or len(set(facts)) < len(facts):
        raise DataError("expected every sentence to say something new, found one said twice")
    found = Theory(asked[0], tuple(literal for _, literal in facts), tuple(rules), asked[1])
    known = closure(found.facts, found.rules)
    if clash := sorted(literal for literal in known if literal.positive and literal.negation() in known):
        raise DataError(f"expected sentences without contradiction, found that {found.name} {clash[0].text} and is not")
    return found


def closure(facts: Sequence[Literal], rules: Sequence[Rule]) -> dict[Literal, int]:
    """Return all that follows, in order of the fewest steps to it, and how many these are."""
    follows: dict[Literal, list[Literal]] = {}
    for rule in rules:
        follows.setdefault(Literal(rule.kind, noun=True), []).append(rule.conclusion)
    known = dict.fromkeys(facts, 0)
    reached = list(known)
    for literal in reached:  # grows
        for conclusion in follows.get(literal, ()):
            if conclusion not in known:
                known[conclusion] = known[literal] + 1
                reached.append(conclusion)
    return known


def applicable(asked: Theory, known: Sequence[Literal]) -> list[Rule]:
    """Return the rules whose kind the individual is known to be and whose conclusion is new, in the order stated."""
    kinds = {literal.word for literal in known if literal.noun and literal.positive}
    return [rule for rule in asked.rules if rule.kind in kinds and rule.conclusion not in known]


def shortest(asked: Theory, goal: Literal) -> list[str] | None:
    """Return a proof of a literal with the fewest rules, None where there is none: the first of `proofs`."""
    steps = closure(asked.facts, asked.rules)
    chain: list[str] = []
    while steps.get(goal, 0):
        ways = (rule for rule in asked.rules if rule.conclusion == goal)
        rule = next(rule for rule in ways if steps.get(Literal(rule.kind, noun=True)) == steps[goal] - 1)
        chain.append(rule.text)
        goal = Literal(rule.kind, noun=True)
    return chain[::-1] if goal in steps else None


def proofs(asked: Theory, goal: Literal, *, limit: int = 10_000) -> list[tuple[str, ...]]:
    """Return every proof of a literal: the chains of rules that lead to it from a fact, without detour or return.

    Each rule has one premise, so a proof that uses every step is a path. Shortest first, then in the order stated.
    Raises ConfigError above `limit` chains: their number can grow exponentially with the rules.
    """
    ways: dict[Literal, list[Rule]] = {}
    for rule in reversed(asked.rules):
        ways.setdefault(rule.conclusion, []).append(rule)
    found: list[tuple[str, ...]] = []
    pending: list[tuple[Literal, tuple[Rule, ...]]] = [(goal, ())]
    while pending:
        target, chain = pending.pop()
        if target in asked.facts:
            found.append(tuple(rule.text for rule in chain))
            if len(found) > limit:
                raise ConfigError(f"expected at most {limit} proofs of what {asked.name} is, found more: raise limit")
            continue
        above = {rule.conclusion for rule in chain}
        for rule in ways.get(target, ()):
            premise = Literal(rule.kind, noun=True)
            if premise not in above:
                pending.append((premise, (rule, *chain)))
    return sorted(found, key=len)
