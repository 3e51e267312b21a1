"""An endpoint that speaks OpenAI's chat protocol: where it is, how it may be asked, what one request came to.

Hosted services, vLLM, Ollama, llama.cpp and `transformers serve` all do. `Endpoint` is configuration without secrets:
the key is read from the environment when the first question is asked, lives in the client alone, and is cut out of
whatever a server sends back (`scrubber`). `post` sends one request and sorts what can go wrong: trouble that may pass,
a request that is refused, and what only the user can mend. Not here: waiting and trying again (`chat.py`), and records
(`exchanges.py`).
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from surpass.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

HOSTED = "https://api.openai.com/v1"
URL, KEY, MODEL = "OPENAI_BASE_URL", "OPENAI_API_KEY", "SURPASS_CHAT_MODEL"  # names of environment variables
PASSING = {408, 409, 425, 429}  # status codes of trouble that may pass; so are those from 500 on, except 501
REFUSING = {400, 413, 422}  # the request itself is not to the server's liking


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a chat model answers and how it may be asked. No field holds a key: `key_name` says where one is."""

    model: str  # as the server calls it
    url: str = HOSTED  # without user, password or query
    key_name: str = KEY  # the environment variable that holds the key; local servers need none
    timeout: float = 120.0  # seconds that one request may take
    patience: float = 600.0  # seconds that a question may wait for a server in trouble, all tries together
    concurrency: int = 8  # requests under way at once
    per_minute: float = 0.0  # requests that may begin in a minute; 0: any number
    price_in: float | None = None  # of a million prompt tokens, in your currency; None: costs are not told
    price_out: float | None = None  # of a million completion tokens
    most_tokens: int | None = None  # after so many in a record nothing more is asked; None: no limit
    extra: Mapping[str, object] = field(default_factory=dict)  # fields of the request's body; None leaves one out

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError(f"model: expected a model's name, found none; set {MODEL}")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError("url: expected one like http://localhost:8000/v1, found something else")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(f"url: expected no user, password or query; put a key into {self.key_name}")
        for name, low in (("timeout", 0.0), ("patience", -1.0), ("concurrency", 0.0), ("per_minute", -1e-9)):
            if not low < getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: expected a number above {max(low, 0.0):g}, found {getattr(self, name)}")
        for name in ("price_in", "price_out", "most_tokens"):
            found = getattr(self, name)
            if found is not None and not 0 <= found < math.inf:
                raise ConfigError(f"{name}: expected a number from 0 on, found {found}")
        if (self.price_in is None) != (self.price_out is None):
            raise ConfigError("price_in, price_out: expected both or neither, found one")


def configured() -> bool:
    """Return whether the environment names a chat model. Without one nothing is ever asked, whatever keys are there."""
    return bool(os.environ.get(MODEL))


def from_environment(**fields: Any) -> Endpoint:
    """Return the endpoint that the environment describes, with fields of one's own.

    SURPASS_CHAT_MODEL names the model, OPENAI_BASE_URL the server (OpenAI's own where it is not set), OPENAI_API_KEY
    the key. Raises ConfigError where no model is named.
    """
    known = {"model": os.environ.get(MODEL, ""), "url": os.environ.get(URL) or HOSTED}
    return Endpoint(**{**known, **fields})


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request."""

    text: str
    finish: str = ""  # "stop", "length" (cut), or what else the server says
    prompt_tokens: int | None = None  # None where the server does not tell
    completion_tokens: int | None = None
    model: str = ""  # which one answered, by its own account
    refused: str = ""  # why the server did not take the request; then there is no text


class TroubleError(Exception):
    """Something that may pass; `wait` is how many seconds the server asks for, None where it does not say."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def key_of(endpoint: Endpoint) -> str:
    """Return the key from the environment, empty where there is none. Raises ConfigError where one is a must."""
    key = os.environ.get(endpoint.key_name, "").strip()
    if not key and endpoint.url == HOSTED:
        raise ConfigError(f"{endpoint.url} needs a key: set {endpoint.key_name}, or {URL} to another server")
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{endpoint.key_name}: expected printable ASCII, found other characters")
    return key


