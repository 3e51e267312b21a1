"""How much faster a search runs when many problems share a model: best-first search, one policy, three ways to run it.

    one at a time    one conversation alive, so the model sees one state per batch
    batched          all alive at once, one model batch over all that wait
    prefix cache     batched, and what was computed of a prompt is kept for those that begin alike
    automation       batched, by a fixed list of tactics instead of the model (Rocq only): the verifier is what one
                     waits for, and its utilisation says how much it idles for the sake of the rest

The model is a small one from scratch, taught for a moment on known solutions, so that its actions have the length they
have in use. It knows little, though, and searches of a poor policy run dry: where the domain says what is legal, an
action that is not is replaced by one that is (by its text alone), and searches go on after a proof. So all problems
take all their expansions, as with a good policy on hard problems; what is measured is speed, not success.
All ways make the same search of the same problems by the same seeds
(`agreement` says for how many the outcome is the same; rounding may turn a sample), in turns, `rounds` times, medians
shown, after a first search that no clock sees: it loads provers, and counts how many states were merged, the same in
every way. Verdicts of a fresh Rocq on the proofs found are asked for at the end, way by way, through a store that
begins empty: what it answers is what another way had found before. The kernel's verdicts need no second opinion.
An expansion is one observation for which proposals were asked. Ratios by the clock and by seconds of this
process's processors are those of expansions to `one at a time`; on a machine that others use, the second is the one to
trust. Verifier utilisation is the share of the time in which a worker (this process, where there are none) starts or
steps the domain.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Literal, cast

import torch
from rich.table import Table

from surpass.bounds import at_least
from surpass.core import (
    Domain,
    Observation,
    Policy,
    Problem,
    Proposal,
    Trajectory,
    replay,
)
from surpass.domains.proofs.kernel.domain import Kernel
from surpass.errors import ConfigError
from surpass.models.fixed import ROCQ_AUTOMATION, Fixed
from surpass.models.hf import LanguageModel, Placement
from surpass.objectives.batch import log_return
from surpass.objectives.likelihood import likelihood
from surpass.recipe import Parts, TrainConfig
from surpass.rollouts.budget import bill
from surpass.rollouts.runner import RunOptions, run
from surpass.rollouts.seeds import derive_seed
from surpass.rollouts.trace import Event
from surpass.rollouts.workers import Workers
from surpass.search.best_first import best_first
from surpass.store import Run
from surpass.train import train
from surpass.verdicts import Verdicts

ONE, BATCHED, CACHED, AUTOMATION = "one at a time", "batched", "prefix cache", "automation"
MICRO = 32_768  # padded tokens of one pass through the model: all problems at once


@dataclass(frozen=True)
class BenchConfig:
    """What to search, with which model."""

    domain: Literal["kernel", "rocq"] = "kernel"
    corpus: Path | None = None  # of extracted lemmas, for rocq
    problems: int = 64  # all of them alive at once, but for the first way
    width: int = 8  # proposals for each expansion
    expansions: int = 8  # of each problem, at most
    size: str = "medium"  # a model preset: with these few tokens, 5 million parameters
    steps: int = 30  # of teaching, 4 problems each
    model: Path | None = None  # the folder of a saved policy to use instead of teaching one
    megabytes: float = 256.0  # of the prefix cache
    workers: int = 0  # processes that step the domain; 0: this one
    threads: int = 0  # of the model; 0: as many as there are cores
    rounds: int = 1
    seed: int = 0
    json: Path | None = None  # where to write the numbers, too

    def __post_init__(self) -> None:
        at_least(self, problems=1, width=1, expansions=1, steps=1, rounds=1, workers=0, threads=0)
        if (self.domain == "rocq") != (self.corpus is not None):
            raise ConfigError("bench search: --domain rocq goes with --corpus DIR, and nothing else does")


@dataclass(frozen=True, slots=True)
class Way:
    """What one way of running the search took and gave."""

    seconds: float
    processor_seconds: float  # of this process
    expansions: int
    expansions_per_second: float
    expansions_per_processor_second: float
    model_batch: float  # observations in one call of the model, on average
    model_share: float  # of the time
    verifier_utilisation: float
    reused: float  # share of the prompt tokens that came from the cache
    solved: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, medians of all rounds."""

    domain: str
    problems: int
    parameters: int
    prompt_tokens: float  # of an observation, on average
    cores: int | None
    threads: int
    load: float  # of the machine, when the measurement ended
    ways: Mapping[str, Way]
    ratio_to_one_at_a_time: float  # with the cache, by the clock
    ratio_by_processor: float  # the same by processor seconds
    ratio_to_batched: float  # what the cache adds, by processor seconds
    agreement: float  # share of problems that end alike in all ways
    merged: float  # share of the open states reached that the search of their problem knew already
    remembered: float | None  # share of the verdicts on proofs that a store knew from another way; None: none was asked

    def table(self) -> Table:
        """Return the ways as a table to print."""
        caption = f"{self.problems} problems of {self.domain}, {self.parameters / 1e6:.1f} M parameters, prompts of "
        caption += f"{self.prompt_tokens:.0f} tokens, {self.threads} threads on {self.cores} cores, load {self.load}; "
        caption += f"to one at a time: {self.ratio_to_one_at_a_time:.2f} by the clock, {self.ratio_by_processor:.2f} "
        caption += f"by processor; to batched: {self.ratio_to_batched:.2f}; agreement {self.agreement:.0%}; "
        caption += f"{self.merged:.0%} of the states merged"
        if self.remembered is not None:
            caption += f"; {self.remembered:.0%} of the verdicts on proofs known from another way"
        table = Table(title="Expansions", caption=caption)
        columns = "", "a\nsecond", "a CPU\nsecond", "model\nbatch", "model", "verifier", "reused", "solved"
        for column in columns:
            table.add_column(column, justify="right" if column else "left")
        for name, way in self.ways.items():
            shares = (f"{share:.0%}" for share in (way.model_share, way.verifier_utilisation, way.reused))
            rates = f"{way.expansions_per_second:.1f}", f"{way.expansions_per_processor_second:.1f}"
            table.add_row(name, *rates, f"{way.model_batch:.1f}", *shares, str(way.solved))
        return table


