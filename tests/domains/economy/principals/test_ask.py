"""`surpass economy ask`: the question as it would be sent, and nothing sent."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from surpass import cli
from surpass.domains.economy.learning import LearningCommons
from surpass.domains.economy.principals.ask import SOCIETIES, AskOptions, main


@pytest.mark.parametrize("society", SOCIETIES)
def test_it_prints_the_question_of_each_society(society: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(AskOptions(society)) == 0
    told = capsys.readouterr().out
    assert told.startswith("[user]\n")
    assert "first term" in told
    assert all(rate.name in told for rate in SOCIETIES[society]().rates)


def test_terms_go_before_and_ablations_take_away(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(AskOptions(terms=3)) == main(AskOptions(terms=3)) == 0
    told = capsys.readouterr().out
    first, second = told[: len(told) // 2], told[len(told) // 2 :]
    assert first == second
    assert first.count(" -> ") == 3
    assert cli.main(["economy", "ask", "--terms", "3", "--without", "history", "context"]) == 0
    less = capsys.readouterr().out
    assert " -> " not in less
    assert "opens the door is" not in less


def test_terms_of_clean_up_are_played(capsys: pytest.CaptureFixture[str]) -> None:
    society = SOCIETIES["cleanup"]()
    assert isinstance(society, LearningCommons)
    short = replace(society, episodes=1, rules=replace(society.rules, length=20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOCIETIES, "cleanup", lambda: short)
        assert main(AskOptions("cleanup", terms=1)) == 0
    assert capsys.readouterr().out.count(" -> ") == 1


def test_a_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(AskOptions("surface", structured=True)) == 0
    told = capsys.readouterr().out
    assert json.loads(told.partition("[schema]\n")[2])["required"] == ["rate 1", "rate 2", "rate 3"]


def test_evolution_asks_nothing_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(AskOptions("surface", "evollm", terms=4)) == 0
    assert "Nothing is asked in the first generation" in capsys.readouterr().out
    assert main(AskOptions("surface", "evollm", terms=5)) == 0
    assert capsys.readouterr().out.count(" -> ") == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--society", "utopia"], "society: expected one of escape_room"),
        (["--principal", "king"], "principal: expected one of llm, evollm"),
        (["--terms", "-1"], "terms: expected 0 or more, found -1"),
        (["--without", "everything"], "without: expected some of history"),
        (["--principal", "evollm", "--without", "history"], "are ablations of llm"),
    ],
)
def test_bad_input_ends_in_one_message(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(["economy", "ask", *words])
    except SystemExit as stopped:  # the reader of flags
        code = int(str(stopped.code))
    error = " ".join(capsys.readouterr().err.split())
    assert code == 2
    assert told in error
    assert "Traceback" not in error
