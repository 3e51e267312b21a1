from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.conformance import check_domain
from surpass.core import Problem, Status, replay
from surpass.domains.puzzles.enumeration import enumerate_solutions
from surpass.domains.puzzles.prontoqa import ANSWERS, ProntoQA, State, key
from surpass.domains.puzzles.prontoqa_generate import KINDS, NAMES, QUALITIES, Recipe, make, mark
from surpass.domains.puzzles.prontoqa_rules import Literal, Rule, closure, proofs, read, theory
from surpass.domains.puzzles.splits import SPLITS
from surpass.errors import ConfigError, DataError

DOMAIN, FREE = ProntoQA(), ProntoQA(canonical=False)
ALL = [problem for split in SPLITS for problem in DOMAIN.problems(split)]
SENTENCES = [
    "Each bird is an animal.",
    "Every crow is a bird.",
    "Every animal is not a stone.",
    "Every crow is a thief.",
    "Every thief is an animal.",
    "Every stone is calm.",
    "Every bird is not calm.",
    "Kai is a crow.",
]
CROW = make(SENTENCES, "Kai is a stone.")


def play(problem: Problem, *actions: str, domain: ProntoQA = DOMAIN) -> State:
    state = domain.start(problem)
    for action in actions:
        state = domain.step(state, action)
    return state


# --- a second opinion: words and sets, no sentences parsed by the code under test


def oracle(problem: Problem) -> set[tuple[bool, str]]:
    """All that follows, as (positive, predicate with its article), by repeating until nothing is new."""
    told = [sentence.rstrip(".").split(" is ") for sentence in problem.data["sentences"]]
    about = problem.data["question"].split()[0]

    def literal(words: str) -> tuple[bool, str]:
        return not words.startswith("not "), words.removeprefix("not ").replace("an ", "a ", 1)

    known = {literal(said) for subject, said in told if subject == about}
    for _ in told:
        known |= {literal(said) for subject, said in told if (True, f"a {subject.split()[-1]}") in known}
    return known


def asked(problem: Problem) -> tuple[bool, str]:
    words = problem.data["question"].rstrip(".").split(" is ")[1]
    return not words.startswith("not "), words.removeprefix("not ").replace("an ", "a ", 1)


def judged(problem: Problem, actions: list[str]) -> bool:
    """Whether a play is accepted: each step uses what is known and adds to it, the last says what was derived."""
    told = {sentence: sentence.rstrip(".").split(" is ") for sentence in problem.data["sentences"]}
    about = problem.data["question"].split()[0]
    known = {words for subject, words in told.values() if subject == about}
    for place, action in enumerate(actions):
        if action in ANSWERS:
            positive, predicate = asked(problem)
            predicate = predicate.replace("a ", "an ") if predicate[2:3] in tuple("aeiou") else predicate
            wanted = predicate if positive == (action == "Answer: true") else f"not {predicate}"
            return wanted in known and place == len(actions) - 1
        subject, words = told.get(action, ("", ""))
        kinds = {one.split()[-1] for one in known if one.startswith(("a ", "an "))}
        if not words or subject == about or subject.split()[-1] not in kinds or words in known:
            return False
        known.add(words)
    return False


# --- the domain


@pytest.mark.parametrize("domain", [DOMAIN, FREE, ProntoQA(history=False, recipe=Recipe(train=20, held_out=5))])
def test_contract(domain: ProntoQA) -> None:
    def wrong(problem: Problem) -> list[list[str]]:
        solution = problem.data["solution"]
        other = "Answer: false" if solution[-1] == "Answer: true" else "Answer: true"
        return [solution[-1:], [*solution[:-1], other], solution[1:], [solution[0], *solution], solution[:-2]]

    for split in SPLITS:
        check_domain(domain, split, wrong=wrong)


def test_answers_and_proofs_are_those_of_another_algorithm() -> None:
    for problem in ALL:
        positive, predicate = asked(problem)
        known = oracle(problem)
        assert ((positive, predicate) in known) != ((not positive, predicate) in known)
        assert (problem.data["answer"] == "true") == ((positive, predicate) in known)
        assert judged(problem, problem.data["solution"])
        assert len(problem.data["solution"]) == problem.data["hops"] + 1
        for domain in (DOMAIN, FREE):
            assert replay(domain, problem, problem.data["solution"]).solved


