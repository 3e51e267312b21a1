"""What a language model is shown, what each ablation takes away, and how its answers are read."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surpass.domains.economy.learning import NAMES
from surpass.domains.economy.principals.briefs import ANY, BRIEFS, brief_of
from surpass.domains.economy.principals.history import figure, parse_history
from surpass.domains.economy.principals.principal import Rates
from surpass.domains.economy.principals.prompts import View, answered, legislate, population, shuffled
from surpass.domains.economy.society import JudgedBy, Metrics, Rate, SettledRoom, Surface, Term
from surpass.models.chat import Wrong

RATES = (Rate("tax"), Rate("fine", 0, 20), Rate("gift", -1, 1))
ROOM = SettledRoom()
OPEN = Metrics(140.0, (("cost", 20.0), ("door open", 1.0), ("at lever 2", 2.0), ("at door", 3.0)), "all is well")
PAST = (
    Term((0.0, 2.0, 0.0, 0.0, 0.0), OPEN, (("live lever", 2.0),)),
    Term((5.0, 0.0, 0.0, 0.0, 0.0), Metrics(-5.0), (("live lever", 1.0),)),
)
NOW = (("live lever", 3.0),)


def text_of(view: View, history: tuple[Term, ...] = PAST) -> str:
    (message,), form = legislate(brief_of(ROOM), view, history, NOW)
    (other,) = form.messages
    assert other.content.split("\n\n")[:-1] == message.content.split("\n\n")[:-1]  # all but the reminder
    return message.content


def test_briefs_name_the_rates_of_the_societies() -> None:
    assert {name: set(BRIEFS[name].meaning) for name in NAMES} == {name: set(names) for name, names in NAMES.items()}
    assert brief_of(ROOM) is BRIEFS["escape_room"]
    assert brief_of(Surface()) is ANY


def test_clean_up_tells_who_ate_and_who_cleaned() -> None:
    told = Metrics(-3.5, (("cost", 12.0), ("apples after 100%", 40.0), ("eaten", 15.0), ("cleaned", 5.0)))
    assert BRIEFS["cleanup"].words(told) == (
        "each agent earned -3.50 on average; apples on the map 40.0 after 100%; each ate 15.0 apples and cleaned in "
        "5.00 steps; incentives of 12.0 were paid out"
    )


def test_a_society_judged_by_another_measure_is_asked_for_that() -> None:
    brief = brief_of(JudgedBy(ROOM, "door open"))
    (message,), _ = legislate(brief, View(ROOM.rates), PAST[:1], NOW)
    assert "three levers" in message.content
    assert "Welfare is what is measured as 'door open'." in message.content
    assert "what all agents together earn" not in message.content
    judged = JudgedBy(ROOM, "door open").step((0, 2, 0, 0, 0), seed=0)
    assert brief.words(judged).endswith(f"own welfare {figure(ROOM.step((0, 2, 0, 0, 0), seed=0).welfare)}")


def test_a_prompt_tells_everything_in_order() -> None:
    text = text_of(View(ROOM.rates))
    parts = [
        "three levers",
        "Welfare is what all agents together earn",
        "- lever 3, from 0 to 5: the payment for being at lever 3",
        "You are the policymaker",
        "earlier terms",
        "1. [live lever 2] $0.00 2.00 0.00 0.00 0.00$ -> 140; agents on average: 2.00 at lever 2, 3.00 at door; the "
        "door was open in 100% of the steps; incentives of 20.0 were paid out",
        "2. [live lever 1] $5.00 0.00 0.00 0.00 0.00$ -> -5.00",
        "the lever that opens the door is lever 3",
        "between dollar signs: $r1 r2 r3 r4 r5$",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "first term" not in text
    assert "first term" in text_of(View(ROOM.rates), ())


def test_the_history_can_be_read_back() -> None:
    lines = [line for line in text_of(View(ROOM.rates)).splitlines() if " -> " in line]
    read = parse_history("\n".join(lines), ROOM.rates)
    assert [(one.rates, one.welfare, one.context) for one in read] == [
        (term.rates, term.metrics.welfare, term.context) for term in PAST
    ]


@pytest.mark.parametrize(
    ("field", "gone"),
    [
        ("history", ["-> ", "earlier terms"]),
        ("observations", ["at door;", "what else was seen", "incentives of"]),
        ("context", ["[live lever", "the lever that opens the door is lever"]),
    ],
)
def test_an_ablation_takes_away_one_thing(field: str, gone: list[str]) -> None:
    full, less = text_of(View(ROOM.rates)), text_of(View(ROOM.rates, **{field: False}))
    assert all(part in full and part not in less for part in gone)
    assert all(line in full for line in less.splitlines() if " -> " not in line and "earlier" not in line)
    assert "first term" not in less


def test_without_history_nothing_is_said_of_a_first_term() -> None:
    assert "first term" not in text_of(View(ROOM.rates, history=False), ())


@given(st.integers(2, 7), st.integers(0, 2**32))
def test_shuffled_names_are_all_wrong_and_ranges_stay(count: int, seed: int) -> None:
    rates = tuple(Rate(f"rate {number}", 0, number + 1) for number in range(count))
    found = shuffled(rates, seed)
    assert sorted(rate.name for rate in found) == sorted(rate.name for rate in rates)
    assert [(rate.low, rate.high) for rate in found] == [(rate.low, rate.high) for rate in rates]
    assert all(one.name != other.name for one, other in zip(found, rates, strict=True))
    assert shuffled(rates, seed) == found
    assert shuffled(rates[:1], seed) == rates[:1]


def test_a_shuffled_name_is_asked_and_answered_in_its_place() -> None:
    rates = shuffled(RATES, 1)
    names = [rate.name for rate in rates]
    assert names != [rate.name for rate in RATES]
    assert answered(json.dumps(dict(zip(names, (0.5, 12, -0.5), strict=True))), rates) == (0.5, 12.0, -0.5)
    (message,), form = legislate(ANY, View(rates), (), ())
    assert [line.split(",")[0] for line in message.content.splitlines() if line.startswith("- ")] == [
        f"- {name}" for name in names
    ]
    assert list(form.schema["properties"]) == names == form.schema["required"]


def test_a_population_is_sorted_from_the_worst_to_the_best() -> None:
    history = [Term((place / 10, 1.0, 0.0), Metrics(welfare)) for place, welfare in enumerate((3.0, -2.0, 7.5))]
    (message,), _ = population(RATES, history)
    lines = [line for line in message.content.splitlines() if " -> " in line]
    assert [line.rpartition(" ")[2] for line in lines] == ["-2.00", "3.00", "7.50"]
    assert f"above {figure(7.5)}" in message.content


values = st.tuples(st.floats(0, 1), st.floats(0, 20), st.floats(-1, 1))
words = st.text(st.characters(exclude_characters="$`{}<", exclude_categories=["Cs"]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values, words, words, st.sampled_from([" ", ", ", "; ", ",\n"]), st.sampled_from(["", "[]", "()", "**"]))
def test_an_answer_between_dollars_is_read_exactly(rates: Rates, before: str, after: str, gap: str, ends: str) -> None:
    inside = gap.join(map(repr, rates))
    wrapped = f"{ends[:1]}{inside}{ends[1:]}"
    for sign in ("$", "$$"):
        assert answered(f"{before}{sign}{wrapped}{sign}{after}", RATES) == rates
    assert answered(f"<think>{before} $9 9 9$</think>${inside}$", RATES) == rates
    assert answered(f"${inside}$ {before} ${inside}$", RATES) == rates
    assert answered(inside, RATES) == rates


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values, words)
def test_an_answer_in_json_is_read_exactly(rates: Rates, around: str) -> None:
    names = [rate.name for rate in RATES]
    for order in (names, names[::-1]):
        told = json.dumps({name: dict(zip(names, rates, strict=True))[name] for name in order}, indent=1)
        for text in (told, f"```json\n{told}\n```", f"{around}{told}{around}"):
            assert answered(text, RATES) == rates


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text()
    | st.text('$0123456789. ,-e[]{}"tax:fineg<hk>/`\n')
    | st.lists(
        st.sampled_from(["$", "{", "}", "0.5", " ", '"tax":', "1e999", "nan", "-", "<think>", "</think>", "```"])
    ).map("".join)
)
def test_any_text_is_read_as_rates_in_range_or_as_a_reason(text: str) -> None:
    found = answered(text, RATES)
    if isinstance(found, Wrong):
        assert found.reason
        assert len(found.reason) < 400
    else:
        assert all(rate.low <= value <= rate.high for value, rate in zip(found, RATES, strict=True))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected 3 numbers (tax, fine, gift), found ''"),
        ("I would rather not say.", "expected 3 numbers"),
        ("$0.5 1$", "expected 3 numbers"),
        ("$0.5 1 0 0$", "expected 3 numbers"),
        ("$0.5 21 0$", "fine: expected a number from 0 to 20, found 21"),
        ("$nan 1 0$", "expected 3 numbers"),
        ("$1e999 1 0$", "tax: expected a number from 0 to 1, found inf"),
        ('{"tax": NaN, "fine": 1, "gift": 0}', "expected 3 numbers"),
        ('{"tax": true, "fine": 1, "gift": 0}', "expected 3 numbers"),
        ('{"tax": 1, "fine": 1}', "expected a JSON object of tax, fine, gift"),
        ('{"tax": 1, "fine": 1, "gift": 0, "bonus": 1}', "expected a JSON object of tax, fine, gift"),
        ("$0.5 1 0$ or $0.6 1 0$", "expected one answer, found 2 that differ"),
        ("<think>$0.5 1 0$", "expected 3 numbers (tax, fine, gift), found ''"),
        ("$50% 1 0$", "expected 3 numbers"),
    ],
)
def test_a_wrong_answer_has_a_reason(text: str, told: str) -> None:
    found = answered(text, RATES)
    assert isinstance(found, Wrong)
    assert found.reason.startswith(told)


def test_figures_of_any_metrics_are_words() -> None:
    for brief in (*BRIEFS.values(), ANY):
        for metrics in (Metrics(3.0), OPEN, Metrics(1.0, (("apples after 25%", 40.0), ("cost", 3.0), ("gini", 0.1)))):
            assert "\n" not in brief.words(metrics)
    assert "apples on the map 40.0 after 25%" in BRIEFS["harvest"].words(Metrics(1.0, (("apples after 25%", 40.0),)))
    assert ANY.words(OPEN).endswith("at door 3.00; all is well")
    assert math.isfinite(OPEN.welfare)
