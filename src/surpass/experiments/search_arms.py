"""What `search` measures: the searches with their options, the rows without training, and the record of each.

    proof_flow/                the run that gives the policies, where none was given
    search/SEARCH+POLICY-SEED/ one search with one policy
    search/ROW-SEED/           what needs no training, best first

A record knows how many problems are finished (its checkpoint), so an interrupted one goes on with the next problem.
Every search goes on after the first proof, and with a policy that samples it is started again until its budget is spent
(`search/again.py`): distinct proofs at equal cost. The rows are deterministic, a second round would repeat the first.
Seeds depend on the problem, so no result depends on what was finished when.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from surpass.core import Conversation, Domain, Policy, Problem, Search, Trajectory
from surpass.experiments import flow, proof_flow
from surpass.experiments.flow import Flow
from surpass.experiments.proof_flow_arms import new_policy
from surpass.experiments.proof_flow_data import Data, has_hammer, opened, prover
from surpass.experiments.records import sampled, weights
from surpass.models.fixed import ROCQ_HAMMER, Fixed
from surpass.models.mixture import Mixture
from surpass.models.progress import fit
from surpass.recorded import Attempts, record_problems
from surpass.rollouts.processes import process_pool
from surpass.rollouts.runner import Budget, RunOptions, derive_seed, run
from surpass.search.again import again
from surpass.search.beam import beam
from surpass.search.best_first import best_first
from surpass.search.diverse import diverse
from surpass.search.evaluate import Evaluate, by_rollouts, by_score
from surpass.search.mcts import mcts
from surpass.search.refine import refine
from surpass.search.sampling import sample
from surpass.search.whole import whole

if TYPE_CHECKING:
    from surpass.experiments.search import Config

MANY = 10_000  # more rounds, expansions and proofs than any budget allows: the budget ends a search
TAUGHT = 200  # proofs that progress is learned from
WIDTH = 8  # proposals for each state, and samples at once

Make = Callable[["Config"], Search[Hashable]]
SEARCHES: Mapping[str, Make] = {
    "sample": lambda c: partial(sample, n=WIDTH, max_steps=c.max_steps),
    "best_first": lambda c: _open(c, best_first),
    "best_first_critic": lambda c: _open(c, partial(best_first, critic=c.critic)),
    "beam": lambda c: partial(beam, width=WIDTH, beam=4, max_depth=c.max_steps, solutions=MANY),
    "mcts": lambda c: _mcts(c, partial(by_rollouts, width=WIDTH, max_steps=c.max_steps)),
    "mcts_score": lambda c: _mcts(c, partial(by_score, width=WIDTH)),
    "whole": lambda c: partial(whole, n=4, max_depth=c.max_steps),
    "refine": lambda c: partial(refine, n=4, max_depth=c.max_steps),
    "diverse": lambda c: _open(c, diverse),
}
CRITIC = ("best_first_critic", "mcts_score")  # these ask for values: learned progress (`models/progress.py`)
ROWS = (
    "automation",  # the fixed list of automation tactics
    "hammer",  # the same and CoqHammer's, where that is installed and loads
    "read",  # neighbours, as a file is read
    "read_automation",  # both as one policy
    "premises",  # retrieved premises by name; `surpass proofs premises` must have been run on the corpus
    "premises_automation",
    "read_premises_automation",
)


def _open(config: Config, search: Callable[..., Conversation[None]]) -> Search[Hashable]:
    return partial(search, width=WIDTH, expansions=MANY, max_depth=config.max_steps, solutions=MANY)


def _mcts(config: Config, evaluate: Evaluate[Hashable]) -> Search[Hashable]:
    limits = partial(mcts, simulations=MANY, leaves=4, max_depth=config.max_steps, solutions=MANY)
    return partial(limits, evaluate=evaluate)


def flow_of(config: Config, folder: Path) -> Flow:
    """Return the run that was given, or the run of our own, made or gone on with where it is not finished.

    Raises as `flow.flow_of` does.
    """
    own = replace(proof_flow.PRESETS[config.train], prover=config.prover, seeds=(config.seed,), sources=())
    own = replace(own, arms=("base", *config.policies), corpus=config.corpus or own.corpus)
    found = flow.flow_of(config.run, folder / "proof_flow", own, arms=config.policies)
    chosen = replace(found.config, corpus=config.corpus or found.config.corpus, tactic_seconds=config.tactic_seconds)
    return replace(found, config=chosen)


def measure(config: Config, flow: Flow, folder: Path) -> None:
    """Record every search with every policy and every row, each policy in a process of its own."""
    parts = [*config.policies, ""]  # the last: what needs no training
    if config.jobs == 0:
        for part in parts:
            _part(config, flow, folder, part)
        return
    with process_pool(config.jobs) as pool:
        for future in as_completed([pool.submit(_part, config, flow, folder, part) for part in parts]):
            future.result()


def _part(config: Config, flow: Flow, folder: Path, arm: str) -> None:
    """Record all searches with one policy, or all rows."""
    with opened(flow.config) as data:
        problems = sampled(data.test, config.problems)
        if not arm:
            for row in rows_of(config, flow):
                if row == "hammer" and not has_hammer(data):
                    continue
                record_problems(_unit(folder, row, config), problems, _row(config, flow, data, row))
            return
        policy = new_policy(flow.config, data, config.seed)
        policy.load_state_dict(weights(flow.path / "train" / f"{arm}-{config.seed}"))
        fast = policy.remembering(megabytes=128)
        critic = fit(fast, sampled(list(data.human.values()), TAUGHT)) if set(CRITIC) & set(config.searches) else fast
        for name in config.searches:
            search = partial(again, search=SEARCHES[name](config), rounds=MANY, solutions=MANY)
            chosen: Policy = critic if name in CRITIC else fast
            attempt = partial(_attempt, config, data.domain, search, chosen)
            record_problems(_unit(folder, f"{name}+{arm}", config), problems, attempt)


def rows_of(config: Config, flow: Flow) -> tuple[str, ...]:
    """Return the rows that can be had: all but `automation` read files of Rocq."""
    return config.rows if prover(flow.config) == "rocq" else tuple(row for row in config.rows if row == "automation")


def _unit(folder: Path, name: str, config: Config) -> Path:
    return folder / "search" / f"{name}-{config.seed}"


def _attempt(
    config: Config,
    domain: Domain[Hashable],
    search: Search[Hashable],
    policy: Policy,
    problems: Sequence[Problem],
) -> Iterator[Trajectory]:
    """Search problems, until the largest budget is spent at the latest."""
    return run(
        search,
        problems,
        domain,
        policy,
        budget=Budget(steps=config.budgets[-1], proposals=64 * config.budgets[-1]),  # the latter: a silent policy ends
        seed=derive_seed(config.seed, "search"),
        options=RunOptions(live=config.live),
    )


def _row(config: Config, flow: Flow, data: Data, name: str) -> Attempts:
    """Return how a row attempts problems; best first, like the policies."""
    search, automation = SEARCHES["best_first"](config), Fixed(data.automation)
    if name == "automation":
        return partial(_attempt, config, data.domain, search, automation)
    from surpass.experiments.search_rocq import hammered, offering, read_along

    attempt = partial(_attempt, config)
    if name == "hammer":
        return partial(hammered, partial(attempt, data.domain, search, Fixed((*data.automation, *ROCQ_HAMMER))))
    sources: list[Policy] = [automation] if "automation" in name else []
    domain = data.domain
    if "premises" in name:
        domain, by_name = offering(flow.config.corpus, data.domain, config.premises)
        sources.append(by_name)
    if "read" not in name:
        mixed = Mixture([(one, 1.0) for one in sources])
        return partial(attempt, domain, search, mixed)
    return partial(read_along, flow.config.corpus, partial(attempt, domain, search), sources)
