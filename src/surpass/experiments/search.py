"""Search: which way of searching gets most out of a policy, and is a GFlowNet the better policy to search with?

Every search of the library with the supervised and the GFlowNet policy of a `proof_flow` run, on held-out lemmas, under
equal numbers of verifier calls; beside them what needs no training: automation, neighbours as a file is read, retrieved
premises. One run at the largest budget gives the results of all smaller ones: a search is not told its budget, so what
it has found after b calls is what it would have found with b. The question, commands and numbers: `search.md`.

    a proof_flow run ── policies ──┬── policy x search ──┐
                                   └── untrained rows  ──┴── T3 ── table, curves
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from surpass import report
from surpass.errors import ConfigError
from surpass.experiments.records import begin
from surpass.experiments.search_arms import ROWS, SEARCHES, flow_of, measure
from surpass.experiments.search_table import show, summarise
from surpass.store import Run


@dataclass(frozen=True)
class Config:
    """Compare the searches, with the policies of a finished run, at equal numbers of verifier calls."""

    run: Path | None = None  # a finished proof_flow run with sft and gfn; without one, such a run is made first
    train: Literal["tiny", "small", "full"] = "small"  # its preset then
    prover: Literal["auto", "rocq", "kernel"] = "auto"  # its prover then
    corpus: Path | None = None  # where the lemmas are; by default where that run had them
    policies: tuple[str, ...] = ("sft", "gfn")  # arms of that run
    searches: tuple[str, ...] = tuple(SEARCHES)  # with each of them
    rows: tuple[str, ...] = ("automation", "hammer", "read", "read_automation")  # what needs no training; of ROWS
    seed: int = 0  # of that run, and of the searches
    problems: int = 40  # held-out problems, at most
    budgets: tuple[int, ...] = (8, 16, 32)  # verifier calls for each problem
    max_steps: int = 6  # tactics of a proof, at most
    critic: float = 2.0  # weight of the value in best-first search with a critic
    premises: int = 8  # retrieved for each state, in the rows that use them
    tactic_seconds: int = 2  # what Rocq gives each tactic
    live: int = 8  # problems searched at once: they share model batches
    jobs: int = 2  # policies at once, a process each; 0: in this process


PRESETS: Mapping[str, Config] = {
    "tiny": Config(train="tiny", prover="kernel", problems=6, budgets=(4, 16), jobs=0),
    "small": Config(),
    "full": Config(train="full", rows=ROWS, problems=160, budgets=(32, 256, 2048), live=32),
}


def main(config: Config, *, out: Path | None = None, resume: Path | None = None) -> Path:
    """Run the experiment, print its table and return its folder; `resume` repeats no finished problem.

    Raises ConfigError for names that are not known, DataError and VerifierError for a run, corpus or prover that cannot
    be used.
    """
    check(config)
    folder = begin("search", config, out=out, resume=resume, free=("policies", "searches", "rows", "jobs")).path
    console = Console(stderr=True)
    console.print(f"run folder: {folder}")
    flow = flow_of(config, folder)
    measure(config, flow, folder)
    summary = summarise(config, flow, folder)
    Run(folder).write_summary(summary)
    console.print(*show(summary))
    console.print(f"report: {report.write(folder)}")
    return folder


def check(config: Config) -> None:
    """Raise ConfigError for searches, rows or budgets that do not fit."""
    unknown = [*set(config.searches) - set(SEARCHES), *set(config.rows) - set(ROWS)]
    if unknown:
        raise ConfigError(
            f"expected searches among {', '.join(SEARCHES)} and rows among {', '.join(ROWS)}, "
            f"found {', '.join(sorted(unknown))}"
        )
    if not config.budgets or min(config.budgets) < 1 or list(config.budgets) != sorted(set(config.budgets)):
        raise ConfigError(f"expected budgets of at least 1 in rising order, found {config.budgets}")
    if not (config.searches and config.policies) and not config.rows:
        raise ConfigError("expected searches with policies, or rows, found neither")
