"""`surpass chess match`: games between named players, each on disk as soon as it is over, and the ratings they give.

    OUT/match.json    what was asked for; the same command goes on where it stopped, also with more games; no other does
    OUT/games.pgn     one game after the other, in the order in which they ended; their tags say what they are
    OUT/table.json    ratings, with intervals, of the games so far

Every opening is played twice by each pair of players, colours reversed. What is played in which round depends on the
options alone. Resuming reads games.pgn, cuts off a last game that was torn, and plays the rounds that are missing or
that an engine's failure had left without result.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import chess
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from surpass.bounds import above, at_least
from surpass.domains.chess.anchors import known, measured
from surpass.domains.chess.arena import ADJUDICATION, FAILURE, ILLEGAL, Pairing, Played, Player, play
from surpass.domains.chess.held import held
from surpass.domains.chess.openings import Opening, random_openings, read_openings
from surpass.domains.chess.pgn import scan, words
from surpass.domains.chess.players import player
from surpass.errors import ConfigError, DataError
from surpass.evaluation.elo import Fit, Game, rate
from surpass.evaluation.sprt import LLRS, Decision, Sprt, match_elo, pentanomial
from surpass.rollouts.seeds import derive_seed

SCORES = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """Play games between players and rate them."""

    player: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()  # [NAME=]KIND[:VALUE][,KEY=VALUE]..., see docs
    games: int = 100  # of each pair of players; even, for every opening is played with both colours
    out: Path = Path("match")  # the folder of the match; the same command goes on with it
    openings: Path | None = None  # .pgn, .epd, or either in a .zip; without: random openings without a hanging piece
    opening_plies: int = 8  # of a random opening
    start: str = ""  # the FEN that random openings begin from; empty: the initial position
    gauntlet: bool = False  # the first player against each other; without: everybody against everybody
    live: int = 64  # games at once
    max_plies: int = 0  # draw by adjudication at this length, the opening counted; 0: never
    deadline: float = 30.0  # seconds that an engine may take for an answer
    anchor: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()  # NAME=ELO of a player whose rating is known
    measured: bool = False  # anchor `random` and the experts that `anchors.json` rates, too
    sprt: tuple[float, float] | None = None  # stop two players early: elo0 elo1 of a sequential test
    sprt_elo: str = "normalised"  # of the test: normalised or logistic
    seed: int = 0  # of openings and of all that players draw


@dataclass(frozen=True, slots=True)
class Line:
    """One player's line of the table."""

    name: str
    elo: float
    low: float
    high: float
    superiority: float | None  # likelihood of superiority over the next line; None for the last
    games: int
    score: float  # share of points
    draws: float  # share of games
    illegal: int  # illegal moves proposed
    forfeits: int  # games lost by illegal moves


