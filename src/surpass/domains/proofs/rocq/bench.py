"""How many tactics a second the domain judges, against the bare protocol on the same machine in the same run.

The lemma is our own. *Linear*: a path goes deeper one tactic at a time, 32 deep, and begins anew. *Branching*: sixteen
tactics are tried from one state, half of which fail. `bare_k` is k processes, each of which sends these sentences and
reads the goals, and nothing else: no rules, no states, no runner. `runner_k` is a run with k workers, `domain` one
without. Every process drives `LIVE` provers in turn, the bare one too: going from prover to prover costs the caches of
a processor as much as a tactic, whoever asks. A ratio is that to as many bare processes as there are workers; above one
where provers work while answers are read, which the bare loop does not let them (`rollouts.workers.Foresees`).

All take turns, `rounds` times, and medians are shown: a machine that others use changes while we measure, and `load`
says how busy it was. Start-up is left out everywhere. Memory is that of the provers and of this process over a long
branching run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import psutil
from rich.table import Table

from surpass.bounds import at_least
from surpass.core import Conversation, Domain, Problem, Search, Status, Trajectory, Verdict, apply
from surpass.domains.proofs.rocq.domain import ProofState, Rocq
from surpass.domains.proofs.rocq.protocol import CommandFailed, Toplevel, version
from surpass.domains.proofs.rocq.rules import as_sentence
from surpass.models.scripted import Scripted
from surpass.rollouts.runner import RunOptions, run
from surpass.rollouts.workers import Workers

STATEMENT = "Lemma sum : forall n m k : nat, n + m = m + n -> k + (n + m) = (m + n) + k."
LINEAR = ("intros n.", "revert n.") * 16
BRANCHING = (
    *(
        "intros n m k H.",
        "intros n.",
        "induction n.",
        "simpl.",
        "intros; symmetry.",
        "intros n m; revert m.",
        "idtac.",
        "intros n m.",
    ),
    *(
        "exact I.",
        "apply nothing.",
        "reflexivity.",
        "rewrite plus.",
        "destruct H.",
        "fail.",
        "discriminate.",
        "exact 0.",
    ),
)
SHAPES = {"linear": LINEAR, "branching": BRANCHING}
LIVE = 8  # conversations, source files and so provers of each process: while one is answered, others may ask


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    tactics: int = 7000  # of each measurement, all rounds together
    rounds: int = 7  # in which all measurements take turns
    memory_tactics: int = 20_000  # of the memory measurement; 0: leave it out
    workers: int = 2  # processes at most
    json: Path | None = None  # where to write the numbers, too

    def __post_init__(self) -> None:
        at_least(self, tactics=1, rounds=1, memory_tactics=0, workers=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """Tactics a second by the clock, and for each second that a core worked, all processes together."""

    per_second: float
    per_core: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured; `rates` and `ratios` by measurement and shape."""

    checker: str
    tactics: int
    cores: int | None
    load: float
    rates: Mapping[str, Mapping[str, Rate]]
    ratios: Mapping[str, Mapping[str, Rate]]  # to the bare loops
    ratio_to_bare_protocol: float  # per second, the runner with one worker, in the worse of the two shapes
    memory: Mapping[str, float]  # MB

    def table(self) -> Table:
        """Return the rates and ratios as a table to print."""
        caption = f"{self.checker}, {self.cores} cores, load {self.load}; "
        caption += f"ratio to the bare protocol: {self.ratio_to_bare_protocol:.2f}"
        if self.memory:
            peaks = self.memory["prover_peak"], self.memory["own_peak"]
            caption += f"; memory at most {peaks[0]:.0f} MB a prover, {peaks[1]:.0f} MB here"
        table = Table(title="Tactics a second", caption=caption)
        for column in ("", "shape", "by the clock", "by core", "ratio by the clock", "by core"):
            table.add_column(column, justify="left" if column in ("", "shape") else "right")
        for name, found in self.rates.items():
            for shape, rate in found.items():
                ratio = self.ratios[name][shape] if name in self.ratios else None
                shown = (f"{ratio.per_second:.2f}", f"{ratio.per_core:.2f}") if ratio else ("", "")
                table.add_row(name, shape, f"{rate.per_second:.0f}", f"{rate.per_core:.0f}", *shown)
        return table


