"""What the environment says of an endpoint, and what a server's headers ask for."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surpass.errors import ConfigError
from surpass.models.endpoint import HOSTED, Endpoint, configured, from_environment, key_of, scrubber, wait_of


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "SURPASS_CHAT_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_configured_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert not configured()
    with pytest.raises(ConfigError, match="model: expected a model's name, found none; set SURPASS_CHAT_MODEL"):
        from_environment()


def test_the_environment_names_model_server_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURPASS_CHAT_MODEL", "llama")
    assert configured()
    assert from_environment() == Endpoint("llama", HOSTED)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    found = from_environment(timeout=5.0)
    assert (found.url, found.timeout, key_of(found)) == ("http://localhost:8000/v1", 5.0, "")
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    assert key_of(found) == "sk-1"
    assert "sk-1" not in repr(found)
    assert from_environment(model="other").model == "other"


def test_a_hosted_service_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs a key: set OPENAI_API_KEY, or OPENAI_BASE_URL to another server"):
        key_of(Endpoint("m"))
    monkeypatch.setenv("OTHER", "schlüssel")
    with pytest.raises(ConfigError, match="OTHER: expected printable ASCII") as caught:
        key_of(Endpoint("m", key_name="OTHER"))
    assert "schl" not in str(caught.value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text() | st.floats().map(str)))
def test_any_header_is_read_as_a_wait_or_as_none(headers: dict[str, str]) -> None:
    wait = wait_of(headers)
    assert wait is None or (math.isfinite(wait) and wait >= 0)


@settings(deadline=None)
@given(st.text(), st.text(alphabet="abc-", min_size=1), st.text())
def test_a_scrubbed_text_holds_no_key(before: str, key: str, after: str) -> None:
    text = f"{before}{key}{after}"
    assert len(scrubber(key)(text)) >= text.count(key) * 5
    assert scrubber("")(text) == text
    assert scrubber("sk-\\0")(f"{before}sk-\\0{after}").count("sk-\\0") == 0