@dataclass(frozen=True, slots=True)
class Standing:
    """What the games say so far."""

    lines: tuple[Line, ...]
    games: int  # with a result
    failures: int  # without one
    ends: Mapping[str, int]
    white_advantage: float
    draw_rate: float
    prior: float  # virtual games for each pair; 0 where the likelihood alone had a maximum
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return the standing as a table for people."""
        ends = ", ".join(f"{count} {end}" for end, count in self.ends.items())
        caption = (
            f"{self.games} games ({ends}); White is worth {self.white_advantage:+.0f}, equals draw {self.draw_rate:.0%}"
        )
        if self.failures:
            caption += f"; {self.failures} games without a result left out"
        if self.prior:
            caption += f"; no finite maximum: under a prior of {self.prior:g} virtual games for each pair"
        caption += "; LOS: the likelihood of superiority over the next"
        table = Table(
            title="Elo, 95 % intervals",
            caption="\n".join([caption, *self.notes]),
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for column in ("player", "Elo", "interval", "LOS", "games", "score", "draws", "illegal", "forfeits"):
            named = column == "player"  # a long name takes several lines, numbers stay whole
            table.add_column(column, justify="left" if named else "right", overflow="fold", no_wrap=not named)
        for one in self.lines:
            los = "" if one.superiority is None else f"{one.superiority:.1%}"
            span, shares = f"{one.low:.0f} to {one.high:.0f}", (f"{one.score:.1%}", f"{one.draws:.0%}")
            counts = str(one.illegal), str(one.forfeits)
            table.add_row(one.name, f"{one.elo:.0f}", span, los, str(one.games), *shares, *counts)
        return table


def main(options: MatchOptions) -> int:
    """Play what is missing of a match and print its table; return 0."""
    with ExitStack() as stack:
        players = [player(spec, stack, deadline=options.deadline) for spec in options.player]
        match = Match.open(options, [one.name for one in players])
        try:
            match.play(players)
        except KeyboardInterrupt:
            Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
            return 130
        finally:
            if match.record:
                standing = match.standing()
                Console(soft_wrap=True).print(standing.table())
                (options.out / "table.json").write_text(json.dumps(asdict(standing), indent=1) + "\n", encoding="utf-8")
    return 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the table needs of a game on disk."""

    round: int
    white: str
    black: str
    result: str
    end: str
    unit: str
    illegal: tuple[int, int]
    moves: tuple[int, int]  # legal moves that White and Black chose, those of the opening not counted


