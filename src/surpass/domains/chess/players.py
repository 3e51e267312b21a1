"""Who can play: engines, models, the majority of a game set, chance; and how they are named on a command line.

    [NAME=]KIND[:VALUE][,KEY=VALUE]...

    random                                      any legal move
    engine:COMMAND,nodes=N,OPTION=VALUE,...     a UCI engine under a limit of nodes (or depth=N)
    model:RUN,temperature=T,top_p=P,typical=P,tries=N,legal=yes,strength=R
    mcts:RUN,simulations=N                      the model guides a tree search
    majority:GAMES.pgn                          the move most often played in the position

An engine's memory is cleared before every move, so that a strong engine under a limit of nodes and with one thread is
a function of the position: a match resumes exactly. An engine that errs by its own dice (Skill Level, UCI_Elo) is not.
Not here: how strong they are, which the arena measures, and experts that err by our dice.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from surpass.core import Observation, Policy, Proposal
from surpass.domains.chess.arena import Player
from surpass.domains.chess.domain import Chess, pose
from surpass.domains.chess.engine import Engine, Found
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.domains.chess.rules import board_of, place
from surpass.errors import ConfigError, DataError, VerifierError
from surpass.models.scripted import Uniform
from surpass.rollouts.runner import RunOptions, run
from surpass.search import SEARCHES
from surpass.search.evaluate import by_score

log = logging.getLogger(__name__)
KINDS = ("random", "engine", "model", "mcts", "majority")
PAPER_TRIES = 5  # moves that a model may propose before it forfeits, as in arXiv 2406.11741
_SPEC = re.compile(rf"(?:(?P<name>[^=:,]+)=)?(?P<kind>{'|'.join(KINDS)})(?::(?P<value>[^,]*))?(?:,(?P<rest>.*))?")


class EnginePolicy:
    """A UCI engine as a policy; a context manager. Several processes answer several games at once.

    An engine that fails is started anew and asked once more; where it fails again the answer is no proposal, which the
    arena reports. After `patience` such positions in a row VerifierError is raised.
    """

    def __init__(
        self,
        command: str,
        go: str,
        options: Mapping[str, object],
        *,
        processes: int = 1,
        deadline: float = 30.0,
        patience: int = 3,
    ) -> None:
        self.go, self._start = go, partial(Engine, command, dict(options), deadline=deadline)
        self._engines: list[Engine | None] = [None] * processes
        self._engines[0] = self._start()  # so that a wrong command or option is known before any game
        self._patience, self._failed = patience, 0
        self._threads = ThreadPoolExecutor(processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()
        for engine in self._engines:
            if engine is not None:
                engine.close()

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        """Return the engine's move for each observation, one proposal whatever `n`; none where it failed twice."""
        lanes = len(self._engines)
        shares = [range(lane, len(observations), lanes) for lane in range(lanes)]
        done = list(
            self._threads.map(lambda lane: [self._ask(lane, observations[row]) for row in shares[lane]], range(lanes))
        )
        rows: list[list[Proposal]] = [[] for _ in observations]
        for share, answers in zip(shares, done, strict=True):
            for row, found in zip(share, answers, strict=True):
                rows[row] = [] if isinstance(found, VerifierError) else [Proposal(found.move)]
                self._failed = self._failed + 1 if isinstance(found, VerifierError) else 0
                if isinstance(found, VerifierError) and self._failed >= self._patience:
                    raise VerifierError(f"{found}, {self._failed} positions in a row; the games that are over are kept")
        return rows

    def _ask(self, lane: int, observation: Observation) -> Found | VerifierError:
        for _ in range(2):
            try:
                engine = self._engines[lane]
                if engine is None:
                    engine = self._engines[lane] = self._start()
                engine.new_game()
                return engine.think(uci_position(observation.text), self.go)
            except VerifierError as error:
                log.warning("%s, in the position %s", error, observation.text[-200:])
                failure = error
                if (broken := self._engines[lane]) is not None:
                    broken.close()
                self._engines[lane] = None
        return failure


def uci_position(text: str) -> str:
    """Return the text of an observation as the UCI command `position` wants it.

    >>> uci_position("e2e4 e7e5"), uci_position("")
    ('startpos moves e2e4 e7e5', 'startpos')
    """
    fen, moves = split(text)
    return (f"fen {fen}" if fen else "startpos") + (f" moves {' '.join(moves)}" if moves else "")


def split(text: str) -> tuple[str, list[str]]:
    """Return the FEN, empty for the initial position, and the moves of an observation's text."""
    head, _, moves = text.rpartition("\n")
    return head.removeprefix("[FEN ").removesuffix("]"), moves.split()


@dataclass(frozen=True, slots=True)
class Majority:
    """The move most often played in the position; ties are drawn by seed, as is any legal move where none was played.

    It needs the legal moves and the key of an observation: the position is looked up, not the way to it.
    """

    votes: Mapping[str, Counter[str]]  # place -> moves

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        return [self._row(one, n, seed) for one, seed in zip(observations, seeds, strict=True)]

    def _row(self, observation: Observation, n: int, seed: int) -> list[Proposal]:
        votes = self.votes.get(" ".join(observation.key.split(" ")[:4]), Counter[str]())
        most = max(votes.values(), default=0)
        chosen = sorted(move for move, count in votes.items() if count == most) or list(observation.legal or ())
        return [Proposal(move) for move in Random(seed).choices(chosen, k=n)] if chosen else []

    @staticmethod
    def of(games: Iterable[tuple[str, Sequence[str]]]) -> Majority:
        """Count the moves of games, each a start (FEN or empty) and legal moves in UCI."""
        votes: dict[str, Counter[str]] = {}
        for fen, moves in games:
            board = board_of(fen)
            for move in moves:
                votes.setdefault(place(board), Counter())[move] += 1
                board.push_uci(move)
        return Majority(votes)


