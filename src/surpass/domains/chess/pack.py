"""`surpass chess pack`: game sets become tokens on disk. What it does is in `games.py` and `shards.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from surpass.domains.chess.filters import Filter
from surpass.domains.chess.shards import SHARD_TOKENS, write_pack
from surpass.domains.chess.tokens import Characters, Moves, Vocabulary
from surpass.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PackOptions:
    """Pack game sets for training."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]  # .pgn, .pgn.zst, .csv, .csv.zst, .parquet
    out: Path = Path("pack")  # the folder to make, or to go on with
    tokens: Literal["moves", "characters"] = "moves"  # one for each move, or the paper's 32 characters
    results: bool = True  # characters: write results; the paper does not, moves always do
    strength: bool = False  # begin each game with both ratings
    keep: Annotated[Filter, tyro.conf.arg(name="")] = field(default_factory=lambda: Filter(initial=True))
    games: int | None = None  # at most so many
    shard_tokens: int = SHARD_TOKENS  # of each shard

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError("expected files to pack: .pgn, .pgn.zst, .csv, .csv.zst or .parquet")
        if not self.keep.initial and not self.keep.start:
            raise ConfigError(
                "a transcript from another position means nothing: --no-initial cannot be packed; if all games begin "
                "from one position, name it with --start"
            )
        if self.shard_tokens < 1 or (self.games is not None and self.games < 0):
            raise ConfigError("expected --shard-tokens of at least 1 and --games of at least 0")

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the tokenisation that is asked for."""
        if self.tokens == "moves":
            return Moves(strength=self.strength)
        return Characters(results=self.results, strength=self.strength)


def main(options: PackOptions) -> int:
    """Pack, and say what became of every game; 1 where none is left or a file could not be read to its end."""
    from rich.console import Console

    try:
        with Console(stderr=True).status("packing ...") as status:
            pack, report = write_pack(
                options.files,
                options.out,
                options.vocabulary,
                keep=options.keep,
                games=options.games,
                shard_tokens=options.shard_tokens,
                tell=lambda now: status.update(f"{now.read:,} games read, {now.kept:,} kept ..."),
            )
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on where this one stopped")
        return 130
    Console().print(report.table())
    tokens, size = int(pack.firsts[-1]), pack.vocabulary.size
    print(f"{len(pack):,} games, {tokens:,} tokens of a vocabulary of {size}, in {options.out}")
    return 1 if report.trouble or not len(pack) else 0