@dataclass(slots=True)
class Match:
    """A match's folder: what is to be played, and what has been. One process at a time may play it."""

    options: MatchOptions
    names: list[str]
    pairings: list[Pairing]
    record: dict[int, Recorded] = field(default_factory=dict)  # by round

    @staticmethod
    def open(options: MatchOptions, names: list[str]) -> Match:
        """Make or go on with the folder of a match, which may grow. Raises ConfigError where it holds another."""
        _check(options, names)
        match = Match(options, names, schedule(options, _openings(options)))
        asked = _asked(options, names, match.pairings)
        path = options.out / "match.json"
        if path.exists():
            known = _json(path)
            if isinstance(shorter := known.get("games"), int) and 0 < shorter < options.games:
                before = replace(options, games=shorter)
                if _asked(before, names, schedule(before, _openings(before))) == known:  # its rounds are the first ones
                    _write(path, asked)
                    known = asked
            if different := sorted(key for key in asked if known.get(key) != asked[key]):
                raise ConfigError(
                    f"{options.out} holds another match: {', '.join(different)} differ; choose another --out, or give "
                    "the same options to go on with it"
                )
            match.record = {one.round: one for one in _resume(options.out / "games.pgn")}
        elif options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
            raise ConfigError(f"{options.out} holds something else, and nothing is overwritten: choose another --out")
        else:
            options.out.mkdir(parents=True, exist_ok=True)
            _write(path, asked)
        return match

    def play(self, players: Sequence[Player]) -> None:
        """Play the rounds that have no result yet, until all have or a sequential test has decided.

        Raises ConfigError where another process plays them.
        """
        settings = {"seed": self.options.seed, "live": self.options.live, "max_plies": self.options.max_plies}
        path = self.options.out / "games.pgn"
        with held(path), path.open("ab") as file:
            for game in play(self._missing(), players, **settings):
                file.write(game.pgn(self.names).encode())
                file.flush()
                os.fsync(file.fileno())
                self.record[game.pairing.round] = _recorded(game, self.names)

    def _missing(self) -> Iterator[Pairing]:
        for pairing in self.pairings:
            if self.options.sprt is not None and pairing.round % 2 and self._decided():
                return
            known = self.record.get(pairing.round)
            if known is None or known.end == FAILURE:
                yield pairing

    def _decided(self) -> bool:
        test = self._test()
        return test is not None and test[1] is not Decision.GO_ON

    def _test(self) -> tuple[float, Decision] | None:
        """Return the sequential test on the pairs up to the first that is missing: long games must not be left out."""
        if self.options.sprt is None:
            return None
        games = []
        for pairing in self.pairings:
            known = self.record.get(pairing.round)
            if known is None:
                break
            games.append(known)
        counts = pentanomial(_games(games), self.names[0])
        llr = LLRS[self.options.sprt_elo](counts, *self.options.sprt)
        return llr, Sprt(*self.options.sprt).decide(llr)

    def standing(self) -> Standing:
        """Return the table of the games so far."""
        games = _games(self.record.values())
        failures = len(self.record) - len(games)
        anchors = _anchors(self.options, self.names)
        ends = dict(Counter(one.end for one in self.record.values() if one.result in SCORES))
        try:
            found, notes = rate(games, anchors=anchors), self._notes(games)
        except DataError as error:  # the first games of a long match need not join everybody
            return Standing((), len(games), failures, ends, math.nan, math.nan, 0.0, (f"no ratings yet: {error}",))
        order = sorted(found.players, key=lambda name: -found.elo[found.row[name]])
        lines = tuple(self._line(name, after, found) for name, after in zip(order, [*order[1:], None], strict=True))
        advantage = found.white_advantage
        return Standing(lines, len(games), failures, ends, advantage, found.draw_rate, found.prior, notes)

    def _line(self, name: str, after: str | None, found: Fit) -> Line:
        own = [one for one in self.record.values() if name in (one.white, one.black) and one.result in SCORES]
        points = [SCORES[one.result] if one.white == name else 1 - SCORES[one.result] for one in own]
        lost = sum(one.end == ILLEGAL and score == 0 for one, score in zip(own, points, strict=True))
        illegal = sum(one.illegal[one.black == name] for one in self.record.values() if name in (one.white, one.black))
        return Line(
            name,
            float(found.elo[found.row[name]]),
            *found.interval(name),
            None if after is None else found.difference(name, after).superiority,
            len(own),
            sum(points) / len(own),
            points.count(0.5) / len(own),
            illegal,
            lost,
        )

    def _notes(self, games: Sequence[Game]) -> tuple[str, ...]:
        notes = []
        if len(self.names) == 2:
            counts = pentanomial(games, self.names[0])
            elo = match_elo(counts)
            notes.append(
                f"pairs of {self.names[0]} by points (0, 1/2, 1, 3/2, 2): {', '.join(map(str, counts))}; "
                f"Elo from pairs {elo.elo:+.0f} ({elo.low:+.0f} to {elo.high:+.0f})"
            )
        if (test := self._test()) is not None and self.options.sprt is not None:
            low, high = Sprt(*self.options.sprt).bounds
            notes.append(
                f"SPRT of {self.options.sprt_elo} Elo {self.options.sprt[0]:g} against {self.options.sprt[1]:g}: "
                f"LLR {test[0]:.2f} in ({low:.2f}, {high:.2f}), {test[1]}"
            )
        if adjudicated := sum(one.end == ADJUDICATION for one in self.record.values()):
            notes.append(f"{adjudicated} games were drawn by adjudication at {self.options.max_plies} half-moves")
        return tuple(notes)