Measure = Callable[[str, int], Rate]  # of one shape, with so many tactics


def main(config: BenchConfig) -> Report:
    """Measure everything and return it."""
    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder, ExitStack() as stack:
        problems = [_problem(Path(folder), f"Bench{index}") for index in range(LIVE * config.workers)]
        measures = {"domain": _runner(problems[:LIVE], 0, stack)}
        for workers in range(1, config.workers + 1):
            measures[f"bare_{workers}"] = _bare(workers, stack)
            measures[f"runner_{workers}"] = _runner(problems[: LIVE * workers], workers, stack)
        both = [(name, shape) for shape in SHAPES for name in measures]
        for name, shape in both:
            measures[name](shape, 0)  # starts what must be started
        tactics = config.tactics // config.rounds
        rounds = [{(name, shape): measures[name](shape, tactics) for name, shape in both} for _ in range(config.rounds)]
        load = round(os.getloadavg()[0], 1)
    against = {name: f"bare_{name.removeprefix('runner_')}" for name in measures if name.startswith("runner_")}
    against = {"domain": "bare_1", **against}
    rates = {name: {shape: _median([one[name, shape] for one in rounds]) for shape in SHAPES} for name in measures}
    ratios = {
        name: {shape: _median([_ratio(one[name, shape], one[bare, shape]) for one in rounds]) for shape in SHAPES}
        for name, bare in against.items()
    }
    worst = min(ratio.per_second for ratio in ratios["runner_1"].values())
    memory = _memory(config.memory_tactics) if config.memory_tactics else {}
    checker = f"rocq {version()}"
    report = Report(checker, config.tactics, os.cpu_count(), load, rates, ratios, worst, memory)
    if config.json is not None:
        config.json.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


class _Stopwatch:
    """The clock and the processors since it was made."""

    def __init__(self) -> None:
        self._cpu = _cpu()  # first: it asks every process, which takes tens of milliseconds
        self._wall = time.perf_counter()

    def rate(self, tactics: int) -> Rate:
        wall = time.perf_counter() - self._wall
        cpu = _cpu() - self._cpu
        return Rate(tactics / wall, tactics / max(cpu, 0.01))  # processors are counted in hundredths of a second


