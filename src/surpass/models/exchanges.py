"""What was asked of a chat endpoint and what it answered: one JSON line each, found again by what was asked.

An exchange that is in the record is never asked again. So equal questions get equal answers, whatever the server does
with seeds; a run that was interrupted goes on from its record; and a published run is analysed without key or network
(`Exchanges.replay`). No key is in a record: none is in a request's body, and `endpoint.py` cuts it out of answers.
Not here: two processes that write to one file (not checked).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

from surpass.errors import DataError
from surpass.models.endpoint import Endpoint, Reply
from surpass.store import append_lines, read_lines

NAME = "exchanges.jsonl"  # in a run's folder
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Spent:
    """What a record's exchanges came to, those of earlier sessions included."""

    requests: int = 0  # that were answered
    retries: int = 0  # beyond the first try; a server may have charged for what came too late
    refused: int = 0  # of the requests: not to the server's liking
    prompt_tokens: int = 0
    completion_tokens: int = 0
    untold: int = 0  # answers whose tokens the server did not tell; they are in no count of tokens

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def cost(self, endpoint: Endpoint) -> float | None:
        """Return what the counted tokens cost at the endpoint's prices, None where no prices were given."""
        if endpoint.price_in is None or endpoint.price_out is None:
            return None
        return (self.prompt_tokens * endpoint.price_in + self.completion_tokens * endpoint.price_out) / MILLION


class Exchanges:
    """A record of exchanges, in a file or (without a path) in memory alone.

    Opening a file reads what is there and cuts a torn last line off; nothing else is ever taken away.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.replaying = False
        self.model = ""  # that was asked last
        self.spent = Spent()
        self._replies = dict[str, Reply]()
        if path is not None and path.exists():
            _mend(path)
            self._read(path)

    @staticmethod
    def replay(path: Path) -> Exchanges:
        """Return the record in a file, or in a run's folder, to answer from alone. Raises DataError for none there."""
        found = path / NAME if path.is_dir() else path
        if not found.is_file():
            raise DataError(f"expected recorded exchanges in {found}, found no file; they are in a run's {NAME}")
        record = Exchanges()
        record.path, record.replaying = found, True
        record._read(found)
        return record

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, body: Mapping[str, Any]) -> Reply | None:
        """Return the answer to a request that is in the record, None to one that is not."""
        return self._replies.get(digest(body))

    def add(self, body: Mapping[str, Any], answer: tuple[Reply, int], *, url: str) -> Reply:
        """Keep an exchange, (reply, tries in vain), and return its reply: on disk before anything is done with it.

        Raises DataError where it cannot be written.
        """
        reply, retries = answer
        row = {"key": digest(body), "url": url, "request": dict(body), "reply": asdict(reply), "retries": retries}
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                append_lines(self.path, [row])
            except OSError as error:
                raise DataError(f"{self.path} cannot be written ({error.strerror}); the answer is not used") from error
        self._keep(digest(body), reply, retries)
        return reply

    def missing(self, body: Mapping[str, Any]) -> DataError:
        """Return the error of a request that is not in a record that is replayed; it says what comes near."""
        near = next((row["request"] for row in self._rows() if row["request"]["messages"] == body["messages"]), None)
        if near is None:
            last = body["messages"][-1]["content"]
            hint = f"no recorded one has these messages; the last begins with {last[:80]!r}"
        else:
            names = sorted(name for name in {*near, *body} if near.get(name) != body.get(name))
            differ = ", ".join(f"{name} {near.get(name)!r:.60}, asked {body.get(name)!r:.60}" for name in names)
            hint = f"one has the same messages but differs in: recorded {differ}"
        return DataError(
            f"{self.path} holds no such exchange among its {len(self)}: {hint}; replay with the run's own options"
        )

    def _read(self, path: Path) -> None:
        names = {field.name for field in fields(Reply)}
        for number, row in read_lines(path):
            try:
                reply = row["reply"]
                if digest(row["request"]) != row["key"] or set(reply) != names or not isinstance(reply["text"], str):
                    raise ValueError("its key or its reply is not what this program writes")
                self.model = str(row["request"]["model"])
                self._keep(row["key"], Reply(**reply), int(row["retries"]))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path}, line {number}: not an exchange ({type(error).__name__}: {error}); restore the file"
                ) from error

    def _rows(self) -> list[dict[str, Any]]:
        return [] if self.path is None else [row for _, row in read_lines(self.path)]

    def _keep(self, key: str, reply: Reply, retries: int) -> None:
        self._replies[key] = reply
        old, untold = self.spent, reply.prompt_tokens is None or reply.completion_tokens is None
        self.spent = Spent(
            old.requests + 1,
            old.retries + retries,
            old.refused + bool(reply.refused),
            old.prompt_tokens + (reply.prompt_tokens or 0),
            old.completion_tokens + (reply.completion_tokens or 0),
            old.untold + (untold and not reply.refused),
        )


def digest(body: Mapping[str, Any]) -> str:
    """Return what a request is found by: the same for equal bodies, whatever the order of their fields."""
    return blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).hexdigest()


def _mend(path: Path) -> None:
    """Cut a torn last line off: what a crash left of an exchange, which will be asked again."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
