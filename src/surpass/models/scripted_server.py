"""A chat server that answers what it is told, faults included: for tests, documents, and trying things without a model.

It speaks OpenAI's chat protocol over HTTP on this machine, one thread for each connection. Not here: a model.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Said:
    """What the server does with one request."""

    text: str = ""  # the model's words; with another status than 200, the error's
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # sent as it is, instead of a chat completion or an error
    delay: float = 0.0  # seconds before anything is sent
    drop: float | None = None  # send this fraction of the answer, then close the connection


class ChatServer:
    """Answers each request with `answer(body)`, a text or a `Said`; `asked` lists the bodies in order of arrival.

    >>> with ChatServer(lambda body: "$0.5$") as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(self, answer: Callable[[Mapping[str, Any]], str | Said]) -> None:
        self._answer, self.asked = answer, list[dict[str, Any]]()
        self.headers = list[dict[str, str]]()  # of the requests
        self._turn, self._open = threading.Lock(), set[socket.socket]()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and cut all connections, as a server that dies does."""
        self._server.shutdown()
        self._server.server_close()
        with self._turn:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def said(self, body: dict[str, Any], headers: Mapping[str, str]) -> Said:
        """Note a request and return what is done with it."""
        with self._turn:
            self.asked.append(body)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            found = self._answer(body)
        return Said(found) if isinstance(found, str) else found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                BaseHTTPRequestHandler.setup(self)
                with server._turn:
                    server._open.add(self.connection)

            def finish(self) -> None:
                with server._turn:
                    server._open.discard(self.connection)
                with suppress(OSError):
                    BaseHTTPRequestHandler.finish(self)

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                if self.path != PATH:
                    self._send(Said(f"no such path: {self.path}", 404), {})
                    return
                body = json.loads(content)
                self._send(server.said(body, dict(self.headers)), body)

            def _send(self, said: Said, body: Mapping[str, Any]) -> None:
                content = written(said, body)
                time.sleep(said.delay)
                with suppress(OSError):  # whoever asked may have gone
                    if said.drop != 0:
                        self.send_response(said.status)
                        for name, value in ({"content-type": "application/json"} | dict(said.headers)).items():
                            self.send_header(name, value)
                        self.send_header("content-length", str(len(content)))
                        self.end_headers()
                        self.wfile.write(content[: round(len(content) * (1.0 if said.drop is None else said.drop))])
                    if said.drop is not None:
                        self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


def written(said: Said, body: Mapping[str, Any]) -> bytes:
    """Return the body of an answer; a token is a word."""
    if said.body is not None:
        return said.body
    if said.status != 200:
        return json.dumps({"error": {"message": said.text}}).encode()
    words = [len(str(message["content"]).split()) for message in body["messages"]]
    told, spoken = sum(words), len(said.text.split())
    message = {"role": "assistant", "content": said.text}
    return json.dumps(
        {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": told, "completion_tokens": spoken, "total_tokens": told + spoken},
        }
    ).encode()


def in_turn(answers: Sequence[str | Said]) -> Callable[[Mapping[str, Any]], str | Said]:
    """Return an `answer` that gives each in turn, and the last one for ever."""
    left = list(answers)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]