def test_what_is_seen() -> None:
    state = play(CROW, "Every crow is a thief.")
    seen = DOMAIN.observe(state)
    assert seen.text == (
        "rules:\nEach bird is an animal.\nEvery crow is a bird.\nEvery animal is not a stone.\nEvery crow is a thief.\n"
        "Every thief is an animal.\nEvery stone is calm.\nEvery bird is not calm.\n"
        "question: true or false? Kai is a stone.\nfacts:\nKai is a crow.\nsteps:\nEvery crow is a thief.\n"
        "known:\nKai is a crow.\nKai is a thief.\n"
    )
    assert seen.key == ProntoQA(history=False).observe(state).text
    assert seen.legal == ("Every crow is a bird.", "Every thief is an animal.", "Answer: true", "Answer: false")
    other_way = play(CROW, "Every crow is a thief.", "Every crow is a bird.")
    assert DOMAIN.observe(other_way).key == DOMAIN.observe(play(CROW, *other_way.actions[::-1])).key
    assert DOMAIN.observe(other_way).text != DOMAIN.observe(play(CROW, *other_way.actions[::-1])).text


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        (["Answer: false"], "before it was derived that Kai is not a stone"),
        (["Answer: true"], "before it was derived that Kai is a stone"),
        (["Every crow is a bird.", "Answer: false"], "before it was derived"),
        (["Each bird is an animal."], "needs what was not derived: that Kai is a bird"),
        (["Every stone is calm."], "needs what was not derived: that Kai is a stone"),
        (["Every crow is a bird.", "Every crow is a bird."], "adds nothing: that Kai is a bird is known already"),
        (["Every crow is a bird.", "Each bird is an animal.", "Every crow is a thief.", "Every thief is an animal."],
         "adds nothing: that Kai is an animal is known already"),
        (["Every bird is an animal."], "expected a rule as it is stated"),
        (["Every crow is not a stone."], "expected a rule as it is stated"),
        (["Kai is not a stone."], "expected a rule as it is stated"),
        (["Kai is a crow."], "expected a rule as it is stated"),
        (["Answer: yes"], "expected a rule as it is stated"),
        (["Every crow is a bird. Each bird is an animal."], "expected a rule as it is stated"),
        (["Every crow is a bird.", "Each bird is an animal.", "Every animal is not a stone.", "Answer: true"],
         "answered true, but Kai is not a stone was derived"),
    ],
)  # fmt: skip
def test_shortcuts_and_repetitions_earn_nothing(actions: list[str], reason: str) -> None:
    for domain in (DOMAIN, FREE):
        played = replay(domain, CROW, actions)
        assert played.verdict.status is Status.REJECTED
        assert played.verdict.returns == (0.0,)
        assert reason in played.verdict.evidence
        state = play(CROW, *actions, domain=domain)
        assert domain.step(state, "Every crow is a bird.") == state


def test_no_guess_is_ever_accepted() -> None:
    for problem in ALL:
        assert set(ANSWERS) <= set(DOMAIN.observe(DOMAIN.start(problem)).legal or ())
        assert not any(replay(DOMAIN, problem, [answer]).solved for answer in ANSWERS)


def test_an_undecided_question_has_no_solution() -> None:
    open_ = make(["Kai is a crow.", "Every crow is a bird."], "Kai is loud.")
    assert "solution" not in open_.data
    assert enumerate_solutions(DOMAIN, open_, 5) == []
    assert DOMAIN.observe(play(open_, "Every crow is a bird.")).legal == tuple(ANSWERS)


def test_a_stated_answer_needs_no_step() -> None:
    stated = make(["Kai is a crow.", "Kai is not loud."], "Kai is loud.")
    assert stated.data["solution"] == ["Answer: false"]
    assert replay(DOMAIN, stated, ["Answer: false"]).solved
    assert key(replay(DOMAIN, stated, ["Answer: false"])) == ()


def test_free_spelling_is_for_the_free_mode_alone() -> None:
    sloppy = ["every crow is a BIRD", "  each bird is  an animal.\n", "Every animal is not a stone .", "answer: FALSE."]
    assert replay(FREE, CROW, sloppy).solved
    assert replay(DOMAIN, CROW, sloppy).verdict.status is Status.REJECTED
    assert FREE.observe(FREE.start(CROW)).legal is None
    assert key(replay(FREE, CROW, sloppy)) == key(replay(DOMAIN, CROW, CROW.data["solution"]))
    after = play(CROW, *sloppy, "Answer: false", domain=FREE)
    assert after.refusal == "nothing is left to do"


