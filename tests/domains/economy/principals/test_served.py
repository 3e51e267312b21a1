"""The whole chain with a real server: principal, chat, a proxy that injects faults, `transformers serve`, a model."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from surpass.domains.economy.principals.language import llm
from surpass.domains.economy.principals.principal import PrincipalError
from surpass.domains.economy.society import Surface, Term
from surpass.errors import ModelError
from surpass.models import line
from surpass.models.chat import Chat
from surpass.models.endpoint import Endpoint
from surpass.models.exchanges import NAME, Exchanges
from surpass.models.scripted_server import Said
from tests.domains.economy.principals.govern import govern
from tests.models.served import PROGRAM, proxy, save_model, serving

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="needs transformers[serving]")
SOCIETY, TERMS = Surface(noise=0.1), 4
FAULTS = {
    0: Said("I would rather not say."),
    1: Said("slow down", 429, {"retry-after": "0.05"}),
    3: Said("out of memory", 500),
    4: Said(drop=0.5),
    5: Said("$0.9 0.9$", delay=60.0),  # too slow
    7: Said(drop=0),
    8: Said("$7 0.7$"),  # out of range
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), ["I", "say", "$0.30", "0.70$"])


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with serving(model, tmp_path_factory.mktemp("home")) as running:
        with Chat(Endpoint(str(model), running[0]), key="") as chat:  # the first question loads the model
            assert llm(SOCIETY, seed=9, chat=chat).ask([], ()) == (0.3, 0.7)
        yield running


@pytest.fixture(scope="module")
def expected(model: Path, server: tuple[str, object]) -> list[Term]:
    """Terms without faults."""
    with Chat(Endpoint(str(model), server[0]), key="") as chat:
        history = govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, TERMS)
        spent = chat.exchanges.spent
    assert [term.rates for term in history] == [(0.3, 0.7)] * TERMS
    assert (spent.requests, spent.refused, spent.retries, spent.untold) == (
        TERMS,
        0,
        0,
        0,
    )  # it takes a schema and makes nothing of it
    assert spent.completion_tokens == TERMS * 5  # four words and the end, each a token of its own
    return history


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "FIRST_WAIT", 0.01)


def test_a_run_goes_on_through_every_fault(model: Path, server: tuple[str, object], expected: list[Term]) -> None:
    with proxy(server[0], FAULTS) as faulty, Chat(Endpoint(str(model), faulty.url, timeout=10.0), key="") as chat:
        assert govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, TERMS) == expected
        spent = chat.exchanges.spent
    assert len(faulty.asked) >= max(FAULTS)
    assert spent.requests == TERMS + 2  # two answers were sent back
    assert spent.retries >= 5


def test_a_run_stops_where_the_server_dies_and_resumes_to_the_same(
    model: Path, server: tuple[str, object], expected: list[Term], tmp_path: Path
) -> None:
    with (
        proxy(server[0]) as mortal,
        Chat(Endpoint(str(model), mortal.url, patience=0.2), Exchanges(tmp_path / NAME), key="") as chat,
    ):
        govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, 2)
        mortal.close()
        with pytest.raises(ModelError, match="does not serve: the connection failed"):
            govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, TERMS)
        kept = len(chat.exchanges)
    with (
        proxy(server[0]) as reborn,
        Chat(Endpoint(str(model), reborn.url), Exchanges(tmp_path / NAME), key="") as chat,
    ):
        assert govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, TERMS) == expected
        assert len(chat.exchanges) == kept + TERMS - 2
    with Chat(Endpoint(str(model)), Exchanges.replay(tmp_path)) as chat:
        assert govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, TERMS) == expected


def test_a_model_that_never_names_rates_is_unknown_and_no_zero(server: tuple[str, object], model: Path) -> None:
    narrow = Surface((0.5,), ((1.0,),))  # one rate; the model says two
    with Chat(Endpoint(str(model), server[0]), key="") as chat:
        with pytest.raises(PrincipalError, match=r"no rates in 3 answers .*expected 1 numbers \(rate 1\)"):
            llm(narrow, seed=0, chat=chat).ask([], ())
        assert chat.exchanges.spent.requests == 3


def test_the_real_server_is_killed_in_mid_run(
    model: Path, server: tuple[str, subprocess.Popen[bytes]], expected: list[Term], tmp_path: Path
) -> None:
    """The last test of this file: nothing answers after it."""
    url, process = server
    with Chat(Endpoint(str(model), url, patience=0.2), Exchanges(tmp_path / NAME), key="") as chat:
        assert govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, 3) == expected[:3]
        process.kill()
        process.wait()
        with pytest.raises(ModelError, match=f"{url} does not serve"):
            govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, TERMS)
        assert govern(llm(SOCIETY, seed=0, chat=chat), SOCIETY, 3) == expected[:3]
