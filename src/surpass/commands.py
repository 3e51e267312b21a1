"""Commands by name: those of the library, each a function of its options; `cli.py` holds the rest, and reads them all.

A line here names `"module:Options"`, a frozen dataclass that becomes flags, and `"module:function"`, which takes one
and returns an exit code. Nothing is imported before a command is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One line of `surpass --help`."""

    usage: str
    summary: str
    options: str | Callable[[list[str]], int]  # "module:Options", or what reads the words itself
    function: str = ""  # "module:function" from these options to the exit code


LIBRARY: dict[str, Command] = {
    "verify": Command(
        "verify RUN",
        "check every stored success again, from its record alone",
        "surpass.verify:VerifyOptions",
        "surpass.verify:main",
    ),
    "proofs coverage": Command(
        "proofs coverage PATH",
        "which files and proofs of a Rocq development replay, and why others do not",
        "surpass.domains.proofs.rocq.coverage:CoverageConfig",
        "surpass.domains.proofs.rocq.coverage:main",
    ),
    "proofs conjecture": Command(
        "proofs conjecture CORPUS",
        "new lemmas out of known ones, proved, and kept where a policy barely proves them",
        "surpass.domains.proofs.rocq.conjecture_command:ConjectureOptions",
        "surpass.domains.proofs.rocq.conjecture_command:main",
    ),
    "proofs library add": Command(
        "proofs library add RUN...",
        "check what runs have proved, and keep it in a library",
        "surpass.domains.proofs.rocq.library_command:AddOptions",
        "surpass.domains.proofs.rocq.library_command:add",
    ),
    "proofs library show": Command(
        "proofs library show",
        "the lemmas of the proof library, and how hard they were",
        "surpass.domains.proofs.rocq.library_command:ShowOptions",
        "surpass.domains.proofs.rocq.library_command:show",
    ),
    "proofs library export": Command(
        "proofs library export --out DIR",
        "write the library: .v files that compile, JSON lines, a data set",
        "surpass.domains.proofs.rocq.library_command:ExportOptions",
        "surpass.domains.proofs.rocq.library_command:export",
    ),
    "chess match": Command(
        "chess match --player A --player B --out DIR",
        "play games between engines, models and others, and rate them",
        "surpass.domains.chess.match:MatchOptions",
        "surpass.domains.chess.match:main",
    ),
    "chess favor": Command(
        "chess favor GAMES --run DIR",
        "judge a model's moves by temperature, position by position",
        "surpass.domains.chess.favor_command:FavorOptions",
        "surpass.domains.chess.favor_command:main",
    ),
    "chess entropy": Command(
        "chess entropy FILES --caps 1000 1500",
        "measure how varied the moves of game sets are",
        "surpass.domains.chess.entropy_command:EntropyOptions",
        "surpass.domains.chess.entropy_command:main",
    ),
    "chess generation": Command(
        "chess generation --run DIR --out DIR",
        "a model's games against itself, packed for the next one",
        "surpass.domains.chess.generation:GenerationOptions",
        "surpass.domains.chess.generation:main",
    ),
    "chess latent": Command(
        "chess latent GAMES --run DIR",
        "map the positions that a model sees alike",
        "surpass.domains.chess.latent:LatentOptions",
        "surpass.domains.chess.latent:main",
    ),
    "uci": Command(
        "uci --run DIR",
        "be a UCI engine that plays a trained chess model",
        "surpass.domains.chess.uci:UciOptions",
        "surpass.domains.chess.uci:main",
    ),
    "chess download": Command(
        "chess download 2013-01",
        "fetch a month of Lichess games; needs the internet",
        "surpass.domains.chess.download:DownloadOptions",
        "surpass.domains.chess.download:main",
    ),
    "chess experts": Command(
        "chess experts --expert SPEC --out FILE.pgn",
        "play games between experts of known kind",
        "surpass.domains.chess.expert_games:ExpertOptions",
        "surpass.domains.chess.expert_games:main",
    ),
    "chess pack": Command(
        "chess pack FILES --out DIR",
        "turn game sets (PGN, zst, CSV, parquet) into tokens",
        "surpass.domains.chess.pack:PackOptions",
        "surpass.domains.chess.pack:main",
    ),
    "chess train": Command(
        "chess train --pack DIR --out RUN",
        "train a chess model from scratch on a pack",
        "surpass.domains.chess.pretrain:PretrainOptions",
        "surpass.domains.chess.pretrain:main",
    ),
    "economy ask": Command(
        "economy ask --society NAME",
        "print what a language model would be asked; sends nothing",
        "surpass.domains.economy.principals.ask:AskOptions",
        "surpass.domains.economy.principals.ask:main",
    ),
    "economy curves": Command(
        "economy curves --policies RATES --out DIR",
        "draw how agents learn under policies, and what becomes of the commons",
        "surpass.domains.economy.curves_command:CurvesOptions",
        "surpass.domains.economy.curves_command:curves_command",
    ),
    "economy policymaker": Command(
        "economy policymaker --out FILE",
        "train the in-context policymaker on weaker ones' histories",
        "surpass.domains.economy.principals.in_context.pretraining:PolicymakerOptions",
        "surpass.domains.economy.principals.in_context.pretraining:pretrain_command",
    ),
    "proofs premises": Command(
        "proofs premises CORPUS",
        "collect which lemmas stand at hand where each lemma of a corpus is stated",
        "surpass.domains.proofs.rocq.premises:PremisesConfig",
        "surpass.domains.proofs.rocq.premises:main",
    ),
    "economy pretrain": Command(
        "economy pretrain --out FILE",
        "train what learning agents see the commons with",
        "surpass.domains.economy.core_training:PretrainOptions",
        "surpass.domains.economy.core_training:pretrain_command",
    ),
    "economy sweep": Command(
        "economy sweep --society NAME --out FILE",
        "which fixed policy is best for agents who learn",
        "surpass.domains.economy.sweep_command:SweepOptions",
        "surpass.domains.economy.sweep_command:sweep_command",
    ),
}