@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_legal_is_exactly_what_is_not_refused(problem: Problem, seed: int) -> None:
    rng, state = random.Random(seed), DOMAIN.start(problem)
    while state.status is None:
        legal = DOMAIN.observe(state).legal
        assert legal
        for sentence in problem.data["sentences"]:
            after = DOMAIN.step(state, sentence)
            assert (after.status is None) == (sentence in legal)
            assert (after.status is None) == (len(after.known) == len(state.known) + 1)
        state = DOMAIN.step(state, rng.choice(legal))
    assert replay(DOMAIN, problem, state.actions).solved == judged(problem, list(state.actions))


@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_mutants_of_a_proof_are_judged_as_sets_judge_them(problem: Problem, seed: int) -> None:
    rng = random.Random(seed)
    actions = list(problem.data["solution"])
    for _ in range(rng.randint(1, 2)):
        match rng.randrange(4):
            case 0:
                del actions[rng.randrange(len(actions))]
                actions = actions or ["Answer: true"]
            case 1:
                actions.insert(rng.randrange(len(actions)), rng.choice(problem.data["sentences"]))
            case 2:
                rng.shuffle(actions)
            case _:
                actions[-1] = rng.choice(list(ANSWERS))
    assert replay(DOMAIN, problem, actions).solved == judged(problem, list(replay(DOMAIN, problem, actions).actions))


@given(st.lists(st.text(max_size=30) | st.sampled_from([*SENTENCES, *ANSWERS, "Answer:", "."]), max_size=5))
def test_text_of_any_kind_gives_a_state(actions: list[str]) -> None:
    for domain in (DOMAIN, FREE):
        state = play(CROW, *actions, domain=domain)
        assert domain.verify(state) is None or state.refusal or state.answered
        domain.observe(state)


# --- all proofs


def test_all_proofs_are_those_that_plays_rest_on() -> None:
    """Every accepted play, detours included, rests on one of the paths; every path is the base of some play."""
    several = 0
    for problem in random.Random(0).sample([one for one in ALL if one.data["hops"] <= 4], 20):
        stated = DOMAIN.start(problem).asked
        goal = stated.question if problem.data["answer"] == "true" else stated.question.negation()
        paths = proofs(stated, goal)
        longest = max(map(len, paths)) + 1
        if sum(literal.positive for literal in closure(stated.facts, stated.rules)) > 12:
            continue
        plays = enumerate_solutions(DOMAIN, problem, longest)
        assert all(judged(problem, list(actions)) for actions in plays)
        assert {key(replay(DOMAIN, problem, actions)) for actions in plays} == set(paths)
        assert len(set(paths)) == len(paths)
        assert [*paths[0], plays[0][-1]] == problem.data["solution"]
        several += len(paths) > 1
    assert several > 3


def test_a_detour_does_not_make_another_proof() -> None:
    proof = ["Every crow is a bird.", "Each bird is an animal.", "Every animal is not a stone."]
    detour = replay(
        DOMAIN, CROW, [proof[0], "Every bird is not calm.", "Every crow is a thief.", *proof[1:], "Answer: false"]
    )
    assert detour.solved
    assert key(detour) == tuple(proof)
    other = replay(DOMAIN, CROW, ["Every crow is a thief.", "Every thief is an animal.", proof[2], "Answer: false"])
    assert other.solved
    assert key(other) != tuple(proof)
    assert set(proofs(DOMAIN.start(CROW).asked, Literal("stone", True, False))) == {key(detour), key(other)}
    with pytest.raises(DataError, match="derives its answer"):
        key(replay(DOMAIN, CROW, [proof[0]]))


def test_a_word_may_name_a_kind_and_a_quality() -> None:
    fruit = make(["Kai is a seed.", "Every seed is an orange.", "Every orange is orange."], "Kai is orange.")
    assert proofs(DOMAIN.start(fruit).asked, Literal("orange", False)) == [tuple(fruit.data["solution"][:-1])]
    assert replay(DOMAIN, fruit, fruit.data["solution"]).solved


