"""`surpass proofs conjecture CORPUS`: new lemmas out of known ones, proved, and kept in the proof library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from surpass.bounds import at_least
from surpass.domains.proofs.rocq import corpus as corpora
from surpass.domains.proofs.rocq import library
from surpass.domains.proofs.rocq.conjectures import MutationOptions, seeds_of
from surpass.domains.proofs.rocq.conjecturing import WIDTH, Judged, Known, Trying, conjecture
from surpass.domains.proofs.rocq.library_command import PLACE
from surpass.errors import ConfigError
from surpass.models.hf import LanguageModel
from surpass.models.saved import saved
from surpass.recorded import run_at
from surpass.store import Run, reserve
from surpass.verdicts import remembered
from surpass.verify import Terms


@dataclass(frozen=True, slots=True)
class ConjectureOptions:
    """Which lemmas to mutate, and which conjectures to keep."""

    corpus: Annotated[Path, tyro.conf.Positional]  # a folder that `surpass proofs extract` has made
    run: Path | None = None  # whose policy is asked how often it proves each; without one, all that is proved counts
    out: Path | None = None  # the run folder; one that was interrupted goes on. Default: runs/conjectures-TIME
    lemmas: int = 100  # of the split `train`, drawn by the seed; 0: all
    max_chars: int = 300  # of their initial goals, at most
    each: int = 2  # conjectures of a lemma by each kind of mutation, at most
    calls: int = 64  # verifier calls of the search for a proof
    samples: int = 8  # whole proofs by the policy
    low: float = 0.0  # barely proved: the policy's rate, at least
    high: float = 0.5  # and at most
    show: int = 12  # conjectures printed
    library: Path = PLACE  # where proofs are kept
    seed: int = 0


def main(options: ConjectureOptions) -> int:
    """Make and prove conjectures, print what came of them, and put the proofs into the library."""
    at_least(options, each=1, samples=1, calls=WIDTH, lemmas=0, max_chars=1)
    if not 0 <= options.low <= options.high <= 1:
        raise ConfigError(f"expected 0 <= low <= high <= 1, found {options.low} and {options.high}")
    known = corpora.load(options.corpus)
    train = corpora.problems(options.corpus, "train", max_chars=options.max_chars)
    policy = None if options.run is None else LanguageModel.load(saved(options.run))
    folder = options.out or reserve("conjectures")
    settings = {"experiment": "conjectures", **asdict(options)}
    run_at(folder, settings, free=("low", "high", "show", "library", "out"))
    console = Console()
    console.print(f"run folder: {folder}")
    found = conjecture(
        folder,
        Known(known, train, seeds_of(train, options.lemmas, options.seed)),
        policy,
        mutation=MutationOptions(each=options.each, seed=options.seed),
        trying=Trying(calls=options.calls, samples=options.samples, seed=options.seed),
    )
    kept = [one for one in found if one.barely(options.low, options.high)]
    console.print(table(Run(folder).summary(), kept))
    for one in kept[: options.show]:
        console.print(escape(told(one)), highlight=False, soft_wrap=True)
    said = library.add(options.library, folder, terms=Terms(remembered()))
    for file, reason in said.failed.items():
        print(f"{file}: {reason}")
    print(f"{said.new} new proofs, {said.known} known before, in {options.library}")
    return 1 if said.failed else 0


def table(summary: dict[str, object], kept: list[Judged]) -> Table:
    """Return the counts by mutation."""
    rates, kinds = summary["policy_rate"], summary["by_mutation"]
    assert isinstance(rates, dict)
    assert isinstance(kinds, dict)
    asked = f"; of {rates['asked']} proved ones the policy proves {rates['never']} never, {rates['barely']} in at most "
    asked += f"half of its samples, {rates['mostly']} more often" if rates["asked"] else ""
    caption = f"{summary['proved']} of {summary['conjectures']} proved (T3)" + (asked if rates["asked"] else "")
    rows = Table("mutation", "made", "proved", "barely", title="Conjectures", caption=caption)
    for kind, row in kinds.items():
        barely = sum(one.problem.data["conjecture"]["mutation"] == kind for one in kept)
        rows.add_row(kind, str(row["made"]), str(row["proved"]), str(barely))
    return rows


def told(one: Judged) -> str:
    """Return a conjecture with its origin and shortest proof."""
    origin = one.problem.data["conjecture"]
    parents = " and ".join(name.rpartition(".")[2] for name in origin["parents"])
    statement = " ".join(str(one.problem.data["statement"]).split()).partition(" : ")[2]
    rate = "" if one.rate is None else f", policy {one.rate:.0%}"
    return f"{origin['mutation']} of {parents}{rate}: {statement}\n  {' '.join(one.proofs[0].actions)}"
