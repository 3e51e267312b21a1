"""The command line `surpass`: reads arguments, calls one function of the library, prints, and chooses the exit code.

    0  done            1  a bug of ours, or a check that failed (`verify`)
    2  bad input or a missing tool, said in one message     130  interrupted     141  nobody reads the output

Nothing heavy is imported before a command is known, so that `surpass --help` answers at once. Each command is one
function from its arguments to an exit code; its options are a frozen dataclass that tyro turns into flags. What a
command does lives in the library, never here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, make_dataclass
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar, cast

import tyro

from surpass.bounds import above, at_least, plausible
from surpass.commands import LIBRARY, Command
from surpass.errors import ConfigError, SurpassError
from surpass.memory import keep_freed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from surpass.core import Policy

Options = TypeVar("Options")
DEFAULT_PRESET = "small"


def call(command: Command, prog: str, words: list[str]) -> int:
    """Read the words after a command's name and do it; return the exit code."""
    if not isinstance(command.options, str):
        return command.options(words)
    options = parse(load(command.options), words, prog, f"{command.summary[:1].upper()}{command.summary[1:]}.")
    return int(load(command.function)(options))


def load(path: str) -> Any:
    """Return what a "module:name" of a table stands for. Raises ConfigError where a package it needs is missing."""
    module, _, name = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "surpass":
            raise
        raise ConfigError(
            f"{module} needs the Python package {error.name!r}, which is not installed; see the README"
        ) from error
    return getattr(found, name) if name else found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the only place where an exception becomes a message."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # this process is ours
        keep_freed()
    try:
        name, command = choose(arguments)
        code = overview() if command is None else call(command, name, arguments[len(name.split()) :])
        sys.stdout.flush()  # here, while what comes of it is still an exit code
        return code
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        return unread()
    except SystemExit as left:  # rich leaves so where it meets a closed pipe
        if isinstance(left.__context__, BrokenPipeError):
            return unread()
        raise
    except (SurpassError, OSError) as error:
        if os.environ.get("SURPASS_TRACEBACK"):
            raise
        say(str(error))
        return 2
    except Exception as error:
        if os.environ.get("SURPASS_TRACEBACK"):
            raise
        with tempfile.NamedTemporaryFile("w", prefix="surpass-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        say(f"internal error: {type(error).__name__}: {error}\nplease report it with {file.name}")
        return 1


def unread() -> int:
    """Return the exit code for output whose reader (head, less) has gone, and print no more: that is no trouble."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def say(message: str) -> None:
    """Print one message on the error stream."""
    print(f"surpass: {message}", file=sys.stderr)


def choose(arguments: Sequence[str]) -> tuple[str, Command | None]:
    """Return the command that the first one to three words name, or None where help is wanted.

    Raises ConfigError, with the nearest names, where they name none.
    """
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        return "", None
    if arguments[0] == "--version":
        return "--version", Command("", "", version)
    for words in (1, 2, 3):
        if (name := " ".join(arguments[:words])) in COMMANDS:
            return name, COMMANDS[name]
    if any(name.startswith(f"{arguments[0]} ") for name in COMMANDS) and {"-h", "--help"} & set(arguments):
        return "", None
    asked = " ".join(arguments[:2]) if len(arguments) > 1 and not arguments[1].startswith("-") else arguments[0]
    raise ConfigError(unknown("command", asked, list(COMMANDS)) + "; see surpass --help")


def unknown(kind: str, found: str, known: Sequence[str]) -> str:
    """Return one line that names what was found, what comes near it and what there is.

    >>> unknown("preset", "smal", ["tiny", "small"])
    "unknown preset 'smal'; did you mean 'small'? There are: tiny, small"
    """
    near = get_close_matches(found, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown {kind} '{found}'{hint} There are: {', '.join(known)}"


def overview() -> int:
    """Print what `surpass --help` shows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print("Train, search and measure generative policies wherever a checker can judge them.\n", highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for command in COMMANDS.values():
        table.add_row(Text(f"surpass {command.usage}", style="bold"), command.summary)
    console.print(table)
    console.print("\nEach command explains its options with --help. A run is a folder; nothing is ever overwritten.")
    return 0


def version(_: list[str]) -> int:
    """Print the version of this package."""
    from surpass import __version__

    print(__version__)
    return 0


def parse(options: Callable[..., Options], arguments: Sequence[str], prog: str, summary: str = "") -> Options:
    """Read `arguments` into a dataclass. tyro explains a bad flag and exits with 2; a bad value raises ConfigError."""
    try:
        read = tyro.cli(options, args=list(arguments), prog=f"surpass {prog}", description=summary or None)
        plausible(read)
    except (TypeError, ValueError) as error:
        if isinstance(error, SurpassError):
            raise
        raise ConfigError(f"{error}; see surpass {prog} --help") from error
    return read


class Experiment(Protocol):
    """What a module named in `EXPERIMENTS` offers."""

    Config: type[DataclassInstance]  # frozen and flat, one comment per field
    PRESETS: Mapping[str, DataclassInstance]  # tiny, small, full

    def main(self, config: DataclassInstance, *, out: Path | None, resume: Path | None) -> Path:
        """Run and return the run folder."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags that every experiment shares."""

    preset: str = DEFAULT_PRESET  # the configuration to start from: tiny, small or full
    out: Path | None = None  # the run folder to create; by default runs/EXPERIMENT-PRESET-TIME
    resume: Path | None = None  # the run folder to go on with, under its own configuration


def run(arguments: list[str]) -> int:
    """`surpass run EXPERIMENT`: train, search and measure; makes or continues a run folder."""
    from surpass.experiments import EXPERIMENTS

    usage = f"surpass run EXPERIMENT [flags]; experiments: {', '.join(EXPERIMENTS)}"
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(f"usage: {usage}\nThe flags of one: surpass run EXPERIMENT --help")
        return 0 if arguments else 2
    name = arguments[0]
    if name not in EXPERIMENTS:
        raise ConfigError(unknown("experiment", name, list(EXPERIMENTS)) + f"; usage: {usage}")
    experiment = cast(Experiment, importlib.import_module(EXPERIMENTS[name]))
    options, config = parse_run(name, experiment, arguments[1:])
    from surpass.store import started

    resume = options.resume
    with nullcontext(resume) if resume else started(f"{name}-{options.preset}", options.out) as folder:
        try:
            made = experiment.main(config, out=None if resume else folder, resume=resume)
        except KeyboardInterrupt:
            if not any(folder.iterdir()):
                raise
            say(f"interrupted; go on with: surpass run {name} --resume {folder}")
            return 130
    print(f"run folder: {made}")
    return 0


def parse_run(name: str, experiment: Experiment, arguments: list[str]) -> tuple[RunOptions, DataclassInstance]:
    """Return the shared flags and the experiment's configuration: the preset's (or the resumed run's), then the flags.

    The first reading finds the preset alone, because tyro shows and fills in the preset's values in the second.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", default=DEFAULT_PRESET)
    first.add_argument("--resume", type=Path)
    try:
        early, _ = first.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; see surpass run {name} --help") from error
    if early.preset not in experiment.PRESETS:
        raise ConfigError(unknown(f"preset of {name}", early.preset, list(experiment.PRESETS)))
    start = experiment.PRESETS[early.preset]
    if early.resume is not None:
        from surpass.experiments.stored import stored_config

        start = stored_config(name, experiment.Config, early.resume)
    shape = make_dataclass(
        "Run",
        [
            ("options", Annotated[RunOptions, tyro.conf.arg(name="")], RunOptions(preset=early.preset)),
            ("config", Annotated[experiment.Config, tyro.conf.arg(name="")], field(default=start)),
        ],
        frozen=True,
    )
    chosen = parse(shape, arguments, f"run {name}", experiment.Config.__doc__ or "")
    if chosen.options.resume is not None and chosen.options.out is not None:
        raise ConfigError("--out makes a new run and --resume continues one: give one of them")
    return chosen.options, chosen.config


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The argument of `report`."""

    run: Annotated[Path, tyro.conf.Positional]  # a run folder


def report(arguments: list[str]) -> int:
    """`surpass report RUN`: write the run's page."""
    folder = parse(RunFolder, arguments, "report", "Write report.html into a run folder.").run
    from surpass.report import write

    print(write(folder))
    return 0


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """The flags of `doctor`."""

    json: bool = False  # print JSON instead of a table


def doctor(arguments: list[str]) -> int:
    """`surpass doctor`: print what this machine offers, what is missing and how to get it."""
    options = parse(DoctorOptions, arguments, "doctor", "Say what this machine offers, and what is missing.")
    from surpass.doctor import examine, show

    findings = examine()
    if options.json:
        print(json.dumps([asdict(one) for one in findings], indent=1))
    else:
        from rich.console import Console

        show(findings, Console())
    return 0


def extract(arguments: list[str]) -> int:
    """`surpass proofs extract`: read lemmas and their proofs from a library installed here; 2 where no file replays."""
    from surpass.domains.proofs.rocq import extraction

    config = parse(extraction.ExtractConfig, arguments, "proofs extract", "Extract a library's lemmas and proofs.")
    try:
        found = extraction.extract(config)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where this one stopped")
        return 130
    from rich.console import Console

    Console().print(found.table())
    print(f"{found.lemmas} lemmas extracted and {found.skipped.total()} skipped, in {found.out}")
    return 2 if found.useless else 0


@dataclass(frozen=True, slots=True)
class ProveOptions:
    """The flags of `prove`."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]  # .v and .lean files, or folders of them
    run: Path | None = None  # a run, or a saved policy inside one; without, the prover's automation tactics alone
    automation: bool = True  # let a trained policy share its proposals with automation tactics
    write: bool = False  # put proofs into the file, once the whole changed file has compiled
    seconds: float = 60.0  # for each lemma, at most
    expansions: int = 64  # of the search for each lemma, at most
    width: int = 8  # proposals for each expansion
    seed: int = 0  # of everything random

    def __post_init__(self) -> None:
        at_least(self, expansions=1, width=1)
        above(self, seconds=0)


PROVERS = {  # by suffix: what proves a file, and the tactics that are tried without a trained policy
    ".v": ("surpass.domains.proofs.rocq.prove_file:prove_file", "surpass.models.fixed:ROCQ_AUTOMATION"),
    ".lean": ("surpass.domains.proofs.lean.prove_file:prove_file", "surpass.models.fixed:LEAN_AUTOMATION"),
}


def sources(paths: Sequence[Path]) -> list[Path]:
    """Return the proof files among `paths` and below the folders among them, each once, however often it is named.

    Hidden folders hold what build tools have put there. Raises ConfigError for a file of another kind, and where there
    is nothing to prove.
    """
    kinds, found = " or ".join(PROVERS), dict[Path, Path]()
    for path in paths:
        there = [path]
        if path.is_dir():
            below = (one for one in path.rglob("*") if one.suffix in PROVERS and one.is_file())
            there = sorted(one for one in below if not any(part[0] == "." for part in one.relative_to(path).parts))
            if not there:
                raise ConfigError(f"expected {kinds} files in the folder {path}, found none")
        elif path.suffix not in PROVERS:
            raise ConfigError(f"expected {kinds} files, or folders of them, found {path}")
        for one in there:
            found.setdefault(one.resolve(), one)
    if not found:
        raise ConfigError(f"expected {kinds} files, or folders of them, found none; say surpass prove FILE")
    return [*found.values()]


def prove(arguments: list[str]) -> int:
    """`surpass prove FILE`: try open lemmas; 1 where a proof does not fit, 2 where nothing of a file can be posed."""
    options = parse(ProveOptions, arguments, "prove", "Try the open lemmas of Rocq and Lean files, best first.")
    from rich.console import Console

    from surpass.models.saved import prover_policy
    from surpass.rollouts.runner import Budget
    from surpass.search.best_first import best_first

    @cache
    def prover(suffix: str) -> tuple[Any, Policy]:
        prove_file, tactics = map(load, PROVERS[suffix])
        return prove_file, prover_policy(options.run, automation=options.automation, tactics=tactics)

    search = partial(best_first, width=options.width, expansions=options.expansions)
    budget, code, proved, tried = Budget(seconds=options.seconds), 0, 0, 0
    for file in (files := sources(options.files)):
        prove_file, policy = prover(file.suffix)
        try:
            found = prove_file(file, policy, search, budget=budget, seed=options.seed, write=options.write)
        except SurpassError as error:  # the other files are tried all the same
            say(f"{file}: {error}")
            code = 2
            continue
        Console(soft_wrap=True, highlight=False).print(found)
        proved, tried = proved + len(found.proofs), tried + len(found.trajectories)
        if found.skipped and not found.trajectories:
            code = 2
        elif found.refusal or found.left_out:
            code = code or 1
    if len(files) != 1:
        print(f"{proved} of {tried} open lemmas proved in {len(files)} files")
    return code


def bench(words: list[str]) -> int:
    """`surpass bench NAME`: measure against a baseline in the same run."""
    from surpass.bench import BENCHES

    usage = f"surpass bench NAME [flags]; there are: {', '.join(BENCHES)}"
    if not words or words[0] in {"-h", "--help"}:
        print(f"usage: {usage}\nThe flags of one: surpass bench NAME --help")
        return 0 if words else 2
    if words[0] not in BENCHES:
        raise ConfigError(unknown("benchmark", words[0], list(BENCHES)) + f"; usage: {usage}")
    measurement = load(BENCHES[words[0]])
    config = parse(measurement.BenchConfig, words[1:], f"bench {words[0]}", measurement.BenchConfig.__doc__ or "")
    found = measurement.main(config)
    from rich.console import Console

    Console().print(found.table())
    return 0


COMMANDS: dict[str, Command] = {
    "run": Command("run EXPERIMENT", "train, search and measure; makes a run folder", run),
    "prove": Command("prove FILE", "try the open lemmas of a Rocq (.v) or Lean (.lean) file", prove),
    "proofs extract": Command("proofs extract", "read lemmas and proofs from an installed library", extract),
    "report": Command("report RUN", "write a run's page, report.html", report),
    "bench": Command("bench NAME", "measure speed and memory against a baseline in the same run", bench),
    **LIBRARY,
    "doctor": Command("doctor", "versions, provers, limits; what is missing and how to get it", doctor),
}


if __name__ == "__main__":
    sys.exit(main())