def test_long_and_many_proofs() -> None:
    names = ["".join(chr(97 + int(digit)) for digit in f"{number:04}") for number in range(1500)]
    long = [f"Every {low} is a {high}." for low, high in pairwise(names)]
    chain = make([*long, f"Kai is a {names[0]}."], f"Kai is a {names[-1]}.")
    assert chain.data["hops"] == 1499
    assert len(proofs(DOMAIN.start(chain).asked, DOMAIN.start(chain).asked.question)) == 1
    diamonds = [
        f"Every {x} is a {x}{side}. Every {x}{side} is a {y}." for x, y in pairwise(names[:21]) for side in "xy"
    ]
    many = make(
        [f"{one}." for two in diamonds for one in two[:-1].split(". ")] + ["Kai is an aaaa."], "Kai is an aaca."
    )
    assert many.data["hops"] == 40
    with pytest.raises(ConfigError, match="at most 10000 proofs"):
        proofs(DOMAIN.start(many).asked, DOMAIN.start(many).asked.question)


def test_circles_end() -> None:
    rules = ["Every crow is a bird.", "Every bird is a flier.", "Every flier is a bird.", "Every bird is shy."]
    turning = make(["Kai is a crow.", *rules], "Kai is shy.")
    assert proofs(DOMAIN.start(turning).asked, Literal("shy", False)) == [(rules[0], rules[3])]
    assert set(enumerate_solutions(DOMAIN, turning, 9)) == {
        (rules[0], rules[3], "Answer: true"),
        (rules[0], rules[1], rules[3], "Answer: true"),
        (rules[0], rules[3], rules[1], "Answer: true"),
    }


# --- sentences and theories


@given(st.sampled_from([*KINDS, *NAMES]), st.booleans(), st.booleans(), st.sampled_from(["owl", *KINDS, *QUALITIES]))
def test_sentences_are_read_as_they_are_written(subject: str, positive: bool, noun: bool, word: str) -> None:
    literal = Literal(word, noun, positive)
    sentence = f"{f'Every {subject}' if subject.islower() else subject} {literal.text}."
    expected = Rule(subject, literal, sentence) if subject.islower() else (subject, literal)
    assert read(sentence) == expected
    assert literal.negation().negation() == literal


@pytest.mark.parametrize(
    "sentence",
    [
        *("", "Max is.", "Max is a.", "Max is not.", "Max is not an.", "max is loud.", "Max is loud", "Max  is loud."),
        *("Every is loud.", "All crows are birds.", "Every crow is a bird. ", "Every Crow is a bird.", "Mäx is loud."),
        *("Max is not not loud.", "Every crow is a bird.\n", "Every crow is a bird. Every bird is shy."),
    ],
)
def test_other_sentences_are_refused(sentence: str) -> None:
    with pytest.raises(DataError, match="expected a sentence such as"):
        read(sentence)


@given(st.text(max_size=40))
def test_text_of_any_kind_is_a_sentence_or_refused(text: str) -> None:
    try:
        found = read(text)
    except DataError:
        return
    assert (found.text if isinstance(found, Rule) else text) == text


@pytest.mark.parametrize(
    ("sentences", "question", "reason"),
    [
        (["Max is loud.", "Kai is loud."], "Max is loud.", "one individual, found Kai, Max"),
        (["Max is loud."], "Kai is loud.", "one individual, found Max"),
        (["Every crow is loud."], "Kai is loud.", "found no one"),
        (["Kai is loud."], "Every crow is loud.", "one individual"),
        (["Kai is loud.", "Kai is loud."], "Kai is loud.", "said twice"),
        (["Kai is a crow.", "Every crow is loud.", "Each crow is loud."], "Kai is loud.", "said twice"),
        (["Kai is a crow.", "Every crow is loud.", "Kai is not loud."], "Kai is loud.", "Kai is loud and is not"),
    ],
)
def test_theories_that_make_no_sense_say_why(sentences: list[str], question: str, reason: str) -> None:
    with pytest.raises(DataError) as refused:
        theory(sentences, question)
    assert reason in str(refused.value)


def test_data_that_poses_nothing() -> None:
    for data in ({}, {"sentences": "Kai is loud.", "question": "Kai is loud."}, {"sentences": [1], "question": ""}):
        with pytest.raises(DataError, match="expected data"):
            DOMAIN.start(Problem("p", data=data))


