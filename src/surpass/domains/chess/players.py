"""Who can play: engines, models, the majority of a game set, chance; and how they are named on a command line.

    [NAME=]KIND[:VALUE][,KEY=VALUE]...

    random                                      any legal move
    engine:COMMAND,nodes=N,OPTION=VALUE,...     a UCI engine under a limit of nodes (or depth=N); threads=N of them
    expert:stockfish nodes=50 epsilon=0.3       an expert as `experts.py` describes it; threads=N
    model:RUN,temperature=T,top_p=P,typical=P,tries=N,legal=yes,resign=yes,strength=R
    mcts:RUN,simulations=N                      the model guides a tree search
    majority:GAMES.pgn                          the move most often played in the position

A model plays raw, with five tries before it forfeits as in the paper, unless it is told to play legal moves. Not here:
how strong they are, which the arena measures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from surpass.core import Observation, Policy, Proposal
from surpass.domains.chess.arena import Player
from surpass.domains.chess.domain import Chess, pose
from surpass.domains.chess.engine_player import EnginePolicy, by_engine, by_expert, split
from surpass.domains.chess.experts import find_stockfish, parse
from surpass.domains.chess.filters import Filter
from surpass.domains.chess.games import Report, read
from surpass.domains.chess.rules import board_of, place
from surpass.errors import ConfigError, DataError
from surpass.models.scripted import Uniform
from surpass.rollouts.runner import RunOptions, run
from surpass.search import SEARCHES
from surpass.search.evaluate import by_score

KINDS = ("random", "engine", "expert", "model", "mcts", "majority")  # the keys of _MAKERS
PAPER_TRIES = 5  # moves that a model may propose before it forfeits, as in arXiv 2406.11741
SPEC = re.compile(rf"(?:(?P<name>[^=:,]+)=)?(?P<kind>{'|'.join(KINDS)})(?::(?P<value>[^,]*))?(?:,(?P<rest>.*))?")


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
    match = SPEC.fullmatch(spec.strip())
    if match is None:
        raise ConfigError(
            f"expected a player as [NAME=]KIND[:VALUE][,KEY=VALUE]..., KIND one of {', '.join(KINDS)}; found {spec!r}"
        )
    pieces = [piece.partition("=") for piece in (match["rest"] or "").split(",") if piece]
    if any(not equals for _, equals, _ in pieces):
        raise ConfigError(f"expected KEY=VALUE after the commas of {spec!r}")
    options = {key.strip(): value.strip() for key, _, value in pieces}
    name, value = " ".join((match["name"] or spec).split()), match["value"] or ""  # one line of a PGN tag
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
    limits = {limit: int(options.pop(limit)) for limit in ("nodes", "depth") if limit in options}
    if not limits or min(limits.values()) < 1:  # Stockfish takes 0 for no limit, and never answers
        raise ConfigError(f"an engine is limited by nodes, not by seconds: expected nodes=N of 1 or more for {name!r}")
    threads = int(options.pop("threads", "1"))
    chosen = tuple(options.items())
    options.clear()
    mover = partial(by_engine, options=chosen, go=" ".join(f"{limit} {number}" for limit, number in limits.items()))
    policy = stack.enter_context(EnginePolicy(value, mover, threads=threads, deadline=deadline))
    policy.start(chosen)
    return Player(name, policy)


def _expert(name: str, value: str, options: dict[str, str], stack: ExitStack, deadline: float) -> Player:
    expert = parse(value)
    parts = [part for part in expert.parts if part.kind == "stockfish"]
    command, threads = [find_stockfish()] if parts else [], int(options.pop("threads", "1"))
    policy = EnginePolicy(command, partial(by_expert, expert=expert), threads=threads, deadline=deadline)
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
    choice = Choice(**numbers, legal_only=_yes(options.pop("legal", "no")), resigns=_yes(options.pop("resign", "no")))
    strength = int(options.pop("strength")) if "strength" in options else None
    device = options.pop("device", "cpu")
    network, vocabulary = load(run_folder, device=device)
    if strength is not None and not vocabulary.strength:
        raise ConfigError(f"the model in {run_folder} was not trained with strengths: leave strength out")
    both = (strength, strength)
    if choice.resigns and not (choice.legal_only and isinstance(vocabulary, Moves)):
        raise ConfigError("resign=yes goes with legal=yes and a model of moves: raw, a model resigns by itself")
    if isinstance(vocabulary, Moves):
        return ModelPlayer(network, vocabulary, choice, strengths=both, cached=cached), choice.legal_only
    return CharacterPlayer(network, vocabulary, choice, strengths=both), choice.legal_only


def _mcts(name: str, value: str, options: dict[str, str], stack: ExitStack, deadline: float) -> Player:
    from surpass.domains.chess.model_player import ModelPlayer

    simulations = int(options.pop("simulations", "64"))
    if simulations < 1:
        raise ConfigError(f"expected simulations=N of 1 or more, found {simulations}")
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


_MAKERS = {
    "random": _random,
    "engine": _engine,
    "expert": _expert,
    "model": _model,
    "mcts": _mcts,
    "majority": _majority,
}