def schedule(options: MatchOptions, openings: Sequence[Opening]) -> list[Pairing]:
    """Return all games in the order of rounds: opening by opening, pair by pair, both colours."""
    number = len(options.player)
    pairs = [(0, other) for other in range(1, number)] if options.gauntlet else list(combinations(range(number), 2))
    found = list[Pairing]()
    for index in range(options.games // 2):
        for first, second in pairs:
            for white, black in ((first, second), (second, first)):
                opening = openings[index % len(openings)]
                found.append(Pairing(len(found) + 1, white, black, opening, f"{index + 1}"))
    return found


def _openings(options: MatchOptions) -> list[Opening]:
    if options.openings is None:
        return random_openings(options.games // 2, plies=options.opening_plies, seed=options.seed, start=options.start)
    book = read_openings(options.openings)
    order = sorted(range(len(book)), key=lambda index: derive_seed(options.seed, "book", index))
    return [book[index] for index in order]


def _check(options: MatchOptions, names: Sequence[str]) -> None:
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"expected two players or more with names of their own, found {list(names)}; use NAME=KIND..."
        )
    at_least(options, games=2, live=1, max_plies=0, opening_plies=0)
    above(options, deadline=0)
    if options.games % 2:
        raise ConfigError(f"games: expected an even number, found {options.games}")
    if options.openings is not None and options.start:
        raise ConfigError("--start is where random openings begin, and --openings names others: give one of them")
    if options.sprt is not None:
        if len(names) != 2 or options.sprt_elo not in LLRS:
            raise ConfigError(f"a sequential test takes two players and --sprt-elo {' or '.join(LLRS)}")
        Sprt(*options.sprt)
    _anchors(options, names)


def _anchors(options: MatchOptions, names: Sequence[str]) -> dict[str, float]:
    """Return the ratings that are held. Raises ConfigError where a text names none, or no player is measured."""
    found = known(options.player, names) if options.measured else {}
    if options.measured and not found:
        raise ConfigError(
            f"--measured: expected a player of anchors.json ({', '.join(measured())}), found {list(names)}"
        )
    for text in options.anchor:
        name, _, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if name not in names or not math.isfinite(found[name]):
            raise ConfigError(f"expected --anchor NAME=ELO with a player of the match, found {text!r}")
    return found


def _asked(options: MatchOptions, names: Sequence[str], pairings: Sequence[Pairing]) -> dict[str, Any]:
    """Return what must be equal for a match to go on, as JSON holds it; how it is carried out may change."""
    free = {"out", "live", "deadline", "anchor", "measured", "sprt", "sprt_elo"}
    free |= {"openings", "start"}  # the places that they lead to count
    kept = {key: value for key, value in asdict(options).items() if key not in free}
    places = [[one.opening.fen, *one.opening.moves] for one in pairings]
    asked = {"names": names, **kept, "openings": derive_seed(json.dumps(places))}
    return dict(json.loads(json.dumps(asked)))


def _recorded(game: Played, names: Sequence[str]) -> Recorded:
    one = game.pairing
    white, black = names[one.white], names[one.black]
    moves = _shares(one.opening.board().turn == chess.WHITE, game.plies)
    return Recorded(one.round, white, black, game.result, game.end, one.unit, game.illegal, moves)


def _shares(white_first: bool, plies: int) -> tuple[int, int]:
    """Return how many of some half-moves are White's and Black's."""
    first, second = plies - plies // 2, plies // 2
    return (first, second) if white_first else (second, first)


def _games(record: Any) -> list[Game]:
    return [Game(one.white, one.black, SCORES[one.result], one.unit) for one in record if one.result in SCORES]


def _resume(path: Path) -> Iterator[Recorded]:
    """Yield the games of a record after cutting off what a crash has torn; raises DataError for one that is damaged."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: _whole(content)]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    for tags, text in scan(whole.decode("utf-8", errors="replace").splitlines(keepends=True)):
        try:
            illegal = int(tags["WhiteIllegal"]), int(tags["BlackIllegal"])
            opening, plies = int(tags["OpeningPlies"]), len(words(text)[0])
            white_first = (opening % 2 == 0) == (tags.get("FEN", " w ").split()[1:2] != ["b"])
            moves = _shares(white_first, plies - opening)
            white, black, result = tags["White"], tags["Black"], tags["Result"]
            yield Recorded(int(tags["Round"]), white, black, result, tags["End"], tags["Unit"], illegal, moves)
        except (KeyError, ValueError) as error:
            raise DataError(f"{path} holds a game that no match has written ({error!r}): {tags}; restore it") from error


def _whole(content: bytes) -> int:
    """Return the length up to the end of the last whole game: a result, and an empty line behind it."""
    ends = [match.end() for match in re.finditer(rb"(?:1-0|0-1|1/2-1/2|\*)\n\n(?=\[|\Z)", content)]
    return ends[-1] if ends else 0


def _write(path: Path, asked: Mapping[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); the folder is damaged, start a new match") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object; the folder is damaged, start a new match")
    return value
