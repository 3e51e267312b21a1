"""A REPL without Lean: it answers recorded exchanges, for tests and for trying the domain where Lean is not installed.

A recording is a JSON Lines file; each line is `{"request": {...}, "response": {...}}` in the REPL's own format, with
the numbers of environments and proof states as they were then. Other numbers are handed out now, and a request is
looked up under the recorded ones: one recording serves any order of requests, restarts and replayed paths.

    {"died": "why"} as a response       the process ends there           {"timeout": true}    it does not answer in time
    a tactic that was not recorded      Lean's answer to what it cannot parse
    anything else not recorded          VerifierError: the recording does not cover what is asked

As a program (`python -m surpass.domains.proofs.lean.replay FILE`) it speaks the REPL's protocol on its streams. It
proves nothing: the evidence of its verdicts names `lean-replay`, which no re-check of stored successes knows.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from surpass.domains.proofs.lean.protocol import DeadlinePassedError, Json, ProcessDiedError, Repl
from surpass.errors import DataError, VerifierError

_UNKNOWN = {"env": "Unknown environment.", "proofState": "Unknown proof state."}
_NOT_PARSED = "Lean error:\n<input>:1:0: unknown tactic"  # what Lean says of nonsense, and here of all not recorded


@dataclass(frozen=True, slots=True)
class Replay:
    """Starts replays of one recording, whatever the project."""

    recording: str

    def __call__(self, project: str) -> Repl:
        return Recorded(load(self.recording))


def load(recording: Path | str) -> list[tuple[Json, Json]]:
    """Return the exchanges of a recording. Raises DataError where it cannot be read."""
    try:
        lines = Path(recording).read_text(encoding="utf-8").splitlines()
        pairs = [json.loads(line) for line in lines if line.strip()]
        return [(dict(pair["request"]), dict(pair["response"])) for pair in pairs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'expected lines {{"request": {{...}}, "response": {{...}}}} in {recording}, found {error!r}'
        ) from error


class Recorded:
    """One replayed process."""

    name = "lean-replay"
    version = "recorded"

    def __init__(self, exchanges: Sequence[tuple[Json, Json]]) -> None:
        self._answers = {_key(request): response for request, response in exchanges}
        self._numbers: dict[str, list[int]] = {"env": [], "proofState": []}  # recorded number of each one handed out
        self._pickles: dict[str, int] = {}  # path -> recorded environment
        self._alive = True
        self.requests: list[Json] = []  # all that was asked, for tests of what is cached

    def ask(self, request: Json, timeout: float) -> Json:
        """Return the recorded answer, under new numbers. Raises ProcessDiedError, VerifierError."""
        if not self._alive:
            raise ProcessDiedError("the replayed process has ended")
        self.requests.append(dict(request))
        recorded = dict(request)
        for kind, numbers in self._numbers.items():
            if kind in recorded:
                if not 0 <= recorded[kind] < len(numbers):
                    return {"message": _UNKNOWN[kind]}
                recorded[kind] = numbers[recorded[kind]]
        if "pickleTo" in recorded:
            Path(recorded["pickleTo"]).write_text(str(recorded["env"]))
            return {"env": request["env"]}
        if "unpickleEnvFrom" in recorded:
            return self._renumber({"env": int(Path(recorded["unpickleEnvFrom"]).read_text())})
        response = self._answers.get(_key(recorded))
        if response is None and "tactic" in recorded:
            return {"message": _NOT_PARSED}
        if response is None:
            raise VerifierError(f"expected a request that was recorded, found {json.dumps(recorded)[:300]}")
        return self._perform(response)

    def memory(self) -> int:
        return 0

    def close(self) -> None:
        self._alive = False

    def _perform(self, response: Json) -> Json:
        if "died" in response or "timeout" in response:
            self._alive = False
            raise (DeadlinePassedError if "timeout" in response else ProcessDiedError)(
                str(response.get("died", "late"))
            )
        return self._renumber(response)

    def _renumber(self, response: Mapping[str, Any]) -> dict[str, Any]:
        """Hand out new numbers, those of holes first, as the REPL does."""
        answer = dict(response)
        if "sorries" in answer:
            answer["sorries"] = [self._renumber(hole) for hole in answer["sorries"]]
        for kind, numbers in self._numbers.items():
            if kind in answer:
                numbers.append(answer[kind])
                answer[kind] = len(numbers) - 1
        return answer


def serve(recorded: Recorded, source: TextIO, sink: TextIO) -> None:
    """Answer requests from a stream, each ended by an empty line, until it ends or the replayed process dies."""
    for text in _blocks(source):
        try:
            answer = recorded.ask(json.loads(text), 0.0)
        except ValueError as error:  # JSONDecodeError among them
            answer = {"message": f"Could not parse JSON:\n{error}"}
        except DeadlinePassedError:
            time.sleep(3600)
            return
        except ProcessDiedError:
            return
        except VerifierError as error:
            answer = {"message": str(error)}
        sink.write(json.dumps(answer, ensure_ascii=False) + "\n\n")
        sink.flush()


def _blocks(source: TextIO) -> Iterator[str]:
    lines = list[str]()
    for line in source:
        if line.strip():
            lines.append(line)
        elif lines:
            yield "".join(lines)
            lines.clear()
    if lines:
        yield "".join(lines)


def _key(request: Mapping[str, Any]) -> str:
    return json.dumps(request, sort_keys=True, ensure_ascii=False)


if __name__ == "__main__":
    serve(Recorded(load(sys.argv[1])), sys.stdin, sys.stdout)