def _cpu() -> float:
    """Return seconds that this process and its living descendants have worked."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _median(rates: Sequence[Rate]) -> Rate:
    wall, cpu = median(one.per_second for one in rates), median(one.per_core for one in rates)
    return Rate(round(wall, 3), round(cpu, 3))


def _ratio(rate: Rate, bare: Rate) -> Rate:
    return Rate(rate.per_second / bare.per_second, rate.per_core / bare.per_core)


def _problem(folder: Path, name: str) -> Problem:
    file = folder / f"{name}.v"
    file.write_text(f"{STATEMENT}\nProof. auto. Qed.\n", encoding="utf-8")
    goals = f"|- {STATEMENT.removeprefix('Lemma sum : ').removesuffix('.')}".replace("(m + n) + k", "m + n + k")
    data = {"file": str(file), "top": name, "noinit": False, "options": (), "position": 0, "statement": STATEMENT}
    return Problem(f"{name}.sum", str(file), {**data, "opening": "Proof.", "name": f"{name}.sum", "goals": goals})


def _bare(loops: int, stack: ExitStack) -> Measure:
    """Return the measure of some bare loops at once, each in a process of its own."""
    context, pipes = multiprocessing.get_context("spawn"), list[Connection]()
    for _ in range(loops):
        ours, theirs = context.Pipe()
        process = context.Process(target=_loop, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        stack.callback(process.join)
        stack.callback(ours.close)  # comes first, and ends the process
        pipes.append(ours)

    def measure(shape: str, tactics: int) -> Rate:
        for pipe in pipes:
            pipe.send((shape, tactics // loops))
        rates: list[Rate] = [pipe.recv() for pipe in pipes]
        return Rate(sum(one.per_second for one in rates), sum(one.per_core for one in rates) / loops)

    return measure


def _loop(pipe: Connection) -> None:
    """Send the sentences of a shape to provers, as often as told, and nothing else."""
    with ExitStack() as stack:
        tops = [stack.enter_context(Toplevel()) for _ in range(LIVE)]
        for top in tops:
            top.run(STATEMENT)
        roots = [top.tip for top in tops]
        stack.enter_context(suppress(EOFError))
        while True:
            shape, tactics = pipe.recv()
            sentences = [as_sentence(tactic) for tactic in SHAPES[shape]]
            size = len(sentences) * LIVE
            rounds, watch = max(1, tactics // size), _Stopwatch()
            for _ in range(rounds):
                (_bare_linear if shape == "linear" else _bare_branching)(tops, roots, sentences)
            pipe.send(watch.rate(rounds * size))


def _bare_linear(tops: Sequence[Toplevel], roots: Sequence[int], sentences: Sequence[str]) -> None:
    for sentence in sentences:
        for top in tops:
            top.run(sentence)
    for top, root in zip(tops, roots, strict=True):
        top.edit_at(root)


def _bare_branching(tops: Sequence[Toplevel], roots: Sequence[int], sentences: Sequence[str]) -> None:
    for top, root in zip(tops, roots, strict=True):
        for sentence in sentences:
            with suppress(CommandFailed):
                top.run(sentence)
                top.edit_at(root)


def _runner(problems: Sequence[Problem], workers: int, stack: ExitStack) -> Measure:
    """Return the measure of a run on `problems`, which share the tactics; no workers: it steps in this process."""
    domain = Rocq(problems)
    pool = stack.enter_context(Workers(domain, workers)) if workers else None
    stack.enter_context(domain)
    options = RunOptions(live=len(problems), pool=pool)

    def measure(shape: str, tactics: int) -> Rate:
        size = len(SHAPES[shape]) * len(problems)
        rounds, watch = max(1, tactics // size), _Stopwatch()
        _walk(partial(_linear if shape == "linear" else _branching, rounds=rounds), problems, domain, options)
        return watch.rate(rounds * size)

    return measure


def _walk(search: Search[ProofState], problems: Sequence[Problem], domain: Rocq, options: RunOptions) -> None:
    for _ in run(search, problems, domain, Scripted({}), options=options):
        pass


def _linear(domain: Domain[ProofState], problem: Problem, state: ProofState, /, *, rounds: int) -> Conversation[None]:
    for _ in range(rounds):
        at = state
        for tactic in LINEAR:
            (answer,) = yield from apply([(at, tactic)])
            assert isinstance(answer, ProofState)
            assert answer.status is None, answer.evidence
            at = answer
    yield Trajectory(problem, (), Verdict(Status.UNKNOWN))


def _branching(
    domain: Domain[ProofState], problem: Problem, state: ProofState, /, *, rounds: int
) -> Conversation[None]:
    for _ in range(rounds):
        answers = yield from apply([(state, tactic) for tactic in BRANCHING])
        opened = [isinstance(answer, ProofState) and answer.status is None for answer in answers]
        assert opened == [True] * 8 + [False] * 8, answers
    yield Trajectory(problem, (), Verdict(Status.UNKNOWN))


def _memory(tactics: int) -> dict[str, float]:
    """Return resident MB of the prover and of this process after a twentieth of the tactics, and their peaks."""
    own = psutil.Process()
    seen = list[tuple[int, int]]()
    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder, ExitStack() as stack:
        problem = _problem(Path(folder), "Bench")
        domain = stack.enter_context(Rocq([problem]))
        state = domain.start(problem)
        for index in range(tactics):
            domain.step(state, BRANCHING[index % len(BRANCHING)])
            if (index + 1) % max(1, tactics // 20) == 0:
                seen.append((domain.pool.memory, own.memory_info().rss))
    prover, here = zip(*seen, strict=True)
    peaks = {"prover_start": prover[0], "prover_peak": max(prover), "own_start": here[0], "own_peak": max(here)}
    return {name: round(value / 2**20, 1) for name, value in peaks.items()}