@dataclass(frozen=True, slots=True)
class Searched:
    """The most visited move of a tree search that a policy guides, for each observation on its own."""

    policy: Policy
    simulations: int

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        module, _, name = SEARCHES["mcts"].partition(":")
        search = partial(getattr(import_module(module), name), simulations=self.simulations, evaluate=by_score)
        problems = []
        for row, one in enumerate(observations):
            fen, moves = split(one.text)
            problems.append(pose(moves, fen=fen, key=f"row {row}"))
        found = run(search, problems, Chess(), self.policy, options=RunOptions(live=len(problems) or 1))
        visits: list[Mapping[str, int]] = [next(iter(one.info["visits"]), {}) for one in found]
        return [[Proposal(max(counts, key=lambda move: counts[move]))] if counts else [] for counts in visits]


def player(spec: str, stack: ExitStack, *, deadline: float = 30.0) -> Player:
    """Return the player that a text names, what it holds being closed with the stack.

    Raises ConfigError for a text that names none, and what engines, models and game sets raise.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise ConfigError(
            f"expected a player as [NAME=]KIND[:VALUE][,KEY=VALUE]..., KIND one of {', '.join(KINDS)}; found {spec!r}"
        )
    pieces = [piece.partition("=") for piece in (match["rest"] or "").split(",") if piece]
    if any(not equals for _, equals, _ in pieces):
        raise ConfigError(f"expected KEY=VALUE after the commas of {spec!r}")
    options = {key.strip(): value.strip() for key, _, value in pieces}
    name, value = match["name"] or spec.strip(), match["value"] or ""
    try:
        found = _MAKERS[match["kind"]](name, value, options, stack, deadline)
    except (KeyError, ValueError) as error:
        if isinstance(error, ConfigError | DataError):
            raise
        raise ConfigError(f"the player {spec!r} cannot be made: {error!r}") from error
    if options:
        raise ConfigError(f"{match['kind']} knows no {', '.join(options)}, found in {spec!r}")
    return found


def _random(name: str, _: str, options: dict[str, str], stack: ExitStack, deadline: float) -> Player:
    return Player(name, Uniform(), wants_legal=True)


def _engine(name: str, value: str, options: dict[str, str], stack: ExitStack, deadline: float) -> Player:
    limits = [f"{limit} {int(options.pop(limit))}" for limit in ("nodes", "depth") if limit in options]
    if not limits:
        raise ConfigError(f"an engine is limited by nodes, not by seconds: expected nodes=N for {name!r}")
    processes = int(options.pop("processes", "1"))
    asked = dict(options)
    options.clear()
    policy = EnginePolicy(value, " ".join(limits), asked, processes=processes, deadline=deadline)
    return Player(name, stack.enter_context(policy))


def _model(name: str, value: str, options: dict[str, str], stack: ExitStack, deadline: float) -> Player:
    policy, legal_only = model_policy(Path(value), options)
    tries = int(options.pop("tries", "1" if legal_only else str(PAPER_TRIES)))
    return Player(name, policy, tries=tries, wants_legal=legal_only)


def model_policy(run_folder: Path, options: dict[str, str], *, cached: bool = True) -> tuple[Any, bool]:
    """Return a model as a policy and whether it wants the legal moves; takes what it understands out of `options`."""
    from surpass.domains.chess.character_player import CharacterPlayer
    from surpass.domains.chess.model_player import Choice, ModelPlayer
    from surpass.domains.chess.saved import load
    from surpass.domains.chess.tokens import Moves

    numbers = {key: float(options.pop(key)) for key in ("temperature", "top_p", "typical") if key in options}
    choice = Choice(**numbers, legal_only=_yes(options.pop("legal", "no")))
    strength = int(options.pop("strength")) if "strength" in options else None
    device = options.pop("device", "cpu")
    network, vocabulary = load(run_folder, device=device)
    if strength is not None and not vocabulary.strength:
        raise ConfigError(f"the model in {run_folder} was not trained with strengths: leave strength out")
    both = (strength, strength)
    if isinstance(vocabulary, Moves):
        return ModelPlayer(network, vocabulary, choice, strengths=both, cached=cached), choice.legal_only
    return CharacterPlayer(network, vocabulary, choice, strengths=both), choice.legal_only


def _mcts(name: str, value: str, options: dict[str, str], stack: ExitStack, deadline: float) -> Player:
    from surpass.domains.chess.model_player import ModelPlayer

    simulations = int(options.pop("simulations", "64"))
    policy, _ = model_policy(Path(value), options, cached=False)
    if not isinstance(policy, ModelPlayer):
        raise ConfigError("a tree search needs priors: expected a model with one token for each move")
    return Player(name, Searched(policy, simulations))


def _majority(name: str, value: str, options: dict[str, str], stack: ExitStack, deadline: float) -> Player:
    report = Report()
    games = read([Path(value)], Filter(), report)
    policy = Majority.of((game.fen, game.moves) for game in games)
    if not policy.votes:
        raise DataError(f"{value} holds no game to count votes in ({report.read} read)")
    return Player(name, policy, wants_legal=True, wants_key=True)


def _yes(word: str) -> bool:
    if word.lower() not in ("yes", "no", "true", "false", "1", "0"):
        raise ConfigError(f"expected yes or no, found {word!r}")
    return word.lower() in ("yes", "true", "1")


_MAKERS = {"random": _random, "engine": _engine, "model": _model, "mcts": _mcts, "majority": _majority}