class Counted:
    """A policy whose actions are legal, with a clock: what it was asked, in how many calls, and how long it took."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.calls, self.rows, self.seconds = policy, 0, 0, 0.0

    def propose(self, observations: Sequence[Observation], n: int, *, seeds: Sequence[int]) -> list[list[Proposal]]:
        began = time.perf_counter()
        rows = self.policy.propose(observations, n, seeds=seeds)
        self.seconds += time.perf_counter() - began
        self.calls, self.rows = self.calls + 1, self.rows + len(rows)
        return [[_legal(seen, one) for one in row] for seen, row in zip(observations, rows, strict=True)]


def _legal(seen: Observation, proposal: Proposal) -> Proposal:
    if not seen.legal or proposal.action in seen.legal:
        return proposal
    return replace(proposal, action=seen.legal[derive_seed(proposal.action) % len(seen.legal)])


def main(config: BenchConfig) -> Report:
    """Teach a model, search in every way, and return what was measured."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    try:
        with ExitStack() as stack:
            domain, taught, searched = stack.enter_context(_opened(config))
            policy = _taught(config, domain, taught)
            pool = stack.enter_context(Workers(domain, config.workers)) if config.workers else None
            report = _measure(config, domain, policy, searched, pool)
    finally:
        torch.set_num_threads(before)
    if config.json is not None:
        config.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


@contextmanager
def _opened(config: BenchConfig) -> Iterator[tuple[Domain[Hashable], list[Problem], list[Problem]]]:
    """Yield the domain, the problems to teach by, and those to search."""
    if config.corpus is None:
        kernel = Kernel()
        searched = [*kernel.problems("test"), *kernel.problems("valid"), *kernel.problems("train")][: config.problems]
        yield cast("Domain[Hashable]", kernel), list(kernel.problems("train")), searched
        return
    from surpass.domains.proofs.rocq import corpus
    from surpass.domains.proofs.rocq.domain import Rocq

    # Ordered by file, so these lie in few files, whose provers are loaded once.
    problems = corpus.problems(config.corpus, "all", max_sentences=8, max_chars=400)[: 2 * config.problems]
    with Rocq(problems) as rocq:
        yield cast("Domain[Hashable]", rocq), problems[1::2] or problems, problems[::2][: config.problems]


def _taught(config: BenchConfig, domain: Domain[Hashable], problems: Sequence[Problem]) -> LanguageModel:
    """Return the saved model, or one from scratch that has seen the known solutions of some problems."""
    if config.model is not None:
        return LanguageModel.load(config.model, placement=Placement(micro_tokens=MICRO))
    known = {problem.key: replay(domain, problem, problem.data["solution"]) for problem in problems}
    steps = [step for one in known.values() for step in one.steps]
    texts = [text for step in steps for text in (step.observation.text, step.proposal.action)]
    policy = LanguageModel.from_scratch(config.size, texts, config.seed, placement=Placement(micro_tokens=MICRO))
    parts: Parts[Hashable] = Parts(
        policy, problems, likelihood, log_return, demonstrations={key: [one] for key, one in known.items()}
    )
    numbers = TrainConfig(
        steps=config.steps, problems_per_step=4, learning_rate=2e-3, seed=config.seed, checkpoint_every=config.steps
    )
    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        train(numbers, parts, Run.create(Path(folder) / "run", {}))
    return policy