def scrubber(key: str) -> Callable[[str], str]:
    """Return a function that cuts a key out of a text.

    >>> scrubber("sk-1")("Incorrect API key provided: sk-1")
    'Incorrect API key provided: [key]'
    """
    return lambda text: text.replace(key, "[key]") if key else text


def client_of(endpoint: Endpoint, key: str) -> AsyncOpenAI:
    """Return a client that sends each request once. Raises ConfigError without the package openai."""
    try:
        from openai import AsyncOpenAI
    except ImportError as error:
        raise ConfigError("chat models need the Python package openai: pip install -e '.[chat]'") from error
    return AsyncOpenAI(base_url=endpoint.url, api_key=key or "none", timeout=endpoint.timeout, max_retries=0)


async def post(client: AsyncOpenAI, body: Mapping[str, Any], endpoint: Endpoint, scrub: Callable[[str], str]) -> Reply:
    """Send one request and return what came of it, a refusal of the request included.

    Raises TroubleError for what may pass, ModelError for what will not. No message holds what `scrub` cuts out.
    """
    import openai

    rest = {name: value for name, value in body.items() if name not in {"model", "messages"}}
    try:
        async with asyncio.timeout(endpoint.timeout):  # in all; the client's own limit is for each read
            answer = await client.chat.completions.with_raw_response.create(
                model=body["model"], messages=body["messages"], extra_body=rest
            )
        found = json.loads(answer.text)
    except (openai.APITimeoutError, TimeoutError):
        raise TroubleError(f"no answer within {endpoint.timeout:g} s") from None
    except openai.APIConnectionError as error:
        raise TroubleError(scrub(f"the connection failed: {error.__cause__ or error}")) from None
    except openai.APIStatusError as error:
        return _judge(error, endpoint, scrub)
    except (openai.APIError, ValueError, RecursionError) as error:  # a body that is no JSON
        raise TroubleError(scrub(f"the answer cannot be read: {str(error)[:200]}")) from None
    return _reply(found, scrub)


def _judge(error: APIStatusError, endpoint: Endpoint, scrub: Callable[[str], str]) -> Reply:
    """Return the refusal that an error status means, or raise what else it means."""
    status = error.status_code
    reason = scrub(f"HTTP {status}: {str(error.message).removeprefix(f'Error code: {status} - ')[:300]}")
    if status in REFUSING:
        return Reply("", refused=reason)
    if error.code == "insufficient_quota":  # a 429 that does not pass
        raise ModelError(f"{endpoint.url} has no credit left for this key ({reason})") from None
    if status in PASSING or (status >= 500 and status != 501):
        raise TroubleError(reason, wait_of(error.response.headers)) from None
    remedies = {
        401: f"check the key in {endpoint.key_name}",
        403: f"check what the key in {endpoint.key_name} may do",
        404: f"check the model's name ({endpoint.model}) and the address",
    }
    remedy = remedies.get(status, "check the endpoint")
    raise ModelError(f"{endpoint.url} refuses ({reason}); {remedy}") from None


def wait_of(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds that a server asks to wait (Retry-After as seconds or date), None where it does not.

    >>> wait_of({"retry-after": "2.5"}), wait_of({"retry-after-ms": "40"}), wait_of({"retry-after": "soon"})
    (2.5, 0.04, None)
    >>> wait_of({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=15.0)
    45.0
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            wait = float(text) * unit
        except ValueError:
            continue
        return max(0.0, wait) if math.isfinite(wait) else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - (time.time() if now is None else now))
    except (ValueError, OverflowError):
        return None


def _reply(found: Any, scrub: Callable[[str], str]) -> Reply:
    """Read the body of an answer. Raises TroubleError where it is not what the protocol says."""
    try:
        choice = found["choices"][0]
        text = choice["message"].get("content") or ""
        usage = found.get("usage") or {}
        told, spoken = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    except (AttributeError, IndexError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise TroubleError(scrub(f"expected a chat completion, found {str(found)[:200]}"))
    told, spoken = (one if isinstance(one, int) and one >= 0 else None for one in (told, spoken))
    finish, model = (scrub(str(one or "")) for one in (choice.get("finish_reason"), found.get("model")))
    return Reply(scrub(text), finish, told, spoken, model)
