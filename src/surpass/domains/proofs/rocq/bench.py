"""How many tactics a second the domain judges, against the bare protocol on the same machine in the same run.

The lemma is our own. *Linear*: a path goes deeper one tactic at a time, 32 deep, and begins anew. *Branching*: sixteen
tactics are tried from one state, half of which fail. The bare loop sends the same sentences and nothing else: no rules,
no states, no runner. Start-up is left out everywhere. Memory is that of the provers and of this process over a long
branching run. Numbers of a busy machine are no claim; `load` says how busy it was.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil

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
FILES = 8  # source files, and so provers, of a run through the runner: while one answers, another may be asked


@dataclass(frozen=True)
class BenchConfig:
    """What to measure."""

    tactics: int = 4000  # of each measurement
    memory_tactics: int = 20_000  # of the memory measurement; 0: leave it out
    workers: int = 2  # processes at most
    json: Path | None = None  # where to write the numbers, too


def main(config: BenchConfig) -> dict[str, object]:
    """Measure and return the numbers: tactics a second and a core, ratios to the bare loop, memory in MB.

    `ratio_to_bare_protocol` compares tactics a second by the clock: the domain behind the runner, with one worker, in
    the worse of the two shapes. `per_core` counts the work of all processes, so it suffers less from others.
    """
    with tempfile.TemporaryDirectory(prefix="surpass-bench-") as folder:
        problems = [_problem(Path(folder), f"Bench{index}") for index in range(FILES)]
        bare = {shape: _bare(shape, config.tactics) for shape in SHAPES}
        rates = {"domain": _measure(problems[:1], config, 0)}
        for workers in range(1, config.workers + 1):
            rates[f"runner_{workers}"] = _measure(problems, config, workers)
        # Once more at the end: a machine that others use changes while we measure.
        rates["bare"] = {shape: _mean(bare[shape], _bare(shape, config.tactics)) for shape in SHAPES}
        ratios = {
            name: {shape: _ratio(found[shape], rates["bare"][shape]) for shape in SHAPES}
            for name, found in rates.items()
            if name != "bare"
        }
        report: dict[str, object] = {
            "checker": f"rocq {version()}",
            "tactics": config.tactics,
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "rates": {name: {shape: asdict(rate) for shape, rate in found.items()} for name, found in rates.items()},
            "ratios": ratios,
            "ratio_to_bare_protocol": min(one["per_second"] for one in ratios["runner_1"].values()),
        }
        if config.memory_tactics:
            report["memory"] = _memory(problems[0], config.memory_tactics)
    if config.json is not None:
        config.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


@dataclass(frozen=True, slots=True)
class Rate:
    """Tactics a second by the clock, and for each second that a core worked, all processes together."""

    per_second: float
    per_core: float


class _Stopwatch:
    """The clock and the processors since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu()

    def rate(self, tactics: int) -> Rate:
        wall, cpu = time.perf_counter() - self._wall, _cpu() - self._cpu
        return Rate(round(tactics / wall, 1), round(tactics / cpu, 1))


def _cpu() -> float:
    """Return seconds that this process and its living descendants have worked."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _mean(one: Rate, other: Rate) -> Rate:
    return Rate((one.per_second + other.per_second) / 2, (one.per_core + other.per_core) / 2)


def _ratio(rate: Rate, bare: Rate) -> dict[str, float]:
    return {
        "per_second": round(rate.per_second / bare.per_second, 3),
        "per_core": round(rate.per_core / bare.per_core, 3),
    }


def _problem(folder: Path, name: str) -> Problem:
    file = folder / f"{name}.v"
    file.write_text(f"{STATEMENT}\nProof. auto. Qed.\n", encoding="utf-8")
    goals = f"|- {STATEMENT.removeprefix('Lemma sum : ').removesuffix('.')}".replace("(m + n) + k", "m + n + k")
    data = {"file": str(file), "top": name, "noinit": False, "options": (), "position": 0, "statement": STATEMENT}
    return Problem(f"{name}.sum", str(file), {**data, "opening": "Proof.", "name": f"{name}.sum", "goals": goals})


def _bare(shape: str, tactics: int) -> Rate:
    """Send the sentences of one shape to one prover, and nothing else."""
    sentences = [as_sentence(tactic) for tactic in SHAPES[shape]]
    with Toplevel() as top:
        top.run(STATEMENT)
        root, rounds, watch = top.tip, max(1, tactics // len(sentences)), _Stopwatch()
        for _ in range(rounds):
            for sentence in sentences:
                try:
                    top.run(sentence)
                except CommandFailed:
                    continue
                if shape == "branching":
                    top.edit_at(root)
            if shape == "linear":
                top.edit_at(root)
        return watch.rate(rounds * len(sentences))


def _measure(problems: Sequence[Problem], config: BenchConfig, workers: int) -> dict[str, Rate]:
    """Return the rates of both shapes, shared evenly by `problems`; no workers: steps in this process."""
    domain = Rocq(problems)
    rates = dict[str, Rate]()
    with domain if not workers else Workers(domain, workers) as opened:
        pool = opened if isinstance(opened, Workers) else None
        options = RunOptions(live=len(problems), pool=pool)
        for shape, walk in (("linear", _linear), ("branching", _branching)):
            _walk(partial(walk, rounds=1), problems, domain, options)  # starts what must be started
            size = len(SHAPES[shape]) * len(problems)
            rounds, watch = max(1, config.tactics // size), _Stopwatch()
            _walk(partial(walk, rounds=rounds), problems, domain, options)
            rates[shape] = watch.rate(rounds * size)
    return rates


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


def _memory(problem: Problem, tactics: int) -> dict[str, float]:
    """Return resident MB of the prover and of this process after a twentieth of the tactics, and their peaks."""
    own = psutil.Process()
    seen = list[tuple[int, int]]()
    with Rocq([problem]) as domain:
        state = domain.start(problem)
        for index in range(tactics):
            domain.step(state, BRANCHING[index % len(BRANCHING)])
            if (index + 1) % max(1, tactics // 20) == 0:
                seen.append((domain.pool.memory, own.memory_info().rss))
    prover, here = zip(*seen, strict=True)
    peaks = {"prover_start": prover[0], "prover_peak": max(prover), "own_start": here[0], "own_peak": max(here)}
    return {name: round(value / 2**20, 1) for name, value in peaks.items()}
