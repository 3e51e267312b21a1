"""Dialogues, waiting, limits, accounts and keys, against a server that does what it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from surpass.conformance import check_policy
from surpass.core import Observation
from surpass.domains.proofs.kernel.domain import Kernel, pose
from surpass.errors import ConfigError, DataError, ModelError
from surpass.models import line
from surpass.models.chat import Chat, ChatPolicy, Dialogue, Form, Message, Wrong, instructed, one_action, open_chat
from surpass.models.endpoint import Endpoint
from surpass.models.exchanges import NAME, Exchanges
from surpass.models.scripted_server import ChatServer, Said, in_turn
from surpass.rollouts.runner import Budget, run
from surpass.search.sampling import sample

KEY = "sk-local-0123456789"
HELLO = (Message("user", "How much?"),)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def number(text: str) -> int | Wrong:
    return int(text) if text.isdecimal() else Wrong(f"expected a number, found {text!r}")


def question(seed: int = 0, **fields: Any) -> Dialogue[int]:
    return Dialogue(**{"messages": HELLO, "read": number, "seed": seed, **fields})


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Chat, ChatServer]]]:
    """Start a server with an answer for each request, and a chat with it."""
    opened: list[Chat | ChatServer] = []

    def start(answer: Any, exchanges: Exchanges | None = None, **fields: Any) -> tuple[Chat, ChatServer]:
        server = ChatServer(answer if callable(answer) else in_turn(answer)).__enter__()
        chat = Chat(Endpoint(**{"model": "m", "url": server.url, "patience": 60.0, **fields}), exchanges, key=KEY)
        opened[:0] = [chat, server]
        return chat, server

    yield start
    for one in opened:
        one.close()


Serve = Callable[..., tuple[Chat, ChatServer]]


def test_a_question_is_sent_as_it_is_and_its_answer_read(serve: Serve) -> None:
    chat, server = serve(["7"], extra={"max_tokens": None, "top_k": 5})
    [answer] = chat.converse([question(2**40 + 3, temperature=0.01)])
    assert (answer.value, answer.text, answer.wrong) == (7, "7", ())
    messages = [{"role": "user", "content": "How much?"}]
    assert server.asked == [{"model": "m", "messages": messages, "temperature": 0.01, "seed": 3, "top_k": 5}]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_wrong_answer_goes_back_with_the_reason(serve: Serve) -> None:
    chat, server = serve(["many", "", "9"])
    [answer] = chat.converse([question(tries=3)])
    assert (answer.value, answer.wrong) == (9, ("expected a number, found 'many'", "expected a number, found ''"))
    roles, contents = zip(*((one["role"], one["content"]) for one in server.asked[-1]["messages"]), strict=True)
    assert roles == ("user", "assistant", "user", "assistant", "user")
    assert (contents[1], contents[3]) == ("many", "(nothing)")
    assert "expected a number, found 'many'" in contents[2]


def test_after_the_last_try_there_is_no_value(serve: Serve) -> None:
    chat, server = serve(["many"])
    [answer] = chat.converse([question(tries=3)])
    assert (answer.value, len(answer.wrong), len(server.asked)) == (None, 3, 3)


def test_an_answer_that_was_cut_is_said_to_be(serve: Serve) -> None:
    cut = {"choices": [{"message": {"content": "1 and"}, "finish_reason": "length"}]}
    chat, server = serve([Said(body=json.dumps(cut).encode()), "1"])
    [answer] = chat.converse([question(tries=2, most_new=2)])
    assert answer.value == 1
    assert "cut after 2 tokens" in server.asked[1]["messages"][-1]["content"]
    assert chat.exchanges.spent.untold == 1


@pytest.mark.parametrize(
    "trouble",
    [
        Said("wait", 429, {"retry-after": "0.02"}),
        Said("broken", 500),
        Said("busy", 503),
        Said(drop=0),
        Said(drop=0.5),
        Said(body=b"<html>gateway</html>", headers={"content-type": "text/html"}),
        Said(body=b'{"choices": ['),
        Said(body=b'{"choices": []}'),
        Said(body=b'{"error": {"message": "upstream"}}'),
        Said(body=b'{"choices": [{"message": {"content": 5}}]}'),
        Said(body=b"[]"),
        Said(body=b""),
    ],
    ids=str,
)
def test_trouble_that_passes_is_waited_for(serve: Serve, trouble: Said) -> None:
    chat, server = serve([trouble, trouble, "7"])
    assert chat.converse([question()])[0].value == 7
    assert (len(server.asked), chat.exchanges.spent.retries, chat.exchanges.spent.requests) == (3, 2, 1)


def test_who_waits_longer_is_told_once_for_what(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    chat, _ = serve([*[Said("broken", 500)] * 6, "7"])
    assert chat.converse([question()])[0].value == 7
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [f"{chat.endpoint.url}: HTTP 500: broken; asked again for up to 60 s"]


def test_a_slow_answer_is_not_waited_for(serve: Serve) -> None:
    chat, server = serve([Said("7", delay=30.0), "8"], timeout=0.5)
    assert chat.converse([question()])[0].value == 8
    assert len(server.asked) >= 2


def test_one_answer_429_holds_all_requests_back(serve: Serve) -> None:
    arrived = list[float]()

    def answer(body: Mapping[str, Any]) -> str | Said:
        arrived.append(time.monotonic())
        return Said("slow down", 429, {"retry-after": "0.4"}) if len(arrived) == 1 else "7"

    chat, _ = serve(answer, concurrency=1)
    chat.converse([question(seed) for seed in range(4)])
    assert len(arrived) == 5
    assert arrived[1] - arrived[0] >= 0.4


def test_a_server_that_asks_for_more_patience_than_there_is_ends_it_at_once(serve: Serve) -> None:
    chat, server = serve([Said("daily limit", 429, {"retry-after": "7200"})])
    with pytest.raises(ModelError, match=r"429: .*daily limit.*left alone for 7200 s.*patience of 60 s"):
        chat.converse([question()])
    assert len(server.asked) == 1


def test_back_off_doubles_with_jitter_and_then_gives_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[float]()
    patient = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await patient(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(line, "FIRST_WAIT", 0.1)
    chat, server = serve([Said("broken", 500)], patience=1.5)
    with pytest.raises(ModelError, match=r"HTTP 500: broken; given up after \d tries"):
        chat.converse([question()])
    assert len(server.asked) == len(waits) + 1 >= 4
    assert all(0.05 * 2**turn <= wait <= 0.1 * 2**turn for turn, wait in enumerate(waits))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Said("bad key", 401), "check the key in OPENAI_API_KEY"),
        (Said("not yours", 403), "what the key in OPENAI_API_KEY may do"),
        (Said("no such model", 404), r"check the model's name \(m\)"),
        (Said("seed?", 422), "does not take the request .*seed.*`extra`"),
        (Said(status=429, body=b'{"error": {"message": "pay", "code": "insufficient_quota"}}'), "no credit left"),
        (Said("never heard of it", 501), "refuses .*501"),
    ],
)
def test_what_does_not_pass_is_said_at_once(serve: Serve, said: Said, told: str) -> None:
    chat, server = serve([said])
    with pytest.raises(ModelError, match=told):
        chat.converse([question()])
    assert len(server.asked) == 1


def test_nobody_there_is_said_with_the_address() -> None:
    with ChatServer(lambda body: "7") as server:
        url = server.url
    with (
        Chat(Endpoint("m", url, patience=0.1), key=KEY) as chat,
        pytest.raises(ModelError, match=f"{url} does not serve: the connection failed"),
    ):
        chat.converse([question()])


def test_requests_under_way_are_bounded(serve: Serve) -> None:
    chat, server = serve(lambda body: Said("7", delay=0.05), concurrency=2)
    began = time.monotonic()
    assert [one.value for one in chat.converse([question(seed) for seed in range(6)])] == [7] * 6
    assert time.monotonic() - began >= 3 * 0.05
    assert len(server.asked) == 6


def test_requests_in_a_minute_are_bounded(serve: Serve) -> None:
    chat, server = serve(["7"], per_minute=600)
    began = time.monotonic()
    chat.converse([question(seed) for seed in range(4)])
    assert time.monotonic() - began >= 3 * 0.1
    assert len(server.asked) == 4


def test_costs_are_told_at_the_users_prices_alone(serve: Serve) -> None:
    chat, _ = serve(["7"], price_in=2.0, price_out=10.0)
    chat.converse([question(seed) for seed in range(3)])
    spent = chat.exchanges.spent
    assert (spent.requests, spent.prompt_tokens, spent.completion_tokens, spent.tokens) == (3, 6, 3, 9)
    assert spent.cost(chat.endpoint) == pytest.approx((6 * 2 + 3 * 10) / 1e6)
    assert spent.cost(replace(chat.endpoint, price_in=None, price_out=None)) is None


def test_nothing_is_asked_once_most_tokens_are_spent(serve: Serve) -> None:
    chat, server = serve(["7"], most_tokens=5)
    for seed in range(2):
        chat.converse([question(seed)])
    with pytest.raises(ModelError, match="most_tokens: 6 of 5 are spent"):
        chat.converse([question(2)])
    assert chat.converse([question(1)])[0].value == 7  # the record costs nothing
    assert len(server.asked) == 2


def test_equal_questions_are_asked_once(serve: Serve) -> None:
    counted = iter(range(10))
    chat, server = serve(lambda body: Said(str(next(counted)), delay=0.05))
    values = [one.value for one in chat.converse([question(1), question(2), question(1)])]
    assert values[0] == values[2] != values[1]
    assert [one.value for one in chat.converse([question(1)])] == [values[0]]
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_without_schemas_is_asked_without(serve: Serve, status: int, tmp_path: Path) -> None:
    def answer(body: Mapping[str, Any]) -> str | Said:
        return Said("response_format is not supported", status) if "response_format" in body else "7"

    form = Form((Message("user", "as JSON"),), SCHEMA)
    chat, server = serve(answer, Exchanges(tmp_path / NAME))
    for seed in range(2):
        assert chat.converse([question(seed, form=form)])[0].value == 7
    assert ["response_format" in one for one in server.asked] == [True, False, False]
    with Chat(chat.endpoint, Exchanges.replay(tmp_path)) as again:  # in any order
        assert [one.value for one in again.converse([question(seed, form=form) for seed in (1, 0)])] == [7, 7]


def test_a_request_that_was_refused_is_asked_again_once_the_server_is_mended(serve: Serve, tmp_path: Path) -> None:
    form = Form((Message("user", "as JSON"),), SCHEMA)
    chat, server = serve([Said("too long for my memory", 400), Said("too long for my memory", 400), "7"])
    chat.exchanges = Exchanges(tmp_path / NAME)
    with pytest.raises(ModelError, match="too long for my memory"):
        chat.converse([question(form=form)])
    assert ["response_format" in one for one in server.asked] == [True, False]
    with Chat(chat.endpoint, Exchanges(tmp_path / NAME), key=KEY) as later:
        assert later.converse([question(form=form)])[0].value == 7
    assert "response_format" in server.asked[2]
    with Chat(chat.endpoint, Exchanges.replay(tmp_path)) as again:
        assert again.converse([question(form=form)])[0].value == 7


def test_a_server_with_schemas_is_asked_with_its_own_words(serve: Serve) -> None:
    chat, server = serve(["{}", "8"])
    form = Form((Message("user", "as JSON"),), SCHEMA)
    assert chat.converse([question(form=form, tries=2)])[0].value == 8
    first, second = server.asked
    assert first["messages"] == [{"role": "user", "content": "as JSON"}] == second["messages"][:1]
    assert first["response_format"]["json_schema"] == {"name": "answer", "strict": True, "schema": SCHEMA}


def test_a_run_goes_on_from_its_record_and_is_replayed_without_key_or_server(serve: Serve, tmp_path: Path) -> None:
    chat, server = serve([Said("broken", 500), "1", "two", "2"], Exchanges(tmp_path / NAME))
    asked = [question(seed, tries=2) for seed in range(2)]
    first = [chat.converse([one])[0] for one in asked]
    assert [one.value for one in first] == [1, 2]
    spent = chat.exchanges.spent
    server.close()
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"torn')  # by a crash
    for record in (Exchanges(tmp_path / NAME), Exchanges.replay(tmp_path), Exchanges.replay(tmp_path / NAME)):
        with Chat(Endpoint("m"), record) as later:
            assert later.converse(asked) == first
            assert record.spent == spent
    assert (tmp_path / NAME).read_bytes().endswith(b"}\n")


def test_a_chat_is_opened_by_environment_record_and_replay(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, server = serve(["7"])
    monkeypatch.delenv("SURPASS_CHAT_MODEL", raising=False)
    with pytest.raises(ConfigError, match="set SURPASS_CHAT_MODEL"):
        open_chat()
    monkeypatch.setenv("SURPASS_CHAT_MODEL", "named")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    with open_chat(tmp_path / NAME, timeout=9.0) as chat:
        assert chat.endpoint == Endpoint("named", server.url, timeout=9.0)
        chat.converse([question()])
    with pytest.raises(ConfigError, match="record, replay: expected one of them"):
        open_chat(tmp_path / NAME, replay=tmp_path)
    for name in ("SURPASS_CHAT_MODEL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name)
    server.close()
    with open_chat(replay=tmp_path) as chat:  # the record knows the model
        assert (chat.endpoint.model, chat.converse([question()])[0].value) == ("named", 7)


def test_a_replay_that_lacks_an_exchange_says_what_comes_near(serve: Serve, tmp_path: Path) -> None:
    chat, _ = serve(["1"], Exchanges(tmp_path / NAME))
    chat.converse([question(5)])
    with Chat(chat.endpoint, Exchanges.replay(tmp_path)) as again:
        with pytest.raises(DataError, match=r"no such exchange among its 1: .*recorded seed 5, asked 6"):
            again.converse([question(6)])
        with pytest.raises(DataError, match="no recorded one has these messages; the last begins with 'When"):
            again.converse([question(messages=(Message("user", "When?"),))])
    assert len((tmp_path / NAME).read_bytes().splitlines()) == 1


def test_a_server_that_dies_stops_the_run_which_then_resumes(serve: Serve, tmp_path: Path) -> None:
    chat, server = serve(lambda body: str(body["seed"]), Exchanges(tmp_path / NAME), patience=0.2)
    assert chat.converse([question(1)])[0].value == 1
    server.close()
    with pytest.raises(ModelError, match="does not serve"):
        chat.converse([question(seed) for seed in range(20)])
    later, other = serve(lambda body: str(body["seed"]), Exchanges(tmp_path / NAME))
    assert [one.value for one in later.converse([question(seed) for seed in range(4)])] == [0, 1, 2, 3]
    assert sorted(one["seed"] for one in other.asked) == [0, 2, 3]


def test_an_interrupted_conversation_ends_at_once_and_can_be_held_again(serve: Serve) -> None:
    def answer(body: Mapping[str, Any]) -> Said:
        if len(server.asked) > 1:
            return Said("8")
        os.kill(os.getpid(), signal.SIGINT)  # as somebody does who will not wait
        return Said("7", delay=60.0)

    chat, server = serve(answer)
    with pytest.raises(KeyboardInterrupt):
        chat.converse([question()])
    began = time.monotonic()
    assert chat.converse([question()])[0].value == 8
    assert time.monotonic() - began < 50
    assert len(server.asked) == 2


def test_it_may_be_asked_within_a_running_event_loop(serve: Serve) -> None:
    chat, _ = serve(["7"])

    async def notebook() -> int | None:
        return chat.converse([question()])[0].value

    assert asyncio.run(notebook()) == 7


ECHOES = [
    Said(f"answer {KEY}"),
    Said(f"no: {KEY}", 400),
    Said(f"Incorrect API key provided: {KEY}", 401),
    Said(f"no: {KEY}", 404),
    Said(f"broken {KEY}", 500),
    Said(body=f"<html>{KEY}</html>".encode(), headers={"content-type": "text/html"}),
    Said(body=f'{{"choices": "{KEY}"}}'.encode()),
    Said(body=json.dumps({"model": KEY, "choices": [{"message": {"content": KEY}}]}).encode()),
]


@pytest.mark.parametrize("said", ECHOES, ids=lambda said: str(said.status))
def test_a_key_is_never_seen_again(serve: Serve, said: Said, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("surpass", "openai", "httpx2", "httpcore2", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    chat, server = serve([said], Exchanges(tmp_path / NAME), patience=0.05)
    told = ""
    try:
        told += repr(chat.converse([question()]))
    except ModelError as error:
        told += str(error) + "".join(traceback.format_exception(error)) + repr(error)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"  # it was sent
    told += caplog.text + "".join(path.read_text() for path in tmp_path.iterdir())
    told += repr(chat) + repr(vars(chat)) + repr(vars(chat._line)) + repr(chat.endpoint) + repr(chat.exchanges.spent)
    assert told.count("HTTP Request: POST") >= 1
    assert KEY not in told


def test_a_chat_with_a_key_does_not_pickle(serve: Serve) -> None:
    chat, _ = serve(["7"])
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(chat)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": ""}, "model: expected a model's name"),
        ({"url": "localhost:8000"}, "url: expected one like"),
        ({"url": "http://me:secret@host/v1"}, "url: expected no user, password or query"),
        ({"url": "https://host/v1?key=secret"}, "url: expected no user, password or query"),
        ({"timeout": 0}, "timeout: expected a number above 0, found 0"),
        ({"timeout": float("nan")}, "timeout: expected a number"),
        ({"patience": -1}, "patience"),
        ({"concurrency": 0}, "concurrency"),
        ({"per_minute": -1}, "per_minute"),
        ({"price_in": 1.0}, "price_in, price_out: expected both or neither"),
        ({"price_in": -1.0, "price_out": 1.0}, "price_in: expected a number from 0 on, found -1"),
        ({"most_tokens": -1}, "most_tokens"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        Endpoint(**{"model": "m", "url": "http://localhost/v1", **fields})
    assert "secret" not in str(caught.value)


def test_the_policy_keeps_the_contract_of_policies(serve: Serve) -> None:
    counted = iter(range(1000))  # a server that never answers twice the same
    chat, _ = serve(lambda body: ("left", "`right`", "```\nleft\n```", "up", "")[next(counted) % 5])
    policy = ChatPolicy(chat, instructed("Walk."), one_action)
    check_policy(policy, [Observation("a", ("left", "right")), Observation("b"), Observation("", ("left",))])
    check_policy(policy, [])
    assert policy.propose([Observation("a")], 0, seeds=[1]) == [[]]


def test_legal_actions_are_told_and_others_sent_back(serve: Serve) -> None:
    chat, server = serve(["up", "right"])
    policy = ChatPolicy(chat, instructed("Walk."), one_action, tries=2)
    [[proposal]] = policy.propose([Observation("a cross", ("left", "right"))], 1, seeds=[0])
    assert (proposal.action, proposal.logp, proposal.tokens) == ("right", None, ())
    assert server.asked[0]["messages"][0] == {"role": "system", "content": "Walk."}
    assert server.asked[0]["messages"][1]["content"] == "a cross\n\nAnswer with one of these:\nleft\nright"


def test_it_proposes_tactics_and_a_theorem_is_proved(serve: Serve) -> None:
    theorem = pose(r"A /\ B -> B /\ A")
    domain, told = Kernel(), dict[str, str]()
    state = domain.start(theorem)
    for tactic in ("intro h1", "cases h1", "split", "exact h2", "exact h1"):
        told[domain.observe(state).text] = tactic
        state = domain.step(state, tactic)
    chat, server = serve(lambda body: f"<think>hm</think>```lean\n{told[body['messages'][-1]['content']]}\n```")

    policy = ChatPolicy(chat, lambda one: (Message("user", one.text),), one_action)
    found = list(run(lambda *place: sample(*place, n=2), [theorem], domain, policy, budget=Budget(proposals=20)))
    assert [one.solved for one in found] == [True, True]
    assert found[0].actions == ("intro h1", "cases h1", "split", "exact h2", "exact h1")
    assert len(server.asked) == 10
