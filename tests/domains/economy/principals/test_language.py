"""Language models as principals, with servers whose behaviour can be predicted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from surpass.domains.economy.domain import Policymaking
from surpass.domains.economy.principals.history import parse_line
from surpass.domains.economy.principals.language import ABLATIONS, evollm, llm
from surpass.domains.economy.principals.policies import Written
from surpass.domains.economy.principals.principal import PrincipalError, principal_of
from surpass.domains.economy.society import Metrics, Rate, SettledRoom, Society, Surface, Term, surface
from surpass.errors import ConfigError
from surpass.models.chat import Chat
from surpass.models.endpoint import Endpoint
from surpass.models.exchanges import NAME, Exchanges
from surpass.models.scripted_server import ChatServer, Said, in_turn
from surpass.rollouts.runner import run
from surpass.search.sampling import sample
from tests.domains.economy.principals.govern import govern

ROOM, FLAT = SettledRoom(), Surface()


def asked(body: Mapping[str, Any]) -> str:
    return str(body["messages"][0]["content"])


def statesman(body: Mapping[str, Any]) -> str:
    """Read which lever is live, and pay for standing at it."""
    live = re.search(r"opens the door is lever (\d)", asked(body))
    return json.dumps(
        {f"lever {n}": 2 * (live is not None and int(live[1]) == n) for n in (1, 2, 3)} | {"door": 0, "start": 0}
    )


def breeder(rates: tuple[Rate, ...]) -> Any:
    """Propose the best that was tried, without a schema."""

    def answer(body: Mapping[str, Any]) -> str | Said:
        if "response_format" in body:
            return Said("no response_format here", 422)
        lines = [line for line in asked(body).splitlines() if " -> " in line]
        best = parse_line(lines[-1], rates)
        assert best.welfare == max(parse_line(line, rates).welfare for line in lines)
        return f"The best one: ${' '.join(map(repr, best.rates))}$"

    return answer


def talk(server: ChatServer, record: Exchanges | None = None) -> Chat:
    return Chat(Endpoint("m", server.url, patience=1.0), record, key="")


def welfare(history: list[Term]) -> list[float]:
    return [term.metrics.welfare for term in history]


def test_a_model_that_reads_the_indicator_opens_every_door() -> None:
    with ChatServer(statesman) as server, talk(server) as chat:
        history = govern(llm(ROOM, seed=0, chat=chat), ROOM, 6)
        blind = govern(llm(ROOM, seed=0, chat=chat, without=["context"]), ROOM, 6)
    assert welfare(history) == [140.0] * 6
    assert welfare(blind) == [0.0] * 6
    assert {body["temperature"] for body in server.asked} == {0.01}
    assert asked(server.asked[5]).count(" -> ") == 5


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_ablations_change_the_question_alone(ablation: str) -> None:
    history = [Term((0.0, 2.0, 0.0, 0.0, 0.0), ROOM.step((0, 2, 0, 0, 0), seed=1), ROOM.context(1))]
    with ChatServer(lambda body: "$1 2 3 4 5$") as server, talk(server) as chat:
        for without in ([], [ablation]):
            answer = llm(ROOM, seed=0, chat=chat, without=without, structured=False).ask(history, ROOM.context(2))
            assert answer == (1.0, 2.0, 3.0, 4.0, 5.0)
        full, less = map(asked, server.asked)
    assert full != less
    assert server.asked[0].keys() == server.asked[1].keys()
    assert server.asked[0]["seed"] == server.asked[1]["seed"]


def test_wrong_answers_go_back_and_the_third_ends_it() -> None:
    with ChatServer(in_turn(["$2 0$", "$nan 0$", "$0.3 0.7$", "no", "no", "$9 9$"])) as server, talk(server) as chat:
        principal = llm(FLAT, seed=0, chat=chat)
        assert principal.ask([], ()) == (0.3, 0.7)
        said = [message["content"] for message in server.asked[2]["messages"]]
        assert "rate 1: expected a number from 0 to 1, found 2" in said[2]
        assert "expected 2 numbers (rate 1, rate 2)" in said[4]
        with pytest.raises(PrincipalError, match=r"no rates in 3 answers of m: rate 1: .* found 9"):
            principal.ask([Term((0.3, 0.7), Metrics(1.0))], ())
        assert len(server.asked) == 6


def test_equal_histories_get_equal_answers_and_a_record_needs_no_server(tmp_path: Path) -> None:
    counted = iter(np.linspace(0, 1, 50).tolist())
    with (
        ChatServer(lambda body: f"${next(counted)} 0.5$") as server,
        talk(server, Exchanges(tmp_path / NAME)) as chat,
    ):
        history = govern(llm(FLAT, seed=0, chat=chat), FLAT, 5)
        assert govern(llm(FLAT, seed=0, chat=chat), FLAT, 5) == history
        other = govern(llm(FLAT, seed=1, chat=chat), FLAT, 1)
        assert other[0].rates != history[0].rates
    with Chat(Endpoint("m"), Exchanges.replay(tmp_path)) as chat:
        principal = llm(FLAT, seed=0, chat=chat)
        assert govern(principal, FLAT, 5) == history
        assert principal.ask(history[:2], ()) == history[2].rates


def test_evolution_asks_once_a_generation_and_closes_in() -> None:
    flat = surface(3, noise=0.0)
    with ChatServer(breeder(flat.rates)) as server, talk(server) as chat:
        principal = evollm(flat, seed=0, chat=chat, members=5, generations=3)
        history = govern(principal, flat, 40)
        again = govern(evollm(flat, seed=0, chat=chat, members=5, generations=3), flat, 40)
    assert history == again
    assert len(server.asked) == 1 + 7  # one refused the schema; the first generation is drawn
    shown = [asked(body).count(" -> ") for body in server.asked[1:]]
    assert shown == [5, 10, 15, 15, 15, 15, 15]
    levels = welfare(history)
    assert fmean(levels[-10:]) > fmean(levels[:5]) + 0.3
    assert all(0 <= rate <= 1 for term in history for rate in term.rates)


def test_evolution_keeps_contexts_apart() -> None:
    with ChatServer(lambda body: "$0 0 0 0 0$") as server, talk(server) as chat:
        history = govern(evollm(ROOM, seed=0, chat=chat, members=2), ROOM, 8)
        for body in server.asked:
            tried = {parse_line(line, ROOM.rates).rates for line in asked(body).splitlines() if " -> " in line}
            lever = [
                context
                for context in {term.context for term in history}
                if tried <= {_shown(term) for term in history if term.context == context}
            ]
            assert len(lever) == 1
    assert server.asked


def _shown(term: Term) -> tuple[float, ...]:
    return tuple(round(rate, 2) for rate in term.rates)


def test_as_a_policy_of_the_core_it_solves_the_room() -> None:
    with ChatServer(statesman) as server, talk(server) as chat:
        domain = Policymaking({"room": ROOM}, terms=2, problems=2)
        policy = Written(lambda society, seed: llm(society, seed=seed, chat=chat), {"room": ROOM})
        problems = list(domain.problems("train"))
        found = list(run(lambda *place: sample(*place, n=1, max_steps=2), problems, domain, policy))
    assert [one.verdict.returns for one in found] == [(140.0,)] * 2


def test_they_are_found_by_name() -> None:
    with ChatServer(statesman) as server, talk(server) as chat:
        society: Society = ROOM
        assert principal_of("llm", society, seed=0, chat=chat).ask([], ROOM.context(0))[3:] == (0.0, 0.0)
        first = principal_of("evollm", society, seed=0, chat=chat).ask([], ROOM.context(0))
        assert all(0 <= rate <= 5 for rate in first)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"without": ["everything"]}, "without: expected some of history, observations, context, names, found 'every"),
        ({"temperature": -0.1}, "temperature: expected 0 to 2, found -0.1"),
        ({"temperature": float("nan")}, "temperature"),
        ({"tries": 0}, "tries: expected 1 or more, found 0"),
    ],
)
def test_what_cannot_be_is_said(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        llm(FLAT, seed=0, chat=Chat(Endpoint("m")), **fields)


@pytest.mark.parametrize("fields", [{"members": 0}, {"generations": 0}, {"spread": 0.0}, {"spread": float("nan")}])
def test_an_evolution_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        evollm(FLAT, seed=0, chat=Chat(Endpoint("m")), **fields)
