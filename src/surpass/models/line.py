"""A line to a chat endpoint: its event loop, its client, and the manners that all requests share.

A server in trouble is waited for: with exponential back-off and jitter, or as long as it asks (Retry-After), until
`patience` is spent. Waiting is done here and not by the client: one answer 429 holds all requests back, and some
servers ask for more patience than the client has. Not here: what is asked, and what is kept (`chat.py`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from surpass.errors import ModelError
from surpass.models.endpoint import Endpoint, Reply, TroubleError, client_of, key_of, post, scrubber

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)
T = TypeVar("T")
Connection = tuple["AsyncOpenAI", Callable[[str], str]]  # a client, and what cuts its key out of a text
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds of back-off
PATIENT = 4  # tries in vain after which who waits is told why


class Line:
    """Requests live in an event loop with a thread of its own, so that whoever asks may be interrupted at any moment.

    `run` may be called from any thread, and within a running event loop. `ask` belongs inside what is run.
    """

    def __init__(self, endpoint: Endpoint, *, key: str | None = None) -> None:
        """`key`: by default the environment's, looked up at the first request."""
        self._endpoint = endpoint
        self._connect: Callable[[], Connection] = lambda: _connect(
            endpoint, key
        )  # no attribute holds a key, and so nothing that prints them
        self._client: AsyncOpenAI | None = None
        self._scrub = scrubber("")
        self._chance = random.Random()  # for jitter alone: the random states of a run must not move
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._free = 0.0  # when the server may be asked again, by its own word
        self._next = 0.0  # the same, by `per_minute`
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and return what came of it; an interruption cancels it."""
        task = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return task.result()
        finally:
            task.cancel()  # does nothing to one that is done

    def close(self) -> None:
        """Cancel what is under way and close the connection."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def ask(self, body: Mapping[str, Any]) -> tuple[Reply, int]:
        """Ask until the server answers; return the answer, and how many tries were in vain.

        Raises ModelError where it refuses, or has been in trouble for longer than `patience`.
        """
        if self._client is None:
            self._client, self._scrub = self._connect()
        tries, began = 0, 0.0
        while True:
            async with self._slots:
                await self._turn()
                began = began or time.monotonic()  # waiting for one's turn takes no patience
                try:
                    return await post(self._client, body, self._endpoint, self._scrub), tries
                except TroubleError as error:
                    trouble = error
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries, 10)) * self._chance.uniform(0.5, 1.0)
            if trouble.wait is not None:
                wait = trouble.wait
                self._free = max(self._free, time.monotonic() + wait)
            tries += 1
            if time.monotonic() - began + wait > self._endpoint.patience:
                asked = f", and asks to be left alone for {trouble.wait:.0f} s" if trouble.wait else ""
                raise ModelError(
                    f"{self._endpoint.url} does not serve: {trouble}{asked}; given up after {tries} tries, for a "
                    f"patience of {self._endpoint.patience:g} s. Ask again, or resume the run, when it does"
                )
            level = logging.WARNING if tries == PATIENT else logging.INFO
            patience = self._endpoint.patience
            log.log(level, "%s: %s; asked again for up to %g s", self._endpoint.url, trouble, patience)
            await asyncio.sleep(wait)

    async def _turn(self) -> None:
        while (ahead := max(self._free, self._next) - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        if self._endpoint.per_minute:
            self._next = time.monotonic() + 60 / self._endpoint.per_minute

    async def _hang_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._client is not None:
            await self._client.close()


def _connect(endpoint: Endpoint, key: str | None) -> Connection:
    found = key_of(endpoint) if key is None else key
    return client_of(endpoint, found), scrubber(found)
