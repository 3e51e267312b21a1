"""Which games are wanted: by ratings, time control, length, and each once.

The cap is on the *higher* of the two ratings, as in Transcendence (arXiv 2406.11741): "games of players up to 1000"
means that nobody in them is rated above 1000. A game of which a wanted thing is unknown is left out and counted.
Time controls by Lichess's classes: seconds + 40 x increment, below 30 ultrabullet, 180 bullet, 480 blitz, 1500 rapid,
otherwise classical; no clock is correspondence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from surpass.domains.chess.pgn import RESULTS
from surpass.errors import ConfigError

_LIMITS = {"ultrabullet": 30, "bullet": 180, "blitz": 480, "rapid": 1500}  # seconds + 40 x increment, below
_ABNORMAL = {  # the tag Termination: of PGN, Lichess, our arena, and other tables
    *("rules infraction", "abandoned", "adjudication", "unterminated", "emergency", "death"),
    *("time forfeit", "outoftime", "out of time", "timeout"),
}
SPEEDS = (*_LIMITS, "classical", "correspondence")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which games to keep; the default keeps every game once."""

    max_rating: int | None = None  # of the higher rated player
    min_rating: int | None = None  # of the lower rated player
    speeds: tuple[str, ...] = ()  # ultrabullet, bullet, blitz, rapid, classical, correspondence; empty: any
    min_plies: int = 1  # half-moves
    initial: bool = False  # leave out games that begin from another than the initial position
    start: str = ""  # FEN: leave out games that begin from another position than this one, whatever --initial says
    outcomes: tuple[str, ...] = ()  # 1-0, 0-1, 1/2-1/2, *; empty: any
    normal: bool = False  # leave out games that ended on time, by a forfeit, by adjudication or not at all
    duplicates: bool = True  # leave out a game recorded twice: moves, result, ratings and players all equal

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.speeds) - set(SPEEDS)):
            raise ConfigError(f"expected speeds among {', '.join(SPEEDS)}, found {unknown[0]!r}")
        if unknown := sorted(set(self.outcomes) - set(RESULTS)):
            raise ConfigError(f"expected outcomes among {', '.join(sorted(RESULTS))}, found {unknown[0]!r}")
        if None not in (self.min_rating, self.max_rating) and (self.min_rating or 0) > (self.max_rating or 0):
            raise ConfigError(f"no rating is at least {self.min_rating} and at most {self.max_rating}")

    @property
    def needs_ratings(self) -> bool:
        return self.max_rating is not None or self.min_rating is not None

    def refusal(self, tags: Mapping[str, str]) -> str:
        """Say why a game with these tags is not wanted; empty where it may be. Moves are not looked at."""
        if self.needs_ratings:
            ratings = [rating(tags.get(name, "")) for name in ("WhiteElo", "BlackElo")]
            known = [one for one in ratings if one is not None]
            if len(known) < 2:
                return "rating unknown"
            if self.max_rating is not None and max(known) > self.max_rating:
                return f"a rating above {self.max_rating}"
            if self.min_rating is not None and min(known) < self.min_rating:
                return f"a rating below {self.min_rating}"
        if self.normal and (end := tags.get("Termination", "").casefold()) in _ABNORMAL:
            return f"ended by {end}"
        if self.speeds:
            found = speed(tags.get("TimeControl", ""))
            if found not in self.speeds:
                return f"time control: {found or 'unknown'}"
        return ""


def speed(control: str) -> str:
    """Return the class of a PGN time control, empty where it is unknown.

    >>> speed("180+2"), speed("600"), speed("-"), speed("?")
    ('blitz', 'rapid', 'correspondence', '')
    """
    if control == "-":
        return "correspondence"
    match = re.fullmatch(r"([0-9]{1,9})(?:\+([0-9]{1,9}))?", control)
    if not match:
        return ""
    seconds = int(match[1]) + 40 * int(match[2] or 0)
    return next((name for name, limit in _LIMITS.items() if seconds < limit), "classical")


def rating(text: str) -> int | None:
    """Return a rating, None where the text holds none (`?`, empty, a provisional mark alone)."""
    match = re.fullmatch(r"\s*(\d{1,4})(?:\.0*)?\??\s*", text)
    return int(match[1]) if match and int(match[1]) else None