def _measure(
    config: BenchConfig,
    domain: Domain[Hashable],
    policy: LanguageModel,
    problems: Sequence[Problem],
    pool: Workers[Hashable] | None,
) -> Report:
    """Run the ways in turns."""
    live = {ONE: 1, BATCHED: len(problems), CACHED: len(problems)}
    found: dict[str, list[Way]] = {name: [] for name in [*live, *([AUTOMATION] if config.domain == "rocq" else [])]}
    ends: dict[str, list[object]] = {}
    observations = [domain.observe(domain.start(problem)) for problem in problems]
    events, proofs = list[Event](), list[list[Trajectory]]()
    _search(config, domain, policy, problems, RunOptions(live=len(problems), pool=pool, trace=events.append))
    for _ in range(config.rounds):
        for name, count in live.items():
            player = policy.remembering(config.megabytes) if name == CACHED else policy
            way, outcomes = _search(config, domain, player, problems, RunOptions(live=count, pool=pool))
            found[name].append(way)
            proofs.append([one for records in outcomes for one in records if one.solved])
            ends[name] = [tuple((one.verdict.status, *one.actions) for one in records) for records in outcomes]
        if AUTOMATION in found:
            options = RunOptions(live=len(problems), pool=pool)
            found[AUTOMATION].append(_search(config, domain, Fixed(ROCQ_AUTOMATION), problems, options)[0])
    return Report(
        domain=config.domain,
        problems=len(problems),
        parameters=sum(parameter.numel() for parameter in policy.parameters()),
        prompt_tokens=round(sum(map(len, policy.prompts(observations))) / len(observations), 1),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 1),
        ways={name: _median(ways) for name, ways in found.items()},
        ratio_to_one_at_a_time=_ratio(found, CACHED, ONE, lambda way: way.expansions_per_second),
        ratio_by_processor=_ratio(found, CACHED, ONE, lambda way: way.expansions_per_processor_second),
        ratio_to_batched=_ratio(found, CACHED, BATCHED, lambda way: way.expansions_per_processor_second),
        agreement=round(sum(len(set(same)) == 1 for same in zip(*ends.values(), strict=True)) / len(problems), 3),
        merged=_merged(events),
        remembered=_remembered(proofs) if config.domain == "rocq" else None,
    )


def _merged(events: Iterable[Event]) -> float:
    """Return the share of the open states reached that a search merged with one that it knew."""
    known, reached, merged = defaultdict[str, set[str]](set), 0, 0
    for event in events:
        nodes = {"start": [event], "apply": event.get("pairs", [])}.get(event["kind"], [])
        for key in (node["key"] for node in nodes if node["status"] == "open"):
            reached, merged = reached + 1, merged + (key in known[event["problem"]])
            known[event["problem"]].update([key] if key else [])
    return round(merged / reached, 3) if reached else 0.0


def _remembered(proofs: Sequence[Sequence[Trajectory]]) -> float | None:
    """Ask for the verdicts of a fresh Rocq on the proofs of each search; return the share that was known, if any."""
    from surpass.domains.proofs.rocq.remembered import recheck

    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        known = Verdicts(Path(folder) / "verdicts.sqlite")
        for found in proofs:
            recheck(found, known)
    return round(known.hits / known.asked, 3) if known.asked else None


def _search(
    config: BenchConfig,
    domain: Domain[Hashable],
    policy: LanguageModel | Fixed,
    problems: Sequence[Problem],
    options: RunOptions,
) -> tuple[Way, list[list[Trajectory]]]:
    """Search all problems one way and return what each problem's search found."""
    counted = Counted(policy)
    search = partial(best_first, width=config.width, expansions=config.expansions, solutions=sys.maxsize)
    found: dict[str, list[Trajectory]] = {problem.key: [] for problem in problems}
    began, worked = time.perf_counter(), time.process_time()
    for one in run(search, problems, domain, counted, seed=config.seed, options=options):
        found[one.problem.key].append(one)
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    verifier = bill(chain.from_iterable(found.values()))["verifier_seconds"]
    prefixes = policy.prefixes if isinstance(policy, LanguageModel) else None
    way = Way(
        seconds=seconds,
        processor_seconds=processor,
        expansions=counted.rows,
        expansions_per_second=counted.rows / seconds,
        expansions_per_processor_second=counted.rows / processor,
        model_batch=counted.rows / counted.calls,
        model_share=counted.seconds / seconds,
        verifier_utilisation=verifier / seconds / max(1, config.workers),
        reused=prefixes.reused / prefixes.tokens if prefixes else 0.0,
        solved=sum(any(one.solved for one in records) for records in found.values()),
    )
    return way, list(found.values())


def _median(ways: Sequence[Way]) -> Way:
    """Return the median of every field."""
    columns = zip(*(astuple(way) for way in ways), strict=True)
    return Way(*(round(median(column), 3) for column in columns))


def _ratio(found: Mapping[str, Sequence[Way]], way: str, baseline: str, rate: Callable[[Way], float]) -> float:
    """Return the median over rounds of one way's rate over another's."""
    return round(median(rate(a) / rate(b) for a, b in zip(found[way], found[baseline], strict=True)), 3)
