"""Deduction, the problems: random theories with a question that is decided, in splits that share none up to words.

After PrOntoQA (Saparov and He, arXiv 2210.01240), with names of our own. A chain of kinds leads from the individual to
the answer; detours give it more proofs. A second chain of the same make, among kinds that the individual is not, leads
to the opposite: only the one fact tells which of them counts, not the words, the signs or the order of the rules. Then
distractors: kinds and qualities beside both chains, which no proof needs. As often as not the answer is true, and the
question negative.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

from surpass.core import Problem
from surpass.domains.puzzles.prontoqa_rules import Literal, Rule, read, shortest, theory
from surpass.domains.puzzles.splits import digest, fill, signature
from surpass.errors import ConfigError

HEADS = re.findall(r"\w+", "bra dor fen gil hul jem kav lor mip nud pel quo ril sov tam vex wib yor zan cru")
TAILS = re.findall(r"\w+", "bit dax fen gor lim mok nar pus rud tix vol zan quil meth born")
KINDS = tuple(head + tail for head in HEADS for tail in TAILS)
QUALITIES = re.findall(
    r"\w+",
    "amber brave bright calm cold cunning dull eager fast gentle heavy honest loud mean nimble opaque patient quiet "
    "round sharp shy slow small smooth sour spicy sweet tall timid warm wooden",
)
NAMES = re.findall(
    r"\w+", "Ada Bo Cleo Dan Eve Finn Gus Hana Ida Jon Kai Lea Max Nia Otto Pia Rex Sam Tess Uma Vic Wes Yara Zed"
)
Stated = tuple[str, Literal]  # a rule before it is a sentence: all of this kind have that literal
DRAWS = 20  # draws per wanted problem before a recipe is called too narrow


@dataclass(frozen=True, slots=True)
class Recipe:
    """What problems to generate."""

    hops: tuple[int, int] = (1, 5)  # least and most rules in a shortest proof
    detours: int = 2  # at most that many further ways around a part of the chain
    distractors: int = 6  # rules beside both chains
    train: int = 400  # problems in the split
    held_out: int = 100  # problems in valid, and in test
    seed: int = 0


@lru_cache(maxsize=8)
def generate(recipe: Recipe) -> Mapping[str, tuple[Problem, ...]]:
    """Return the problems of each split. Raises ConfigError where the recipe makes no sense or yields too few."""
    least, most = recipe.hops
    if not 1 <= least <= most <= 20 or not 0 <= recipe.detours <= 20 or not 0 <= recipe.distractors <= 40:
        raise ConfigError(f"expected 1 to 20 hops, up to 20 detours and 40 distractors, found {recipe}")
    rng = random.Random(recipe.seed)
    draws = (_draw(rng, recipe) for _ in range(DRAWS * (recipe.train + 2 * recipe.held_out)))
    marked = ((mark(*drawn), partial(make, *drawn)) for drawn in draws)
    return fill(marked, train=recipe.train, held_out=recipe.held_out)


def make(sentences: list[str], question: str) -> Problem:
    """Return the problem of some sentences, with a shortest proof where the question is decided by them.

    Raises DataError where `prontoqa_rules.theory` does.
    """
    asked = theory(sentences, question)
    data: dict[str, object] = {"sentences": sentences, "question": question}
    for answer, goal in (("true", asked.question), ("false", asked.question.negation())):
        if (proof := shortest(asked, goal)) is not None:
            data |= {"answer": answer, "hops": len(proof), "solution": [*proof, f"Answer: {answer}"]}
    return Problem(f"prontoqa-{digest(repr((sentences, question)))}", "prontoqa", data)


def mark(sentences: list[str], question: str) -> str:
    """Return a text that problems share if they differ by words, and the order of sentences, alone."""
    relations: list[tuple[str, ...]] = []
    for role, sentence in [("said", sentence) for sentence in sentences] + [("asked", question)]:
        one = read(sentence)
        subject, literal = (one.kind, one.conclusion) if isinstance(one, Rule) else one
        relations.append((f"{role} {literal.positive} {literal.noun}", subject, literal.word))
    return signature(relations)


def _draw(rng: random.Random, recipe: Recipe) -> tuple[list[str], str]:
    """Return the sentences of a random theory and its question."""
    hops = rng.randint(*recipe.hops)
    kinds = rng.sample(KINDS, 2 * (hops + recipe.detours) + recipe.distractors + 1)
    qualities = rng.sample(QUALITIES, len(QUALITIES))
    noun = rng.random() < 0.3
    goal = Literal(kinds.pop() if noun else qualities.pop(), noun, rng.random() < 0.5)
    detours = rng.randint(0, recipe.detours) if hops > 2 else 0
    rules, chain = _chain(rng, hops, detours, kinds)
    others, stranger = _chain(rng, hops, detours, kinds)
    rules += [(chain[-1], goal), *others, (stranger[-1], goal.negation())]
    _distract(rng, recipe.distractors, rules, kinds, qualities)
    name = rng.choice(NAMES)
    texts = [f"{rng.choice(('Every', 'Each'))} {kind} {literal.text}." for kind, literal in rules]
    texts.append(f"{name} {Literal(chain[0], noun=True).text}.")
    rng.shuffle(texts)
    asked = goal if rng.random() < 0.5 else goal.negation()
    return texts, f"{name} {asked.text}."


def _chain(rng: random.Random, hops: int, detours: int, kinds: list[str]) -> tuple[list[Stated], list[str]]:
    """Return a chain of new kinds, the links between them and around parts of them; no way around is shorter."""
    chain = [kinds.pop() for _ in range(hops)]
    rules = [(low, Literal(high, noun=True)) for low, high in pairwise(chain)]
    for _ in range(detours):
        first = rng.randrange(hops - 2)
        last, way = rng.randrange(first + 2, hops), kinds.pop()
        rules += [(chain[first], Literal(way, noun=True)), (way, Literal(chain[last], noun=True))]
    return rules, chain


def _distract(rng: random.Random, count: int, rules: list[Stated], kinds: list[str], qualities: list[str]) -> None:
    """Add `count` rules: new kinds above and below old ones, and qualities. None gives a proof of the answer.

    A quality is always said with the same sign here, so no kind contradicts itself.
    """
    places = sorted({kind for kind, _ in rules})
    said = [Literal(word, False, rng.random() < 0.5) for word in qualities]
    for _ in range(count):
        kind, quality = rng.choice(places), rng.choice(said)
        if rng.random() < 0.5 and (kind, quality) not in rules:
            rules.append((kind, quality))
            continue
        places.append(fresh := kinds.pop())
        rules.append((kind, Literal(fresh, noun=True)) if rng.random() < 0.5 else (fresh, Literal(kind, noun=True)))
