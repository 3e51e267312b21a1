"""Deduction as a domain, after PrOntoQA: derive step by step whether a question is true, then answer.

An action is a stated rule, copied as it stands (`Every zorvel is a tamrik.`), or an answer, `Answer: true` or `Answer:
false`. A rule is a step of modus ponens: the individual must be known to be of its kind, and what follows must be new,
so repeated steps do not count. Both answers may be said at any time and end the play, but only one that has been
derived is accepted: `true` where the question is among what is known, `false` where its negation is. A guess, even a
right one, earns nothing. Returns are binary. Flow of Reasoning (arXiv 2406.05673) also lets a step be a rule; its
checker compares with one given proof, this one accepts every proof. Logic is in `prontoqa_rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from surpass.core import Observation, Problem, Status, Trajectory, Verdict
from surpass.domains.puzzles.prontoqa_generate import Recipe, generate
from surpass.domains.puzzles.prontoqa_rules import Literal, Rule, Theory, applicable, theory
from surpass.domains.puzzles.splits import require
from surpass.errors import DataError

VERSION = "prontoqa 1"  # changes whenever a rule changes
ANSWERS = {"Answer: true": True, "Answer: false": False}


@dataclass(frozen=True, slots=True)
class State:
    """An attempt."""

    problem: str  # Problem.key
    asked: Theory
    actions: tuple[str, ...]  # the last one is the culprit where `refusal` is set
    known: tuple[Literal, ...]  # the facts and what was derived, in this order
    answered: bool = False  # with the answer that was derived
    refusal: str = ""  # why the attempt failed; empty while it has not

    @property
    def status(self) -> Status | None:
        """None while play goes on."""
        if self.refusal:
            return Status.REJECTED
        return Status.ACCEPTED if self.answered else None


@dataclass(frozen=True, slots=True)
class ProntoQA:
    """Deduction from stated rules; a `surpass.core.Domain` over `State`.

    Canonical: `Observation.legal` is the exact set of rules that can be applied and both answers; which of them is
    right, if any yet, it does not tell. Otherwise it is None, and case, spaces and a missing full stop do not matter,
    for language models.
    """

    canonical: bool = True
    history: bool = True  # show the rules applied so far; without, what is known is sorted and states merge
    recipe: Recipe = field(default_factory=Recipe)

    def problems(self, split: str) -> Iterable[Problem]:
        """Yield the generated problems of a split. Raises DataError for an unknown one."""
        require(split, "prontoqa")
        yield from generate(self.recipe)[split]

    def start(self, problem: Problem) -> State:
        """Return what `data` states and asks. Raises DataError where it is not a theory."""
        asked = _theory(problem)
        return State(problem.key, asked, (), asked.facts)

    def observe(self, state: State) -> Observation:
        """Return the rules, the question and what is known, with the rules applied so far where `history` is set."""
        asked = state.asked
        rules = "".join(f"{rule.text}\n" for rule in asked.rules)
        posed = f"rules:\n{rules}question: true or false? {asked.name} {asked.question.text}.\n"
        bare = posed + _list("known", asked.name, sorted(state.known))
        text = bare
        if self.history:
            done = "".join(f"{action}\n" for action in state.actions)
            text = posed + _list("facts", asked.name, asked.facts) + f"steps:\n{done}"
            text += _list("known", asked.name, state.known)
        legal = None
        if self.canonical:
            rules_now = [] if state.status else [rule.text for rule in applicable(asked, state.known)]
            legal = () if state.status else (*rules_now, *ANSWERS)
        return Observation(text, legal, 0, bare)

    def step(self, state: State, action: str) -> State:
        """Return what is known after a step, or a rejected state that says why it does not count."""
        if state.refusal:
            return state
        done = (*state.actions, action)
        if state.status is not None:
            return State(state.problem, state.asked, done, state.known, True, "nothing is left to do")
        found = self._read(state.asked, action)
        if isinstance(found, bool):
            refusal = _wrong(state, found)
            return State(state.problem, state.asked, done, state.known, not refusal, refusal)
        refusal = found if isinstance(found, str) else _barred(state, found)
        if refusal or isinstance(found, str):
            return State(state.problem, state.asked, done, state.known, False, refusal)
        return State(state.problem, state.asked, done, (*state.known, found.conclusion))

    def verify(self, state: State) -> Verdict | None:
        """Return the verdict of a finished attempt."""
        if state.status is None:
            return None
        if state.status is Status.ACCEPTED:
            return Verdict(Status.ACCEPTED, (1.0,), f"{VERSION}; T3")
        return Verdict(Status.REJECTED, (0.0,), f"{VERSION}; {state.refusal}")

    def _read(self, asked: Theory, action: str) -> Rule | bool | str:
        """Return the rule that an action names, what it answers or, as a string, why it is neither."""
        spell = str if self.canonical else _tidy
        wanted = spell(action)
        for text, answer in ANSWERS.items():
            if spell(text) == wanted:
                return answer
        for rule in asked.rules:
            if spell(rule.text) == wanted:
                return rule
        return f"expected a rule as it is stated, {' or '.join(ANSWERS)}, found {action[:80]!r}"


def key(trajectory: Trajectory) -> tuple[str, ...]:
    """Return the steps of an accepted play that its answer rests on: two plays with equal keys are the same proof.

    For `evaluation.diversity`. Raises DataError where the play answers what it has not derived.
    """
    asked = _theory(trajectory.problem)
    told = {_tidy(rule.text): rule for rule in asked.rules}
    applied = [told[text] for text in map(_tidy, trajectory.actions) if text in told]
    target = next((one for one in (asked.question, asked.question.negation()) if _derived(asked, applied, one)), None)
    if target is None:
        raise DataError(
            f"{trajectory.problem.key}: expected a play that derives its answer, found {trajectory.actions}"
        )
    chain: list[str] = []
    for rule in reversed(applied):
        if rule.conclusion == target:
            chain.append(rule.text)
            target = Literal(rule.kind, noun=True)
    return tuple(reversed(chain))


def _derived(asked: Theory, applied: Iterable[Rule], literal: Literal) -> bool:
    return literal in asked.facts or any(rule.conclusion == literal for rule in applied)


def _wrong(state: State, answer: bool) -> str:
    """Say what is wrong with an answer; empty where nothing is."""
    question = state.asked.question
    supported = question if answer else question.negation()
    if supported in state.known:
        return ""
    if supported.negation() in state.known:
        return f"answered {str(answer).lower()}, but {state.asked.name} {supported.negation().text} was derived"
    return f"answered {str(answer).lower()} before it was derived that {state.asked.name} {supported.text}"


def _barred(state: State, rule: Rule) -> str:
    """Say why a stated rule cannot be applied; empty where it can."""
    premise = Literal(rule.kind, noun=True)
    if premise not in state.known:
        return f"{rule.text!r} needs what was not derived: that {state.asked.name} {premise.text}"
    if rule.conclusion in state.known:
        return f"{rule.text!r} adds nothing: that {state.asked.name} {rule.conclusion.text} is known already"
    return ""


def _list(label: str, name: str, literals: Iterable[Literal]) -> str:
    return f"{label}:\n" + "".join(f"{name} {literal.text}.\n" for literal in literals)


def _tidy(text: str) -> str:
    return " ".join(text.lower().split()).removesuffix(".").rstrip()


def _theory(problem: Problem) -> Theory:
    sentences, question = problem.data.get("sentences"), problem.data.get("question")
    texts = isinstance(sentences, list) and all(isinstance(one, str) for one in sentences)
    if not isinstance(sentences, list) or not texts or not isinstance(question, str):
        found = f"{sentences!r} and {question!r}"[:200]
        raise DataError(f"expected data['sentences'] and data['question'] of {problem.key!r}, found {found}")
    return _parsed(tuple(sentences), question)


@lru_cache(maxsize=4096)
def _parsed(sentences: tuple[str, ...], question: str) -> Theory:
    return theory(sentences, question)
