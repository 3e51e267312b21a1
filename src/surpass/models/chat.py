"""Chat models behind any OpenAI-compatible endpoint: dialogues, asked many at a time, and a policy made of them.

    dialogue = messages + how to read the answer + how many tries
    Chat(endpoint, exchanges).converse(dialogues) -> answers

An answer that cannot be read goes back with the reason, as a further turn. What the record holds is never asked again.
Not here: what a request means to a server (`endpoint.py`), waiting for one in trouble (`line.py`), the record
(`exchanges.py`), prompts of any domain.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from surpass.core import Observation, Proposal
from surpass.errors import ConfigError, ModelError
from surpass.models.endpoint import Endpoint, Reply, from_environment
from surpass.models.exchanges import Exchanges, digest
from surpass.models.line import Line
from surpass.rollouts.seeds import derive_seed

log = logging.getLogger(__name__)
T = TypeVar("T")
THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>|\A.*</think(?:ing)?>|<think(?:ing)?>.*\Z", re.DOTALL)
FENCE = re.compile(r"```[^\n`]*\n(.*?)\n?```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: str  # system, user or assistant
    content: str


Prompt = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why an answer could not be read; the model is told."""

    reason: str


@dataclass(frozen=True, slots=True)
class Form:
    """The same question to a server that can hold an answer to a JSON schema."""

    messages: Prompt
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Dialogue(Generic[T]):
    """A question and what counts as an answer."""

    messages: Prompt
    read: Callable[[str], T | Wrong]  # called between requests: quick, and without effects
    seed: int  # sent along; few servers promise anything
    tries: int = 1  # answers in all, before the dialogue ends without a value
    temperature: float = 1.0
    most_new: int = 512  # tokens of an answer
    form: Form | None = None  # asked instead where the server takes it; `read` must read both


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came of a dialogue."""

    value: T | None  # None: no answer could be read
    text: str  # the last one
    wrong: tuple[str, ...] = ()  # why the earlier ones could not be read, and the last if there is no value


class Chat:
    """A chat model and its record. A connection opens with the first question that the record cannot answer.

    A context manager: leaving it closes the connection; asking again opens another one.
    """

    def __init__(self, endpoint: Endpoint, exchanges: Exchanges | None = None, *, key: str | None = None) -> None:
        """`exchanges`: by default in memory; `key`: by default the environment's."""
        self.endpoint, self.exchanges = endpoint, Exchanges() if exchanges is None else exchanges
        self._call: Callable[[], Line] = lambda: Line(endpoint, key=key)  # no attribute holds the key
        self._line: Line | None = None
        self._asking = dict[str, asyncio.Lock]()
        self._plain = False  # the server has refused a schema

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        line, self._line = self._line, None
        self._asking = {}  # they belong to a line
        if line is not None:
            line.close()

    def converse(self, dialogues: Sequence[Dialogue[T]]) -> list[Answer[T]]:
        """Hold all dialogues and return their answers in order; equal questions get equal answers.

        Raises ModelError for an endpoint that refuses, or is in trouble for longer than its patience, and DataError for
        what a replayed record does not hold. Interrupted at any moment, only what was not yet answered is lost.
        """
        self._line = self._line or self._call()
        return self._line.run(self._all(dialogues, self._line))

    async def _all(self, dialogues: Sequence[Dialogue[T]], line: Line) -> list[Answer[T]]:
        tasks = [asyncio.ensure_future(self._hold(dialogue, line)) for dialogue in dialogues]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, dialogue: Dialogue[T], line: Line) -> Answer[T]:
        said, wrong = list[Message](), list[str]()
        while True:
            reply = await self._reply(dialogue, said, line)
            value = dialogue.read(reply.text)
            if not isinstance(value, Wrong):
                return Answer(value, reply.text, tuple(wrong))
            cut = f"; it was cut after {dialogue.most_new} tokens" if reply.finish == "length" else ""
            wrong.append(value.reason + cut)
            if len(wrong) == dialogue.tries:
                return Answer(None, reply.text, tuple(wrong))
            again = f"That answer cannot be used: {wrong[-1]}. Please answer again, in the form asked for."
            said += [Message("assistant", reply.text or "(nothing)"), Message("user", again)]

    async def _reply(self, dialogue: Dialogue[T], said: Sequence[Message], line: Line) -> Reply:
        """Return the model's next turn, with a schema where the dialogue has one and the server takes it."""
        plain = self._body(dialogue, [*dialogue.messages, *said], None)
        if dialogue.form is not None:
            formed = self._body(dialogue, [*dialogue.form.messages, *said], dialogue.form.schema)
            for body in (formed, plain):  # as it was asked in a session that knew more, or less, of the server
                known = self.exchanges.find(body)
                if known is not None and not known.refused:
                    return known
            if not self._plain:
                reply = await self._exchange(formed, line)
                if not reply.refused:
                    return reply
                self._plain = True
                log.info("%s takes no JSON schema (%s); asking without", self.endpoint.url, reply.refused)
        reply = await self._exchange(plain, line)
        if reply.refused:
            url = self.endpoint.url
            raise ModelError(f"{url} does not take the request ({reply.refused}); see `extra` of Endpoint")
        return reply

    async def _exchange(self, body: dict[str, Any], line: Line) -> Reply:
        """Return the answer to a request, from the record or else from the server, and then into the record."""
        async with self._asking.setdefault(digest(body), asyncio.Lock()):
            known = self.exchanges.find(body)
            if known is not None and (self.exchanges.replaying or not known.refused):
                return known  # a refusal is asked again: the server may have been mended since
            if self.exchanges.replaying:
                raise self.exchanges.missing(body)
            most, spent = self.endpoint.most_tokens, self.exchanges.spent.tokens
            if most is not None and spent >= most:
                raise ModelError(
                    f"most_tokens: {spent} of {most} are spent; nothing more is asked unless you allow more"
                )
            return self.exchanges.add(body, await line.ask(body), url=self.endpoint.url)

    def _body(self, dialogue: Dialogue[T], messages: Sequence[Message], schema: object) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [{"role": one.role, "content": one.content} for one in messages],
            "temperature": dialogue.temperature,
            "max_tokens": dialogue.most_new,
            "seed": dialogue.seed % 2**31,  # some servers have no room for more
        }
        if schema is not None:
            form = {"name": "answer", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        body |= self.endpoint.extra
        return {name: value for name, value in body.items() if value is not None}


def open_chat(
    record: Path | str | None = None, *, replay: Path | str | None = None, key: str | None = None, **fields: Any
) -> Chat:
    """Return a chat with the model that the environment names; `fields` are those of `Endpoint` and go before it.

    `record` is where exchanges are kept, and found again; `replay` a file, or a run's folder, to answer from alone,
    without environment, key or network. Raises ConfigError for no model or both, DataError for no such record.
    """
    if replay is None:
        return Chat(from_environment(**fields), Exchanges(None if record is None else Path(record)), key=key)
    if record is not None:
        raise ConfigError("record, replay: expected one of them; what is replayed is not recorded again")
    exchanges = Exchanges.replay(Path(replay))
    return Chat(Endpoint(**{"model": exchanges.model or "none", **fields}), exchanges, key=key)


@dataclass(frozen=True)
class ChatPolicy:
    """A `core.Policy` of a chat model: one dialogue for each proposal, whose log-probability no endpoint tells.

    Answers that cannot be read, `tries` of them, leave a row shorter. Rows with equal observations and seeds are equal.
    """

    chat: Chat
    prompt: Callable[[Observation], Prompt]
    read: Callable[[Observation, str], str | Wrong]
    temperature: float = 1.0
    most_new: int = 512
    tries: int = 1

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        rows = [
            [
                Dialogue(
                    self.prompt(one),
                    partial(self.read, one),
                    derive_seed(seed, index),
                    tries=self.tries,
                    temperature=self.temperature,
                    most_new=self.most_new,
                )
                for index in range(n)
            ]
            for one, seed in zip(observations, seeds, strict=True)
        ]
        answers = iter(self.chat.converse([dialogue for row in rows for dialogue in row]))
        values = [[next(answers).value for _ in row] for row in rows]
        return [[Proposal(value) for value in row if value is not None] for row in values]


def instructed(instruction: str) -> Callable[[Observation], Prompt]:
    """Return a prompt: the instruction, then what is observed, and the legal actions where it says which they are."""

    def prompt(observation: Observation) -> Prompt:
        legal = observation.legal
        choice = "" if legal is None else "\n\nAnswer with one of these:\n" + "\n".join(legal)
        return Message("system", instruction), Message("user", observation.text + choice)

    return prompt


def one_action(observation: Observation, text: str) -> str | Wrong:
    """Read one action: all of an answer, without thoughts, code fence, backticks or white space around it.

    >>> one_action(Observation("A -> A"), "<think>An implication.</think> `intro h`")
    'intro h'
    """
    action = unwrapped(text).strip("` \n\r\t")
    if not action:
        return Wrong("expected an action, found none")
    if observation.legal is not None and action not in observation.legal:
        return Wrong(f"expected one of the actions listed, found {action[:80]!r}")
    return action


def unwrapped(text: str) -> str:
    """Return an answer without the thoughts that some models tell; of one with a single code fence, what is in it.

    >>> unwrapped("<think>tax them</think> So: $0.5$")
    'So: $0.5$'
    """
    spoken = THOUGHTS.sub("", text).strip()
    fenced = FENCE.findall(spoken)
    return str(fenced[0]).strip() if len(fenced) == 1 else spoken