# --- the problems


def test_answers_cannot_be_told_without_reasoning() -> None:
    """Answers and questions' signs are balanced, and the word asked for is said with both signs, once each."""
    counts = Counter((problem.data["answer"], asked(problem)[0]) for problem in ALL)
    assert all(0.2 < count / len(ALL) < 0.3 for count in counts.values())
    for problem in ALL:
        about = problem.data["question"].split()[0]
        rules = [read(sentence) for sentence in problem.data["sentences"] if not sentence.startswith(about + " ")]
        word = asked(problem)[1].split()[-1]
        said = [rule.conclusion for rule in rules if isinstance(rule, Rule) and rule.conclusion.word == word]
        assert len(said) == 2
        assert said[0] == said[1].negation()
        assert not any(isinstance(rule, Rule) and rule.kind == word for rule in rules)


def test_both_chains_look_alike_without_the_fact() -> None:
    """As many rules lead to the kind next to the answer as to the kind next to its opposite, on average."""
    above = Counter[bool]()
    for problem in ALL:
        rules = [one for one in map(read, problem.data["sentences"]) if isinstance(one, Rule)]
        word, known = asked(problem)[1].split()[-1], oracle(problem)
        for rule in rules:
            if rule.conclusion.word == word:
                mine = (True, f"a {rule.kind}") in known
                above[mine] += sum(other.conclusion == Literal(rule.kind, noun=True) for other in rules)
    assert abs(above[True] - above[False]) < 0.1 * above.total()


def test_problems_are_of_the_kind_that_was_asked_for() -> None:
    domain = ProntoQA(recipe=Recipe(hops=(3, 4), detours=1, distractors=4, train=30, held_out=8, seed=5))
    assert [len(list(domain.problems(split))) for split in SPLITS] == [30, 8, 8]
    for problem in domain.problems("train"):
        assert problem.data["hops"] in (3, 4)
        assert len(problem.data["sentences"]) <= 2 * (4 + 2) + 4 + 1
    assert {problem.data["hops"] for problem in ALL} == {1, 2, 3, 4, 5}
    for recipe in (Recipe(hops=(0, 3)), Recipe(hops=(4, 3)), Recipe(distractors=41), Recipe(detours=-1)):
        with pytest.raises(ConfigError, match="expected 1 to 20 hops"):
            list(ProntoQA(recipe=recipe).problems("train"))
    with pytest.raises(ConfigError, match="widen Recipe"):
        list(ProntoQA(recipe=Recipe(hops=(1, 1), distractors=0, train=30, held_out=5)).problems("train"))
    assert list(
        ProntoQA(recipe=Recipe(hops=(20, 20), detours=20, distractors=40, train=2, held_out=1)).problems("test")
    )


def test_splits_share_no_theory_up_to_words_under_any_recipe() -> None:
    marks: dict[str, set[str]] = {split: set() for split in SPLITS}
    for recipe in (Recipe(), Recipe(seed=1), Recipe(hops=(1, 2), distractors=3, train=100, held_out=20)):
        for split in SPLITS:
            found = [mark(p.data["sentences"], p.data["question"]) for p in ProntoQA(recipe=recipe).problems(split)]
            assert len(set(found)) == len(found)
            marks[split] |= set(found)
    assert sum(map(len, marks.values())) == len(set.union(*marks.values()))


@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_words_and_order_do_not_change_the_mark(problem: Problem, seed: int) -> None:
    rng = random.Random(seed)
    sentences, question = list(problem.data["sentences"]), problem.data["question"]
    words = {word.strip(".") for sentence in sentences for word in sentence.split()}
    kinds = sorted(words & set(KINDS))
    mixed = dict(zip(kinds, rng.sample(KINDS, len(kinds)), strict=True)) | {question.split()[0]: "Zoe"}

    def rename(sentence: str) -> str:
        return " ".join(mixed.get(word, mixed.get(word[:-1], word[:-1]) + "." if word[-1] == "." else word)
                        for word in sentence.split())  # fmt: skip

    renamed = [rename(sentence) for sentence in sentences]
    rng.shuffle(renamed)
    assert mark(renamed, rename(question)) == mark(sentences, question)
    assert mark(sentences[1:], question) != mark(sentences, question)
